//! The noise floor: how large a difference between equal builds can be.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

use super::bootstrap::{centres, quantile};

/// The part of the comparisons of a build with itself whose difference stays below the floor.
const PART: f64 = 0.95;

/// Returns the noise floor of a comparison of `pairs` pairs: in 19 of 20 comparisons of a build
/// with itself, the centre of the differences stays below it, in either direction. Returns 0 if
/// `equal` is empty.
///
/// `equal` holds the differences between runs of one build. The order of two equal runs is chance,
/// so each difference is drawn with a random sign.
pub(in crate::compare) fn floor(equal: &[f64], pairs: usize, seed: u64, resamples: usize) -> f64 {
    if equal.is_empty() || pairs == 0 {
        return 0.0;
    }
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let draw = || {
        let drawn = equal[random.random_range(0..equal.len())];
        if random.random::<bool>() {
            drawn
        } else {
            -drawn
        }
    };
    let mut sizes = centres(resamples, draw, pairs);
    for size in &mut sizes {
        *size = size.abs();
    }
    quantile(&mut sizes, PART).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For normal differences with deviation 1, the centre of n differences deviates by about 1/√n.
    /// 95 % of the centres lie within 1.96 times that. The estimator needs 1.047 times as many
    /// values as a mean.
    #[test]
    fn it_is_what_chance_alone_comes_to() {
        use rand_distr::Distribution as _;
        let mut random = Xoshiro256PlusPlus::seed_from_u64(3);
        let normal = rand_distr::Normal::new(0.0, 1.0).unwrap();
        let equal: Vec<f64> = (0..4_000).map(|_| normal.sample(&mut random)).collect();
        for pairs in [10, 40] {
            let found = floor(&equal, pairs, 1, 4_000);
            let expected = 1.96 * (1.047 / pairs as f64).sqrt();
            assert!((found / expected - 1.0).abs() < 0.08, "{found} {expected}");
        }
    }

    #[test]
    fn its_sign_is_chance_and_its_seed_decides() {
        // A machine that only ever got slower: of many, as many have the one sign as the other.
        let slower = [0.05, 0.1, 0.15];
        let found = floor(&slower, 100, 1, 400);
        assert!(found > 0.0 && found < 0.05, "{found}");
        assert_eq!(found, floor(&slower, 100, 1, 400));
        assert_eq!(floor(&[], 10, 1, 1_000), 0.0);
    }
}
