//! Sends whose session is away: they wait for it, in order, and are late by that.
//!
//! The schedule is not moved: what waits here was due when it was due, and its latencies count from
//! then. What finds no room, or whose session never comes back, counts as skipped.

use std::collections::VecDeque;

use fnv::FnvHashMap;

use crate::clock::Nanos;
use crate::schedule::Arrival;

/// Most sends of a thread that wait.
pub(super) const HELD_MAX: usize = 1 << 20;

/// The sends of a thread that wait.
#[derive(Debug, Default)]
pub(super) struct Held {
    waiting: FnvHashMap<u32, VecDeque<(Nanos, Arrival)>>,
    count: usize,
}

impl Held {
    /// Keeps a send until its device is back; whether there was room.
    pub(super) fn keep(&mut self, device: u32, intended: Nanos, arrival: Arrival) -> bool {
        let room = self.count < HELD_MAX;
        if room {
            self.count += 1;
            let waiting = self.waiting.entry(device).or_default();
            waiting.push_back((intended, arrival));
        }
        room
    }

    /// Takes a device's next send.
    pub(super) fn next(&mut self, device: u32) -> Option<(Nanos, Arrival)> {
        let waiting = self.waiting.get_mut(&device)?;
        let next = waiting.pop_front();
        if next.is_some() {
            self.count -= 1;
        } else {
            self.waiting.remove(&device);
        }
        next
    }

    /// Forgets a device's sends: how many there were.
    pub(super) fn forget(&mut self, device: u32) -> u64 {
        let count = self.waiting.remove(&device).map_or(0, |it| it.len());
        self.count -= count;
        count as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(stream: u32) -> Arrival {
        Arrival {
            stream,
            keyed: false,
        }
    }

    #[test]
    fn sends_wait_in_order_each_for_its_device() {
        let mut held = Held::default();
        for (device, intended) in [(1, 10), (2, 20), (1, 30), (3, 40)] {
            assert!(held.keep(device, intended, arrival(device)));
        }
        assert_eq!(held.next(1), Some((10, arrival(1))));
        assert_eq!(held.next(1), Some((30, arrival(1))));
        assert_eq!(held.next(1), None);
        assert_eq!((held.forget(2), held.forget(2)), (1, 0));
        assert_eq!((held.count, held.waiting.len()), (1, 1));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut held = Held {
            count: HELD_MAX - 1,
            ..Held::default()
        };
        assert!(held.keep(1, 0, arrival(0)));
        assert!(!held.keep(2, 0, arrival(0)));
        held.next(1);
        assert!(held.keep(2, 0, arrival(0)));
    }
}
