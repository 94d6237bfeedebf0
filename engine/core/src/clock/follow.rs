//! A time that follows the system clock and smooths its leaps.

use std::time::Duration;

/// The largest difference from the system clock that is no leap. The follower makes up for it at
/// once.
pub(super) const TOLERANCE: Duration = Duration::from_secs(2);

/// The time that a leap must last before the follower reacts to it.
pub(super) const HOLD: Duration = Duration::from_mins(1);

/// The most time between two looks that counts towards following a leap.
const STEP: Duration = Duration::from_secs(1);

/// The reaction of a follower to a lasting leap ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ahead {
    /// The follower goes to the new time at once.
    Step,
    /// The follower runs faster by this factor until it reaches the new time.
    Hurry(u32),
}

/// The reaction of a follower to a lasting leap back. With `Wait` it runs at half speed until the
/// system clock has caught up. With `StepBeyond` it does the same for leaps up to the given length,
/// and steps back at once for longer ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Back {
    Wait,
    StepBeyond(Duration),
}

/// A time that advances with the monotonic clock and follows the system clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Follower {
    now: Duration,
    ahead: Ahead,
    back: Back,
    /// How long the system clock has differed from this time by more than the tolerance.
    elsewhere: Duration,
}

impl Follower {
    /// Returns a time that starts at `now`.
    pub(super) fn new(now: Duration, ahead: Ahead, back: Back) -> Self {
        Self {
            now,
            ahead,
            back,
            elsewhere: Duration::ZERO,
        }
    }

    /// Returns the present time.
    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// Notes that the system clock has just leapt, and restarts the wait of [`HOLD`].
    pub(super) fn leapt(&mut self) {
        self.elsewhere = Duration::ZERO;
    }

    /// Advances by `passed`, and towards `system`, the time of the system clock.
    pub(super) fn go_on(&mut self, passed: Duration, system: Duration) {
        let expected = self.now + passed;
        let difference = system.abs_diff(expected);
        if difference <= TOLERANCE {
            self.elsewhere = Duration::ZERO;
        } else {
            // A long pause between two looks does not make one look a lasting leap.
            self.elsewhere += passed.min(STEP);
            if self.elsewhere < HOLD {
                self.now = expected;
                return;
            }
        }
        let is_leap = difference > TOLERANCE;
        self.now = if system >= expected {
            match self.ahead {
                Ahead::Hurry(times) if is_leap => {
                    system.min(expected.saturating_add(passed.min(STEP) * times))
                }
                _ => system,
            }
        } else {
            match self.back {
                Back::StepBeyond(most) if difference > most => system,
                _ => system.max(self.now + passed / 2),
            }
        };
    }
}
