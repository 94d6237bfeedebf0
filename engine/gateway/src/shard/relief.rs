//! What connections hold of a shard's memory, and who gives way when it is too much.
//!
//! A connection holds what it has not read, and what has arrived of a request or message that is
//! not complete. Each of these is limited by itself; this limits all of them together. From half
//! of that on, live pushes to those that do not read are dropped, which is the mild way: each of
//! them gets a `gap` and goes on. Replies and unfinished messages cannot be dropped.

use std::cmp::Reverse;

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
        let held = u32::try_from(held).unwrap_or(u32::MAX);
        if held == conn.held {
            return;
        }
        if conn.held == 0 {
            self.holders.insert(slot);
        } else if held == 0 {
            self.holders.remove(&slot);
        }
        self.held = self.held - conn.held as usize + held as usize;
        conn.held = held;
    }

    /// Whether a connection has so much waiting, or all together have, that live pushes to it are
    /// dropped.
    pub(super) fn is_behind(&self, conn: &Conn) -> bool {
        let limits = &self.parts.limits;
        if conn.out.len() > limits.outbox_bytes {
            return true;
        }
        let all = conn.out.blocked && self.held > limits.shard_buffer_bytes / 2;
        if all {
            self.parts.metrics.limited(Limit::ShardPushes);
        }
        all
    }

    /// Counts a connection out that is gone.
    pub(super) fn forget(&mut self, slot: u32, conn: &Conn) {
        self.opening -= usize::from(conn.phase.is_opening());
        self.questions.end(slot);
        if conn.held > 0 {
            self.held -= conn.held as usize;
            self.holders.remove(&slot);
        }
    }
}

impl Shard {
    /// Ends those who hold most, where all together hold too much. A quarter is freed at once:
    /// it has to fill again before the next search.
    pub(super) fn relieve(&mut self) {
        let limit = self.core.parts.limits.shard_buffer_bytes;
        if self.core.held <= limit {
            return;
        }
        let held = |slot: &u32| self.conns.get(*slot as usize).map_or(0, |conn| conn.held);
        let mut holders: Vec<_> = self
            .core
            .holders
            .iter()
            .map(|slot| (held(slot), *slot))
            .collect();
        holders.sort_unstable_by_key(|holder| Reverse(*holder));
        let mut left = self.core.held;
        for (held, slot) in holders {
            if left <= limit / 4 * 3 {
                break;
            }
            left -= held as usize;
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
            Phase::Closing => return self.doomed.push(slot),
            Phase::Handshake(_) => self.reject(slot, conn, &Rejection::UNAVAILABLE),
            _ if conn.out.len() >= conn.unfinished() => {
                // It does not read: no Close frame would reach it.
                self.parts.metrics.close(CloseCode::SLOW_READER.0);
                let reason = "it reads too slowly: dropped";
                self.trace_close(conn, "gateway", CloseCode::SLOW_READER.0, reason);
                return self.doomed.push(slot);
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
