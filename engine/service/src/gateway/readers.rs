//! The threads that read the store for clients.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use trunkline_core::clock::Clock;
use trunkline_core::exchange::{Jobs, JobsForm, Mailbox, QUEUE, ToReaders, jobs};
use trunkline_core::reader;
use trunkline_core::search::Index;
use trunkline_core::turns::Weights;
use trunkline_storage::Reader;

use crate::threads::{join, let_shards_go_first, spawn};

/// The number of threads that read the store.
const READERS: usize = 2;

/// The time that the readers get to complete their answers when the gateway stops.
const LAST_READ: Duration = Duration::from_secs(2);

/// Makes the queue of the readers.
pub(super) fn job_queue(weights: Arc<Weights>) -> (ToReaders, Jobs) {
    jobs(&JobsForm {
        jobs: QUEUE,
        readers: READERS,
        weights,
    })
}

/// Starts the readers. `index` is the index for searches, if there is one. A query from a position that the store does not have
/// yet waits for at most `patience`.
///
/// # Errors
/// A thread cannot be started.
pub(super) fn spawn_readers(
    store: &Reader,
    jobs: &Jobs,
    mailboxes: &[Arc<Mailbox>],
    message_bytes: usize,
    clock: &Arc<Clock>,
    index: Option<&Arc<dyn Index>>,
    patience: Duration,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let one = |i| {
        let (store, jobs, mailboxes) = (store.clone(), jobs.clone(), mailboxes.to_vec());
        let (clock, index) = (Arc::clone(clock), index.cloned());
        spawn(&format!("reader-{i}"), move || {
            let_shards_go_first();
            reader::run(
                &store,
                &jobs,
                &mailboxes,
                message_bytes,
                &clock,
                index.as_ref(),
                patience,
            );
        })
    };
    (0..READERS).map(one).collect()
}

/// Waits for the readers to end. They drop the queries that still wait. A reader in the middle of a
/// long answer ends with the process; it changes nothing.
pub(super) fn end_readers(readers: Vec<JoinHandle<()>>) -> anyhow::Result<()> {
    let until = Instant::now() + LAST_READ;
    for reader in readers {
        while !reader.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        if reader.is_finished() {
            join(reader)?;
        } else {
            tracing::warn!(
                "a reader is still busy with an answer that no client waits for: stopping without it"
            );
        }
    }
    Ok(())
}
