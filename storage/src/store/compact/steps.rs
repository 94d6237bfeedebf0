//! The steps of the compactor, and what is in force before and after each.
//!
//! Every step makes new files, puts them in force with a new manifest, and only then removes the
//! files that they replace. A crash in between leaves files that no manifest names. The next
//! opening removes them.

use std::cell::Cell;
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::CompactionPlan;
use super::ballast::Ballast;
use super::merge_rule::{MergeCandidate, MergeRule};
use super::old_values::ValuesJob;
use crate::log::segment::{self, Segment};
use crate::run::build::{MadeRuns, Pending, RunMaker, Sealed, as_io};
use crate::run::manifest::Manifest;
use crate::run::redaction::Target;
use crate::run::{Holder, RunFile, RunForm, RunId, RunKind, Runs};
use crate::store::Reader;
use crate::store::condition::mib;
use crate::store::shared::Shared;

/// The unused bytes of a kept segment from which it pays to free them.
const LEAST_FREED: u64 = if cfg!(test) { 4096 } else { 64 << 10 };
/// The size of a page of the file system in bytes.
const PAGE: u64 = 4096;

/// The number of entries after which a long merge lets other work run.
const ENTRIES_BETWEEN_YIELDS: u32 = if cfg!(test) { 4 } else { 1024 };

pub(super) struct Steps {
    pub(super) shared: Arc<Shared>,
    pub(super) plan: CompactionPlan,
    pub(super) ballast: Ballast,
    /// The present time in milliseconds, as last set by `tick`; 0 if it was never set.
    pub(super) now: AtomicU64,
    /// The manifest in force. Locked only while a new one is put in force.
    manifest: Mutex<Manifest>,
    /// The number of the next run. No number is used twice, even if the file is gone.
    pub(super) numbers: AtomicU64,
    /// Files of steps that failed so late that the manifest on the disk may name them.
    doubtful: Mutex<Vec<RunId>>,
    /// Whether the file that notes what is overwritten may be there, because a step failed.
    pub(super) is_noted: AtomicBool,
    /// The erasure of old values under way.
    pub(super) values: Mutex<Option<ValuesJob>>,
    /// When old values were last taken out of the runs, and how long that took.
    pub(super) purged: Mutex<Option<(Instant, Duration)>>,
    /// The redacted records in segments that could not be read to overwrite their bodies.
    pub(super) stays: Mutex<HashSet<Target>>,
    /// Set when the store closes.
    pub(super) stopping: AtomicBool,
}

impl Steps {
    pub(super) fn new(shared: Arc<Shared>, plan: CompactionPlan, manifest: Manifest) -> Self {
        Steps {
            shared,
            ballast: Ballast::new(plan.segment),
            plan,
            now: AtomicU64::new(0),
            numbers: AtomicU64::new(manifest.next),
            manifest: Mutex::new(manifest),
            doubtful: Mutex::default(),
            is_noted: AtomicBool::new(false),
            values: Mutex::default(),
            purged: Mutex::default(),
            stays: Mutex::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Returns whether the compactor must stop.
    pub(super) fn is_over(&self) -> bool {
        self.stopping.load(Ordering::Acquire) || self.shared.poisoned().is_some()
    }

    /// Overwrites bodies of redacted records, or turns the oldest segment into runs, if it is full
    /// and if merging keeps up. Returns whether it did.
    pub(super) fn sort(&self) -> io::Result<bool> {
        if self.overwrite(self.shared.durable())? {
            return Ok(true);
        }
        // Appends may wait for the oldest segment, so erasing comes behind it.
        let Some(segment) = self.shared.oldest_full_segment() else {
            return self.erase();
        };
        if self.in_debt() {
            return self.erase();
        }
        self.settle()?;
        self.make_durable(&segment)?;
        if self.overwrite(segment.end())? {
            return Ok(true);
        }
        let Some(stretch) = self.shared.oldest_stretch() else {
            return Ok(false);
        };
        // No other step changes the fields of the manifest about the log.
        let mut scan = self.manifest.lock().scan();
        let (pending, older) = (self.redactions_in(&segment)?, self.shared.runs());
        let reader = Reader::new(self.shared.clone());
        let maker = self.maker(&|| Ok(()));
        let stays = self.stays.lock().clone();
        let sealed = Sealed {
            segment: &segment,
            entries: &*stretch,
            scan: &mut scan,
            pending: &pending,
            stays: &stays,
            older: &older,
            whole: &|target, replacement| reader.whole(target, replacement),
        };
        let made = self.make_runs(&maker, sealed);
        drop(older);
        let segment_stays = self.segments_stay();
        let frames_end = made.as_ref().map_or(0, |made| made.frames_end);
        let done = made.and_then(|made| {
            let MadeRuns {
                runs,
                applied,
                held,
                ..
            } = made;
            // Before the segment becomes runs, because readers look for long bodies there.
            self.shared.hold_redactions(held);
            let change = |manifest: &mut Manifest| {
                manifest.runs.extend(runs);
                manifest.note(&scan);
                manifest.low_water = segment.end();
                if segment_stays {
                    manifest.kept.push(segment.base, segment.size);
                }
            };
            let show = |runs| self.shared.replace_segment(&segment, runs, applied);
            self.put_in_force(change, show)
        });
        self.conclude(done, maker)?;
        if !segment_stays {
            self.shared.remove_file(&segment.name);
        } else if segment.end().saturating_sub(frames_end) > LEAST_FREED {
            // The segment was sealed early.
            let from = segment.offset(frames_end.next_multiple_of(PAGE));
            segment.file.free_zeros(from, segment.size);
        }
        Ok(true)
    }

    /// Returns the base of the first segment that is not in runs.
    pub(super) fn low_water(&self) -> u64 {
        self.manifest.lock().low_water
    }

    /// Returns whether segments stay when they became runs.
    fn segments_stay(&self) -> bool {
        #[cfg(test)]
        return !self.plan.old_runs;
        #[cfg(not(test))]
        true
    }

    /// Returns the redactions in a segment that no merge has applied yet.
    fn redactions_in(&self, segment: &Segment) -> io::Result<Pending> {
        #[cfg(test)]
        if self.plan.old_runs {
            // The first form of runs applied all of them, and its segments did not stay.
            let pending = self.pending()?;
            let all = pending.iter().map(|(target, one)| (*target, one.clone()));
            self.shared.hold_redactions(all.collect());
            return Ok(pending);
        }
        Ok(self.shared.redactions_at(segment.base..segment.end()))
    }

    /// Returns the redactions that no merge has applied yet, with their bodies. Only runs of the first
    /// form need them.
    fn pending(&self) -> io::Result<Pending> {
        let reader = Reader::new(self.shared.clone());
        let mut pending = self.shared.pending_redactions();
        for (target, replacement) in &mut pending {
            reader.whole(*target, replacement).map_err(as_io)?;
        }
        Ok(pending)
    }

    fn make_runs(&self, maker: &RunMaker<'_>, sealed: Sealed<'_>) -> io::Result<MadeRuns> {
        #[cfg(test)]
        if self.plan.old_runs {
            return maker.sort_as_before(sealed, &self.numbers);
        }
        maker.sort(sealed, &self.numbers)
    }

    /// Syncs a full segment if nothing else has done that yet: no opening writes it again.
    fn make_durable(&self, segment: &Segment) -> io::Result<()> {
        if self.shared.durable() >= segment.end() {
            return Ok(());
        }
        segment.file.sync_data().map_err(|source| {
            let kind = source.kind();
            let error = self.shared.fail(&segment.name, "sync", source);
            io::Error::new(kind, error.to_string())
        })
    }

    /// Returns whether merging must catch up before more runs are made.
    pub(super) fn in_debt(&self) -> bool {
        let runs = self.shared.runs();
        let mut kinds = RunKind::ALL.into_iter();
        kinds.any(|kind| self.rule(kind).in_debt(&runs.ids(kind)))
    }

    /// Returns the bytes of the runs that are to be merged by now, the merge under way included.
    pub(super) fn merge_due_bytes(&self) -> u64 {
        let runs = self.shared.runs();
        let bytes = |kind| {
            let due = self.rule(kind).due(&runs.ids(kind)).into_iter();
            let files = due.flat_map(|found| &runs.of(kind)[found.at]);
            files.map(|run| run.bytes).sum::<u64>()
        };
        RunKind::ALL.into_iter().map(bytes).sum()
    }

    /// Removes runs whose lifetime is over, or merges runs of a level if there are enough. Returns
    /// whether it did anything.
    pub(super) fn merge(&self) -> io::Result<bool> {
        let expired = self.expire();
        match expired {
            Ok(true) => Ok(true),
            // A failed expiry must not stop merging.
            Ok(false) | Err(_) => Ok(self.merge_least(&|_, _| true)?
                || self.merge_redactions()?
                || self.redact()?
                || self.purge_values()?
                || expired?),
        }
    }

    /// Makes a run anew if one of its bodies was redacted too long ago. Returns whether there was
    /// such a run.
    fn redact(&self) -> io::Result<bool> {
        // Bodies in segments are overwritten there, soon.
        let has_bodies = |run: &Arc<RunFile>| run.id.form == RunForm::Values;
        if self.shared.index.read().redactions().unfinished() == 0
            || !self
                .shared
                .runs()
                .of(RunKind::Messages)
                .iter()
                .any(has_bodies)
        {
            return Ok(false);
        }
        let now = self.now.load(Ordering::Acquire);
        let (runs, pending) = (self.shared.runs(), self.pending()?);
        let overdue = pending
            .iter()
            .filter(|(_, redaction)| redaction.time.saturating_add(self.plan.redact_within) < now)
            .find_map(|(target, _)| match runs.holder_of(*target) {
                Ok(Some(Holder::Run(at))) => Some(Ok(at)),
                Ok(Some(Holder::Segment(_)) | None) => None,
                Err(error) => Some(Err(error)),
            });
        let Some(at) = overdue.transpose().map_err(as_io)? else {
            return Ok(false);
        };
        let run = runs.of(RunKind::Messages)[at].clone();
        drop(runs);
        let candidate = MergeCandidate {
            at: at..at + 1,
            level: run.id.level,
        };
        self.merge_candidate(vec![run], &candidate, &pending)?;
        Ok(true)
    }

    fn rule(&self, kind: RunKind) -> MergeRule {
        MergeRule {
            width: self.plan.width,
            window: self.plan.lifetimes.window(kind),
            now: self.now.load(Ordering::Acquire),
        }
    }

    /// Merges the smallest runs that `admits` allows, if there are enough of them. Returns whether
    /// there were.
    fn merge_least(&self, admits: &dyn Fn(&RunId, u8) -> bool) -> io::Result<bool> {
        let runs = self.shared.runs();
        let found = RunKind::ALL.into_iter().filter_map(|kind| {
            let candidate = self.rule(kind).mergeable(&runs.ids(kind))?;
            let oldest = &runs.of(kind)[candidate.at.start];
            admits(&oldest.id, candidate.level).then_some((kind, candidate))
        });
        let Some((kind, candidate)) = found.min_by_key(|(_, candidate)| candidate.level) else {
            return Ok(false);
        };
        let old = runs.of(kind)[candidate.at.clone()].to_vec();
        drop(runs);
        // Read after the runs. So a redaction that the runs have and that is not pending is
        // applied.
        let pending = match old[0].id.form {
            RunForm::Values => self.pending()?,
            RunForm::Positions => Pending::default(),
        };
        self.merge_candidate(old, &candidate, &pending)?;
        Ok(true)
    }

    /// Makes the runs of redactions anew if half of their redactions are applied. Returns whether
    /// it did.
    fn merge_redactions(&self) -> io::Result<bool> {
        let mut old = self.shared.runs().of(RunKind::Redactions).to_vec();
        old.retain(|run| run.id.form == RunForm::Values);
        if old.is_empty() {
            return Ok(false);
        }
        let pending = self.shared.pending_redactions();
        let entries: u64 = old.iter().map(|run| run.entries).sum();
        if entries == 0 || pending.len() as u64 * 2 > entries {
            return Ok(false);
        }
        let candidate = MergeCandidate {
            at: 0..old.len(),
            level: old.iter().map(|run| run.id.level).max().unwrap_or(0),
        };
        self.merge_candidate(old, &candidate, &pending)?;
        Ok(true)
    }

    fn merge_candidate(
        &self,
        old: Vec<Arc<RunFile>>,
        candidate: &MergeCandidate,
        pending: &Pending,
    ) -> io::Result<()> {
        let more = u8::from(old.len() > 1);
        self.merge_into(candidate.level + more, old, candidate, pending)
    }

    /// Merges runs into one of this level.
    pub(super) fn merge_into(
        &self,
        level: u8,
        old: Vec<Arc<RunFile>>,
        candidate: &MergeCandidate,
        pending: &Pending,
    ) -> io::Result<()> {
        self.settle()?;
        let ids: Vec<RunId> = old.iter().map(|run| run.id).collect();
        // Without this check, each attempt would fill the free space before it fails.
        let bytes: u64 = old.iter().map(|run| run.bytes).sum();
        let free = self.shared.backend.free_bytes()?;
        if free < bytes {
            let text = format!(
                "no space: {} are free, a merge needs {}",
                mib(free),
                mib(bytes)
            );
            return Err(io::Error::new(io::ErrorKind::StorageFull, text));
        }
        let between_entries = self.others_first(&ids, candidate.level);
        let maker = self.maker(&between_entries);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let made = maker.merge(&old, candidate.at.start == 0, pending, (number, level));
        drop(old);
        let done = made.and_then(|MadeRuns { runs, applied, .. }| {
            let change = |manifest: &mut Manifest| {
                manifest.runs.retain(|run| !ids.contains(run));
                manifest.runs.extend(runs);
            };
            let show = |runs| self.shared.replace_runs(runs, applied, Vec::new());
            self.put_in_force(change, show)
        });
        self.conclude(done, maker)?;
        self.remove(&ids);
        Ok(())
    }

    /// Returns the work to run now and then while a long merge reads `busy` runs of a kind, whose
    /// greatest level is `level`. The work is merges of other runs, of lower levels, so they need
    /// not wait for the large merge and the recursion is not deep. Segments continue to become runs
    /// meanwhile.
    pub(super) fn others_first<'a>(
        &'a self,
        busy: &'a [RunId],
        level: u8,
    ) -> impl Fn() -> io::Result<()> + 'a {
        let left = Cell::new(ENTRIES_BETWEEN_YIELDS);
        let admits = move |oldest: &RunId, lower: u8| {
            let mut newest = busy.iter().rev();
            let newest = newest.find(|newest| newest.kind == oldest.kind);
            lower < level && newest.is_none_or(|newest| oldest.from >= newest.to)
        };
        move || {
            left.set(left.get().checked_sub(1).unwrap_or(ENTRIES_BETWEEN_YIELDS));
            if level > 0 && left.get() == 0 {
                while self.merge_least(&admits)? {}
            }
            Ok(())
        }
    }

    /// Makes marks of a run of messages, and puts them in its place.
    pub(super) fn mark(&self, maker: &RunMaker<'_>, over: RunId) -> io::Result<()> {
        let runs = self.shared.runs();
        let Some(run) = runs.of(over.kind).iter().find(|run| run.id == over) else {
            return Ok(());
        };
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let pending = self.shared.pending_redactions();
        let MadeRuns {
            runs: marks,
            applied,
            ..
        } = maker.mark(run, &pending, number)?;
        drop(runs);
        let gone = Cell::new(Vec::new());
        let change = |manifest: &mut Manifest| {
            manifest.expire(&over);
            manifest.runs.extend(marks);
            gone.set(manifest.expire_segments());
        };
        let show = |runs| self.shared.replace_runs(runs, applied, gone.take());
        self.put_in_force(change, show)
    }

    /// Removes segments that have expired and that no reader uses any more. The next opening removes
    /// those that cannot be removed now.
    pub(super) fn remove_released(&self) {
        // In pieces, because commits wait for the lock.
        while self.shared.index.write().sweep() {}
        let bases = self.shared.index.write().take_released();
        if bases.is_empty() {
            return;
        }
        if let Some(files) = self.shared.runs().segments() {
            files.forget(&bases);
        }
        for base in bases {
            self.shared.remove_file(&segment::segment_name(base));
        }
    }

    /// Removes the files of runs that no manifest names. The next opening removes those that cannot
    /// be removed now.
    pub(super) fn remove(&self, runs: &[RunId]) {
        for run in runs {
            self.shared.remove_file(&run.name());
        }
    }

    pub(super) fn maker<'a>(
        &'a self,
        between_entries: &'a dyn Fn() -> io::Result<()>,
    ) -> RunMaker<'a> {
        RunMaker {
            backend: &*self.shared.backend,
            store_id: self.plan.store_id,
            block: self.plan.block,
            counters: &self.shared.counters,
            stopping: &self.stopping,
            between_entries,
            made: Default::default(),
        }
    }

    /// Puts a changed manifest in force, and lets `show` make its runs visible to readers.
    pub(super) fn put_in_force(
        &self,
        change: impl FnOnce(&mut Manifest),
        show: impl FnOnce(Runs),
    ) -> io::Result<()> {
        self.shared.check_folder()?;
        let backend = &*self.shared.backend;
        let mut manifest = self.manifest.lock();
        let mut next = manifest.clone();
        change(&mut next);
        next.runs
            .sort_by_key(|run| (run.kind as u8, run.form, run.from));
        next.next = self.numbers.load(Ordering::Relaxed);
        // The names of the new files must be durable before the manifest names them.
        backend.sync_dir()?;
        let opened = self.shared.runs().with(backend, &next, self.plan.store_id);
        let runs = opened.map_err(|error| io::Error::other(error.to_string()))?;
        let _files = self.shared.files.lock();
        next.write(backend, self.plan.store_id)?;
        *manifest = next;
        show(runs);
        Ok(())
    }

    /// Ends a step. If it failed, removes its files, so that repeated failures do not fill the
    /// disk.
    pub(super) fn conclude(&self, done: io::Result<()>, maker: RunMaker<'_>) -> io::Result<()> {
        if done.is_err() {
            let backend = &*self.shared.backend;
            let found = {
                let manifest = self.manifest.lock();
                let found = Manifest::read(backend, self.plan.store_id);
                found.is_ok_and(|found| found.unwrap_or_default() == *manifest)
            };
            for run in maker.made.into_inner() {
                if found {
                    let _ = backend.remove(&run.name());
                } else {
                    self.doubtful.lock().push(run);
                }
            }
        }
        done
    }

    /// Makes sure which manifest is on the disk, and removes the files that it does not name.
    pub(super) fn settle(&self) -> io::Result<()> {
        let mut doubtful = self.doubtful.lock();
        if doubtful.is_empty() {
            return Ok(());
        }
        let backend = &*self.shared.backend;
        {
            let manifest = self.manifest.lock();
            let _files = self.shared.files.lock();
            manifest.write(backend, self.plan.store_id)?;
        }
        for run in doubtful.drain(..) {
            self.shared.remove_file(&run.name());
        }
        Ok(())
    }
}
