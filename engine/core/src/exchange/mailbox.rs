//! The mailbox of a shard. It is bounded by items and by bytes, and wakes the shard at most once per
//! batch of mail.
//!
//! A wake-up is a system call, so a sender omits it while the shard is awake:
//!
//! 1. The shard notes that it is about to sleep, and then looks at the queue once more.
//! 2. A sender puts the mail in, and then looks whether the shard sleeps.
//!
//! In any order of these steps, one of the two sees the other.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;

use super::{Answer, BackMail, Committed, Items, Order};

/// The maximum number of waiting mails. A sender of more waits for the shard, whose turns are
/// bounded.
const CAPACITY: usize = 4_096;

/// The number of bytes of waiting mail from which on a sender waits. A batch stays in memory until
/// all shards have seen it.
const BYTES: usize = 64 << 20;

/// The maximum number of empty lists of items that wait to be used again. Large ones are freed.
const SPENT: usize = 3;

/// The time after which a sender tries a full mailbox again.
const FULL_WAIT: Duration = Duration::from_micros(50);

/// Wakes the thread that owns a mailbox.
pub trait Wake: std::fmt::Debug + Send + Sync {
    /// Ends the wait of the owner, or its next wait if it is not waiting.
    fn wake(&self);
}

/// A mail to a shard from another thread.
#[derive(Debug)]
pub enum Mail {
    /// A committed batch: outcomes of commands, and events.
    Committed(Committed),
    /// The answer of a reader.
    Answer(Answer),
    /// The verdict of a back end.
    Back(Box<BackMail>),
    /// An operator's order about sessions.
    Order(Box<Order>),
    /// The order to stop: accept no more connections, finish the commands in flight, tell the
    /// clients, and end.
    Drain {
        /// The number of connections of all shards.
        connections: usize,
    },
}

impl Mail {
    /// Returns the memory that the mail keeps, in bytes.
    fn bytes(&self) -> usize {
        match self {
            Self::Committed(Committed { batch, items, .. }) => {
                (batch.end().0 - batch.first().0) as usize + items.bytes()
            }
            Self::Answer(answer) => answer.frames.len(),
            Self::Back(mail) => mail.bytes(),
            Self::Order(_) | Self::Drain { .. } => 0,
        }
    }
}

/// The waiting mail of one thread, its owner. Bounded by items and by bytes.
#[derive(Debug)]
pub struct Mailbox {
    queue: ArrayQueue<Mail>,
    /// The empty lists on their way back to the sequencer.
    spent: ArrayQueue<Items>,
    /// The memory of the mail in the queue, in bytes.
    bytes: AtomicUsize,
    waker: Box<dyn Wake>,
    awake: AtomicBool,
    /// Whether the owner has ended.
    closed: AtomicBool,
}

impl Mailbox {
    /// Returns an empty mailbox. `waker` wakes its owner.
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

    /// Puts mail in, and waits while the mailbox is full. Returns how often it waited. Drops mail to an
    /// owner that has ended.
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

    /// Puts mail in without waiting.
    ///
    /// # Errors
    /// Returns the mail if the mailbox is full, or its owner has ended.
    pub fn offer(&self, mail: Mail) -> Result<(), Mail> {
        if self.is_closed() {
            return Err(mail);
        }
        self.put(mail)?;
        self.wake();
        Ok(())
    }

    /// Puts mail in. Returns it as the error if the mailbox is full.
    fn put(&self, mail: Mail) -> Result<(), Mail> {
        if self.bytes.load(Ordering::Relaxed) >= BYTES {
            return Err(mail);
        }
        let bytes = mail.bytes();
        // The bytes count before the owner can take the mail.
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.queue.push(mail).inspect_err(|_| {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        })
    }

    /// Wakes the owner if it sleeps.
    #[inline]
    pub fn wake(&self) {
        if !self.awake.swap(true, Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    /// Notes that the owner ends: senders no longer wait for room.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Returns whether the owner has ended.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Takes the next mail; `None` if there is none.
    #[inline]
    pub fn take(&self) -> Option<Mail> {
        let mail = self.queue.pop()?;
        self.bytes.fetch_sub(mail.bytes(), Ordering::Relaxed);
        Some(mail)
    }

    /// Returns a list to the sequencer after the owner has done its work.
    #[inline]
    pub fn give_back(&self, mut items: Items) {
        if items.recycle() {
            // A list without room in the queue is freed.
            let _ = self.spent.push(items);
        }
    }

    /// Returns an empty list, with the memory of an earlier list if one came back.
    #[inline]
    pub fn spare_items(&self) -> Items {
        self.spent.pop().unwrap_or_default()
    }

    /// Notes that the owner is about to sleep. Returns whether it may; `false` if it has mail.
    #[inline]
    pub fn may_sleep(&self) -> bool {
        self.awake.store(false, Ordering::SeqCst);
        if self.queue.is_empty() {
            return true;
        }
        self.woke();
        false
    }

    /// Notes that the owner is awake.
    #[inline]
    pub fn woke(&self) {
        self.awake.store(true, Ordering::SeqCst);
    }
}

/// A waker for an owner that never sleeps.
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
    use crate::cost::Cost;
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
            cost: Cost::NONE,
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
