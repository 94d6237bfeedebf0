//! Devices whose sends were answered with "it is not known whether this was stored": what to repeat, and
//! when.

use std::collections::VecDeque;

use fnv::FnvHashSet;

use crate::clock::{Nanos, SECOND};

/// The time from such an answer to the repetition. A gateway that answers at once every time is not asked
/// more often.
const AFTER: Nanos = SECOND / 5;

/// The devices that repeat what was answered so, in the order of time. Each is there once.
#[derive(Debug, Default)]
pub(super) struct Again {
    due: VecDeque<(Nanos, u32)>,
    waiting: FnvHashSet<u32>,
}

impl Again {
    /// Notes that a device got such an answer.
    pub(super) fn later(&mut self, now: Nanos, device: u32) {
        if self.waiting.insert(device) {
            self.due.push_back((now + AFTER, device));
        }
    }

    /// Takes a device whose time has come.
    pub(super) fn next(&mut self, now: Nanos) -> Option<u32> {
        let (_, device) = self.due.pop_front_if(|(at, _)| *at <= now)?;
        self.waiting.remove(&device);
        Some(device)
    }

    /// Returns when the next device has something to repeat.
    pub(super) fn due(&self) -> Option<Nanos> {
        self.due.front().map(|(at, _)| *at)
    }

    /// Returns whether no device waits.
    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_repeats_once_for_any_number_of_answers() {
        let mut again = Again::default();
        for (now, device) in [(10, 7), (20, 7), (30, 3)] {
            again.later(now, device);
        }
        assert_eq!(again.due(), Some(10 + AFTER));
        assert_eq!(again.next(9 + AFTER), None);
        assert_eq!(again.next(10 + AFTER), Some(7));
        again.later(40, 7);
        let rest: Vec<_> = std::iter::from_fn(|| again.next(SECOND)).collect();
        assert_eq!((rest, again.is_empty()), (vec![3, 7], true));
    }
}
