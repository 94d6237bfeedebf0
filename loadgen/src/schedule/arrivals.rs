//! Messages of independent users: a Poisson process, fixed by its seed.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Exp1, Zipf};

use super::ToGroups;
use crate::clock::{Nanos, SECOND};
use crate::curve::Curve;
use crate::population::Part;

/// A message to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// The stream: a sender and a contact. Numbers behind those of streams are memberships: a
    /// sender and a group.
    pub(crate) stream: u32,
    /// Whether the message carries an idempotency key.
    pub(crate) keyed: bool,
}

/// The distribution of senders, and of idempotency keys.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Senders {
    /// One message in this many carries an idempotency key; 0 gives no message a key.
    pub(crate) key_every: u32,
    /// The exponent of the Zipf distribution of senders: user *k* sends in proportion to 1 / *k* to
    /// this power. Without it, all users send equally.
    pub(crate) skew: Option<f64>,
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
    ranks: Option<Zipf<f64>>,
    groups: Option<ToGroups>,
    expected: f64,
    count: u64,
    next: Option<(Nanos, Arrival)>,
}

impl Arrivals {
    /// Makes arrivals at the rate of `curve`. Draws recipients evenly from `part`, and senders by
    /// `senders`. The same seed makes the same arrivals.
    pub(crate) fn new(curve: Curve, part: &Part, senders: Senders, seed: u64) -> Self {
        let users = f64::from(part.online());
        let ranks = senders.skew.map(|skew| Zipf::new(users, skew));
        let mut arrivals = Self {
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            duration: (curve.seconds() * SECOND as f64) as Nanos,
            curve,
            online: part.online(),
            slots: part.slots(),
            key_every: senders.key_every,
            // Validation admits only valid skews and at least one online user.
            ranks: ranks.and_then(Result::ok),
            groups: None,
            expected: 0.0,
            count: 0,
            next: None,
        };
        arrivals.draw();
        arrivals
    }

    /// Sends a part of the messages to groups.
    pub(crate) fn with_groups(mut self, mut groups: ToGroups) -> Self {
        self.next = self.next.map(|(at, arrival)| (at, groups.turn(arrival)));
        self.groups = Some(groups);
        self
    }

    fn draw(&mut self) {
        let gap: f64 = Exp1.sample(&mut self.rng);
        self.expected += gap;
        let at = (self.curve.time_of(self.expected) * SECOND as f64) as Nanos;
        let user = match &self.ranks {
            Some(ranks) => (ranks.sample(&mut self.rng) as u32).clamp(1, self.online) - 1,
            None => self.rng.random_range(0..self.online),
        };
        let slot = self.rng.random_range(0..self.slots);
        self.count += 1;
        let keyed = self.key_every > 0 && self.count.is_multiple_of(u64::from(self.key_every));
        let arrival = Arrival {
            stream: user * self.slots + slot,
            keyed,
        };
        let arrival = match &mut self.groups {
            Some(groups) => groups.turn(arrival),
            None => arrival,
        };
        self.next = (at < self.duration).then_some((at, arrival));
    }

    /// Ends the arrivals before all are taken. Returns how many messages were left, by the curve.
    pub(super) fn give_up(&mut self) -> u64 {
        let left = (self.curve.events() - self.expected).max(0.0);
        self.next.take().map_or(0, |_| 1 + left as u64)
    }

    /// Returns when the next message is due, from the start of the arrivals.
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
        along(Curve::constant(rate, seconds as f64), None, seed)
    }

    fn along(curve: Curve, skew: Option<f64>, seed: u64) -> Vec<(Nanos, Arrival)> {
        let part = population(100, 1000, 8).part(0, 1);
        let key_every = 4;
        let mut arrivals = Arrivals::new(curve, &part, Senders { key_every, skew }, seed);
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
    fn arrivals_follow_the_curve() {
        // 10 s up to 2,000/s, then 10 s at 500/s.
        let curve = Curve::through(&[(0.0, 0.0), (10.0, 2000.0), (10.0, 500.0), (20.0, 500.0)]);
        let arrivals = along(curve, None, 5);
        let between = |from: u64, to: u64| {
            let inside = arrivals.iter().map(|(at, _)| at / SECOND);
            inside.filter(|second| (from..to).contains(second)).count() as f64
        };
        for (from, to, expected) in [(0, 5, 2500.0), (5, 10, 7500.0), (10, 20, 5000.0)] {
            let seen = between(from, to);
            // Four deviations of a Poisson count.
            assert!(
                (seen - expected).abs() < 4.0 * f64::sqrt(expected),
                "{from}..{to}: {seen}"
            );
        }
        assert!(arrivals.is_sorted_by_key(|(at, _)| *at));
        assert_eq!(between(20, 1000), 0.0);
    }

    #[test]
    fn senders_follow_their_skew() {
        let count = |skew| {
            let mut count = [0u32; 100];
            for (_, arrival) in along(Curve::constant(10_000.0, 20.0), skew, 11) {
                count[(arrival.stream / 8) as usize] += 1;
            }
            count.map(|n| f64::from(n) / 200_000.0)
        };
        // Of 100 users the first has 1 / (1 + 1/2 + … + 1/100) = 1 / 5.18738 of the messages.
        let skewed = count(Some(1.0));
        for rank in [1, 2, 5, 10, 50] {
            let expected = 1.0 / 5.18738 / f64::from(rank);
            let seen = skewed[rank as usize - 1];
            assert!((seen / expected - 1.0).abs() < 0.12, "{rank}: {seen}");
        }
        assert!(count(None).iter().all(|part| (part - 0.01).abs() < 0.002));
        assert!(
            count(Some(0.0))
                .iter()
                .all(|part| (part - 0.01).abs() < 0.002)
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
