//! A backup: a folder with all that a store had at one moment, made while the store is open.
//!
//! 1. The moment is chosen under two locks: the index's, which tells the end of the visible log, and
//!    that of the files, which keeps the manifest in force.
//! 2. Files that never change again become hard links: full segments and runs. Where the target is on
//!    another file system, they are copied.
//! 3. The last segment is copied up to the end of the visible log. An anchor behind it says that all
//!    of it is durable, so opening the backup notices every damage and writes to no linked file.
//! 4. The small files are copied. `identity` comes last: without it nothing opens the folder.
//!
//! The folder has the name of the target with `.partial` behind it until it is complete.
//!
//! **Invariant:** a backup writes nothing into the folder of the store, and a step that fails leaves
//! nothing in the target.

pub(crate) mod chosen;
mod error;
mod files;
pub(crate) mod folder;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

pub use self::error::BackupError;
use self::files::Copier;
use self::folder::PartialFolder;
use crate::store::shared::Shared;
use crate::tools::walk;
use crate::{OpenError, Options, Position, Reader, Store, StoreKey};
use crate::{backend::file::FileBackend, store::identity};

/// A report about a complete backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// The position of the last record in the backup; [`Position::ZERO`] if it has none.
    pub head: Position,
    /// The number of files in the backup.
    pub files: u64,
    /// The bytes of files that the backup shares with the store by hard links.
    pub linked_bytes: u64,
    /// The bytes that were copied.
    pub copied_bytes: u64,
    /// The time that the backup took.
    pub duration: Duration,
}

/// The progress of a backup, in bytes of files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackupProgress {
    /// The bytes that are linked or copied.
    pub done: u64,
    /// The bytes of all files, as far as they are known.
    pub total: u64,
}

/// Whether a backup leaves the disk to the store for as long as it used it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// The store takes appends meanwhile: short pieces, with rests.
    Gentle,
    /// Nobody uses the store.
    Full,
}

impl Reader {
    /// Makes a backup of the open store in the folder `target`, and returns when it is durable.
    ///
    /// The backup has every record that was visible when the call began, and no record that was
    /// appended after some moment during the call. [`Store::open`] opens the folder like the store's
    /// own. The backup shares full segments and runs with the store by hard links if both are on one
    /// file system. A link costs no space until the store removes its own name of the file.
    ///
    /// `target` must not exist, or be an empty folder. Its parent must exist. Until the backup is
    /// complete, its folder is `target` with `.partial` behind the name; the next call removes what a
    /// killed process left there.
    ///
    /// The call works on the caller's thread, in pieces with rests, so appends go on. `each` gets the
    /// progress after each piece, and ends the backup with [`ControlFlow::Break`].
    ///
    /// # Errors
    /// [`BackupError`] says what to do. The call then removes what it made.
    pub fn backup(
        &self,
        target: &Path,
        each: &mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<Backup, BackupError> {
        make(self.shared(), target, Pace::Gentle, each)
    }
}

impl Store {
    /// Makes a backup of the store in the folder `dir`, which must not be open. Opens the store for
    /// it, as a program that goes on with the store does, and closes it again.
    ///
    /// The backup is the one of [`Reader::backup`], made without rests.
    ///
    /// # Errors
    /// [`BackupError::Open`] if the store is in use or cannot be opened, and the other errors of
    /// [`Reader::backup`].
    pub fn backup(
        dir: &Path,
        target: &Path,
        each: &mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<Backup, BackupError> {
        // The opening makes a folder or a store that is missing.
        walk::check_store(&walk::folder(dir)?)?;
        let options = Options {
            runs: true,
            background: false,
            ..Options::default()
        };
        let opened = Store::open(dir, options, &mut |_| ())?;
        make(opened.reader.shared(), target, Pace::Full, each)
    }

    /// Returns the key of the store in the folder `dir`, which may be open. Only a process that may
    /// read the folder can know it.
    ///
    /// # Errors
    /// [`OpenError::NoStore`] if there is no store, [`OpenError::Corrupt`] if the file with the key is
    /// damaged or missing, [`OpenError::Version`] for another format, [`OpenError::Io`] for an error
    /// of the file system.
    pub fn key_of(dir: &Path) -> Result<StoreKey, OpenError> {
        let backend = FileBackend::read_only(dir).map_err(|source| OpenError::Io {
            file: dir.to_path_buf(),
            action: "open the folder",
            source,
        })?;
        walk::check_store(&backend)?;
        Ok(identity::Identity::read(&backend, identity::NAME)?.key)
    }
}

fn make(
    shared: &Shared,
    target: &Path,
    pace: Pace,
    each: &mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
) -> Result<Backup, BackupError> {
    let began = Instant::now();
    shared
        .check_folder()
        .map_err(|source| BackupError::io(shared.backend.path(""), "use the folder", source))?;
    let folder = PartialFolder::make(target, Some(&shared.backend.path("")))?;
    let mut copier = Copier::new(shared, &folder, pace, each);
    let made = copier.run()?;
    folder.finish()?;
    Ok(Backup {
        duration: began.elapsed(),
        ..made
    })
}
