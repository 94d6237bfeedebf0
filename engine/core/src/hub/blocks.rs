//! A filter that says which users certainly do not block another user.
//!
//! The store has a value for each block. Looking it up for each message and each signal would cost them
//! more than they cost now. The filter has a fixed size, and answers "certainly not" for nearly all
//! pairs of users in a few instructions. Only for the others somebody looks into the store.
//!
//! The filter is in the store too, in chunks. A block stores the chunk that it changes. A block that
//! ends leaves its bits: they cost look-ups and change no answer.

use std::sync::atomic::{AtomicU64, Ordering};

use trunkline_storage::{Reader, TimelineId};

use crate::ids::{Ids, UserId};

/// The number of chunks. A block changes one of them.
const CHUNKS: usize = 512;

/// The words of a chunk.
const WORDS: usize = 32;

/// The bits of a chunk.
const BITS: u64 = 64 * WORDS as u64;

/// The bits of the filter that a block sets.
const HASHES: usize = 3;

/// The length of a stored chunk in bytes.
const CHUNK_BYTES: usize = 8 * WORDS;

/// The filter of all blocks of a store: 128 KiB, however many there are. With 100,000 blocks it sends
/// about one of fifty other pairs into the store, with a million nearly all.
pub struct BlockFilter {
    chunks: Box<[[AtomicU64; WORDS]]>,
}

/// A user blocks another one, or no longer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockChange {
    /// The user who blocks.
    pub blocker: UserId,
    /// The user who is blocked.
    pub blocked: UserId,
    /// Whether the block begins. Otherwise it ends.
    pub begins: bool,
}

/// The place of a pair of users in the filter.
struct Place {
    chunk: usize,
    bits: [usize; HASHES],
}

impl Place {
    /// Returns the place of a pair. The ids are keyed hashes, so nobody can choose pairs that share
    /// bits.
    fn of(blocker: UserId, blocked: UserId) -> Self {
        let mixed = blocker.0.rotate_left(37) ^ blocked.0;
        let (chunk, mut rest) = ((mixed >> 64) as usize % CHUNKS, mixed as u64);
        let bits = [(); HASHES].map(|()| {
            let bit = (rest % BITS) as usize;
            rest /= BITS;
            bit
        });
        Self { chunk, bits }
    }
}

impl Default for BlockFilter {
    fn default() -> Self {
        Self {
            chunks: (0..CHUNKS)
                .map(|_| [const { AtomicU64::new(0) }; WORDS])
                .collect(),
        }
    }
}

impl BlockFilter {
    /// Returns whether `blocker` may block `blocked`. The store knows whether it is so. `false` is
    /// certain.
    #[inline]
    pub fn may_block(&self, blocker: UserId, blocked: UserId) -> bool {
        let place = Place::of(blocker, blocked);
        let chunk = &self.chunks[place.chunk];
        place
            .bits
            .iter()
            .all(|bit| chunk[bit / 64].load(Ordering::Acquire) >> (bit % 64) & 1 == 1)
    }

    /// Returns the number of the chunk that a pair is in.
    pub(crate) fn chunk(blocker: UserId, blocked: UserId) -> u64 {
        Place::of(blocker, blocked).chunk as u64
    }

    /// Notes a block, and adds it to the stored form of its chunk. Returns whether the stored form
    /// changed.
    pub(crate) fn note(&self, blocker: UserId, blocked: UserId, stored: &mut Vec<u8>) -> bool {
        stored.resize(CHUNK_BYTES, 0);
        let place = Place::of(blocker, blocked);
        let mut changed = false;
        for bit in place.bits {
            self.chunks[place.chunk][bit / 64].fetch_or(1 << (bit % 64), Ordering::AcqRel);
            let byte = &mut stored[bit / 8];
            changed |= *byte >> (bit % 8) & 1 == 0;
            *byte |= 1 << (bit % 8);
        }
        changed
    }

    /// Adds all blocks of a store. If the store cannot be read, every pair is looked up from now on.
    pub(crate) fn load(&self, store: &Reader, ids: &Ids) {
        let keys: Vec<TimelineId> = (0..CHUNKS as u64)
            .map(|chunk| ids.block_filter(chunk))
            .collect();
        match store.states(&keys) {
            Ok(stored) => {
                for (chunk, stored) in self.chunks.iter().zip(stored) {
                    let words = stored.as_deref().unwrap_or_default().as_chunks::<8>().0;
                    for (word, bytes) in chunk.iter().zip(words) {
                        word.fetch_or(u64::from_le_bytes(*bytes), Ordering::AcqRel);
                    }
                }
            }
            Err(error) => {
                tracing::error!(%error, "the filter of blocked users could not be read");
                for word in self.chunks.iter().flatten() {
                    word.store(u64::MAX, Ordering::Release);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_store::open;

    fn user(n: u64) -> UserId {
        // As wide as a keyed hash.
        let wide = u128::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        TimelineId(wide.rotate_left(64) ^ wide)
    }

    #[test]
    fn a_block_is_never_missed_and_others_seldom_are_taken_for_one() {
        let filter = BlockFilter::default();
        let mut stored = Vec::new();
        for n in 0..1_000 {
            assert!(filter.note(user(n), user(n + 1_000_000), &mut Vec::new()));
        }
        assert!((0..1_000).all(|n| filter.may_block(user(n), user(n + 1_000_000))));
        let taken = (0..10_000)
            .filter(|n| filter.may_block(user(n + 5_000), user(n + 2_000_000)))
            .count();
        assert!(taken < 100, "{taken}");
        // It goes one way.
        let back = (0..1_000).filter(|n| filter.may_block(user(n + 1_000_000), user(*n)));
        assert!(back.count() < 10);
        assert!(filter.note(user(1), user(2), &mut stored));
        assert!(!filter.note(user(1), user(2), &mut stored));
    }

    #[test]
    fn a_filter_without_a_store_that_can_be_read_is_empty_and_the_stored_form_fits() {
        let (_folder, store) = open();
        let filter = BlockFilter::default();
        filter.load(&store, &Ids(store.key()));
        assert!(!filter.may_block(user(1), user(2)));
        let mut stored = Vec::new();
        filter.note(user(1), user(2), &mut stored);
        assert_eq!(stored.len(), CHUNK_BYTES);
        let ones: u32 = stored.iter().map(|byte| byte.count_ones()).sum();
        assert!((1..=HASHES as u32).contains(&ones), "{ones}");
    }
}
