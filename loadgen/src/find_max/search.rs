//! The search for a rate: decides which rate to try next. Pure.

/// The number of rates that did the contrary of what they did before, after which the limit counts as
/// unknown.
const CONTRADICTIONS: u32 = 8;

/// The next step of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Next {
    /// Try this rate.
    Try(f64),
    /// The highest rate that holds. `at_the_top` tells that it is the
    /// highest rate of the range, so that the limit may be higher.
    Found { rate: f64, at_the_top: bool },
    /// No rate holds.
    Nothing,
    /// Rates hold once and not again.
    Inconclusive,
}

/// The range of a search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    /// The first rate to try.
    pub(super) first: f64,
    /// The lowest rate that is worth trying.
    pub(super) lowest: f64,
    pub(super) top: f64,
}

/// A search, in four steps:
///
/// 1. Double the rate until one does not hold.
/// 2. Halve the gap until it is as narrow as asked.
/// 3. Try the rate above the gap again. If it holds now, one bad trial has stopped the search: the
///    search goes on above that rate.
/// 4. Try the rate below the gap again until it has held as often as asked. If it does not hold
///    again, try a lower rate.
#[derive(Debug)]
pub(super) struct Search {
    range: Range,
    precision: f64,
    confirm: u32,
    /// The highest rate that held.
    low: Option<f64>,
    /// The lowest rate above `low` that did not hold.
    high: Option<f64>,
    /// The rates above `high` that did not hold, the lowest last.
    higher: Vec<f64>,
    /// The last of these rates that did not hold twice.
    sure: Option<f64>,
    /// The rate that is being confirmed, and how often it held.
    candidate: Option<(f64, u32)>,
    /// How often a rate did the contrary of what it did before.
    contradictions: u32,
}

impl Search {
    /// Makes a search in `range`. It ends when the highest rate that held and the lowest that did
    /// not are `precision` apart (a part of the rate), and the found rate has held `confirm` more
    /// times.
    pub(super) fn new(range: Range, precision: f64, confirm: u32) -> Self {
        Self {
            range,
            precision,
            confirm,
            low: None,
            high: None,
            higher: Vec::new(),
            sure: None,
            candidate: None,
            contradictions: 0,
        }
    }

    /// Returns the next step.
    pub(super) fn next(&self) -> Next {
        if self.contradictions >= CONTRADICTIONS {
            return Next::Inconclusive;
        }
        if let Some((rate, held)) = self.candidate {
            return match held < self.confirm {
                true => Next::Try(rate),
                false => Next::Found {
                    rate,
                    at_the_top: rate >= self.range.top,
                },
            };
        }
        match (self.low, self.high) {
            (None, None) => Next::Try(self.range.first.min(self.range.top)),
            (Some(low), None) => Next::Try((low * 2.0).min(self.range.top)),
            (None, Some(high)) if high / 2.0 < self.range.lowest => Next::Nothing,
            (None, Some(high)) => Next::Try(high / 2.0),
            (Some(low), Some(high)) if self.is_close(low) => Next::Try(high),
            (Some(low), Some(high)) => Next::Try((low * high).sqrt()),
        }
    }

    /// Returns whether the next trial repeats a rate that was tried before.
    pub(super) fn repeats(&self) -> bool {
        self.candidate.is_some() || self.low.is_some_and(|low| self.is_close(low))
    }

    /// Notes whether a rate that was tried held.
    pub(super) fn note(&mut self, rate: f64, held: bool) {
        if let Some((candidate, count)) = &mut self.candidate {
            if held {
                *count += 1;
            } else {
                self.contradictions += 1;
                *candidate *= 1.0 - self.precision;
                *count = 0;
            }
            return;
        }
        let again = self.high == Some(rate);
        match held {
            true if again => {
                self.contradictions += 1;
                self.low = Some(rate);
                self.high = self.higher.pop();
            }
            true => self.low = Some(rate),
            false if again => self.sure = Some(rate),
            false => self.higher.extend(self.high.replace(rate)),
        }
        let is_sure = self.high.is_none() || self.high == self.sure;
        if let Some(low) = self.low.filter(|low| is_sure && self.is_close(*low)) {
            self.candidate = Some((low, 0));
        }
    }

    /// Returns whether the gap above a rate that held is as narrow as asked.
    fn is_close(&self, low: f64) -> bool {
        match self.high {
            Some(high) => high <= low * (1.0 + self.precision),
            None => low >= self.range.top,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches where every rate up to `capacity` holds. Returns how many rates were tried.
    fn search(first: f64, top: f64, capacity: impl Fn(u32) -> f64) -> (Next, u32) {
        let range = Range {
            first,
            lowest: 0.5,
            top,
        };
        let mut search = Search::new(range, 0.05, 3);
        for tried in 0..200 {
            match search.next() {
                Next::Try(rate) => search.note(rate, rate <= capacity(tried)),
                end => return (end, tried),
            }
        }
        panic!("{search:?} does not end");
    }

    #[test]
    fn the_highest_rate_is_found_from_below_and_from_above() {
        for capacity in [1.5, 100.0, 12_345.0, 99_999.0] {
            for first in [1.0, 1000.0] {
                let (end, tried) = search(first, 1e9, |_| capacity);
                let Next::Found { rate, at_the_top } = end else {
                    panic!("{capacity} from {first}: {end:?}")
                };
                assert!(!at_the_top);
                assert!(
                    rate <= capacity && rate * 1.05 >= capacity,
                    "{capacity} from {first}: {rate}"
                );
                assert!(tried < 30, "{capacity} from {first}: {tried} trials");
            }
        }
    }

    #[test]
    fn what_holds_at_the_top_says_so() {
        let (end, tried) = search(1000.0, 5000.0, |_| 1e6);
        let found = Next::Found {
            rate: 5000.0,
            at_the_top: true,
        };
        // 1,000, 2,000, 4,000, 5,000, and three times again.
        assert_eq!((end, tried), (found, 7));
        assert_eq!(search(9000.0, 5000.0, |_| 1e6), (found, 4));
    }

    #[test]
    fn where_nothing_holds_nothing_is_found() {
        let (end, tried) = search(1000.0, 1e9, |_| 0.0);
        assert_eq!(end, Next::Nothing);
        // 1,000, 500, … 0.98: half of that is below the lowest.
        assert_eq!(tried, 11);
    }

    #[test]
    fn what_does_not_hold_again_is_not_the_answer() {
        // A machine that gets slower: everything later holds a fifth less.
        let (end, _) = search(
            1000.0,
            1e9,
            |tried| if tried < 9 { 10_000.0 } else { 8_000.0 },
        );
        let Next::Found { rate, .. } = end else {
            panic!("{end:?}")
        };
        assert!((7_500.0..=8_000.0).contains(&rate), "{rate}");
        // A gateway that never repeats its last result.
        let moody = |tried: u32| if tried < 9 { 10_000.0 } else { 0.0 };
        assert_eq!(search(1000.0, 1e9, moody).0, Next::Inconclusive);
    }

    #[test]
    fn one_bad_trial_does_not_hide_what_holds_above_it() {
        for bad in 0..12 {
            let capacity = |tried: u32| if tried == bad { 0.0 } else { 10_000.0 };
            let (end, tried) = search(1000.0, 1e9, capacity);
            let Next::Found { rate, .. } = end else {
                panic!("trial {bad}: {end:?}")
            };
            // A bad trial of the confirmation costs one step downwards.
            assert!((9_000.0..=10_000.0).contains(&rate), "trial {bad}: {rate}");
            assert!(tried < 40, "trial {bad}: {tried} trials");
        }
    }

    #[test]
    fn a_limit_that_swings_is_not_decided() {
        let swings = |tried: u32| {
            if tried.is_multiple_of(2) {
                10_000.0
            } else {
                10.0
            }
        };
        let (end, tried) = search(1000.0, 1e9, swings);
        assert_eq!(end, Next::Inconclusive);
        assert!(tried < 100, "{tried} trials");
    }
}
