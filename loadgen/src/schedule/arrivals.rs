//! Messages as independent people send them: a Poisson process, fixed by its seed.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Exp1};

use super::Curve;
use crate::clock::{Nanos, SECOND};
use crate::population::Part;

/// A message to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// The stream: who writes to whom.
    pub(crate) stream: u32,
    /// Whether it carries an idempotency key.
    pub(crate) keyed: bool,
}

/// The arrivals of one thread.
#[derive(Debug)]
pub(crate) struct Arrivals {
    rng: Xoshiro256PlusPlus,
    curve: Curve,
    duration: Nanos,
    online: u32,
    slots: u32,
    key_every: u32,
    expected: f64,
    count: u64,
    next: Option<(Nanos, Arrival)>,
}

impl Arrivals {
    /// Arrivals along `curve` for `duration`; senders and recipients are drawn evenly from
    /// `part`. The same seed makes the same arrivals.
    pub(crate) fn new(
        curve: Curve,
        duration: Nanos,
        part: &Part,
        key_every: u32,
        seed: u64,
    ) -> Self {
        let mut arrivals = Self {
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            curve,
            duration,
            online: part.online(),
            slots: part.slots(),
            key_every,
            expected: 0.0,
            count: 0,
            next: None,
        };
        arrivals.draw();
        arrivals
    }

    fn draw(&mut self) {
        let gap: f64 = Exp1.sample(&mut self.rng);
        self.expected += gap;
        let at = (self.curve.time_of(self.expected) * SECOND as f64) as Nanos;
        let user = self.rng.random_range(0..self.online);
        let slot = self.rng.random_range(0..self.slots);
        self.count += 1;
        let keyed = self.key_every > 0 && self.count.is_multiple_of(u64::from(self.key_every));
        let arrival = Arrival {
            stream: user * self.slots + slot,
            keyed,
        };
        self.next = (at < self.duration).then_some((at, arrival));
    }

    /// When the next message is due, from the start of the arrivals.
    pub(super) fn due(&self) -> Option<Nanos> {
        self.next.map(|(at, _)| at)
    }

    /// Takes the next message.
    pub(super) fn take(&mut self) -> Option<Arrival> {
        let (_, arrival) = self.next?;
        self.draw();
        Some(arrival)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::population::tests::population;

    fn all(rate: f64, seconds: u64, seed: u64) -> Vec<(Nanos, Arrival)> {
        let part = population(100, 1000, 8).part(0, 1);
        let mut arrivals = Arrivals::new(Curve::Constant(rate), seconds * SECOND, &part, 4, seed);
        let mut out = Vec::new();
        while let Some(at) = arrivals.due() {
            out.push((at, arrivals.take().unwrap()));
        }
        out
    }

    #[test]
    fn the_seed_fixes_everything() {
        assert_eq!(all(500.0, 4, 7), all(500.0, 4, 7));
        assert_ne!(all(500.0, 4, 7), all(500.0, 4, 8));
    }

    #[test]
    fn gaps_are_exponential() {
        let arrivals = all(1000.0, 100, 3);
        let n = arrivals.len() as f64;
        assert!((n - 100_000.0).abs() < 1500.0, "{n} arrivals");
        let gaps: Vec<f64> = arrivals
            .windows(2)
            .map(|w| (w[1].0 - w[0].0) as f64 / 1e6)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 1.0).abs() < 0.02, "mean {mean} ms");
        assert!(
            (variance.sqrt() - 1.0).abs() < 0.03,
            "deviation {} ms",
            variance.sqrt()
        );
        let above = gaps.iter().filter(|g| **g > 1.0).count() as f64 / gaps.len() as f64;
        assert!(
            (above - (-1.0f64).exp()).abs() < 0.01,
            "{above} above the mean"
        );
    }

    #[test]
    fn times_never_fall_and_end() {
        let arrivals = all(2000.0, 2, 1);
        assert!(arrivals.is_sorted_by_key(|(at, _)| *at));
        assert!(arrivals.last().unwrap().0 < 2 * SECOND);
        let keyed = arrivals.iter().filter(|(_, a)| a.keyed).count();
        assert_eq!(keyed, arrivals.len() / 4);
    }
}
