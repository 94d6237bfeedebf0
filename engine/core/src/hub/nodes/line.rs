//! Things on their way to the thread that speaks with other nodes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

/// The maximum number of things that wait.
const ITEMS: usize = 4_096;

/// The number of bytes at which no more are taken.
const BYTES: usize = 16 << 20;

/// Things of one kind that wait, in order.
pub(super) struct Line<T> {
    waiting: Mutex<Waiting<T>>,
    /// Whether somebody was told since the last look.
    is_told: AtomicBool,
    /// The number of things that found no room.
    refused: AtomicU64,
}

struct Waiting<T> {
    things: VecDeque<T>,
    bytes: usize,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self {
            things: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            is_told: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        }
    }
}

impl<T> Line<T> {
    /// Adds a thing that keeps a number of bytes. Returns whether to wake the one who looks.
    ///
    /// # Errors
    /// There is no room: the thing comes back.
    pub(super) fn add(&self, thing: T, bytes: usize) -> Result<bool, T> {
        let mut waiting = self.waiting.lock();
        if waiting.things.len() >= ITEMS || waiting.bytes >= BYTES {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(thing);
        }
        waiting.bytes += bytes;
        waiting.things.push_back(thing);
        drop(waiting);
        Ok(!self.is_told.swap(true, Ordering::SeqCst))
    }

    /// Returns whether there may be things.
    pub(super) fn has_some(&self) -> bool {
        self.is_told.load(Ordering::SeqCst)
    }

    /// Returns all things, in order.
    pub(super) fn take(&self) -> VecDeque<T> {
        // A thing that comes behind the look wakes once more.
        if !self.is_told.swap(false, Ordering::SeqCst) {
            return VecDeque::new();
        }
        std::mem::take(&mut *self.waiting.lock()).things
    }

    /// Returns how many things found no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_by_items_and_by_bytes_and_one_wake_up_for_all() {
        let line = Line::default();
        assert_eq!(line.add(1, 1), Ok(true));
        for _ in 1..ITEMS {
            assert_eq!(line.add(2, 1), Ok(false));
        }
        assert_eq!((line.add(3, 1), line.refused()), (Err(3), 1));
        assert_eq!(line.take().len(), ITEMS);
        assert!(line.take().is_empty() && !line.has_some());
        let taken = (0..9).filter(|_| line.add(4, BYTES / 2).is_ok());
        assert_eq!(taken.count(), 2);
    }
}
