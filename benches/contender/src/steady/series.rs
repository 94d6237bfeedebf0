//! The rate of each second.

use std::time::Duration;

/// The shortest step of a series.
const STEP: Duration = Duration::from_secs(1);

/// The number of seconds at the start and at the end that are compared.
const END: usize = 20;

/// The rates of a measurement, second by second.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// The time and the count at the end of the last whole step.
    last: (Duration, u64),
    /// The time and the count that were entered last.
    now: (Duration, u64),
    /// The rate per second of each whole step.
    rates: Vec<f64>,
}

impl Series {
    /// Enters the count at a time, both since the start. Returns whether that ended a step: the
    /// first time that is a second or more after the end of the step before.
    pub fn enter(&mut self, time: Duration, count: u64) -> bool {
        self.now = (time, count);
        let (from, before) = self.last;
        let step = time.saturating_sub(from);
        if step < STEP {
            return false;
        }
        self.rates
            .push(count.saturating_sub(before) as f64 / step.as_secs_f64());
        self.last = self.now;
        true
    }

    /// Returns the time that was entered last.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.now.0
    }

    /// Returns the count that was entered last.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.now.1
    }

    /// Returns the rate of each whole step.
    #[must_use]
    pub fn rates(&self) -> &[f64] {
        &self.rates
    }

    /// Returns the count per second over all the time; NaN without any time.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.now.1 as f64 / self.now.0.as_secs_f64()
    }

    /// Returns the lowest rate of a second; NaN without a whole second.
    #[must_use]
    pub fn worst(&self) -> f64 {
        self.rates.iter().copied().fold(f64::NAN, f64::min)
    }

    /// Returns the lowest rate of a second, divided by the mean; NaN without a whole second.
    #[must_use]
    pub fn worst_of_mean(&self) -> f64 {
        self.worst() / self.mean()
    }

    /// Returns the mean rate of the last 20 s divided by that of the first 20 s. A series of less
    /// than 40 s has shorter ends: half of the series each. NaN for less than 2 s.
    #[must_use]
    pub fn last_of_first(&self) -> f64 {
        let end = END.min(self.rates.len() / 2);
        let mean = |rates: &[f64]| rates.iter().sum::<f64>() / rates.len() as f64;
        mean(&self.rates[self.rates.len() - end..]) / mean(&self.rates[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a series with these rates.
    fn series(rates: &[u64]) -> Series {
        let mut series = Series::default();
        let mut count = 0;
        for (at, rate) in rates.iter().enumerate() {
            count += rate;
            assert!(series.enter(Duration::from_secs(at as u64 + 1), count));
        }
        series
    }

    fn same(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn the_worst_second_stands_beside_the_mean() {
        let series = series(&[100, 40, 160, 100]);
        assert!(same(series.mean(), 100.0));
        assert!(same(series.worst(), 40.0));
        assert!(same(series.worst_of_mean(), 0.4));
        assert_eq!(series.rates().len(), 4);
    }

    #[test]
    fn twenty_seconds_of_each_end_are_compared() {
        let mut rates = vec![100; 20];
        rates.extend([7; 30]);
        rates.extend([80; 20]);
        assert!(same(series(&rates).last_of_first(), 0.8));
        // Half of a shorter series, without the second in the middle.
        assert!(same(series(&[100, 100, 7, 50, 50]).last_of_first(), 0.5));
        assert!(series(&[100]).last_of_first().is_nan());
        assert!(Series::default().worst().is_nan());
    }

    #[test]
    fn a_step_that_ends_late_is_longer() {
        let mut series = Series::default();
        assert!(!series.enter(Duration::from_millis(900), 900));
        assert!(series.enter(Duration::from_millis(1500), 3000));
        assert!(!series.enter(Duration::from_millis(2400), 3100));
        assert!(same(series.worst(), 2000.0));
        assert_eq!((series.count(), series.time().as_millis()), (3100, 2400));
    }
}
