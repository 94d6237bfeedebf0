//! The time of the gateway, robust against leaps of the system clock.
//!
//! The sequencer looks at the system clock and at the monotonic clock. `Steady` computes two times
//! from these looks, both in milliseconds since 1970 UTC:
//!
//! - The **steady** time advances with the monotonic clock. Records are stamped with it, and records
//!   expire by it. It follows a leap ahead slowly, so no single look at a clock deletes anything.
//! - The **wire** time is the time that clients see. It follows the system clock, but ignores a leap
//!   that does not last.
//!
//! While the system clock is right, all three times are the same.

mod follow;
mod mark;
mod steady;
mod utc;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) use mark::Mark;
pub(crate) use steady::{Leap, Steady};
pub use utc::utc;

/// One look at both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// The monotonic time since a fixed moment in the past.
    pub passed: Duration,
    /// The time since 1970 UTC by the system clock.
    pub system: Duration,
}

/// The wire time for all threads.
///
/// Between two looks of the sequencer the wire time advances with the monotonic clock.
#[derive(Debug)]
pub struct Clock {
    /// The moment from which the monotonic time counts.
    began: Instant,
    /// The wire time minus the time since `began`, in nanoseconds, modulo 2^64. It is finer than
    /// the milliseconds that clients see, so that no client sees a millisecond that has not begun.
    offset: AtomicU64,
    /// The steady time minus the time since `began`, in nanoseconds, modulo 2^64.
    steady: AtomicU64,
}

impl Clock {
    /// Returns a clock that starts at this wire time.
    pub fn new(wire: Duration) -> Self {
        let clock = Self {
            began: Instant::now(),
            offset: AtomicU64::new(0),
            steady: AtomicU64::new(0),
        };
        clock.set(wire, Duration::ZERO);
        clock.set_steady(wire, Duration::ZERO);
        clock
    }

    /// Returns the wire time in milliseconds since 1970 UTC.
    pub fn now(&self) -> u64 {
        let passed = self.began.elapsed().as_nanos() as u64;
        let offset = self.offset.load(Ordering::Relaxed);
        offset.wrapping_add(passed) / 1_000_000
    }

    /// Returns the steady time in milliseconds since 1970 UTC.
    pub fn steady(&self) -> u64 {
        let passed = self.began.elapsed().as_nanos() as u64;
        let offset = self.steady.load(Ordering::Relaxed);
        offset.wrapping_add(passed) / 1_000_000
    }

    /// Returns the time since the clock began. It never goes back.
    pub fn passed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Reads both clocks of the system.
    pub fn look(&self) -> Look {
        Look {
            passed: self.passed(),
            system: system(),
        }
    }

    /// Sets the wire time as of a look. `passed` is the monotonic time of the look.
    pub fn set(&self, wire: Duration, passed: Duration) {
        set(&self.offset, wire, passed);
    }

    /// Sets the steady time as of a look. `passed` is the monotonic time of the look.
    pub fn set_steady(&self, steady: Duration, passed: Duration) {
        set(&self.steady, steady, passed);
    }
}

fn set(offset: &AtomicU64, time: Duration, passed: Duration) {
    let value = (time.as_nanos() as u64).wrapping_sub(passed.as_nanos() as u64);
    // A store without a change would take the value out of the caches of all shards.
    if offset.load(Ordering::Relaxed) != value {
        offset.store(value, Ordering::Relaxed);
    }
}

/// Returns the time since 1970 UTC by the system clock; zero if the clock is before 1970.
pub fn system() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Returns the milliseconds since 1970 UTC by the system clock. Use it only to compare with times
/// that other systems stamped, such as those of tokens. All other code asks a [`Clock`].
pub fn system_ms() -> u64 {
    system().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_see_the_wire_time_that_was_set() {
        let clock = Clock::new(Duration::from_millis(5_000_000));
        assert!((5_000_000..6_000_000).contains(&clock.now()));
        let look = clock.look();
        clock.set(Duration::from_millis(9_000_000), look.passed);
        assert!((9_000_000..10_000_000).contains(&clock.now()));
        clock.set(Duration::from_millis(1), look.passed);
        assert!(clock.now() < 1_000_000, "also back");
    }
}
