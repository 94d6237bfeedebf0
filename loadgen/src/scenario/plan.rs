//! The assumptions of a plan where nothing was measured.

use serde::{Deserialize, Serialize};

use crate::units::{Bandwidth, Bytes, Rate};

/// The assumptions of `loadgen plan` about machines and storage. A run ignores them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Assumptions {
    /// The connections that a gateway machine holds.
    pub(crate) connections_per_server: u64,
    /// The messages that a gateway machine takes per second.
    pub(crate) messages_per_server: Rate,
    /// The pushes that a gateway machine sends per second.
    pub(crate) deliveries_per_server: Rate,
    /// The sessions that a gateway machine opens per second after all were cut off.
    pub(crate) sessions_per_server: Rate,
    /// The network of a gateway machine, in each direction.
    pub(crate) network_per_server: Bandwidth,
    /// The memory of a gateway machine for connections.
    pub(crate) memory_per_server: Bytes,
    /// The memory of a connection in the gateway and in the kernel together.
    pub(crate) memory_per_connection: Bytes,
    /// The timeline writes that a storage node takes per second.
    pub(crate) writes_per_node: Rate,
    /// The timeline reads that a storage node takes per second.
    pub(crate) reads_per_node: Rate,
    /// The disk of a storage node.
    pub(crate) disk_per_node: Bytes,
    /// The gateways of a cell. Each keeps all that the cell stores.
    pub(crate) gateways_per_cell: u32,
    /// The NATS servers of a cell.
    pub(crate) servers_per_cell: u32,
    /// The bandwidth of the log of a cell.
    pub(crate) log_per_cell: Bandwidth,
    /// The commands that the leader of a cell decides per second.
    pub(crate) commands_per_leader: Rate,
    /// The number of copies of everything stored.
    pub(crate) replication: u32,
    /// The part of every machine that is kept free, 0 up to 0.9.
    pub(crate) headroom: f64,
    /// The bytes that TCP/IP, frame and names add to a text on the wire.
    pub(crate) wire_overhead: Bytes,
    /// The bytes that storing a message adds to its text.
    pub(crate) record_overhead: Bytes,
    /// The bytes of each timeline entry that refers to a message.
    pub(crate) reference_bytes: Bytes,
    /// The timeline writes of a message; by default one, and one for each member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) writes_per_message: Option<f64>,
    /// The timeline reads for each timeline write.
    pub(crate) reads_per_write: f64,
    /// The largest group whose messages are written to the timeline of each member.
    pub(crate) fanout_limit: u64,
    /// The time for which messages are kept, in years.
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
            gateways_per_cell: 3,
            servers_per_cell: 3,
            // Measured with a prototype, on one disk for three servers: 297 groups/s of 256 KiB, 78 MB/s.
            log_per_cell: Bandwidth(624e6),
            // Half of the 402,502 messages/s that a gateway alone decides for clients on the same two cores.
            commands_per_leader: Rate(200_000.0),
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
