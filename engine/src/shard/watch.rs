//! A connection's timer: what took too long, who was silent.

use trunkline_proto::CloseCode;
use trunkline_proto::frame::{Opcode, write_frame};

use super::connection::{Conn, Phase};
use super::core::Core;
use super::timer::{Tick, ticks};
use crate::metrics::Limit;

impl Core {
    /// A connection's timer fired: ends what took too long, pings what was silent.
    pub(super) fn timer(&mut self, slot: u32, conn: &mut Conn) {
        let overdue = conn.deadline != 0 && conn.deadline <= self.now;
        match &conn.phase {
            Phase::Handshake(_) if overdue => {
                self.parts.metrics.limited(Limit::HandshakeTime);
                return self.doomed.push(slot);
            }
            Phase::Closing if overdue => return self.doomed.push(slot),
            Phase::Handshake(_) | Phase::Closing => {}
            Phase::Upgraded => {
                if overdue {
                    return self.close(slot, conn, CloseCode::NO_CONNECT, "no connect in time");
                }
            }
            Phase::Echo | Phase::Open(_) => return self.watch(slot, conn, overdue),
        }
        self.schedule(slot, conn, conn.deadline);
    }

    /// When the message must have come to its end that is not complete.
    pub(super) fn message_ends(&self, conn: &Conn) -> Tick {
        conn.begun + ticks(self.parts.limits.message_timeout)
    }

    /// Closes a connection whose message did not.
    pub(super) fn endless(&mut self, slot: u32, conn: &mut Conn) {
        self.parts.metrics.limited(Limit::MessageTime);
        let reason = "a message did not come to its end in time";
        self.close(slot, conn, CloseCode::POLICY, reason);
    }

    /// The timer of an open session.
    fn watch(&mut self, slot: u32, conn: &mut Conn, overdue: bool) {
        if conn.out.blocked && overdue {
            // It does not read: no Close frame would reach it.
            self.parts.metrics.close(CloseCode::SLOW_READER.0);
            return self.doomed.push(slot);
        }
        // What it said may be waiting to be read.
        let heard = !conn.paused && !conn.unread;
        if conn.pinged
            && heard
            && self.now
                >= conn.heard
                    + ticks(self.parts.limits.ping_interval)
                    + ticks(self.parts.limits.pong_timeout)
        {
            return self.close(slot, conn, CloseCode::NO_PONG, "no pong in time");
        }
        let message_ends = self.message_ends(conn);
        if conn.begun != 0 && heard && self.now >= message_ends {
            return self.endless(slot, conn);
        }
        let ping_at = conn.heard + ticks(self.parts.limits.ping_interval);
        let mut next = ping_at;
        if self.now >= ping_at {
            if !conn.pinged && conn.out.len() == 0 {
                write_frame(self.frames_of(slot, conn), Opcode::Ping, b"", None);
                conn.pinged = true;
            }
            next = ping_at + ticks(self.parts.limits.pong_timeout);
            if next <= self.now {
                next = self.now + ticks(self.parts.limits.ping_interval);
            }
        }
        if conn.out.blocked {
            next = next.min(conn.deadline);
        }
        if conn.begun != 0 && heard {
            next = next.min(message_ends);
        }
        self.schedule(slot, conn, next);
    }
}
