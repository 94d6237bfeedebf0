//! Decides which runs to merge, and when merging is so far behind that no more runs may be made.

use std::ops::Range;

use crate::run::RunId;

/// The rule for merging the runs of a kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct MergeRule {
    /// The number of runs of one form and level that become one run of the next level.
    pub(super) width: usize,
    /// The length of a window in milliseconds. Runs of different windows are not merged.
    pub(super) window: Option<u64>,
    /// The present time in milliseconds; 0 if it is not known.
    pub(super) now: u64,
}

/// Neighbouring runs of a kind that may become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MergeCandidate {
    /// The indexes of the runs among the runs of their kind.
    pub(super) at: Range<usize>,
    /// The level of the newest run. No other run of the candidate has a higher level.
    pub(super) level: u8,
}

impl MergeRule {
    /// Returns the window that a run belongs to.
    fn window_of(&self, run: &RunId) -> Option<u64> {
        self.window.map(|window| run.last_time / window)
    }

    /// Returns whether the window of this run gets no more runs.
    fn is_complete(&self, run: &RunId) -> bool {
        self.window
            .is_some_and(|window| run.last_time / window < self.now / window)
    }

    /// Cuts the runs of a kind into candidates, from the newest to the oldest.
    fn candidates(
        &self,
        runs: &[RunId],
        belongs: impl Fn(&RunId, &RunId) -> bool,
    ) -> impl Iterator<Item = MergeCandidate> {
        let mut to = runs.len();
        std::iter::from_fn(move || {
            let newest = runs[..to].last()?;
            let same = |run: &&RunId| {
                run.form == newest.form
                    && self.window_of(run) == self.window_of(newest)
                    && belongs(newest, run)
            };
            let from = to - runs[..to].iter().rev().take_while(same).count();
            let level = runs[from..to].iter().map(|run| run.level).max()?;
            let at = from..to;
            to = from;
            Some(MergeCandidate { at, level })
        })
    }

    /// Returns the candidates of runs of one level.
    fn levels(&self, runs: &[RunId]) -> impl Iterator<Item = MergeCandidate> {
        self.candidates(runs, |newest, run| run.level <= newest.level)
    }

    /// Returns the runs of a kind to merge next: the newest candidate with enough runs of one
    /// level, or all runs of a complete window. The latter limits the number of files when there
    /// are many windows.
    pub(super) fn mergeable(&self, runs: &[RunId]) -> Option<MergeCandidate> {
        let wide = self.levels(runs).find(|candidate| {
            candidate.at.len() >= self.width && !self.is_complete(&runs[candidate.at.start])
        });
        let mut windows = self.candidates(runs, |_, _| true);
        wide.or_else(|| {
            windows.find(|candidate| {
                candidate.at.len() > 1 && self.is_complete(&runs[candidate.at.start])
            })
        })
    }

    /// Returns the runs of a kind that are to be merged by now, as candidates from the newest to the
    /// oldest. [`mergeable`](Self::mergeable) takes one of them at a time.
    pub(super) fn due(&self, runs: &[RunId]) -> Vec<MergeCandidate> {
        let complete = |candidate: &MergeCandidate| self.is_complete(&runs[candidate.at.start]);
        let wide = self.levels(runs);
        let wide = wide.filter(|found| found.at.len() >= self.width && !complete(found));
        let windows = self.candidates(runs, |_, _| true);
        wide.chain(windows.filter(|found| found.at.len() > 1 && complete(found)))
            .collect()
    }

    /// Returns whether merging is so far behind that no more runs may be made. Every read looks
    /// into each run, so their number must stay low.
    pub(super) fn in_debt(&self, runs: &[RunId]) -> bool {
        self.levels(runs)
            .any(|candidate| candidate.at.len() >= 2 * self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{RunForm, RunKind};

    /// Makes runs with these levels and times.
    fn runs(levels: &[(u8, u64)]) -> Vec<RunId> {
        let run = |(i, &(level, last_time))| RunId {
            kind: RunKind::Messages,
            form: RunForm::Positions,
            level,
            number: i as u64,
            from: i as u64,
            to: i as u64 + 1,
            last_time,
        };
        levels.iter().enumerate().map(run).collect()
    }

    fn at_once(levels: &[u8]) -> Vec<RunId> {
        let levels: Vec<_> = levels.iter().map(|&level| (level, 0)).collect();
        runs(&levels)
    }

    fn rule(window: Option<u64>, now: u64) -> MergeRule {
        MergeRule {
            width: 3,
            window,
            now,
        }
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
            // A small run between larger ones is merged with them.
            (&[2, 0, 1, 1, 0], Some((1..4, 1))),
        ] {
            let found = rule(None, 1000).mergeable(&at_once(levels));
            let expected = expected.map(|(at, level)| MergeCandidate { at, level });
            assert_eq!(found, expected, "{levels:?}");
        }
    }

    #[test]
    fn all_that_is_wide_enough_is_due_at_once() {
        let due = |rule: MergeRule, runs: &[RunId]| {
            let due = rule.due(runs).into_iter();
            due.map(|found| (found.at.start, found.at.end))
                .collect::<Vec<_>>()
        };
        let never = rule(None, 1000);
        assert_eq!(due(never, &at_once(&[0, 0])), []);
        assert_eq!(due(never, &at_once(&[1, 1, 1, 0, 0, 0])), [(3, 6), (0, 3)]);
        // Two runs of a complete window, and one of the present window.
        let windows = runs(&[(0, 100), (0, 150), (0, 1000)]);
        assert_eq!(due(rule(Some(500), 1000), &windows), [(0, 2)]);
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
            let found = rule(None, 0).in_debt(&at_once(levels));
            assert_eq!(found, expected, "{levels:?}");
        }
    }

    #[test]
    fn windows_are_merged_apart_and_to_one_file_once_they_are_over() {
        for (levels, now, expected) in [
            // Each window is 10 ms long.
            (&[(0, 8), (0, 9), (0, 10)][..], 15, Some((0..2, 0))),
            (&[(0, 8), (0, 9), (0, 10)], 0, None),
            (&[(0, 9), (0, 10), (0, 11)], 15, None),
            (&[(0, 10), (0, 11), (0, 19)], 19, Some((0..3, 0))),
            (&[(2, 10), (1, 11), (0, 19)], 19, None),
            (&[(2, 10), (1, 11), (0, 19)], 20, Some((0..3, 2))),
            // The window that is still written to is merged first.
            (
                &[(0, 1), (0, 1), (0, 11), (0, 12), (0, 13)],
                15,
                Some((2..5, 0)),
            ),
            (&[(3, 1), (3, 11), (3, 21)], 99, None),
            // If the time went back, each stretch of neighbouring runs of a window is merged on its
            // own.
            (&[(0, 1), (0, 11), (0, 2), (0, 3)], 99, Some((2..4, 0))),
        ] {
            let found = rule(Some(10), now).mergeable(&runs(levels));
            let expected = expected.map(|(at, level)| MergeCandidate { at, level });
            assert_eq!(found, expected, "{levels:?} at {now}");
        }
    }

    #[test]
    fn many_windows_are_no_debt() {
        let windows: Vec<_> = (0..30).map(|window| (4, window * 10)).collect();
        assert!(!rule(Some(10), 300).in_debt(&runs(&windows)));
        assert!(rule(None, 300).in_debt(&runs(&windows)));
    }
}
