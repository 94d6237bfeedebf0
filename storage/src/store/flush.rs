//! Syncs written data: by commits, by calls of `sync`, and at intervals.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::error::CommitError;
use crate::log::segment::Segment;
use crate::store::shared::Shared;

/// The data that is written and not yet synced.
pub(crate) struct Flusher {
    work: Arc<FlushWork>,
    thread: Option<JoinHandle<()>>,
}

struct FlushWork {
    shared: Arc<Shared>,
    unsynced: Mutex<Unsynced>,
    wake: Condvar,
    stopping: AtomicBool,
    /// Held from taking the unsynced list until its data is synced. So no thread takes an empty
    /// list for "all on disk" while another thread's sync runs.
    syncing: Mutex<()>,
}

#[derive(Default)]
struct Unsynced {
    segments: Vec<Arc<Segment>>,
    end: u64,
    /// Whether a full segment waits to be synced. It must not wait for the interval.
    due: bool,
}

impl Flusher {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let work = Arc::new(FlushWork {
            shared,
            unsynced: Mutex::default(),
            wake: Condvar::new(),
            stopping: AtomicBool::new(false),
            syncing: Mutex::new(()),
        });
        Flusher { work, thread: None }
    }

    /// Starts the thread that syncs every `interval`. Without an interval the thread syncs only
    /// full segments.
    pub(crate) fn start(&mut self, interval: Option<Duration>) -> io::Result<()> {
        let work = self.work.clone();
        let thread = std::thread::Builder::new().name("storage-flush".into());
        self.thread = Some(thread.spawn(move || work.run(interval))?);
        Ok(())
    }

    /// Notes that `segment` has unsynced data up to the position `end`.
    pub(crate) fn wrote(&self, segment: &Arc<Segment>, end: u64) {
        let mut unsynced = self.work.unsynced.lock();
        if unsynced
            .segments
            .last()
            .is_none_or(|last| last.base != segment.base)
        {
            unsynced.due = !unsynced.segments.is_empty();
            unsynced.segments.push(segment.clone());
            if unsynced.due {
                self.work.wake.notify_all();
            }
        }
        unsynced.end = end;
    }

    /// Returns whether a full segment waits to be synced.
    pub(crate) fn due(&self) -> bool {
        self.work.unsynced.lock().due
    }

    /// Syncs all noted data. A failure stops all appends for good.
    pub(crate) fn sync(&self) -> Result<(), CommitError> {
        self.work.sync()
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        {
            let _unsynced = self.work.unsynced.lock();
            self.work.stopping.store(true, Ordering::Release);
            self.work.wake.notify_all();
        }
        if let Some(thread) = self.thread.take() {
            // The panic of that thread has been printed already.
            let _ = thread.join();
        }
    }
}

impl FlushWork {
    fn run(&self, interval: Option<Duration>) {
        loop {
            let mut unsynced = self.unsynced.lock();
            if !self.stopping.load(Ordering::Acquire) && !unsynced.due {
                match interval {
                    Some(interval) => {
                        self.wake.wait_for(&mut unsynced, interval);
                    }
                    None => self.wake.wait(&mut unsynced),
                }
            }
            drop(unsynced);
            // A failure stops the store, whose state reports it.
            if self.stopping.load(Ordering::Acquire) || self.sync().is_err() {
                return;
            }
        }
    }

    fn sync(&self) -> Result<(), CommitError> {
        let _syncing = self.syncing.lock();
        if let Some(reason) = self.shared.poisoned() {
            // A sync after a failed one can succeed although the data of the failed one never
            // reached the disk.
            return Err(CommitError::Poisoned {
                reason: reason.into(),
            });
        }
        let mut unsynced = std::mem::take(&mut *self.unsynced.lock());
        for segment in &unsynced.segments {
            self.shared.counters.synced();
            segment
                .file
                .sync_data()
                .map_err(|source| self.shared.fail(&segment.name, "sync", source))?;
        }
        self.shared.raise_durable(unsynced.end);
        // Keeps the memory of the list for the next commit, unless that commit has begun a list
        // already.
        unsynced.segments.clear();
        let mut next = self.unsynced.lock();
        if next.segments.capacity() == 0 {
            next.segments = unsynced.segments;
        }
        Ok(())
    }
}
