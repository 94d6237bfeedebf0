//! The real disk: one folder of a local file system.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};

use super::hold::{self, FileLock};
use super::{Backend, BackendFile, Lock};

/// The mode of the store's folder: only the user of the process may open it.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// The flag with which reads leave the file's time of the last access alone. Looking at that time, and at
/// the clock for it, is a twelfth of a short read.
#[cfg(target_os = "linux")]
const UNTIMED: OFlags = OFlags::NOATIME;
#[cfg(not(target_os = "linux"))]
const UNTIMED: OFlags = OFlags::empty();

/// A folder on a local file system, reached with `pread`, `pwrite` and `fdatasync`.
///
/// The backend keeps the folder open and does everything through that descriptor. If another folder
/// takes its place at the path, the backend never writes to that other folder.
pub struct FileBackend {
    dir: PathBuf,
    handle: Arc<File>,
    /// The flags with which existing files are opened.
    access: OFlags,
}

impl FileBackend {
    /// Opens the folder `dir`. Creates it and its parents if they are missing, and gives the folder
    /// the mode 0700.
    ///
    /// # Errors
    /// The error of the file system, for instance because `dir` is a file.
    pub fn new(dir: &Path) -> io::Result<Self> {
        if !dir.is_dir() {
            if let Some(parent) = dir.parent() {
                fs::create_dir_all(parent)?;
            }
            DirBuilder::new().mode(FOLDER_MODE).create(dir)?;
            // Syncs only the direct parent. If folders further up were missing too, the
            // administrator makes them durable.
            if let Some(parent) = dir.canonicalize()?.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(FileBackend {
            dir: dir.to_path_buf(),
            handle: Arc::new(File::open(dir)?),
            access: OFlags::RDWR,
        })
    }

    /// Opens the existing folder `dir` for reading only. The folder may be on a read-only file
    /// system or belong to another user. Every operation that writes fails.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn read_only(dir: &Path) -> io::Result<Self> {
        // A plain file can be opened too, but it holds no names.
        fs::read_dir(dir)?;
        Ok(FileBackend {
            dir: dir.to_path_buf(),
            handle: Arc::new(File::open(dir)?),
            access: OFlags::RDONLY,
        })
    }

    fn open_as(&self, name: &str, flags: OFlags) -> io::Result<Arc<dyn BackendFile>> {
        let open = |flags| rustix::fs::openat(&*self.handle, name, flags, Mode::from(FILE_MODE));
        let flags = flags | OFlags::CLOEXEC;
        let file = match open(flags | UNTIMED) {
            // Files of another user cannot be opened so.
            Err(rustix::io::Errno::PERM) if !UNTIMED.is_empty() => open(flags),
            opened => opened,
        };
        let file = File::from(file?);
        Ok(Arc::new(RealFile { file }))
    }

    fn check_writable(&self) -> io::Result<()> {
        match self.access {
            OFlags::RDONLY => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            _ => Ok(()),
        }
    }
}

impl Backend for FileBackend {
    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        self.check_writable()?;
        Ok(Box::new(FileLock::take(&self.dir, &self.handle)?))
    }

    fn is_locked(&self) -> bool {
        hold::is_locked(&self.handle)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn BackendFile>> {
        self.check_writable()?;
        self.open_as(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn BackendFile>> {
        self.open_as(name, self.access)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.check_writable()?;
        Ok(rustix::fs::renameat(
            &*self.handle,
            from,
            &*self.handle,
            to,
        )?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.check_writable()?;
        Ok(rustix::fs::unlinkat(&*self.handle, name, AtFlags::empty())?)
    }

    fn link(&self, name: &str, into: &FileBackend) -> io::Result<()> {
        let (from, into) = (&*self.handle, &*into.handle);
        Ok(rustix::fs::linkat(
            from,
            name,
            into,
            name,
            AtFlags::empty(),
        )?)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&*self.handle)? {
            // The store has no file whose name is not UTF-8.
            match entry?.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        Ok(names)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&*self.handle)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn fill_random(&self, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let filled =
                rustix::rand::getrandom(&mut *buffer, rustix::rand::GetRandomFlags::empty())?;
            buffer = &mut buffer[filled..];
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() {
            self.dir.clone()
        } else {
            self.dir.join(name)
        }
    }
}

struct RealFile {
    file: File,
}

impl BackendFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            // The call of the C library costs a tenth more: it is a point where threads can be ended.
            match rustix::io::pread(&self.file, &mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(read)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn free_zeros(&self, from: u64, to: u64) {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::FallocateFlags;
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let len = to.saturating_sub(from);
            // Without it the zeros take space, as before.
            let _ = rustix::fs::fallocate(&self.file, flags, from, len);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (from, to);
    }

    fn prefetch(&self, offset: u64, len: u64) {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::Advice;
            let len = std::num::NonZeroU64::new(len);
            // Without it the read waits longer.
            let _ = rustix::fs::fadvise(&self.file, offset, len, Advice::WillNeed);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (offset, len);
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn is_removed(&self) -> bool {
        self.file
            .metadata()
            .is_ok_and(|metadata| metadata.nlink() == 0)
    }
}
