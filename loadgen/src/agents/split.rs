//! The split of a run among machines: which threads of the run each of them plays.
//!
//! Users are dealt to threads, and the users of a thread write only to each other. So both ends of each
//! message are on one machine, and no machine plays a user of another one.

use serde::{Deserialize, Serialize};

/// The threads of a run that one machine plays: `first..first + count` of `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct ThreadRange {
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// The threads of all machines together.
    pub(crate) of: u32,
}

impl ThreadRange {
    /// The threads of a run on one machine.
    pub(crate) fn whole(threads: u32) -> Self {
        Self {
            first: 0,
            count: threads,
            of: threads,
        }
    }

    /// Returns whether the range has a thread and lies in the run.
    pub(crate) fn is_sound(self) -> bool {
        let end = self.first.checked_add(self.count);
        self.count > 0 && end.is_some_and(|end| end <= self.of)
    }
}

/// Deals up to `most` threads to machines that want so many each, in their order. A machine with more
/// threads plays more users. Each gets one at the least; `None` if there are fewer threads than machines.
pub(crate) fn deal(wanted: &[u32], most: u32) -> Option<Vec<ThreadRange>> {
    let mut counts: Vec<u32> = wanted.iter().map(|it| (*it).max(1)).collect();
    if most < counts.len() as u32 {
        return None;
    }
    let sum = |counts: &[u32]| counts.iter().map(|it| u64::from(*it)).sum::<u64>();
    while sum(&counts) > u64::from(most) {
        // The machine with the most gives one up.
        *counts.iter_mut().max()? -= 1;
    }
    let of = sum(&counts) as u32;
    let mut first = 0;
    let ranges = counts.into_iter().map(|count| {
        let range = ThreadRange { first, count, of };
        first += count;
        range
    });
    Some(ranges.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_dealt_without_overlap_and_without_a_gap() {
        for (wanted, most, counts) in [
            (&[2, 2, 2][..], 100, &[2, 2, 2][..]),
            (&[8, 1, 4], 100, &[8, 1, 4]),
            (&[8, 1, 4], 6, &[3, 1, 2]),
            (&[8, 8, 8], 3, &[1, 1, 1]),
            (&[0, 5], 9, &[1, 5]),
        ] {
            let ranges = deal(wanted, most).unwrap();
            let mut next = 0;
            for (range, count) in ranges.iter().zip(counts) {
                assert_eq!((range.first, range.count), (next, *count), "{wanted:?}");
                assert!(range.is_sound());
                next += range.count;
            }
            assert!(ranges.iter().all(|it| it.of == next), "{ranges:?}");
        }
        assert_eq!(deal(&[1, 1, 1], 2), None);
    }

    #[test]
    fn a_range_outside_of_the_run_is_none() {
        let range = |first, count, of| ThreadRange { first, count, of };
        assert!(range(2, 1, 3).is_sound());
        for bad in [range(0, 0, 3), range(2, 2, 3), range(u32::MAX, 1, 3)] {
            assert!(!bad.is_sound(), "{bad:?}");
        }
    }
}
