//! The counters of the control port, written by its one thread.

use super::Counter;

/// Requests and connections that the control port did not serve.
#[derive(Debug, Default)]
pub(crate) struct ControlMetrics {
    /// Connections dropped for a new one at the maximum number of connections.
    pub(crate) crowded: Counter,
    /// Connections dropped because their request, or taking the answer, took too long.
    pub(crate) late: Counter,
    /// Requests of foreign pages, for foreign hosts, or without a host that can be read.
    pub(crate) refused: Counter,
}
