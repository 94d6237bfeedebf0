//! The bootstrap: how far from its estimate the centre of a sample may lie.
//!
//! This is the percentile interval of B. Efron ("Bootstrap Methods: Another Look at the Jackknife",
//! Annals of Statistics 7 (1979) 1-26). It draws many samples of the same size from the sample,
//! with repetition. The interval holds the middle part of their centres.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

use super::centre::hodges_lehmann_in;

/// The number of samples that an interval draws.
pub(in crate::compare) const RESAMPLES: usize = 4_000;

/// An interval, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::compare) struct Interval {
    pub(in crate::compare) low: f64,
    pub(in crate::compare) high: f64,
}

/// Returns the interval of a sample's Hodges-Lehmann estimate at a confidence of 0 to 1. The same
/// seed gives the same interval. Returns `None` for an empty sample.
pub(in crate::compare) fn interval(
    values: &[f64],
    confidence: f64,
    seed: u64,
    resamples: usize,
) -> Option<Interval> {
    if values.is_empty() {
        return None;
    }
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut centres = centres(
        resamples,
        || {
            let drawn = random.random_range(0..values.len());
            values[drawn]
        },
        values.len(),
    );
    let beyond = (1.0 - confidence) / 2.0;
    Some(Interval {
        low: quantile(&mut centres, beyond)?,
        high: quantile(&mut centres, 1.0 - beyond)?,
    })
}

/// Returns the centres of `resamples` samples of `size` values each. `draw` gives one value.
pub(super) fn centres(resamples: usize, mut draw: impl FnMut() -> f64, size: usize) -> Vec<f64> {
    let (mut sample, mut means) = (vec![0.0; size], Vec::new());
    let centre = |_| {
        sample.fill_with(&mut draw);
        hodges_lehmann_in(&sample, &mut means)
    };
    (0..resamples).filter_map(centre).collect()
}

/// Returns the quantile of `values` at `part`, 0 to 1. Returns `None` for no values.
pub(super) fn quantile(values: &mut [f64], part: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let at = (part * last as f64).round() as usize;
    let (_, value, _) = values.select_nth_unstable_by(at.min(last), f64::total_cmp);
    Some(*value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: [f64; 9] = [
        0.952, -0.147, 1.022, 0.430, 0.620, 0.590, 0.490, -0.080, 0.010,
    ];

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let of = |seed| interval(&SAMPLE, 0.95, seed, 2_000).unwrap();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    /// The exact interval that belongs to the test is -0.010 to 0.786 at 96.1 % (Hollander and
    /// Wolfe, chapter 3.3). The bootstrap's interval is near it, and narrower, because the sample
    /// is small.
    #[test]
    fn it_comes_near_the_exact_one() {
        let found = interval(&SAMPLE, 0.961, 7, RESAMPLES).unwrap();
        assert!((found.low - 0.08).abs() < 0.1, "{found:?}");
        assert!((found.high - 0.786).abs() < 0.1, "{found:?}");
        let wider = interval(&SAMPLE, 0.999, 7, RESAMPLES).unwrap();
        assert!(wider.low < found.low && wider.high > found.high);
    }

    #[test]
    fn where_all_values_are_equal_there_is_no_doubt() {
        let found = interval(&[0.5; 10], 0.99, 1, 100).unwrap();
        assert_eq!((found.low, found.high), (0.5, 0.5));
        assert_eq!(interval(&[], 0.99, 1, 100), None);
    }

    #[test]
    fn quantiles_are_of_the_values() {
        let mut values: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&mut values, 0.05), Some(5.0));
        assert_eq!(quantile(&mut values, 1.0), Some(100.0));
        assert_eq!(quantile(&mut [], 0.5), None);
    }
}
