//! What rounds of turns say about a bound: their median, its interval, and a verdict.
//!
//! On a busy machine one round says little. The turns of one round follow each other and see the same noise, so
//! each round gives one value, such as a factor, and all of them together decide.

use serde::Serialize;

/// The number of samples of the bootstrap.
const SAMPLES: usize = 2_000;

/// The part of the samples that lies outside the interval on each side.
const OUTSIDE: f64 = 0.025;

/// What rounds say about the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The whole interval is within the bound.
    Within,
    /// The whole interval is beyond the bound.
    Beyond,
    /// The bound lies in the interval: more rounds or a quieter machine may tell.
    Undecided,
}

impl Verdict {
    /// Judges the values of rounds, of which less is better. Without rounds, nothing is decided.
    #[must_use]
    pub fn of(values: &[f64], bound: f64) -> Self {
        let [low, high] = interval(values);
        if values.is_empty() {
            Self::Undecided
        } else if high <= bound {
            Self::Within
        } else if low > bound {
            Self::Beyond
        } else {
            Self::Undecided
        }
    }

    /// Returns the word for a table.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Within => "within",
            Self::Beyond => "beyond",
            Self::Undecided => "undecided",
        }
    }
}

/// Returns the median, which of an even number of values is the mean of the middle two; 0 without values.
#[must_use]
pub fn middle(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let (below, above) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match values.get(below).zip(values.get(above)) {
        Some((below, above)) => f64::midpoint(*below, *above),
        None => 0.0,
    }
}

/// Returns the 95 % interval of the median by the bootstrap. The same values always give the same interval.
#[must_use]
pub fn interval(values: &[f64]) -> [f64; 2] {
    if values.is_empty() {
        return [0.0; 2];
    }
    // The constants of Knuth's MMIX; the upper bits are good.
    let mut state = 1_u64;
    let mut pick = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        values[(state >> 33) as usize % values.len()]
    };
    let mut medians: Vec<_> = (0..SAMPLES)
        .map(|_| middle(&mut (0..values.len()).map(|_| pick()).collect::<Vec<_>>()))
        .collect();
    medians.sort_unstable_by(f64::total_cmp);
    let cut = (SAMPLES as f64 * OUTSIDE) as usize;
    [medians[cut], medians[SAMPLES - 1 - cut]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_the_median_decides() {
        let factors = [0.98, 1.0, 1.01, 1.02, 1.03, 1.04, 3.0];
        assert!((middle(&mut factors.clone()) - 1.02).abs() < 1e-9);
        let [low, high] = interval(&factors);
        assert!((0.98..1.02).contains(&low) && (1.02..3.1).contains(&high));
        assert_eq!(Verdict::of(&factors, 0.9), Verdict::Beyond);
        assert_eq!(Verdict::of(&factors, 1.02), Verdict::Undecided);
        assert_eq!(Verdict::of(&factors, 3.0), Verdict::Within);
    }

    #[test]
    fn without_rounds_nothing_is_decided() {
        assert_eq!(Verdict::of(&[], 1.05), Verdict::Undecided);
        assert!(middle(&mut []).abs() < 1e-9);
    }
}
