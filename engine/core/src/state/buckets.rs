//! Sets with many entries, spread over small values ("buckets"), so that a change of one entry
//! rewrites a few entries only.
//!
//! The hash of an entry chooses its bucket (linear hashing): a set that grows splits one bucket
//! after the other, and a set that shrinks merges them again.

use serde::{Deserialize, Serialize};

use super::Form;
use crate::ids::Ids;

/// The number of entries per bucket, on average, above which the set gets one more bucket.
const SPLIT_ABOVE: u64 = 6;

/// The number of entries per bucket, on average, below which the set loses a bucket.
const MERGE_BELOW: u64 = 2;

/// How the entries of a set are spread over buckets. It is part of another value: the head of the
/// set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spread {
    /// The number of entries.
    entries: u64,
    /// The number of buckets, numbered from 0. It is 0 if the set is empty.
    buckets: u32,
    /// The number of splits and merges so far, modulo 2^32. A reader that finds another number
    /// after it has read the buckets may have missed entries that moved.
    moves: u32,
}

/// The two buckets between which entries move when the number of buckets changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// Some entries of `from` move to the new bucket `to`.
    Split { from: u32, to: u32 },
    /// All entries of the last bucket, `from`, move to `into`.
    Merge { from: u32, into: u32 },
}

impl Spread {
    /// Returns a set whose entries are all in one bucket, however many there are. Later changes
    /// split it step by step.
    pub(crate) fn in_one(entries: usize) -> Self {
        Self {
            entries: entries as u64,
            buckets: u32::from(entries > 0),
            moves: 0,
        }
    }

    /// Returns the number of entries.
    pub(crate) fn len(self) -> usize {
        self.entries as usize
    }

    /// Returns the number of buckets.
    pub(crate) fn buckets(self) -> u32 {
        self.buckets
    }

    /// Returns whether the entries are in the same buckets as in `other`, apart from single entries
    /// that came or went.
    pub(crate) fn is_laid_out_as(self, other: Self) -> bool {
        (self.buckets, self.moves) == (other.buckets, other.moves)
    }

    /// Returns the bucket of the entry with this hash. The set has at least one bucket.
    pub(crate) fn bucket(self, hash: u64) -> u32 {
        let mask = u64::from(self.buckets.max(1)).next_power_of_two() - 1;
        let bucket = hash & mask;
        let bucket = if bucket < u64::from(self.buckets.max(1)) {
            bucket
        } else {
            bucket & (mask >> 1)
        };
        bucket as u32
    }

    /// Counts one more entry. An empty set gets its first bucket. Returns the entries to move, if
    /// any.
    pub(crate) fn add(&mut self) -> Option<Move> {
        self.entries += 1;
        if self.buckets == 0 {
            self.buckets = 1;
        }
        self.split_if_full()
    }

    /// Adds a bucket if there are too many entries for those that exist. Returns the entries to
    /// move.
    pub(crate) fn split_if_full(&mut self) -> Option<Move> {
        if self.entries <= u64::from(self.buckets) * SPLIT_ABOVE {
            return None;
        }
        let to = self.buckets;
        self.buckets += 1;
        self.moves = self.moves.wrapping_add(1);
        Some(Move::Split {
            from: sibling(to),
            to,
        })
    }

    /// Counts one entry less. Returns the entries to move, if any.
    pub(crate) fn remove(&mut self) -> Option<Move> {
        self.entries = self.entries.saturating_sub(1);
        if self.buckets <= 1 || self.entries >= u64::from(self.buckets) * MERGE_BELOW {
            return None;
        }
        self.buckets -= 1;
        self.moves = self.moves.wrapping_add(1);
        let from = self.buckets;
        Some(Move::Merge {
            from,
            into: sibling(from),
        })
    }
}

/// Returns the bucket that shares its entries with `bucket` when there is one bucket less.
fn sibling(bucket: u32) -> u32 {
    // The number without its highest bit.
    bucket.checked_ilog2().map_or(0, |bit| bucket - (1 << bit))
}

/// An entry of a set.
pub(crate) trait Entry: Clone + Serialize + for<'a> Deserialize<'a> {
    /// The first byte of a bucket with such entries: see [`Form::TAG`].
    const TAG: u8;

    /// Returns the hash that chooses the entry's bucket. Clients cannot foresee it.
    fn hash(&self, ids: &Ids) -> u64;
}

/// One bucket of a set, under a key of the set and the number of the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bucket<E> {
    /// The entries, in no order that means anything.
    pub(crate) entries: Vec<E>,
}

impl<E: Entry> Form<'_> for Bucket<E> {
    const TAG: u8 = E::TAG;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Moves entries as `step` says, and checks that each is where its hash says.
    fn apply(sets: &mut BTreeMap<u32, Vec<u64>>, spread: Spread, step: Option<Move>) {
        let moved = match step {
            None => return,
            Some(Move::Split { from, .. }) => sets.insert(from, Vec::new()),
            Some(Move::Merge { from, .. }) => sets.remove(&from),
        };
        for hash in moved.unwrap_or_default() {
            let bucket = spread.bucket(hash);
            let (from, to) = match step {
                Some(Move::Split { from, to }) => (from, to),
                Some(Move::Merge { into, .. }) => (into, into),
                None => unreachable!(),
            };
            assert!(bucket == from || bucket == to, "{bucket}: {step:?}");
            sets.entry(bucket).or_default().push(hash);
        }
    }

    fn hash(n: u64) -> u64 {
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n << 7)
    }

    #[test]
    fn entries_stay_where_their_hash_says_and_buckets_stay_small() {
        let (mut spread, mut sets) = (Spread::default(), BTreeMap::new());
        for n in 0..5_000 {
            let step = spread.add();
            apply(&mut sets, spread, step);
            let bucket = spread.bucket(hash(n));
            sets.entry(bucket).or_default().push(hash(n));
        }
        assert_eq!((spread.len(), spread.buckets()), (5_000, 834));
        let largest = sets.values().map(Vec::len).max().unwrap();
        assert!(largest < 40, "{largest}");
        for n in 0..5_000 {
            let set = sets.get_mut(&spread.bucket(hash(n))).unwrap();
            let at = set.iter().position(|&one| one == hash(n)).unwrap();
            set.remove(at);
            let step = spread.remove();
            apply(&mut sets, spread, step);
        }
        assert_eq!((spread.len(), spread.buckets()), (0, 1));
    }

    #[test]
    fn one_large_bucket_is_split_step_by_step() {
        let mut spread = Spread::in_one(1_000);
        let mut sets = BTreeMap::from([(0, (0..1_000).map(hash).collect::<Vec<_>>())]);
        let mut steps = 0;
        while let Some(step) = spread.split_if_full() {
            apply(&mut sets, spread, Some(step));
            steps += 1;
        }
        assert_eq!((steps, spread.buckets()), (166, 167));
        assert!(sets.values().all(|set| set.len() < 40));
        assert_eq!(Spread::in_one(0), Spread::default());
    }

    #[test]
    fn a_reader_notices_that_entries_moved() {
        let mut spread = Spread::in_one(6);
        let before = spread;
        assert_eq!(spread.remove(), None);
        assert!(spread.is_laid_out_as(before), "one entry went");
        spread.add();
        assert!(spread.add().is_some() && !spread.is_laid_out_as(before));
        let mut again = spread;
        while again.buckets() > 1 {
            again.remove();
        }
        while again.buckets() < spread.buckets() {
            again.add();
        }
        assert!(!again.is_laid_out_as(spread), "back, but by moves");
    }
}
