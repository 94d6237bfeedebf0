//! Judges latencies of short rounds: on a busy machine one round says little, and rounds in turns see the
//! same noise.

use serde::Serialize;

/// How much higher than beside nothing the 99th percentile may be.
const FACTOR: f64 = 1.1;

/// How many milliseconds the 99th percentile may be higher, if that is more.
const MORE_MS: f64 = 0.3;

/// The number of samples of the bootstrap.
const SAMPLES: usize = 2_000;

/// The part of the samples that lies outside the interval on each side.
const OUTSIDE: f64 = 0.025;

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

/// What rounds say about the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// The whole interval is within the bound.
    Within,
    /// The whole interval is beyond the bound.
    Beyond,
    /// The bound lies in the interval: more rounds or a quieter machine may tell.
    Undecided,
}

impl Verdict {
    /// Returns the word for a table.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Within => "within",
            Self::Beyond => "beyond",
            Self::Undecided => "undecided",
        }
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
    let beyond_ms = interval(&beyond);
    let [low, high] = beyond_ms;
    let verdict = if rounds.is_empty() {
        Verdict::Undecided
    } else if high <= 0.0 {
        Verdict::Within
    } else if low > 0.0 {
        Verdict::Beyond
    } else {
        Verdict::Undecided
    };
    let of = |part: fn(&Round) -> f64| median(&mut rounds.iter().map(part).collect::<Vec<_>>());
    let mut sinks: Vec<_> = rounds.iter().filter_map(|round| round.sink).collect();
    Judged {
        rounds: rounds.len(),
        control_p99_ms: of(|round| round.control),
        first_control_p99_ms: rounds.first().map_or(0.0, |round| round.control),
        later_control_p99_ms: {
            let later = rounds.iter().skip(1).map(|round| round.control);
            median(&mut later.collect::<Vec<_>>())
        },
        beside_p99_ms: of(|round| round.beside),
        sink_p99_ms: (!sinks.is_empty()).then(|| median(&mut sinks)),
        beyond_ms,
        verdict,
    }
}

/// Returns the median; 0 without values.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let (below, above) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match values.get(below).zip(values.get(above)) {
        Some((below, above)) => f64::midpoint(*below, *above),
        None => 0.0,
    }
}

/// Returns the interval of the median by the bootstrap. The same values always give the same interval.
fn interval(values: &[f64]) -> [f64; 2] {
    if values.is_empty() {
        return [0.0; 2];
    }
    // The constants of Knuth's MMIX; the upper bits are good.
    let mut state = 1_u64;
    let mut pick = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        values[(state >> 33) as usize % values.len()]
    };
    let mut medians: Vec<_> = (0..SAMPLES)
        .map(|_| median(&mut (0..values.len()).map(|_| pick()).collect::<Vec<_>>()))
        .collect();
    medians.sort_unstable_by(f64::total_cmp);
    let cut = (SAMPLES as f64 * OUTSIDE) as usize;
    [medians[cut], medians[SAMPLES - 1 - cut]]
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
        assert!(median(&mut []).abs() < 1e-9);
    }
}
