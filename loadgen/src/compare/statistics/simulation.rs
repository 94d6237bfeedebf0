//! Simulated comparisons of equal and of different builds: how often the decision is wrong.

use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution as _, Normal};

use super::decision::{Rule, Says, decide};

/// Pairs of runs in a comparison: the fewest that a comparison accepts.
const PAIRS: usize = 10;
/// The figures that decide in one comparison, each with its own noise.
const FIGURES: usize = 8;
/// The level of all figures together, 0 to 1.
const LEVEL: f64 = 0.05;

/// A source of the logarithms of one figure in successive runs.
trait Noise {
    fn next(&mut self, random: &mut Xoshiro256PlusPlus) -> f64;
}

/// Normal noise of a few percent, as most figures have.
struct Steady(Normal<f64>);
/// Normal noise with rare outliers, as tail latencies have.
struct Outliers(Normal<f64>);
/// Normal noise on a machine that slowly gets slower and faster.
struct Drift(Normal<f64>, f64);

impl Noise for Steady {
    fn next(&mut self, random: &mut Xoshiro256PlusPlus) -> f64 {
        self.0.sample(random)
    }
}
impl Noise for Outliers {
    fn next(&mut self, random: &mut Xoshiro256PlusPlus) -> f64 {
        let (value, kind) = (self.0.sample(random), self.0.sample(random));
        // One run in ten.
        if kind > 0.038 { value + 0.7 } else { value }
    }
}
impl Noise for Drift {
    fn next(&mut self, random: &mut Xoshiro256PlusPlus) -> f64 {
        self.1 += self.0.sample(random);
        self.1
    }
}

/// Returns in how many of `times` comparisons some figure counts as worse. The figures of build B
/// are larger by `effect`.
fn worse(times: usize, seed: u64, noise: fn() -> Box<dyn Noise>, effect: f64, least: f64) -> usize {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let rule = Rule {
        level: LEVEL / FIGURES as f64,
        least,
        resamples: 100,
        seed: 1,
    };
    let mut figure = || {
        let mut noise = noise();
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            // Who is first is chance.
            let first = noise.next(&mut random);
            let second = noise.next(&mut random);
            let swap = rand::RngExt::random::<bool>(&mut random);
            let (one, other) = if swap {
                (second, first)
            } else {
                (first, second)
            };
            a.push(one);
            b.push(other + effect);
        }
        let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b - a).collect();
        let successive =
            |runs: &[f64]| -> Vec<f64> { runs.windows(2).map(|pair| pair[1] - pair[0]).collect() };
        // Without the noise floor the test and the interval must keep the rate alone.
        let equal = match effect {
            0.0 => Vec::new(),
            _ => [successive(&a), successive(&b)].concat(),
        };
        decide(&differences, &equal, &rule).unwrap().says == Says::Above
    };
    (0..times)
        .filter(|_| (0..FIGURES).filter(|_| figure()).count() > 0)
        .count()
}

fn normal(deviation: f64) -> Normal<f64> {
    Normal::new(0.0, deviation).unwrap()
}

#[test]
fn a_build_compared_with_itself_is_worse_no_more_often_than_stated() {
    const TIMES: usize = 200;
    let kinds: [fn() -> Box<dyn Noise>; 3] = [
        || Box::new(Steady(normal(0.03))),
        || Box::new(Outliers(normal(0.03))),
        || Box::new(Drift(normal(0.03), 0.0)),
    ];
    for (seed, noise) in (1..).zip(kinds) {
        let alarms = worse(TIMES, seed, noise, 0.0, 0.0);
        let most = (LEVEL * TIMES as f64) as usize;
        assert!(alarms <= most, "noise {seed}: {alarms} of {TIMES}");
    }
}

#[test]
fn what_is_worse_by_five_times_the_noise_is_found() {
    let steady = || -> Box<dyn Noise> { Box::new(Steady(normal(0.03))) };
    assert_eq!(worse(20, 9, steady, 0.15, 0.01), 20);
    // And it is not, where as much does not matter.
    assert_eq!(worse(20, 9, steady, 0.15, 0.3), 0);
}
