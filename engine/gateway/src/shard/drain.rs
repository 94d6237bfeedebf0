//! Stopping: nobody new, everybody is told, what is in flight is answered, connections end.
//!
//! Clients are told one after another, over a time that the configuration says: else all of them
//! would come back to the other gateways at once. Until its turn comes a client is served as
//! always; then it is not read any more, its commands in flight are answered, and it is closed.

use std::time::{Duration, Instant};

use trunkline_proto::CloseCode;

use super::Shard;
use super::connection::{Conn, Phase};
use super::core::Core;
use crate::metrics::Limit;

/// How often a stopping shard looks what is to be done.
pub(super) const STEP: Duration = Duration::from_millis(10);

impl Shard {
    /// Stops accepting, and begins to tell the clients. All shards together have `connections`.
    pub(super) fn begin_drain(&mut self, connections: usize) {
        self.listener = None;
        // Clients wait for the answers before they go.
        self.core.parts.sequencer.hurry();
        let cost = self.core.admission_cost();
        let here = self.conns.len();
        self.core
            .departing
            .begin(Instant::now(), here, connections, cost);
    }

    /// Tells the clients whose turn it is, and ends what does not end by itself in time.
    pub(super) fn drain_step(&mut self, now: Instant) {
        if !self.core.departing.has_begun() {
            return;
        }
        if self.core.departing.is_telling() {
            self.tell_due(now);
        } else if self.core.departing.ends_reads(now) {
            // Clients that wait for nothing but readers wait no longer.
            for (slot, conn) in &mut self.conns {
                self.core.leave(slot as u32, conn);
            }
        }
        if self.core.departing.is_late(now) {
            let left = self.conns.len();
            tracing::warn!(left, "connections did not end in time: dropping them");
            for (slot, _) in &self.conns {
                self.core.parts.metrics.limited(Limit::DrainTime);
                self.core.turn.drop_later(slot as u32);
            }
        }
    }

    /// Tells the clients that are due.
    fn tell_due(&mut self, now: Instant) {
        let slots = self.conns.capacity();
        while let Some(slot) = self.core.departing.next_slot(now, slots) {
            if let Some(conn) = self.conns.get_mut(slot) {
                self.core.shut_down(slot as u32, conn);
                self.core.departing.told();
            }
        }
        self.core.departing.end_telling(now, slots);
    }
}

impl Core {
    /// Tells a client that the gateway stops, once its commands are answered.
    fn shut_down(&mut self, slot: u32, conn: &mut Conn) {
        match conn.phase {
            Phase::Handshake(_) => self.turn.drop_later(slot),
            Phase::Upgraded | Phase::Echo | Phase::Open(_) => {
                conn.leaving = true;
                self.leave(slot, conn);
            }
            Phase::Closing => {}
        }
    }

    /// A command of a client was answered, or it is to leave: ends it where both hold.
    pub(super) fn leave(&mut self, slot: u32, conn: &mut Conn) {
        // The rest are commands, whose answers say that they are stored.
        let reads = if self.departing.are_reads_over() {
            self.questions.counted(slot)
        } else {
            0
        };
        if conn.leaving && conn.in_flight <= reads {
            self.close(slot, conn, CloseCode::SHUTDOWN, "shutdown");
            // Its answer to our Close may be there already.
            self.read_later(slot, conn);
        }
    }
}
