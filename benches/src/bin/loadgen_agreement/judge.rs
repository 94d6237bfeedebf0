//! Judges whether the percentiles of both clients agree: pooled over rounds, with an interval that says whether the rounds
//! decide.

use hdrhistogram::Histogram;
use trunkline_benches::open_loop::Timed;
use trunkline_benches::pooled::{Pool, interval};
use trunkline_benches::rounds::Verdict;

/// Latencies in microseconds, in the classes of the load generator's log: two significant digits.
pub(crate) type Latencies = Histogram<u64>;

/// The percentiles that are compared.
pub(crate) const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];

/// The part of the samples that lies outside the interval on each side.
const OUTSIDE: f64 = 0.025;

/// The fewest rounds that decide: the bootstrap of fewer knows too little about how rounds differ.
const LEAST: usize = 6;

/// The longest latency that the load generator records exactly, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;

/// Returns a histogram without latencies, with the classes of the load generator's log.
pub(crate) fn empty() -> Latencies {
    Histogram::new_with_bounds(1, LONGEST, 2).expect("constant bounds that the crate accepts")
}

/// Returns the latencies of the messages that were to be sent from the first to the last time of `window`, in the
/// classes of the load generator's log.
pub(crate) fn within(window: [u64; 2], each: &[Timed]) -> Latencies {
    let mut latencies = empty();
    let [from, to] = window;
    for timed in each.iter().filter(|it| (from..=to).contains(&it.due)) {
        latencies.saturating_record(timed.latency / 1_000);
    }
    latencies
}

/// Returns the latencies in microseconds, those of a class spread evenly over its width. So a percentile is not
/// rounded to the edge of a class.
pub(crate) fn spread(latencies: &Latencies) -> Vec<u32> {
    let mut all = Vec::new();
    for class in latencies.iter_recorded() {
        let count = class.count_at_value();
        let low = latencies.lowest_equivalent(class.value_iterated_to());
        let width = latencies.equivalent_range(class.value_iterated_to());
        let place = |at: u64| low + width * (2 * at + 1) / (2 * count);
        all.extend((0..count).map(|at| u32::try_from(place(at)).unwrap_or(u32::MAX)));
    }
    all
}

/// One percentile of two sides, over all rounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compared {
    /// The percentile of each side in microseconds.
    pub(crate) micros: [f64; 2],
    /// The first divided by the second.
    pub(crate) ratio: f64,
    /// The 95 % interval of the ratio.
    pub(crate) interval: [f64; 2],
}

impl Compared {
    /// Compares a percentile of two sides whose rounds were measured at the same time.
    pub(crate) fn of(pools: [&Pool; 2], rounds: usize, quantile: f64) -> Self {
        let ratio = |times: &[usize]| {
            let [one, other] = pools.map(|pool| pool.millis(quantile, times));
            one / other
        };
        Self {
            micros: pools.map(|pool| pool.millis_of_all(quantile) * 1e3),
            ratio: ratio(&vec![1; rounds]),
            interval: interval(rounds, OUTSIDE, ratio),
        }
    }

    /// Judges whether the ratio is at most `agree` away from 1.
    pub(crate) fn verdict(&self, rounds: usize, agree: f64) -> Verdict {
        let [low, high] = self.interval.map(|ratio| ratio - 1.0);
        if rounds < LEAST || !self.interval.iter().all(|it| it.is_finite()) {
            Verdict::Undecided
        } else if low >= -agree && high <= agree {
            Verdict::Within
        } else if low > agree || high < -agree {
            Verdict::Beyond
        } else {
            Verdict::Undecided
        }
    }
}

/// Returns the verdict of several figures: all must be within.
pub(crate) fn together(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    let mut all = Verdict::Within;
    for verdict in verdicts {
        all = match (all, verdict) {
            (Verdict::Beyond, _) | (_, Verdict::Beyond) => Verdict::Beyond,
            (Verdict::Within, Verdict::Within) => Verdict::Within,
            _ => Verdict::Undecided,
        };
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_benches::pooled::Draw;

    /// A round of latencies around 10 ms with a tail, which are `factor` times as long.
    fn round(draw: &mut Draw, factor: f64) -> Vec<u32> {
        let mut one = || {
            let body = 10_000 + draw.below(2_000);
            let tail = if draw.below(50) == 0 {
                draw.below(2_000)
            } else {
                0
            };
            ((body + tail) as f64 * factor) as u32
        };
        (0..2_000).map(|_| one()).collect()
    }

    /// Judges p99 of rounds of which the first side is `factor` times as long.
    fn judged(rounds: usize, factor: f64) -> Verdict {
        let mut draw = Draw::new(7);
        let mut side = |factor| {
            let rounds: Vec<_> = (0..rounds).map(|_| round(&mut draw, factor)).collect();
            Pool::new(rounds.iter().map(Vec::as_slice))
        };
        let pools = [side(factor), side(1.0)];
        let compared = Compared::of([&pools[0], &pools[1]], rounds, 0.99);
        compared.verdict(rounds, 0.03)
    }

    #[test]
    fn a_ratio_is_within_beyond_or_undecided() {
        for (factor, verdict) in [
            (1.0, Verdict::Within),
            (1.1, Verdict::Beyond),
            (0.9, Verdict::Beyond),
            (1.03, Verdict::Undecided),
            (0.97, Verdict::Undecided),
        ] {
            assert_eq!(judged(12, factor), verdict, "{factor}");
        }
        assert_eq!(judged(LEAST - 1, 1.0), Verdict::Undecided);
        assert_eq!(judged(LEAST - 1, 2.0), Verdict::Undecided);
    }

    #[test]
    fn rounds_without_latencies_decide_nothing() {
        let none = Pool::new((0..LEAST).map(|_| [].as_slice()));
        let compared = Compared::of([&none, &none], LEAST, 0.99);
        assert_eq!(compared.verdict(LEAST, 0.03), Verdict::Undecided);
    }

    #[test]
    fn one_figure_beyond_is_enough() {
        let (within, beyond) = (Verdict::Within, Verdict::Beyond);
        assert_eq!(together([within, within]), within);
        assert_eq!(
            together([within, Verdict::Undecided, within]),
            Verdict::Undecided
        );
        assert_eq!(together([Verdict::Undecided, beyond, within]), beyond);
    }

    #[test]
    fn latencies_of_a_class_are_spread_over_it() {
        let mut latencies = empty();
        for micros in [100, 10_880, 10_900, 10_920, 10_940] {
            latencies.record(micros).unwrap();
        }
        // Up to 255 a class has one microsecond. The class of 10,880 ends at 10,943.
        assert_eq!(spread(&latencies), [100, 10_888, 10_904, 10_920, 10_936]);
    }

    #[test]
    fn a_window_has_the_messages_of_its_time() {
        let timed = |due, latency| Timed { due, latency };
        let each = [
            timed(9, 1_000),
            timed(10, 2_000),
            timed(20, 3_000),
            timed(21, 4_000),
        ];
        let latencies = within([10, 20], &each);
        assert_eq!(
            (latencies.len(), latencies.min(), latencies.max()),
            (2, 2, 3)
        );
    }
}
