//! Commands on their way to the sequencer: bounded by batches and by bytes.
//!
//! Shards never wait for room: what does not fit they keep, and read less. Batches that were decided
//! go back to whichever shard needs one next, so that their memory is asked for only once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use crossbeam::queue::ArrayQueue;
use trunkline_storage::{Position, TimelineId};

use super::{Command, CommandBatch};

/// Batches that may wait.
const BATCHES: usize = 1_024;

/// Bytes that they may hold, and whatever was put in last.
const BYTES: usize = 32 << 20;

/// Empty batches kept to be filled again, and the bytes of their memory.
const SPENT: usize = 64;
const SPENT_BYTES: usize = 8 << 20;

/// Batches on their way back.
#[derive(Debug)]
struct Spent {
    batches: ArrayQueue<Box<CommandBatch>>,
    bytes: AtomicUsize,
}

/// Where callers put their commands.
#[derive(Debug, Clone)]
pub struct ToSequencer {
    batches: Sender<Box<CommandBatch>>,
    bytes: Arc<AtomicUsize>,
    spent: Arc<Spent>,
    hurry: Arc<AtomicBool>,
}

/// Where the sequencer finds them.
#[derive(Debug)]
pub struct Commands {
    batches: Receiver<Box<CommandBatch>>,
    bytes: Arc<AtomicUsize>,
    spent: Arc<Spent>,
    hurry: Arc<AtomicBool>,
}

/// Makes the sequencer's queue: the end that callers use, and the sequencer's own.
pub fn queue() -> (ToSequencer, Commands) {
    let (sender, receiver) = bounded(BATCHES);
    let bytes = Arc::new(AtomicUsize::new(0));
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

/// The memory that a batch keeps.
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

    fn put(&self, mut batch: Box<CommandBatch>) {
        let bytes = bytes(&batch);
        // Before a shard can take it out again.
        let held = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        batch.commands.clear();
        batch.bodies.clear();
        batch.positions.clear();
        if held + bytes > SPENT_BYTES || self.batches.push(batch).is_err() {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl ToSequencer {
    /// An empty batch, with the memory of an earlier one if one came back.
    pub fn spare(&self) -> Box<CommandBatch> {
        self.spent.take().unwrap_or_default()
    }

    /// Asks that from now on nothing waits for others to come: the gateway stops.
    pub fn hurry(&self) {
        self.hurry.store(true, Ordering::Relaxed);
        // Where there is no room nobody sleeps.
        let _ = self.try_send(self.spare());
    }

    /// Puts a batch in. Without a sequencer, which is when the gateway ends, it is dropped.
    ///
    /// # Errors
    /// The queue is full: the batch comes back.
    pub fn try_send(&self, batch: Box<CommandBatch>) -> Result<(), Box<CommandBatch>> {
        if self.bytes.load(Ordering::Relaxed) >= BYTES {
            return Err(batch);
        }
        let bytes = bytes(&batch);
        // Before the sequencer can take it out again.
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
    /// Waits for a batch.
    ///
    /// # Errors
    /// None came in time, or no shard is left to send one.
    pub fn next(&self, time: Duration) -> Result<Box<CommandBatch>, RecvTimeoutError> {
        self.batches
            .recv_timeout(time)
            .inspect(|batch| self.taken(batch))
    }

    /// Whether nothing is to wait for others to come.
    pub fn hurries(&self) -> bool {
        self.hurry.load(Ordering::Relaxed)
    }

    /// A batch that waits already.
    pub fn waiting(&self) -> Option<Box<CommandBatch>> {
        let batch = self.batches.try_recv().ok()?;
        self.taken(&batch);
        Some(batch)
    }

    /// Takes a batch back that was decided, to be filled again.
    pub fn give_back(&self, batch: Box<CommandBatch>) {
        self.spent.put(batch);
    }

    fn taken(&self, batch: &CommandBatch) {
        self.bytes.fetch_sub(bytes(batch), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(bytes: usize) -> Box<CommandBatch> {
        Box::new(CommandBatch {
            commands: Vec::new(),
            bodies: vec![0; bytes],
            positions: Vec::new(),
        })
    }

    /// Puts batches in until one comes back; how many fitted.
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
