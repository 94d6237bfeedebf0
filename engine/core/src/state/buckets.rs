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

    /// Returns the set without entries and without buckets.
    pub(crate) fn emptied(self) -> Self {
        Self {
            entries: 0,
            buckets: 0,
            moves: self.moves.wrapping_add(1),
        }
    }

    /// Returns a number of buckets that a set never exceeded which never had more entries than this.
    pub(crate) const fn most_buckets(entries: usize) -> u32 {
        (entries as u64).div_ceil(SPLIT_ABOVE) as u32 + 1
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

    /// Returns the set after `added` entries came and `removed` went. It splits or merges one bucket
    /// for each of them at most, so a change rewrites a few buckets, however far the set is from its
    /// best form.
    pub(crate) fn changed(self, added: usize, removed: usize) -> Self {
        let mut spread = self;
        spread.entries = (spread.entries + added as u64).saturating_sub(removed as u64);
        if spread.buckets == 0 && spread.entries > 0 {
            spread.buckets = 1;
        }
        for _ in 0..added + removed {
            let buckets = u64::from(spread.buckets);
            if spread.entries > buckets * SPLIT_ABOVE {
                spread.buckets += 1;
            } else if spread.buckets > 1 && spread.entries < buckets * MERGE_BELOW {
                spread.buckets -= 1;
            } else {
                break;
            }
            spread.moves = spread.moves.wrapping_add(1);
        }
        spread
    }

    /// Returns the buckets of this form whose entries are elsewhere in the form `after`: those that
    /// are split, or that merge into others. A bucket may come several times.
    pub(crate) fn left_for(self, after: Self) -> impl Iterator<Item = u32> {
        let before = self.buckets.max(1);
        let new = before..after.buckets;
        let split = new.map(move |to| {
            let mut from = to;
            while from >= before {
                from = sibling(from);
            }
            from
        });
        split.chain(after.buckets.max(1)..before)
    }

    /// Returns the buckets of this form that a change reads which moves entries to the form `after`. A bucket
    /// may come several times.
    pub(crate) fn read_for(self, after: Self) -> impl Iterator<Item = u32> {
        let left = after.buckets.max(1);
        let merged = (left..self.buckets.max(1)).map(move |from| {
            let mut to = from;
            while to >= left {
                to = sibling(to);
            }
            to
        });
        self.left_for(after).chain(merged)
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

    /// Moves entries as a change of the form demands.
    fn apply(sets: &mut BTreeMap<u32, Vec<u64>>, before: Spread, after: Spread) {
        let left = before.left_for(after);
        let moved: Vec<_> = left.filter_map(|from| sets.remove(&from)).collect();
        for hash in moved.into_iter().flatten() {
            sets.entry(after.bucket(hash)).or_default().push(hash);
        }
    }

    /// Checks that each entry is where its hash says.
    fn check(sets: &BTreeMap<u32, Vec<u64>>, spread: Spread) {
        for (number, set) in sets {
            let is_there = |hash: &u64| spread.bucket(*hash) == *number;
            assert!(set.iter().all(is_there), "{number} {spread:?}");
        }
        let all: usize = sets.values().map(Vec::len).sum();
        assert_eq!(all, spread.len());
    }

    fn hash(n: u64) -> u64 {
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n << 7)
    }

    #[test]
    fn entries_stay_where_their_hash_says_and_buckets_stay_small() {
        for step in [1, 7, 1_000] {
            let (mut spread, mut sets) = (Spread::default(), BTreeMap::new());
            for first in (0..5_000).step_by(step) {
                let added = first..(first + step as u64).min(5_000);
                let after = spread.changed((added.end - added.start) as usize, 0);
                apply(&mut sets, spread, after);
                for n in added {
                    sets.entry(after.bucket(hash(n))).or_default().push(hash(n));
                }
                spread = after;
                if first % 50 == 0 {
                    check(&sets, spread);
                }
            }
            assert_eq!((spread.len(), spread.buckets()), (5_000, 834));
            assert!(spread.buckets() <= Spread::most_buckets(5_000));
            let largest = sets.values().map(Vec::len).max().unwrap();
            assert!(largest < 40, "{largest}");
            for first in (0..5_000).step_by(step) {
                let removed = first..(first + step as u64).min(5_000);
                let count = (removed.end - removed.start) as usize;
                for n in removed {
                    let set = sets.get_mut(&spread.bucket(hash(n))).unwrap();
                    let at = set.iter().position(|&one| one == hash(n)).unwrap();
                    set.remove(at);
                }
                let after = spread.changed(0, count);
                apply(&mut sets, spread, after);
                spread = after;
                if first % 50 == 0 {
                    check(&sets, spread);
                }
            }
            assert_eq!((spread.len(), spread.buckets()), (0, 1));
        }
    }

    #[test]
    fn one_large_bucket_is_split_step_by_step() {
        let mut spread = Spread::in_one(1_000);
        let mut sets = BTreeMap::from([(0, (0..1_000).map(hash).collect::<Vec<_>>())]);
        let mut steps = 0;
        loop {
            // One entry comes and one goes: a step of splitting, and no other change.
            let after = spread.changed(1, 1);
            assert!(after.buckets() - spread.buckets() <= 2);
            if after == spread {
                break;
            }
            apply(&mut sets, spread, after);
            check(&sets, after);
            spread = after;
            steps += 1;
        }
        assert_eq!((steps, spread.buckets()), (83, 167));
        assert!(sets.values().all(|set| set.len() < 40));
        assert_eq!(Spread::in_one(0), Spread::default());
    }

    #[test]
    fn a_reader_notices_that_entries_moved() {
        let before = Spread::in_one(6);
        let spread = before.changed(0, 1);
        assert!(spread.is_laid_out_as(before), "one entry went");
        let spread = spread.changed(1, 0).changed(1, 0);
        assert!(spread.buckets() == 2 && !spread.is_laid_out_as(before));
        let mut again = spread;
        while again.buckets() > 1 {
            again = again.changed(0, 1);
        }
        while again.buckets() < spread.buckets() {
            again = again.changed(1, 0);
        }
        assert!(!again.is_laid_out_as(spread), "back, but by moves");
    }
}
