//! A connection's timer: what took too long, who was silent.

use trunkline_proto::CloseCode;
use trunkline_proto::frame::{Opcode, write_frame};

use super::connection::{Conn, Phase};
use super::core::Core;
use crate::metrics::Limit;
use crate::timer::{Tick, ticks};

/// Pings come up to this part of their interval early.
const EARLY: Tick = 8;

/// A share of `whole`, below it, that differs from number to number: any run of numbers is spread
/// over all of it evenly, as multiples of the golden ratio are.
fn share_of(number: u32, whole: Tick) -> Tick {
    let share = u64::from(number.wrapping_mul(0x9e37_79b9));
    ((share * u64::from(whole)) >> 32) as Tick
}

impl Core {
    /// A connection's timer fired: ends what took too long, pings what was silent.
    pub(super) fn timer(&mut self, slot: u32, conn: &mut Conn, buffer: &mut [u8]) {
        let overdue = conn.deadline != 0 && conn.deadline <= self.turn.now();
        match &conn.phase {
            Phase::Handshake(_) if overdue => {
                self.parts.metrics.limited(Limit::HandshakeTime);
                if let Some(tls) = &conn.tls {
                    tls.late(&self.parts.metrics);
                }
                return self.turn.drop_later(slot);
            }
            Phase::Closing if overdue => return self.turn.drop_later(slot),
            Phase::Handshake(_) | Phase::Closing => {}
            Phase::Upgraded => {
                if overdue {
                    return self.close(slot, conn, CloseCode::NO_CONNECT, "no connect in time");
                }
            }
            Phase::Echo | Phase::Open(_) => return self.watch(slot, conn, overdue, buffer),
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

    /// Begins to watch a new session, as if its peer had been silent for some time already, for
    /// each another: those that come all at once are pinged over the whole interval.
    pub(super) fn watch_new(&mut self, slot: u32, conn: &mut Conn) {
        let silent = share_of(conn.generation, self.silence(conn));
        // That may be before the first tick: ticks are counted around.
        conn.silent_since = self.turn.now().wrapping_sub(silent);
        let at = self.ping_at(conn).min(Self::ends_at(conn));
        self.schedule(slot, conn, at);
    }

    /// When the session's token ends it.
    fn ends_at(conn: &Conn) -> Tick {
        let expires = conn.session().map(|session| session.expires);
        expires.filter(|at| *at != 0).unwrap_or(Tick::MAX)
    }

    /// The silence after which a connection is pinged: a little less than the interval, for each
    /// by another bit, so that what made many speak at once does not have them pinged at once.
    fn silence(&self, conn: &Conn) -> Tick {
        let interval = ticks(self.parts.limits.ping_interval);
        interval - share_of(conn.generation, interval / EARLY)
    }

    /// The time of the next ping, if the client sends nothing until then.
    fn ping_at(&self, conn: &Conn) -> Tick {
        conn.silent_since.wrapping_add(self.silence(conn))
    }

    /// Whether a ping was not answered in time: within the pong timeout, and not before the
    /// interval is over even if it went out early.
    fn is_overdue(&self, conn: &Conn) -> bool {
        conn.pinged_at != 0 && self.turn.now() >= self.dead_at(conn)
    }

    /// When an unanswered ping makes a connection a dead one.
    fn dead_at(&self, conn: &Conn) -> Tick {
        let limits = &self.parts.limits;
        let silent = conn.silent_since.wrapping_add(ticks(limits.ping_interval));
        silent.max(conn.pinged_at) + ticks(limits.pong_timeout)
    }

    /// The timer of an open session.
    fn watch(&mut self, slot: u32, conn: &mut Conn, overdue: bool, buffer: &mut [u8]) {
        if conn.out.blocked && overdue {
            // It does not read: no Close frame would reach it.
            self.parts.metrics.close(CloseCode::SLOW_READER.0);
            let reason = "it reads nothing: dropped";
            self.trace_close(conn, "gateway", CloseCode::SLOW_READER.0, reason);
            return self.turn.drop_later(slot);
        }
        if self.turn.now() >= Self::ends_at(conn) {
            let reason = "the token has expired";
            return self.close(slot, conn, CloseCode::TOKEN_EXPIRED, reason);
        }
        // What it said may be waiting to be read, also because this thread had no turn for long.
        if self.is_overdue(conn) && !conn.paused && !conn.unread {
            self.read(slot, conn, buffer);
            if matches!(conn.phase, Phase::Closing) {
                return;
            }
            if self.is_overdue(conn) && !conn.unread {
                return self.close(slot, conn, CloseCode::NO_PONG, "no pong in time");
            }
        }
        let is_reading = !conn.paused && !conn.unread;
        let message_ends = self.message_ends(conn);
        if conn.begun != 0 && is_reading && self.turn.now() >= message_ends {
            return self.endless(slot, conn);
        }
        let mut next = self.ping_at(conn);
        let ends = Self::ends_at(conn);
        if self.turn.now() >= next {
            if conn.pinged_at == 0 && conn.out.len() == 0 {
                write_frame(self.frames_of(slot, conn), Opcode::Ping, b"", None);
                conn.pinged_at = self.turn.now().max(1);
                self.parts.metrics.pings.one();
            }
            next = self.dead_at(conn);
            if next <= self.turn.now() {
                next = self.turn.now() + ticks(self.parts.limits.ping_interval);
            }
        }
        if conn.out.blocked {
            next = next.min(conn.deadline);
        }
        if conn.begun != 0 && is_reading {
            next = next.min(message_ends);
        }
        self.schedule(slot, conn, next.min(ends));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_spread_over_the_whole() {
        const WHOLE: Tick = 250;
        for first in [1, 77, 1_000_000, u32::MAX - 50] {
            for count in [50, 100, 1_000] {
                let mut tenths = [0; 10];
                for number in 0..count {
                    let share = share_of(first.wrapping_add(number), WHOLE);
                    tenths[(share * 10 / WHOLE) as usize] += 1;
                }
                let even = count / 10;
                for tenth in tenths {
                    assert!((even - 2..=even + 2).contains(&tenth), "{first} {tenths:?}");
                }
            }
        }
        assert_eq!(share_of(7, 0), 0);
    }
}
