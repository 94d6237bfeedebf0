//! Which runs are merged, and when there are so many that making more must wait.

use std::ops::Range;

use super::RunId;

/// Neighbouring runs of a kind that may become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Where they are among the runs of their kind.
    pub(super) at: Range<usize>,
    /// The level of the newest of them; none has a higher one.
    pub(super) level: u8,
}

/// The stretches of a kind's runs, from the newest to the oldest.
fn stretches(runs: &[RunId]) -> impl Iterator<Item = Stretch> {
    let mut to = runs.len();
    std::iter::from_fn(move || {
        let level = runs[..to].last()?.level;
        let same = runs[..to].iter().rev();
        let from = to - same.take_while(|run| run.level <= level).count();
        let at = from..to;
        to = from;
        Some(Stretch { at, level })
    })
}

/// What to merge of a kind's runs: the newest stretch of at least `width`.
pub(super) fn mergeable(runs: &[RunId], width: usize) -> Option<Stretch> {
    stretches(runs).find(|stretch| stretch.at.len() >= width)
}

/// Whether merging is so far behind that making more runs must wait for it: every read looks
/// into each of them.
pub(super) fn in_debt(runs: &[RunId], width: usize) -> bool {
    stretches(runs).any(|stretch| stretch.at.len() >= 2 * width)
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    fn runs(levels: &[u8]) -> Vec<RunId> {
        let run = |(i, &level)| RunId {
            kind: Kind::Messages,
            level,
            number: i as u64,
            from: i as u64,
            to: i as u64 + 1,
        };
        levels.iter().enumerate().map(run).collect()
    }

    #[test]
    fn the_newest_stretch_that_is_wide_enough_is_merged() {
        for (levels, expected) in [
            (&[][..], None),
            (&[0, 0], None),
            (&[0, 0, 0], Some((0..3, 0))),
            (&[2, 1, 0, 0, 0, 0], Some((2..6, 0))),
            (&[1, 1, 1, 0, 0], Some((0..3, 1))),
            (&[2, 1, 1, 0, 0], None),
            // A small one between larger ones goes with them.
            (&[2, 0, 1, 1, 0], Some((1..4, 1))),
        ] {
            let found = mergeable(&runs(levels), 3);
            let expected = expected.map(|(at, level)| Stretch { at, level });
            assert_eq!(found, expected, "{levels:?}");
        }
    }

    #[test]
    fn debt_is_twice_the_width_of_one_stretch() {
        for (levels, expected) in [
            (&[][..], false),
            (&[0, 0, 0, 0, 0], false),
            (&[0, 0, 0, 0, 0, 0], true),
            (&[1, 1, 1, 0, 0, 0], false),
            (&[1, 1, 1, 1, 1, 1, 0], true),
        ] {
            assert_eq!(in_debt(&runs(levels), 3), expected, "{levels:?}");
        }
    }
}
