//! Latencies that can be read while a run goes on.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::{Metric, Percentiles};

/// The number of parts of each power of two. A value is exact to 1.6 %.
const PARTS: usize = 64;
/// The longest latency that is recorded exactly, in microseconds: an hour. Longer ones count as
/// this one.
const MAX_US: u64 = 3_600_000_000;
/// The number of places, as `place(MAX_US)` needs.
const PLACES: usize = place(MAX_US) + 1;

/// Returns the place at which a value is counted. The first `2 * PARTS` values have a place each.
const fn place(us: u64) -> usize {
    let us = if us > MAX_US { MAX_US } else { us };
    let bits = (u64::BITS - us.leading_zeros()) as usize;
    let shift = bits.saturating_sub(PARTS.ilog2() as usize + 1);
    shift * PARTS + (us >> shift) as usize
}

/// Returns the largest value that is counted at a place.
const fn largest(place: usize) -> u64 {
    if place < 2 * PARTS {
        return place as u64;
    }
    let shift = place / PARTS - 1;
    (((place - shift * PARTS + 1) as u64) << shift) - 1
}

/// The latencies that one thread has recorded so far, by [`Metric`].
///
/// One thread records, and any thread may read at any time without a lock: the one writer adds by
/// plain loads and stores. Counts only grow, so the last seconds are the difference of two
/// readings.
#[derive(Debug)]
pub(crate) struct Tally(Vec<Timed>);

#[derive(Debug)]
struct Timed {
    counts: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

impl Tally {
    /// Makes a tally without values.
    pub(crate) fn new() -> Self {
        let timed = Metric::ALL.iter().map(|_| Timed {
            counts: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            sum_us: AtomicU64::new(0),
        });
        Self(timed.collect())
    }

    /// Takes over what another machine has counted so far. Only the thread that owns the tally may call
    /// this. Places that do not exist are left out.
    pub(crate) fn take_over(&self, form: &TallyForm) {
        for (timed, (counts, sum_us)) in self.0.iter().zip(&form.0) {
            for (place, count) in counts {
                if let Some(place) = timed.counts.get(*place as usize) {
                    place.store(*count, Ordering::Relaxed);
                }
            }
            timed.sum_us.store(*sum_us, Ordering::Relaxed);
        }
    }

    /// Counts a latency. Only the thread that owns the tally may call this.
    pub(super) fn record(&self, metric: Metric, us: u64) {
        let timed = &self.0[metric as usize];
        add(&timed.counts[place(us)], 1);
        add(&timed.sum_us, us);
    }
}

/// The form in which the latencies of a machine travel to another one while a run goes on: for each
/// metric, the places with their counts, and the sum in microseconds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct TallyForm(Vec<(Vec<(u32, u64)>, u64)>);

impl TallyForm {
    /// Reads the tallies of all threads.
    pub(crate) fn look<'a>(threads: impl Iterator<Item = &'a Tally>) -> Self {
        let threads: Vec<_> = threads.collect();
        let metrics = Metric::ALL.iter();
        let each = metrics.map(|metric| {
            let all = Tallied::look(threads.iter().copied(), *metric);
            let places = (0..).zip(all.counts).filter(|(_, count)| *count > 0);
            (places.collect(), all.sum_us)
        });
        Self(each.collect())
    }
}

/// Adds to a count that only this thread writes.
fn add(to: &AtomicU64, more: u64) {
    to.store(
        to.load(Ordering::Relaxed).wrapping_add(more),
        Ordering::Relaxed,
    );
}

/// The latencies of one metric at one time, all threads together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tallied {
    counts: Vec<u64>,
    sum_us: u64,
}

impl Tallied {
    /// Reads the latencies of a metric from the tallies of all threads.
    pub(crate) fn look<'a>(threads: impl Iterator<Item = &'a Tally>, metric: Metric) -> Self {
        let mut all = Self {
            counts: vec![0; PLACES],
            sum_us: 0,
        };
        for thread in threads {
            let timed = &thread.0[metric as usize];
            for (all, one) in all.counts.iter_mut().zip(&timed.counts) {
                *all += one.load(Ordering::Relaxed);
            }
            let sum = timed.sum_us.load(Ordering::Relaxed);
            all.sum_us = all.sum_us.wrapping_add(sum);
        }
        all
    }

    /// Returns the latencies that came after an earlier reading.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let pairs = self.counts.iter().zip(&earlier.counts);
        Self {
            counts: pairs.map(|(now, then)| now.saturating_sub(*then)).collect(),
            sum_us: self.sum_us.wrapping_sub(earlier.sum_us),
        }
    }

    /// Returns the number of values.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the sum of the values, in seconds.
    pub(crate) fn sum_seconds(&self) -> f64 {
        self.sum_us as f64 / 1e6
    }

    /// Returns how many values are at most each of these rising limits. A value within 1.6 % of a
    /// limit may count as longer.
    pub(crate) fn at_most(&self, bounds_us: &[u64]) -> Vec<u64> {
        let mut places = self.counts.iter().enumerate().peekable();
        let mut total = 0;
        let mut up_to = |bound: u64| {
            while let Some((_, count)) = places.next_if(|(place, _)| largest(*place) <= bound) {
                total += count;
            }
            total
        };
        bounds_us.iter().map(|bound| up_to(*bound)).collect()
    }

    /// Returns the percentiles, each exact to 1.6 % and never too small.
    pub(crate) fn percentiles(&self) -> Percentiles {
        let count = self.count();
        let at = |quantile: f64| {
            let rank = ((count as f64 * quantile).ceil() as u64).max(1);
            let mut seen = 0;
            let place = self.counts.iter().position(|n| {
                seen += n;
                seen >= rank
            });
            place.map_or(0, largest)
        };
        Percentiles {
            count,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(threads: &[&Tally]) -> Tallied {
        Tallied::look(threads.iter().copied(), Metric::Ack)
    }

    #[test]
    fn every_value_has_a_place_that_is_near() {
        let mut before = 0;
        let values = (0..100_000u64).chain((17..32).flat_map(|bits| {
            let power = 1u64 << bits;
            [power - 1, power, power + power / 3]
        }));
        for us in values.filter(|us| *us <= MAX_US) {
            let here = place(us);
            assert!(here >= before, "{us}");
            before = here;
            assert!(largest(here) >= us, "{us}");
            assert!(largest(here) <= us + us / 64, "{us}: {}", largest(here));
        }
        assert_eq!(place(u64::MAX), PLACES - 1);
    }

    #[test]
    fn percentiles_of_all_threads_and_of_the_last_seconds() {
        let (one, other) = (Tally::new(), Tally::new());
        for us in 1..=50 {
            one.record(Metric::Ack, us);
            other.record(Metric::Ack, 50 + us);
        }
        let before = look(&[&one, &other]);
        let p = before.percentiles();
        assert_eq!((p.count, p.p50, p.p99, p.max), (100, 50, 99, 100));
        assert_eq!(before.sum_seconds(), 5_050e-6);
        for _ in 0..1_000 {
            other.record(Metric::Ack, 7_000);
        }
        let since = look(&[&one, &other]).since(&before).percentiles();
        assert_eq!(since.count, 1_000);
        assert!((7_000..=7_110).contains(&since.p50), "{since:?}");
        assert_eq!(since.p50, since.max);
        let nothing = Tallied::look([&one].into_iter(), Metric::E2e).percentiles();
        assert_eq!((nothing.count, nothing.p50, nothing.max), (0, 0, 0));
    }

    #[test]
    fn another_machine_shows_the_same() {
        let (one, other, there) = (Tally::new(), Tally::new(), Tally::new());
        for us in [1, 10, 5_000] {
            one.record(Metric::Ack, us);
            other.record(Metric::Ack, us * 2);
            let form = TallyForm::look([&one, &other].into_iter());
            let text = serde_json::to_string(&form).unwrap();
            there.take_over(&serde_json::from_str(&text).unwrap());
            assert_eq!(look(&[&there]), look(&[&one, &other]));
        }
    }

    #[test]
    fn bounds_count_what_is_surely_within() {
        let one = Tally::new();
        for us in [1, 10, 100, 5_000] {
            one.record(Metric::Ack, us);
        }
        let bounds = [10, 99, 100, 1_000, 10_000];
        assert_eq!(look(&[&one]).at_most(&bounds), [2, 2, 3, 3, 4]);
    }
}
