//! Latencies of a turn, whole and second by second.

use hdrhistogram::Histogram;

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// The longest latency that is told from longer ones: ten minutes.
const LONGEST: u64 = 600 * SECOND;

/// The latencies of the messages of one turn.
#[derive(Debug)]
pub(crate) struct Latencies {
    whole: Histogram<u64>,
    seconds: Vec<Histogram<u64>>,
    /// The time of the first message, in nanoseconds.
    begin: Option<u64>,
    in_time: u64,
}

impl Latencies {
    /// Makes an empty collection.
    ///
    /// # Errors
    /// None, as the bounds are valid.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            whole: Histogram::new_with_bounds(1, LONGEST, 3)?,
            seconds: Vec::new(),
            begin: None,
            in_time: 0,
        })
    }

    /// Tells that a message is due at this time, in nanoseconds. The first one begins the seconds.
    pub(crate) fn due(&mut self, due: u64) {
        self.begin.get_or_insert(due);
    }

    /// Adds the latency of a message that was due at this time, both in nanoseconds.
    ///
    /// # Errors
    /// None, as the bounds are valid.
    pub(crate) fn record(&mut self, due: u64, latency: u64) -> anyhow::Result<()> {
        let begin = *self.begin.get_or_insert(due);
        let second = (due.saturating_sub(begin) / SECOND) as usize;
        while self.seconds.len() <= second {
            self.seconds
                .push(Histogram::new_with_bounds(1, LONGEST, 3)?);
        }
        self.whole.saturating_record(latency.max(1));
        self.seconds[second].saturating_record(latency.max(1));
        self.in_time += u64::from(latency <= SECOND);
        Ok(())
    }

    /// Returns the number of messages.
    pub(crate) fn count(&self) -> u64 {
        self.whole.len()
    }

    /// Returns the part of the messages that arrived within a second, from 0 to 1.
    pub(crate) fn share_in_time(&self) -> f64 {
        self.in_time as f64 / self.count().max(1) as f64
    }

    /// Returns a percentile of all messages in milliseconds, 0 without messages.
    pub(crate) fn millis(&self, quantile: f64) -> f64 {
        millis(&self.whole, quantile)
    }

    /// Returns the largest 99th percentile of the seconds, in milliseconds. A second with less than
    /// a tenth of the messages of the fullest one does not count: it is the rest of a turn.
    pub(crate) fn worst_second(&self) -> f64 {
        let fullest = self.seconds.iter().map(Histogram::len).max();
        let least = fullest.unwrap_or_default() / 10;
        let seconds = self.seconds.iter().filter(|second| second.len() > least);
        seconds
            .map(|second| millis(second, 0.99))
            .fold(0.0, f64::max)
    }
}

fn millis(of: &Histogram<u64>, quantile: f64) -> f64 {
    of.value_at_quantile(quantile) as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < right / 100.0
    }

    #[test]
    fn the_worst_second_is_found() {
        let mut latencies = Latencies::new().unwrap();
        for second in 0..3u64 {
            for message in 0..100 {
                let due = 5 * SECOND + second * SECOND + message * MILLISECOND;
                let latency = if second == 1 { 80 } else { 2 };
                latencies.record(due, latency * MILLISECOND).unwrap();
            }
        }
        assert_eq!(latencies.count(), 300);
        assert!(near(latencies.worst_second(), 80.0));
        assert!(near(latencies.millis(0.5), 2.0));
        assert!(near(latencies.millis(0.99), 80.0));
    }

    #[test]
    fn the_rest_of_a_turn_is_no_second() {
        let mut latencies = Latencies::new().unwrap();
        for message in 0..100 {
            latencies.record(message, MILLISECOND).unwrap();
        }
        latencies.record(SECOND + 200, 50 * MILLISECOND).unwrap();
        assert!(near(latencies.worst_second(), 1.0));
    }

    #[test]
    fn what_takes_more_than_a_second_is_late() {
        let mut latencies = Latencies::new().unwrap();
        for latency in [MILLISECOND, SECOND, SECOND + 1, 60 * SECOND] {
            latencies.record(0, latency).unwrap();
        }
        assert!(near(latencies.share_in_time(), 0.5));
    }
}
