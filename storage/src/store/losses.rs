//! The file `losses` and its copy: the number of records that repairs removed, for later openings.

use std::io;

use crc32c::crc32c;

use crate::Position;
use crate::backend::{self, Backend, is_lost};
use crate::error::OpenError;
use crate::error::io_error;
use crate::recovery::TornEnd;

pub(crate) const NAME: &str = "losses";
/// The name of the copy. Without either file the store could use sequences again.
pub(crate) const COPY: &str = "losses.copy";
/// The version of the file. It changes with the layout of this file alone.
const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"TRKLOSS\n";
const BYTES: usize = 56;

/// The number of sequences that the store skips if both files are lost. 2⁴⁴ records need a pebibyte
/// of log, more than any disk holds.
pub(crate) const UNKNOWN: u64 = 1 << 44;

/// The sum of what repairs gave up in a store, and of what openings cut off although it may have been
/// acknowledged; nothing in most stores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// The number of repairs that gave something up. The store refuses positions from before the
    /// last of them.
    pub repairs: u32,
    /// The end of the last part that was given up, or the place of the last cut.
    pub before: Position,
    /// The number of sequences to skip: at least the number of removed messages. A timeline whose
    /// last record lies before [`before`](Self::before), or that has no record, goes on this many
    /// sequences later, because the sequences between may have been used.
    pub skip: u64,
}

impl Losses {
    /// Returns how many sequences to skip in a timeline whose last record is at `position` or
    /// later.
    pub(crate) fn skip_behind(&self, position: u64) -> u64 {
        match position < self.before.0 {
            true => self.skip,
            false => 0,
        }
    }

    /// Adds what an opening is going to cut off, and writes both files if sequences skip because of
    /// it. Positions from before the cut stay valid, so a cut does not count as a repair.
    ///
    /// # Errors
    /// The files cannot be written, also if the disk is full: without them the sequences of what was
    /// cut off could be used again.
    pub(crate) fn note_cut(
        &mut self,
        cut: &TornEnd,
        backend: &dyn Backend,
        store_id: [u8; 16],
    ) -> Result<(), OpenError> {
        if cut.skip == 0 {
            return Ok(());
        }
        self.before = self.before.max(cut.position);
        self.skip = self.skip.saturating_add(cut.skip);
        for name in [NAME, COPY] {
            self.write(backend, store_id, name)?;
        }
        Ok(())
    }

    /// Reads the file, or its copy if the file is missing or damaged.
    ///
    /// # Errors
    /// [`OpenError::Corrupt`] if at least one of the two exists and none is whole.
    pub(crate) fn read(backend: &dyn Backend, store_id: [u8; 16]) -> Result<Self, OpenError> {
        let both = [NAME, COPY].map(|name| read(backend, name, store_id));
        let [file, copy] = both;
        match (file?, copy?) {
            (Found::Nothing, Found::Nothing) => Ok(Losses::default()),
            (Found::Whole(losses), _) | (_, Found::Whole(losses)) => Ok(losses),
            (Found::Damaged, _) => Err(damaged(backend, NAME)),
            (_, Found::Damaged) => Err(damaged(backend, COPY)),
        }
    }

    /// Returns whether both files hold this, or neither exists and nothing was given up.
    pub(crate) fn is_kept(
        &self,
        backend: &dyn Backend,
        store_id: [u8; 16],
        name: &str,
    ) -> Result<bool, OpenError> {
        Ok(match read(backend, name, store_id)? {
            Found::Whole(found) => found == *self,
            Found::Nothing => *self == Losses::default(),
            Found::Damaged => false,
        })
    }

    /// Writes both files if they are missing or damaged, as far as there is room.
    pub(crate) fn keep(&self, backend: &dyn Backend, store_id: [u8; 16]) -> Result<(), OpenError> {
        for name in [NAME, COPY] {
            if self.is_kept(backend, store_id, name)? {
                continue;
            }
            match self.write(backend, store_id, name) {
                // Opening must work on a full disk. A later opening writes the files.
                Err(OpenError::Io { source, .. }) if backend::is_full(&source) => {
                    let _ = backend.remove(&format!("{name}.tmp"));
                }
                written => written?,
            }
        }
        Ok(())
    }

    pub(crate) fn write(
        &self,
        backend: &dyn Backend,
        store_id: [u8; 16],
        name: &str,
    ) -> Result<(), OpenError> {
        backend::write_atomically(backend, name, &self.encode(store_id))
            .map_err(io_error(backend, name, "write"))
    }

    fn encode(&self, store_id: [u8; 16]) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.repairs.to_le_bytes());
        bytes[16..32].copy_from_slice(&store_id);
        bytes[32..40].copy_from_slice(&self.before.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.skip.to_le_bytes());
        let crc = crc32c(&bytes[..BYTES - 4]);
        bytes[BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8], store_id: [u8; 16]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let crc = crc32c(&bytes[..BYTES - 4]).to_le_bytes();
        let number = |at: usize| {
            let found = bytes[at..].first_chunk::<8>();
            found.map_or(0, |number| u64::from_le_bytes(*number))
        };
        let is_whole = bytes[BYTES - 4..] == crc
            && bytes[..8] == MAGIC
            && bytes[8..12] == VERSION.to_le_bytes()
            && bytes[16..32] == store_id;
        is_whole.then(|| Losses {
            repairs: (number(8) >> 32) as u32,
            before: Position(number(32)),
            skip: number(40),
        })
    }
}

enum Found {
    Nothing,
    Damaged,
    Whole(Losses),
}

fn read(backend: &dyn Backend, name: &str, store_id: [u8; 16]) -> Result<Found, OpenError> {
    let read = backend.open(name).and_then(|file| {
        let mut bytes = [0; BYTES + 1];
        let len = file.read_at(&mut bytes, 0)?;
        Ok(Losses::decode(&bytes[..len], store_id))
    });
    match read {
        Ok(Some(losses)) => Ok(Found::Whole(losses)),
        Ok(None) => Ok(Found::Damaged),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) if is_lost(&error) => Ok(Found::Damaged),
        Err(error) => Err(io_error(backend, name, "read")(error)),
    }
}

pub(crate) fn damaged(backend: &dyn Backend, name: &str) -> OpenError {
    OpenError::Corrupt {
        file: backend.path(name),
        offset: 0,
        reason: "what repairs gave up is not what was written".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_read_back_and_every_flipped_bit_is_noticed() {
        let losses = Losses {
            repairs: 7,
            before: Position(1 << 40),
            skip: 1 << 20,
        };
        let bytes = losses.encode([1; 16]);
        assert_eq!(Losses::decode(&bytes, [1; 16]), Some(losses));
        assert_eq!(Losses::decode(&bytes, [2; 16]), None);
        assert_eq!(Losses::decode(&bytes[1..], [1; 16]), None);
        for bit in 0..BYTES * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Losses::decode(&bytes, [1; 16]), None, "bit {bit}");
        }
    }
}
