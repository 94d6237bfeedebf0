//! `loadgen find-max`: searches for the highest rate that holds the thresholds.
//!
//! Each trial of a rate is a run of its own, with a gateway of its own unless there is a target.
//! Population and connections are those of the scenario. A constant rate replaces its arrivals.

mod report;
mod search;

use std::path::Path;
use std::time::Duration;

use crate::args::{FindMaxArgs, RunArgs};
use crate::client::Board;
use crate::clock::Nanos;
use crate::debt::Debt;
use crate::exit::{Exit, Failure, Outcome};
use crate::files;
use crate::foreign;
use crate::live::Live;
use crate::output::{self, say};
use crate::report::results::{SEARCH as TABLE, is_summary};
use crate::run::conduct::{GatewayAccess, Watch, conduct};
use crate::run::lead::lead;
use crate::run::prepare;
use crate::run::publish::publish;
use crate::scenario::load::Loaded;
use crate::scenario::threshold::{LATENCIES, OF_RETURNS};
use crate::scenario::validate::bounds;
use crate::scenario::{Executor, ExecutorKind};
use crate::settings::{RunSettings, default_folder, resolve_loaded};
use crate::stats::Metric;
use crate::units::{Rate, Span, readable};
use crate::verdict::JudgedRun;

use search::{Next, Range, Search};

/// The name of the executor that sends in a trial.
const ARRIVALS: &str = "find-max";
/// The default duration of a trial.
const TRIAL: Duration = Duration::from_secs(10);
/// The fewest messages of a trial. With fewer, none is beyond the 99th percentile.
const ENOUGH: f64 = 100.0;
/// The first rate by default, in messages per second.
const FIRST: f64 = 1_000.0;
/// The threshold for scenarios that have none of a latency.
const DEFAULT: (&str, &str) = ("e2e", "p(99)<250ms");

/// The trial of a rate.
#[derive(Debug)]
struct Trial {
    number: usize,
    rate: f64,
    /// Whether this trial confirms a rate that held before.
    again: bool,
    exit: Exit,
    achieved: f64,
    /// The latency from the intended time to the push, in microseconds.
    e2e_p50: Option<u64>,
    e2e_p99: Option<u64>,
    /// The part of the processors that was idle, 0 to 1.
    idle: f64,
    /// The lowest rate of a second.
    worst: Option<f64>,
    /// Whether the gateway did what it put off; `None` if that is not known.
    steady: Option<bool>,
    /// The reasons why the rate did not hold.
    why: Vec<String>,
}

impl Trial {
    fn of(number: usize, (rate, again): (f64, bool), judged: &JudgedRun) -> Self {
        let e2e = judged.latencies.percentiles(Metric::E2e);
        let violations = judged.violations.iter();
        let violations = violations.map(|(kind, count)| format!("{kind}: {count}"));
        let why = violations
            .chain(judged.health.faults.iter().cloned())
            .chain(judged.missed.iter().cloned())
            .chain(judged.doubts.iter().cloned())
            .chain(judged.debt.as_ref().and_then(Debt::complaint));
        Self {
            number,
            rate,
            again,
            exit: judged.exit,
            achieved: judged.achieved(),
            e2e_p50: (e2e.count > 0).then_some(e2e.p50),
            e2e_p99: (e2e.count > 0).then_some(e2e.p99),
            idle: judged.health.idle,
            worst: judged.worst.map(|it| it.achieved),
            steady: judged.debt.as_ref().map(|it| it.steady),
            why: why.collect(),
        }
    }

    /// Returns whether the rate held: all is right, and the gateway owes nothing for it.
    fn held(&self) -> bool {
        self.exit == Exit::Ok && self.steady != Some(false)
    }
}

/// A watcher that prints nothing: the table of trials is printed instead.
struct Silent {
    title: String,
}
impl Watch for Silent {
    fn say(&mut self, _lines: &[String]) {}
    fn title(&self, _run: &RunSettings) -> String {
        self.title.clone()
    }
    fn begin(&mut self, _ends: GatewayAccess) {}
    fn look(&mut self, _now: Nanos, _board: &Board) {}
}

/// Searches for the highest rate and prints the trials.
///
/// # Errors
/// The scenario or the command line is wrong (exit 104), or a run cannot start or go on.
pub(crate) fn run(args: &FindMaxArgs) -> Outcome<Exit> {
    let Prepared {
        loaded,
        assumed,
        first,
    } = prepare(args)?;
    let folder = args.run.out.clone();
    let folder = folder.unwrap_or_else(|| default_folder(&format!("find-max-{}", loaded.name)));
    make_room(&folder)?;
    let range = Range {
        first,
        lowest: lowest(args),
        top: args.to.map_or(bounds::RATE_MAX, |rate| rate.0),
    };
    let mut search = Search::new(range, args.precision, args.confirm);
    let mut trials: Vec<Trial> = Vec::new();
    let mut live = Live::new(&args.run.view).staying();
    live.say(&report::header(&loaded, args, assumed));
    let end = loop {
        let rate = match search.next() {
            Next::Try(rate) => rate,
            end => break end,
        };
        let number = trials.len() + 1;
        let out = folder.join(format!("trial-{number:02}"));
        let resolved = resolve_loaded(loaded.clone(), trial_args(args, rate, out))?;
        let title = format!(
            "find-max {}: trial {number}, {}/s",
            loaded.name,
            readable(rate)
        );
        let mut silent = Silent { title };
        let judged = match args.many.wanted(&args.run) {
            Some(wanted) => lead(&resolved, &wanted, &mut silent, &mut live),
            None => conduct(&resolved, &mut silent, &mut live),
        };
        let kept = judged.and_then(|judged| keep(&resolved, &judged).map(|()| judged));
        let judged = match kept {
            Ok(judged) => judged,
            Err(failure) => {
                live.close();
                if !trials.is_empty() {
                    // What the trials before have told is worth their time.
                    let end = (Next::Inconclusive, failure.exit);
                    let written = write_table(&folder, &loaded, end, &trials);
                    say(&report::early(&trials, &folder));
                    if let Err(other) = written {
                        output::complain(&format!("loadgen: {other}"));
                    }
                }
                return Err(failure);
            }
        };
        let trial = Trial::of(number, (rate, search.repeats()), &judged);
        live.say(&[report::row(&trial, &trials)]);
        let exit = trial.exit;
        search.note(rate, trial.held());
        trials.push(trial);
        // A broken promise does not depend on the rate, and after an interruption no further trial
        // is wanted.
        if let Exit::Violation | Exit::Aborted = exit {
            live.close();
            let written = write_table(&folder, &loaded, (Next::Inconclusive, exit), &trials);
            say(&report::broken(&trials, &folder));
            return match exit {
                Exit::Violation => {
                    if let Err(failure) = written {
                        output::complain(&format!("loadgen: {failure}"));
                    }
                    Ok(exit)
                }
                _ => written.map(|()| exit),
            };
        }
    };
    live.close();
    let (exit, lines) = report::verdict(end, &trials);
    let written = write_table(&folder, &loaded, (end, exit), &trials);
    say(&lines);
    live.say(&[format!("results: {}", folder.display())]);
    written.map(|()| exit)
}

/// Writes the table of the trials.
fn write_table(
    folder: &Path,
    loaded: &Loaded,
    (end, exit): (Next, Exit),
    trials: &[Trial],
) -> Outcome<()> {
    let json = report::json(&loaded.name, end, exit, trials);
    let path = folder.join(TABLE);
    let written = files::put(&path, (foreign::json(&json) + "\n").as_bytes());
    written.map_err(|why| files::unwritten(&path, &why))
}

/// Removes the table and the trials of an earlier search from the folder of this one. If a file
/// there is not of loadgen, nothing is removed.
fn make_room(folder: &Path) -> Outcome<()> {
    let fail = |why: std::io::Error| {
        let folder = folder.display();
        Failure::scenario(format!("--out {folder}: cannot be written to: {why}"))
    };
    let table = folder.join(TABLE);
    if table.symlink_metadata().is_ok() && !is_table(&table) {
        return Err(Failure::scenario(format!(
            "--out {}: the file {TABLE} there was not written by loadgen and would be lost: name a new or empty folder, or move the file",
            folder.display()
        )));
    }
    crate::report::make_room(folder)?;
    let mut trials = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_prefix("trial-"));
        if number.is_some_and(|number| number.parse::<u32>().is_ok()) && path.is_dir() {
            crate::report::may_make_room(&path)?;
            trials.push(path);
        }
    }
    if table.exists() {
        std::fs::remove_file(table).map_err(fail)?;
    }
    for trial in trials {
        crate::report::make_room(&trial)?;
        // What others put there stays, and the folder with it.
        let _ = std::fs::remove_dir(&trial);
    }
    Ok(())
}

/// Returns whether a file is the table of a search.
fn is_table(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let table: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    is_summary(&table) && table["trials"].is_array()
}

/// Returns how long a rate is tried.
fn trial(args: &FindMaxArgs) -> Span {
    args.run.duration.unwrap_or(Span(TRIAL))
}

/// Returns the first rate: that of the options, or that of the share with `--compress`, or the
/// default.
fn first(args: &FindMaxArgs, loaded: &Loaded) -> Outcome<f64> {
    if let Some(from) = args.from {
        return Ok(from.0);
    }
    if args.run.compress.is_none() {
        return Ok(FIRST);
    }
    Ok(resolve_loaded(loaded.clone(), args.run.clone())?
        .sizing
        .derived_rate)
}

/// Returns the lowest rate that a trial can judge.
fn lowest(args: &FindMaxArgs) -> f64 {
    ENOUGH / trial(args).0.as_secs_f64().max(f64::MIN_POSITIVE)
}

/// The settings of a search.
struct Prepared {
    /// The scenario of the trials.
    loaded: Loaded,
    /// The scenario has no threshold of a latency, and the default one holds.
    assumed: bool,
    /// The first rate.
    first: f64,
}

/// Prepares the scenario of the trials.
///
/// # Errors
/// A flag or the scenario does not fit a search.
fn prepare(args: &FindMaxArgs) -> Outcome<Prepared> {
    if args.run.rate.is_some() {
        return Err(Failure::scenario(
            "--rate: find-max searches for the rate; set the first rate with --from and the highest with --to",
        ));
    }
    if !(0.001..=0.5).contains(&args.precision) {
        return Err(Failure::scenario(format!(
            "--precision {} is out of range: write a part of the rate, 0.001 to 0.5",
            args.precision
        )));
    }
    for (flag, given) in [("--from", args.from), ("--to", args.to)] {
        let checked = given.map_or(Ok(()), |given| bounds::rate(flag, given));
        checked.map_err(Failure::scenario)?;
    }
    if !args.run.chaos.is_empty() {
        return Err(Failure::scenario(
            "--chaos: find-max does not break its gateway; use --chaos with `run`",
        ));
    }
    let mut loaded = prepare::load(&args.run)?;
    loaded.runnable()?;
    let scenario = &mut loaded.scenario;
    scenario
        .scenarios
        .retain(|_, executor| executor.executor == ExecutorKind::RampingConnections);
    // No session is cut during the search for the highest rate.
    scenario.chaos.actions.clear();
    scenario
        .thresholds
        .retain(|metric, _| !OF_RETURNS.contains(&&**metric));
    // Validation saw to it that there is one.
    let connect = scenario.scenarios.keys().next_back().cloned();
    let arrivals = Executor {
        start_after: connect,
        duration: Some(trial(args)),
        ..Executor::new(ExecutorKind::ConstantArrivalRate)
    };
    scenario.scenarios.insert(ARRIVALS.into(), arrivals);
    let mut metrics = scenario.thresholds.keys();
    let assumed = !metrics.any(|metric| LATENCIES.contains(&&**metric));
    if assumed {
        let threshold = DEFAULT.1.parse().map_err(Failure::scenario)?;
        scenario
            .thresholds
            .insert(DEFAULT.0.into(), vec![threshold]);
    }
    loaded.validate()?;
    let first = first(args, &loaded)?;
    let least = args.to.map_or(first, |to| to.0.min(first));
    if least < lowest(args) {
        return Err(Failure::scenario(format!(
            "{}/s for {} gives too few messages to judge; a trial needs at least {ENOUGH}: raise --from, --to or --duration",
            readable(least),
            trial(args)
        )));
    }
    Ok(Prepared {
        loaded,
        assumed,
        first,
    })
}

fn trial_args(args: &FindMaxArgs, rate: f64, out: std::path::PathBuf) -> RunArgs {
    RunArgs {
        rate: Some(Rate(rate)),
        duration: None,
        out: Some(out),
        ..args.run.clone()
    }
}

/// Publishes the results of a trial like those of any run.
fn keep(run: &RunSettings, judged: &JudgedRun) -> Outcome<()> {
    let (text, summary) = (
        crate::report::text(run, judged),
        crate::report::summary(run, judged),
    );
    publish(run, judged, "summary", &text, &summary)
}

#[cfg(test)]
mod tests {
    use super::make_room;

    const SUMMARY: &str = r#"{ "schema": 1, "scenario": "x", "verdict": "ok", "trials": [] }"#;

    #[test]
    fn an_earlier_search_leaves_nothing_and_loses_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name);
        for folder in ["trial-01", "trial-12", "trial-x"] {
            std::fs::create_dir(path(folder)).expect("a folder");
            std::fs::write(path(folder).join("summary.json"), SUMMARY).expect("a file");
        }
        std::fs::write(path("trial-12/notes"), "mine").expect("a file");
        std::fs::write(path("find-max.json"), SUMMARY).expect("a file");
        make_room(dir.path()).expect("there is room");
        assert!(!path("find-max.json").exists() && !path("trial-01").exists());
        assert!(!path("trial-12/summary.json").exists());
        assert!(path("trial-12/notes").exists() && path("trial-x/summary.json").exists());
    }

    #[test]
    fn what_is_somebody_elses_stays_and_so_does_all_the_rest() {
        for foreign in ["find-max.json", "trial-02/summary.json", "report.html"] {
            let dir = tempfile::tempdir().expect("a folder");
            let path = |name: &str| dir.path().join(name);
            for folder in ["trial-01", "trial-02"] {
                std::fs::create_dir(path(folder)).expect("a folder");
            }
            std::fs::write(path("trial-01/summary.json"), SUMMARY).expect("a file");
            std::fs::write(path(foreign), "{\"mine\": true}").expect("a file");
            let refused = make_room(dir.path()).expect_err(foreign);
            assert_eq!(refused.exit.code(), 104);
            let name = foreign.rsplit('/').next().unwrap_or_default();
            assert!(refused.message.contains(name), "{refused}");
            assert!(path(foreign).exists() && path("trial-01/summary.json").exists());
        }
    }
}
