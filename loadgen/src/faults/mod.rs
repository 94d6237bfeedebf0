//! `loadgen faults`: random faults one after another on a cluster under load, and what each kind cost.
//!
//! Each round is a run of the preset `cluster` with a cluster of its own. Its folder has the scenario with
//! the faults, so a round can be played again.

mod plan;

use std::path::Path;

use serde_json::{Value, json};

use crate::args::{FaultsArgs, RunArgs, ViewArgs};
use crate::client::Board;
use crate::clock::Nanos;
use crate::exit::{Exit, Failure, Outcome};
use crate::files;
use crate::foreign;
use crate::live::Live;
use crate::output::{complain, say};
use crate::report::{self, FaultRow};
use crate::run::conduct::{GatewayAccess, Watch, conduct};
use crate::run::publish::publish;
use crate::scenario::load;
use crate::settings::{RunSettings, default_folder, resolve_loaded};
use crate::units::{Span, grouped};
use crate::verdict::{FaultRecord, JudgedRun};

/// The preset of every round.
const PRESET: &str = "cluster";

/// The file with the table.
const TABLE: &str = "faults.json";

/// The time of sending after the last fault of a round is due, for it and those that were late.
const LAST: std::time::Duration = std::time::Duration::from_secs(20);

/// A watcher that prints nothing: the table is printed instead.
struct Silent;

impl Watch for Silent {
    fn say(&mut self, _lines: &[String]) {}
    fn begin(&mut self, _ends: GatewayAccess) {}
    fn look(&mut self, _now: Nanos, _board: &Board) {}
}

/// What all rounds found together.
#[derive(Debug, Default)]
struct Found {
    faults: Vec<FaultRecord>,
    rounds: u32,
    attempted: u64,
    acknowledged: u64,
    unknown: u64,
    lost: u64,
    duplicated: u64,
    reordered: u64,
    /// The rounds that were not ok, each with its verdict.
    bad: Vec<String>,
    exit: Option<Exit>,
}

impl Found {
    fn add(&mut self, judged: &JudgedRun, name: &str) {
        let c = &judged.counters;
        self.rounds += 1;
        self.faults.extend(judged.faults.iter().cloned());
        self.attempted += c.attempted;
        self.acknowledged += c.acknowledged;
        self.unknown += c.unknown;
        self.lost += c.lost;
        self.duplicated += c.duplicated;
        self.reordered += c.reordered;
        if judged.exit != Exit::Ok {
            self.bad.push(format!("{name}: {}", judged.exit.verdict()));
            // A violation goes before everything, as in a run.
            let worst = match self.exit {
                Some(Exit::Violation) => Exit::Violation,
                _ => judged.exit,
            };
            self.exit = Some(worst);
        }
    }

    fn exit(&self) -> Exit {
        self.exit.unwrap_or(Exit::Ok)
    }
}

/// Plays the faults, and prints the table.
///
/// # Errors
/// An option is wrong, or a round cannot be conducted.
pub(crate) fn run(args: &FaultsArgs) -> Outcome<Exit> {
    let kinds = plan::kinds(&args.only)?;
    let folder = args.out.clone().unwrap_or_else(|| default_folder("faults"));
    std::fs::create_dir_all(&folder).map_err(|why| files::unwritten(&folder, &why))?;
    let mut found = Found::default();
    let mut round = 0;
    while let Some(left) = (args.trials as usize).checked_sub(found.faults.len())
        && left > 0
    {
        round += 1;
        let name = format!("round-{round:04}");
        let faults = args.round.min(u32::try_from(left).unwrap_or(u32::MAX));
        let (chaos, sending) = plan::round(args.seed, (round, faults), (&kinds, args.every.0));
        let wanted = RunArgs {
            chaos,
            duration: Some(Span(sending + LAST)),
            out: Some(folder.join(&name)),
            ..options(args, round)
        };
        let run = resolve_loaded(load::load(PRESET)?, wanted)?;
        let judged = play(&run)?;
        let before = found.faults.len();
        found.add(&judged, &name);
        complain(&format!(
            "{name}: {} faults, {} of {} done: {}",
            found.faults.len() - before,
            found.faults.len(),
            args.trials,
            judged.exit.verdict()
        ));
        keep(&folder, args, &found)?;
        if judged.exit != Exit::Ok {
            complain(&report::verdict(&judged).join("\n"));
        }
        // A broken promise is to be looked at, and after an interruption no further round is wanted.
        if matches!(judged.exit, Exit::Violation | Exit::Aborted) {
            break;
        }
        if found.faults.len() == before {
            return Err(Failure::aborted(format!(
                "{name}: no fault happened: look at {}",
                run.out.display()
            )));
        }
    }
    match args.json {
        true => say(&[foreign::json(&summary(args, &found))]),
        false => {
            say(&text(&found));
            say(&[format!("results: {}", folder.display())]);
        }
    }
    Ok(found.exit())
}

/// Returns the options of a round, without its faults.
fn options(args: &FaultsArgs, round: u32) -> RunArgs {
    RunArgs {
        scenario: PRESET.into(),
        rate: Some(args.rate),
        connections: Some(args.connections),
        seed: Some(args.seed.wrapping_add(round.into())),
        shards: args.shards,
        health: args.health.clone(),
        gateway: args.gateway.clone(),
        nats_server: args.nats_server.clone(),
        view: ViewArgs {
            no_tui: true,
            quiet: true,
            ..ViewArgs::default()
        },
        ..RunArgs::default()
    }
}

/// Conducts a round, and writes its results.
fn play(run: &RunSettings) -> Outcome<JudgedRun> {
    let judged = conduct(run, &mut Silent, &mut Live::new(&run.view))?;
    let (text, summary) = (report::text(run, &judged), report::summary(run, &judged));
    publish(run, &judged, "summary", &text, &summary)?;
    Ok(judged)
}

/// Writes the table of the rounds so far.
fn keep(folder: &Path, args: &FaultsArgs, found: &Found) -> Outcome<()> {
    let path = folder.join(TABLE);
    let text = foreign::json(&summary(args, found)) + "\n";
    files::put(&path, text.as_bytes()).map_err(|why| files::unwritten(&path, &why))
}

fn summary(args: &FaultsArgs, found: &Found) -> Value {
    let rows = report::fault_rows(&found.faults);
    json!({
        "schema": 1,
        "seed": args.seed,
        "rounds": found.rounds,
        "faults": found.faults.len(),
        "verdict": found.exit().verdict(),
        "exit_code": found.exit().code(),
        "attempted": found.attempted,
        "acknowledged": found.acknowledged,
        "unknown": found.unknown,
        "lost": found.lost,
        "duplicated": found.duplicated,
        "reordered": found.reordered,
        "table": rows.iter().map(FaultRow::json).collect::<Vec<_>>(),
        "bad_rounds": found.bad,
    })
}

fn text(found: &Found) -> Vec<String> {
    let mut lines = report::fault_lines(&report::fault_rows(&found.faults));
    lines.push(String::new());
    lines.push(format!(
        "{} faults in {} rounds: {} messages attempted, {} acknowledged, {} unknown; {} lost, {} duplicated, {} reordered",
        grouped(found.faults.len() as u64),
        found.rounds,
        grouped(found.attempted),
        grouped(found.acknowledged),
        grouped(found.unknown),
        found.lost,
        found.duplicated,
        found.reordered
    ));
    lines.extend(found.bad.iter().map(|bad| format!("NOT OK        {bad}")));
    lines.push(format!(
        "{} (exit {})",
        found.exit().verdict(),
        found.exit().code()
    ));
    lines
}
