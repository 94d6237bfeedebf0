//! What a plan assumes where nothing was measured.

use serde::{Deserialize, Serialize};

use crate::units::{Bandwidth, Bytes, Rate};

/// What `loadgen plan` assumes of machines and storage. A run does not look at it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Assumptions {
    /// Connections that a gateway machine holds.
    pub(crate) connections_per_server: u64,
    /// Messages that it takes per second.
    pub(crate) messages_per_server: Rate,
    /// Pushes that it sends per second.
    pub(crate) deliveries_per_server: Rate,
    /// Sessions that it opens per second after everybody was cut off.
    pub(crate) sessions_per_server: Rate,
    /// Its network, in each direction.
    pub(crate) network_per_server: Bandwidth,
    /// Its memory for connections.
    pub(crate) memory_per_server: Bytes,
    /// Memory of a connection: the gateway's own and the kernel's.
    pub(crate) memory_per_connection: Bytes,
    /// Timeline writes that a storage node takes per second, and reads.
    pub(crate) writes_per_node: Rate,
    pub(crate) reads_per_node: Rate,
    /// Disk of a storage node.
    pub(crate) disk_per_node: Bytes,
    /// Copies of everything stored.
    pub(crate) replication: u32,
    /// The part of every machine that is kept free, 0 up to 0.9.
    pub(crate) headroom: f64,
    /// What the wire adds to a text: TCP/IP, frame, names.
    pub(crate) wire_overhead: Bytes,
    /// What storing a message adds to its text, and each timeline that refers to it.
    pub(crate) record_overhead: Bytes,
    pub(crate) reference_bytes: Bytes,
    /// Timeline writes of a message; one and one per member where missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) writes_per_message: Option<f64>,
    /// Timeline reads for each timeline write.
    pub(crate) reads_per_write: f64,
    /// Members up to which a group message is written to each member's timeline.
    pub(crate) fanout_limit: u64,
    /// For how long messages are kept.
    pub(crate) years: f64,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self {
            connections_per_server: 50_000,
            messages_per_server: Rate(50_000.0),
            deliveries_per_server: Rate(200_000.0),
            sessions_per_server: Rate(10_000.0),
            network_per_server: Bandwidth(1e10),
            memory_per_server: Bytes(64_000_000_000),
            // Measured by `hold` with a million sessions: 433 B of the gateway, 4.2 KB of kernel.
            memory_per_connection: Bytes(5_000),
            writes_per_node: Rate(10_000.0),
            reads_per_node: Rate(50_000.0),
            disk_per_node: Bytes(8_000_000_000_000),
            replication: 3,
            headroom: 0.0,
            // 52 B of TCP/IP, 6 of frame, the rest names and numbers in JSON.
            wire_overhead: Bytes(150),
            // The store's entry of a message and its body's names; its entry in a sync timeline.
            record_overhead: Bytes(120),
            reference_bytes: Bytes(68),
            writes_per_message: None,
            reads_per_write: 1.0,
            fanout_limit: 200,
            years: 10.0,
        }
    }
}
