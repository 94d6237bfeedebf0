//! The thread of the index for searches.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use trunkline_core::clock::Clock;
use trunkline_core::exchange::{Jobs, Mailbox};
use trunkline_core::indexing::{IndexMaker, IndexSettings, Indexing};
use trunkline_core::reader::Texts;
use trunkline_storage::Reader;

use super::readers::spawn_readers;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::threads::{join, let_all_go_first, spawn};

/// The name of the folder of the index in the data folder.
const FOLDER: &str = "search";

/// The number of descriptors that the files of the index take at most, while they are written and merged.
pub(super) const DESCRIPTORS: u64 = 128;

/// The time that the thread gets to end when the gateway stops.
const LAST_COMMIT: Duration = Duration::from_secs(2);

/// The time for which a query at a node of a cluster waits for a position that the node does not have yet.
const AHEAD: Duration = Duration::from_secs(5);

/// The index, before its thread is started.
pub(super) struct Made(Option<Indexing>);

/// The running thread of the index.
pub(super) struct Searching {
    stop: Box<dyn Fn() + Send + Sync>,
    thread: JoinHandle<()>,
}

/// Makes the index, if the setting says so, and adds its counters to those of the gateway. Otherwise what is left
/// of an earlier index is removed.
///
/// # Errors
/// The program has no index.
pub(super) fn make(
    config: &Config,
    store: &Reader,
    clock: &Arc<Clock>,
    (maker, metrics): (Option<&dyn IndexMaker>, Metrics),
) -> anyhow::Result<(Made, Arc<Metrics>)> {
    let folder = config.data.join(FOLDER);
    if !config.search {
        remove(&folder);
        return Ok((Made(None), Arc::new(metrics)));
    }
    let Some(maker) = maker else {
        anyhow::bail!(
            "this program has no index for searches: remove search, or start the program trunkline"
        );
    };
    let settings = IndexSettings {
        folder,
        purge: config.search_purge,
        message_life: config.message_life,
        reserve: config.store_reserve as u64,
    };
    let made = maker.make(settings, Texts::new(store, clock));
    let metrics = metrics.with_index(&made.metrics);
    Ok((Made(Some(made)), Arc::new(metrics)))
}

impl Made {
    /// Starts the readers, which ask the index.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn readers(
        &self,
        config: &Config,
        store: &Reader,
        jobs: &Jobs,
        mailboxes: &[Arc<Mailbox>],
        clock: &Arc<Clock>,
    ) -> anyhow::Result<Vec<JoinHandle<()>>> {
        let index = self.0.as_ref().map(|made| &made.index);
        let most = config.limits.content.message_bytes;
        let patience = match config.cluster {
            Some(_) => AHEAD,
            None => Duration::ZERO,
        };
        spawn_readers(store, jobs, mailboxes, most, clock, index, patience)
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(self) -> anyhow::Result<Option<Searching>> {
        let Some(Indexing { run, stop, .. }) = self.0 else {
            return Ok(None);
        };
        let thread = spawn("search", move || {
            let_all_go_first();
            run();
        })?;
        Ok(Some(Searching { stop, thread }))
    }
}

impl Searching {
    /// Ends the thread. One in the middle of a long merge ends with the process: the next start goes on from the
    /// last commit of the index.
    ///
    /// # Errors
    /// The thread panicked.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        (self.stop)();
        let until = Instant::now() + LAST_COMMIT;
        while !self.thread.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        match self.thread.is_finished() {
            true => join(self.thread),
            false => Ok(()),
        }
    }
}

/// Removes an index that nobody follows the log for: nobody would remove the words of erased messages from it.
fn remove(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Ok(()) => {
            tracing::info!(folder = %folder.display(), "searches are off: the index is removed");
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(%error, folder = %folder.display(), "searches are off, and the index cannot be removed: remove it, it has words of messages");
        }
    }
}
