//! Latencies over time, in bounded memory.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::Metric;
use super::sparse::{self, Sparse};
use crate::clock::{Nanos, SECOND};

/// The most intervals that are kept. With one more, each two neighbours are merged.
pub(crate) const INTERVALS_MAX: usize = 300;
/// The width of an interval at first.
pub(crate) const WIDTH: Nanos = SECOND;
/// The metrics that are kept over time.
pub(crate) const OVER_TIME: [Metric; 4] =
    [Metric::Connect, Metric::Ack, Metric::E2e, Metric::SendLag];

/// The longest latency that is recorded exactly, in microseconds: an hour. Longer ones count as
/// this one.
const MAX_US: u64 = 3_600_000_000;

/// The latencies of an interval, in the order of [`OVER_TIME`].
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Interval([Sparse; OVER_TIME.len()]);

/// The latencies of intervals of one width, from the start of the run on, with two significant
/// digits.
///
/// The interval under way is a histogram for each metric. Earlier intervals hold only the values
/// that came, a few hundred. Beyond [`INTERVALS_MAX`] intervals each two neighbours become one of
/// twice the width.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(into = "Form", try_from = "Form")]
pub(crate) struct Timeline {
    width: Nanos,
    finished: Vec<Interval>,
    current: Vec<Histogram<u32>>,
}

/// The most doublings of the first width: intervals of a hundred years.
const DOUBLINGS_MAX: u32 = 32;

/// The form in which a timeline travels to another machine. No interval is under way in it.
#[derive(Debug, Deserialize, Serialize)]
struct Form {
    width: Nanos,
    intervals: Vec<Interval>,
}

impl From<Timeline> for Form {
    fn from(mut it: Timeline) -> Self {
        it.finish();
        Self {
            width: it.width,
            intervals: it.finished,
        }
    }
}

impl TryFrom<Form> for Timeline {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        let Form { width, intervals } = form;
        let known = (0..=DOUBLINGS_MAX).any(|doublings| WIDTH << doublings == width);
        if !known || intervals.len() > INTERVALS_MAX {
            return Err(format!("{} intervals of {width} ns", intervals.len()));
        }
        Ok(Self {
            width,
            finished: intervals,
            ..Self::new()
        })
    }
}

/// Returns an empty histogram of an interval.
fn empty<T: hdrhistogram::Counter>() -> Histogram<T> {
    Histogram::new_with_bounds(1, MAX_US, 2).expect("constant bounds that the crate accepts")
}

impl Timeline {
    /// Makes a timeline without values.
    pub(crate) fn new() -> Self {
        Self {
            width: WIDTH,
            finished: Vec::new(),
            current: OVER_TIME.iter().map(|_| empty()).collect(),
        }
    }

    /// Records a latency that ended at `at`. If `at` is more than one interval ago, the latency
    /// counts in the present interval.
    pub(super) fn record(&mut self, metric: Metric, at: Nanos, us: u64) {
        let Some(i) = OVER_TIME.iter().position(|it| *it == metric) else {
            return;
        };
        // A product, for this is asked of every latency: a division takes longer than the recording.
        while at >= (self.finished.len() as u64 + 1) * self.width {
            let interval = self.take_current();
            self.finished.push(interval);
            if self.finished.len() >= INTERVALS_MAX {
                self.widen();
            }
        }
        self.current[i].saturating_record(us);
    }

    /// Returns the width of the intervals.
    pub(crate) fn width(&self) -> Nanos {
        self.width
    }

    /// Merges each two neighbours until the intervals are `width` wide: their width times a power
    /// of two.
    pub(crate) fn widen_to(&mut self, width: Nanos) {
        while self.width < width {
            self.widen();
        }
    }

    /// Adds the intervals of another thread of the run. No interval is under way after that.
    pub(super) fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        self.finish();
        other.finish();
        self.widen_to(other.width);
        other.widen_to(self.width);
        let most = self.finished.len().max(other.finished.len());
        self.finished.resize_with(most, Interval::default);
        for (mine, theirs) in self.finished.iter_mut().zip(&other.finished) {
            mine.add(theirs);
        }
    }

    /// Returns the number of intervals up to the last with a value.
    pub(crate) fn len(&self) -> usize {
        self.finished.len()
    }

    /// Returns the histogram of a metric in an interval; empty without values.
    pub(crate) fn of(&self, interval: usize, metric: Metric) -> Histogram<u64> {
        let mut histogram = empty();
        let metric = OVER_TIME.iter().position(|it| *it == metric);
        let sparse = self.finished.get(interval).zip(metric);
        for (value, count) in sparse.map_or(&[][..], |(it, i)| &it.0[i]) {
            histogram.saturating_record_n(*value, *count);
        }
        histogram
    }

    fn finish(&mut self) {
        if self.current.iter().any(|it| !it.is_empty()) {
            let interval = self.take_current();
            self.finished.push(interval);
        }
    }

    fn take_current(&mut self) -> Interval {
        let mut interval = Interval::default();
        for (sparse, current) in interval.0.iter_mut().zip(&mut self.current) {
            if !current.is_empty() {
                *sparse = sparse::of(current);
                current.reset();
            }
        }
        interval
    }

    fn widen(&mut self) {
        self.width *= 2;
        let halves = std::mem::take(&mut self.finished);
        let mut halves = halves.into_iter();
        while let Some(mut first) = halves.next() {
            if let Some(second) = halves.next() {
                first.add(&second);
            }
            self.finished.push(first);
        }
    }
}

impl Interval {
    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            mine.extend(theirs);
            mine.sort_unstable();
            mine.dedup_by(|next, kept| {
                let same = next.0 == kept.0;
                kept.1 += if same { next.1 } else { 0 };
                same
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(timeline: &Timeline) -> Vec<u64> {
        let each = 0..timeline.len();
        each.map(|i| timeline.of(i, Metric::Ack).len()).collect()
    }

    #[test]
    fn a_latency_is_in_the_interval_it_ended_in() {
        let mut one = Timeline::new();
        one.record(Metric::Ack, SECOND / 2, 100);
        one.record(Metric::Ack, 2 * SECOND, 7_000);
        one.record(Metric::Tcp, 2 * SECOND, 7_000);
        let mut all = Timeline::new();
        all.add(&one);
        all.add(&one);
        assert_eq!(counts(&all), [2, 0, 2]);
        assert_eq!(all.of(0, Metric::Ack).max(), 100);
        let seven = all.of(2, Metric::Ack).value_at_quantile(0.5);
        assert!((7_000..=7_070).contains(&seven), "{seven}");
        assert_eq!(all.of(2, Metric::E2e).len(), 0);
    }

    #[test]
    fn memory_does_not_grow_and_nothing_is_lost() {
        let (mut long, mut short) = (Timeline::new(), Timeline::new());
        for second in 0..5_000 {
            long.record(Metric::Ack, second * SECOND, second + 1);
            assert!(long.len() < INTERVALS_MAX);
        }
        short.record(Metric::Ack, 0, 9);
        short.add(&long);
        assert_eq!(short.width(), 32 * SECOND);
        let counts = counts(&short);
        assert_eq!(counts.iter().sum::<u64>(), 5_001);
        assert_eq!(counts[..2], [33, 32]);
        assert!(counts.len() <= INTERVALS_MAX);
    }
}
