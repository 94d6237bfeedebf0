//! The times of one connection: its timer, its deadline, and how long its peer has been silent.

use super::turn::Turn;
use crate::limits::Limits;
use crate::timer::{Tick, ticks};

/// A ping goes out early by up to this part of its interval, for each connection by another bit.
const EARLY: Tick = 8;

/// How long a shard waits for its peers, in ticks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// The time for the HTTP upgrade.
    pub(super) handshake: Tick,
    /// The time from the upgrade to `connect`.
    pub(super) connect: Tick,
    /// The time in which a client must take a byte of its output.
    pub(super) write: Tick,
    /// The time for one WebSocket message.
    pub(super) message: Tick,
    /// The silence after which a connection is pinged.
    pub(super) ping: Tick,
    /// The time for the answer to a ping.
    pub(super) pong: Tick,
}

impl Timeouts {
    /// Returns the timeouts of these limits.
    pub(super) fn of(limits: &Limits) -> Self {
        Self {
            handshake: ticks(limits.handshake_timeout),
            connect: ticks(limits.connect_timeout),
            write: ticks(limits.write_timeout),
            message: ticks(limits.message_timeout),
            ping: ticks(limits.ping_interval),
            pong: ticks(limits.pong_timeout),
        }
    }

    /// The silence after which the connection with this number is pinged. It is a little less than
    /// the interval, and differs between connections: connections that spoke at the same time are
    /// not pinged at the same time.
    const fn silence(&self, number: u32) -> Tick {
        self.ping - share_of(number, self.ping / EARLY)
    }
}

/// Returns a share of `whole`, less than `whole`, that differs from number to number. The shares of
/// consecutive numbers are spread evenly over `whole`, as multiples of the golden ratio are.
const fn share_of(number: u32, whole: Tick) -> Tick {
    let share = number.wrapping_mul(0x9e37_79b9) as u64;
    ((share * whole as u64) >> 32) as Tick
}

/// The times of one connection, in ticks.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// The timer entry that counts; entries for other ticks are ignored.
    due: Tick,
    /// When the current phase, or the current blockage of the output, must have ended. 0: never.
    deadline: Tick,
    /// Since when the peer has been silent, or is taken to have been.
    silent_since: Tick,
    /// When an unanswered ping went out. 0: no ping is unanswered.
    pinged_at: Tick,
}

impl Times {
    /// Lets the timer fire at `at`, unless it fires earlier anyway.
    pub(super) fn schedule(&mut self, slot: u32, turn: &mut Turn, at: Tick) {
        turn.schedule(slot, &mut self.due, at);
    }

    /// Whether a timer entry for this tick counts.
    pub(super) const fn is_due(&self, entry: Tick) -> bool {
        self.due == entry
    }

    /// Sets the deadline `timeout` ticks from now, and the timer with it.
    pub(super) fn set_deadline(&mut self, slot: u32, turn: &mut Turn, timeout: Tick) {
        self.deadline = turn.now() + timeout;
        self.schedule(slot, turn, self.deadline);
    }

    /// Removes the deadline.
    pub(super) const fn clear_deadline(&mut self) {
        self.deadline = 0;
    }

    /// The tick of the deadline; 0 without one.
    pub(super) const fn deadline(&self) -> Tick {
        self.deadline
    }

    /// Whether the deadline has passed.
    pub(super) const fn is_overdue(&self, now: Tick) -> bool {
        self.deadline != 0 && self.deadline <= now
    }

    /// Notes that the peer sent something.
    pub(super) const fn note_received(&mut self, now: Tick) {
        self.silent_since = now;
        self.pinged_at = 0;
    }

    /// Begins the silence of a new session, as if part of it had passed already. Sessions that begin
    /// at the same time are so pinged at times spread over the whole interval. `number` tells
    /// connections apart.
    pub(super) const fn begin_session(&mut self, now: Tick, number: u32, timeouts: &Timeouts) {
        let silent = share_of(number, timeouts.silence(number));
        // That may be before the first tick, so the subtraction wraps around.
        self.silent_since = now.wrapping_sub(silent);
    }

    /// The tick of the next ping, if the peer sends nothing until then.
    pub(super) const fn ping_at(&self, number: u32, timeouts: &Timeouts) -> Tick {
        self.silent_since.wrapping_add(timeouts.silence(number))
    }

    /// Notes that a ping went out.
    pub(super) fn pinged(&mut self, now: Tick) {
        self.pinged_at = now.max(1);
    }

    /// Whether a ping is unanswered.
    pub(super) const fn is_pinged(&self) -> bool {
        self.pinged_at != 0
    }

    /// The tick at which an unanswered ping means that the peer is dead: the pong timeout after the
    /// ping, and not before the timeout after a whole interval if the ping went out early.
    pub(super) fn dead_at(&self, timeouts: &Timeouts) -> Tick {
        let silent = self.silent_since.wrapping_add(timeouts.ping);
        silent.max(self.pinged_at) + timeouts.pong
    }

    /// Whether a ping was not answered in time.
    pub(super) fn is_dead(&self, now: Tick, timeouts: &Timeouts) -> bool {
        self.is_pinged() && now >= self.dead_at(timeouts)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::timer::TICK;

    const TIMEOUTS: Timeouts = Timeouts {
        handshake: 50,
        connect: 100,
        write: 300,
        message: 300,
        ping: 250,
        pong: 100,
    };

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

    #[test]
    fn a_peer_is_dead_once_its_ping_is_unanswered_for_long_and_never_before() {
        let mut times = Times::default();
        times.note_received(1_000);
        let ping = times.ping_at(3, &TIMEOUTS);
        assert!(
            (1_000 + 250 - 250 / EARLY..=1_250).contains(&ping),
            "{ping}"
        );
        assert!(!times.is_dead(9_000, &TIMEOUTS), "nobody asked");
        times.pinged(ping);
        // A ping that went out early gives its peer the rest of the interval too.
        assert_eq!(times.dead_at(&TIMEOUTS), 1_350);
        assert!(!times.is_dead(1_349, &TIMEOUTS) && times.is_dead(1_350, &TIMEOUTS));
        times.pinged(1_300);
        assert!(!times.is_dead(1_399, &TIMEOUTS) && times.is_dead(1_400, &TIMEOUTS));
        times.note_received(1_390);
        assert!(!times.is_pinged() && !times.is_dead(9_000, &TIMEOUTS));
    }

    #[test]
    fn new_sessions_are_pinged_over_the_whole_interval() {
        let at = |number| {
            let mut times = Times::default();
            times.begin_session(1_000, number, &TIMEOUTS);
            times.ping_at(number, &TIMEOUTS)
        };
        let all: Vec<_> = (0..1_000).map(at).collect();
        assert!(all.iter().all(|at| (1_001..=1_250).contains(at)));
        assert!(all.iter().any(|at| *at < 1_030) && all.iter().any(|at| *at > 1_220));
    }

    #[test]
    fn a_deadline_sets_the_timer_and_none_never_passes() {
        let began = Instant::now();
        let mut turn = Turn::new(began);
        turn.begin(began + TICK * 5);
        let mut times = Times::default();
        assert!(!times.is_overdue(Tick::MAX));
        times.set_deadline(1, &mut turn, 20);
        assert!(times.is_due(25) && !times.is_due(24));
        assert!(!times.is_overdue(24) && times.is_overdue(25));
        times.clear_deadline();
        assert!(!times.is_overdue(Tick::MAX));
    }
}
