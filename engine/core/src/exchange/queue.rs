//! The queue of commands to the sequencer. It is bounded by batches and by bytes.
//!
//! Shards never wait for room. A shard keeps a batch that does not fit, and reads less from its
//! clients. Decided batches go back to the shards, so that their memory is allocated only once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use crossbeam::queue::ArrayQueue;
use trunkline_storage::{Position, TimelineId};

use super::{Command, CommandBatch};

/// The maximum number of waiting batches.
const BATCHES: usize = 1_024;

/// The number of bytes of waiting batches at which the queue takes no more.
const BYTES: usize = 32 << 20;

/// The maximum number of empty batches that wait to be used again.
const SPENT: usize = 64;

/// The maximum memory of the empty batches in bytes.
const SPENT_BYTES: usize = 8 << 20;

/// The empty batches on their way back to the shards.
#[derive(Debug)]
struct Spent {
    batches: ArrayQueue<Box<CommandBatch>>,
    bytes: AtomicUsize,
}

/// The end of the queue that callers put their commands in.
#[derive(Debug, Clone)]
pub struct ToSequencer {
    batches: Sender<Box<CommandBatch>>,
    bytes: Arc<AtomicUsize>,
    spent: Arc<Spent>,
    hurry: Arc<AtomicBool>,
}

/// The end of the queue that the sequencer takes commands from.
#[derive(Debug)]
pub struct Commands {
    batches: Receiver<Box<CommandBatch>>,
    bytes: Arc<AtomicUsize>,
    spent: Arc<Spent>,
    hurry: Arc<AtomicBool>,
}

/// Returns both ends of a new queue.
pub fn queue() -> (ToSequencer, Commands) {
    queue_with(Arc::default())
}

/// Returns both ends of a new queue, which keeps the bytes of what waits in `bytes`: of batches, and of commands that
/// were taken out and are not decided yet.
pub fn queue_with(bytes: Arc<AtomicUsize>) -> (ToSequencer, Commands) {
    let (sender, receiver) = bounded(BATCHES);
    let spent = Arc::new(Spent {
        batches: ArrayQueue::new(SPENT),
        bytes: AtomicUsize::new(0),
    });
    let hurry = Arc::new(AtomicBool::new(false));
    let to = ToSequencer {
        batches: sender,
        bytes: Arc::clone(&bytes),
        spent: Arc::clone(&spent),
        hurry: Arc::clone(&hurry),
    };
    let commands = Commands {
        batches: receiver,
        bytes,
        spent,
        hurry,
    };
    (to, commands)
}

/// Returns the memory that a batch keeps, in bytes.
const fn bytes(batch: &CommandBatch) -> usize {
    batch.bodies.capacity()
        + batch.positions.capacity() * size_of::<(TimelineId, Position)>()
        + batch.commands.capacity() * size_of::<Command>()
}

impl Spent {
    fn take(&self) -> Option<Box<CommandBatch>> {
        let batch = self.batches.pop()?;
        self.bytes.fetch_sub(bytes(&batch), Ordering::Relaxed);
        Some(batch)
    }

    #[inline]
    fn put(&self, mut batch: Box<CommandBatch>) {
        batch.clear();
        let bytes = bytes(&batch);
        // The bytes count before a shard can take the batch.
        let held = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if held + bytes > SPENT_BYTES || self.batches.push(batch).is_err() {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl ToSequencer {
    /// Returns an empty batch, with the memory of an earlier batch if one came back.
    #[inline]
    pub fn spare(&self) -> Box<CommandBatch> {
        self.spent.take().unwrap_or_default()
    }

    /// Returns the free bytes in the first half of the queue; 0 if half of it is in use. A connection
    /// with many unanswered commands adds no more than this. Other connections use the second half.
    pub fn room(&self) -> usize {
        (BYTES / 2).saturating_sub(self.bytes.load(Ordering::Relaxed))
    }

    /// Asks the sequencer to end all delays, because the gateway stops.
    pub fn hurry(&self) {
        self.hurry.store(true, Ordering::Relaxed);
        // In a full queue the sequencer does not sleep, and needs no batch to wake it.
        let _ = self.try_send(self.spare());
    }

    /// Puts a batch in. Drops the batch if the sequencer has ended.
    ///
    /// # Errors
    /// The queue is full. The error is the batch.
    #[inline]
    pub fn try_send(&self, batch: Box<CommandBatch>) -> Result<(), Box<CommandBatch>> {
        if self.bytes.load(Ordering::Relaxed) >= BYTES {
            return Err(batch);
        }
        let bytes = bytes(&batch);
        // The bytes count before the sequencer can take the batch.
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        match self.batches.try_send(batch) {
            Err(TrySendError::Full(back)) => {
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
                Err(back)
            }
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }
}

impl Commands {
    /// Waits at most `time` for a batch.
    ///
    /// # Errors
    /// No batch came in time, or all senders are gone.
    #[inline]
    pub fn next(&self, time: Duration) -> Result<Box<CommandBatch>, RecvTimeoutError> {
        self.batches
            .recv_timeout(time)
            .inspect(|batch| self.taken(batch))
    }

    /// Returns whether all delays have ended, because the gateway stops.
    #[inline]
    pub fn hurries(&self) -> bool {
        self.hurry.load(Ordering::Relaxed)
    }

    /// Returns the next batch without waiting; `None` if there is none.
    #[inline]
    pub fn waiting(&self) -> Option<Box<CommandBatch>> {
        let batch = self.batches.try_recv().ok()?;
        self.taken(&batch);
        Some(batch)
    }

    /// Returns whether no batch waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Counts bytes of commands that were taken out and are not decided yet. They take room in the
    /// queue until [`release`](Self::release).
    pub fn hold(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Frees the room of commands that are decided.
    pub fn release(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Returns a decided batch to the shards.
    #[inline]
    pub fn give_back(&self, batch: Box<CommandBatch>) {
        self.spent.put(batch);
    }

    #[inline]
    fn taken(&self, batch: &CommandBatch) {
        self.bytes.fetch_sub(bytes(batch), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(bytes: usize) -> Box<CommandBatch> {
        let mut batch = CommandBatch::default();
        batch.bodies = vec![0; bytes];
        Box::new(batch)
    }

    /// Puts batches in until the queue is full. Returns how many fitted.
    fn fill(to: &ToSequencer, bytes: usize) -> usize {
        let mut fitted = 0;
        while to.try_send(batch(bytes)).is_ok() {
            fitted += 1;
        }
        fitted
    }

    #[test]
    fn bounded_both_ways() {
        for (size, most) in [(BYTES / 4, 4), (2 * BYTES, 1), (1, BATCHES)] {
            let (to, commands) = queue();
            for _ in 0..2 {
                assert_eq!(fill(&to, size), most);
                for _ in 0..most {
                    assert!(commands.waiting().is_some());
                }
                assert!(commands.waiting().is_none());
                assert_eq!(to.bytes.load(Ordering::Relaxed), 0);
            }
        }
    }

    #[test]
    fn what_waits_for_its_turn_takes_room() {
        let counted = Arc::new(AtomicUsize::new(0));
        let (to, commands) = queue_with(Arc::clone(&counted));
        assert!(commands.is_empty());
        to.try_send(batch(1_000)).unwrap();
        assert_eq!(counted.load(Ordering::Relaxed), 1_000);
        commands.hold(500);
        drop(commands.waiting());
        assert_eq!(counted.load(Ordering::Relaxed), 500);
        commands.release(500);
        assert_eq!(to.room(), BYTES / 2);
        commands.hold(BYTES);
        assert_eq!(to.room(), 0);
        assert!(to.try_send(batch(1)).is_err());
        commands.release(1);
        assert!(to.try_send(batch(1)).is_ok() && !commands.is_empty());
        assert!(to.try_send(batch(1)).is_err());
    }

    #[test]
    fn what_was_decided_is_filled_again() {
        let (to, commands) = queue();
        for size in [1_000, SPENT_BYTES + 1] {
            commands.give_back(batch(size));
        }
        let again = to.spare();
        assert_eq!(again.bodies.len(), 0);
        assert_eq!(again.bodies.capacity(), 1_000);
        assert_eq!(to.spare().bodies.capacity(), 0, "too large to be kept");
        for _ in 0..2 * SPENT {
            commands.give_back(batch(1));
        }
        for left in (0..SPENT).rev() {
            assert_eq!(to.spare().bodies.capacity(), 1);
            assert_eq!(to.spent.bytes.load(Ordering::Relaxed), left);
        }
        assert_eq!(to.spare().bodies.capacity(), 0);
    }

    #[test]
    fn memory_of_a_burst_is_given_back_by_what_follows() {
        let (to, commands) = queue();
        let room = || to.spent.bytes.load(Ordering::Relaxed);
        for _ in 0..4 {
            commands.give_back(batch(1 << 20));
        }
        assert_eq!(room(), 4 << 20, "a burst that goes on keeps its memory");
        for _ in 0..4 {
            let mut next = to.spare();
            next.bodies.extend_from_slice(&[0; 1_000]);
            commands.give_back(next);
        }
        assert!(room() <= 4 * (16 << 10), "{}", room());
    }

    #[test]
    fn without_a_sequencer_nothing_comes_back() {
        let (to, commands) = queue();
        drop(commands);
        to.try_send(batch(1)).unwrap();
        let (to, commands) = queue();
        drop(to);
        let ended = commands.next(Duration::ZERO).unwrap_err();
        assert_eq!(ended, RecvTimeoutError::Disconnected);
    }
}
