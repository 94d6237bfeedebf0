//! Repairing a store: what is damaged is given up, so that the rest opens again.
//!
//! Nothing is lost that is there now: a file is renamed to a copy before another one takes its
//! place, which is written whole and renamed into it. So a repair that is interrupted finds the
//! copy and goes on from it. Until it is done the store does not open: something is missing.
//! Segments are mended from the first to the last one, because the later ones are the proof that
//! what is damaged in the earlier ones had been acknowledged.

mod files;
mod identity;
mod log;
mod lost;
mod manifest;
mod part;
mod runs;
mod salt;
mod salvage;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Store;
use crate::backend::Backend;
use crate::error::OpenError;
use crate::log::segment::SegmentFactory;
use crate::store::losses::Losses;
use crate::store::{block_bytes, remove_temporaries};
use crate::tools::snapshot::Snapshot;
use crate::tools::walk;
use lost::Lost;

/// How a store is repaired.
#[derive(Debug, Clone)]
pub struct RepairOptions {
    /// Only say what would be done. Default: false.
    pub dry_run: bool,
    /// Size of a segment that has to be made where no other tells it, as
    /// [`Options::segment_bytes`](crate::Options::segment_bytes). Default: 64 MiB.
    pub segment_bytes: u64,
}

impl Default for RepairOptions {
    fn default() -> Self {
        RepairOptions {
            dry_run: false,
            segment_bytes: 64 << 20,
        }
    }
}

/// What [`Store::repair`] did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repair {
    /// By file, in the order in which it was done; nothing for a store that is whole.
    pub steps: Vec<Mended>,
    /// Something was given up. Positions that were given out before are refused from now on.
    pub lossy: bool,
    /// What repairs gave up in this store, this one and those before: how sequences go on.
    pub losses: Losses,
}

/// One thing that was damaged, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// The damaged file.
    pub file: PathBuf,
    /// Where in it the damage begins.
    pub offset: u64,
    /// How the damage shows.
    pub fault: String,
    /// What was done about it, and what that means.
    pub action: String,
    /// Records or entries given up, if that can be told.
    pub records: Option<u64>,
    /// Bytes of the file that were given up.
    pub bytes: u64,
    /// The copy that was kept, with the bytes as they were found.
    pub copy: Option<PathBuf>,
}

/// Told how many bytes are read, of how many.
type Progress<'a> = dyn FnMut(u64, u64) + 'a;

impl Store {
    /// Makes the store in `dir`, which nobody may have open but in a dry run, one that opens again, by giving up
    /// what is damaged, and only that. Changes nothing of a store that is whole.
    ///
    /// What is given up is in the report, and a copy of every file that is changed stays in the
    /// folder, under a name that begins with `damaged-`: remove them when nothing in them is
    /// missed, for text that is recalled later stays in them. `progress` is told now and then how many bytes are read, of how many.
    ///
    /// Sequences are not used again: where the last records of a timeline may be among what is
    /// given up, [`Reader::next_seq`](crate::Reader::next_seq) leaves a gap that is larger than
    /// what is gone ([`Losses::skip`]). That holds for callers who use each sequence.
    ///
    /// A store that is damaged is read twice: what is given up is noted before anything is mended.
    ///
    /// # Errors
    /// [`OpenError::NoStore`] if there is none, [`OpenError::Locked`] if it is open,
    /// [`OpenError::Version`] for another format, [`OpenError::Corrupt`] if neither the identity nor its copy is left, [`OpenError::Io`] for
    /// what the file system answered: run it again, it goes on where it stopped.
    pub fn repair(
        dir: &Path,
        options: &RepairOptions,
        progress: &mut Progress<'_>,
    ) -> Result<Repair, OpenError> {
        let backend: Arc<dyn Backend> = if options.dry_run {
            Arc::new(Snapshot::at(dir)?)
        } else {
            Arc::new(walk::folder(dir)?)
        };
        Store::repair_with(backend, options, progress)
    }

    /// As [`repair`](Self::repair), on any [`Backend`].
    ///
    /// # Errors
    /// As [`repair`](Self::repair).
    pub fn repair_with(
        backend: Arc<dyn Backend>,
        options: &RepairOptions,
        progress: &mut Progress<'_>,
    ) -> Result<Repair, OpenError> {
        let _lock = if options.dry_run {
            walk::check_store(&*backend)?;
            if backend.is_locked() && Store::verify_with(&*backend, progress)?.faults.is_empty() {
                // The end of a log that grows looks torn to what follows.
                return Ok(Repair::default());
            }
            None
        } else {
            let lock = walk::claim(&*backend)?;
            remove_temporaries(&*backend)?;
            Some(lock)
        };
        let mut repair = Pass {
            backend: &backend,
            segment_bytes: options.segment_bytes,
            total: walk::total(&*backend)? * if options.dry_run { 1 } else { 2 },
            progress,
        };
        let planned = repair.go(true, None)?;
        if planned.steps.is_empty() {
            return Ok(Repair::default());
        }
        let losses = planned
            .lost
            .added_to(planned.before, planned.log_end, planned.repairs);
        let steps = match options.dry_run {
            true => planned.steps,
            false => repair.go(false, Some(losses))?.steps,
        };
        Ok(Repair {
            steps,
            lossy: planned.before != Some(losses),
            losses,
        })
    }
}

/// Going through all files once.
struct Pass<'a, 'b> {
    backend: &'a Arc<dyn Backend>,
    segment_bytes: u64,
    total: u64,
    progress: &'a mut Progress<'b>,
}

/// What a pass did or would do.
#[derive(Default)]
struct Passed {
    steps: Vec<Mended>,
    lost: Lost,
    /// What repairs before gave up, if it is known.
    before: Option<Losses>,
    log_end: u64,
    /// Repairs that gave something up, as far as the epochs tell.
    repairs: u32,
}

impl Pass<'_, '_> {
    /// Mends everything, and notes what was `known` to be given up by then; or only says what it
    /// would do.
    fn go(&mut self, dry_run: bool, known: Option<Losses>) -> Result<Passed, OpenError> {
        let mut work = RepairWork {
            backend: &**self.backend,
            dry_run,
            steps: Vec::new(),
            lost: Lost::default(),
            log_end: 0,
            done: if dry_run { 0 } else { self.total / 2 },
            total: self.total,
            progress: &mut *self.progress,
        };
        let Some(identity) = identity::mend(&mut work)? else {
            return Ok(Passed::default());
        };
        let store_id = identity.store_id;
        let before = lost::mend(&mut work, store_id, known)?;
        let repairs = lost::mend_epochs(&mut work, store_id)?;
        let factory = SegmentFactory {
            backend: self.backend.clone(),
            store_id,
            size: self.segment_bytes,
        };
        let block = block_bytes(self.segment_bytes);
        let manifest = manifest::mend(&mut work, &factory, block)?;
        log::mend(&mut work, &factory, &manifest)?;
        if !dry_run || work.steps.is_empty() {
            (work.progress)(work.total, work.total);
        }
        Ok(Passed {
            steps: work.steps,
            lost: work.lost,
            before,
            log_end: work.log_end,
            repairs,
        })
    }
}

/// A repair under way.
struct RepairWork<'a> {
    backend: &'a dyn Backend,
    dry_run: bool,
    steps: Vec<Mended>,
    lost: Lost,
    /// Where the log ends.
    log_end: u64,
    /// Bytes read, of how many.
    done: u64,
    total: u64,
    progress: &'a mut Progress<'a>,
}

impl RepairWork<'_> {
    /// Notes that so many bytes were read.
    fn advance(&mut self, bytes: u64) {
        self.done = (self.done + bytes).min(self.total);
        (self.progress)(self.done, self.total);
    }

    /// Notes that something is damaged in the file `name`. The rest of the step is filled in by
    /// whoever mends it.
    fn damaged(&mut self, name: &str, offset: u64, fault: impl Into<String>) -> &mut Mended {
        let at = self.steps.len();
        self.steps.push(Mended {
            file: self.backend.path(name),
            offset,
            fault: fault.into(),
            action: String::new(),
            records: None,
            bytes: 0,
            copy: None,
        });
        &mut self.steps[at]
    }

    /// Notes what copy there is of what was damaged last.
    fn kept(&mut self, copy: Option<&str>) {
        if let Some(step) = self.steps.last_mut() {
            step.copy = copy.map(|copy| self.backend.path(copy));
        }
    }
}
