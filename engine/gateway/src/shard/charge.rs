//! The accounts of a connection, which pay for the work that the gateway does for it.

use trunkline_core::cost::Cost;

use super::connection::Conn;
use super::core::Core;
use crate::metrics::Work;

impl Core {
    /// Charges a connection for work. Counts the cost.
    pub(super) fn charge(&self, _slot: u32, _conn: &mut Conn, work: Work, cost: Cost) {
        self.parts.metrics.worked(work, cost);
    }

    /// Counts the cost of work for a connection that is gone.
    pub(super) fn charge_gone(&self, work: Work, cost: Cost) {
        self.parts.metrics.worked(work, cost);
    }
}
