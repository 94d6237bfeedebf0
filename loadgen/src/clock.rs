//! The clock of a run: nanoseconds since one start, the same for all threads.

use std::time::{Duration, Instant};

/// Nanoseconds since the run's start.
pub(crate) type Nanos = u64;

/// One second in [`Nanos`].
pub(crate) const SECOND: Nanos = 1_000_000_000;

/// Reads the monotonic clock as [`Nanos`] since the run's start. Copies agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts a clock at zero.
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Makes a clock that is at zero at this time, and before it.
    pub(crate) fn starting(start: Instant) -> Self {
        Self { start }
    }

    /// Returns the nanoseconds since the start. They do not overflow for 584 years.
    pub(crate) fn now(&self) -> Nanos {
        to_nanos(self.start.elapsed())
    }
}

/// Converts a duration to [`Nanos`]; the largest value stands for all longer ones.
pub(crate) fn to_nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Converts [`Nanos`] to seconds.
pub(crate) fn seconds(nanos: Nanos) -> f64 {
    nanos as f64 / SECOND as f64
}
