//! Checking a whole store without changing it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backend::Backend;
use crate::backend::file::FileBackend;
use crate::error::{OpenError, ReadError};
use crate::identity::Identity;
use crate::recovery::{Scan, ScanEnd, io_error, tail};
use crate::run::manifest::Manifest;
use crate::run::{BlockCache, Kind, RunFile};
use crate::segment::{self, Segment};
use crate::{Position, Store};

/// What [`Store::verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Files in force that were read.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Whole records, in the log and in runs.
    pub records: u64,
    /// Where the log ends, if something follows that was never acknowledged: the next opening cuts
    /// it off. No fault.
    pub torn: Option<Position>,
    /// What is damaged; nothing if the store is whole.
    pub faults: Vec<Fault>,
}

/// A damaged place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// Where in it the damage begins.
    pub offset: u64,
    /// How the damage shows.
    pub reason: String,
}

/// Told how many bytes are read, of how many.
type Progress<'a> = dyn FnMut(u64, u64) + 'a;

impl Store {
    /// Reads all of the store in `dir`, which nobody may have open, and checks every checksum.
    /// Changes nothing. `progress` is told now and then how many bytes are done, of how many.
    ///
    /// Damage does not end it: all that can be told is in [`Verified::faults`]. Behind the first
    /// damage in the log only the end of the log is looked at.
    ///
    /// # Errors
    /// [`OpenError::Locked`] if the store is open, [`OpenError::Version`] for another format,
    /// [`OpenError::Io`] for what the file system answered.
    pub fn verify(dir: &Path, progress: &mut Progress<'_>) -> Result<Verified, OpenError> {
        // The backend would make a folder that is missing.
        let backend = std::fs::read_dir(dir).and_then(|_| FileBackend::new(dir));
        let backend = backend.map_err(|source| OpenError::Io {
            file: dir.to_path_buf(),
            action: "open the folder",
            source,
        })?;
        Store::verify_with(&backend, progress)
    }

    /// As [`verify`](Self::verify), on any [`Backend`].
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_with(
        backend: &dyn Backend,
        progress: &mut Progress<'_>,
    ) -> Result<Verified, OpenError> {
        let _lock = Store::lock(backend)?;
        let mut check = Check {
            backend,
            found: Verified::default(),
            total: total(backend)?,
            progress,
        };
        let Some(identity) = check.note(Identity::read(backend))? else {
            return Ok(check.found);
        };
        let manifest = check.note(Manifest::read(backend, identity.store_id))?;
        let Some(manifest) = manifest.map(Option::unwrap_or_default) else {
            return Ok(check.found);
        };
        check.found.files += 1 + usize::from(manifest.low_water > 0);
        check.runs(&manifest, identity.store_id)?;
        check.log(&manifest, identity.store_id)?;
        (check.progress)(check.total, check.total);
        Ok(check.found)
    }
}

/// Bytes of all run files and segments.
fn total(backend: &dyn Backend) -> Result<u64, OpenError> {
    let mut total = 0;
    for name in backend.list().map_err(io_error(backend, "", "list"))? {
        if name.ends_with(".seg") || name.ends_with(".tbl") {
            let file = backend.open(&name).and_then(|file| file.len());
            total += file.map_err(io_error(backend, &name, "read"))?;
        }
    }
    Ok(total)
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
            Err(OpenError::Corrupt {
                file,
                offset,
                reason,
            }) => {
                self.fault(file, offset, reason);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn fault(&mut self, file: PathBuf, offset: u64, reason: String) {
        self.found.faults.push(Fault {
            file,
            offset,
            reason,
        });
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
                Ok(entries) if id.kind == Kind::Messages => self.found.records += entries,
                Ok(_) => {}
                Err(ReadError::Io { file, source }) => {
                    return Err(OpenError::Io {
                        file,
                        action: "read",
                        source,
                    });
                }
                Err(ReadError::Corrupt { file, offset }) => {
                    self.fault(file, offset, "not what was written".into());
                }
                Err(error) => {
                    self.fault(self.backend.path(&id.name()), 0, error.to_string());
                }
            }
            self.found.files += 1;
            self.found.bytes += run.bytes;
        }
        Ok(())
    }

    fn log(&mut self, manifest: &Manifest, store_id: [u8; 16]) -> Result<(), OpenError> {
        let names = self.backend.list();
        let names = names.map_err(io_error(self.backend, "", "list"))?;
        let mut bases: Vec<u64> = names
            .iter()
            .filter_map(|name| segment::segment_base(name))
            .filter(|&base| base >= manifest.low_water)
            .collect();
        bases.sort_unstable();
        let mut segments = Vec::new();
        for name in bases.into_iter().map(segment::segment_name) {
            let opened = Segment::open(self.backend, &name, store_id);
            // Without one of them the end of the log cannot be told.
            let Some(segment) = self.note(opened)? else {
                return Ok(());
            };
            segments.push(Arc::new(segment));
        }
        let mut scan = Scan::after(manifest);
        let mut expected = manifest.low_water;
        let mut read = 0;
        let end = loop {
            let Some(segment) = segments.get(read).filter(|next| next.base == expected) else {
                let file = self.backend.path(&segment::segment_name(expected));
                self.fault(file, 0, "the file is missing".into());
                return Ok(());
            };
            let found = scan.segment(segment, &mut |_| ());
            let found = found.map_err(io_error(self.backend, &segment.name, "read"))?;
            read += 1;
            self.found.files += 1;
            self.found.bytes += segment.size;
            (self.progress)(self.found.bytes, self.total);
            expected = segment.end();
            if let ScanEnd::Open(end) = found {
                break end;
            }
        };
        self.found.records += scan.records;
        let later = segments.split_off(read);
        let survey = tail::survey(self.backend, &segments, &later, end);
        if let Some(survey) = self.note(survey)?
            && survey.finds_anything()
        {
            self.found.torn = Some(Position(end));
        }
        Ok(())
    }
}
