//! The ballast: a file that is removed when a full disk has no room for the files that expiry
//! writes.

use std::io;

use parking_lot::Mutex;

use crate::backend::{self, Backend};

pub(crate) const NAME: &str = "ballast";

/// The largest size in bytes. The ballast is a sixteenth of a segment if that is less, but always
/// has room for a manifest.
const MAX_BYTES: u64 = 4 << 20;
const MIN_BYTES: u64 = 8 << 10;
/// The smallest size in bytes for which the file is made when the disk has no room for more.
const LEAST_BYTES: u64 = 1 << 10;

pub(super) struct Ballast {
    bytes: u64,
    /// The size of the file in bytes, 0 without a file; `None` until that is known.
    there: Mutex<Option<u64>>,
}

impl Ballast {
    pub(super) fn new(segment_bytes: u64) -> Self {
        Ballast {
            bytes: (segment_bytes / 16).clamp(MIN_BYTES, MAX_BYTES),
            there: Mutex::new(None),
        }
    }

    /// Runs `step`. If the disk is too full for it, removes the ballast and runs the step again.
    pub(super) fn lift(
        &self,
        backend: &dyn Backend,
        mut step: impl FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        match step() {
            Err(error) if backend::is_full(&error) && self.drop_it(backend) => step(),
            done => done,
        }
    }

    /// Removes the file. Returns whether it existed.
    fn drop_it(&self, backend: &dyn Backend) -> bool {
        let mut there = self.there.lock();
        let dropped = *there != Some(0) && backend.remove(NAME).is_ok();
        *there = Some(0);
        dropped
    }

    /// Makes the file if the disk has room for twice its size. On a fuller disk the file takes half
    /// of the room, until there is more.
    pub(super) fn restore(&self, backend: &dyn Backend) {
        let mut there = self.there.lock();
        let found = match *there {
            Some(found) => found,
            None => backend.open(NAME).and_then(|file| file.len()).unwrap_or(0),
        };
        *there = Some(found);
        if found >= self.bytes {
            return;
        }
        let room = backend.free_bytes().unwrap_or(0) / 2;
        let bytes = self.bytes.min(room);
        let is_enough = bytes == self.bytes || found == 0 && bytes >= LEAST_BYTES;
        if is_enough && self.make(backend, bytes).is_ok() {
            *there = Some(bytes);
        }
    }

    fn make(&self, backend: &dyn Backend, bytes: u64) -> io::Result<()> {
        let temporary = format!("{NAME}.tmp");
        // Writes real bytes other than zeros. The removal of a hole, or of bytes that the file
        // system compressed away, would free no space.
        let mut bytes = vec![0; bytes as usize];
        backend.fill_random(&mut bytes)?;
        let file = backend::create_anew(backend, &temporary)?;
        let written = file.write_all_at(&bytes, 0).and_then(|()| file.sync_data());
        drop(file);
        if let Err(error) = written.and_then(|()| backend.rename(&temporary, NAME)) {
            let _ = backend.remove(&temporary);
            return Err(error);
        }
        backend.sync_dir()
    }
}
