//! Latencies of single messages, round by round: what is judged.

use std::sync::{Arc, Mutex, PoisonError};

use crate::judge::Round;
use crate::turns::{COUNTED, Turn};

/// Nanoseconds of a microsecond.
const MICROSECOND: u64 = 1_000;

/// The latencies of all messages. The thread of the honest users adds to them, and the measuring thread
/// looks at them between rounds.
#[derive(Debug, Default, Clone)]
pub(crate) struct Samples(Arc<Mutex<[Vec<Part>; COUNTED.len()]>>);

/// The latencies of one turn of one round.
#[derive(Debug)]
struct Part {
    /// When its first message was due, in nanoseconds.
    begin: u64,
    /// In microseconds.
    latencies: Vec<u32>,
}

impl Samples {
    /// Begins a round of a turn of [`COUNTED`] with the message that is due at this time, in nanoseconds.
    pub(crate) fn begin_round(&self, turn: usize, due: u64) {
        let part = Part {
            begin: due,
            latencies: Vec::new(),
        };
        self.with(|turns| turns[turn].push(part));
    }

    /// Adds the latency of a message of a turn of [`COUNTED`] that was due at this time, both in nanoseconds.
    pub(crate) fn record(&self, turn: usize, due: u64, latency: u64) {
        let micros = u32::try_from(latency / MICROSECOND).unwrap_or(u32::MAX);
        self.with(|turns| {
            let parts = &mut turns[turn];
            let later = parts.partition_point(|part| part.begin <= due);
            if let Some(part) = later.checked_sub(1).and_then(|at| parts.get_mut(at)) {
                part.latencies.push(micros);
            }
        });
    }

    /// Returns the rounds: none if the honest users had no processor for a whole turn, because it is not known then
    /// which turns belong together.
    pub(crate) fn rounds(&self) -> Vec<Round> {
        let [controls, beside, sinks] =
            [Turn::Before, Turn::Attack, Turn::Sink].map(|turn| self.of(turn));
        let has_sinks = !sinks.is_empty();
        if controls.len() != beside.len() || has_sinks && sinks.len() != beside.len() {
            return Vec::new();
        }
        let mut sinks = sinks.into_iter();
        let rounds = controls.into_iter().zip(beside);
        let round = |(control, beside)| Round {
            control,
            beside,
            sink: sinks.next(),
        };
        rounds.map(round).collect()
    }

    /// Returns the latencies of a turn, each time that it came.
    pub(crate) fn of(&self, turn: Turn) -> Vec<Vec<u32>> {
        let Some(at) = turn.counted() else {
            return Vec::new();
        };
        let of = |part: &Part| part.latencies.clone();
        self.with(|turns| turns[at].iter().map(of).collect())
    }

    fn with<T>(&self, look: impl FnOnce(&mut [Vec<Part>; COUNTED.len()]) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    fn at(turn: Turn) -> usize {
        turn.counted().unwrap()
    }

    #[test]
    fn a_message_belongs_to_the_round_in_which_it_is_due() {
        let samples = Samples::default();
        let (control, attack) = (at(Turn::Before), at(Turn::Attack));
        for begin in [10, 30] {
            samples.begin_round(control, begin);
            samples.begin_round(attack, begin + 10);
        }
        // The last one comes when the next round has begun.
        for (turn, due, millis) in [
            (control, 30, 5),
            (control, 10, 1),
            (attack, 20, 7),
            (control, 19, 2),
        ] {
            samples.record(turn, due, millis * MILLISECOND);
        }
        let [first, second] = &samples.rounds()[..] else {
            panic!("two rounds");
        };
        assert_eq!(first.control, [1_000, 2_000]);
        assert_eq!(first.beside, [7_000]);
        assert_eq!(
            (&second.control[..], &second.beside[..]),
            (&[5_000][..], &[][..])
        );
        assert_eq!(second.sink, None);
    }

    #[test]
    fn turns_that_do_not_belong_together_are_no_rounds() {
        let samples = Samples::default();
        samples.begin_round(at(Turn::Before), 10);
        assert!(samples.rounds().is_empty());
        samples.begin_round(at(Turn::Attack), 20);
        assert_eq!(samples.rounds().len(), 1);
        for begin in [30, 40] {
            samples.begin_round(at(Turn::Sink), begin);
        }
        assert!(samples.rounds().is_empty());
    }
}
