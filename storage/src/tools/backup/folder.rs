//! The folder of a backup: its checks, its name until it is complete, and its removal if it fails.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::BackupError;
use crate::backend::Backend;
use crate::backend::file::FileBackend;
use crate::tools::walk;

/// The end of the name of a backup that is not complete.
const PARTIAL: &str = ".partial";

/// The mode of the folder: only the user of the process may open it.
const MODE: u32 = 0o700;

/// The names of a store's files that [`walk::is_ours`] does not know, as a backup has them, and those of the program around
/// the store.
const OTHERS: [&str; 6] = [
    "epochs",
    "losses",
    "losses.copy",
    "revocations",
    "cluster-genesis",
    "cluster-mark",
];

/// The folder of a backup that is being made. Dropping it removes the folder.
pub(crate) struct PartialFolder {
    pub(crate) backend: FileBackend,
    /// The path of the folder until the backup is complete.
    partial: PathBuf,
    /// The path of the folder afterwards.
    target: PathBuf,
    /// The open parent of both.
    parent: File,
    /// Carries the lock that keeps other backups out of the folder.
    lock: File,
    is_done: bool,
}

impl PartialFolder {
    /// Makes the folder for a backup with this target. `store` is the folder of the store, if it is on this machine.
    pub(crate) fn make(target: &Path, store: Option<&Path>) -> Result<Self, BackupError> {
        let target = check(target, store)?;
        let parent = target.parent().unwrap_or(Path::new("/"));
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(PARTIAL);
        let partial = parent.join(name);
        let io = |action| {
            let partial = partial.clone();
            move |source| BackupError::io(partial, action, source)
        };
        let made = match DirBuilder::new().mode(MODE).create(&partial) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            made => made.map(|()| true).map_err(io("make the folder"))?,
        };
        let lock = File::open(&partial).map_err(io("open the folder"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BackupError::Busy { partial }),
            Err(TryLockError::Error(_)) if made => {}
            Err(TryLockError::Error(error)) => return Err(io("lock the folder")(error)),
        }
        let folder = PartialFolder {
            backend: FileBackend::new(&partial).map_err(io("open the folder"))?,
            parent: File::open(parent).map_err(io("open the parent of"))?,
            partial,
            target,
            lock,
            is_done: false,
        };
        if !made {
            folder.clear()?;
        }
        Ok(folder)
    }

    /// Removes what a killed process left in the folder, and makes it as private as a new one.
    fn clear(&self) -> Result<(), BackupError> {
        let io = |source| BackupError::io(self.partial.clone(), "clear the folder", source);
        let mode = Permissions::from_mode(MODE);
        self.lock.set_permissions(mode).map_err(io)?;
        let names = self.backend.list().map_err(io)?;
        if !names.iter().all(|name| is_of_a_backup(name)) {
            let partial = self.partial.clone();
            return Err(BackupError::InTheWay { partial });
        }
        for name in names {
            self.backend.remove(&name).map_err(io)?;
        }
        Ok(())
    }

    /// Returns the path that the folder will have.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Makes the names in the folder durable, and gives the folder its final name.
    pub(crate) fn finish(mut self) -> Result<(), BackupError> {
        let target = self.target.clone();
        let io = |action| {
            let target = target.clone();
            move |source| BackupError::io(target, action, source)
        };
        self.backend.sync_dir().map_err(io("make durable"))?;
        let renamed = fs::rename(&self.partial, &self.target);
        renamed.map_err(|source| match source.kind() {
            // Somebody put something there meanwhile.
            io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::NotADirectory => BackupError::Exists {
                target: self.target.clone(),
            },
            _ => io("rename the folder to")(source),
        })?;
        let durable = self.parent.sync_all();
        let durable = durable.map_err(io("make the name durable of"));
        self.is_done = true;
        durable
    }
}

impl Drop for PartialFolder {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        // What cannot be removed has a name that says what it is. The next backup removes it.
        let names = self.backend.list().unwrap_or_default();
        for name in names.iter().filter(|name| is_of_a_backup(name)) {
            let _ = self.backend.remove(name);
        }
        let _ = fs::remove_dir(&self.partial);
    }
}

/// Returns whether a backup or a copy has a file of this name.
pub(crate) fn is_of_a_backup(name: &str) -> bool {
    walk::is_ours(name) || OTHERS.contains(&name)
}

/// Checks that a backup can be made at this path. Returns the path without links.
fn check(target: &Path, store: Option<&Path>) -> Result<PathBuf, BackupError> {
    let exists = || BackupError::Exists {
        target: target.to_path_buf(),
    };
    let resolved = match fs::metadata(target) {
        Ok(metadata) if !metadata.is_dir() => return Err(exists()),
        Ok(_) => {
            let io = |source| BackupError::io(target.to_path_buf(), "open the folder", source);
            let resolved = target.canonicalize().map_err(io)?;
            if fs::read_dir(&resolved).map_err(io)?.next().is_some() {
                return Err(exists());
            }
            resolved
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A link to nothing exists, too.
            let name = target.file_name().ok_or_else(exists)?;
            if target.is_symlink() {
                return Err(exists());
            }
            parent_of(target)?.join(name)
        }
        Err(source) => {
            return Err(BackupError::io(target.to_path_buf(), "look at", source));
        }
    };
    let store = store.map(|store| store.canonicalize().unwrap_or_else(|_| store.to_path_buf()));
    if let Some(store) = store.filter(|store| resolved.starts_with(store)) {
        return Err(BackupError::Inside {
            target: target.to_path_buf(),
            store,
        });
    }
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let parent = resolved.parent();
    if parent.is_none() || (resolved.exists() && parent.and_then(device) != device(&resolved)) {
        return Err(BackupError::MountPoint { target: resolved });
    }
    Ok(resolved)
}

/// Returns the folder that holds `target`, without links.
fn parent_of(target: &Path) -> Result<PathBuf, BackupError> {
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let missing = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        )
    };
    parent.canonicalize().map_err(|source| {
        let parent = parent.to_path_buf();
        if missing(&source) {
            BackupError::NoParent { parent }
        } else {
            BackupError::io(parent, "open the folder", source)
        }
    })
}
