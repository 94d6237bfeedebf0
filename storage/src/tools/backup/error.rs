//! The errors of a backup, each with what to do about it.

use std::io;
use std::path::PathBuf;

use crate::OpenError;
use crate::backend::is_full;
use crate::error::hint;

/// The error of a backup. The backup left nothing behind, and the store is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The target is a folder with something in it, or no folder.
    #[error("{} exists and is no empty folder: name a folder that does not exist yet", target.display())]
    Exists {
        /// The target.
        target: PathBuf,
    },
    /// The folder in which the target would be is missing.
    #[error("{}: there is no such folder to make the backup in: make it first, or check that its disk is mounted", parent.display())]
    NoParent {
        /// The folder.
        parent: PathBuf,
    },
    /// The target lies inside the store's folder.
    #[error("{} is inside the folder of the store, {}: name a folder outside", target.display(), store.display())]
    Inside {
        /// The target.
        target: PathBuf,
        /// The folder of the store.
        store: PathBuf,
    },
    /// Another file system is mounted at the target, so the backup cannot be renamed to it.
    #[error("{} is a mount point: name a folder in it, such as {}", target.display(), target.join("backup").display())]
    MountPoint {
        /// The target.
        target: PathBuf,
    },
    /// Another backup to this target is being made.
    #[error("another backup is being made in {}: wait for its end, or name another folder", partial.display())]
    Busy {
        /// The folder of that backup.
        partial: PathBuf,
    },
    /// The folder for the unfinished backup holds files that no backup left there.
    #[error("{} is in the way: a backup needs this name until it is complete, and the folder holds files of another kind; move it away", partial.display())]
    InTheWay {
        /// The folder.
        partial: PathBuf,
    },
    /// The disk of the target has too little space for what must be copied.
    #[error(
        "{}: no space for the backup: {needed} bytes must be copied, and {free} bytes are free; free space, or name a folder on another disk", target.display()
    )]
    NoSpace {
        /// The target.
        target: PathBuf,
        /// The bytes to copy.
        needed: u64,
        /// The free bytes.
        free: u64,
    },
    /// The caller ended the backup.
    #[error("the backup was ended before it was complete")]
    Ended,
    /// The store cannot be opened, or its files cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A call of the file system failed.
    #[error("{}: cannot {action}: {source}{}", file.display(), fix(source))]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// The action that failed.
        action: &'static str,
        /// The error of the file system.
        source: io::Error,
    },
}

impl BackupError {
    pub(crate) const fn io(file: PathBuf, action: &'static str, source: io::Error) -> Self {
        BackupError::Io {
            file,
            action,
            source,
        }
    }
}

/// Returns what to do about an error of the file system.
fn fix(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; the user of the process that makes the backup must be allowed to write there"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; name a folder on a disk that can be written to",
        _ if is_full(error) && hint(error).is_empty() => {
            "; free space, or name a folder on another disk"
        }
        _ => hint(error),
    }
}
