//! Judges latencies of short rounds: on a busy machine one round says little, and rounds in turns see the
//! same noise.

use serde::Serialize;
use trunkline_benches::rounds::{Verdict, interval, middle};

/// How much higher than beside nothing the 99th percentile may be.
const FACTOR: f64 = 1.1;

/// How many milliseconds the 99th percentile may be higher, if that is more.
const MORE_MS: f64 = 0.3;

/// The 99th percentiles of one round in milliseconds, taken within seconds of each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// Beside nothing.
    pub(crate) control: f64,
    /// Beside the attack.
    pub(crate) beside: f64,
    /// Beside the same load on a server that does nothing, if that was measured.
    pub(crate) sink: Option<f64>,
}

impl Round {
    /// Returns by how many milliseconds the attack is beyond the bound. Less than 0: it is within. What the
    /// machine alone does is no fault of the gateway.
    fn beyond(self) -> f64 {
        let alone = self.sink.unwrap_or(0.0).max(self.control);
        self.beside - (alone * FACTOR).max(alone + MORE_MS)
    }
}

/// The medians of all rounds in milliseconds, and the verdict.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Judged {
    pub(crate) rounds: usize,
    pub(crate) control_p99_ms: f64,
    /// The control before the first attack.
    pub(crate) first_control_p99_ms: f64,
    /// The median of the controls after attacks. What an attack leaves for seconds is in them.
    pub(crate) later_control_p99_ms: f64,
    pub(crate) beside_p99_ms: f64,
    pub(crate) sink_p99_ms: Option<f64>,
    /// The 95 % interval of the median of what is beyond the bound.
    pub(crate) beyond_ms: [f64; 2],
    pub(crate) verdict: Verdict,
}

/// Judges rounds. Without rounds, nothing is decided.
pub(crate) fn judge(rounds: &[Round]) -> Judged {
    let beyond: Vec<_> = rounds.iter().map(|round| round.beyond()).collect();
    let of = |part: fn(&Round) -> f64| middle(&mut rounds.iter().map(part).collect::<Vec<_>>());
    let mut sinks: Vec<_> = rounds.iter().filter_map(|round| round.sink).collect();
    Judged {
        rounds: rounds.len(),
        control_p99_ms: of(|round| round.control),
        first_control_p99_ms: rounds.first().map_or(0.0, |round| round.control),
        later_control_p99_ms: {
            let later = rounds.iter().skip(1).map(|round| round.control);
            middle(&mut later.collect::<Vec<_>>())
        },
        beside_p99_ms: of(|round| round.beside),
        sink_p99_ms: (!sinks.is_empty()).then(|| middle(&mut sinks)),
        beyond_ms: interval(&beyond),
        verdict: Verdict::of(&beyond, 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(control: [f64; 7], more: f64, sink: Option<f64>) -> Vec<Round> {
        let round = |control| Round {
            control,
            beside: control + more,
            sink: sink.map(|more| control + more),
        };
        control.into_iter().map(round).collect()
    }

    const NOISE: [f64; 7] = [0.6, 0.9, 2.4, 0.7, 1.1, 0.8, 5.0];

    #[test]
    fn rounds_in_turns_see_the_same_noise() {
        let judged = judge(&rounds(NOISE, 0.1, None));
        assert_eq!(judged.verdict, Verdict::Within);
        assert!((judged.control_p99_ms - 0.9).abs() < 1e-9);
        assert_eq!(judge(&rounds(NOISE, 1.0, None)).verdict, Verdict::Beyond);
    }

    #[test]
    fn what_the_machine_alone_does_is_no_fault() {
        assert_eq!(
            judge(&rounds(NOISE, 1.0, Some(0.9))).verdict,
            Verdict::Within
        );
        assert_eq!(
            judge(&rounds(NOISE, 1.0, Some(0.1))).verdict,
            Verdict::Beyond
        );
    }

    #[test]
    fn rounds_that_disagree_decide_nothing() {
        let mut mixed = rounds(NOISE, 0.1, None);
        for round in &mut mixed[..3] {
            round.beside = round.control + 3.0;
        }
        assert_eq!(judge(&mixed).verdict, Verdict::Undecided);
    }

    #[test]
    fn without_rounds_nothing_is_decided() {
        assert_eq!(judge(&[]).verdict, Verdict::Undecided);
    }
}
