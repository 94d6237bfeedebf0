//! The files of the index. They are mapped, and read once with plain reads before that.
//!
//! A mapped page that the disk does not return ends the process. A plain read returns an error, and then the
//! index is made anew.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::footer::Footer;
use tantivy::directory::{
    DirectoryLock, FileHandle, FileSlice, Lock, MmapDirectory, OwnedBytes, WatchCallback,
    WatchHandle, WritePtr,
};
use tantivy::{Directory, HasLen};

/// The bytes of a file that are read at once.
const PIECE: usize = 1 << 18;

/// The names of the files that this process has written or read as a whole.
pub(crate) type Known = Arc<Mutex<HashSet<PathBuf>>>;

/// The folder of an index. No file is mapped before it was read as a whole.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    folder: PathBuf,
    mapped: MmapDirectory,
    known: Known,
}

impl Checked {
    /// Returns the folder with the files of an index.
    ///
    /// # Errors
    /// The folder cannot be opened.
    pub(crate) fn open(folder: &Path, known: &Known) -> tantivy::Result<Self> {
        Ok(Self {
            folder: folder.to_owned(),
            mapped: MmapDirectory::open(folder)?,
            known: Arc::clone(known),
        })
    }

    /// Reads a file as a whole and compares its checksum, once in the life of the process.
    ///
    /// # Errors
    /// The file is missing or damaged, or cannot be read.
    pub(crate) fn check(&self, path: &Path) -> io::Result<()> {
        if self.known.lock().contains(path) {
            return Ok(());
        }
        check(&self.folder.join(path))?;
        self.known.lock().insert(path.to_owned());
        Ok(())
    }
}

fn check(path: &Path) -> io::Result<()> {
    let file = Plain::open(path)?;
    // The library expects the two lengths at the end.
    if file.len < 8 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let (footer, body) = Footer::extract_footer(FileSlice::new(Arc::new(file)))?;
    let (mut sum, len) = (crc32fast::Hasher::new(), body.len());
    for start in (0..len).step_by(PIECE) {
        let piece = body.read_bytes_slice(start..len.min(start + PIECE))?;
        sum.update(&piece);
    }
    match sum.finalize() == footer.crc {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "its checksum is wrong",
        )),
    }
}

/// Returns whether an error of a read says that a file is damaged or missing, so that another try would fail
/// too.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    // EIO: the disk has lost the bytes.
    matches!(error.kind(), InvalidData | NotFound | UnexpectedEof)
        || error.raw_os_error() == Some(5)
}

/// A file that is read with plain reads.
#[derive(Debug)]
struct Plain {
    file: File,
    len: usize,
}

impl Plain {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        Ok(Self { file, len })
    }
}

impl HasLen for Plain {
    fn len(&self) -> usize {
        self.len
    }
}

impl FileHandle for Plain {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        let mut bytes = vec![0; range.len()];
        self.file.read_exact_at(&mut bytes, range.start as u64)?;
        Ok(OwnedBytes::new(bytes))
    }
}

impl Directory for Checked {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.check(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => OpenReadError::FileDoesNotExist(path.to_owned()),
            _ => OpenReadError::wrap_io_error(error, path.to_owned()),
        })?;
        self.mapped.get_file_handle(path)
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        self.known.lock().remove(path);
        self.mapped.delete(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.mapped.exists(path)
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        let file = self.mapped.open_write(path)?;
        self.known.lock().insert(path.to_owned());
        Ok(file)
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        self.mapped.atomic_read(path)
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        self.mapped.atomic_write(path, data)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.mapped.sync_directory()
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        self.mapped.acquire_lock(lock)
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        self.mapped.watch(callback)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Returns a folder with one file of the index, and a process that knows none of its files.
    fn written(bytes: &[u8]) -> (tempfile::TempDir, Checked) {
        let folder = tempfile::tempdir().unwrap();
        let made = Checked::open(folder.path(), &Known::default()).unwrap();
        let managed = tantivy::directory::ManagedDirectory::wrap(Box::new(made)).unwrap();
        let mut file = managed.open_write(Path::new("a.term")).unwrap();
        file.write_all(bytes).unwrap();
        tantivy::directory::TerminatingWrite::terminate(file).unwrap();
        let again = Checked::open(folder.path(), &Known::default()).unwrap();
        (folder, again)
    }

    #[test]
    fn a_file_is_read_as_a_whole_before_it_is_mapped() {
        let bytes: Vec<u8> = (0..3 * PIECE as u32 + 7)
            .map(|number| number as u8)
            .collect();
        let (folder, directory) = written(&bytes);
        let path = Path::new("a.term");
        directory.get_file_handle(path).unwrap();
        let file = folder.path().join(path);
        let whole = std::fs::read(&file).unwrap();
        for at in [0, PIECE - 1, PIECE, 3 * PIECE + 6] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&file, damaged).unwrap();
            directory
                .get_file_handle(path)
                .expect("once in the life of a process");
            let other = Checked::open(folder.path(), &Known::default()).unwrap();
            let error = other.check(path).unwrap_err();
            assert!(is_damage(&error), "{at}: {error}");
            other.get_file_handle(path).unwrap_err();
        }
        for len in [0, 3, 5, 8, 10, whole.len() - 1] {
            std::fs::write(&file, &whole[..len]).unwrap();
            let other = Checked::open(folder.path(), &Known::default()).unwrap();
            let error = other.check(path).unwrap_err();
            assert!(is_damage(&error), "{len}: {error}");
        }
    }

    #[test]
    fn errors_that_pass_are_no_damage() {
        for (code, expected) in [(5, true), (24, false), (12, false), (13, false), (2, true)] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(is_damage(&error), expected, "{error}");
        }
    }
}
