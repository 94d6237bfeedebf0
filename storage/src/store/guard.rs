//! The guard: notices when the store's folder, lock or files in force are removed or replaced.
//!
//! A removed file stays writable while it is open, but nobody can read the data later. So the store
//! checks, once a second and before each new segment and manifest, that its folder is at its path,
//! is locked, and holds the files in force. While a check fails, the store acknowledges nothing.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::backend::Hold;
use crate::log::segment::{segment_base, segment_name};
use crate::run::{RunId, manifest};
use crate::store::condition::{Obstacle, Subsystem};
use crate::store::identity;
use crate::store::shared::{Shared, Visible};

/// The time between two checks of the guard's thread.
const PERIOD: Duration = Duration::from_secs(1);

pub(crate) struct FolderGuard {
    work: Arc<GuardWork>,
    thread: Option<JoinHandle<()>>,
}

struct GuardWork {
    shared: Arc<Shared>,
    over: Mutex<bool>,
    changed: Condvar,
}

impl FolderGuard {
    /// Starts the guard's thread.
    pub(crate) fn new(shared: Arc<Shared>) -> io::Result<Self> {
        let work = Arc::new(GuardWork {
            shared,
            over: Mutex::new(false),
            changed: Condvar::new(),
        });
        let thread = std::thread::Builder::new().name("storage-guard".into());
        let thread = {
            let work = work.clone();
            thread.spawn(move || work.run())?
        };
        Ok(FolderGuard {
            work,
            thread: Some(thread),
        })
    }
}

impl Drop for FolderGuard {
    fn drop(&mut self) {
        *self.work.over.lock() = true;
        self.work.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // The panic of that thread has been printed already.
            let _ = thread.join();
        }
    }
}

impl GuardWork {
    fn run(&self) {
        let mut over = self.over.lock();
        while !*over {
            self.changed.wait_for(&mut over, PERIOD);
            if !*over {
                let _ = self.shared.check_folder();
            }
        }
    }
}

impl Shared {
    /// Checks that the folder is still the store's. While the check fails, appends and commits are
    /// refused.
    ///
    /// # Errors
    /// The reason why the folder is not the store's any more.
    pub(crate) fn check_folder(&self) -> io::Result<()> {
        // While somebody removes the whole folder, the check must not make a new lock file.
        let missing = self.missing();
        let lost = match self.lock.check(missing.is_none()) {
            Hold::Lost(reason) => Some(reason),
            Hold::Mended(what) => {
                self.condition.notice(what);
                missing
            }
            Hold::Kept => missing,
        };
        let obstacle = lost.clone().map(|reason| Obstacle {
            full: false,
            reason,
        });
        if obstacle.is_some() || self.condition.is_obstructed() {
            self.condition.set(Subsystem::Folder, obstacle);
        }
        match lost {
            None => Ok(()),
            Some(reason) => Err(io::Error::other(reason)),
        }
    }

    /// Returns a sentence about the first file in force that was removed, if any.
    fn missing(&self) -> Option<String> {
        let told = |name: &str| {
            format!(
                "{}: somebody removed this file while the store was open: its content is lost when this process ends; copy what you need, then restore the folder",
                self.backend.path(name).display()
            )
        };
        let segments = self.segments.read().clone();
        let gone = segments.iter().find(|segment| segment.file.is_removed());
        // A segment that became runs meanwhile is not missing.
        if let Some(gone) = gone
            && self.segments.read().iter().any(|s| s.base == gone.base)
        {
            return Some(told(&gone.name));
        }
        if let Some(gone) = self.runs().removed()
            && self.runs().removed() == Some(gone)
        {
            return Some(told(&gone.name()));
        }
        // The manifest is written before the first runs are in force. They may come after the list is
        // read, so what is in force is looked at before.
        let Visible { segments, runs, .. } = self.visible();
        let manifest = (runs.size().0 > 0).then_some(manifest::NAME);
        let mut names = self.backend.list().ok()?;
        names.sort_unstable();
        let is_gone = |needed: &str| {
            names
                .binary_search_by(|name| name.as_str().cmp(needed))
                .is_err()
        };
        let mut needed = [identity::NAME].into_iter().chain(manifest);
        if let Some(gone) = needed.find(|needed| is_gone(needed)) {
            return Some(told(gone));
        }
        // A backup may have a name of the file too, so the file does not know that its own is gone.
        // What is no longer in force after the list was read is not missing.
        let gone = segments.iter().filter(|segment| is_gone(&segment.name));
        let gone: Vec<u64> = gone.map(|segment| segment.base).collect();
        let now = self.segments.read().clone();
        if let Some(gone) = now.iter().find(|segment| gone.contains(&segment.base)) {
            return Some(told(&gone.name));
        }
        // While these runs are held, the store removes no segment that they name.
        let mut there: Vec<u64> = names.iter().filter_map(|name| segment_base(name)).collect();
        there.sort_unstable();
        let mut kept = runs.kept().segments();
        if let Some((gone, _)) = kept.find(|(base, _)| there.binary_search(base).is_err()) {
            return Some(told(&segment_name(gone)));
        }
        let gone: Vec<RunId> = runs.all().filter(|run| is_gone(&run.name())).collect();
        let now = self.runs();
        let gone = now.all().find(|run| gone.contains(run));
        gone.map(|run| told(&run.name()))
    }
}
