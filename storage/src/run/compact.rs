//! The compactor: turns the log's oldest segments into runs, and small runs into larger ones.
//!
//! Every step makes new files, puts them in force with a new manifest, and only then removes what
//! they replace. A crash in between leaves files that no manifest names; the next opening removes
//! them. A step that fails is tried again with new files when the next segment is full.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::build::{Made, Pending, Workshop};
use super::manifest::Manifest;
use super::{Kind, RunFile, Runs};
use crate::recovery::Scan;
use crate::shared::Shared;

/// How runs are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) store_id: [u8; 16],
    /// Size of a block in bytes.
    pub(crate) block: usize,
    /// How many files of a level are merged into one of the next.
    pub(crate) width: usize,
}

pub(crate) struct Compactor {
    work: Arc<Work>,
    thread: Option<JoinHandle<()>>,
}

struct Work {
    shared: Arc<Shared>,
    plan: Plan,
    /// What is in force.
    manifest: Mutex<Manifest>,
    /// A segment was filled since the thread looked.
    due: Mutex<bool>,
    wake: Condvar,
    stopping: AtomicBool,
}

impl Compactor {
    /// A compactor that goes on from `manifest`, on a thread of its own if `background`.
    pub(crate) fn new(
        shared: Arc<Shared>,
        plan: Plan,
        manifest: Manifest,
        background: bool,
    ) -> io::Result<Self> {
        let work = Arc::new(Work {
            shared,
            plan,
            manifest: Mutex::new(manifest),
            due: Mutex::new(true),
            wake: Condvar::new(),
            stopping: AtomicBool::new(false),
        });
        let thread = if background {
            let work = work.clone();
            let thread = std::thread::Builder::new().name("storage-runs".into());
            Some(thread.spawn(move || work.run())?)
        } else {
            None
        };
        Ok(Compactor { work, thread })
    }

    /// Notes that a segment was filled.
    pub(crate) fn wake(&self) {
        if self.thread.is_some() {
            *self.work.due.lock() = true;
            self.work.wake.notify_all();
        } else {
            self.work.work_off();
        }
    }
}

impl Drop for Compactor {
    fn drop(&mut self) {
        {
            let _due = self.work.due.lock();
            self.work.stopping.store(true, Ordering::Release);
            self.work.wake.notify_all();
        }
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already.
            let _ = thread.join();
        }
    }
}

impl Work {
    fn run(&self) {
        loop {
            {
                let mut due = self.due.lock();
                while !*due && !self.stopping.load(Ordering::Acquire) {
                    self.wake.wait(&mut due);
                }
                *due = false;
            }
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
            self.work_off();
        }
    }

    /// Does all there is to do, or as much as goes.
    fn work_off(&self) {
        let mut manifest = self.manifest.lock();
        loop {
            if self.stopping.load(Ordering::Acquire) || self.shared.poisoned().is_some() {
                return;
            }
            let done = match self.sort_segment(&mut manifest) {
                Ok(false) => self.merge(&mut manifest),
                done => done,
            };
            match done {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    if error.kind() != io::ErrorKind::Interrupted {
                        self.shared.run_failed(error.to_string());
                    }
                    return;
                }
            }
        }
    }

    fn workshop(&self) -> Workshop<'_> {
        Workshop {
            backend: &*self.shared.backend,
            store_id: self.plan.store_id,
            block: self.plan.block,
            stopping: &self.stopping,
        }
    }

    /// Turns the oldest segment into runs, if the log has gone on behind it.
    fn sort_segment(&self, manifest: &mut Manifest) -> io::Result<bool> {
        let Some(segment) = self.shared.oldest_full_segment() else {
            return Ok(false);
        };
        let mut scan = Scan::after(manifest);
        let mut next = manifest.clone();
        let (pending, older) = (self.shared.pending_redactions(), self.shared.runs());
        let workshop = self.workshop();
        let made = workshop.sort(&segment, &mut scan, (&pending, &older), &mut next.next);
        // Numbers are not used twice: a failed attempt may have left files.
        manifest.next = next.next;
        let Made { runs, applied } = made?;
        next.runs.extend(runs);
        next.runs.sort_by_key(|run| (run.kind as u8, run.from));
        scan.note(&mut next);
        next.low_water = segment.end();
        let runs = self.put_in_force(manifest, next)?;
        drop(older);
        self.shared.replace_segment(&segment, runs, applied);
        // The manifest no longer needs it. If this fails, the next opening removes it.
        let _ = self.shared.backend.remove(&segment.name);
        Ok(true)
    }

    /// Merges the newest runs of a level, if there are enough.
    fn merge(&self, manifest: &mut Manifest) -> io::Result<bool> {
        let (pending, runs) = (self.shared.pending_redactions(), self.shared.runs());
        let found = Kind::ALL
            .into_iter()
            .find_map(|kind| mergeable(runs.of(kind), self.plan.width).map(|at| (kind, at)));
        let found = found.or_else(|| due(&runs, &pending));
        let Some((kind, (from, to))) = found else {
            return Ok(false);
        };
        let old = &runs.of(kind)[from..to];
        let number = manifest.next;
        manifest.next += 1;
        let merged = self.workshop().merge(old, from == 0, &pending, number)?;
        let mut next = manifest.clone();
        next.runs
            .retain(|run| !old.iter().any(|old| old.id == *run));
        next.runs.extend(merged.runs);
        next.runs.sort_by_key(|run| (run.kind as u8, run.from));
        let in_force = self.put_in_force(manifest, next)?;
        let old: Vec<String> = old.iter().map(|run| run.id.name()).collect();
        drop(runs);
        self.shared.replace_runs(in_force, merged.applied);
        for name in old {
            let _ = self.shared.backend.remove(&name);
        }
        Ok(true)
    }

    /// Writes `next` as the manifest in force, and opens its files.
    fn put_in_force(&self, manifest: &mut Manifest, next: Manifest) -> io::Result<Runs> {
        let backend = &*self.shared.backend;
        // The names of the new files must be certain before the manifest has them.
        backend.sync_dir()?;
        let opened = self.shared.runs().with(backend, &next, self.plan.store_id);
        let runs = opened.map_err(|error| io::Error::other(error.to_string()))?;
        next.write(backend, self.plan.store_id)?;
        *manifest = next;
        Ok(runs)
    }
}

/// The redactions' runs, if half of what they have is applied.
fn due(runs: &Runs, pending: &Pending) -> Option<(Kind, (usize, usize))> {
    let redactions = runs.of(Kind::Redactions);
    let entries: u64 = redactions.iter().map(|run| run.entries).sum();
    let wanted = entries > 0 && pending.len() as u64 * 2 <= entries;
    wanted.then_some((Kind::Redactions, (0, redactions.len())))
}

/// The runs to merge: those of the newest level that has `width` of them.
fn mergeable(runs: &[Arc<RunFile>], width: usize) -> Option<(usize, usize)> {
    let mut to = runs.len();
    while to > 0 {
        let level = runs[to - 1].id.level;
        let same = runs[..to].iter().rev();
        let from = to - same.take_while(|run| run.id.level <= level).count();
        if to - from >= width {
            return Some((from, to));
        }
        to = from;
    }
    None
}
