//! Commands on their way to the sequencer: bounded by batches and by bytes.
//!
//! Shards never wait for room: what does not fit they keep, and read less.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use super::command::{Command, CommandBatch};

/// Batches that may wait.
const BATCHES: usize = 1_024;

/// Bytes that they may hold, and whatever was put in last.
const BYTES: usize = 32 << 20;

/// Where a shard puts its commands.
#[derive(Debug, Clone)]
pub(crate) struct ToSequencer {
    batches: Sender<Box<CommandBatch>>,
    bytes: Arc<AtomicUsize>,
}

/// Where the sequencer finds them.
#[derive(Debug)]
pub(crate) struct Commands {
    batches: Receiver<Box<CommandBatch>>,
    bytes: Arc<AtomicUsize>,
}

pub(crate) fn queue() -> (ToSequencer, Commands) {
    let (sender, receiver) = bounded(BATCHES);
    let bytes = Arc::new(AtomicUsize::new(0));
    let to = ToSequencer {
        batches: sender,
        bytes: Arc::clone(&bytes),
    };
    let commands = Commands {
        batches: receiver,
        bytes,
    };
    (to, commands)
}

/// The memory that a batch keeps.
const fn bytes(batch: &CommandBatch) -> usize {
    batch.bodies.capacity() + batch.commands.capacity() * size_of::<Command>()
}

impl ToSequencer {
    /// Puts a batch in. Without a sequencer, which is when the gateway ends, it is dropped.
    ///
    /// # Errors
    /// The queue is full: the batch comes back.
    pub(crate) fn try_send(&self, batch: Box<CommandBatch>) -> Result<(), Box<CommandBatch>> {
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
    pub(crate) fn next(&self, time: Duration) -> Result<Box<CommandBatch>, RecvTimeoutError> {
        self.batches
            .recv_timeout(time)
            .inspect(|batch| self.taken(batch))
    }

    /// A batch that waits already.
    pub(crate) fn waiting(&self) -> Option<Box<CommandBatch>> {
        let batch = self.batches.try_recv().ok()?;
        self.taken(&batch);
        Some(batch)
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
            shard: 0,
            commands: Vec::new(),
            bodies: vec![0; bytes],
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
