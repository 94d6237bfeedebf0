//! A hashed timer wheel with coarse ticks.
//!
//! Entries are hints. A connection keeps the tick that counts, and ignores entries that fire at another
//! tick. So moving a deadline costs one push and no search.

use std::time::{Duration, Instant};

/// Time since the wheel was made, in units of [`TICK`].
pub(crate) type Tick = u32;

/// The resolution of the wheel. Timers fire up to this much late.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// The number of ticks in a second.
pub(crate) const TICKS_PER_SECOND: Tick = 10;
const _: () = assert!(TICK.as_millis() as Tick * TICKS_PER_SECOND == 1_000);

/// The number of buckets. Entries up to 51 s ahead fire in the first round.
const BUCKETS: usize = 512;

/// A timer wheel: entries by the tick at which they fire.
#[derive(Debug)]
pub(crate) struct Wheel {
    began: Instant,
    /// Buckets up to this tick have been emptied.
    done: Tick,
    buckets: Vec<Vec<(u32, Tick)>>,
    /// Bit N is set exactly while bucket N has entries.
    filled: [u64; BUCKETS / 64],
}

/// Returns a duration in ticks, rounded up.
pub(crate) fn ticks(duration: Duration) -> Tick {
    let ticks = duration.as_millis().div_ceil(TICK.as_millis());
    Tick::try_from(ticks).unwrap_or(Tick::MAX / 2)
}

impl Wheel {
    /// Makes an empty wheel that counts ticks from `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            began: now,
            done: 0,
            buckets: (0..BUCKETS).map(|_| Vec::new()).collect(),
            filled: [0; BUCKETS / 64],
        }
    }

    /// Returns the tick at `now`.
    pub(crate) fn tick(&self, now: Instant) -> Tick {
        ((now - self.began).as_millis() / TICK.as_millis()) as Tick
    }

    /// Returns the microseconds from the beginning to `now`, modulo 2^32.
    pub(crate) fn micros(&self, now: Instant) -> u32 {
        (now - self.began).as_micros() as u32
    }

    /// Lets `slot` fire at tick `at`, or at the next tick if `at` has passed.
    pub(crate) fn schedule(&mut self, slot: u32, at: Tick) {
        let bucket = at.max(self.done + 1) as usize % BUCKETS;
        self.buckets[bucket].push((slot, at));
        self.filled[bucket / 64] |= 1 << (bucket % 64);
    }

    /// Moves the entries that are due at `now` to `fired`, each with the tick it was scheduled for.
    pub(crate) fn advance(&mut self, now: Instant, fired: &mut Vec<(u32, Tick)>) {
        let tick = self.tick(now);
        let steps = (tick.saturating_sub(self.done) as usize).min(BUCKETS);
        let first = tick + 1 - steps as Tick;
        self.done = tick.max(self.done);
        for at in first..=tick {
            let bucket = at as usize % BUCKETS;
            if self.filled[bucket / 64] & 1 << (bucket % 64) == 0 {
                continue;
            }
            self.filled[bucket / 64] &= !(1 << (bucket % 64));
            for (slot, due) in std::mem::take(&mut self.buckets[bucket]) {
                if due <= tick {
                    fired.push((slot, due));
                } else {
                    self.schedule(slot, due);
                }
            }
        }
    }

    /// Returns the time until a bucket with entries is due; `None` without entries.
    pub(crate) fn next(&self, now: Instant) -> Option<Duration> {
        let start = self.done as usize + 1;
        let mut ahead = start;
        // The shard asks before every sleep: a step covers 64 buckets.
        loop {
            let bucket = ahead % BUCKETS;
            let rest = self.filled[bucket / 64] >> (bucket % 64);
            if rest != 0 {
                ahead += rest.trailing_zeros() as usize;
                break;
            }
            ahead += 64 - bucket % 64;
            if ahead >= start + BUCKETS {
                return None;
            }
        }
        let due = self.began + TICK * Tick::try_from(ahead).unwrap_or(Tick::MAX);
        Some(due.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_is_found_wherever_it_is() {
        let start = Instant::now();
        for done in [0, 1, 63, 64, 100, BUCKETS as Tick - 1] {
            for ahead in 1..=BUCKETS as Tick {
                let mut wheel = Wheel::new(start);
                let now = start + TICK * done;
                wheel.advance(now, &mut Vec::new());
                wheel.schedule(1, done + ahead);
                assert_eq!(wheel.next(now), Some(TICK * ahead), "{done} + {ahead}");
            }
        }
    }

    #[test]
    fn fires_when_due_and_not_before() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        assert_eq!(wheel.next(start), None);
        let deadlines = [1, 2, 2, 60, 511, 512, 513, 2_000];
        for (slot, &at) in deadlines.iter().enumerate() {
            wheel.schedule(slot as u32, at);
        }
        let mut seen = Vec::new();
        for tick in 0..2_100 {
            let mut fired = Vec::new();
            wheel.advance(start + TICK * tick, &mut fired);
            for (slot, due) in fired {
                assert_eq!((due, deadlines[slot as usize]), (tick, tick));
                seen.push(slot);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..deadlines.len() as u32).collect::<Vec<_>>());
    }

    #[test]
    fn a_long_sleep_misses_nothing_and_past_deadlines_fire_next() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        for at in 1..1_500 {
            wheel.schedule(at, at);
        }
        let mut fired = Vec::new();
        wheel.advance(start + TICK * 1_400, &mut fired);
        assert_eq!(fired.len(), 1_400);
        wheel.schedule(7, 3);
        assert_eq!(wheel.next(start + TICK * 1_400), Some(TICK));
        fired.clear();
        wheel.advance(start + TICK * 1_401, &mut fired);
        fired.sort_unstable();
        assert_eq!(fired, [(7, 3), (1_401, 1_401)]);
    }
}
