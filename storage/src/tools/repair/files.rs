//! The files of a damaged store: reads them as far as possible, and renames them to copies.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::RepairWork;
pub(super) use crate::backend::is_lost;
use crate::backend::{self, Backend, BackendFile};
use crate::error::OpenError;
use crate::error::io_error;

/// The bytes of a sector: the smallest unit that a disk can fail to return.
const SECTOR: u64 = 4096;

impl RepairWork<'_> {
    pub(super) fn names(&self) -> Result<Vec<String>, OpenError> {
        self.backend
            .list()
            .map_err(io_error(self.backend, "", "list"))
    }

    /// Renames a damaged file to a copy, so that another file can take its place. Returns the name
    /// of the copy. A dry run only returns that name.
    pub(super) fn set_aside(&mut self, name: &str, what: &str) -> Result<String, OpenError> {
        let copy = copy_name(&self.names()?, what);
        if !self.dry_run {
            self.backend
                .rename(name, &copy)
                .and_then(|()| self.backend.sync_dir())
                .map_err(io_error(self.backend, name, "rename"))?;
        }
        Ok(copy)
    }

    /// Copies a small file that will be replaced in one step. Returns the name of the copy.
    pub(super) fn keep_copy(&mut self, name: &str, what: &str) -> Result<String, OpenError> {
        let copy = copy_name(&self.names()?, what);
        if !self.dry_run {
            let file = Readable::open(self.backend, name)?;
            let mut bytes = vec![0; file.size as usize];
            file.read_at(&mut bytes, 0)
                .and_then(|_| backend::write_atomically(self.backend, &copy, &bytes))
                .map_err(io_error(self.backend, &copy, "write"))?;
        }
        Ok(copy)
    }
}

/// Returns an unused name for a copy of `what`.
fn copy_name(names: &[String], what: &str) -> String {
    (1..)
        .map(|n| numbered(what, n))
        .find(|name| !names.contains(name))
        .unwrap_or_default()
}

/// Returns the newest copy of `what`. If the file itself is missing, an interrupted repair made
/// this copy.
pub(super) fn newest_copy(names: &[String], what: &str) -> Option<String> {
    (1..)
        .map(|n| numbered(what, n))
        .take_while(|name| names.contains(name))
        .last()
}

fn numbered(what: &str, n: u64) -> String {
    match n {
        1 => format!("damaged-{what}.bak"),
        n => format!("damaged-{what}-{n}.bak"),
    }
}

/// A read-only file whose reads never fail. Zeros replace the sectors that the disk does not
/// return, and the bytes behind the file's end up to its nominal size.
pub(super) struct Readable {
    file: Arc<dyn BackendFile>,
    /// The actual size of the file in bytes.
    pub(super) size: u64,
    /// The offsets of the sectors that the disk did not return.
    unreadable: Mutex<BTreeSet<u64>>,
}

impl Readable {
    pub(super) fn open(backend: &dyn Backend, name: &str) -> Result<Readable, OpenError> {
        let file = backend
            .open(name)
            .map_err(io_error(backend, name, "open"))?;
        let size = file.len().map_err(io_error(backend, name, "read"))?;
        Ok(Readable {
            file,
            size,
            unreadable: Mutex::default(),
        })
    }

    /// Returns whether the disk did not return some of the bytes that were read.
    pub(super) fn is_unreadable(&self) -> bool {
        !self.unreadable.lock().is_empty()
    }

    /// Returns whether the file has the bytes `[from, to)`, and the disk returned them. They must
    /// have been read.
    pub(super) fn is_known(&self, from: u64, to: u64) -> bool {
        let first = from / SECTOR * SECTOR;
        to <= self.size && self.unreadable.lock().range(first..to).next().is_none()
    }

    fn read_sector(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self.file.read_at(buffer, offset) {
            Ok(read) => buffer[read..].fill(0),
            Err(error) if is_lost(&error) => {
                buffer.fill(0);
                self.unreadable.lock().insert(offset / SECTOR * SECTOR);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl BackendFile for Readable {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.file.read_at(buffer, offset) {
            Ok(read) => buffer[read..].fill(0),
            Err(error) if is_lost(&error) => {
                let mut done = 0;
                while done < buffer.len() {
                    let at = offset + done as u64;
                    let len = (SECTOR - at % SECTOR).min((buffer.len() - done) as u64) as usize;
                    self.read_sector(&mut buffer[done..done + len], at)?;
                    done += len;
                }
            }
            Err(error) => return Err(error),
        }
        Ok(buffer.len())
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.size)
    }
}
