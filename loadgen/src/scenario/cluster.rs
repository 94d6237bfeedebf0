//! The cluster that a run starts: gateways that share one log on NATS servers.

use serde::{Deserialize, Serialize};

use super::validate::Fault;
use super::validate::{fault, must};

/// The most gateways of a cluster that a run starts. Their names are letters.
pub(crate) const NODES_MAX: u8 = 9;

/// The gateways and NATS servers that a run starts on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Cluster {
    /// The number of gateways, 1 to [`NODES_MAX`]. Their names are a, b, c and so on.
    pub(crate) nodes: u8,
    /// The number of NATS servers: 1, 3 or 5. Each has the whole log. Their names are 1, 2, 3 and so on.
    pub(crate) servers: u8,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            nodes: 3,
            servers: 3,
        }
    }
}

/// Returns the name of the gateway at a place.
pub(crate) fn node_name(place: u8) -> String {
    char::from(b'a' + place).to_string()
}

impl Cluster {
    /// Checks the numbers.
    pub(super) fn check(self) -> Result<(), Fault> {
        must(
            (1..=NODES_MAX).contains(&self.nodes),
            "cluster.nodes",
            format!("a run starts 1 to {NODES_MAX} gateways"),
        )?;
        match self.servers {
            1 | 3 | 5 => Ok(()),
            _ => Err(fault(
                "cluster.servers",
                "a log is on 1, 3 or 5 NATS servers",
            )),
        }
    }
}
