//! The set of taken sequences of one conversation, in a few words of memory.

use std::collections::BTreeSet;

/// The sequences of one conversation that messages have.
///
/// Sequences come almost in order. So the set keeps only the end of the unbroken run, 64 bits
/// beyond it, and, rarely, a set of sequences further on.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    /// The end of the unbroken range: 1 to `low` are all taken.
    low: u32,
    /// Bit `i` tells that `low + 1 + i` is taken. Bit 0 is set only during an update.
    ahead: u64,
    /// Sequences taken beyond the bits.
    #[expect(
        clippy::box_collection,
        reason = "one word instead of three in each conversation, for a set that is rare"
    )]
    beyond: Option<Box<BTreeSet<u32>>>,
}

impl Sequences {
    /// Takes `seq`. Returns false if it is already taken, or is 0, which no message has.
    pub(super) fn insert(&mut self, seq: u32) -> bool {
        if seq <= self.low {
            return false;
        }
        let offset = seq - self.low - 1;
        if offset >= 64 {
            return self.beyond.get_or_insert_default().insert(seq);
        }
        let bit = 1u64 << offset;
        if self.ahead & bit != 0 {
            return false;
        }
        self.ahead |= bit;
        while self.ahead & 1 != 0 {
            let run = self.ahead.trailing_ones();
            self.low += run;
            self.ahead = self.ahead.checked_shr(run).unwrap_or(0);
            self.pull();
        }
        true
    }

    /// Moves sequences that have come within reach of the bits out of the set.
    fn pull(&mut self) {
        let Some(beyond) = self.beyond.as_mut() else {
            return;
        };
        while let Some(&seq) = beyond.first() {
            if seq - self.low > 64 {
                break;
            }
            beyond.pop_first();
            self.ahead |= 1 << (seq - self.low - 1);
        }
        if beyond.is_empty() {
            self.beyond = None;
        }
    }

    /// Returns the highest sequence taken; 0 if none is.
    pub(super) fn max(&self) -> u32 {
        let beyond = self.beyond.as_ref().and_then(|set| set.last().copied());
        beyond.unwrap_or(self.low + (64 - self.ahead.leading_zeros()))
    }

    /// Returns the lowest sequence that is free below the highest.
    pub(super) fn gap(&self) -> Option<u32> {
        (self.max() > self.low).then_some(self.low + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::Xoshiro256PlusPlus;
    use rand::seq::SliceRandom as _;
    use rand::{RngExt as _, SeedableRng as _};

    #[test]
    fn in_order_takes_no_memory() {
        let mut seen = Sequences::default();
        for seq in 1..=1000 {
            assert!(seen.insert(seq));
            assert!(!seen.insert(seq));
            assert_eq!(
                (seen.low, seen.ahead, seen.max(), seen.gap()),
                (seq, 0, seq, None)
            );
        }
        assert!(!seen.insert(0));
    }

    #[test]
    fn agrees_with_a_set_in_any_order() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
        for size in [1u32, 63, 64, 65, 200, 500] {
            let mut order: Vec<u32> = (1..=size).collect();
            order.shuffle(&mut rng);
            let (mut seen, mut set) = (Sequences::default(), BTreeSet::new());
            for seq in order {
                let seq = if rng.random_bool(0.1) {
                    rng.random_range(1..=size)
                } else {
                    seq
                };
                assert_eq!(seen.insert(seq), set.insert(seq));
                assert_eq!(Some(seen.max()), set.last().copied());
                let gap = (1..seen.max()).find(|seq| !set.contains(seq));
                assert_eq!(seen.gap(), gap);
            }
        }
    }
}
