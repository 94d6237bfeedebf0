//! The steady time and the wire time, computed from looks at the system's clocks.

use std::time::Duration;

use super::follow::{Ahead, Back, Follower, TOLERANCE};
use super::mark::EVERY;
use super::{Look, Mark};

/// The factor by which the steady time runs faster after a leap ahead. After a week without the
/// gateway it catches up in half a day.
const HURRY: u32 = 20;

/// The part of the time without the gateway that starts add at once. They follow the rest as a leap. Starts
/// together add no more than this and the time that has passed while the gateway ran: a gateway that is started
/// again and again beside a wrong clock deletes nothing sooner than one that runs.
const CLOSED: Duration = Duration::from_mins(5);

/// The longest time between two looks that passes at once; the rest is followed as a leap. Looks
/// are a second apart, so after a longer time either the process stood still or the monotonic clock
/// is wrong.
const PAUSE: Duration = Duration::from_mins(1);

/// The longest leap back for which the wire time waits instead of stepping back.
const BACK: Duration = Duration::from_hours(1);

/// A leap of the system clock between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leap {
    /// The expected time, in milliseconds since 1970 UTC.
    pub(crate) expected: u64,
    /// The time of the system clock, in milliseconds since 1970 UTC.
    pub(crate) found: u64,
}

/// The steady time and the wire time. It reads no clock itself: the caller passes looks.
#[derive(Debug)]
pub(crate) struct Steady {
    steady: Follower,
    wire: Follower,
    /// The steady time since which starts have added nothing, in milliseconds: see [`Mark::added`].
    added: u64,
    last: Look,
}

impl Steady {
    /// Continues from the time in a store: its mark, or the time of its last record (0 if the store has none) if
    /// there is no mark, or the record came after it.
    pub(crate) fn start(look: Look, mark: Option<Mark>, last_record: u64) -> Self {
        let system = look.system;
        let known = match mark {
            Some(mark) => {
                // A killed gateway ran on after the mark: its records are a minute behind the mark at most.
                let ran = mark.steady..=mark.steady.saturating_add(EVERY.as_millis() as u64);
                let is_known = ran.contains(&last_record);
                let known = if is_known { last_record } else { mark.steady };
                Some(Duration::from_millis(known))
            }
            // An earlier version stamped records with the system clock. A record that is ahead of
            // the clock proves nothing.
            None if last_record > 0 => Some(Duration::from_millis(last_record).min(system)),
            None => None,
        };
        let room = match (mark, known) {
            (Some(mark), Some(known)) => {
                let passed = known.saturating_sub(Duration::from_millis(mark.added));
                passed.min(CLOSED)
            }
            _ => CLOSED,
        };
        let steady = known.map_or(system, |known| known.max(system.min(known + room)));
        let spent = known.map_or(Duration::ZERO, |known| steady.saturating_sub(known));
        let added = steady.saturating_sub(room.saturating_sub(spent));
        let wire = mark.map_or(Duration::ZERO, |mark| Duration::from_millis(mark.wire));
        // A stored wire time that is far ahead of the system clock was wrong.
        let wire = if wire > system + BACK {
            system
        } else {
            wire.max(system)
        };
        Self {
            steady: Follower::new(steady, Ahead::Hurry(HURRY), Back::Wait),
            wire: Follower::new(wire, Ahead::Step, Back::StepBeyond(BACK)),
            added: added.as_millis() as u64,
            last: look,
        }
    }

    /// Advances both times to a look. Returns the leap of the system clock since the last look, if
    /// there was one.
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

    /// Lets the steady time go on from `steady` and the wire time from `wire`, unless they are later.
    pub(crate) fn reach(&mut self, steady: Duration, wire: Duration) {
        if self.steady.now() < steady {
            self.steady = Follower::new(steady, Ahead::Hurry(HURRY), Back::Wait);
        }
        if self.wire.now() < wire {
            self.wire = Follower::new(wire, Ahead::Step, Back::StepBeyond(BACK));
        }
    }

    /// Returns the steady time in milliseconds since 1970 UTC.
    pub(crate) fn steady(&self) -> u64 {
        self.steady.now().as_millis() as u64
    }

    /// Returns the wire time since 1970 UTC.
    pub(crate) fn wire(&self) -> Duration {
        self.wire.now()
    }

    /// Returns the mark to store.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            steady: self.steady(),
            wire: self.wire().as_millis() as u64,
            added: self.added,
        }
    }

    /// Returns how far the steady time was behind the system clock at the last look.
    pub(crate) fn behind(&self) -> Duration {
        self.last.system.saturating_sub(self.steady.now())
    }
}

#[cfg(test)]
mod tests;
