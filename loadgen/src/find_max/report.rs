//! The results of a search.

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

/// Returns the line of a trial.
pub(super) fn row(trial: &Trial) -> String {
    let verdict = match trial.exit {
        Exit::Ok if !trial.held() => trial.why.last().cloned().unwrap_or_default(),
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

/// The rates between which the limit lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bracket {
    /// The highest rate that held each time it was tried; `None` if no rate did.
    held: Option<f64>,
    /// The lowest rate that did not hold at least once; `None` if all rates held.
    failed: Option<f64>,
}

/// Returns the rates between which the limit lies, by the trials.
pub(super) fn bracket(trials: &[Trial]) -> Bracket {
    let failed = trials.iter().filter(|trial| !trial.held());
    let failed = failed.map(|trial| trial.rate).reduce(f64::min);
    let held = trials.iter().filter(|trial| trial.held());
    let held = held.filter(|trial| failed.is_none_or(|failed| trial.rate < failed));
    Bracket {
        held: held.map(|trial| trial.rate).reduce(f64::max),
        failed,
    }
}

fn bracket_text(bracket: Bracket) -> String {
    let held = bracket
        .held
        .map_or("no rate held each time".into(), |held| {
            format!("{}/s held each time", readable(held))
        });
    let failed = bracket.failed.map_or("none did not".into(), |failed| {
        format!("{}/s did not hold at least once", readable(failed))
    });
    format!("bracket       {held}, {failed}")
}

/// Returns the lowest rate that did not hold.
fn limit(trials: &[Trial], above: f64) -> Option<&Trial> {
    let failed = trials
        .iter()
        .filter(|trial| !trial.held() && trial.rate >= above);
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
                at(trials, rate).count(),
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
                "found         nothing certain: rates hold once and not again; stop other programs on the machine, or use longer trials (--duration)"
                    .into(),
            );
            lines.push(bracket_text(bracket(trials)));
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
    vec![
        String::new(),
        format!(
            "trial {} ended with {} (exit {}): {}",
            last.number,
            last.exit.verdict(),
            last.exit.code(),
            last.why.join("; ")
        ),
        format!("results: {}", folder.display()),
    ]
}

/// Returns the table of the trials for programs.
pub(super) fn json(name: &str, end: Next, exit: Exit, trials: &[Trial]) -> Value {
    let found = match end {
        Next::Found { rate, .. } => Some(rate),
        _ => None,
    };
    let limit = limit(trials, found.unwrap_or(0.0));
    let bracket = bracket(trials);
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
        "bracket": { "held": bracket.held, "failed": bracket.failed },
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
        assert!(row(&trials[0]).ends_with("holds"));
        trials[0].steady = Some(false);
        trials[0].why = vec!["not steady: the gateway put off 9 s of work".into()];
        assert!(row(&trials[0]).ends_with("put off 9 s of work"));
        assert_eq!(
            bracket(&trials),
            Bracket {
                held: None,
                failed: Some(1000.0)
            }
        );
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
            "bracket       1,000/s held each time, 1,414/s did not hold",
            "reason 3",
        ] {
            assert!(text.contains(words), "no {words} in {text}");
        }
        let between = |held, failed| Bracket { held, failed };
        assert_eq!(bracket(&trials()), between(Some(1000.0), Some(1414.0)));
        // What held once and not again did not hold.
        let mut moody = trials();
        moody[3].exit = Exit::Threshold;
        assert_eq!(bracket(&moody), between(None, Some(1000.0)));
        assert!(bracket_text(bracket(&moody)).contains("no rate held each time"));
        let json = json("smoke", Next::Inconclusive, exit, &trials());
        assert_eq!(json["rate"], Value::Null);
        assert_eq!(json["bracket"]["held"], 1000.0);
        assert_eq!(json["bracket"]["failed"], 1414.0);
    }
}
