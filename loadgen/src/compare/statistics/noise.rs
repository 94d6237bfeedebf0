//! How large a difference comes of nothing.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

use super::bootstrap::{centres, quantile};

/// What part of comparisons of a build with itself comes to less than the floor.
const PART: f64 = 0.95;

/// The noise floor of a comparison of `pairs` pairs: what the centre of so many differences between
/// equal runs stays below, either way, 19 times in 20. `equal` are differences between runs of one
/// build; which of two runs came first is chance, so each is drawn with either sign. 0 of nothing.
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

    /// Of normal differences with deviation 1, the centre of n deviates by about 1/√n, and 95 % of it
    /// lie within 1.96 of that; the estimator needs 1.047 times the values that a mean needs.
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
