//! The stop of a shard: when it tells its clients to go, and how long they are to wait before they
//! reconnect.

use std::time::{Duration, Instant};

use super::returns::Returns;
use crate::timer::Tick;

/// The number of connections that a stopping shard tells in a second at least, however long the window
/// is. A few clients need no spreading.
const PACE: u128 = 100;

/// The time for the answers of readers after the last client was told. A client can ask again elsewhere,
/// and readers may have much to do.
const READS: Duration = Duration::from_secs(2);

/// The steps of a shard's stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The shard runs.
    Running,
    /// The shard tells its clients, in the order of their slots.
    Telling {
        began: Instant,
        /// The number of connections when the stop began.
        total: usize,
        /// The first slot that the shard has not looked at.
        next: usize,
        /// The number of connections that are told.
        told: usize,
    },
    /// All clients are told, and the shard waits until they are gone.
    Closing {
        began: Instant,
        /// The time at which the last was told.
        told: Instant,
    },
}

/// The stop of a shard, and the delays of clients that it sends away.
#[derive(Debug)]
pub(crate) struct Departing {
    /// Clients are told over this time.
    window: Duration,
    /// Connections that are left after this time are dropped.
    timeout: Duration,
    step: Step,
    reads_over: bool,
    returns: Returns,
}

impl Departing {
    /// Makes the state of a shard that runs.
    pub(super) const fn new(window: Duration, timeout: Duration, returns: Returns) -> Self {
        Self {
            window,
            timeout,
            step: Step::Running,
            reads_over: false,
            returns,
        }
    }

    /// Begins the stop of a shard with `here` connections. All shards together have `everywhere`
    /// connections; each takes as long to admit again as `cost` plain ones.
    pub(super) fn begin(&mut self, now: Instant, here: usize, everywhere: usize, cost: u64) {
        self.returns.stop(everywhere, cost);
        self.step = Step::Telling {
            began: now,
            total: here,
            next: 0,
            told: 0,
        };
    }

    /// Whether the stop has begun.
    pub(super) fn has_begun(&self) -> bool {
        self.step != Step::Running
    }

    /// Whether clients remain to be told.
    pub(super) const fn is_telling(&self) -> bool {
        matches!(self.step, Step::Telling { .. })
    }

    /// Whether all clients are told: the shard ends with its last connection.
    pub(super) const fn is_closing(&self) -> bool {
        matches!(self.step, Step::Closing { .. })
    }

    /// The next slot below `slots` to look at, while the clients due by `now` are not all told.
    /// Report a connection in that slot with [`Self::told`].
    pub(super) fn next_slot(&mut self, now: Instant, slots: usize) -> Option<usize> {
        let window = self.window;
        let Step::Telling {
            began,
            total,
            next,
            told,
        } = &mut self.step
        else {
            return None;
        };
        let due = due(*total, now.saturating_duration_since(*began), window);
        if *told >= due || *next >= slots {
            return None;
        }
        *next += 1;
        Some(*next - 1)
    }

    /// Counts a connection that was told.
    pub(super) const fn told(&mut self) {
        if let Step::Telling { told, .. } = &mut self.step {
            *told += 1;
        }
    }

    /// Ends the telling where all connections are told, or all slots below `slots` looked at.
    pub(super) fn end_telling(&mut self, now: Instant, slots: usize) {
        if let Step::Telling {
            began,
            total,
            next,
            told,
        } = self.step
            && (next >= slots || told >= total)
        {
            self.step = Step::Closing { began, told: now };
        }
    }

    /// Whether the time for the answers of readers ends now. `true` once at most.
    pub(super) fn ends_reads(&mut self, now: Instant) -> bool {
        let Step::Closing { told, .. } = self.step else {
            return false;
        };
        let over = now.saturating_duration_since(told) >= READS;
        over && !std::mem::replace(&mut self.reads_over, true)
    }

    /// Whether clients that are to go wait no longer for the answers of readers.
    pub(super) const fn are_reads_over(&self) -> bool {
        self.reads_over
    }

    /// Whether the time of the stop is over: the connections that are left are to be dropped, and
    /// nobody is told any more.
    pub(super) fn is_late(&mut self, now: Instant) -> bool {
        let (Step::Telling { began, .. } | Step::Closing { began, .. }) = self.step else {
            return false;
        };
        let late = now.saturating_duration_since(began) >= self.timeout;
        if late {
            self.step = Step::Closing { began, told: now };
        }
        late
    }

    /// The longest delay of a client that goes because the gateway stops, in milliseconds.
    pub(super) fn delay_at_stop(&self) -> u64 {
        self.returns.of_all()
    }

    /// The longest delay of a client that this shard has no room for now, in milliseconds. Counts
    /// the client, as `cost` plain ones.
    pub(super) fn delay_without_room(&mut self, now: Tick, cost: u64) -> u64 {
        self.returns.of_one(now, cost)
    }
}

/// The number of connections out of `total` to be told by `elapsed`.
fn due(total: usize, elapsed: Duration, window: Duration) -> usize {
    if elapsed >= window {
        return total;
    }
    let (elapsed, window) = (elapsed.as_micros(), window.as_micros());
    let share = total as u128 * elapsed / window.max(1);
    let pace = PACE * elapsed / 1_000_000 + 1;
    usize::try_from(share.max(pace)).unwrap_or(total).min(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_over_the_window_and_few_at_once() {
        let check = |total, millis, expected| {
            let elapsed = Duration::from_millis(millis);
            assert_eq!(due(total, elapsed, Duration::from_secs(2)), expected);
        };
        check(100_000, 0, 1);
        check(100_000, 20, 1_000);
        check(100_000, 1_000, 50_000);
        check(100_000, 1_999, 99_950);
        check(100_000, 2_000, 100_000);
        check(3, 0, 1);
        check(3, 20, 3);
        check(150, 1_000, 101);
        check(0, 0, 0);
        assert_eq!(due(5, Duration::ZERO, Duration::ZERO), 5);
    }

    /// Tells the connections in slots 1, 2 and 5 of 6, as far as they are due.
    fn tell(departing: &mut Departing, now: Instant) -> Vec<usize> {
        let mut told = Vec::new();
        while let Some(slot) = departing.next_slot(now, 6) {
            if [1, 2, 5].contains(&slot) {
                departing.told();
                told.push(slot);
            }
        }
        departing.end_telling(now, 6);
        told
    }

    #[test]
    fn clients_are_told_in_turn_then_readers_have_their_time_then_all_is_dropped() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let timeout = Duration::from_secs(5);
        let returns = Returns::new(1, 1, 30_000);
        let mut departing = Departing::new(Duration::from_secs(1), timeout, returns);
        assert!(!departing.has_begun() && !departing.is_late(at(9_000)));
        assert_eq!(tell(&mut departing, at(0)), [0; 0]);
        departing.begin(began, 3, 4, 2);
        assert_eq!(departing.delay_at_stop(), 8_000);
        assert!(departing.has_begun() && departing.is_telling());
        assert_eq!(tell(&mut departing, at(0)), [1]);
        assert_eq!(tell(&mut departing, at(1)), [0; 0]);
        assert!(!departing.ends_reads(at(4_000)), "not all are told");
        assert_eq!(tell(&mut departing, at(1_000)), [2, 5]);
        assert!(departing.is_closing() && !departing.is_telling());
        assert!(!departing.ends_reads(at(2_999)) && !departing.are_reads_over());
        assert!(departing.ends_reads(at(3_000)) && departing.are_reads_over());
        assert!(!departing.ends_reads(at(3_001)), "once");
        assert!(!departing.is_late(at(4_999)));
        assert!(departing.is_late(at(5_000)));
    }

    #[test]
    fn a_late_stop_tells_nobody_more() {
        let began = Instant::now();
        let returns = Returns::new(1, 1, 30_000);
        let hour = Duration::from_secs(3_600);
        let mut departing = Departing::new(hour, Duration::from_secs(1), returns);
        departing.begin(began, 3, 3, 1);
        let now = began + Duration::from_secs(1);
        assert!(departing.is_late(now) && departing.is_closing());
        assert_eq!(departing.next_slot(now, 6), None);
    }
}
