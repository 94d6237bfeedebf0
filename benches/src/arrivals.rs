//! Random arrivals of an open-loop generator: exponential gaps, and a random choice of the sender.

/// The arrivals of messages at a mean rate, the same in each run.
#[derive(Debug)]
pub struct Arrivals {
    random: u64,
    rate: f64,
}

impl Arrivals {
    /// Makes arrivals at `rate` messages per second on average. The rate is greater than 0.
    #[must_use]
    pub const fn new(rate: f64) -> Self {
        Self {
            random: 0x9E37_79B9_7F4A_7C15,
            rate,
        }
    }

    /// Returns the next pseudo-random number (splitmix64).
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// Returns the nanoseconds until the next message.
    pub fn gap(&mut self) -> u64 {
        let part = (self.random() >> 11) as f64 / (1u64 << 53) as f64;
        (-(1.0 - part).ln() / self.rate * 1e9) as u64
    }

    /// Returns a random number below `count`, which is not 0.
    pub fn pick(&mut self, count: usize) -> usize {
        (self.random() % count as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_have_the_mean_and_the_spread_of_a_poisson_process() {
        let mut arrivals = Arrivals::new(1_000.0);
        let gaps: Vec<f64> = (0..100_000).map(|_| arrivals.gap() as f64 / 1e6).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        assert!((0.98..1.02).contains(&mean), "{mean} ms");
        // An exponential distribution has 36.8 % of its values above the mean.
        let above = gaps.iter().filter(|gap| **gap > 1.0).count();
        assert!((36_000..37_600).contains(&above), "{above}");
    }

    #[test]
    fn every_sender_has_its_turn() {
        let mut arrivals = Arrivals::new(1.0);
        let mut turns = [0; 7];
        for _ in 0..7_000 {
            turns[arrivals.pick(7)] += 1;
        }
        assert!(
            turns.iter().all(|turn| (800..1_200).contains(turn)),
            "{turns:?}"
        );
    }
}
