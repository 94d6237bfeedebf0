//! Events for users at other nodes, on their way to the thread that speaks with them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::super::PushFrames;
use super::elsewhere::NodeNumber;
use crate::ids::UserId;

/// The maximum number of events that wait.
const ITEMS: usize = 4_096;

/// The number of bytes of events at which no more are taken.
const BYTES: usize = 16 << 20;

/// An event for users at one other node.
#[derive(Debug, Clone)]
pub struct EventElsewhere {
    /// The node.
    pub node: NodeNumber,
    /// The ids of the users.
    pub users: SmallVec<[UserId; 2]>,
    /// The push, as frames of each encoding.
    pub frames: Arc<PushFrames>,
    /// Whether to drop the event for a connection that has other data waiting.
    pub trifle: bool,
}

impl EventElsewhere {
    /// Returns the memory that the event keeps, in bytes.
    fn bytes(&self) -> usize {
        size_of::<Self>() + size_of::<UserId>() * self.users.len() + self.frames.size()
    }
}

/// Events that wait.
#[derive(Default)]
pub(super) struct Events {
    waiting: Mutex<Waiting>,
    /// Whether somebody was told since the last look.
    is_told: AtomicBool,
    /// The number of events that found no room.
    refused: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<EventElsewhere>,
    bytes: usize,
}

impl Events {
    /// Adds an event. Returns whether to wake the one who looks; `None` if there is no room.
    pub(super) fn add(&self, event: EventElsewhere) -> Option<bool> {
        let mut waiting = self.waiting.lock();
        if waiting.events.len() >= ITEMS || waiting.bytes >= BYTES {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        waiting.bytes += event.bytes();
        waiting.events.push_back(event);
        drop(waiting);
        Some(!self.is_told.swap(true, Ordering::SeqCst))
    }

    /// Returns whether there may be events.
    pub(super) fn has_some(&self) -> bool {
        self.is_told.load(Ordering::SeqCst)
    }

    /// Returns all events, in order.
    pub(super) fn take(&self) -> VecDeque<EventElsewhere> {
        // An event that comes behind the look wakes once more.
        if !self.is_told.swap(false, Ordering::SeqCst) {
            return VecDeque::new();
        }
        std::mem::take(&mut *self.waiting.lock()).events
    }

    /// Returns how many events found no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use trunkline_storage::TimelineId;

    use super::*;

    fn event(length: usize) -> EventElsewhere {
        EventElsewhere {
            node: NodeNumber(1),
            users: [TimelineId(1)].into_iter().collect(),
            frames: Arc::new(PushFrames::typing(&"x".repeat(length), "alice", false)),
            trifle: true,
        }
    }

    #[test]
    fn bounded_by_items_and_by_bytes_and_one_wake_up_for_all() {
        let events = Events::default();
        assert_eq!(events.add(event(1)), Some(true));
        for _ in 1..ITEMS {
            assert_eq!(events.add(event(1)), Some(false));
        }
        assert_eq!((events.add(event(1)), events.refused()), (None, 1));
        assert_eq!(events.take().len(), ITEMS);
        assert!(events.take().is_empty() && !events.has_some());
        // Two encodings of each.
        let taken = (0..9).filter(|_| events.add(event(BYTES / 4)).is_some());
        assert_eq!(taken.count(), 2);
    }
}
