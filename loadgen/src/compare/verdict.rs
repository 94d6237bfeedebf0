//! The verdict on two sides, figure by figure.
//!
//! Each pair contributes the logarithm of B ÷ A, signed so that above zero is worse. With at least
//! [`PAIRS_MIN`] pairs taken in turns, [`decide`] separates differences from chance and noise.
//! Fewer pairs, or pairs not taken in turns, give only a ratio. Consecutive runs of one side serve
//! as equal runs.

use super::Sides;
use super::figures::{FIGURES, Figure};
use super::runs::Run;
use super::statistics::{Interval, RESAMPLES, Rule, Says, decide, hodges_lehmann, median};
use crate::exit::Exit;

/// The fewest pairs for a verdict. With fewer, chance alone often explains the result.
pub(super) const PAIRS_MIN: usize = 10;

/// How sure a comparison has to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strictness {
    /// The probability that a comparison of a build with itself finds a difference in any deciding figure.
    pub(super) level: f64,
    /// The least difference that matters, as a part.
    pub(super) least: f64,
    /// The resamples of intervals and noise.
    pub(super) resamples: usize,
}

impl Strictness {
    /// The strictness of `compare`, where nothing else is said.
    pub(super) const COMPARE: Self = Self {
        level: 0.05,
        least: 0.01,
        resamples: RESAMPLES,
    };

    /// The strictness of a gate. It runs for every change, and an alarm stops that.
    pub(super) const GATE: Self = Self {
        level: 0.001,
        ..Self::COMPARE
    };
}

/// The seed of the resampling. It is fixed, so that the same runs always give the same page.
const SEED: u64 = 42;

/// A figure of both sides.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) figure: &'static Figure,
    /// Medians.
    pub(super) a: f64,
    pub(super) b: f64,
    /// B ÷ A of the only pair, or the centre over all pairs.
    pub(super) ratio: f64,
    /// The verdict on the ratio; `None` with too few pairs.
    pub(super) judged: Option<JudgedRun>,
}

/// The verdict on a ratio.
#[derive(Debug)]
pub(super) struct JudgedRun {
    /// The interval that holds the true ratio at the stated confidence.
    pub(super) interval: Interval,
    /// The probability that chance alone gives such a difference.
    pub(super) p: f64,
    /// The ratio, above 1, that is no more than noise or does not matter.
    pub(super) floor: f64,
    pub(super) says: Says,
}

/// The result of a comparison.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) exit: Exit,
    pub(super) rows: Vec<Row>,
    /// The confidence of the intervals; `None` without intervals.
    pub(super) confidence: Option<f64>,
    pub(super) notes: Vec<String>,
}

/// Judges the runs of both sides.
pub(super) fn judge(sides: &Sides, strictness: Strictness) -> Verdict {
    let pairs = sides.a.len();
    let measured: Vec<_> = FIGURES
        .iter()
        .filter_map(|figure| Some((figure, values(figure, &sides.a)?, values(figure, &sides.b)?)))
        .collect();
    let deciding = measured.iter().filter(|it| it.0.decides).count();
    let level = strictness.level / deciding.max(1) as f64;
    let rule = Rule {
        level,
        least: strictness.least.ln_1p(),
        resamples: strictness.resamples,
        seed: SEED,
    };
    let reason = unfit(sides);
    let rule = reason.is_none().then_some(rule);
    let rows: Vec<_> = measured
        .into_iter()
        .filter_map(|(figure, a, b)| row(figure, &a, &b, rule.as_ref()))
        .collect();
    let says = |says: Says| {
        let of = move |row: &Row| row.judged.as_ref().is_some_and(|it| it.says == says);
        rows.iter().any(|row| row.figure.decides && of(row))
    };
    let exit = if rule.is_none() || deciding == 0 {
        Exit::Inconclusive
    } else if says(Says::Above) {
        Exit::Regression
    } else if says(Says::PerhapsAbove) {
        Exit::Inconclusive
    } else {
        Exit::Ok
    };
    let mut notes: Vec<_> = reason.into_iter().collect();
    if pairs < PAIRS_MIN {
        notes.push(format!(
            "run both in turns, {PAIRS_MIN} times each at least and in random order within each pair, then \
             `loadgen compare A1 A2 ... --with B1 B2 ...`"
        ));
    }
    if deciding == 0 {
        notes.push("no figure is in all of the runs".into());
    }
    Verdict {
        exit,
        rows,
        confidence: rule.map(|_| 1.0 - level),
        notes,
    }
}

/// Returns the reason why there is no verdict on noise; `None` if there is one.
fn unfit(sides: &Sides) -> Option<String> {
    let pairs = sides.a.len();
    if pairs == 1 {
        return Some("one pair says nothing about noise: only the plain ratio is known".into());
    }
    if pairs < PAIRS_MIN {
        return Some(format!(
            "{pairs} pairs say too little about noise: only their ratio is known"
        ));
    }
    let ended = |pair: usize| [sides.a[pair].ended(), sides.b[pair].ended()];
    let in_turns = (1..pairs).all(|next| ended(next - 1).iter().max() <= ended(next).iter().min());
    (!in_turns).then(|| {
        "the runs were not taken in turns, so a machine that changed meanwhile looks like a difference \
         of the builds: only the ratio is known"
            .into()
    })
}

/// Returns a figure of all runs of a side; `None` if a run lacks it, or if a value is not above
/// zero, because ratios need that.
fn values(figure: &Figure, runs: &[Run]) -> Option<Vec<f64>> {
    runs.iter()
        .map(|run| (figure.value)(&run.summary).filter(|it| it.is_finite() && *it > 0.0))
        .collect()
}

fn row(figure: &'static Figure, a: &[f64], b: &[f64], rule: Option<&Rule>) -> Option<Row> {
    let worse = if figure.more_is_better { -1.0 } else { 1.0 };
    let logs: Vec<_> = a.iter().zip(b).map(|(a, b)| worse * (b / a).ln()).collect();
    let successive = |runs: &[f64]| -> Vec<f64> {
        let pairs = runs.windows(2);
        pairs.map(|pair| (pair[1] / pair[0]).ln()).collect()
    };
    let equal = [successive(a), successive(b)].concat();
    let decision = rule.and_then(|rule| decide(&logs, &equal, rule));
    let ratio = |log: f64| (worse * log).exp();
    Some(Row {
        figure,
        a: median(a)?,
        b: median(b)?,
        ratio: ratio(hodges_lehmann(&logs)?),
        judged: decision.map(|it| {
            let ends = [it.interval.low, it.interval.high].map(ratio);
            JudgedRun {
                interval: Interval {
                    low: ends[0].min(ends[1]),
                    high: ends[0].max(ends[1]),
                },
                p: it.p,
                floor: it.floor.exp(),
                says: it.says,
            }
        }),
    })
}
