//! A disk that has lost some sectors, and says so when they are read.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::SimDisk;
use crate::backend::{Backend, BackendFile, Lock};

/// A simulated disk that does not return these bytes of the file that has this name when it is
/// opened.
pub(super) struct Scratched {
    pub(super) disk: SimDisk,
    pub(super) name: String,
    pub(super) lost: Range<u64>,
}

struct ScratchedFile {
    file: Arc<dyn BackendFile>,
    lost: Range<u64>,
}

impl Backend for Scratched {
    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        self.disk.lock()
    }

    fn is_locked(&self) -> bool {
        self.disk.is_locked()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn BackendFile>> {
        self.disk.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackendFile>> {
        let file = self.disk.open(name)?;
        if name != self.name {
            return Ok(file);
        }
        let lost = self.lost.clone();
        Ok(Arc::new(ScratchedFile { file, lost }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }

    fn fill_random(&self, buffer: &mut [u8]) -> io::Result<()> {
        self.disk.fill_random(buffer)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.path(name)
    }
}

impl BackendFile for ScratchedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if offset < self.lost.end && self.lost.start < offset + buffer.len() as u64 {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.file.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
