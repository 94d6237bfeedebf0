//! The real disk, with its reads counted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use trunkline_storage::backend::file::FileBackend;
use trunkline_storage::backend::{Backend, BackendFile, Lock};

/// Reads so far.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    runs: AtomicU64,
    log: AtomicU64,
}

/// The reads since a moment, by the kind of file.
pub(crate) struct ReadsTaken {
    pub(crate) runs: u64,
    pub(crate) log: u64,
}

impl Reads {
    /// Returns the reads since the last call.
    pub(crate) fn take(&self) -> ReadsTaken {
        ReadsTaken {
            runs: self.runs.swap(0, Relaxed),
            log: self.log.swap(0, Relaxed),
        }
    }
}

/// A folder whose reads are counted.
pub(crate) struct Counting {
    files: FileBackend,
    reads: Arc<Reads>,
}

impl Counting {
    pub(crate) fn new(dir: &Path, reads: Arc<Reads>) -> io::Result<Self> {
        let files = FileBackend::new(dir)?;
        Ok(Counting { files, reads })
    }

    fn wrap(&self, name: &str, file: Arc<dyn BackendFile>) -> Arc<dyn BackendFile> {
        Arc::new(CountingFile {
            file,
            reads: self.reads.clone(),
            is_run: name.starts_with("run-"),
        })
    }
}

impl Backend for Counting {
    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        self.files.lock()
    }

    fn is_locked(&self) -> bool {
        self.files.is_locked()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn BackendFile>> {
        Ok(self.wrap(name, self.files.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackendFile>> {
        Ok(self.wrap(name, self.files.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.files.list()
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.files.sync_dir()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.files.free_bytes()
    }

    fn fill_random(&self, buffer: &mut [u8]) -> io::Result<()> {
        self.files.fill_random(buffer)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path(name)
    }
}

struct CountingFile {
    file: Arc<dyn BackendFile>,
    reads: Arc<Reads>,
    is_run: bool,
}

impl BackendFile for CountingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let counter = match self.is_run {
            true => &self.reads.runs,
            false => &self.reads.log,
        };
        counter.fetch_add(1, Relaxed);
        self.file.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn free_zeros(&self, from: u64, to: u64) {
        self.file.free_zeros(from, to);
    }

    fn prefetch(&self, offset: u64, len: u64) {
        self.file.prefetch(offset, len);
    }

    fn is_removed(&self) -> bool {
        self.file.is_removed()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
