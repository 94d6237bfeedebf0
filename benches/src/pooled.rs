//! A percentile of latencies that are pooled over rounds of turns, and its interval.
//!
//! The 99th percentile of a turn of some seconds depends on a few messages, and one pause of the machine decides it. All turns of
//! a side together have a hundred times as many. Latencies of one turn resemble each other, so the bootstrap draws
//! whole rounds: the turns of a round follow each other and see the same noise.

/// The number of samples of the bootstrap.
const SAMPLES: usize = 2_000;

/// The latencies of one side in all rounds.
#[derive(Debug, Default)]
pub struct Pool {
    /// Latencies in microseconds, longest first, each with its round.
    longest: Vec<(u32, usize)>,
    /// The number of latencies of each round.
    counts: Vec<usize>,
}

impl Pool {
    /// Pools the latencies in microseconds of each round.
    pub fn new<'a>(rounds: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut pool = Self::default();
        for (round, latencies) in rounds.into_iter().enumerate() {
            pool.counts.push(latencies.len());
            let with_round = latencies.iter().map(|&micros| (micros, round));
            pool.longest.extend(with_round);
        }
        pool.longest.sort_unstable_by(|one, other| other.cmp(one));
        pool
    }

    /// Returns a percentile in milliseconds, with each round counted as often as `times` says; 0 without latencies.
    /// A round that `times` does not have counts for nothing.
    #[must_use]
    pub fn millis(&self, quantile: f64, times: &[usize]) -> f64 {
        let all = self.counts.iter().zip(times);
        let all: usize = all.map(|(count, times)| count * times).sum();
        let rank = (all as f64 * quantile).ceil().max(1.0);
        let mut above = all.saturating_sub(rank as usize);
        for (micros, round) in &self.longest {
            let times = times.get(*round).copied().unwrap_or_default();
            if times > above {
                return f64::from(*micros) / 1e3;
            }
            above -= times;
        }
        0.0
    }

    /// Returns a percentile of all latencies in milliseconds; 0 without latencies.
    #[must_use]
    pub fn millis_of_all(&self, quantile: f64) -> f64 {
        self.millis(quantile, &vec![1; self.counts.len()])
    }
}

/// Numbers that look random and are the same in each run of the program.
#[derive(Debug)]
pub struct Draw(u64);

impl Draw {
    /// Starts a sequence of numbers. Each seed has a sequence of its own.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number below `end`; 0 if `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        // The constants of Knuth's MMIX; the upper bits are good.
        self.0 = (self.0)
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize).checked_rem(end).unwrap_or(0)
    }

    /// Draws as many of `rounds` rounds as there are, and returns how often each of them was drawn.
    fn rounds(&mut self, rounds: usize) -> Vec<usize> {
        let mut times = vec![0; rounds];
        for _ in 0..rounds {
            times[self.below(rounds)] += 1;
        }
        times
    }
}

/// Returns the interval of a value of rounds by the bootstrap, without the part `outside` on each side. `value` gets
/// how often each round counts. The same rounds always give the same interval.
pub fn interval(rounds: usize, outside: f64, value: impl Fn(&[usize]) -> f64) -> [f64; 2] {
    let mut draw = Draw::new(1);
    let mut values: Vec<_> = (0..SAMPLES).map(|_| value(&draw.rounds(rounds))).collect();
    values.sort_unstable_by(f64::total_cmp);
    let cut = ((SAMPLES as f64 * outside) as usize).min(SAMPLES / 2);
    [values[cut], values[SAMPLES - 1 - cut]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn a_percentile_is_of_all_rounds_together() {
        let rounds: [Vec<u32>; 2] = [(1..=50).collect(), (51..=100).collect()];
        let pool = Pool::new(rounds.iter().map(Vec::as_slice));
        assert!(near(pool.millis_of_all(0.9), 0.090));
        assert!(near(pool.millis_of_all(0.0), 0.001));
        assert!(near(pool.millis(0.9, &[1, 0]), 0.045));
        // 150 latencies, of which 100 are of the second round: the 15 longest are 93 to 100, of which 93 counts once.
        assert!(near(pool.millis(0.9, &[1, 2]), 0.093));
        assert!(near(pool.millis(0.9, &[]), 0.0));
        assert!(near(Pool::default().millis_of_all(0.9), 0.0));
    }

    #[test]
    fn rounds_that_are_alike_have_a_narrow_interval() {
        let of = |rounds: &[Vec<u32>]| {
            let pool = Pool::new(rounds.iter().map(Vec::as_slice));
            interval(rounds.len(), 0.025, |times| pool.millis(0.99, times))
        };
        let alike: Vec<Vec<u32>> = (0..8).map(|_| (1..=1_000).collect()).collect();
        let [low, high] = of(&alike);
        assert!(near(low, 0.990) && near(high, 0.990), "{low} to {high}");
        let mut one_differs = alike;
        one_differs[0] = vec![9_000; 1_000];
        let [low, high] = of(&one_differs);
        assert!(near(low, 0.990) && near(high, 9.0), "{low} to {high}");
    }

    #[test]
    fn draws_are_below_the_end_and_of_all_rounds() {
        let mut draw = Draw::new(7);
        assert!((0..1_000).all(|_| draw.below(3) < 3));
        assert_eq!(draw.below(0), 0);
        let times = draw.rounds(5);
        assert_eq!((times.len(), times.iter().sum()), (5, 5));
    }
}
