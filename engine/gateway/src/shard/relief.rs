//! What connections hold of a shard's memory, and who gives way when it is too much.
//!
//! A connection holds what it has not read, and what has arrived of a request or message that is
//! not complete. Each of these is limited by itself; this limits all of them together. From half
//! of that on, live pushes to those that do not read are dropped, which is the mild way: each of
//! them gets a `gap` and goes on. Replies and unfinished messages cannot be dropped.

use trunkline_proto::CloseCode;
use trunkline_proto::handshake::Rejection;

use super::Shard;
use super::connection::{Conn, Phase};
use super::core::Core;
use crate::metrics::Limit;

impl Core {
    /// Counts what a connection holds now.
    pub(super) fn account(&mut self, slot: u32, conn: &mut Conn) {
        let head = match &conn.phase {
            Phase::Handshake(head) => head.capacity(),
            _ => 0,
        };
        let held = conn.out.len() + conn.unfinished() + head;
        self.memory.count(slot, &mut conn.held, held);
    }

    /// Whether a connection has so much waiting, or all together have, that live pushes to it are
    /// dropped.
    pub(super) fn is_behind(&self, conn: &Conn) -> bool {
        if conn.out.len() > self.parts.limits.outbox_bytes {
            return true;
        }
        let all = conn.out.blocked && self.memory.is_scarce();
        if all {
            self.parts.metrics.limited(Limit::ShardPushes);
        }
        all
    }

    /// Counts a connection out that is gone.
    pub(super) fn forget(&mut self, slot: u32, conn: &mut Conn) {
        self.admission.leave(conn.source, conn.phase.is_opening());
        self.questions.end(slot);
        self.memory.count(slot, &mut conn.held, 0);
    }
}

impl Shard {
    /// Ends those who hold most, where all together hold too much. A quarter is freed at once:
    /// it has to fill again before the next search.
    pub(super) fn relieve(&mut self) {
        let held = |slot: u32| self.conns.get(slot as usize).map_or(0, |conn| conn.held);
        for slot in self.core.memory.excess(held) {
            if let Some(conn) = self.conns.get_mut(slot as usize) {
                self.core.shed(slot, conn);
            }
        }
    }
}

impl Core {
    fn shed(&mut self, slot: u32, conn: &mut Conn) {
        self.parts.metrics.limited(Limit::ShardBuffers);
        match conn.phase {
            // It has been told, and does not read it.
            Phase::Closing => return self.turn.drop_later(slot),
            Phase::Handshake(_) => self.reject(slot, conn, &Rejection::UNAVAILABLE),
            _ if conn.out.len() >= conn.unfinished() => {
                // It does not read: no Close frame would reach it.
                self.parts.metrics.close(CloseCode::SLOW_READER.0);
                let reason = "it reads too slowly: dropped";
                self.trace_close(conn, "gateway", CloseCode::SLOW_READER.0, reason);
                return self.turn.drop_later(slot);
            }
            _ => {
                conn.framing.abandon();
                let reason = "too many long messages at a time";
                self.close(slot, conn, CloseCode::OVERLOADED, reason);
            }
        }
        self.account(slot, conn);
    }
}
