//! The rate of messages over a day.

use serde::{Deserialize, Serialize};

use super::Curve;

/// The shape of a day: when users write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Shape {
    /// Busy around noon, busier in the evening, quiet at night.
    #[default]
    TwoHump,
    /// Busy in the evening alone.
    OneHump,
}

/// The number of pieces of a day; each is a quarter of an hour.
const PIECES: u32 = 96;
/// The rate at night as a part of the highest rate.
const NIGHT: f64 = 0.08;
/// The largest exponent of the shape: beyond it, one piece of the day has all messages.
const SHARPEST: f64 = 256.0;

impl Shape {
    /// Returns the rate at an hour of the day, from 0 to 24, as a part of the highest rate.
    fn at(self, hour: f64) -> f64 {
        let hump = |noon: f64, width: f64| {
            // The day before and the day after reach in.
            [-24.0, 0.0, 24.0].map(|day| (-((hour - noon - day) / width).powi(2) / 2.0).exp())
        };
        let sum = |humps: [f64; 3]| humps.iter().sum::<f64>();
        NIGHT
            + match self {
                Self::TwoHump => 0.8 * sum(hump(12.0, 2.6)) + sum(hump(20.5, 2.0)),
                Self::OneHump => sum(hump(20.0, 3.0)),
            }
    }

    /// Returns the day as corners from 0 to 1, with a mean of 1 and a peak of `peak`: the shape
    /// raised to the power that gives this peak. `None` if no power gives it.
    fn corners(self, peak: f64) -> Option<Vec<(f64, f64)>> {
        let shape: Vec<f64> = (0..=PIECES)
            .map(|i| self.at(f64::from(i) * 24.0 / f64::from(PIECES)))
            .collect();
        let most = shape.iter().copied().fold(0.0, f64::max);
        let raised = |power: f64| -> Vec<f64> {
            let raised = shape.iter().map(|at| (at / most).powf(power));
            raised.collect()
        };
        // Trapezoids, as the curve has them; the most is 1.
        let mean = |raised: &[f64]| {
            let ends = (raised[0] + raised[raised.len() - 1]) / 2.0;
            (raised.iter().sum::<f64>() - ends) / f64::from(PIECES)
        };
        if !(1.0..=1.0 / mean(&raised(SHARPEST))).contains(&peak) {
            return None;
        }
        let (mut low, mut high) = (0.0, SHARPEST);
        for _ in 0..64 {
            let middle = f64::midpoint(low, high);
            if 1.0 / mean(&raised(middle)) < peak {
                low = middle;
            } else {
                high = middle;
            }
        }
        let raised = raised(high);
        let mean = mean(&raised);
        let corners = raised
            .iter()
            .enumerate()
            .map(|(i, at)| (i as f64 / f64::from(PIECES), at / mean));
        Some(corners.collect())
    }

    /// Returns a day of `seconds` seconds with this mean rate, and a peak of `peak` times that
    /// rate. `None` if the shape cannot be that steep.
    pub(crate) fn day(self, mean: f64, peak: f64, seconds: f64) -> Option<Curve> {
        let corners = self.corners(peak)?.into_iter();
        let corners: Vec<_> = corners.map(|(at, y)| (at * seconds, y * mean)).collect();
        Some(Curve::through(&corners))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_the_mean_and_the_peak_that_were_asked_for() {
        for shape in [Shape::TwoHump, Shape::OneHump] {
            for peak in [1.0, 1.3, 2.0, 4.0, 8.0] {
                let day = shape.day(50.0, peak, 600.0).unwrap();
                assert!((day.mean() - 50.0).abs() < 1e-6, "{shape:?} {peak}");
                assert_eq!(day.seconds(), 600.0);
                let corners = shape.corners(peak).unwrap();
                let most = corners.iter().map(|corner| corner.1).fold(0.0, f64::max);
                assert!((most - peak).abs() < 1e-6, "{shape:?} {peak}: {most}");
            }
            assert!(shape.day(50.0, 0.9, 600.0).is_none());
            assert!(shape.day(50.0, 1000.0, 600.0).is_none());
        }
    }

    /// Returns the part of a day's events up to an hour.
    fn up_to(day: &Curve, hour: f64) -> f64 {
        let events = day.mean() * day.seconds();
        let count = (0..1000).take_while(|i| day.time_of(f64::from(*i) / 1000.0 * events) < hour);
        count.count() as f64 / 1000.0
    }

    #[test]
    fn nights_are_quiet_and_evenings_busy() {
        let day = Shape::TwoHump.day(1.0, 2.0, 24.0).unwrap();
        let part = |from, to| up_to(&day, to) - up_to(&day, from);
        assert!(part(0.0, 6.0) < 0.08);
        assert!(part(10.0, 14.0) > 4.0 / 24.0);
        assert!(part(16.0, 17.0) < part(12.0, 13.0));
        assert!(part(19.0, 22.0) > part(11.0, 14.0));
        let evening = Shape::OneHump.day(1.0, 2.0, 24.0).unwrap();
        assert!(up_to(&evening, 14.0) < 0.35);
    }
}
