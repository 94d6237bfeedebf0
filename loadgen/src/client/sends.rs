//! The sends of a thread between their intended time and their write.
//!
//! The schedule is not moved. A send whose session is away waits for it, in order, and its latencies
//! count from its intended time. A send that finds no room, or whose session never comes back, counts
//! as skipped.

use std::collections::VecDeque;

use fnv::FnvHashMap;

use crate::clock::Nanos;
use crate::schedule::Arrival;
use crate::stats::{Latencies, Metric};

/// The maximum number of a thread's sends that wait for their sessions.
const HELD_MAX: usize = 1 << 20;

/// A send that waits for its session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct HeldSend {
    /// The intended time of the send.
    pub(super) intended: Nanos,
    pub(super) arrival: Arrival,
}

/// The sends of a thread that are due and not written.
#[derive(Debug, Default)]
pub(super) struct Sends {
    /// Intended times of the sends that this turn has not written yet.
    departing: Vec<Nanos>,
    /// The sends that wait for their session, by device.
    held: FnvHashMap<u32, VecDeque<HeldSend>>,
    /// The number of held sends; at most [`HELD_MAX`].
    held_count: usize,
}

impl Sends {
    /// A send is handed to its connection, and will be written in this turn.
    pub(super) fn departs(&mut self, intended: Nanos) {
        self.departing.push(intended);
    }

    /// Records the lag of the sends of this turn, which are all written now. The lag includes all
    /// other work of the turn up to now.
    pub(super) fn written(&mut self, now: Nanos, latencies: &mut Latencies) {
        for intended in self.departing.drain(..) {
            latencies.record(Metric::SendLag, intended, now);
        }
    }

    /// Keeps a send until its device is back. Returns whether there was room.
    pub(super) fn hold(&mut self, device: u32, send: HeldSend) -> bool {
        let room = self.held_count < HELD_MAX;
        if room {
            self.held_count += 1;
            self.held.entry(device).or_default().push_back(send);
        }
        room
    }

    /// Takes the next send that waits for a device.
    pub(super) fn next_held(&mut self, device: u32) -> Option<HeldSend> {
        let waiting = self.held.get_mut(&device)?;
        let next = waiting.pop_front();
        if next.is_some() {
            self.held_count -= 1;
        } else {
            self.held.remove(&device);
        }
        next
    }

    /// Forgets the sends that wait for a device. Returns how many there were.
    pub(super) fn forget(&mut self, device: u32) -> u64 {
        let count = self.held.remove(&device).map_or(0, |it| it.len());
        self.held_count -= count;
        count as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(intended: Nanos, stream: u32) -> HeldSend {
        HeldSend {
            intended,
            arrival: Arrival {
                stream,
                keyed: false,
            },
        }
    }

    #[test]
    fn sends_wait_in_order_each_for_its_device() {
        let mut sends = Sends::default();
        for (device, intended) in [(1, 10), (2, 20), (1, 30), (3, 40)] {
            assert!(sends.hold(device, send(intended, device)));
        }
        assert_eq!(sends.next_held(1), Some(send(10, 1)));
        assert_eq!(sends.next_held(1), Some(send(30, 1)));
        assert_eq!(sends.next_held(1), None);
        assert_eq!((sends.forget(2), sends.forget(2)), (1, 0));
        assert_eq!((sends.held_count, sends.held.len()), (1, 1));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut sends = Sends {
            held_count: HELD_MAX - 1,
            ..Sends::default()
        };
        assert!(sends.hold(1, send(0, 0)));
        assert!(!sends.hold(2, send(0, 0)));
        sends.next_held(1);
        assert!(sends.hold(2, send(0, 0)));
    }

    #[test]
    fn a_send_is_as_late_as_the_write_of_its_turn() {
        let (mut sends, mut latencies) = (Sends::default(), Latencies::new());
        sends.departs(4_000_000);
        sends.departs(3_000_000);
        sends.written(5_000_000, &mut latencies);
        // A second turn without sends records nothing.
        sends.written(9_000_000, &mut latencies);
        let lag = latencies.of(Metric::SendLag);
        assert_eq!((lag.len(), lag.min(), lag.max()), (2, 1_000, 2_000));
    }
}
