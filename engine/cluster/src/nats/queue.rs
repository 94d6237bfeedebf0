//! Bounded queues from the thread that speaks NATS to others.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use trunkline_core::exchange::Wake;

/// The room of a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// The most items.
    pub(crate) items: usize,
    /// The most bytes of all items. One item alone may have more.
    pub(crate) bytes: usize,
}

/// A queue with a bound on its items and one on their bytes. The reader is woken by each item.
pub(crate) struct Queue<T> {
    room: Room,
    waiting: Mutex<Waiting<T>>,
    wake: Arc<dyn Wake>,
    /// Told when an item was taken.
    taken: Notify,
    /// Nothing comes any more.
    is_ended: AtomicBool,
}

struct Waiting<T> {
    items: VecDeque<(usize, T)>,
    /// The bytes of all items: their sum at any time.
    bytes: usize,
    /// The items that found no room since the reader asked last.
    lost: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new(room: Room, wake: Arc<dyn Wake>) -> Self {
        let waiting = Waiting {
            items: VecDeque::new(),
            bytes: 0,
            lost: 0,
        };
        Self {
            room,
            waiting: Mutex::new(waiting),
            wake,
            taken: Notify::new(),
            is_ended: AtomicBool::new(false),
        }
    }

    /// Adds an item that counts as `bytes`, if there is room.
    pub(crate) fn push(&self, bytes: usize, item: T) -> Result<(), T> {
        let mut waiting = self.waiting.lock();
        if !waiting.fits(self.room, bytes) {
            return Err(item);
        }
        waiting.bytes += bytes;
        waiting.items.push_back((bytes, item));
        drop(waiting);
        self.wake.wake();
        Ok(())
    }

    /// Adds an item, or counts it as lost.
    pub(crate) fn push_or_lose(&self, bytes: usize, item: T) {
        if self.push(bytes, item).is_err() {
            self.lose(1);
        }
    }

    /// Counts items as lost that never came here.
    pub(crate) fn lose(&self, items: u64) {
        let mut waiting = self.waiting.lock();
        waiting.lost = waiting.lost.saturating_add(items);
        drop(waiting);
        self.wake.wake();
    }

    /// Returns the bytes that may be added now, and 0 if no item may.
    pub(crate) fn free(&self) -> usize {
        let waiting = self.waiting.lock();
        if waiting.items.len() >= self.room.items {
            return 0;
        }
        self.room.bytes.saturating_sub(waiting.bytes)
    }

    /// Takes the oldest item.
    pub(crate) fn take(&self) -> Option<T> {
        let mut waiting = self.waiting.lock();
        let (bytes, item) = waiting.items.pop_front()?;
        waiting.bytes -= bytes;
        drop(waiting);
        self.taken.notify_one();
        Some(item)
    }

    /// Returns the number of lost items since the last call.
    pub(crate) fn take_lost(&self) -> u64 {
        std::mem::take(&mut self.waiting.lock().lost)
    }

    /// Removes all items.
    pub(crate) fn clear(&self) {
        let mut waiting = self.waiting.lock();
        waiting.items.clear();
        waiting.bytes = 0;
        drop(waiting);
        self.taken.notify_one();
    }

    /// Tells the reader that nothing comes any more.
    pub(crate) fn end(&self) {
        self.is_ended.store(true, Ordering::Release);
        self.wake.wake();
    }

    /// Returns whether nothing comes any more, apart from what waits.
    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::Acquire)
    }

    /// Waits until an item has been taken since the last wait.
    pub(crate) async fn taken(&self) {
        self.taken.notified().await;
    }
}

impl<T> Waiting<T> {
    fn fits(&self, room: Room, bytes: usize) -> bool {
        self.items.is_empty() || self.items.len() < room.items && self.bytes + bytes <= room.bytes
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.waiting.lock();
        f.debug_struct("Queue")
            .field("items", &waiting.items.len())
            .field("bytes", &waiting.bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::bell::Bell;
    use super::*;

    #[test]
    fn a_queue_takes_no_more_than_its_room() {
        let bell = Arc::new(Bell::default());
        let room = Room {
            items: 3,
            bytes: 10,
        };
        let queue = Queue::new(room, Arc::clone(&bell) as Arc<dyn Wake>);
        // Larger than all the room, and alone.
        assert_eq!(queue.push(11, 'a'), Ok(()));
        assert!(bell.wait(Duration::ZERO));
        assert_eq!(queue.push(0, 'b'), Err('b'));
        assert_eq!((queue.take(), queue.free()), (Some('a'), 10));
        for item in ['c', 'd', 'e'] {
            assert_eq!(queue.push(3, item), Ok(()));
        }
        assert_eq!((queue.push(0, 'f'), queue.free()), (Err('f'), 0));
        assert_eq!((queue.take(), queue.free()), (Some('c'), 4));
        assert_eq!(queue.push(5, 'g'), Err('g'));
        queue.push_or_lose(5, 'h');
        queue.lose(2);
        assert_eq!((queue.take_lost(), queue.take_lost()), (3, 0));
        queue.clear();
        assert_eq!((queue.take(), queue.free()), (None, 10));
    }
}
