//! A filter that says which users certainly do not block another user.
//!
//! The store has a value for each block. Looking it up for each message and each signal would cost them
//! more than they cost now. The filter has a fixed size, and answers "certainly not" for nearly all
//! pairs of users in a few instructions. Only for the others somebody looks into the store.
//!
//! The filter counts the blocks that share a place, so that a block that ends leaves nothing. It is in the
//! store too, in chunks: a change of a block stores the chunk that it changes.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use trunkline_storage::{Reader, TimelineId};

use crate::ids::{Ids, UserId};

/// The number of chunks. A block changes one of them.
const CHUNKS: usize = 8_192;

/// The counters of a chunk.
const COUNTERS: usize = 128;

/// The counters that a block raises.
const HASHES: usize = 3;

/// The count at which a counter stays: nobody knows how many blocks it stands for.
const FULL: u8 = u8::MAX;

/// The filter of all blocks of a store: 1 MiB, however many there are. With 100,000 blocks it sends
/// about one of fifty other pairs into the store, with a million nearly all.
pub struct BlockFilter {
    chunks: Box<[[AtomicU8; COUNTERS]]>,
    /// Whether there has been a block since the store was opened, or before.
    any: AtomicBool,
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
    counters: [usize; HASHES],
}

impl Place {
    /// Returns the place of a pair. The ids are keyed hashes, so nobody can choose pairs that share
    /// counters.
    fn of(blocker: UserId, blocked: UserId) -> Self {
        let mixed = blocker.0.rotate_left(37) ^ blocked.0;
        let (chunk, mut rest) = ((mixed >> 64) as usize % CHUNKS, mixed as usize);
        let counters = [(); HASHES].map(|()| {
            let counter = rest % COUNTERS;
            rest /= COUNTERS;
            counter
        });
        Self { chunk, counters }
    }
}

impl Default for BlockFilter {
    fn default() -> Self {
        Self {
            chunks: (0..CHUNKS)
                .map(|_| [const { AtomicU8::new(0) }; COUNTERS])
                .collect(),
            any: AtomicBool::new(false),
        }
    }
}

impl BlockFilter {
    /// Returns whether `blocker` may block `blocked`. The store knows whether it is so. `false` is
    /// certain.
    #[inline]
    pub fn may_block(&self, blocker: UserId, blocked: UserId) -> bool {
        self.any.load(Ordering::Acquire) && self.is_counted(blocker, blocked)
    }

    fn is_counted(&self, blocker: UserId, blocked: UserId) -> bool {
        let place = Place::of(blocker, blocked);
        let chunk = &self.chunks[place.chunk];
        place
            .counters
            .iter()
            .all(|counter| chunk[*counter].load(Ordering::Acquire) > 0)
    }

    /// Returns the number of the chunk that a pair is in.
    pub(crate) fn chunk(blocker: UserId, blocked: UserId) -> u64 {
        Place::of(blocker, blocked).chunk as u64
    }

    /// Changes the stored form of a chunk as a block asks. A block that begins counts in the filter at
    /// once; one that ends counts until [`sync`](Self::sync).
    pub(crate) fn note(&self, change: BlockChange, stored: &mut Vec<u8>) {
        stored.resize(COUNTERS, 0);
        let place = Place::of(change.blocker, change.blocked);
        for counter in place.counters {
            let count = &mut stored[counter];
            if *count != FULL {
                *count = match change.begins {
                    true => *count + 1,
                    false => count.saturating_sub(1),
                };
            }
            if change.begins {
                self.any.store(true, Ordering::Release);
                self.chunks[place.chunk][counter].fetch_max(*count, Ordering::AcqRel);
            }
        }
    }

    /// Takes over the stored form of the chunk of a change, once a commit has stored it or was given up.
    pub(crate) fn sync(&self, store: &Reader, ids: &Ids, change: BlockChange) {
        let number = Self::chunk(change.blocker, change.blocked);
        // What cannot be read counts as before, which changes no answer.
        if let Ok(stored) = store.state(ids.block_filter(number)) {
            self.set(number as usize, stored.as_deref().unwrap_or_default());
        }
    }

    fn set(&self, chunk: usize, stored: &[u8]) {
        if !stored.is_empty() {
            self.any.store(true, Ordering::Release);
        }
        for (at, counter) in self.chunks[chunk].iter().enumerate() {
            let count = stored.get(at).copied().unwrap_or_default();
            counter.store(count, Ordering::Release);
        }
    }

    /// Adds all blocks of a store. If the store cannot be read, every pair is looked up from now on.
    pub(crate) fn load(&self, store: &Reader, ids: &Ids) {
        let keys: Vec<TimelineId> = (0..CHUNKS as u64)
            .map(|chunk| ids.block_filter(chunk))
            .collect();
        match store.states(&keys) {
            Ok(stored) => {
                for (chunk, stored) in stored.iter().enumerate() {
                    if let Some(stored) = stored {
                        self.set(chunk, stored);
                    }
                }
            }
            Err(error) => {
                tracing::error!(%error, "the filter of blocked users could not be read");
                self.any.store(true, Ordering::Release);
                for counter in self.chunks.iter().flatten() {
                    counter.store(FULL, Ordering::Release);
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

    fn change(blocker: u64, blocked: u64, begins: bool) -> BlockChange {
        BlockChange {
            blocker: user(blocker),
            blocked: user(blocked),
            begins,
        }
    }

    #[test]
    fn a_block_is_never_missed_and_others_seldom_are_taken_for_one() {
        let filter = BlockFilter::default();
        for n in 0..1_000 {
            filter.note(change(n, n + 1_000_000, true), &mut Vec::new());
        }
        assert!((0..1_000).all(|n| filter.may_block(user(n), user(n + 1_000_000))));
        let taken = (0..10_000)
            .filter(|n| filter.may_block(user(n + 5_000), user(n + 2_000_000)))
            .count();
        assert!(taken < 100, "{taken}");
        // It goes one way.
        let back = (0..1_000).filter(|n| filter.may_block(user(n + 1_000_000), user(*n)));
        assert!(back.count() < 10);
    }

    #[test]
    fn blocks_that_end_leave_nothing() {
        let filter = BlockFilter::default();
        let mut chunks = std::collections::BTreeMap::<u64, Vec<u8>>::new();
        for begins in [true, false] {
            for n in 0..5_000 {
                let change = change(7, n + 100, begins);
                let chunk = BlockFilter::chunk(change.blocker, change.blocked);
                filter.note(change, chunks.entry(chunk).or_default());
            }
            let counted: usize = chunks.values().flatten().map(|one| usize::from(*one)).sum();
            assert_eq!(counted, if begins { 5_000 * HASHES } else { 0 });
        }
        for (chunk, stored) in chunks {
            filter.set(chunk as usize, &stored);
        }
        assert!((0..5_000).all(|n| !filter.may_block(user(7), user(n + 100))));
    }

    #[test]
    fn the_filter_of_a_store_without_blocks_is_empty() {
        let (_folder, store) = open();
        let filter = BlockFilter::default();
        filter.load(&store, &Ids(store.key()));
        assert!(!filter.may_block(user(1), user(2)));
    }
}
