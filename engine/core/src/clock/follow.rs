//! One time that follows the system clock.

use std::time::Duration;

/// A difference to the system clock that is no leap: it is made up for at once.
pub(super) const TOLERANCE: Duration = Duration::from_secs(2);

/// How long a leap must last before it counts.
pub(super) const HOLD: Duration = Duration::from_mins(1);

/// What passed between two looks counts up to this for following a leap.
const STEP: Duration = Duration::from_secs(1);

/// What a follower does about a leap ahead that lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ahead {
    /// Goes there at once.
    Step,
    /// Goes this many times faster than time passes, until it is there.
    Hurry(u32),
}

/// What a follower does about a leap back that lasts: up to this it goes at half its speed until
/// the system clock has caught up; beyond this it steps, where it may go back at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Back {
    Wait,
    StepBeyond(Duration),
}

/// A time that goes on with the monotonic clock, and after the system clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Follower {
    now: Duration,
    ahead: Ahead,
    back: Back,
    /// How long the system clock has been elsewhere.
    elsewhere: Duration,
}

impl Follower {
    pub(super) fn new(now: Duration, ahead: Ahead, back: Back) -> Self {
        Self {
            now,
            ahead,
            back,
            elsewhere: Duration::ZERO,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// The system clock has just leapt: how long it stays there counts from now on.
    pub(super) fn leapt(&mut self) {
        self.elsewhere = Duration::ZERO;
    }

    /// So much has passed, and the system clock says `system`.
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
