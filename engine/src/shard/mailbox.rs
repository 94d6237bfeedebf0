//! A shard's mailbox: bounded, and one wake-up per batch of mail at most.
//!
//! The wake is a system call, so it is left out while the shard is awake: the shard says that it
//! is about to sleep, then looks at the queue once more; a sender first puts the mail in, then
//! asks whether the shard sleeps. Whichever order the two run in, one of them sees the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use mio::Waker;

use crate::reader::Answer;
use crate::sequencer::command::Committed;

/// Mail that may wait; a sender of more waits for the shard, whose turns are bounded.
const CAPACITY: usize = 4_096;

/// How long a sender waits before it looks again whether a full mailbox has room.
const FULL_WAIT: Duration = Duration::from_micros(50);

/// Everything that reaches a shard from another thread.
#[derive(Debug)]
pub(crate) enum Mail {
    Committed(Committed),
    Answer(Answer),
    /// Stop accepting, finish what is in flight, tell the clients, end.
    Drain,
}

#[derive(Debug)]
pub(crate) struct Mailbox {
    queue: ArrayQueue<Mail>,
    waker: Waker,
    awake: AtomicBool,
    /// The owner is gone.
    closed: AtomicBool,
}

impl Mailbox {
    /// A mailbox whose owner polls the waker's registry.
    pub(crate) fn new(waker: Waker) -> Self {
        Self {
            queue: ArrayQueue::new(CAPACITY),
            waker,
            awake: AtomicBool::new(true),
            closed: AtomicBool::new(false),
        }
    }

    /// Puts mail in, waiting while the box is full; answers how often it had to wait. Mail to an
    /// owner that is gone is dropped.
    pub(crate) fn put_waiting(&self, mut mail: Mail) -> u64 {
        let mut waits = 0;
        while let Err(back) = self.queue.push(mail) {
            if self.closed.load(Ordering::SeqCst) {
                return waits;
            }
            mail = back;
            waits += 1;
            self.wake();
            std::thread::sleep(FULL_WAIT);
        }
        self.wake();
        waits
    }

    fn wake(&self) {
        if !self.awake.swap(true, Ordering::SeqCst) {
            // Only a closed eventfd fails, and then there is nobody to wake.
            let _ = self.waker.wake();
        }
    }

    /// The owner ends: nobody is to wait for it.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn take(&self) -> Option<Mail> {
        self.queue.pop()
    }

    /// The owner is about to sleep: whether it may, or has mail.
    pub(crate) fn may_sleep(&self) -> bool {
        self.awake.store(false, Ordering::SeqCst);
        if self.queue.is_empty() {
            return true;
        }
        self.woke();
        false
    }

    /// The owner is up.
    pub(crate) fn woke(&self) {
        self.awake.store(true, Ordering::SeqCst);
    }
}
