//! Latencies over time, in memory that does not grow with the run.

use hdrhistogram::Histogram;

use super::Metric;
use crate::clock::{Nanos, SECOND};

/// Most intervals that are kept: one more, and neighbours are merged.
pub(crate) const INTERVALS_MAX: usize = 300;
/// The width of an interval until then.
pub(crate) const WIDTH: Nanos = SECOND;
/// What is kept over time.
pub(crate) const OVER_TIME: [Metric; 4] =
    [Metric::Connect, Metric::Ack, Metric::E2e, Metric::SendLag];

/// Longest latency that is told apart: an hour, in microseconds.
const MAX_US: u64 = 3_600_000_000;

/// Values and how often they came, in order: a histogram without its empty parts.
type Sparse = Vec<(u64, u64)>;

/// One interval's latencies, by [`OVER_TIME`].
#[derive(Clone, Debug, Default)]
struct Interval([Sparse; OVER_TIME.len()]);

/// Latencies of intervals of one width, the first from the run's start; two significant digits.
///
/// The interval under way is a histogram per metric; those before it hold only what came, a few
/// hundred values. Beyond [`INTERVALS_MAX`] each two neighbours become one, of twice the width.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    width: Nanos,
    finished: Vec<Interval>,
    current: Vec<Histogram<u32>>,
}

/// An empty histogram of intervals.
fn empty<T: hdrhistogram::Counter>() -> Histogram<T> {
    Histogram::new_with_bounds(1, MAX_US, 2).expect("constant bounds that the crate accepts")
}

impl Timeline {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            width: WIDTH,
            finished: Vec::new(),
            current: OVER_TIME.iter().map(|_| empty()).collect(),
        }
    }

    /// Records a latency that ended at `at`. What is late by an interval counts in the one under way.
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

    /// The width of the intervals.
    pub(crate) fn width(&self) -> Nanos {
        self.width
    }

    /// Makes each two neighbours one until the intervals are `width` wide, which is theirs doubled
    /// some times.
    pub(crate) fn widen_to(&mut self, width: Nanos) {
        while self.width < width {
            self.widen();
        }
    }

    /// Adds another thread's intervals of the same run. Both have none under way after it.
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

    /// Intervals that something came in, and those before them.
    pub(crate) fn len(&self) -> usize {
        self.finished.len()
    }

    /// A metric's histogram of an interval; empty where nothing came.
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
                let recorded = current.iter_recorded();
                sparse.extend(
                    recorded.map(|it| (it.value_iterated_to(), it.count_since_last_iteration())),
                );
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
