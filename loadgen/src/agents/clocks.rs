//! The offset between the clocks of two machines, measured by round trips.
//!
//! The method is that of NTP (RFC 5905, section 8). A message leaves here at `sent`, arrives there at
//! `received`; its answer leaves there at `answered` and arrives here at `back`. If both ways took equally
//! long, the clock there is ahead by the mean of `received - sent` and `answered - back`. The true offset
//! differs from that by at most half of the time on the way, so the shortest round trip counts.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::clock::{Nanos, to_nanos};

/// A clock that shows the time of day, in nanoseconds since 1970, and runs evenly: it is set once, and then
/// follows the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DayClock {
    set: Instant,
    set_to: Nanos,
}

impl DayClock {
    /// Sets a clock to the time of day.
    pub(crate) fn set() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            set: Instant::now(),
            set_to: to_nanos(since.unwrap_or_default()),
        }
    }

    /// Returns the time now.
    pub(crate) fn now(&self) -> Nanos {
        self.at(Instant::now())
    }

    /// Returns the time at an instant. An instant before the clock was set counts as that.
    pub(crate) fn at(&self, instant: Instant) -> Nanos {
        self.set_to + to_nanos(instant.saturating_duration_since(self.set))
    }

    /// Returns the instant of a time. A time before the clock was set counts as that.
    pub(crate) fn instant(&self, at: Nanos) -> Instant {
        self.set + Duration::from_nanos(at.saturating_sub(self.set_to))
    }
}

/// One round trip. `sent` and `back` are by the clock here, the others by the clock there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RoundTrip {
    pub(crate) sent: Nanos,
    pub(crate) received: Nanos,
    pub(crate) answered: Nanos,
    pub(crate) back: Nanos,
}

impl RoundTrip {
    /// Returns the time on the way, there and back.
    fn on_the_way(&self) -> Nanos {
        let there = self.answered.saturating_sub(self.received);
        self.back.saturating_sub(self.sent).saturating_sub(there)
    }
}

/// How far the clock of another machine is ahead of the clock here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Offset {
    /// Nanoseconds; negative if it is behind.
    pub(crate) ahead: i64,
    /// The offset is true to this many nanoseconds.
    pub(crate) uncertainty: Nanos,
}

/// Returns how far `a` is after `b`; negative if it is before.
fn difference(a: Nanos, b: Nanos) -> i64 {
    // Times of day: their difference fits unless a clock is centuries off.
    a.wrapping_sub(b).cast_signed()
}

impl Offset {
    /// Returns the offset by the shortest of the round trips; `None` without any.
    pub(crate) fn of(trips: &[RoundTrip]) -> Option<Self> {
        let best = trips.iter().min_by_key(|it| it.on_the_way())?;
        let there = difference(best.received, best.sent);
        let back = difference(best.answered, best.back);
        Some(Self {
            ahead: there.midpoint(back),
            uncertainty: best.on_the_way().div_ceil(2),
        })
    }

    /// Returns the offset over a time at whose end it was `after`: the drift makes it less certain.
    pub(crate) fn until(self, after: Self) -> Self {
        let drift = self.ahead.wrapping_sub(after.ahead).unsigned_abs();
        let uncertainty = self.uncertainty.max(after.uncertainty);
        Self {
            uncertainty: uncertainty.saturating_add(drift),
            ..self
        }
    }

    /// Converts a time here to the same time there.
    pub(crate) fn there(self, here: Nanos) -> Nanos {
        here.saturating_add_signed(self.ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;
    const START: Nanos = 1_700_000_000_000_000_000;

    /// A round trip to a clock that is `ahead`, with these times on the ways, and 3 ms there.
    fn trip(ahead: i64, there: i64, back: i64) -> RoundTrip {
        let at = |ms: i64| START.saturating_add_signed(ms);
        RoundTrip {
            sent: START,
            received: at(there + ahead),
            answered: at(there + 3 * MS + ahead),
            back: at(there + 3 * MS + back),
        }
    }

    #[test]
    fn the_shortest_round_trip_tells_the_offset() {
        for ahead in [0, 3_000 * MS, -90_000_000 * MS] {
            let trips = [
                trip(ahead, 9 * MS, 2 * MS),
                trip(ahead, 5 * MS, 5 * MS),
                trip(ahead, 40 * MS, 6 * MS),
            ];
            let offset = Offset::of(&trips).unwrap();
            assert_eq!(offset.ahead, ahead);
            assert_eq!(offset.uncertainty, 5 * MS as u64);
            assert_eq!(offset.there(START), START.saturating_add_signed(ahead));
        }
        assert_eq!(Offset::of(&[]), None);
    }

    #[test]
    fn the_true_offset_is_never_further_than_the_uncertainty() {
        for there in [0, 1, 7, 10_000] {
            for back in [0, 3, 900, 20_000] {
                let offset = Offset::of(&[trip(77 * MS, there, back)]).unwrap();
                let off = offset.ahead.abs_diff(77 * MS);
                assert!(off <= offset.uncertainty, "{there} {back} {offset:?}");
            }
        }
    }

    #[test]
    fn a_drift_makes_the_offset_less_certain() {
        let offset = |ahead, uncertainty| Offset { ahead, uncertainty };
        let during = offset(1_000, 40).until(offset(1_250, 60));
        assert_eq!(during, offset(1_000, 310));
    }

    #[test]
    fn the_clock_goes_both_ways() {
        let clock = DayClock::set();
        let at = clock.now() + 5_000;
        assert_eq!(clock.at(clock.instant(at)), at);
        assert_eq!(clock.at(clock.instant(3)), clock.at(clock.set));
    }
}
