//! Whether honest users still notice an attack when it is over.

use serde::Serialize;
use trunkline_benches::pooled::Pool;
use trunkline_benches::rounds::middle;

use crate::judge::Round;
use crate::verdict::MORE_MS;

/// How much slower controls after an attack may be than those before the first one. Both share the processors with
/// the rest of the machine, so less than that is noise.
const FACTOR: f64 = 2.0;

/// The turns before the first attack, and as many after the last one.
pub(crate) const TURNS: usize = 3;

/// Controls before any attack, between attacks and after all of them: the median of the 99th percentiles of their turns, in
/// milliseconds. An attack that lingers is felt in every turn, while a pause of the machine moves single ones.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Lingering {
    /// Before the first attack.
    pub(crate) first_control_p99_ms: f64,
    /// The controls of all rounds but the first; 0 with fewer than two rounds.
    pub(crate) later_control_p99_ms: f64,
    /// After the attacker has left.
    pub(crate) last_control_p99_ms: f64,
}

impl Lingering {
    /// Compares the turns before, between and after attacks.
    pub(crate) fn of(first: &[Vec<u32>], rounds: &[Round], last: &[Vec<u32>]) -> Self {
        let later = rounds.iter().skip(1).map(|round| &round.control);
        Self {
            first_control_p99_ms: typical(first),
            later_control_p99_ms: typical(later),
            last_control_p99_ms: typical(last),
        }
    }

    /// Whether a control after an attack is slower than the bound.
    pub(crate) fn is_felt(&self) -> bool {
        let most = (self.first_control_p99_ms * FACTOR).max(self.first_control_p99_ms + MORE_MS);
        self.later_control_p99_ms.max(self.last_control_p99_ms) > most
    }
}

/// Returns the median of the 99th percentiles of turns, in milliseconds.
fn typical<'a>(turns: impl IntoIterator<Item = &'a Vec<u32>>) -> f64 {
    let p99 = |turn: &Vec<u32>| Pool::new([turn.as_slice()]).millis_of_all(0.99);
    let mut all: Vec<_> = turns.into_iter().map(p99).collect();
    middle(&mut all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(millis: &[u32]) -> Vec<Vec<u32>> {
        let turn = |millis| vec![millis * 1_000; 100];
        millis.iter().copied().map(turn).collect()
    }

    fn rounds(millis: &[u32]) -> Vec<Round> {
        let round = |control| Round {
            control,
            beside: Vec::new(),
            sink: None,
        };
        turns(millis).into_iter().map(round).collect()
    }

    fn is_felt(first: &[u32], later: &[u32], last: &[u32]) -> bool {
        Lingering::of(&turns(first), &rounds(later), &turns(last)).is_felt()
    }

    #[test]
    fn what_every_later_control_has_is_felt() {
        assert!(is_felt(&[1, 1, 1], &[1, 5, 5, 5, 5, 5], &[1, 1, 1]));
        assert!(is_felt(&[1, 1, 1], &[1; 6], &[500; 3]));
    }

    #[test]
    fn pauses_of_single_turns_are_not() {
        assert!(!is_felt(&[1, 1, 40], &[1, 60, 1, 2, 60, 1, 2], &[1, 30, 2]));
        assert!(!is_felt(&[1, 1, 1], &[], &[2, 2, 2]));
    }
}
