//! A disk that says what is done to it, and by which thread, and may be made to wait or fail there.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::backend::{Backend, BackendFile, Lock};

/// An operation on a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Create,
    Open,
    List,
    /// The list is read, and the store gets it after this call.
    Listed,
    /// The question for free space.
    Free,
    Read,
    Write,
    Sync,
    Rename,
    Remove,
}

/// A function that is called before each operation with the name of the file. The store gets its
/// error as the result of the operation.
pub(super) type Guard = dyn Fn(Act, &str) -> io::Result<()> + Send + Sync;

/// A simulated disk behind a guard.
pub(super) struct Watched {
    pub(super) disk: SimDisk,
    pub(super) guard: Arc<Guard>,
}

struct WatchedFile {
    file: Arc<dyn BackendFile>,
    name: String,
    guard: Arc<Guard>,
}

/// Clears a flag when it is dropped, so that threads that wait for the flag end with the test.
pub(super) struct Release(pub(super) Arc<AtomicBool>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Returns the name of the calling thread.
pub(super) fn thread() -> String {
    let thread = std::thread::current();
    thread.name().unwrap_or_default().to_owned()
}

impl Watched {
    fn wrap(&self, name: &str, file: Arc<dyn BackendFile>) -> Arc<dyn BackendFile> {
        Arc::new(WatchedFile {
            file,
            name: name.into(),
            guard: self.guard.clone(),
        })
    }
}

impl Backend for Watched {
    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        self.disk.lock()
    }

    fn is_locked(&self) -> bool {
        self.disk.is_locked()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn BackendFile>> {
        (self.guard)(Act::Create, name)?;
        Ok(self.wrap(name, self.disk.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackendFile>> {
        (self.guard)(Act::Open, name)?;
        Ok(self.wrap(name, self.disk.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        (self.guard)(Act::Rename, to)?;
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        (self.guard)(Act::Remove, name)?;
        self.disk.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        (self.guard)(Act::List, "")?;
        let names = self.disk.list()?;
        (self.guard)(Act::Listed, "")?;
        Ok(names)
    }

    fn sync_dir(&self) -> io::Result<()> {
        (self.guard)(Act::Sync, "")?;
        self.disk.sync_dir()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        (self.guard)(Act::Free, "")?;
        self.disk.free_bytes()
    }

    fn fill_random(&self, buffer: &mut [u8]) -> io::Result<()> {
        self.disk.fill_random(buffer)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.path(name)
    }
}

impl BackendFile for WatchedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        (self.guard)(Act::Read, &self.name)?;
        self.file.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        (self.guard)(Act::Write, &self.name)?;
        self.file.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        (self.guard)(Act::Sync, &self.name)?;
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
