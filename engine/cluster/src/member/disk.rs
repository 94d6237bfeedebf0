//! What a node keeps on its disk beside the store.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::chain::Mark;

/// The file with the last record that the store has for certain.
pub(super) const MARK: &str = "cluster-mark";

/// The file with the first record of the log.
pub(super) const GENESIS: &str = "cluster-genesis";

/// The small files beside the store without which no node goes on from a copy of it.
pub const COMPANIONS: [&str; 2] = [GENESIS, MARK];

/// The files of a node in its data folder.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    folder: PathBuf,
}

impl Disk {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Returns the folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads the mark as bytes; `None` if there is none.
    pub(crate) fn mark(&self) -> io::Result<Option<Vec<u8>>> {
        self.read(MARK)
    }

    /// Reads the first record of the log; `None` if there is none.
    pub(crate) fn genesis(&self) -> io::Result<Option<Bytes>> {
        Ok(self.read(GENESIS)?.map(Bytes::from))
    }

    /// Keeps the mark. The store must have all that it says, durably.
    pub(crate) fn keep_mark(&self, mark: &Mark) -> io::Result<()> {
        self.write(MARK, &mark.write())
    }

    /// Keeps the first record of the log. Makes the folder if it is missing.
    pub(crate) fn keep_genesis(&self, record: &[u8]) -> io::Result<()> {
        let mut folder = std::fs::DirBuilder::new();
        folder.recursive(true).mode(0o700).create(&self.folder)?;
        self.write(GENESIS, record)
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.folder.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a file that is whole or the one before. Only the owner may read it: the first record has keys.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = self.folder.join(format!("{name}.new"));
        let mut options = std::fs::OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, self.folder.join(name))?;
        let mut options = std::fs::OpenOptions::new();
        options.read(true).open(&self.folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{Hash, LogId};

    #[test]
    fn what_is_kept_is_read_again_and_is_for_the_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(&folder.path().join("data"));
        assert_eq!(disk.mark().unwrap(), None);
        assert_eq!(disk.genesis().unwrap(), None);
        disk.keep_genesis(b"first").unwrap();
        let mut mark = Mark {
            log: LogId(7),
            sequence: 9,
            hash: Hash([3; 16]),
            epoch: 2,
            index: 5,
            author: None,
            end: None,
        };
        for index in 5..8 {
            mark.index = index;
            disk.keep_mark(&mark).unwrap();
            let kept = disk.mark().unwrap().unwrap();
            assert_eq!(Mark::read(&kept), Ok(mark));
        }
        assert_eq!(disk.genesis().unwrap().as_deref(), Some(&b"first"[..]));
        for name in ["", MARK, GENESIS] {
            let mode = std::fs::metadata(disk.folder().join(name)).unwrap();
            assert_eq!(mode.permissions().mode() & 0o077, 0, "{name:?}");
        }
        assert_eq!(std::fs::read_dir(disk.folder()).unwrap().count(), 2);
    }
}
