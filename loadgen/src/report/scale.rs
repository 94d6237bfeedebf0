//! A logarithmic axis: powers of ten, with 2 and 5 between them where there is room.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

/// Up to this many powers of ten, the steps 2 and 5 between them are labelled too.
const FEW: f64 = 2.5;

/// An axis from a round number to a round number, both above 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Powers {
    from: f64,
    to: f64,
}

impl Powers {
    /// Returns an axis with round ends that has room for these values.
    pub(super) fn around(low: f64, high: f64) -> Self {
        let low = if low.is_finite() && low > 0.0 {
            low
        } else {
            1.0
        };
        let from = steps(low / 10.0).take_while(|step| *step <= low).last();
        let from = from.unwrap_or(low);
        let least = high.max(from * 5.0);
        let to = steps(least).find(|step| *step >= least);
        Self {
            from,
            to: to.unwrap_or(least),
        }
    }

    /// Returns the ends of the axis.
    pub(super) fn ends(&self) -> (f64, f64) {
        (self.from, self.to)
    }
}

/// Returns 1, 2, 5, 10, 20, … from the power of ten at or below `low` on.
fn steps(low: f64) -> impl Iterator<Item = f64> {
    let first = low.log10().floor() as i32;
    (first..first + 40).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power)))
}

impl Ranged for Powers {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let part = (value / self.from).ln() / (self.to / self.from).ln();
        limit.0 + (part * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        let few = (self.to / self.from).log10() <= FEW;
        let is_power = |step: &f64| (step.log10() - step.log10().round()).abs() < 1e-9;
        steps(self.from)
            .filter(|step| *step >= self.from * 0.999)
            .take_while(|step| *step <= self.to * 1.001)
            .filter(|step| few || is_power(step))
            .collect()
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

#[cfg(test)]
mod tests {
    use plotters::coord::ranged1d::BoldPoints;

    use super::*;

    #[test]
    fn few_powers_have_steps_between_them() {
        for (low, high, labels) in [
            (12.0, 60.0, &[10.0, 20.0, 50.0, 100.0][..]),
            (300.0, 900.0, &[200.0, 500.0, 1_000.0]),
            (7.0, 7.0, &[5.0, 10.0, 20.0, 50.0]),
            (3.0, 4e5, &[10.0, 100.0, 1e3, 1e4, 1e5]),
            (f64::INFINITY, 0.0, &[1.0, 2.0, 5.0]),
        ] {
            let axis = Powers::around(low, high);
            let points = axis.key_points(BoldPoints(6));
            assert_eq!(points.len(), labels.len(), "{low}..{high}: {points:?}");
            for (point, label) in points.iter().zip(labels) {
                assert!(
                    (point / label - 1.0).abs() < 1e-9,
                    "{low}..{high}: {points:?}"
                );
            }
        }
    }

    #[test]
    fn ends_are_at_the_ends() {
        let axis = Powers::around(10.0, 1_000.0);
        assert_eq!(axis.ends(), (10.0, 1_000.0));
        assert_eq!(axis.map(&10.0, (300, 0)), 300);
        assert_eq!(axis.map(&100.0, (300, 0)), 150);
        assert_eq!(axis.map(&1_000.0, (300, 0)), 0);
    }
}
