//! The results of a search.

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

use super::Trial;
use super::search::Next;
use crate::args::FindMaxArgs;
use crate::exit::Exit;
use crate::scenario::load::Loaded;
use crate::units::{micros, readable};

/// The version of the JSON form; fields are added under the same number, never renamed.
const SCHEMA: u32 = 1;
/// The least idle part of the machine's processors. With less, they count as used up.
const USED_UP: f64 = 0.05;

/// Returns the lines before a search: its goal and its limits.
pub(super) fn header(loaded: &Loaded, args: &FindMaxArgs, assumed: bool) -> Vec<String> {
    let thresholds = &loaded.scenario.thresholds;
    let each = thresholds.iter().flat_map(|(metric, conditions)| {
        let conditions = conditions.iter();
        conditions.map(move |condition| format!("{metric} {condition}"))
    });
    let note = if assumed {
        " (the latency is assumed: the scenario has no threshold of one)"
    } else {
        ""
    };
    vec![
        format!(
            "loadgen find-max {} (seed {}): the highest rate with {}{note}",
            loaded.name,
            args.run.seed.unwrap_or(loaded.scenario.seed),
            each.collect::<Vec<_>>().join(", ")
        ),
        format!(
            "{:>5} {:>12} {:>12} {:>12} {:>10} {:>10} {:>6}  verdict",
            "trial", "offered/s", "achieved/s", "worst second", "e2e p50", "e2e p99", "idle"
        ),
    ]
}

/// Returns the line of a trial that came after others.
pub(super) fn row(trial: &Trial, before: &[Trial]) -> String {
    let same = || before.iter().filter(|it| it.rate == trial.rate);
    let verdict = match trial.exit {
        Exit::Ok if !trial.held() => trial.why.last().cloned().unwrap_or_default(),
        Exit::Ok if same().any(|it| !it.held()) => "holds, and did not before".to_owned(),
        Exit::Ok if trial.again => "holds again".to_owned(),
        Exit::Ok => "holds".to_owned(),
        exit => format!(
            "{}: {}",
            exit.verdict(),
            trial.why.first().map_or("", String::as_str)
        ),
    };
    format!(
        "{:>5} {:>12} {:>12} {:>12} {:>10} {:>10} {:>4.0} %  {verdict}",
        trial.number,
        readable(trial.rate),
        readable(trial.achieved),
        trial.worst.map_or("–".into(), readable),
        trial.e2e_p50.map_or("–".into(), micros),
        trial.e2e_p99.map_or("–".into(), micros),
        trial.idle * 100.0
    )
}

/// Returns the trials of a rate that held.
fn at(trials: &[Trial], rate: f64) -> impl Iterator<Item = &Trial> {
    let holds = move |trial: &&Trial| trial.held() && trial.rate == rate;
    trials.iter().filter(holds)
}

/// Returns the trials that did not hold. A trial that was interrupted tells nothing about its rate.
fn failed(trials: &[Trial]) -> impl Iterator<Item = &Trial> {
    let fails = |trial: &&Trial| !trial.held() && trial.exit != Exit::Aborted;
    trials.iter().filter(fails)
}

/// A rate, and how its trials ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tried {
    rate: f64,
    held: usize,
    trials: usize,
}

impl Tried {
    fn of(trials: &[Trial], rate: f64) -> Self {
        let held = at(trials, rate).count();
        let failed = failed(trials).filter(|trial| trial.rate == rate).count();
        Self {
            rate,
            held,
            trials: held + failed,
        }
    }

    fn json(self) -> Value {
        json!({ "rate": self.rate, "held": self.held, "trials": self.trials })
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (held, trials) = (self.held, self.trials);
        let word = if trials == 1 { "trial" } else { "trials" };
        write!(
            to,
            "{}/s (held in {held} of {trials} {word})",
            readable(self.rate)
        )
    }
}

/// The rates between which the limit lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bracket {
    /// The highest rate that held each time it was tried; `None` if no rate did.
    held: Option<Tried>,
    /// The lowest rate that did not hold at least once; `None` if all rates held.
    failed: Option<Tried>,
    /// The highest rate that held at least once, if it is at least the one that failed.
    once: Option<Tried>,
}

/// Returns the rates between which the limit lies, by the trials. A rate that was found stands for all
/// below it.
pub(super) fn bracket(trials: &[Trial], found: Option<f64>) -> Bracket {
    let least = found.unwrap_or(0.0);
    let rates = failed(trials).map(|trial| trial.rate);
    let failed = rates.filter(|rate| *rate > least).reduce(f64::min);
    let held = || trials.iter().filter(|trial| trial.held()).map(|it| it.rate);
    let is_below = |rate: &f64| failed.is_none_or(|failed| *rate < failed);
    let each_time = found.or_else(|| held().filter(is_below).reduce(f64::max));
    let once = held().filter(|rate| !is_below(rate)).reduce(f64::max);
    let [held, failed, once] =
        [each_time, failed, once].map(|rate| rate.map(|rate| Tried::of(trials, rate)));
    Bracket { held, failed, once }
}

/// Returns the lines on the range that the limit is in, and on why no single rate is named.
fn bracket_lines(bracket: Bracket) -> Vec<String> {
    let range = match (bracket.held, bracket.failed) {
        (Some(held), Some(failed)) => format!("the limit lies between {held} and {failed}"),
        (Some(held), None) => format!("the limit lies above {held}: no rate was too high"),
        (None, Some(failed)) => format!("the limit lies below {failed}: no rate held each time"),
        (None, None) => "unknown: no trial came to its end".to_owned(),
    };
    let once = bracket.once;
    let moved =
        once.map(|once| format!("moving        the limit was higher before or later: {once}"));
    let range = format!("bracket       {range}");
    std::iter::once(range).chain(moved).collect()
}

/// Returns the lowest rate that did not hold.
fn limit(trials: &[Trial], above: f64) -> Option<&Trial> {
    let failed = failed(trials).filter(|trial| trial.rate >= above);
    failed.min_by(|a, b| a.rate.total_cmp(&b.rate))
}

/// Returns a sentence on which side was the limit.
fn side(trial: &Trial) -> &'static str {
    match trial.exit {
        _ if trial.idle < USED_UP => "machine",
        Exit::Invalid => "generator",
        _ => "gateway",
    }
}

fn because(trial: &Trial) -> String {
    let why = trial.why.join("; ");
    let side = match side(trial) {
        "machine" => format!(
            "the machine: {:.1} % of its processors were idle",
            trial.idle * 100.0
        ),
        "generator" => "this generator, not the gateway".to_owned(),
        _ => "the gateway".to_owned(),
    };
    format!("limit         {side}; at {}/s: {why}", readable(trial.rate))
}

/// Returns the exit code and the lines after a search.
pub(super) fn verdict(end: Next, trials: &[Trial]) -> (Exit, Vec<String>) {
    let mut lines = vec![String::new()];
    let exit = match end {
        Next::Found { rate, at_the_top } => {
            let achieved = || at(trials, rate).map(|trial| trial.achieved);
            let p99 = || at(trials, rate).filter_map(|trial| trial.e2e_p99);
            lines.push(format!(
                "found         {} messages/s hold, {} of {} trials: achieved {} to {}/s, e2e p99 {} to {}",
                readable(rate),
                at(trials, rate).count(),
                Tried::of(trials, rate).trials,
                readable(achieved().fold(f64::INFINITY, f64::min)),
                readable(achieved().fold(0.0, f64::max)),
                p99().min().map_or("–".into(), micros),
                p99().max().map_or("–".into(), micros),
            ));
            lines.push(match limit(trials, rate) {
                Some(trial) => because(trial),
                None if at_the_top => "limit         none up to --to".into(),
                None => String::new(),
            });
            if trials.iter().all(|trial| trial.steady.is_none()) {
                lines.push(
                    "NOT CHECKED   the work that the gateway puts off: --control names its control port"
                        .into(),
                );
            }
            Exit::Ok
        }
        Next::Nothing => {
            lines.push("found         no rate holds".into());
            lines.extend(limit(trials, 0.0).map(because));
            Exit::Threshold
        }
        Next::Inconclusive | Next::Try(_) => {
            lines.push(
                "found         no single rate: rates held once and not again; stop other programs on the machine, or use longer trials (--duration)"
                    .into(),
            );
            lines.extend(bracket_lines(bracket(trials, None)));
            lines.extend(limit(trials, 0.0).map(because));
            Exit::Inconclusive
        }
    };
    lines.push(format!("{} (exit {})", exit.verdict(), exit.code()));
    (exit, lines)
}

/// Returns the lines after a search that a trial ended.
pub(super) fn broken(trials: &[Trial], folder: &Path) -> Vec<String> {
    let Some(last) = trials.last() else {
        return Vec::new();
    };
    let why = last.why.iter().map(|why| format!(": {why}"));
    let mut lines = early(trials, folder);
    lines.insert(
        1,
        format!(
            "trial {} ended with {} (exit {}){}",
            last.number,
            last.exit.verdict(),
            last.exit.code(),
            why.collect::<String>()
        ),
    );
    lines
}

/// Returns the lines after a search that ended early: the bracket of its trials, and their folder.
pub(super) fn early(trials: &[Trial], folder: &Path) -> Vec<String> {
    let bracket = bracket_lines(bracket(trials, None));
    let results = format!("results: {}", folder.display());
    std::iter::once(String::new())
        .chain(bracket)
        .chain([results])
        .collect()
}

/// Returns the table of the trials for programs.
pub(super) fn json(name: &str, end: Next, exit: Exit, trials: &[Trial]) -> Value {
    let found = match end {
        Next::Found { rate, .. } => Some(rate),
        _ => None,
    };
    let limit = limit(trials, found.unwrap_or(0.0));
    let bracket = bracket(trials, found);
    let rate = |tried: Option<Tried>| tried.map(|tried| tried.rate);
    let evidence = [bracket.held, bracket.failed, bracket.once];
    let evidence: Vec<Value> = evidence.into_iter().flatten().map(Tried::json).collect();
    let trials: Vec<Value> = trials
        .iter()
        .map(|trial| {
            json!({
                "trial": trial.number,
                "offered": trial.rate,
                "again": trial.again,
                "verdict": trial.exit.verdict(),
                "achieved": trial.achieved,
                "e2e_us": { "p50": trial.e2e_p50, "p99": trial.e2e_p99 },
                "worst_second": trial.worst,
                "steady": trial.steady,
                "idle": trial.idle,
                "why": trial.why,
            })
        })
        .collect();
    json!({
        "schema": SCHEMA,
        "scenario": name,
        "verdict": exit.verdict(),
        "exit_code": exit.code(),
        "rate": found,
        "bracket": {
            "held": rate(bracket.held),
            "failed": rate(bracket.failed),
            "once": rate(bracket.once),
            "evidence": evidence,
        },
        "limit": limit.map(|trial| json!({
            "side": side(trial),
            "rate": trial.rate,
            "why": trial.why,
        })),
        "trials": trials,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(number: usize, rate: f64, exit: Exit, p99: u64) -> Trial {
        Trial {
            number,
            rate,
            again: number > 3,
            exit,
            achieved: rate * 0.99,
            e2e_p50: Some(p99 / 2),
            e2e_p99: Some(p99),
            worst: Some(rate * 0.9),
            steady: None,
            idle: 0.4,
            why: match exit {
                Exit::Ok => Vec::new(),
                _ => vec![format!("reason {number}")],
            },
        }
    }

    /// Returns the rates of a bracket: held each time, did not hold, and held at least once.
    fn between(trials: &[Trial], found: Option<f64>) -> [Option<f64>; 3] {
        let Bracket { held, failed, once } = bracket(trials, found);
        [held, failed, once].map(|tried| tried.map(|tried| tried.rate))
    }

    fn trials() -> Vec<Trial> {
        vec![
            trial(1, 1000.0, Exit::Ok, 10_000),
            trial(2, 2000.0, Exit::Threshold, 900_000),
            trial(3, 1414.0, Exit::Invalid, 20_000),
            trial(4, 1000.0, Exit::Ok, 30_000),
        ]
    }

    const FOUND: Next = Next::Found {
        rate: 1000.0,
        at_the_top: false,
    };

    #[test]
    fn what_is_found_has_its_spread_and_its_limit() {
        let (exit, lines) = verdict(FOUND, &trials());
        let text = lines.join("\n");
        assert_eq!(exit, Exit::Ok);
        for words in [
            "1,000 messages/s hold, 2 of 2 trials",
            "990.0 to 990.0/s",
            "10.00 ms to 30.00 ms",
            "this generator",
            "at 1,414/s: reason 3",
            "NOT CHECKED   the work that the gateway puts off",
        ] {
            assert!(text.contains(words), "no {words} in {text}");
        }
        let json = json("smoke", FOUND, exit, &trials());
        assert_eq!(json["rate"], 1000.0);
        assert_eq!(json["limit"]["side"], "generator");
        assert_eq!(json["trials"].as_array().map(Vec::len), Some(4));
    }

    #[test]
    fn a_rate_that_was_put_off_did_not_hold() {
        let mut trials = trials();
        trials.truncate(1);
        assert!(row(&trials[0], &[]).ends_with("holds"));
        trials[0].steady = Some(false);
        trials[0].why = vec!["not steady: the gateway put off 9 s of work".into()];
        assert!(row(&trials[0], &[]).ends_with("put off 9 s of work"));
        assert_eq!(between(&trials, None), [None, Some(1000.0), None]);
        let (_, lines) = verdict(Next::Nothing, &trials);
        assert!(lines.join("\n").contains("at 1,000/s: not steady"));
    }

    #[test]
    fn the_side_that_was_the_limit() {
        let mut trials = trials();
        trials.remove(2);
        assert_eq!(side(&trials[1]), "gateway");
        trials[1].idle = 0.01;
        assert_eq!(side(&trials[1]), "machine");
        let (_, lines) = verdict(FOUND, &trials);
        assert!(lines.join("\n").contains("1.0 % of its processors"));
    }

    #[test]
    fn what_is_not_found_is_said() {
        let (exit, lines) = verdict(Next::Nothing, &trials()[1..2]);
        assert_eq!(exit, Exit::Threshold);
        assert!(lines.join("\n").contains("reason 2"));
        let (exit, lines) = verdict(Next::Inconclusive, &trials());
        assert_eq!(exit.code(), 93);
        let text = lines.join("\n");
        for words in [
            "bracket       the limit lies between 1,000/s (held in 2 of 2 trials) and 1,414/s (held in 0 of 1 trial)",
            "reason 3",
        ] {
            assert!(text.contains(words), "no {words} in {text}");
        }
        assert!(!text.contains("moving"), "{text}");
        assert_eq!(between(&trials(), None), [Some(1000.0), Some(1414.0), None]);
        let json = json("smoke", Next::Inconclusive, exit, &trials());
        assert_eq!(json["rate"], Value::Null);
        assert_eq!(json["bracket"]["held"], 1000.0);
        assert_eq!(json["bracket"]["failed"], 1414.0);
    }

    #[test]
    fn a_limit_that_moves_is_a_range_with_its_evidence() {
        // What held once and not again did not hold.
        let mut moody = trials();
        moody[3].exit = Exit::Threshold;
        assert_eq!(between(&moody, None), [None, Some(1000.0), Some(1000.0)]);
        let text = bracket_lines(bracket(&moody, None)).join("\n");
        for words in [
            "the limit lies below 1,000/s (held in 1 of 2 trials): no rate held each time",
            "moving        the limit was higher before or later: 1,000/s (held in 1 of 2 trials)",
        ] {
            assert!(text.contains(words), "no {words} in {text}");
        }
        let json = json("smoke", Next::Inconclusive, Exit::Inconclusive, &moody);
        let once = json!({ "rate": 1000.0, "held": 1, "trials": 2 });
        assert_eq!(json["bracket"]["evidence"], json!([once, once]));
        // A rate that failed before, and then held as often as asked, is what was found.
        let mut later = trials();
        later[0].exit = Exit::Threshold;
        assert_eq!(
            between(&later, Some(1000.0)),
            [Some(1000.0), Some(1414.0), None]
        );
        assert!(row(&later[3], &later[..3]).ends_with("holds, and did not before"));
        let (_, lines) = verdict(FOUND, &later);
        assert!(
            lines[1].contains("1,000 messages/s hold, 1 of 2 trials"),
            "{lines:?}"
        );
    }

    #[test]
    fn a_search_that_ends_early_says_what_it_knows() {
        let mut trials = trials();
        trials.truncate(3);
        trials[2].exit = Exit::Aborted;
        trials[2].why = Vec::new();
        let text = broken(&trials, Path::new("out")).join("\n");
        assert_eq!(
            text,
            "\ntrial 3 ended with aborted (exit 105)\n\
             bracket       the limit lies between 1,000/s (held in 1 of 1 trial) and 2,000/s (held in 0 of 1 trial)\n\
             results: out"
        );
        // An interrupted trial is no rate that was too high.
        let text = broken(&trials[2..], Path::new("out")).join("\n");
        assert!(text.contains("unknown: no trial came to its end"), "{text}");
        assert!(limit(&trials[2..], 0.0).is_none());
    }
}
