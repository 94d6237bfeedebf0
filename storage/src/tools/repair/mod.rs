//! Repairing a store: removes the damaged parts, so that the rest opens again.
//!
//! A repair loses nothing that is there now. It renames a file to a copy, writes the new file
//! whole, and renames that into its place. An interrupted repair finds the copy and goes on from
//! it; until it is done the store does not open, because a file is missing. The repair mends
//! segments from the first to the last one, because later segments prove what was acknowledged in
//! earlier ones.

mod files;
mod identity;
mod kept;
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
use crate::error::{OpenError, io_error};
use crate::log::overwrite;
use crate::log::segment::{self, SegmentFactory};
use crate::store::identity::{self as stored, Identity};
use crate::store::losses::Losses;
use crate::store::{block_bytes, remove_temporaries};
use crate::tools::snapshot::Snapshot;
use crate::tools::walk;
use lost::Lost;

/// The settings of a repair.
#[derive(Debug, Clone)]
pub struct RepairOptions {
    /// Whether the repair only reports what it would do. Default: false.
    pub dry_run: bool,
    /// The size of a new segment in bytes, if no other segment has a known size; see
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

/// The report of [`Store::repair`]: what it did, or would do in a dry run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repair {
    /// The repaired places in the order of the repair; empty for a whole store.
    pub steps: Vec<Mended>,
    /// Whether the repair gave something up. The store then refuses positions that it gave out
    /// before.
    pub lossy: bool,
    /// The sum of what this and earlier repairs gave up: it decides how sequences go on.
    pub losses: Losses,
}

/// A damaged place, and what the repair did about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// The damaged file.
    pub file: PathBuf,
    /// Offset in the file at which the damage begins.
    pub offset: u64,
    /// The kind of damage, in words.
    pub fault: String,
    /// What the repair did, and what that means.
    pub action: String,
    /// The number of records or entries that the repair gave up, if it is known.
    pub records: Option<u64>,
    /// The number of bytes of the file that the repair gave up.
    pub bytes: u64,
    /// The copy that the repair kept, with the bytes as it found them.
    pub copy: Option<PathBuf>,
}

/// Receives the bytes read so far, and the bytes in all.
type Progress<'a> = dyn FnMut(u64, u64) + 'a;

impl Store {
    /// Repairs the store in `dir` so that it opens again: gives up what is damaged, and only that.
    /// A whole store stays unchanged. Nobody may have the store open, except in a dry run.
    ///
    /// The report lists what is given up. A copy of each changed file stays in the folder under a
    /// name that begins with `damaged-`. Remove the copies once nothing in them is missed, because
    /// text that is recalled later stays in them. The repair calls `progress` now and then with the
    /// bytes read and the bytes in all.
    ///
    /// The repair never lets a sequence be used again. Where the last records of a timeline may be
    /// lost, [`Reader::next_seq`](crate::Reader::next_seq) leaves a gap larger than the loss
    /// ([`Losses::skip`]). This holds for callers that use each sequence.
    ///
    /// The repair reads a damaged store twice: it notes what is given up before it mends anything.
    ///
    /// # Errors
    /// [`OpenError::NoStore`] if there is no store, [`OpenError::Locked`] if it is open,
    /// [`OpenError::Version`] for another format, [`OpenError::Corrupt`] if neither the identity
    /// nor its copy is left, [`OpenError::Io`] for an error of the file system. After an I/O error
    /// run the repair again: it goes on where it stopped.
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

    /// Repairs a store on any [`Backend`], like [`repair`](Self::repair).
    ///
    /// # Errors
    /// The errors of [`repair`](Self::repair).
    pub fn repair_with(
        backend: Arc<dyn Backend>,
        options: &RepairOptions,
        progress: &mut Progress<'_>,
    ) -> Result<Repair, OpenError> {
        let _lock = if options.dry_run {
            walk::check_store(&*backend)?;
            if backend.is_locked() && Store::verify_with(&*backend, progress)?.faults.is_empty() {
                // While a store is open, the end of its growing log looks torn.
                return Ok(Repair::default());
            }
            None
        } else {
            let lock = walk::claim(&*backend)?;
            remove_temporaries(&*backend)?;
            finish_overwriting(&*backend)?;
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

/// Overwrites again what an interrupted process was going to overwrite, as an opening does.
fn finish_overwriting(backend: &dyn Backend) -> Result<(), OpenError> {
    let identities = [stored::NAME, stored::COPY];
    let mut known = identities
        .iter()
        .filter_map(|name| Identity::read(backend, name).ok());
    match known.next() {
        Some(identity) => overwrite::finish(backend, identity.store_id).map_err(io_error(
            backend,
            overwrite::NAME,
            "finish",
        )),
        None => Ok(()),
    }
}

/// One pass through all files.
struct Pass<'a, 'b> {
    backend: &'a Arc<dyn Backend>,
    segment_bytes: u64,
    total: u64,
    progress: &'a mut Progress<'b>,
}

/// The result of a pass: what it did, or would do in a dry run.
#[derive(Default)]
struct PassResult {
    steps: Vec<Mended>,
    lost: Lost,
    /// What earlier repairs gave up, if it is known.
    before: Option<Losses>,
    log_end: u64,
    /// The number of repairs that gave something up, as far as the epochs tell.
    repairs: u32,
}

impl Pass<'_, '_> {
    /// Mends everything, and stores `known` as what is given up. A dry run only reports what it
    /// would do.
    fn go(&mut self, dry_run: bool, known: Option<Losses>) -> Result<PassResult, OpenError> {
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
            return Ok(PassResult::default());
        };
        let store_id = identity.store_id;
        let before = lost::mend(&mut work, store_id, known)?;
        let repairs = lost::mend_epochs(&mut work, store_id)?;
        let factory = SegmentFactory {
            backend: self.backend.clone(),
            store_id,
            size: self.segment_bytes,
            version: segment::FORMAT_VERSION,
        };
        let block = block_bytes(self.segment_bytes);
        let manifest = manifest::mend(&mut work, &factory, block)?;
        log::mend(&mut work, &factory, &manifest)?;
        if !dry_run || work.steps.is_empty() {
            (work.progress)(work.total, work.total);
        }
        Ok(PassResult {
            steps: work.steps,
            lost: work.lost,
            before,
            log_end: work.log_end,
            repairs,
        })
    }
}

/// The state of a running repair.
struct RepairWork<'a> {
    backend: &'a dyn Backend,
    dry_run: bool,
    steps: Vec<Mended>,
    lost: Lost,
    /// The position at which the log ends.
    log_end: u64,
    /// The bytes read so far.
    done: u64,
    total: u64,
    progress: &'a mut Progress<'a>,
}

impl RepairWork<'_> {
    /// Notes that `bytes` more bytes were read.
    fn advance(&mut self, bytes: u64) {
        self.done = (self.done + bytes).min(self.total);
        (self.progress)(self.done, self.total);
    }

    /// Notes damage in the file `name`. The caller that mends it fills in the rest of the step.
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

    /// Notes the copy, if any, of the file that was noted last as damaged.
    fn kept(&mut self, copy: Option<&str>) {
        if let Some(step) = self.steps.last_mut() {
            step.copy = copy.map(|copy| self.backend.path(copy));
        }
    }
}
