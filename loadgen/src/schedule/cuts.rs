//! Sessions that the run ends on purpose: a few all the time (churn), or many at once (a storm).

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Exp1};

use super::mix;
use crate::clock::{Nanos, SECOND};

/// A session to be ended and opened again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cut {
    /// The device of the session.
    pub(crate) device: u32,
    /// The time for which the session stays away.
    pub(crate) away: Nanos,
    /// The session ends without a Close frame, as with a failing network.
    pub(crate) abrupt: bool,
    /// The storm that the cut is a part of.
    pub(crate) storm: Option<Chosen>,
}

/// The devices of a thread that a storm cuts, chosen by the seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Chosen {
    /// The number of the executor.
    pub(crate) number: usize,
    /// The part of all devices, 0 to 1.
    pub(crate) fraction: f64,
    seed: u64,
}

impl Chosen {
    /// Returns whether a device is chosen.
    pub(crate) fn has(&self, device: u32) -> bool {
        // 53 bits: as many as are exact.
        let drawn = mix(self.seed ^ u64::from(device)) >> 11;
        (drawn as f64) < self.fraction * (1u64 << 53) as f64
    }
}

/// The sessions of one thread that a storm cuts, all at its start.
#[derive(Debug)]
pub(crate) struct Storm {
    chosen: Chosen,
    devices: u32,
    next: u32,
}

impl Storm {
    /// Makes the storm of executor `number` over `devices` devices.
    pub(crate) fn new(number: usize, fraction: f64, devices: u32, seed: u64) -> Self {
        let chosen = Chosen {
            number,
            fraction,
            seed,
        };
        let mut storm = Self {
            chosen,
            devices,
            next: 0,
        };
        storm.skip();
        storm
    }

    fn skip(&mut self) {
        while self.next < self.devices && !self.chosen.has(self.next) {
            self.next += 1;
        }
    }

    /// Returns when the next session is cut, counted from the storm's start. All are due at once.
    pub(super) fn due(&self) -> Option<Nanos> {
        (self.next < self.devices).then_some(0)
    }

    /// Takes the next session to cut.
    pub(super) fn take(&mut self) -> Option<Cut> {
        self.due()?;
        let cut = Cut {
            device: self.next,
            away: 0,
            abrupt: true,
            storm: Some(self.chosen),
        };
        self.next += 1;
        self.skip();
        Some(cut)
    }
}

/// The figures of a churn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChurnShape {
    /// Sessions cut per second, of one thread.
    pub(crate) rate: f64,
    /// The duration of the churn.
    pub(crate) duration: Nanos,
    /// The average time for which sessions stay away. Each stays away for 0.5 to 1.5 times this
    /// time.
    pub(crate) away: Nanos,
    /// The part of the sessions that end without a Close frame.
    pub(crate) abrupt: f64,
}

/// The sessions of one thread that churn: a Poisson process, fixed by its seed.
#[derive(Debug)]
pub(crate) struct Churn {
    rng: Xoshiro256PlusPlus,
    shape: ChurnShape,
    devices: u32,
    at: f64,
    next: Option<(Nanos, Cut)>,
}

impl Churn {
    /// Makes a churn over `devices` devices.
    pub(crate) fn new(shape: ChurnShape, devices: u32, seed: u64) -> Self {
        let mut churn = Self {
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            shape,
            devices,
            at: 0.0,
            next: None,
        };
        churn.draw();
        churn
    }

    fn draw(&mut self) {
        let gap: f64 = Exp1.sample(&mut self.rng);
        self.at += gap / self.shape.rate;
        let at = (self.at * SECOND as f64) as Nanos;
        let away = self.shape.away;
        let cut = Cut {
            device: self.rng.random_range(0..self.devices.max(1)),
            away: self.rng.random_range(away / 2..=away / 2 + away),
            abrupt: self.rng.random::<f64>() < self.shape.abrupt,
            storm: None,
        };
        let due = at < self.shape.duration && self.devices > 0;
        self.next = due.then_some((at, cut));
    }

    /// Ends the churn before all cuts are taken.
    pub(super) fn give_up(&mut self) {
        self.next = None;
    }

    /// Returns when the next session is cut, from the churn's start.
    pub(super) fn due(&self) -> Option<Nanos> {
        self.next.map(|(at, _)| at)
    }

    /// Takes the next session to cut.
    pub(super) fn take(&mut self) -> Option<Cut> {
        let (_, cut) = self.next?;
        self.draw();
        Some(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storm(fraction: f64, seed: u64) -> Vec<u32> {
        let mut storm = Storm::new(3, fraction, 10_000, seed);
        let mut cut = Vec::new();
        while storm.due() == Some(0) {
            let next = storm.take().unwrap();
            assert!(next.abrupt && next.away == 0);
            assert!(next.storm.unwrap().has(next.device));
            cut.push(next.device);
        }
        assert_eq!(storm.take(), None);
        cut
    }

    #[test]
    fn a_storm_cuts_its_part_and_nobody_twice() {
        assert_eq!(storm(1.0, 1), (0..10_000).collect::<Vec<_>>());
        let half = storm(0.5, 1);
        assert!((4_800..5_200).contains(&half.len()), "{}", half.len());
        assert!(half.is_sorted() && half.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(half, storm(0.5, 1));
        assert_ne!(half, storm(0.5, 2));
    }

    #[test]
    fn a_churn_has_its_rate_and_its_seed() {
        let shape = ChurnShape {
            rate: 100.0,
            duration: 100 * SECOND,
            away: SECOND,
            abrupt: 0.25,
        };
        let all = |seed| {
            let mut churn = Churn::new(shape, 500, seed);
            let mut cuts = Vec::new();
            while let Some(at) = churn.due() {
                cuts.push((at, churn.take().unwrap()));
            }
            cuts
        };
        let cuts = all(1);
        assert!((9_600..10_400).contains(&cuts.len()), "{}", cuts.len());
        assert!(cuts.is_sorted_by_key(|(at, _)| *at));
        assert!(cuts.last().unwrap().0 < shape.duration);
        let part = |is: fn(&Cut) -> bool| {
            cuts.iter().filter(|(_, cut)| is(cut)).count() as f64 / cuts.len() as f64
        };
        assert!((part(|cut| cut.abrupt) - 0.25).abs() < 0.02);
        assert!((part(|cut| cut.device < 250) - 0.5).abs() < 0.03);
        assert!((part(|cut| cut.away < SECOND) - 0.5).abs() < 0.03);
        assert!(
            cuts.iter()
                .all(|(_, cut)| (SECOND / 2..=SECOND * 3 / 2).contains(&cut.away))
        );
        assert_eq!(cuts, all(1));
        assert_ne!(cuts, all(2));
    }
}
