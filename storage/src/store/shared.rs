//! The state that the writer, its helper threads and all readers of a store share.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::backend::{Backend, Lock};
use crate::error::{CommitError, ReadError};
use crate::index::{Index, Stretch};
use crate::log::batch::Batch;
use crate::log::overwrite::Overwrite;
use crate::log::segment::Segment;
use crate::run::redaction::{Applied, Replacement, Target};
use crate::run::{LastEntry, Runs};
use crate::stats::Counters;
use crate::store::condition::Condition;
use crate::store::epochs::Epochs;
use crate::store::erasures::Erasures;
use crate::store::losses::Losses;
use crate::store::old_values::OldValues;
use crate::{StoreKey, TimelineId};

/// The redactions that are copied under one lock of the index.
const COPIED_AT_ONCE: usize = if cfg!(test) { 2 } else { 512 };

pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) key: StoreKey,
    pub(crate) epochs: Epochs,
    /// The records that repairs gave up.
    pub(crate) losses: Losses,
    /// The segments with visible records, by ascending base. A segment is removed only under the
    /// index's lock. A thread that holds this lock never takes that of the index.
    pub(crate) segments: RwLock<Arc<Vec<Arc<Segment>>>>,
    /// The index. Each commit locks it for writing once. Readers copy positions and release the
    /// lock before they read a file.
    pub(crate) index: RwLock<Index>,
    /// The position of the last visible record.
    pub(crate) head: AtomicU64,
    /// The end of the visible part of the log. Changes under the index's lock.
    end: AtomicU64,
    /// Held while a new manifest is put in force, and while files are removed. So a thread that holds
    /// it finds all files of the manifest on the disk. Never taken with the index's lock held.
    pub(crate) files: Mutex<()>,
    /// The bodies of redacted records that were overwritten while a backup copied segments. Changes
    /// with `files` locked.
    pub(crate) overwritten: OverwrittenBodies,
    /// What is to be erased.
    pub(crate) erasures: Erasures,
    /// The old values that are to be erased.
    pub(crate) old_values: OldValues,
    /// The time of the last record at the opening, in milliseconds; 0 if there was none.
    pub(crate) opened_at: u64,
    /// The end of the data on disk.
    durable: AtomicU64,
    /// The conditions that keep the store from taking appends.
    pub(crate) condition: Condition,
    pub(crate) counters: Counters,
    /// Why the last attempt to make or merge runs failed.
    pub(crate) run_failure: Mutex<Option<String>>,
    /// The folder's lock. The last reader holds it too, because a new opening may cut and remove
    /// files.
    pub(crate) lock: Box<dyn Lock>,
}

/// An opened folder: its lock, and the content of its small files.
pub(crate) struct OpenFolder {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) lock: Box<dyn Lock>,
    pub(crate) key: StoreKey,
    pub(crate) epochs: Epochs,
    pub(crate) losses: Losses,
}

/// The visible part of a store at one moment. The files stay readable while this is held, also after
/// they are removed.
pub(crate) struct Visible {
    /// The position of the last record.
    pub(crate) head: u64,
    /// The end of the log: everything before it is visible.
    pub(crate) end: u64,
    /// The segments by ascending base. There may be one behind the end.
    pub(crate) segments: Arc<Vec<Arc<Segment>>>,
    pub(crate) runs: Arc<Runs>,
}

/// The bodies that were overwritten since somebody follows that.
#[derive(Default)]
pub(crate) struct OverwrittenBodies(Mutex<FollowedBodies>);

#[derive(Default)]
struct FollowedBodies {
    followers: usize,
    list: Vec<Overwrite>,
}

/// Somebody who follows which bodies are overwritten.
pub(crate) struct BodyFollower<'a> {
    bodies: &'a OverwrittenBodies,
    from: usize,
}

impl OverwrittenBodies {
    /// Notes what is overwritten, if somebody follows that.
    pub(crate) fn note(&self, overwrites: &[Overwrite]) {
        let mut bodies = self.0.lock();
        if bodies.followers > 0 {
            bodies.list.extend_from_slice(overwrites);
        }
    }

    /// Returns whether somebody follows that: a backup is being made.
    pub(crate) fn is_followed(&self) -> bool {
        self.0.lock().followers > 0
    }

    pub(crate) fn follow(&self) -> BodyFollower<'_> {
        let mut bodies = self.0.lock();
        bodies.followers += 1;
        BodyFollower {
            bodies: self,
            from: bodies.list.len(),
        }
    }
}

impl BodyFollower<'_> {
    /// Returns what was overwritten since the follower began.
    pub(crate) fn since(&self) -> Vec<Overwrite> {
        self.bodies.0.lock().list[self.from..].to_vec()
    }
}

impl Drop for BodyFollower<'_> {
    fn drop(&mut self) {
        let mut bodies = self.bodies.0.lock();
        bodies.followers -= 1;
        if bodies.followers == 0 {
            bodies.list = Vec::new();
        }
    }
}

/// The log and the runs of a store, as an opening recovers them.
pub(crate) struct OpenLog {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) index: Index,
    /// The position of the last record.
    pub(crate) head: u64,
    /// The end of the data on disk.
    pub(crate) durable: u64,
    /// The time of the last record, in milliseconds; 0 if there is none.
    pub(crate) last_time: u64,
}

impl Shared {
    pub(crate) fn new(folder: OpenFolder, log: OpenLog) -> Self {
        Shared {
            backend: folder.backend,
            key: folder.key,
            epochs: folder.epochs,
            losses: folder.losses,
            segments: RwLock::new(Arc::new(log.segments)),
            index: RwLock::new(log.index),
            head: AtomicU64::new(log.head),
            end: AtomicU64::new(log.durable),
            files: Mutex::new(()),
            overwritten: OverwrittenBodies::default(),
            erasures: Erasures::default(),
            old_values: OldValues::default(),
            opened_at: log.last_time,
            durable: AtomicU64::new(log.durable),
            condition: Condition::default(),
            counters: Counters::default(),
            run_failure: Mutex::new(None),
            lock: folder.lock,
        }
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Notes that all data before `end` is on disk.
    pub(crate) fn raise_durable(&self, end: u64) {
        self.durable.fetch_max(end, Ordering::AcqRel);
    }

    pub(crate) fn poisoned(&self) -> Option<&str> {
        self.condition.poisoned()
    }

    /// Stops all appends for good.
    pub(crate) fn poison(&self, reason: String) {
        self.condition.poison(reason);
    }

    /// Stops all appends for good. Returns the error that reports it.
    pub(crate) fn fail(&self, name: &str, action: &'static str, source: io::Error) -> CommitError {
        let error = CommitError::Io {
            file: self.backend.path(name),
            action,
            source,
        };
        self.poison(error.to_string());
        error
    }

    /// Adds the entries of a batch to the index. They stay hidden until the batch is published.
    pub(crate) fn insert(&self, batch: &Batch) {
        let mut index = self.index.write();
        let mut bases = batch.writes().map(|write| write.segment.base).peekable();
        for record in batch.records() {
            while let Some(base) = bases.next_if(|&base| base <= record.position.0) {
                index.begin(base);
            }
            index.insert(&record);
        }
        // A segment may hold only states.
        bases.for_each(|base| index.begin(base));
    }

    /// Makes a written batch visible, all at once. Its entries must be in the index.
    #[inline]
    pub(crate) fn publish(&self, batch: &Batch) {
        {
            let mut segments = self.segments.write();
            for write in batch.writes() {
                let base = write.segment.base;
                if segments.last().is_none_or(|last| last.base < base) {
                    Arc::make_mut(&mut segments).push(write.segment.clone());
                }
            }
        }
        let mut index = self.index.write();
        let mut states = batch.states().iter().copied().peekable();
        if batch.has_effects() {
            for record in batch.records() {
                while let Some((key, position)) = states.next_if(|s| s.1 < record.position.0) {
                    index.set_state(key, position);
                }
                index.apply(&record);
            }
        }
        for (key, position) in states {
            index.set_state(key, position);
        }
        self.end.store(batch.end().0, Ordering::Relaxed);
        // Set under the index's lock, so that every entry that a reader finds is at or before the
        // head.
        if !batch.is_empty() {
            index.show(batch.last().0);
            self.head.store(batch.last().0, Ordering::Release);
        }
    }

    /// Returns the visible part of the store at this moment.
    pub(crate) fn visible(&self) -> Visible {
        let index = self.index.read();
        Visible {
            head: self.head.load(Ordering::Relaxed),
            end: self.end.load(Ordering::Relaxed),
            segments: self.segments.read().clone(),
            runs: index.runs().clone(),
        }
    }

    /// Removes a file that no manifest names any more. The next opening removes files that cannot be
    /// removed now.
    pub(crate) fn remove_file(&self, name: &str) {
        let _files = self.files.lock();
        let _ = self.backend.remove(name);
    }

    /// Returns the oldest segment, if it is full and all its records are visible.
    pub(crate) fn oldest_full_segment(&self) -> Option<Arc<Segment>> {
        let index = self.index.read();
        let segments = self.segments.read();
        // A batch that goes on in the next segment comes into the index before it is visible.
        let end = self.end.load(Ordering::Relaxed);
        let full = index.has_full_segment() && segments.len() > 1 && end >= segments[0].end();
        full.then(|| segments[0].clone())
    }

    /// Returns the index of the oldest segment, which must be full with all its records visible.
    pub(crate) fn oldest_stretch(&self) -> Option<Arc<Stretch>> {
        self.index.write().freeze_oldest()
    }

    /// Returns the number of full segments that wait to become runs.
    pub(crate) fn waiting_segments(&self) -> usize {
        self.index.read().waiting()
    }

    /// Puts `runs` in the place of the oldest segment. A reader sees either the segment or the
    /// runs.
    pub(crate) fn replace_segment(
        &self,
        segment: &Arc<Segment>,
        runs: Runs,
        applied: Vec<Applied>,
    ) {
        if let (Some(_), Some(files)) = (runs.kept().base_of(segment.base), runs.segments()) {
            files.adopt(segment.clone());
        }
        let mut index = self.index.write();
        let old = index.replace_oldest(runs, applied);
        let mut segments = self.segments.write();
        Arc::make_mut(&mut segments).retain(|kept| kept.base != segment.base);
        drop((segments, index));
        // Freeing the memory takes a while, so it happens outside the locks.
        drop(old);
    }

    /// Puts other runs in the place of those in force. They do not name the segments at the bases
    /// `expired` any more.
    pub(crate) fn replace_runs(&self, runs: Runs, applied: Vec<Applied>, expired: Vec<u64>) {
        self.index.write().set_runs(runs, applied, expired);
    }

    /// Returns the redactions that no merge has applied yet.
    pub(crate) fn pending_redactions(&self) -> HashMap<Target, Replacement> {
        self.index.read().redactions().pending()
    }

    /// Keeps the bodies of redactions in memory, as long as these are in force.
    pub(crate) fn hold_redactions(&self, bodies: Vec<(Target, Replacement)>) {
        if !bodies.is_empty() {
            self.index.write().redactions_mut().hold(bodies);
        }
    }

    /// Returns the redactions at these positions that no merge has applied yet. Copies them in pieces,
    /// because commits wait for the lock.
    pub(crate) fn redactions_at(&self, positions: Range<u64>) -> HashMap<Target, Replacement> {
        let mut found = HashMap::new();
        let mut from = Some(positions.start);
        while let Some(start) = from {
            let index = self.index.read();
            let range = start..positions.end;
            from = index
                .redactions()
                .pending_at(range, COPIED_AT_ONCE, &mut found);
        }
        found
    }

    pub(crate) fn runs(&self) -> Arc<Runs> {
        self.index.read().runs().clone()
    }

    /// Notes that an attempt to make or merge runs failed.
    pub(crate) fn run_failed(&self, reason: String) {
        self.counters.run_failed();
        *self.run_failure.lock() = Some(reason);
    }

    /// Notes that no runs are left to make or merge.
    pub(crate) fn runs_settled(&self) {
        *self.run_failure.lock() = None;
    }

    /// Returns the last visible sequence of a message timeline; 0 if it has no entry.
    pub(crate) fn last_seq(&self, timeline: TimelineId) -> Result<u64, ReadError> {
        let runs = {
            let index = self.index.read();
            match index.last_seq(timeline) {
                Some(seq) => return Ok(seq),
                None => index.runs().clone(),
            }
        };
        Ok(runs.last(timeline)?.map_or(0, |last| last.seq))
    }

    /// Returns the last sequence of a message timeline that can have been used. It is greater than
    /// the visible one if a repair may have given up later records.
    pub(crate) fn last_used(&self, timeline: TimelineId) -> Result<u64, ReadError> {
        if self.losses.skip == 0 {
            return self.last_seq(timeline);
        }
        let (found, runs) = {
            let index = self.index.read();
            let last = index.last_seq(timeline);
            let found = last.map(|seq| LastEntry {
                seq,
                position: index.get(timeline, seq).unwrap_or(0),
            });
            (found, index.runs().clone())
        };
        let found = match found {
            Some(found) => Some(found),
            None => runs.last(timeline)?,
        };
        let last = found.unwrap_or(LastEntry {
            seq: 0,
            position: 0,
        });
        Ok(last
            .seq
            .saturating_add(self.losses.skip_behind(last.position)))
    }
}
