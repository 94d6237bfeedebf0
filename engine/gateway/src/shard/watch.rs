//! A connection's timer: ends what takes too long, and pings peers that are silent.

use trunkline_proto::CloseCode;
use trunkline_proto::frame::{Opcode, write_frame};

use super::connection::{Conn, Phase};
use super::core::Core;
use super::trace;
use crate::metrics::Limit;
use crate::timer::TICKS_PER_SECOND;

impl Core {
    /// Handles a connection's timer.
    pub(super) fn timer(&mut self, slot: u32, conn: &mut Conn, buffer: &mut [u8]) {
        self.look_at_debt(slot, conn, buffer);
        self.look_at_lane(slot, conn);
        self.look_at_rest(slot, conn);
        conn.settle(slot, &mut self.memory);
        let overdue = conn.times.is_overdue(self.turn.now());
        match conn.phase() {
            Phase::Preamble | Phase::Handshake(_) if overdue => {
                self.parts.metrics.limited(Limit::HandshakeTime);
                if let Some(tls) = conn.tls() {
                    tls.late(&self.parts.metrics);
                }
                return self.turn.drop_later(slot);
            }
            Phase::Closing if overdue => return self.turn.drop_later(slot),
            Phase::Preamble | Phase::Handshake(_) | Phase::Closing => {}
            Phase::Upgraded => {
                if overdue {
                    let reason = "the client did not send connect in time";
                    return self.close(slot, conn, CloseCode::NO_CONNECT, reason);
                }
            }
            Phase::Echo | Phase::Open(_) => return self.watch(slot, conn, overdue, buffer),
        }
        let deadline = conn.times.deadline();
        conn.times.schedule(slot, &mut self.turn, deadline);
    }

    /// Closes a connection whose message took too long.
    pub(super) fn endless(&mut self, slot: u32, conn: &mut Conn) {
        self.parts.metrics.limited(Limit::MessageTime);
        let reason = "a message was not complete in time";
        self.close(slot, conn, CloseCode::POLICY, reason);
    }

    /// Begins to watch a new session.
    pub(super) fn watch_new(&mut self, slot: u32, conn: &mut Conn) {
        let (now, number) = (self.turn.now(), conn.number());
        conn.times.begin_session(now, number, &self.timeouts);
        let at = conn.times.ping_at(number, &self.timeouts);
        let at = at.min(conn.expires());
        conn.times.schedule(slot, &mut self.turn, at);
    }

    /// Handles the timer of a session, or of a connection at the echo path.
    fn watch(&mut self, slot: u32, conn: &mut Conn, overdue: bool, buffer: &mut [u8]) {
        let now = self.turn.now();
        if conn.out.is_blocked() && overdue {
            // The client does not read: no Close frame would reach it.
            let reason = "the client reads nothing: dropped";
            return self.drop_slow(slot, conn, reason);
        }
        if now >= conn.expires() && conn.incoming.is_slow() && conn.incoming.is_unread() {
            // The lane may have held up the command that renews the token.
            self.set_slow(slot, conn, false);
            return conn.times.schedule(slot, &mut self.turn, now + 1);
        }
        if now >= conn.expires() && self.backs.may_renew(slot, conn.expires(), now) {
            // A back end is being asked: its verdict, or the command behind it, may renew the token.
            return conn.times.schedule(slot, &mut self.turn, now + 1);
        }
        if now >= conn.expires() {
            let reason = "the token has expired";
            return self.close(slot, conn, CloseCode::TOKEN_EXPIRED, reason);
        }
        // Input may be waiting to be read, also because this thread had no turn for long.
        if conn.times.is_dead(now, &self.timeouts) && conn.incoming.keeps_up() {
            self.read(slot, conn, buffer);
            if conn.is_closing() {
                return;
            }
            if conn.times.is_dead(now, &self.timeouts) && !conn.incoming.is_unread() {
                let reason = "the client did not answer a ping in time";
                return self.close(slot, conn, CloseCode::NO_PONG, reason);
            }
        }
        let message_ends = conn.incoming.message_ends(self.timeouts.message);
        let message_ends = message_ends.filter(|_| conn.incoming.keeps_up());
        if message_ends.is_some_and(|ends| now >= ends) {
            return self.endless(slot, conn);
        }
        let mut next = conn.times.ping_at(conn.number(), &self.timeouts);
        if now >= next {
            if !conn.times.is_pinged() && conn.out.len() == 0 {
                write_frame(self.frames_of(slot, conn), Opcode::Ping, b"", None);
                conn.times.pinged(now);
                self.parts.metrics.pings.one();
            }
            next = conn.times.dead_at(&self.timeouts);
            if next <= now {
                next = now + self.timeouts.ping;
            }
        }
        if conn.out.is_blocked() {
            next = next.min(conn.times.deadline());
        }
        let mut next = next.min(message_ends.unwrap_or(next)).min(conn.expires());
        if conn.incoming.is_slow() {
            next = next.min(now + TICKS_PER_SECOND);
        }
        conn.times.schedule(slot, &mut self.turn, next);
    }

    /// Drops a connection whose client does not read its output.
    pub(super) fn drop_slow(&mut self, slot: u32, conn: &Conn, reason: &str) {
        self.parts.metrics.close(CloseCode::SLOW_READER.0);
        trace::closed_here(self.parts.index, conn, CloseCode::SLOW_READER, reason);
        self.turn.drop_later(slot);
    }
}
