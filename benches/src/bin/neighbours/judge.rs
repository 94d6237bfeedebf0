//! Judges the 99th percentile of the honest users: pooled over rounds of turns, with an interval that says whether
//! the rounds decide.

use serde::{Deserialize, Serialize};
use trunkline_benches::pooled::{Pool, interval};
use trunkline_benches::rounds::Verdict;

/// How much higher than beside nothing the 99th percentile may be.
const FACTOR: f64 = 1.1;

/// How many milliseconds the 99th percentile may be higher, if that is more.
const MORE_MS: f64 = 0.3;

/// The percentile that is judged.
const QUANTILE: f64 = 0.99;

/// The part of the samples that lies outside the interval on each side, for all looks together.
const OUTSIDE: f64 = 0.025;

/// The fewest rounds that decide: the bootstrap of fewer knows too little about how rounds differ.
const LEAST: usize = 6;

/// How much of one processor the attacker's own programs take at least where the sink counts. Below that, the bound
/// is that of the control alone.
const OWN_CORES: f64 = 0.1;

/// The latencies of one round in microseconds, taken within seconds of each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Round {
    /// Beside nothing.
    pub(crate) control: Vec<u32>,
    /// Beside the attack.
    pub(crate) beside: Vec<u32>,
    /// Beside the same load on a server that does nothing, if that was measured.
    pub(crate) sink: Option<Vec<u32>>,
}

/// How many rounds there are at most, and what the attacker's programs take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// The most rounds.
    pub(crate) rounds: usize,
    /// The part of one processor that the attacker's thread and the sink take beside the sink.
    pub(crate) own_cores: f64,
}

impl Rules {
    /// Returns after how many rounds the judge looks: after a quarter, after half and after all of them, if these are
    /// enough to decide.
    pub(crate) fn looks(self) -> Vec<usize> {
        let early = [self.rounds / 4, self.rounds / 2];
        let early = early.into_iter().filter(|&rounds| rounds >= LEAST);
        early.chain([self.rounds]).collect()
    }
}

/// How far beyond a bound the 99th percentile is.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Beyond {
    /// In milliseconds. Less than 0: it is within.
    pub(crate) ms: f64,
    /// The 95 % interval, wider if the judge looks several times.
    pub(crate) interval_ms: [f64; 2],
    pub(crate) verdict: Verdict,
}

impl Beyond {
    fn of(beside: &Pool, alone: &Pool, rounds: usize, outside: f64) -> Self {
        let beyond = |times: &[usize]| {
            let alone = alone.millis(QUANTILE, times);
            beside.millis(QUANTILE, times) - (alone * FACTOR).max(alone + MORE_MS)
        };
        let [low, high] = interval(rounds, outside, beyond);
        let verdict = if rounds < LEAST {
            Verdict::Undecided
        } else if high <= 0.0 {
            Verdict::Within
        } else if low > 0.0 {
            Verdict::Beyond
        } else {
            Verdict::Undecided
        };
        Self {
            ms: beyond(&vec![1; rounds]),
            interval_ms: [low, high],
            verdict,
        }
    }
}

/// The 99th percentiles of all rounds in milliseconds, and the verdict.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Judged {
    pub(crate) rounds: usize,
    pub(crate) control_p99_ms: f64,
    pub(crate) beside_p99_ms: f64,
    pub(crate) sink_p99_ms: Option<f64>,
    /// Against the control.
    pub(crate) beyond_control: Beyond,
    /// Against the sink, if it was measured.
    pub(crate) beyond_sink: Option<Beyond>,
    /// Whether the attacker's own programs take enough of the processors for the sink to count.
    pub(crate) sink_counts: bool,
    pub(crate) verdict: Verdict,
}

impl Judged {
    /// Returns whether it is within the bound of the sink alone.
    pub(crate) fn is_by_sink(&self) -> bool {
        self.verdict == Verdict::Within && self.beyond_control.verdict != Verdict::Within
    }

    /// Returns what is beyond the bound that counts: that of the sink, if the sink counts.
    pub(crate) fn beyond(&self) -> Beyond {
        let by_sink = self.beyond_sink.filter(|_| self.sink_counts);
        match self.beyond_control.verdict {
            Verdict::Within => self.beyond_control,
            _ => by_sink.unwrap_or(self.beyond_control),
        }
    }
}

/// Judges rounds. Fewer than six decide nothing.
pub(crate) fn judge(rounds: &[Round], rules: Rules) -> Judged {
    let outside = OUTSIDE / rules.looks().len() as f64;
    let pool = |of: fn(&Round) -> &[u32]| Pool::new(rounds.iter().map(of));
    let control = pool(|round| &round.control);
    let beside = pool(|round| &round.beside);
    let sink = pool(|round| round.sink.as_deref().unwrap_or_default());
    let has_sinks = !rounds.is_empty() && rounds.iter().all(|round| round.sink.is_some());
    let against = |alone| Beyond::of(&beside, alone, rounds.len(), outside);
    let beyond_control = against(&control);
    let beyond_sink = has_sinks.then(|| against(&sink));
    let sink_counts = has_sinks && rules.own_cores >= OWN_CORES;
    Judged {
        rounds: rounds.len(),
        control_p99_ms: control.millis_of_all(QUANTILE),
        beside_p99_ms: beside.millis_of_all(QUANTILE),
        sink_p99_ms: has_sinks.then(|| sink.millis_of_all(QUANTILE)),
        beyond_control,
        beyond_sink,
        sink_counts,
        verdict: together(
            beyond_control.verdict,
            beyond_sink.filter(|_| sink_counts).map(|sink| sink.verdict),
        ),
    }
}

/// What the machine alone does is no fault of the gateway: within one of the two bounds is enough, and
/// beyond is what is beyond both.
fn together(control: Verdict, sink: Option<Verdict>) -> Verdict {
    match (control, sink.unwrap_or(control)) {
        (Verdict::Within, _) | (_, Verdict::Within) => Verdict::Within,
        (Verdict::Beyond, Verdict::Beyond) => Verdict::Beyond,
        _ => Verdict::Undecided,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use trunkline_benches::pooled::Draw;

    pub(crate) const RULES: Rules = Rules {
        rounds: 12,
        own_cores: 0.5,
    };

    /// Latencies of a turn in microseconds, on a machine that pauses. Most latencies are 200 to 600. `slow` of a thousand
    /// take up to 4,000 more. `more` is added to each latency.
    pub(crate) fn turn(draw: &mut Draw, slow: usize, more: u32) -> Vec<u32> {
        let mut latency = || {
            let quick = 200 + draw.below(400);
            let pause = match draw.below(1_000) < slow {
                true => draw.below(4_000),
                false => 0,
            };
            (quick + pause) as u32 + more
        };
        (0..1_500).map(|_| latency()).collect()
    }

    /// Rounds with pauses of another frequency in each, the same for its turns.
    pub(crate) fn rounds(seed: u64, more: u32, sink: Option<u32>) -> Vec<Round> {
        let mut draw = Draw::new(seed);
        let round = |_| {
            let slow = 4 + draw.below(12);
            Round {
                control: turn(&mut draw, slow, 0),
                beside: turn(&mut draw, slow, more),
                sink: sink.map(|more| turn(&mut draw, slow, more)),
            }
        };
        (0..RULES.rounds).map(round).collect()
    }

    #[test]
    fn what_is_planted_is_found_and_nothing_else() {
        let judged = judge(&rounds(1, 0, None), RULES);
        assert_eq!(judged.verdict, Verdict::Within, "{judged:?}");
        let judged = judge(&rounds(1, 2_000, None), RULES);
        assert_eq!(judged.verdict, Verdict::Beyond, "{judged:?}");
        assert!((judged.beyond().ms - 1.7).abs() < 0.6, "{judged:?}");
    }

    #[test]
    fn what_the_machine_alone_does_is_no_fault() {
        let judged = judge(&rounds(2, 2_000, Some(1_950)), RULES);
        assert_eq!(judged.verdict, Verdict::Within, "{judged:?}");
        assert!(judged.is_by_sink());
        let judged = judge(&rounds(2, 2_000, Some(100)), RULES);
        assert_eq!(judged.verdict, Verdict::Beyond, "{judged:?}");
    }

    #[test]
    fn a_sink_counts_only_if_the_attackers_programs_take_the_processors() {
        let few = Rules {
            own_cores: 0.05,
            ..RULES
        };
        let judged = judge(&rounds(2, 2_000, Some(1_950)), few);
        assert_eq!(judged.verdict, Verdict::Beyond, "{judged:?}");
        assert_eq!(judged.beyond_sink.unwrap().verdict, Verdict::Within);
    }

    #[test]
    fn rounds_that_disagree_decide_nothing() {
        let mut mixed = rounds(3, 0, None);
        for round in mixed.iter_mut().step_by(6) {
            round.beside.iter_mut().for_each(|micros| *micros += 600);
        }
        let judged = judge(&mixed, RULES);
        assert_eq!(judged.verdict, Verdict::Undecided, "{judged:?}");
    }

    #[test]
    fn few_rounds_decide_nothing() {
        for few in [0, 1, LEAST - 1] {
            let judged = judge(&rounds(1, 0, None)[..few], RULES);
            assert_eq!(judged.verdict, Verdict::Undecided, "{few}");
        }
        let judged = judge(&rounds(1, 0, None)[..LEAST], RULES);
        assert_eq!(judged.rounds, LEAST);
    }

    #[test]
    fn the_judge_looks_where_rounds_can_decide() {
        let looks = |rounds| Rules { rounds, ..RULES }.looks();
        assert_eq!(looks(40), [10, 20, 40]);
        assert_eq!(looks(12), [6, 12]);
        assert_eq!(looks(7), [7]);
    }
}
