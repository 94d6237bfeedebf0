//! Frees memory of a shard whose connections hold too much.
//!
//! A connection holds output that its client has not read, and input that is not complete. Each is
//! limited by itself; [`Memory`](super::memory::Memory) limits the sum over all connections. Beyond
//! half of that limit, clients that do not read get a `gap` in place of live pushes, and go on. Replies
//! and incomplete messages cannot be dropped: beyond the whole limit, connections end.

use trunkline_proto::CloseCode;
use trunkline_proto::handshake::Rejection;

use super::Shard;
use super::connection::{Conn, Phase};
use super::core::Core;
use super::turn::Stint;
use crate::metrics::Limit;
use crate::timer::{TICKS_PER_SECOND, Tick};

impl Core {
    /// Whether live pushes to a connection are dropped: too much waits for it, or it is blocked and
    /// the shard is short of memory.
    pub(super) fn is_behind(&self, conn: &Conn) -> bool {
        if conn.out.len() > self.parts.limits.outbox_bytes {
            return true;
        }
        let scarce = conn.out.is_blocked() && self.memory.is_scarce();
        if scarce {
            self.parts.metrics.limited(Limit::ShardPushes);
        }
        scarce
    }

    /// Returns mapped buffers to the kernel that no connection borrowed for a second.
    pub(super) fn rest(&mut self) {
        let now = self.turn.now();
        if now >= self.rests_at {
            self.pool.rest();
            self.rests_at = Tick::MAX;
        }
        if self.rests_at == Tick::MAX && self.pool.is_rich() {
            self.rests_at = now + TICKS_PER_SECOND;
            self.turn.wake_at(self.rests_at);
        }
    }

    /// Ends a connection to free its memory.
    fn shed(&mut self, slot: u32, conn: &mut Conn) {
        self.parts.metrics.limited(Limit::ShardBuffers);
        match conn.phase() {
            // The client was told, and does not read it.
            Phase::Closing => return self.turn.drop_later(slot),
            Phase::Preamble | Phase::Handshake(_) => {
                self.reject(slot, conn, &Rejection::UNAVAILABLE)
            }
            _ if conn.out.len() >= conn.unfinished() => {
                // The client does not read: no Close frame would reach it.
                let reason = "the client reads too slowly: dropped";
                return self.drop_slow(slot, conn, reason);
            }
            _ => {
                conn.incoming.abandon();
                let reason = "too many long messages at a time";
                self.close(slot, conn, CloseCode::OVERLOADED, reason);
            }
        }
        conn.account(slot, &mut self.memory);
    }
}

impl Shard {
    /// Ends the connections that hold most, if all together hold too much.
    pub(super) fn relieve(&mut self) {
        let held = |slot: u32| self.conns.get(slot as usize).map_or(0, Conn::weight);
        let excess = self.core.memory.excess(held);
        let stint = (!excess.is_empty()).then(Stint::begin);
        for slot in excess {
            let Some(conn) = self.conns.get_mut(slot as usize) else {
                continue;
            };
            if conn.out.len() > 0 && !conn.out.is_blocked() {
                // The client may read: what its socket does not take counts in the next turn.
                self.core.flush(slot, conn);
                if stint.is_some_and(Stint::is_over) {
                    break;
                }
            } else {
                self.core.shed(slot, conn);
            }
        }
    }
}
