//! The steady time and the wire time, made of looks at the system's clocks.

use std::time::Duration;

use super::follow::{Ahead, Back, Follower, TOLERANCE};
use super::{Look, Mark};

/// How many times faster than time passes the steady time goes after a leap ahead: what was
/// stopped for a week has caught up in half a day.
const HURRY: u32 = 20;

/// What a start takes at once for the time that the store was closed; more is followed as a leap.
const CLOSED: Duration = Duration::from_mins(5);

/// What passes at once between two looks; more is followed as a leap. Looks are a second apart, so
/// either the process stood still, or the monotonic clock is not to be trusted.
const PAUSE: Duration = Duration::from_mins(1);

/// A leap back by less is waited for: the wire time never goes back by so little.
const BACK: Duration = Duration::from_hours(1);

/// A leap of the system clock between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leap {
    /// What it should have said, in milliseconds since 1970.
    pub(crate) expected: u64,
    /// What it said.
    pub(crate) found: u64,
}

/// The two times. It has no clock: the caller looks.
#[derive(Debug)]
pub(crate) struct Steady {
    steady: Follower,
    wire: Follower,
    last: Look,
}

impl Steady {
    /// Goes on from what a store knows of the time: its mark, or else the time of its last record
    /// (0: it has none).
    pub(crate) fn start(look: Look, mark: Option<Mark>, last_record: u64) -> Self {
        let system = look.system;
        let known = match mark {
            Some(mark) => Some(Duration::from_millis(mark.steady)),
            // An earlier version stamped with the system clock: a record from ahead of it proves
            // nothing.
            None if last_record > 0 => Some(Duration::from_millis(last_record).min(system)),
            None => None,
        };
        let steady = known.map_or(system, |known| known.max(system.min(known + CLOSED)));
        let wire = mark.map_or(Duration::ZERO, |mark| Duration::from_millis(mark.wire));
        // One that is far ahead was wrong.
        let wire = if wire > system + BACK {
            system
        } else {
            wire.max(system)
        };
        Self {
            steady: Follower::new(steady, Ahead::Hurry(HURRY), Back::Wait),
            wire: Follower::new(wire, Ahead::Step, Back::StepBeyond(BACK)),
            last: look,
        }
    }

    /// Takes a look; the leap that it shows.
    pub(crate) fn look(&mut self, look: Look) -> Option<Leap> {
        let passed = look.passed.saturating_sub(self.last.passed);
        let expected = self.last.system + passed;
        self.last = look;
        let leap = (look.system.abs_diff(expected) > TOLERANCE).then_some(Leap {
            expected: expected.as_millis() as u64,
            found: look.system.as_millis() as u64,
        });
        for follower in [&mut self.steady, &mut self.wire] {
            if leap.is_some() {
                follower.leapt();
            }
            follower.go_on(passed.min(PAUSE), look.system);
        }
        leap
    }

    /// The steady time, in milliseconds.
    pub(crate) fn steady(&self) -> u64 {
        self.steady.now().as_millis() as u64
    }

    /// The wire time.
    pub(crate) fn wire(&self) -> Duration {
        self.wire.now()
    }

    /// What the store is to know of the time.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            steady: self.steady(),
            wire: self.wire().as_millis() as u64,
        }
    }

    /// How far the steady time is behind the system clock, as of the last look.
    pub(crate) fn behind(&self) -> Duration {
        self.last.system.saturating_sub(self.steady.now())
    }
}

#[cfg(test)]
mod tests;
