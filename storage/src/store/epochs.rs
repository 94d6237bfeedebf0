//! The epochs of a store: the keys that prove its positions.
//!
//! Every opening begins an epoch with a new key, from the recovered head on. The store gives a
//! position out with a keyed hash of it, under the key of the epoch that covers it. A copy of the
//! folder goes on under another key once it is opened, and so does a log that lost its end. So the
//! store refuses positions of records that its log does not have, also after the log has grown over
//! their addresses.
//!
//! A position that the store itself keeps for a client comes back with the backup that has it, so its
//! epoch is always known. Its proof therefore covers the number of restores too: after a restore,
//! the store cannot know whether the client has seen later records than the backup has.

use std::io;
use std::sync::Arc;

use crc32c::crc32c;
use siphasher::sip::SipHasher13;

use crate::backend::{self, Backend, is_lost};
use crate::error::OpenError;
use crate::error::io_error;
use crate::store::token::{self, BadToken, Token};
use crate::{Fault, Position};

pub(crate) const NAME: &str = "epochs";
/// The maximum number of epochs of a store. A further epoch merges the two oldest ones, and the
/// store then refuses positions given out in the first of them.
pub(crate) const MAX_EPOCHS: usize = 1024;
/// The version of the file. It changes with the layout of this file alone.
const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"TRKEPOCH";
const HEADER: usize = 40;
const ENTRY: usize = 24;
/// The size of the file is a multiple of this, so that on a full disk a new row fits into the space
/// of the old one.
const PAGE: usize = 4096;

/// The state in which an opening found the earlier epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PositionsFound {
    /// The store accepts earlier positions, as far as the log still has their records.
    Kept,
    /// There were no epochs: the store is new, was written by a version without epochs, or a repair
    /// gave something up. The store refuses earlier positions.
    None,
    /// The file is damaged. The store refuses earlier positions.
    Damaged,
}

/// Turns positions into text, and checks texts that come back.
///
/// The type is cheap to clone and safe to share, and does no I/O.
#[derive(Clone)]
pub struct Epochs(Arc<Row>);

/// The epochs from the oldest to the current one. There is at least one, and the first begins at
/// position 0.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    epochs: Vec<Epoch>,
    /// The number of repairs with losses at the time the row began.
    repairs: u32,
    /// The number of backups between this store and the first one: a backup has one more than the
    /// store that it was made of.
    restores: u32,
}

/// An epoch. It covers the positions behind `after`, up to and including the `after` of the next
/// epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Epoch {
    after: u64,
    key: [u8; 16],
}

/// An epoch that an opening began.
pub(crate) struct BegunEpoch {
    pub(crate) epochs: Epochs,
    /// What the opening found of earlier epochs.
    pub(crate) found: PositionsFound,
    /// Whether the epoch is on disk. On a full disk it is only in memory, and its positions are
    /// refused after the next opening.
    pub(crate) stored: bool,
}

impl Epochs {
    /// Returns the text of a position.
    #[must_use]
    #[inline]
    pub fn token(&self, position: Position) -> Token {
        if position == Position::ZERO {
            return Token::zero();
        }
        Token::new(self.0.tag(position, &[]), position)
    }

    /// Returns the position of a text, if this store gave it out and its log still has all records
    /// before it.
    ///
    /// # Errors
    /// [`BadToken::Form`] for a text that never is a position. [`BadToken::Foreign`] for a position
    /// that the store did not give out, that belongs to another history, or that points into a lost
    /// part of the log.
    pub fn check(&self, text: &str) -> Result<Position, BadToken> {
        match token::parse(text)? {
            (None, Position::ZERO) => Ok(Position::ZERO),
            (Some(tag), position)
                if position > Position::ZERO && self.0.tag(position, &[]) == tag =>
            {
                Ok(position)
            }
            _ => Err(BadToken::Foreign),
        }
    }

    /// Returns the tag of a position, for a caller that keeps both in this store.
    #[must_use]
    pub fn tag(&self, position: Position) -> u32 {
        match self.0.restores {
            0 => self.0.tag(position, &[]),
            restores => self.0.tag(position, &restores.to_le_bytes()),
        }
    }

    /// Returns whether [`tag`](Self::tag) returned this tag for the position, and no
    /// [backup](crate::Reader::backup) was restored since.
    #[must_use]
    pub fn holds(&self, position: Position, tag: u32) -> bool {
        self.tag(position) == tag
    }

    /// Returns the number of backups between this store and the first one.
    #[must_use]
    pub fn restores(&self) -> u32 {
        self.0.restores
    }

    /// Returns the text of a position that also proves `detail`.
    #[must_use]
    pub fn token_with(&self, position: Position, detail: &[u8]) -> Token {
        Token::new(self.0.tag(position, detail), position)
    }

    /// Returns the position of a text that [`token_with`](Self::token_with) made with the same
    /// `detail`.
    ///
    /// # Errors
    /// The errors of [`check`](Self::check).
    pub fn check_with(&self, text: &str, detail: &[u8]) -> Result<Position, BadToken> {
        match token::parse(text)? {
            (Some(tag), position) if self.0.tag(position, detail) == tag => Ok(position),
            _ => Err(BadToken::Foreign),
        }
    }

    /// Begins an epoch behind `head`, and makes it durable before any position is given out.
    pub(crate) fn begin(
        backend: &dyn Backend,
        store_id: [u8; 16],
        repairs: u32,
        head: u64,
    ) -> Result<BegunEpoch, OpenError> {
        let (mut row, found) = match Row::read(backend, store_id)? {
            Ok(Some(row)) if row.repairs == repairs => (row, PositionsFound::Kept),
            Ok(_) => (Row::new(repairs), PositionsFound::None),
            Err(_) => (Row::new(repairs), PositionsFound::Damaged),
        };
        let mut key = [0; 16];
        backend
            .fill_random(&mut key)
            .map_err(io_error(backend, NAME, "draw random bytes for"))?;
        row.push(head, key);
        let stored = row
            .write(backend, store_id)
            .map_err(io_error(backend, NAME, "write"))?;
        Ok(BegunEpoch {
            epochs: Epochs(Arc::new(row)),
            found,
            stored,
        })
    }

    /// Returns the epochs of a store whose log other stores have too, and writes them for tools. There is one, unless the log
    /// began with a store that had others before: all stores of the log have a copy of these.
    ///
    /// # Errors
    /// The store gave positions out under another key.
    pub(crate) fn of_log(
        backend: &dyn Backend,
        store_id: [u8; 16],
        key: [u8; 16],
    ) -> Result<BegunEpoch, OpenError> {
        let mut row = Row::new(0);
        row.push(0, key);
        let stored = match Row::read(backend, store_id)? {
            Ok(Some(old)) if old.repairs == 0 && old.is_of_log(key) => {
                row = old;
                true
            }
            Ok(Some(_)) => {
                return Err(OpenError::Options(
                    "the store has another history than its log: take a copy of another store of the log".into(),
                ));
            }
            _ => row
                .write(backend, store_id)
                .map_err(io_error(backend, NAME, "write"))?,
        };
        Ok(BegunEpoch {
            epochs: Epochs(Arc::new(row)),
            found: PositionsFound::Kept,
            stored,
        })
    }

    /// Returns the key of the last epoch.
    pub(crate) fn last_key(&self) -> [u8; 16] {
        let last = self.0.epochs.last();
        last.map_or([0; 16], |last| last.key)
    }

    /// Returns the content of the file `epochs` of a backup. The backup knows all epochs of this
    /// store, and that positions kept in it are those of a restored store. Where other stores have the log too
    /// (`is_shared`), a restored one goes on with it, and nothing is lost.
    pub(crate) fn of_backup(&self, store_id: [u8; 16], is_shared: bool) -> Vec<u8> {
        let restores = u32::from(!is_shared);
        let row = Row {
            epochs: self.0.epochs.clone(),
            repairs: self.0.repairs,
            restores: self.0.restores.saturating_add(restores),
        };
        row.pages(store_id)
    }

    /// Returns the number of epochs on the disk and the number of lossy repairs at their beginning,
    /// or the damage of the file.
    pub(crate) fn look(
        backend: &dyn Backend,
        store_id: [u8; 16],
    ) -> Result<Result<Option<(usize, u32)>, Fault>, OpenError> {
        let look = |row: Row| (row.epochs.len(), row.repairs);
        Ok(Row::read(backend, store_id)?.map(|row| row.map(look)))
    }
}

impl std::fmt::Debug for Epochs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Does not return the keys, because their holder can forge positions.
        write!(f, "Epochs({})", self.0.epochs.len())
    }
}

impl Row {
    const fn new(repairs: u32) -> Row {
        Row {
            epochs: Vec::new(),
            repairs,
            restores: 0,
        }
    }

    fn tag(&self, position: Position, detail: &[u8]) -> u32 {
        let key = self.covering(position.0);
        let address = position.0.to_le_bytes();
        let hasher = SipHasher13::new_with_key(key);
        let hash = match detail {
            [] => hasher.hash(&address),
            detail => hasher.hash(&[&address, detail].concat()),
        };
        hash as u32
    }

    /// Returns the key of the epoch that covers a position; usually that is the current epoch.
    fn covering(&self, position: u64) -> &[u8; 16] {
        let epochs = &self.epochs;
        let is_current = epochs.last().is_some_and(|last| last.after < position);
        let at = match is_current {
            true => epochs.len(),
            false => epochs.partition_point(|epoch| epoch.after < position),
        };
        &epochs[at.saturating_sub(1)].key
    }

    /// Returns whether the row is one of the log whose positions this key proves.
    fn is_of_log(&self, key: [u8; 16]) -> bool {
        self.epochs.last().is_some_and(|last| last.key == key)
    }

    /// Adds an epoch behind `head`. Removes epochs that began after it: their log lost its end.
    fn push(&mut self, head: u64, key: [u8; 16]) {
        let epochs = &mut self.epochs;
        epochs.retain(|epoch| epoch.after < head);
        if epochs.is_empty() {
            epochs.push(Epoch { after: 0, key });
            return;
        }
        epochs.push(Epoch { after: head, key });
        if epochs.len() > MAX_EPOCHS {
            epochs.remove(0);
            epochs[0].after = 0;
        }
    }

    /// Reads the file; `None` if it is missing. The inner error is the damage of the file.
    fn read(
        backend: &dyn Backend,
        store_id: [u8; 16],
    ) -> Result<Result<Option<Row>, Fault>, OpenError> {
        let damaged = |reason: &str| Fault {
            file: backend.path(NAME),
            offset: 0,
            reason: format!(
                "{reason}; the next start refuses all positions that were given out before"
            ),
        };
        let read = backend.open(NAME).and_then(|file| {
            let most = (HEADER + ENTRY * MAX_EPOCHS + 4).next_multiple_of(PAGE);
            let mut bytes = vec![0; most];
            let len = file.read_at(&mut bytes, 0)?;
            bytes.truncate(len);
            Ok(bytes)
        });
        match read {
            Ok(bytes) => Ok(Row::decode(&bytes, store_id)
                .map(Some)
                .ok_or_else(|| damaged("the epochs are not what was written"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ok(None)),
            Err(error) if is_lost(&error) => Ok(Err(damaged("the disk does not return it"))),
            Err(error) => Err(io_error(backend, NAME, "read")(error)),
        }
    }

    /// Replaces the row on the disk. Returns whether there was room for it.
    ///
    /// Without room the function removes the old row, because it would assign positions of this
    /// epoch to the one before.
    fn write(&self, backend: &dyn Backend, store_id: [u8; 16]) -> io::Result<bool> {
        let bytes = self.pages(store_id);
        if store(backend, &bytes)? {
            return Ok(true);
        }
        match backend.remove(NAME) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        backend.sync_dir()?;
        // The space of the old file may be enough.
        store(backend, &bytes)
    }

    /// Returns the content of the file: the encoded row, and zeros up to the end of a page.
    fn pages(&self, store_id: [u8; 16]) -> Vec<u8> {
        let mut bytes = self.encode(store_id);
        bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
        bytes
    }

    fn encode(&self, store_id: [u8; 16]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + ENTRY * self.epochs.len() + 4);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(self.epochs.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&store_id);
        bytes.extend_from_slice(&self.repairs.to_le_bytes());
        bytes.extend_from_slice(&self.restores.to_le_bytes());
        for epoch in &self.epochs {
            bytes.extend_from_slice(&epoch.after.to_le_bytes());
            bytes.extend_from_slice(&epoch.key);
        }
        let crc = crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Decodes a row that [`encode`](Self::encode) wrote. Only zeros may follow it.
    fn decode(bytes: &[u8], store_id: [u8; 16]) -> Option<Row> {
        let count = u32::from_le_bytes(*bytes.get(12..)?.first_chunk()?) as usize;
        let len = HEADER + ENTRY * count.min(MAX_EPOCHS + 1);
        let (bytes, crc) = bytes.split_at_checked(len)?;
        let (header, entries) = bytes.split_at(HEADER);
        let (crc, padding) = crc.split_first_chunk::<4>()?;
        if *crc != crc32c(bytes).to_le_bytes()
            || padding.iter().any(|&byte| byte != 0)
            || header[..8] != MAGIC
            || header[8..12] != VERSION.to_le_bytes()
            || header[16..32] != store_id
            || count > MAX_EPOCHS
        {
            return None;
        }
        let epochs = entries.chunks_exact(ENTRY).map(|entry| {
            let (after, key) = entry.split_first_chunk()?;
            Some(Epoch {
                after: u64::from_le_bytes(*after),
                key: *key.first_chunk()?,
            })
        });
        let epochs: Vec<Epoch> = epochs.collect::<Option<_>>()?;
        let in_order = epochs.is_sorted_by(|one, next| one.after < next.after);
        let begins = epochs.first().is_some_and(|first| first.after == 0);
        let repairs = u32::from_le_bytes(*header[32..].first_chunk()?);
        let restores = u32::from_le_bytes(*header[36..].first_chunk()?);
        (begins && in_order).then_some(Row {
            epochs,
            repairs,
            restores,
        })
    }
}

/// Writes the file; says whether there was room.
fn store(backend: &dyn Backend, bytes: &[u8]) -> io::Result<bool> {
    match backend::write_atomically(backend, NAME, bytes) {
        Ok(()) => Ok(true),
        Err(error) if backend::is_full(&error) => {
            match backend.remove(&format!("{NAME}.tmp")) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> [u8; 16] {
        (number as u128 + 1).to_le_bytes()
    }

    fn row(heads: &[u64]) -> Row {
        let mut row = Row::new(0);
        for (number, &head) in heads.iter().enumerate() {
            row.push(head, key(number));
        }
        row
    }

    fn epochs(heads: &[u64]) -> Epochs {
        Epochs(Arc::new(row(heads)))
    }

    #[test]
    fn a_position_is_good_in_its_own_history_alone() {
        // Opened empty, at 1,000 and at 2,000.
        let before = epochs(&[0, 1_000]);
        let after = epochs(&[0, 1_000, 2_000]);
        for position in [1, 999, 1_000, 1_001, 2_000].map(Position) {
            let token = before.token(position);
            assert_eq!(after.check(token.as_str()), Ok(position));
            assert_eq!(token, after.token(position));
        }
        // What the one before gave out behind the head with which the other was opened.
        for position in [2_001, 3_000].map(Position) {
            let text = before.token(position).to_string();
            assert_eq!(before.check(&text), Ok(position));
            assert_eq!(after.check(&text), Err(BadToken::Foreign));
        }
        // Two that were opened at the same head.
        let mut other = row(&[0, 1_000]);
        other.push(2_000, key(99));
        let other = Epochs(Arc::new(other));
        let token = |epochs: &Epochs| epochs.token(Position(2_001)).to_string();
        assert_eq!(other.check(&token(&after)), Err(BadToken::Foreign));
        assert_eq!(after.check(&token(&other)), Err(BadToken::Foreign));
        let common = other.token(Position(2_000));
        assert_eq!(after.check(common.as_str()), Ok(Position(2_000)));
    }

    #[test]
    fn what_was_never_given_out_is_refused() {
        let epochs = epochs(&[0, 1_000]);
        let good = epochs.token(Position(500)).to_string();
        let (tag, _) = good.split_once('-').unwrap();
        for address in [0, 1, 499, 501, 1_000, 1_001, u64::MAX] {
            let moved = format!("{tag}-{address}");
            assert_eq!(epochs.check(&moved), Err(BadToken::Foreign), "{moved}");
        }
        for bare in ["1", "500", "18446744073709551615"] {
            assert_eq!(epochs.check(bare), Err(BadToken::Foreign), "{bare}");
        }
        assert_eq!(epochs.check("0"), Ok(Position::ZERO));
        assert_eq!(epochs.check("x"), Err(BadToken::Form));
        let detailed = epochs.token_with(Position(500), b"m").to_string();
        assert_eq!(epochs.check_with(&detailed, b"m"), Ok(Position(500)));
        for wrong in [&b"n"[..], b"", b"mm"] {
            let checked = epochs.check_with(&detailed, wrong);
            assert_eq!(checked, Err(BadToken::Foreign));
        }
        assert_eq!(epochs.check(&detailed), Err(BadToken::Foreign));
        assert!(epochs.holds(Position(500), epochs.tag(Position(500))));
        let none = format!("{:08x}-0", epochs.tag(Position::ZERO));
        assert_eq!(epochs.check(&none), Err(BadToken::Foreign));
    }

    #[test]
    fn a_log_that_lost_its_end_forgets_the_epochs_of_it() {
        // The head went back from 3,000 to 1,500, and then to nothing.
        let long = epochs(&[0, 1_000, 2_000]);
        let cut = epochs(&[0, 1_000, 2_000, 1_500]);
        assert_eq!(cut.0.epochs.len(), 3);
        for (position, good) in [(1_500, true), (1_501, false), (2_001, false)] {
            let text = long.token(Position(position)).to_string();
            assert_eq!(cut.check(&text).is_ok(), good, "{position}");
        }
        let empty = epochs(&[0, 1_000, 0]);
        assert_eq!(empty.0.epochs.len(), 1);
        let text = long.token(Position(1)).to_string();
        assert_eq!(empty.check(&text), Err(BadToken::Foreign));
    }

    #[test]
    fn the_oldest_of_too_many_epochs_become_one() {
        let heads = |count: usize| -> Vec<u64> { (0..count as u64).map(|n| n * 100).collect() };
        let full = epochs(&heads(MAX_EPOCHS));
        let over = epochs(&heads(MAX_EPOCHS + 1));
        assert_eq!(
            (full.0.epochs.len(), over.0.epochs.len()),
            (MAX_EPOCHS, MAX_EPOCHS)
        );
        for (position, good) in [
            (50, false),
            (100, false),
            (101, true),
            (150, true),
            (50_000, true),
        ] {
            let text = full.token(Position(position)).to_string();
            assert_eq!(over.check(&text).is_ok(), good, "{position}");
            // All can be given out all the same.
            let again = over.token(Position(position));
            assert_eq!(over.check(again.as_str()), Ok(Position(position)));
        }
    }

    #[test]
    fn a_restored_store_refuses_what_it_kept_before() {
        let store = epochs(&[0, 1_000]);
        let restore = |store: &Epochs| {
            let mut row = Row::decode(&store.of_backup([1; 16], false), [1; 16]).unwrap();
            row.push(2_000, key(77));
            Epochs(Arc::new(row))
        };
        let once = restore(&store);
        let twice = restore(&once);
        for position in [0, 500, 2_000].map(Position) {
            let tags = [&store, &once, &twice].map(|store| store.tag(position));
            for (at, store) in [&store, &once, &twice].into_iter().enumerate() {
                let held = tags.map(|tag| store.holds(position, tag));
                assert_eq!(held, std::array::from_fn(|tag| tag == at), "{position:?}");
            }
        }
        // A position that a client hands back tells what the client has seen.
        let text = store.token(Position(500)).to_string();
        assert_eq!(twice.check(&text), Ok(Position(500)));
        // A restart is not a restore.
        let mut row = row(&[0, 1_000]);
        row.push(2_000, key(9));
        let again = Epochs(Arc::new(row));
        assert!(again.holds(Position(500), store.tag(Position(500))));
    }

    #[test]
    fn a_row_reads_back_and_every_flipped_bit_is_noticed() {
        let mut row = row(&[0, 1_000, 1 << 40]);
        (row.repairs, row.restores) = (3, 5);
        let bytes = row.encode([1; 16]);
        assert_eq!(Row::decode(&bytes, [2; 16]), None);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Row::decode(&bytes, [1; 16]), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(Row::decode(&bytes[..len], [1; 16]), None, "{len} bytes");
        }
        assert_eq!(Row::decode(&bytes, [1; 16]), Some(row));
    }
}
