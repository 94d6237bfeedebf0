//! The disk as the store sees it: a flat folder of files with positioned reads and writes.
//!
//! The trait is small so that a simulated disk can stand in for the real one: every crash test
//! of this crate runs on the simulated one, every program on [`FileBackend`](file::FileBackend).

pub mod file;
mod hold;
#[cfg(any(test, feature = "sim"))]
pub mod sim;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A folder that holds one store.
///
/// File names are plain (no separators). What POSIX leaves volatile is volatile here too: a
/// created, renamed or removed name is certain only after [`Backend::sync_dir`], written bytes
/// only after [`BackendFile::sync_data`].
pub trait Backend: Send + Sync + 'static {
    /// Takes the exclusive lock of the folder; it is held until the guard is dropped.
    ///
    /// # Errors
    /// `WouldBlock` when another process or store holds it.
    fn lock(&self) -> io::Result<Box<dyn Lock>>;

    /// Whether somebody has the folder locked at this moment. Takes no lock that stays, and writes
    /// nothing.
    fn is_locked(&self) -> bool;

    /// Creates a file that must not exist yet, for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists`, or what the file system answers.
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackendFile>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, or what the file system answers.
    fn open(&self, name: &str) -> io::Result<Arc<dyn BackendFile>>;

    /// Renames a file, replacing the target if it exists.
    ///
    /// # Errors
    /// What the file system answers.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the file system answers.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names in the folder, in no order.
    ///
    /// # Errors
    /// What the file system answers.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes every earlier change of names durable.
    ///
    /// # Errors
    /// What the file system answers; the names are then uncertain.
    fn sync_dir(&self) -> io::Result<()>;

    /// Bytes an unprivileged process may still allocate on this file system.
    ///
    /// # Errors
    /// What the file system answers.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Fills `buffer` with unpredictable bytes (store id, secret key, salts, session numbers).
    ///
    /// # Errors
    /// What the system's source answers.
    fn fill_random(&self, buffer: &mut [u8]) -> io::Result<()>;

    /// The path to show to a person for `name`; the folder itself for an empty name.
    fn path(&self, name: &str) -> PathBuf;
}

/// An open file of a [`Backend`].
pub trait BackendFile: Send + Sync {
    /// Reads at `offset`; fewer bytes than asked for only at the end of the file.
    ///
    /// # Errors
    /// What the file system answers.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, extending the file if needed. On an error any part may
    /// have been written.
    ///
    /// # Errors
    /// `StorageFull`, or what the file system answers.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the written bytes and the length durable (`fdatasync`). After an error nothing is
    /// known about the bytes written since the last success, and a second call proves nothing.
    ///
    /// # Errors
    /// What the file system answers.
    fn sync_data(&self) -> io::Result<()>;

    /// The length of the file in bytes.
    ///
    /// # Errors
    /// What the file system answers.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// What the file system answers.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Whether the file has no name any more: what is written to it is gone when it is closed.
    fn is_removed(&self) -> bool {
        false
    }
}

/// What became of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// It holds.
    Kept,
    /// It was damaged and holds again; what the operator should know of that.
    Mended(String),
    /// What is locked is not what others find at its path; why, and what to do.
    Lost(String),
}

/// The exclusive lock of a folder, released on drop.
pub trait Lock: Send + Sync {
    /// Whether the folder at the path is still the one that is locked. With `mend` a lock that was
    /// damaged is put right where that is safe.
    fn check(&self, mend: bool) -> Hold {
        let _ = mend;
        Hold::Kept
    }
}

/// Whether an error means that no space is left, by device, quota or file size limit.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Whether the disk has lost what was to be read.
pub(crate) fn is_lost(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// Reads exactly `buffer.len()` bytes.
pub(crate) fn read_exact_at(
    file: &dyn BackendFile,
    buffer: &mut [u8],
    offset: u64,
) -> io::Result<()> {
    match file.read_at(buffer, offset)? {
        read if read == buffer.len() => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Creates a file, in place of what an attempt that failed left under its name.
pub(crate) fn create_anew(backend: &dyn Backend, name: &str) -> io::Result<Arc<dyn BackendFile>> {
    match backend.create(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            backend.remove(name)?;
            backend.create(name)
        }
        created => created,
    }
}

/// Writes a small file so that after a crash it is there whole or not at all.
pub(crate) fn write_atomically(backend: &dyn Backend, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    let file = create_anew(backend, &temporary)?;
    file.write_all_at(bytes, 0)?;
    file.sync_data()?;
    backend.rename(&temporary, name)?;
    backend.sync_dir()
}
