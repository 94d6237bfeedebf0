//! Wilcoxon's signed-rank test, exact.
//!
//! Source: F. Wilcoxon, "Individual Comparisons by Ranking Methods", Biometrics Bulletin 1 (1945)
//! 80-83. Ties follow M. Hollander, D. Wolfe, "Nonparametric Statistical Methods" (1973), chapter
//! 3.1: equal sizes share the mean of their ranks, and differences of zero are left out. Rust's
//! statistics libraries have only the test for unpaired samples (Mann-Whitney).

/// The most differences that the test takes. The test counts the distribution exactly, in time that
/// grows with the third power of this number.
pub(in crate::compare) const DIFFERENCES_MAX: usize = 100;

/// The result of the signed-rank test of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::compare) struct SignedRank {
    /// The number of differences other than zero.
    pub(in crate::compare) n: usize,
    /// The smaller of two sums of ranks: of the differences above zero, and of those below.
    pub(in crate::compare) w: f64,
    /// The probability, 0 to 1, that random signs give this sum or a smaller one, on either side.
    pub(in crate::compare) p: f64,
}

/// Tests, two-sided, whether differences lie symmetrically around zero. Looks at the first
/// [`DIFFERENCES_MAX`] only; callers refuse longer samples.
pub(in crate::compare) fn signed_rank(differences: &[f64]) -> SignedRank {
    let some = differences.iter().take(DIFFERENCES_MAX);
    let mut sizes: Vec<f64> = some.copied().filter(|it| *it != 0.0).collect();
    sizes.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let n = sizes.len();
    // Twice the ranks: the mean of neighbouring ranks is a whole number or a half.
    let mut ranks = Vec::with_capacity(n);
    while ranks.len() < n {
        let first = ranks.len();
        let size = sizes[first].abs();
        let same = sizes[first..]
            .iter()
            .take_while(|it| it.abs() == size)
            .count();
        // Ranks first + 1 to first + same: twice their mean is their sum's ends.
        ranks.extend(std::iter::repeat_n(2 * first + same + 1, same));
    }
    let above = sizes.iter().zip(&ranks).filter(|(size, _)| **size > 0.0);
    let above: usize = above.map(|(_, rank)| rank).sum();
    let all: usize = ranks.iter().sum();
    let least = above.min(all - above);
    SignedRank {
        n,
        w: least as f64 / 2.0,
        p: (2.0 * at_most(&ranks, least)).min(1.0),
    }
}

/// Returns the part of all choices of signs whose sum of positive ranks is at most `most`. Counts,
/// rank after rank, how many choices give each sum.
fn at_most(ranks: &[usize], most: usize) -> f64 {
    let mut part = vec![0.0; most + 1];
    part[0] = 1.0;
    for rank in ranks {
        for sum in (0..=most).rev() {
            let with = sum.checked_sub(*rank).map_or(0.0, |rest| part[rest]);
            part[sum] = (part[sum] + with) / 2.0;
        }
    }
    part.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns differences of sizes 1 to `n` whose smaller sum of ranks is `w`.
    fn sample(n: usize, w: usize) -> Vec<f64> {
        let mut left = w;
        let mut values = Vec::new();
        for size in (1..=n).rev() {
            let negative = size <= left;
            left -= if negative { size } else { 0 };
            values.push(if negative { -1.0 } else { 1.0 } * size as f64);
        }
        assert_eq!(left, 0);
        values
    }

    /// Two-sided critical values of S. Siegel, "Nonparametric Statistics for the Behavioral
    /// Sciences" (1956), table G, from n = 10. From there published tables agree with each other.
    #[test]
    fn critical_values_are_those_of_published_tables() {
        const FIVE: [usize; 16] = [
            8, 10, 13, 17, 21, 25, 29, 34, 40, 46, 52, 58, 65, 73, 81, 89,
        ];
        const ONE: [usize; 16] = [3, 5, 7, 9, 12, 15, 19, 23, 27, 32, 37, 42, 48, 54, 61, 68];
        for (level, table) in [(0.05, FIVE), (0.01, ONE)] {
            for (n, critical) in (10..).zip(table) {
                let p = |w| signed_rank(&sample(n, w)).p;
                assert_eq!(signed_rank(&sample(n, critical)).w, critical as f64);
                assert!(p(critical) <= level, "{n}: {}", p(critical));
                assert!(p(critical + 1) > level, "{n}: {}", p(critical + 1));
            }
        }
    }

    /// Depression scores of nine patients before and after a tranquillizer: Hollander and Wolfe
    /// (1973), table 3.1. R's `example(wilcox.test)` prints the same result.
    #[test]
    fn the_example_of_hollander_and_wolfe() {
        let differences = [
            0.952, -0.147, 1.022, 0.430, 0.620, 0.590, 0.490, -0.080, 0.010,
        ];
        let test = signed_rank(&differences);
        assert_eq!((test.n, test.w), (9, 5.0));
        assert_eq!(test.p, 20.0 / 512.0);
    }

    /// Maize heights in eighths of an inch, of C. Darwin, "The Effects of Cross and Self
    /// Fertilisation in the Vegetable Kingdom" (1876). The exact probability is 1,352 of 32,768
    /// choices of signs.
    #[test]
    fn the_maize_of_darwin() {
        let eighths = [
            49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48_i32,
        ];
        let test = signed_rank(&eighths.map(f64::from));
        assert_eq!((test.n, test.w), (15, 24.0));
        assert!((test.p - 0.041_259_765_625).abs() < 1e-12, "{}", test.p);
    }

    #[test]
    fn ties_share_their_ranks_and_zeros_are_left_out() {
        // Ranks 1.5, 1.5, 3, 4.5, 4.5. To come to 1.5 or less below zero: none or one of the two
        // smallest, 3 of 32 choices of signs.
        let test = signed_rank(&[0.0, 1.0, -1.0, 2.0, 3.0, 3.0, 0.0]);
        assert_eq!((test.n, test.w), (5, 1.5));
        assert_eq!(test.p, 6.0 / 32.0);
        assert_eq!(signed_rank(&[0.0, 0.0]).p, 1.0);
        assert_eq!(signed_rank(&[]).p, 1.0);
    }
}
