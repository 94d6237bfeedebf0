//! Verifying a store: checking all its checksums without changing it.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::Store;
use crate::backend::Backend;
use crate::error::{Fault, OpenError, io_error};
use crate::recovery::TornEnd;
use crate::run::manifest::Manifest;
use crate::run::{BlockCache, RunFile, RunForm, RunKind};
use crate::store::epochs::Epochs;
use crate::store::identity::{self, Identity};
use crate::store::losses::{self, Losses};
use crate::tools::snapshot::Snapshot;
use crate::tools::walk::{self, Step};

/// What [`Store::verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// The number of files in force that the check read.
    pub files: usize,
    /// The size of these files in bytes.
    pub bytes: u64,
    /// The number of undamaged records in the log and the runs.
    pub records: u64,
    /// What follows the end of the log; `None` if nothing does. Such data is not damage: the next
    /// opening cuts it off.
    pub torn: Option<TornEnd>,
    /// Whether the store was open elsewhere: the result then shows the moment at which the check
    /// began.
    pub live: bool,
    /// The damage; empty if the store is whole.
    pub faults: Vec<Fault>,
}

/// A closure that is told how many bytes are done, and of how many.
type Progress<'a> = dyn FnMut(u64, u64) + 'a;

impl Store {
    /// Reads all of the store in `dir` and checks every checksum. Takes no lock and changes
    /// nothing, so the store may be open elsewhere. The check calls `progress` now and then with
    /// the bytes done and the bytes in all.
    ///
    /// Damage does not end the check: [`Verified::faults`] lists all that was found. Behind the
    /// first damage in the log the check looks only at the end of the log.
    ///
    /// # Errors
    /// [`OpenError::NoStore`] if there is no store, [`OpenError::Version`] for another format,
    /// [`OpenError::Io`] for an error of the file system.
    pub fn verify(dir: &Path, progress: &mut Progress<'_>) -> Result<Verified, OpenError> {
        Store::verify_with(&Snapshot::at(dir)?, progress)
    }

    /// Checks a store on any [`Backend`], like [`verify`](Self::verify).
    ///
    /// # Errors
    /// The errors of [`verify`](Self::verify).
    pub fn verify_with(
        backend: &dyn Backend,
        progress: &mut Progress<'_>,
    ) -> Result<Verified, OpenError> {
        walk::check_store(backend)?;
        let mut check = Check {
            backend,
            found: Verified {
                live: backend.is_locked(),
                ..Verified::default()
            },
            total: walk::total(backend)?,
            progress,
        };
        let Some(identity) = check.note(Identity::read(backend, identity::NAME))? else {
            return Ok(check.found);
        };
        let manifest = check.note(Manifest::read(backend, identity.store_id))?;
        let Some(manifest) = manifest.map(Option::unwrap_or_default) else {
            return Ok(check.found);
        };
        check.found.files += 1 + usize::from(manifest.low_water > 0);
        check.copy_of(&identity)?;
        check.losses(identity.store_id)?;
        check.epochs(identity.store_id)?;
        check.runs(&manifest, identity.store_id)?;
        check.kept(&manifest, identity.store_id)?;
        check.log(&manifest, identity.store_id)?;
        (check.progress)(check.total, check.total);
        Ok(check.found)
    }
}

struct Check<'a> {
    backend: &'a dyn Backend,
    found: Verified,
    total: u64,
    progress: &'a mut Progress<'a>,
}

impl Check<'_> {
    /// Notes damage; other errors end the check.
    fn note<T>(&mut self, result: Result<T, OpenError>) -> Result<Option<T>, OpenError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                self.found.faults.push(Fault::of(error)?);
                Ok(None)
            }
        }
    }

    /// Checks the copy of the identity. The next opening makes a missing copy.
    fn copy_of(&mut self, identity: &Identity) -> Result<(), OpenError> {
        let names = self.backend.list();
        let names = names.map_err(io_error(self.backend, "", "list"))?;
        if !names.iter().any(|name| name == identity::COPY) {
            return Ok(());
        }
        self.found.files += 1;
        let copy = self.note(Identity::read(self.backend, identity::COPY))?;
        if copy.is_some_and(|copy| copy != *identity) {
            self.found.faults.push(Fault {
                file: self.backend.path(identity::COPY),
                offset: 0,
                reason: "not a copy of the identity".into(),
            });
        }
        Ok(())
    }

    /// Checks the file `losses` and its copy. The next opening makes a missing copy.
    fn losses(&mut self, store_id: [u8; 16]) -> Result<(), OpenError> {
        let names = self.backend.list();
        let names = names.map_err(io_error(self.backend, "", "list"))?;
        let Some(losses) = self.note(Losses::read(self.backend, store_id))? else {
            return Ok(());
        };
        for name in [losses::NAME, losses::COPY] {
            if !names.iter().any(|known| known == name) {
                continue;
            }
            self.found.files += 1;
            if !losses.is_kept(self.backend, store_id, name)? {
                self.note(Err::<(), _>(losses::damaged(self.backend, name)))?;
            }
        }
        Ok(())
    }

    /// Checks the file `epochs`. The next opening makes a missing file.
    fn epochs(&mut self, store_id: [u8; 16]) -> Result<(), OpenError> {
        match Epochs::look(self.backend, store_id)? {
            Ok(None) => {}
            Ok(Some(_)) => self.found.files += 1,
            Err(fault) => {
                self.found.files += 1;
                self.found.faults.push(fault);
            }
        }
        Ok(())
    }

    fn runs(&mut self, manifest: &Manifest, store_id: [u8; 16]) -> Result<(), OpenError> {
        let cache = Arc::new(BlockCache::new(0));
        for &id in &manifest.runs {
            let opened = RunFile::open(self.backend, id, store_id, cache.clone());
            let Some(run) = self.note(opened)? else {
                continue;
            };
            let (done, total) = (self.found.bytes, self.total);
            let progress = &mut self.progress;
            match run.check(&mut |bytes| progress(done + bytes, total)) {
                Ok(entries) if id.kind == RunKind::Messages && id.form == RunForm::Values => {
                    self.found.records += entries;
                }
                Ok(_) => {}
                Err(error) => {
                    let fault = Fault::of_read(error, self.backend.path(&id.name()))?;
                    self.found.faults.push(fault);
                }
            }
            self.found.files += 1;
            self.found.bytes += run.bytes;
        }
        Ok(())
    }

    /// Checks the segments whose records runs name.
    fn kept(&mut self, manifest: &Manifest, store_id: [u8; 16]) -> Result<(), OpenError> {
        for (base, size) in manifest.kept.segments() {
            let segment = walk::open(self.backend, base, store_id);
            let Some(segment) = self.note(segment)? else {
                continue;
            };
            let mut records = 0;
            let read = walk::kept(self.backend, &segment, size, &mut |_| {
                records += 1;
                ControlFlow::Continue(())
            });
            self.note(read)?;
            self.found.records += records;
            self.found.files += 1;
            self.found.bytes += size;
            (self.progress)(self.found.bytes, self.total);
        }
        Ok(())
    }

    fn log(&mut self, manifest: &Manifest, store_id: [u8; 16]) -> Result<(), OpenError> {
        let (found, progress) = (&mut self.found, &mut self.progress);
        let walked = walk::walk(self.backend, store_id, manifest, &mut |step| {
            if let Step::Segment(segment) = step {
                found.files += 1;
                found.bytes += segment.size;
                progress(found.bytes, self.total);
            }
            ControlFlow::Continue(())
        })?;
        self.found.records += walked.scan.records;
        self.found.torn = walked.torn;
        self.found.faults.extend(walked.fault);
        Ok(())
    }
}
