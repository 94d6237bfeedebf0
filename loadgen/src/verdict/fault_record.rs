//! The record of one fault in a run.

use crate::clock::Nanos;
use crate::scenario::chaos::{Fault, Whom};

/// A fault as it happened. Times are in nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct FaultRecord {
    /// The planned fault.
    pub(crate) fault: Fault,
    /// The processes that the fault was done to: `gateway`, or nodes and NATS servers of a cluster.
    pub(crate) victims: Vec<String>,
    /// Whether the leader of a cluster was among them.
    pub(crate) led: bool,
    /// The time of the fault, counted from the start of sending.
    pub(crate) at: Nanos,
    /// The time until the process had ended; for a pause, the time until it was continued.
    pub(crate) down: Option<Nanos>,
    /// The time until the gateway was ready again.
    pub(crate) ready: Option<Nanos>,
    /// The time until all broken sessions were back; `None` if one did not come back.
    pub(crate) back: Option<Nanos>,
    /// The number of sessions that broke.
    pub(crate) broken: u64,
    /// The longest time without an acknowledgement, from the fault to the next one, or to the end of its
    /// aftermath; `None` if nothing was acknowledged after it.
    pub(crate) unacknowledged: Option<Nanos>,
    /// Sends that were answered meanwhile with an error which leaves their fate open (115).
    pub(crate) unsure: u64,
    /// The time of the fault, counted from the beginning of the run.
    pub(crate) began: Nanos,
    /// Sessions that had broken before, by other faults.
    pub(crate) ended_before: u64,
    /// Sends whose fate answers had left open before.
    pub(crate) unsure_before: u64,
}

impl FaultRecord {
    /// Returns what is wrong with a planned change that clients noticed by answers. Sessions that it ended are among
    /// the disconnects, which a scenario allows or not.
    pub(super) fn complaint(&self) -> Option<String> {
        let noticed = self.fault.action.is_planned() && self.unsure > 0;
        noticed.then(|| {
            format!(
                "{}: {} sends were answered with error 115, and a planned change of the leader allows none",
                self.fault, self.unsure
            )
        })
    }

    /// Returns the kind of the fault, for tables: `kill-node of the leader`.
    pub(crate) fn kind(&self) -> String {
        let name = self.fault.name();
        let name = name.split(':').next().unwrap_or_default();
        match self.fault.whom {
            Whom::Gateway => name.to_owned(),
            Whom::Nodes | Whom::Servers => format!("{name} of all"),
            Whom::Server(_) => format!("{name} of one"),
            Whom::Node(_) | Whom::Leader if self.led => format!("{name} of the leader"),
            Whom::Node(_) | Whom::Leader => format!("{name} of a follower"),
        }
    }
}
