//! How each file of a store gets into the folder of a backup.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::chosen::{self, Chosen, WholeFile};
use super::folder::PartialFolder;
use super::{Backup, BackupError, BackupProgress, Pace};
use crate::Position;
use crate::backend::{self, Backend, BackendFile, cannot_link, is_full};
use crate::log::overwrite::Overwrite;
use crate::log::segment;
use crate::store::shared::Shared;
use crate::store::{epochs, identity};

/// The bytes that are copied and synced at a time while the store takes appends. A commit that syncs
/// meanwhile waits for no more of them, also where another file system shares the disk.
const SHORT_PIECE: u64 = 256 << 10;

/// The length in bytes of a piece that a backup of a closed store copies and syncs at a time.
const LONG_PIECE: u64 = 4 << 20;

/// The longest rest between two pieces.
const LONGEST_REST: Duration = Duration::from_millis(10);

/// The number of links between two rests: each takes some microseconds.
const LINKS: u64 = 64;

/// The space that is left for the small files, in bytes.
const SMALL_FILES: u64 = 1 << 20;

/// Links and copies the files of a store into the folder of a backup.
pub(super) struct Copier<'a> {
    shared: &'a Shared,
    folder: &'a PartialFolder,
    pace: Pace,
    each: &'a mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
    piece: u64,
    progress: BackupProgress,
    links: u64,
    made: Backup,
}

impl<'a> Copier<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        folder: &'a PartialFolder,
        pace: Pace,
        each: &'a mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Self {
        Copier {
            shared,
            folder,
            pace,
            each,
            piece: match pace {
                Pace::Gentle => SHORT_PIECE,
                Pace::Full => LONG_PIECE,
            },
            progress: BackupProgress::default(),
            links: 0,
            made: Backup {
                head: Position::ZERO,
                files: 0,
                linked_bytes: 0,
                copied_bytes: 0,
                duration: Duration::ZERO,
            },
        }
    }

    /// Makes all files of the backup, durable up to their names.
    pub(super) fn run(&mut self) -> Result<Backup, BackupError> {
        // Segments that are copied meanwhile get the same changes afterwards.
        let overwritten = self.shared.overwritten.follow();
        let chosen = self.choose()?;
        self.made.head = Position(chosen.visible.head);
        self.check_space(&chosen)?;
        let source = &*self.shared.backend;
        for whole in &chosen.whole {
            self.copy(&whole.name, &*whole.open(source)?, whole.len)?;
        }
        self.copy_tail(&chosen)?;
        self.overwrite(&chosen, &overwritten.since())?;
        for (name, bytes) in &chosen.small {
            self.write(name, bytes)?;
        }
        let epochs = self
            .shared
            .epochs
            .of_backup(chosen.store_id, chosen.is_shared);
        self.write(epochs::NAME, &epochs)?;
        // The names are durable before the file without which nothing opens the folder.
        let synced = self.folder.backend.sync_dir();
        synced.map_err(self.failed("make durable"))?;
        for name in [identity::COPY, identity::NAME] {
            let bytes = chosen::read_small(source, identity::NAME)?;
            self.write(name, &bytes.unwrap_or_default())?;
        }
        Ok(self.made.clone())
    }

    /// Overwrites bodies in the copies of segments that were overwritten in the segments meanwhile.
    fn overwrite(&self, chosen: &Chosen, overwritten: &[Overwrite]) -> Result<(), BackupError> {
        let frames = chosen.in_order(overwritten);
        for same in frames.chunk_by(|a, b| a.base == b.base) {
            let name = segment::segment_name(same[0].base);
            let is_copy = name == chosen.tail.name || chosen.whole.iter().any(|f| f.name == name);
            if is_copy {
                let written = self.folder.backend.open(&name).and_then(|file| {
                    same.iter().try_for_each(|frame| frame.apply(&*file))?;
                    file.sync_data()
                });
                written.map_err(|error| self.not_written(&name, error))?;
            }
        }
        Ok(())
    }

    /// Chooses the moment of the backup, and links the files that never change again.
    fn choose(&mut self) -> Result<Chosen, BackupError> {
        let _files = self.shared.files.lock();
        let mut chosen = Chosen::now(self.shared)?;
        self.progress.total = chosen.bytes();
        let whole = std::mem::take(&mut chosen.whole);
        chosen.whole = self.link(whole)?;
        Ok(chosen)
    }

    /// Links files into the folder. Returns those that must be copied.
    fn link(&mut self, whole: Vec<WholeFile>) -> Result<Vec<WholeFile>, BackupError> {
        let source = &*self.shared.backend;
        // After a failed sync, the kernel may have dropped written data of the file: a link would keep
        // that file, while a copy is written and synced anew.
        let mut can_link = self.shared.poisoned().is_none();
        let mut to_copy = Vec::new();
        for file in whole {
            let linked = match can_link {
                true => source.link(&file.name, &self.folder.backend),
                false => Err(io::ErrorKind::Unsupported.into()),
            };
            match linked {
                Ok(()) => {}
                Err(error) if cannot_link(&error) => {
                    can_link = can_link && error.kind() == io::ErrorKind::TooManyLinks;
                    to_copy.push(file);
                    continue;
                }
                Err(error) => {
                    return Err(BackupError::io(source.path(&file.name), "link", error));
                }
            }
            if let (false, Some(open)) = (file.is_durable, &file.file) {
                let synced = open.sync_data();
                synced.map_err(|error| {
                    BackupError::io(source.path(&file.name), "make durable", error)
                })?;
            }
            self.made.files += 1;
            self.made.linked_bytes += file.len;
            self.links += 1;
            if self.links.is_multiple_of(LINKS) {
                self.rest(LONGEST_REST);
            }
            self.go_on(file.len)?;
        }
        Ok(to_copy)
    }

    fn check_space(&self, chosen: &Chosen) -> Result<(), BackupError> {
        let copied = chosen.whole.iter().map(|whole| whole.len).sum::<u64>();
        let small = chosen.small.iter().map(|(_, bytes)| bytes.len() as u64);
        let tail = chosen.visible.end - chosen.tail.base;
        let needed = copied + tail + small.sum::<u64>() + SMALL_FILES;
        let free = self.folder.backend.free_bytes();
        match free.map_err(self.failed("look for space in"))? {
            free if free < needed => Err(self.no_space(needed, free)),
            _ => Ok(()),
        }
    }

    fn no_space(&self, needed: u64, free: u64) -> BackupError {
        BackupError::NoSpace {
            target: self.folder.target().to_path_buf(),
            needed,
            free,
        }
    }

    /// Copies the first `len` bytes of a file.
    fn copy(&mut self, name: &str, from: &dyn BackendFile, len: u64) -> Result<(), BackupError> {
        let file = self.create(name)?;
        self.copy_into(&*file, name, from, len)
    }

    fn copy_into(
        &mut self,
        to: &dyn BackendFile,
        name: &str,
        from: &dyn BackendFile,
        len: u64,
    ) -> Result<(), BackupError> {
        let source = self.shared.backend.path(name);
        let mut buffer = vec![0; self.piece.min(len) as usize];
        let mut at = 0;
        while at < len {
            let began = Instant::now();
            let bytes = &mut buffer[..self.piece.min(len - at) as usize];
            let read = backend::read_exact_at(from, bytes, at);
            read.map_err(|error| BackupError::io(source.clone(), "read", error))?;
            let written = to.write_all_at(bytes, at).and_then(|()| to.sync_data());
            written.map_err(|error| self.not_written(name, error))?;
            let copied = bytes.len() as u64;
            at += copied;
            self.made.copied_bytes += copied;
            self.rest(began.elapsed());
            self.go_on(copied)?;
        }
        Ok(())
    }

    /// Copies the last segment up to the end of the visible log, and marks all of it as durable.
    fn copy_tail(&mut self, chosen: &Chosen) -> Result<(), BackupError> {
        let (tail, end) = (&chosen.tail, chosen.visible.end);
        let file = self.create(&tail.name)?;
        self.copy_into(&*file, &tail.name, &*tail.file, end - tail.base)?;
        let drawn = chosen.end_mark(&self.folder.backend);
        let mark = drawn.map_err(self.failed("draw random bytes for"))?;
        let written = file
            .write_all_at(&mark, tail.offset(end))
            // The rest is a hole, which reads as zeros.
            .and_then(
                |()| match tail.offset(end) + (mark.len() as u64) < tail.size {
                    true => file.write_all_at(&[0], tail.size - 1),
                    false => Ok(()),
                },
            )
            .and_then(|()| file.sync_data());
        written.map_err(|error| self.not_written(&tail.name, error))
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), BackupError> {
        let file = self.create(name)?;
        let written = file.write_all_at(bytes, 0).and_then(|()| file.sync_data());
        written.map_err(|error| self.not_written(name, error))?;
        self.made.copied_bytes += bytes.len() as u64;
        Ok(())
    }

    fn create(&mut self, name: &str) -> Result<Arc<dyn BackendFile>, BackupError> {
        self.made.files += 1;
        let created = self.folder.backend.create(name);
        created.map_err(|error| self.not_written(name, error))
    }

    fn not_written(&self, name: &str, error: io::Error) -> BackupError {
        if is_full(&error) && error.kind() == io::ErrorKind::StorageFull {
            let left = self.progress.total.saturating_sub(self.progress.done);
            return self.no_space(left, self.folder.backend.free_bytes().unwrap_or(0));
        }
        BackupError::io(self.folder.target().join(name), "write", error)
    }

    fn failed(&self, action: &'static str) -> impl Fn(io::Error) -> BackupError + use<> {
        let target = self.folder.target().to_path_buf();
        move |source| BackupError::io(target.clone(), action, source)
    }

    /// Leaves the disk to the store for as long as it worked for the backup.
    fn rest(&self, worked: Duration) {
        if self.pace == Pace::Gentle {
            std::thread::sleep(worked.min(LONGEST_REST));
        }
    }

    /// Tells the progress. Fails if the caller ends the backup.
    fn go_on(&mut self, bytes: u64) -> Result<(), BackupError> {
        self.progress.done += bytes;
        match (self.each)(self.progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(BackupError::Ended),
        }
    }
}
