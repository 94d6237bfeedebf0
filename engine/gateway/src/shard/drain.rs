//! The stop of a shard.
//!
//! 1. The shard accepts nobody any more.
//! 2. It tells its clients one after another, over the time that the configuration says. Otherwise all
//!    of them would reconnect to the other gateways at once. A client is served as always until its
//!    turn comes.
//! 3. It does not read a client that was told. It answers the client's commands and closes the
//!    connection.

use std::time::{Duration, Instant};

use trunkline_proto::CloseCode;

use super::Shard;
use super::connection::{Conn, Phase};
use super::core::Core;
use crate::metrics::Limit;

/// The longest time between two steps of a stop.
pub(super) const STEP: Duration = Duration::from_millis(10);

impl Shard {
    /// Stops accepting, and begins to tell the clients. All shards together have `connections`
    /// connections.
    pub(super) fn begin_drain(&mut self, connections: usize) {
        self.listener = None;
        // Clients wait for the answers before they go.
        self.core.handoff.hurry();
        let cost = self.core.parts.admission_cost();
        let here = self.conns.len();
        self.core
            .departing
            .begin(Instant::now(), here, connections, cost);
    }

    /// Does what is due of a stop. Drops the connections that are left when its time is over.
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
    /// Begins the end of a connection because the gateway stops.
    fn shut_down(&mut self, slot: u32, conn: &mut Conn) {
        match conn.phase() {
            Phase::Preamble | Phase::Handshake(_) => self.turn.drop_later(slot),
            Phase::Upgraded | Phase::Echo | Phase::Open(_) => {
                conn.unanswered.leave();
                self.leave(slot, conn);
            }
            Phase::Closing => {}
        }
    }

    /// Closes a connection that is to leave, once its commands are answered.
    pub(super) fn leave(&mut self, slot: u32, conn: &mut Conn) {
        // The answers to commands say that they are stored: the connection always waits for them.
        let reads = if self.departing.are_reads_over() {
            self.reads.counted(slot)
        } else {
            0
        };
        if conn.unanswered.has_left(reads) {
            self.close(slot, conn, CloseCode::SHUTDOWN, "shutdown");
            // The peer's Close frame may be there already.
            conn.incoming.read_later(slot, &mut self.turn);
        }
    }
}
