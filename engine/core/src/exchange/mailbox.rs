//! A shard's mailbox: bounded by items and by bytes, and one wake-up per batch of mail at most.
//!
//! The wake is a system call, so it is left out while the shard is awake: the shard says that it
//! is about to sleep, then looks at the queue once more; a sender first puts the mail in, then
//! asks whether the shard sleeps. Whichever order the two run in, one of them sees the other.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;

use super::{Answer, Committed, Items};

/// Mail that may wait; a sender of more waits for the shard, whose turns are bounded.
const CAPACITY: usize = 4_096;

/// Bytes that mail may hold, and whatever was put in last: batches stay in memory as long as one
/// shard has not seen them. A sender of more waits.
const BYTES: usize = 64 << 20;

/// Lists of items that are kept to be filled again; large ones are freed.
const SPENT: usize = 3;

/// How long a sender waits before it looks again whether a full mailbox has room.
const FULL_WAIT: Duration = Duration::from_micros(50);

/// Wakes the thread that owns a mailbox.
pub trait Wake: std::fmt::Debug + Send + Sync {
    /// Lets the owner's wait end, or its next one if it does not wait now.
    fn wake(&self);
}

/// Everything that reaches a shard from another thread.
#[derive(Debug)]
pub enum Mail {
    /// What became of commands, and the events that came of them.
    Committed(Committed),
    /// What a reader found.
    Answer(Answer),
    /// Stop accepting, finish what is in flight, tell the clients, end.
    Drain {
        /// Connections of all shards.
        connections: usize,
    },
}

impl Mail {
    /// The memory that it keeps.
    fn bytes(&self) -> usize {
        match self {
            Self::Committed(Committed { batch, items, .. }) => {
                (batch.end().0 - batch.first().0) as usize + items.bytes()
            }
            Self::Answer(answer) => answer.frames.len(),
            Self::Drain { .. } => 0,
        }
    }
}

/// What waits for one thread. Bounded by items and by bytes.
#[derive(Debug)]
pub struct Mailbox {
    queue: ArrayQueue<Mail>,
    /// Empty lists on their way back to the sequencer.
    spent: ArrayQueue<Items>,
    /// What the mail in the queue holds.
    bytes: AtomicUsize,
    waker: Box<dyn Wake>,
    awake: AtomicBool,
    /// The owner is gone.
    closed: AtomicBool,
}

impl Mailbox {
    /// A mailbox whose owner is woken by `waker`.
    pub fn new(waker: Box<dyn Wake>) -> Self {
        Self {
            queue: ArrayQueue::new(CAPACITY),
            spent: ArrayQueue::new(SPENT),
            bytes: AtomicUsize::new(0),
            waker,
            awake: AtomicBool::new(true),
            closed: AtomicBool::new(false),
        }
    }

    /// Puts mail in, waiting while the box is full; answers how often it had to wait. Mail to an
    /// owner that is gone is dropped.
    pub fn put_waiting(&self, mut mail: Mail) -> u64 {
        let mut waits = 0;
        while let Err(back) = self.put(mail) {
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

    /// Puts mail in, or gives it back where the box is full.
    fn put(&self, mail: Mail) -> Result<(), Mail> {
        if self.bytes.load(Ordering::Relaxed) >= BYTES {
            return Err(mail);
        }
        let bytes = mail.bytes();
        // Before the owner can take it out again.
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.queue.push(mail).inspect_err(|_| {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        })
    }

    /// Wakes the owner, if it sleeps.
    pub fn wake(&self) {
        if !self.awake.swap(true, Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    /// The owner ends: nobody is to wait for it.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Whether the owner has ended.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Takes the next mail out.
    pub fn take(&self) -> Option<Mail> {
        let mail = self.queue.pop()?;
        self.bytes.fetch_sub(mail.bytes(), Ordering::Relaxed);
        Some(mail)
    }

    /// The owner has done what a list says.
    pub fn give_back(&self, mut items: Items) {
        if items.recycle() {
            // Where enough are there it is freed.
            let _ = self.spent.push(items);
        }
    }

    /// An empty list, with the memory of an earlier one if one came back.
    pub fn spare_items(&self) -> Items {
        self.spent.pop().unwrap_or_default()
    }

    /// The owner is about to sleep: whether it may, or has mail.
    pub fn may_sleep(&self) -> bool {
        self.awake.store(false, Ordering::SeqCst);
        if self.queue.is_empty() {
            return true;
        }
        self.woke();
        false
    }

    /// The owner is up.
    pub fn woke(&self) {
        self.awake.store(true, Ordering::SeqCst);
    }
}

/// The waker of an owner that never sleeps.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct NoSleeper;

#[cfg(test)]
impl Wake for NoSleeper {
    fn wake(&self) {}
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::exchange::{AnswerKind, ConnRef};

    fn mailbox() -> Mailbox {
        Mailbox::new(Box::new(NoSleeper))
    }

    fn letter(bytes: usize) -> Mail {
        let conn = ConnRef {
            slot: 0,
            generation: 0,
        };
        Mail::Answer(Answer {
            conn,
            frames: vec![0; bytes],
            error: None,
            kind: AnswerKind::SendReply,
        })
    }

    #[test]
    fn bounded_by_items() {
        let mailbox = mailbox();
        for _ in 0..CAPACITY {
            mailbox.put(letter(1)).unwrap();
        }
        assert!(mailbox.put(letter(1)).is_err());
        assert_eq!(mailbox.bytes.load(Ordering::Relaxed), CAPACITY);
        assert!(mailbox.take().is_some());
        mailbox.put(letter(1)).unwrap();
    }

    #[test]
    fn lists_come_back_empty_and_no_more_than_wanted() {
        let mailbox = mailbox();
        let position = trunkline_storage::Position(8);
        let spent = |users: usize| {
            let mut items = Items::default();
            (0..users).for_each(|user| {
                items.spread(trunkline_storage::TimelineId(user as u128), position)
            });
            items
        };
        for _ in 0..SPENT + 1 {
            mailbox.give_back(spent(9));
        }
        for _ in 0..SPENT {
            let items = mailbox.spare_items();
            assert!(items.is_empty() && items.bytes() == 0);
            assert!(items.list.capacity() > 0 && items.users.capacity() >= 9);
        }
        assert_eq!(mailbox.spare_items().users.capacity(), 0);
        mailbox.give_back(spent(Items::KEPT_USERS + 1));
        assert_eq!(mailbox.spare_items().users.capacity(), 0);
    }

    /// A sender of much waits until the owner has taken enough, and is not forgotten.
    #[test]
    fn bounded_by_bytes() {
        let mailbox = mailbox();
        let mailbox = Arc::new(mailbox);
        let letter = || letter(BYTES / 4);
        for _ in 0..4 {
            assert_eq!(mailbox.put_waiting(letter()), 0);
        }
        assert!(mailbox.put(letter()).is_err());
        // A sender that waits gets its room once the owner has taken something.
        let letter = letter();
        let sender = std::thread::spawn({
            let mailbox = Arc::clone(&mailbox);
            move || mailbox.put_waiting(letter)
        });
        assert!(mailbox.take().is_some());
        sender.join().unwrap();
        assert_eq!(std::iter::from_fn(|| mailbox.take()).count(), 4);
        assert_eq!(mailbox.bytes.load(Ordering::Relaxed), 0);
    }
}
