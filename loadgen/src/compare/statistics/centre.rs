//! Estimates of the centre of a sample.

/// Returns the median: the middle value, or the mean of the two middle values. Returns `None` for
/// no values.
pub(in crate::compare) fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    middle(&mut values)
}

/// Returns the Hodges-Lehmann estimate: the median of the means of all pairs of values, where each
/// value also forms a pair with itself. Returns `None` for no values.
///
/// It belongs to the signed-rank test: J. Hodges and E. Lehmann, "Estimates of Location Based on
/// Rank Tests", Annals of Mathematical Statistics 34 (1963) 598-611.
pub(in crate::compare) fn hodges_lehmann(values: &[f64]) -> Option<f64> {
    hodges_lehmann_in(values, &mut Vec::new())
}

/// Returns the Hodges-Lehmann estimate, like `hodges_lehmann`, and keeps the means in `means`, so
/// that repeated calls do not allocate.
pub(super) fn hodges_lehmann_in(values: &[f64], means: &mut Vec<f64>) -> Option<f64> {
    means.clear();
    for (i, one) in values.iter().enumerate() {
        means.extend(values[i..].iter().map(|other| f64::midpoint(*one, *other)));
    }
    middle(means)
}

fn middle(values: &mut [f64]) -> Option<f64> {
    let n = values.len();
    if n == 0 {
        return None;
    }
    let (below, upper, _) = values.select_nth_unstable_by(n / 2, f64::total_cmp);
    let upper = *upper;
    let lower = below.iter().copied().max_by(f64::total_cmp);
    match lower {
        Some(lower) if n.is_multiple_of(2) => Some(f64::midpoint(lower, upper)),
        _ => Some(upper),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[5.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(&[5.0, 1.0, 3.0, 4.0]), Some(3.5));
    }

    /// Hollander and Wolfe (1973), chapter 3.2, give 0.46 for their table 3.1.
    #[test]
    fn the_example_of_hollander_and_wolfe() {
        let differences = [
            0.952, -0.147, 1.022, 0.430, 0.620, 0.590, 0.490, -0.080, 0.010,
        ];
        let estimate = hodges_lehmann(&differences).unwrap();
        assert!((estimate - 0.46).abs() < 1e-9, "{estimate}");
        assert_eq!(hodges_lehmann(&[]), None);
        assert_eq!(hodges_lehmann(&[2.0, 4.0]), Some(3.0));
    }
}
