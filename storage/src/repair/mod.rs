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
mod manifest;
mod part;
mod runs;
pub(crate) mod salt;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backend::Backend;
use crate::error::OpenError;
use crate::look::Look;
use crate::segment::SegmentFactory;
use crate::store::{block_bytes, remove_temporaries};
use crate::{Store, walk};

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
    /// Where the last records of a timeline are given up, its last sequence goes back, unless
    /// something else tells it: whoever draws sequences from the store may use one again.
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
            Arc::new(Look::at(dir)?)
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
        let mut work = Work {
            backend: &*backend,
            dry_run: options.dry_run,
            steps: Vec::new(),
            done: 0,
            total: walk::total(&*backend)?,
            progress,
        };
        let Some(identity) = identity::mend(&mut work)? else {
            return Ok(Repair::default());
        };
        let factory = SegmentFactory {
            backend: backend.clone(),
            store_id: identity.store_id,
            size: options.segment_bytes,
        };
        let block = block_bytes(options.segment_bytes);
        let manifest = manifest::mend(&mut work, &factory, block)?;
        log::mend(&mut work, &factory, &manifest)?;
        (work.progress)(work.total, work.total);
        Ok(Repair { steps: work.steps })
    }
}

/// A repair under way.
struct Work<'a> {
    backend: &'a dyn Backend,
    dry_run: bool,
    steps: Vec<Mended>,
    /// Bytes read, of how many.
    done: u64,
    total: u64,
    progress: &'a mut Progress<'a>,
}

impl Work<'_> {
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
