//! A view of a folder that a store may be using. It neither locks nor writes anything.
//!
//! An open file stays readable when it is removed. So a snapshot opens all files of a store at
//! once, and repeats this if some vanish meanwhile. All later reads use these files. They show the
//! store at one moment, except that the end of its log may continue to grow.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backend::file::FileBackend;
use crate::backend::{Backend, BackendFile, Lock};
use crate::error::OpenError;
use crate::error::io_error;
use crate::log::overwrite::{self, Overwritten};
use crate::log::segment;
use crate::run::manifest::{self, Manifest};
use crate::store::identity::{self, Identity};
use crate::tools::walk::{self, is_ours};

/// The most attempts to open the files when some are missing. An attempt takes milliseconds, and a
/// store changes its files a few times a second at most.
const TRIES: usize = 100;

/// The files of a store at one moment, to be read only.
pub(crate) struct Snapshot {
    backend: Arc<dyn Backend>,
    files: BTreeMap<String, Arc<dyn BackendFile>>,
    /// Whether the store was open at that moment.
    live: bool,
}

impl Snapshot {
    /// Opens the files of the folder `dir`.
    ///
    /// # Errors
    /// [`OpenError::NoStore`] if there is no store, [`OpenError::Io`] for an error of the file
    /// system.
    pub(crate) fn at(dir: &Path) -> Result<Snapshot, OpenError> {
        let backend = FileBackend::read_only(dir).map_err(|source| OpenError::Io {
            file: dir.to_path_buf(),
            action: "open the folder",
            source,
        })?;
        Snapshot::on(Arc::new(backend))
    }

    /// Opens the files of any [`Backend`], like [`at`](Self::at).
    ///
    /// # Errors
    /// The errors of [`at`](Self::at).
    pub(crate) fn on(backend: Arc<dyn Backend>) -> Result<Snapshot, OpenError> {
        let mut snapshot = Snapshot {
            live: backend.is_locked(),
            files: BTreeMap::new(),
            backend,
        };
        walk::check_store(&*snapshot.backend)?;
        snapshot.take()?;
        let mut tries = 1;
        while snapshot.live && tries < TRIES && !snapshot.is_whole() {
            snapshot.take()?;
            tries += 1;
        }
        snapshot.overwrite()?;
        // Another process may have opened the store meanwhile.
        snapshot.live |= snapshot.backend.is_locked();
        Ok(snapshot)
    }

    /// Shows segments as they are once the bodies are overwritten that a process was overwriting.
    fn overwrite(&mut self) -> Result<(), OpenError> {
        let Ok(identity) = Identity::read(self, identity::NAME) else {
            return Ok(());
        };
        let noted = overwrite::read(self, identity.store_id);
        let noted = noted.map_err(io_error(&*self.backend, overwrite::NAME, "read"))?;
        for same in noted.unwrap_or_default().chunk_by(|a, b| a.base == b.base) {
            if let Some(file) = self.files.get_mut(&segment::segment_name(same[0].base)) {
                let shown = Overwritten::new(file.clone(), same.to_vec());
                *file =
                    Arc::new(shown.map_err(io_error(&*self.backend, overwrite::NAME, "show"))?);
            }
        }
        Ok(())
    }

    /// Opens all files that exist.
    fn take(&mut self) -> Result<(), OpenError> {
        let backend = &*self.backend;
        let names = backend.list().map_err(io_error(backend, "", "list"))?;
        self.files.clear();
        // The manifest is opened first, then the files that it names.
        let (first, rest): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| name == manifest::NAME);
        for name in first.into_iter().chain(rest) {
            match backend.open(&name) {
                Ok(file) => {
                    self.files.insert(name, file);
                }
                // The file was removed since the listing, or belongs to another program.
                Err(error) if error.kind() == io::ErrorKind::NotFound || !is_ours(&name) => {}
                Err(source) => {
                    return Err(OpenError::Io {
                        file: backend.path(&name),
                        action: "open",
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    /// Returns whether all files in force by the manifest are open. Does not report damage; later
    /// reads do.
    fn is_whole(&self) -> bool {
        let Ok(identity) = Identity::read(self, identity::NAME) else {
            return true;
        };
        let Ok(manifest) = Manifest::read(self, identity.store_id) else {
            return true;
        };
        let manifest = manifest.unwrap_or_default();
        let first = segment::segment_name(manifest.low_water);
        let mut runs = manifest.runs.iter();
        let mut kept = manifest
            .kept
            .segments()
            .map(|(base, _)| segment::segment_name(base));
        kept.all(|name| self.files.contains_key(&name))
            && self.files.contains_key(&first)
            && runs.all(|run| self.files.contains_key(&run.name()))
    }
}

impl Backend for Snapshot {
    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn is_locked(&self) -> bool {
        self.live
    }

    fn create(&self, _: &str) -> io::Result<Arc<dyn BackendFile>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackendFile>> {
        let file = self.files.get(name).cloned();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.backend.free_bytes()
    }

    fn fill_random(&self, buffer: &mut [u8]) -> io::Result<()> {
        self.backend.fill_random(buffer)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.backend.path(name)
    }
}
