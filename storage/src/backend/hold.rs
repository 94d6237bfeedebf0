//! The lock of a real folder, and the check that it still locks the folder at the path.
//!
//! The lock consists of two `flock(2)` locks: one on the open folder itself, which nobody can
//! replace without making another folder, and one on the file `LOCK` in it, the only lock of older
//! versions. Each of the two alone keeps other processes out.

use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};

use super::{Hold, Lock};

/// The name of the file that carries the folder's lock. The content of the file has no meaning.
pub(super) const LOCK_NAME: &str = "LOCK";

/// The number of attempts to take a lock that another process holds. A tool that checks whether the
/// folder is in use holds the lock for some microseconds.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// Device and inode of a file: they stay the same while the file exists, whatever its name is.
type Id = (u64, u64);

fn id(metadata: &Metadata) -> Id {
    (metadata.dev(), metadata.ino())
}

/// The two locks of a folder. The kernel releases them when their descriptors close, also after
/// `kill -9`.
pub(super) struct FileLock {
    dir: PathBuf,
    folder: Arc<File>,
    folder_id: Id,
    file: Mutex<File>,
}

impl FileLock {
    /// Locks `folder`, which was opened at the path `dir`.
    ///
    /// # Errors
    /// `WouldBlock` when another process holds the lock, or the error of the file system.
    pub(super) fn take(dir: &Path, folder: &Arc<File>) -> io::Result<Self> {
        for _ in 1..TRIES {
            match Self::try_take(dir, folder) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(PAUSE);
                }
                taken => return taken,
            }
        }
        Self::try_take(dir, folder)
    }

    fn try_take(dir: &Path, folder: &Arc<File>) -> io::Result<Self> {
        match folder.try_lock() {
            // Some network file systems cannot lock a folder: the lock of the file is enough there.
            Ok(()) | Err(TryLockError::Error(_)) => {}
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
        }
        let file = lock_file(folder).inspect_err(|_| {
            let _ = folder.unlock();
        })?;
        let lock = FileLock {
            dir: dir.to_path_buf(),
            folder: folder.clone(),
            folder_id: id(&folder.metadata()?),
            file: Mutex::new(file),
        };
        match lock.check(true) {
            Hold::Lost(reason) => Err(io::Error::other(reason)),
            Hold::Kept | Hold::Mended(_) => Ok(lock),
        }
    }

    /// Checks that the file `LOCK` in the folder is the one that is locked. With `mend` a missing
    /// `LOCK` is made and locked again.
    fn check_file(&self, mend: bool) -> Hold {
        let mut file = self.file.lock();
        let there = rustix::fs::statat(&*self.folder, LOCK_NAME, rustix::fs::AtFlags::empty());
        let held = file.metadata().map(|metadata| metadata.ino());
        match there {
            Ok(there) if held.as_ref().is_ok_and(|held| *held == there.st_ino) => Hold::Kept,
            Ok(_) | Err(rustix::io::Errno::NOENT) if !mend => Hold::Kept,
            Ok(_) | Err(rustix::io::Errno::NOENT) => match lock_file(&self.folder) {
                Ok(new) => {
                    *file = new;
                    Hold::Mended(format!(
                        "{}: somebody removed the lock file while the store was open; it has been made and locked again: do not remove it",
                        self.dir.join(LOCK_NAME).display()
                    ))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Hold::Lost(format!(
                    "{}: another process has replaced and locked this file: stop one of the two",
                    self.dir.join(LOCK_NAME).display()
                )),
                // The lock of the folder holds. The next check tries the file again.
                Err(_) => Hold::Kept,
            },
            // The check failed, which does not mean that the file is gone.
            Err(_) => Hold::Kept,
        }
    }
}

/// Opens or creates the file `LOCK`, and locks it.
fn lock_file(folder: &File) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, LOCK_NAME, flags, Mode::from(0o600))?;
    let file = File::from(file);
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Returns whether another process holds the folder's lock at this moment. Keeps no lock and writes
/// nothing.
pub(super) fn is_locked(folder: &File) -> bool {
    let taken = |file: &File| match file.try_lock_shared() {
        Ok(()) => {
            let _ = file.unlock();
            false
        }
        Err(TryLockError::WouldBlock) => true,
        // The folder cannot be locked on this file system, so no process has locked it.
        Err(TryLockError::Error(_)) => false,
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, LOCK_NAME, flags, Mode::empty());
    taken(folder) || file.is_ok_and(|file| taken(&File::from(file)))
}

impl Lock for FileLock {
    fn check(&self, mend: bool) -> Hold {
        match std::fs::metadata(&self.dir) {
            Ok(there) if id(&there) == self.folder_id => self.check_file(mend),
            Ok(_) => Hold::Lost(format!(
                "{}: another folder has taken the place of this one: put it back, or restart on \
                 the right one",
                self.dir.display()
            )),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Hold::Lost(format!(
                    "{}: the folder was moved or removed: put it back, or restart on the right one",
                    self.dir.display()
                ))
            }
            // The check failed, which does not mean that the file is gone.
            Err(_) => self.check_file(mend),
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Other processes may still have the folder open.
        let _ = self.folder.unlock();
    }
}
