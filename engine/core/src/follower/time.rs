//! The time of a node that follows: that of the leader's records.
//!
//! A record comes some milliseconds after the time that it has. So the node goes on from the latest time that it
//! heard, runs on with its own monotonic clock, and runs at half speed while it is ahead of what it hears.
//!
//! A node that starts goes on from the time in its store, as a sequencer does that starts: the clock of the machine adds
//! five minutes at most. Its store gets no time before a commit has told one. A node with an empty store has nothing to go
//! on from: it shows the time of the machine until it hears another.

use std::time::Duration;

use trunkline_storage::{Reader, Writer};

use crate::clock::{Clock, Mark, Steady};
use crate::ids::Ids;

/// The difference beyond which the node goes to the time that it hears at once. Another leader may have another time.
const TOLERANCE: Duration = Duration::from_secs(2);

/// The interval at which the node passes the time to the store, in milliseconds.
const TICK: u64 = 1_000;

/// The steady time of the log, and how far the wire time is ahead of it.
#[derive(Debug)]
pub(super) struct LogTime {
    /// The steady time at `passed`.
    steady: Duration,
    /// The difference of both times in milliseconds, modulo 2^64.
    ahead: u64,
    /// The monotonic time of the last look.
    passed: Duration,
    /// The time that the store got last, in milliseconds since 1970 UTC.
    ticked: u64,
    /// Whether a commit has told the time. The clock of the machine may be wrong, so it removes nothing before.
    is_heard: bool,
}

impl LogTime {
    /// Goes on from the times that a clock has, which are those of the log.
    pub(super) fn of(clock: &Clock) -> Self {
        let steady = clock.steady();
        Self {
            steady: Duration::from_millis(steady),
            ahead: clock.now().wrapping_sub(steady),
            passed: clock.passed(),
            ticked: 0,
            is_heard: true,
        }
    }

    /// Begins with the time in the store of a node that starts, and tells it to the other threads.
    pub(super) fn start(store: &Reader, ids: &Ids, clock: &Clock, writer: &mut Writer) -> Self {
        let mark = store.state(ids.clock()).unwrap_or_else(|error| {
            tracing::error!(%error, "the store's time could not be read: going on from the last record");
            None
        });
        let mark = mark.and_then(|bytes| Mark::read(&bytes));
        let look = clock.look();
        let steady = Steady::start(look, mark, store.opened_at()).steady();
        let mut time = Self {
            steady: Duration::from_millis(steady),
            ahead: mark.map_or(0, |mark| mark.wire.wrapping_sub(mark.steady)),
            passed: look.passed,
            ticked: 0,
            is_heard: false,
        };
        time.show(clock, writer);
        time
    }

    /// Lets the time pass until `passed`, a monotonic time.
    pub(super) fn go_on(&mut self, passed: Duration) {
        self.steady += passed.saturating_sub(self.passed);
        self.passed = passed.max(self.passed);
    }

    /// Notes the times of a commit, which come at the monotonic time `passed`.
    pub(super) fn hear(&mut self, steady: u64, ahead: u64, passed: Duration) {
        let since = passed.saturating_sub(self.passed);
        self.go_on(passed);
        (self.ahead, self.is_heard) = (ahead, true);
        let heard = Duration::from_millis(steady);
        let early = self.steady.saturating_sub(heard);
        self.steady = if early > TOLERANCE {
            heard
        } else {
            heard.max(self.steady - early.min(since / 2))
        };
    }

    /// Tells the time to the other threads, and once a second to the store, which removes what has expired.
    pub(super) fn show(&mut self, clock: &Clock, writer: &mut Writer) {
        let steady = self.steady.as_millis() as u64;
        clock.set_steady(Duration::from_millis(steady), self.passed);
        clock.set(self.wire(), self.passed);
        if self.is_due(steady) {
            writer.tick(steady);
        } else if !self.is_heard {
            // Nothing expires at this time. The store recovers from a failed write.
            writer.tick(0);
        }
    }

    /// Returns whether the store gets the time `steady`, and notes that.
    fn is_due(&mut self, steady: u64) -> bool {
        // A time that was too late would keep the store waiting until then.
        self.ticked = self.ticked.min(steady);
        let is_due = self.is_heard && steady - self.ticked >= TICK;
        if is_due {
            self.ticked = steady;
        }
        is_due
    }

    /// Returns how far the wire time is ahead of the steady time, in milliseconds, modulo 2^64.
    pub(super) const fn ahead(&self) -> u64 {
        self.ahead
    }

    /// Returns the wire time.
    pub(super) fn wire(&self) -> Duration {
        let steady = self.steady.as_millis() as u64;
        Duration::from_millis(steady.wrapping_add(self.ahead))
    }

    /// Returns the steady time.
    pub(super) const fn steady(&self) -> Duration {
        self.steady
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_time_follows_the_records_and_never_goes_back_by_little() {
        let mut time = LogTime {
            steady: ms(1_000_000),
            ahead: 0,
            passed: ms(0),
            ticked: 0,
            is_heard: false,
        };
        // A record that was fast is followed at once.
        time.hear(1_000_120, 7, ms(100));
        assert_eq!((time.steady, time.ahead), (ms(1_000_120), 7));
        // Slow ones let the time run at half speed.
        time.hear(1_000_160, 7, ms(200));
        assert_eq!(time.steady, ms(1_000_170));
        time.hear(1_000_260, 7, ms(300));
        assert_eq!(time.steady, ms(1_000_260));
        time.go_on(ms(400));
        assert_eq!(time.steady, ms(1_000_360));
        // An earlier look changes nothing.
        time.go_on(ms(350));
        assert_eq!(time.steady, ms(1_000_360));
    }

    #[test]
    fn the_store_gets_no_time_of_the_clock_and_goes_back_with_the_log() {
        let mut time = LogTime {
            is_heard: false,
            ..LogTime::of(&Clock::new(ms(9_000_000)))
        };
        assert!(!time.is_due(9_000_000), "nothing is heard");
        time.hear(9_000_000, 0, time.passed);
        assert!(time.is_due(9_000_000) && !time.is_due(9_000_999));
        time.hear(1_000_000, 0, time.passed);
        assert!(!time.is_due(1_000_000));
        assert!(time.is_due(1_001_000));
    }

    #[test]
    fn another_time_of_the_log_is_taken_at_once() {
        let mut time = LogTime {
            steady: ms(1_000_000),
            ahead: 0,
            passed: ms(0),
            ticked: 0,
            is_heard: false,
        };
        for heard in [400_000, 2_000_000] {
            time.hear(heard, 0, ms(10));
            assert_eq!(time.steady, ms(heard));
        }
    }
}
