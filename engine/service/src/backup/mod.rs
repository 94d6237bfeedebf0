//! Backups of the running gateway's store: one at a time, on a thread of its own.
//!
//! The control port begins a backup and tells how far it is. The store does the work.

mod proof;
mod report;

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use trunkline_storage::{BackupProgress, Reader};

use crate::causes;
use crate::metrics::BackupMetrics;
pub(crate) use proof::proof;
pub(crate) use report::{Made, Report, State};

/// The backups of a running gateway.
pub(crate) struct Backups {
    store: Reader,
    metrics: Arc<BackupMetrics>,
    last: Mutex<Last>,
    /// Set when the gateway stops: the backup that is being made then ends.
    is_stopping: AtomicBool,
}

/// The last backup that was begun.
#[derive(Default)]
struct Last {
    report: Option<Report>,
    thread: Option<JoinHandle<()>>,
}

/// The reason why no backup was begun.
#[derive(Debug)]
pub(crate) enum NotBegun {
    /// Another backup is being made.
    Busy(Report),
    /// The gateway is about to stop.
    Stopping,
    /// The thread cannot be started.
    NoThread(std::io::Error),
}

impl fmt::Display for NotBegun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(report) => write!(
                f,
                "the gateway is making a backup in {}: wait for its end",
                report.target
            ),
            Self::Stopping => f.write_str("the gateway is stopping"),
            Self::NoThread(error) => write!(
                f,
                "the gateway cannot start a thread for the backup: {error}"
            ),
        }
    }
}

impl Backups {
    pub(crate) fn new(store: Reader, metrics: Arc<BackupMetrics>) -> Self {
        Self {
            store,
            metrics,
            last: Mutex::default(),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// Begins a backup in the folder `target`, an absolute path. Returns its first report.
    pub(crate) fn begin(self: &Arc<Self>, target: PathBuf) -> Result<Report, NotBegun> {
        let mut last = self.last();
        if self.is_stopping.load(Ordering::Acquire) {
            return Err(NotBegun::Stopping);
        }
        let number = match &last.report {
            Some(report) if report.is_running() => return Err(NotBegun::Busy(report.clone())),
            Some(report) => report.number + 1,
            None => 1,
        };
        let report = Report {
            number,
            target: target.display().to_string(),
            state: State::of(BackupProgress::default()),
        };
        let backups = Arc::clone(self);
        let thread = std::thread::Builder::new().name("backup".into());
        let thread = thread.spawn(move || backups.make(&target));
        last.thread = Some(thread.map_err(NotBegun::NoThread)?);
        last.report = Some(report.clone());
        self.metrics.running.set(1);
        Ok(report)
    }

    /// Returns the report of the last backup that was begun; `None` if none was.
    pub(crate) fn report(&self) -> Option<Report> {
        self.last().report.clone()
    }

    /// Ends the backup that is being made, if there is one. It leaves nothing behind.
    pub(crate) fn stop(&self) {
        let thread = {
            let mut last = self.last();
            self.is_stopping.store(true, Ordering::Release);
            last.thread.take()
        };
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of a backup panicked");
        }
    }

    /// Makes a backup, and tells the log, the metrics and the report how it went.
    fn make(&self, target: &Path) {
        tracing::info!(target = %target.display(), "making a backup of the store");
        let made = self.store.backup(target, &mut |progress| {
            self.set(State::of(progress));
            match self.is_stopping.load(Ordering::Acquire) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        match made {
            Ok(backup) => {
                tracing::info!(
                    target = %target.display(),
                    position = backup.head.0,
                    files = backup.files,
                    linked_bytes = backup.linked_bytes,
                    copied_bytes = backup.copied_bytes,
                    took_ms = backup.duration.as_millis() as u64,
                    "the backup of the store is complete"
                );
                self.metrics.complete.one();
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                self.metrics
                    .last_complete
                    .set(now.map_or(0, |now| now.as_secs()));
                self.set(State::Complete(Made::of(&backup)));
            }
            Err(error) => {
                let error = causes::said_once(&error.into());
                tracing::error!(
                    target = %target.display(), %error,
                    "the backup of the store failed; nothing of it is left"
                );
                self.metrics.failed.one();
                self.set(State::Failed { error });
            }
        }
        self.metrics.running.set(0);
    }

    fn set(&self, state: State) {
        if let Some(report) = &mut self.last().report {
            report.state = state;
        }
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use trunkline_storage::backend::sim::SimDisk;
    use trunkline_storage::{Opened, Options, Store};

    use super::*;

    fn store() -> Opened {
        let options = Options {
            background: false,
            reserve_bytes: 0,
            segment_bytes: 1 << 20,
            max_record_bytes: 64 << 10,
            ..Options::default()
        };
        Store::open_with(Arc::new(SimDisk::new(1)), options, &mut |_| ()).unwrap()
    }

    fn wait_for(backups: &Backups) -> Report {
        loop {
            match backups.report() {
                Some(report) if !report.is_running() => return report,
                _ => std::thread::yield_now(),
            }
        }
    }

    #[test]
    fn backups_are_made_one_after_another_and_counted() {
        let store = store();
        let metrics = Arc::new(BackupMetrics::default());
        let backups = Arc::new(Backups::new(store.reader.clone(), Arc::clone(&metrics)));
        assert_eq!(backups.report(), None);
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("backup");
        for (number, is_complete) in [(1, true), (2, false)] {
            let begun = backups.begin(target.clone()).unwrap();
            assert!(begun.is_running() && begun.number == number);
            let report = wait_for(&backups);
            let complete = matches!(report.state, State::Complete(_));
            assert_eq!(complete, is_complete, "{report:?}");
        }
        // A second backup must not begin beside the first one.
        backups.set(State::of(BackupProgress::default()));
        let busy = backups.begin(folder.path().join("other"));
        assert!(matches!(busy, Err(NotBegun::Busy(_))), "{busy:?}");
        backups.set(State::Failed {
            error: String::new(),
        });
        backups.stop();
        let stopping = backups.begin(folder.path().join("other"));
        assert!(matches!(stopping, Err(NotBegun::Stopping)), "{stopping:?}");
        let counted = [&metrics.complete, &metrics.failed, &metrics.running];
        assert_eq!(counted.map(|counter| counter.get()), [1, 1, 0]);
        assert!(metrics.last_complete.get() > 0);
    }
}
