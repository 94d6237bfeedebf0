//! From a command line to an exit code.

pub(crate) mod chaos;
pub(crate) mod conduct;
pub(crate) mod groups;
pub(crate) mod judge;
pub(crate) mod preflight;
pub(crate) mod resolve;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Verb};
use crate::compare;
use crate::exit::{Exit, Failure, Outcome};
use crate::find_max;
use crate::hold;
use crate::local_gateway::{self, doctor::DoctorArgs};
use crate::plan;
use crate::recheck;
use crate::report;
use crate::scenario::sizing::Sizing;
use crate::scenario::{load, presets};

/// Runs the program with these arguments, the first being its name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(code) = local_gateway::is_one(&args) {
        return code;
    }
    let parsed = match Args::try_parse_from(&args) {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print();
            // Help and version are what was asked for.
            let wrong = error.exit_code() != 0;
            return ExitCode::from(if wrong { Exit::BadScenario.code() } else { 0 });
        }
    };
    let done = match parsed.verb {
        Verb::Run(args) => resolve::resolve(*args).and_then(|run| conduct::run(&run)),
        Verb::FindMax(args) => find_max::run(&args),
        Verb::Hold(args) => hold::run(&args),
        Verb::Compare(args) => compare::run(&args),
        Verb::Check(args) => recheck::run(&args),
        Verb::Doctor(args) => examine(args),
        Verb::Plan(args) => plan::run(&args),
        Verb::Report(args) => report::run(&args),
        Verb::Presets => list_presets(),
        Verb::Init { file } => init(&file),
        Verb::Validate { scenario } => validate(&scenario),
    };
    match done {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "loadgen: {failure}");
            ExitCode::from(failure.exit.code())
        }
    }
}

/// Writes lines to standard output; whoever closed it does not want them.
pub(crate) fn say(lines: &[String]) {
    let mut out = std::io::stdout().lock();
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
}

/// What this machine can carry with both ends on it, as for a run without a target.
fn examine(args: DoctorArgs) -> Outcome<Exit> {
    let both_ends = true;
    local_gateway::doctor::run(&DoctorArgs { both_ends, ..args })
        .map_err(|why| Failure::aborted(format!("cannot print: {why}")))?;
    Ok(Exit::Ok)
}

fn list_presets() -> Outcome<Exit> {
    for preset in presets::PRESETS {
        let loaded = load::load(preset.name)?;
        say(&[format!("{}: {}", preset.name, preset.about)]);
        let lines = Sizing::of(&loaded.scenario).explain(&loaded.scenario);
        say(&lines
            .into_iter()
            .map(|line| format!("    {line}"))
            .collect::<Vec<_>>());
    }
    Ok(Exit::Ok)
}

/// Writes a scenario to start from.
fn init(file: &Path) -> Outcome<Exit> {
    let fail = |why: std::io::Error| {
        Failure::scenario(format!("{} cannot be made: {why}", file.display()))
    };
    let mut new = std::fs::File::create_new(file).map_err(fail)?;
    new.write_all(presets::INIT.as_bytes()).map_err(fail)?;
    let file = file.display();
    say(&[
        format!("{file} is made: edit it, then"),
        format!("    loadgen validate {file}"),
        format!("    loadgen plan {file}"),
        format!("    loadgen run {file}"),
    ]);
    Ok(Exit::Ok)
}

fn validate(scenario: &str) -> Outcome<Exit> {
    let loaded = load::load(scenario)?;
    say(&[format!("{} is a right scenario", loaded.origin)]);
    say(&Sizing::of(&loaded.scenario).explain(&loaded.scenario));
    if let Err(why) = loaded.runnable() {
        say(&[format!("to plan with, not to run: {why}")]);
    }
    Ok(Exit::Ok)
}
