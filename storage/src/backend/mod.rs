//! The disk as the store sees it: a flat folder of files with positioned reads and writes.
//!
//! The trait [`Backend`] is small, so that a simulated disk can stand in for the real one. The
//! crash tests of this crate run on the simulated disk, programs on
//! [`FileBackend`](file::FileBackend).
//!
//! **Invariants:** this module uses no other module of the crate. All reads and writes of a store's
//! files go through it.

pub mod file;
mod hold;
#[cfg(any(test, feature = "sim"))]
pub mod sim;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A folder that holds one store.
///
/// File names are plain, without separators. The durability rules are those of POSIX: a created,
/// renamed or removed name is durable only after [`Backend::sync_dir`], written bytes only after
/// [`BackendFile::sync_data`].
pub trait Backend: Send + Sync + 'static {
    /// Takes the exclusive lock of the folder and holds it until the returned guard is dropped.
    ///
    /// # Errors
    /// `WouldBlock` when another process or another store of this process holds the lock.
    fn lock(&self) -> io::Result<Box<dyn Lock>>;

    /// Returns whether the folder is locked at this moment. Keeps no lock and writes nothing.
    fn is_locked(&self) -> bool;

    /// Creates a file that must not exist yet, for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists`, or another error of the file system.
    fn create(&self, name: &str) -> io::Result<Arc<dyn BackendFile>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, or another error of the file system.
    fn open(&self, name: &str) -> io::Result<Arc<dyn BackendFile>>;

    /// Renames a file, replacing the target if it exists.
    ///
    /// # Errors
    /// The error of the file system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The error of the file system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives the file `name` the same name in the folder `into` too (a hard link). Both names stand for
    /// one file then, and the file stays as long as one of them does.
    ///
    /// # Errors
    /// An error for which `cannot_link` is true if there can be no such name: the folder is on another
    /// file system, or the file system has no hard links. Another error of the file system.
    fn link(&self, name: &str, into: &file::FileBackend) -> io::Result<()> {
        let _ = (name, into);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Lists the names in the folder, in no particular order.
    ///
    /// # Errors
    /// The error of the file system.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes every earlier change of names durable.
    ///
    /// # Errors
    /// The error of the file system. After it, any of the changed names may be lost.
    fn sync_dir(&self) -> io::Result<()>;

    /// Returns how many bytes an unprivileged process may still allocate on this file system.
    ///
    /// # Errors
    /// The error of the file system.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Fills `buffer` with unpredictable bytes, for the store id, the secret key, salts and session
    /// numbers.
    ///
    /// # Errors
    /// The error of the system's random source.
    fn fill_random(&self, buffer: &mut [u8]) -> io::Result<()>;

    /// Returns the path of the file `name` for messages to a person. An empty name stands for the
    /// folder.
    fn path(&self, name: &str) -> PathBuf;
}

/// An open file of a [`Backend`].
pub trait BackendFile: Send + Sync {
    /// Reads bytes from `offset` on into `buffer`, and returns their number. The number is smaller
    /// than the buffer only at the end of the file.
    ///
    /// # Errors
    /// The error of the file system.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, extending the file if needed. On an error any part may
    /// have been written.
    ///
    /// # Errors
    /// `StorageFull`, or another error of the file system.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Tells that the bytes from `from` up to `to` are zeros, so that they need no space on the disk.
    /// The file keeps its length. Does nothing where the file system cannot do that.
    fn free_zeros(&self, from: u64, to: u64) {
        let _ = (from, to);
    }

    /// Asks the file system to read these bytes into its memory, and does not wait for them. Does
    /// nothing where the file system cannot do that.
    fn prefetch(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }

    /// Makes the written bytes and the length of the file durable (`fdatasync`). After an error the
    /// state of the bytes written since the last success is unknown, and a second call proves
    /// nothing.
    ///
    /// # Errors
    /// The error of the file system.
    fn sync_data(&self) -> io::Result<()>;

    /// Returns the length of the file in bytes.
    ///
    /// # Errors
    /// The error of the file system.
    fn len(&self) -> io::Result<u64>;

    /// Returns whether the file is empty.
    ///
    /// # Errors
    /// The error of the file system.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Returns whether the file was removed while it is open. The file system drops such a file
    /// with everything written to it when it is closed.
    fn is_removed(&self) -> bool {
        false
    }
}

/// The state of a folder's lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// The lock holds.
    Kept,
    /// The lock was damaged and holds again. The text tells the operator what happened.
    Mended(String),
    /// The locked folder or file is no longer at its path. The text says why, and what to do.
    Lost(String),
}

/// The exclusive lock of a folder, released on drop.
pub trait Lock: Send + Sync {
    /// Checks that the folder at the path is the locked one. With `mend` the check repairs a
    /// damaged lock where that is safe.
    fn check(&self, mend: bool) -> Hold {
        let _ = mend;
        Hold::Kept
    }
}

/// Returns whether an error means that no space is left, by device, quota or file size limit.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Returns whether an error of [`Backend::link`] means that a file can only be copied.
pub(crate) fn cannot_link(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::CrossesDevices
            | io::ErrorKind::Unsupported
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::TooManyLinks
    )
}

/// Returns whether an error of a read means that the disk has lost the bytes.
pub(crate) fn is_lost(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// Reads exactly `buffer.len()` bytes from `offset` on.
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

/// Creates a file. Removes a file of this name first, which a failed attempt may have left.
pub(crate) fn create_anew(backend: &dyn Backend, name: &str) -> io::Result<Arc<dyn BackendFile>> {
    match backend.create(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            backend.remove(name)?;
            backend.create(name)
        }
        created => created,
    }
}

/// Writes a small file so that a crash leaves either the whole new file or the old one.
pub(crate) fn write_atomically(backend: &dyn Backend, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    let file = create_anew(backend, &temporary)?;
    file.write_all_at(bytes, 0)?;
    file.sync_data()?;
    backend.rename(&temporary, name)?;
    backend.sync_dir()
}
