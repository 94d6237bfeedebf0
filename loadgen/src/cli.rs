//! The commands: from the arguments of the process to its exit code.

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, RunVerb, Verb};
use crate::compare;
use crate::exit::{Exit, Failure, Outcome};
use crate::faults;
use crate::files;
use crate::find_max;
use crate::gate;
use crate::hold;
use crate::local_gateway::{self, doctor::DoctorArgs};
use crate::output::{self, say};
use crate::own_process;
use crate::peers;
use crate::plan;
use crate::recheck;
use crate::report;
use crate::run::{agent, conduct, lead, prepare};
use crate::scenario::protocol::ProtocolKind;
use crate::scenario::sizing::Sizing;
use crate::scenario::variables::Variable;
use crate::scenario::{load, presets};
use crate::settings;

/// Runs the program. The first argument is the name of the program.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(code) = local_gateway::is_one(&args).or_else(|| own_process::is_one(&args)) {
        return code;
    }
    let parsed = match Args::try_parse_from(&args) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version are what was asked for, and go to standard output.
            if error.exit_code() == 0 {
                output::note(error.print());
                return ended(Ok(Exit::Ok));
            }
            let _ = error.print();
            return ExitCode::from(Exit::BadScenario.code());
        }
    };
    let done = match parsed.verb {
        Verb::Run(args) => run_scenario(*args),
        Verb::Agent(args) => agent::run(&args),
        Verb::Faults(args) => faults::run(&args),
        Verb::FindMax(args) => find_max::run(&args),
        Verb::Hold(args) => hold::run(&args),
        Verb::Compare(args) => compare::run(&args),
        Verb::Peers(args) => peers::run(&args),
        Verb::Gate(args) => gate::run(&args),
        Verb::Check(args) => recheck::run(&args),
        Verb::Doctor(args) => examine(args),
        Verb::Plan(args) => plan::run(&args),
        Verb::Report(args) => report::run(&args),
        Verb::Presets => list_presets(),
        Verb::Init { file, protocol } => init(&file, protocol),
        Verb::Validate {
            scenario,
            variables,
        } => validate(&scenario, &variables),
        Verb::Completions(args) => {
            output::note(std::io::stdout().write_all(&args.script::<Args>()));
            Ok(Exit::Ok)
        }
        Verb::Man(args) => match args.write::<Args>() {
            Ok(()) => Ok(Exit::Ok),
            Err(why) => Err(Failure::aborted(format!("{why:#}"))),
        },
    };
    ended(done)
}

/// Returns the exit code of a command. Results that could not be printed turn success into a
/// failure (105).
fn ended(done: Outcome<Exit>) -> ExitCode {
    let exit = match done {
        Ok(exit) => exit,
        Err(failure) => {
            output::complain(&format!("loadgen: {failure}"));
            failure.exit
        }
    };
    let unprinted = output::failure();
    if let Some(why) = &unprinted {
        output::complain(&format!("loadgen: {why}"));
    }
    ExitCode::from(match (exit, unprinted) {
        (Exit::Ok, Some(_)) => Exit::Aborted.code(),
        (exit, _) => exit.code(),
    })
}

fn run_scenario(RunVerb { run, told, many }: RunVerb) -> Outcome<Exit> {
    if told.json && told.events_take_output() {
        return Err(Failure::scenario(
            "--json and --events - both want standard output: the last line of the events has the summary, or name a file at --events",
        ));
    }
    let loaded = prepare::load(&run)?;
    let wanted = many.wanted(&run);
    let run = settings::resolve_loaded(loaded, run)?;
    match wanted {
        Some(wanted) => lead::run(&run, &wanted, &told),
        None => conduct::run(&run, &told),
    }
}

/// Prints what this machine can carry with the generator and the gateway on it, as for a run
/// without a target.
fn examine(args: DoctorArgs) -> Outcome<Exit> {
    let both_ends = true;
    output::note(local_gateway::doctor::run(&DoctorArgs {
        both_ends,
        ..args
    }));
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

/// Writes a scenario to start from into a new file, or to standard output for `-`.
fn init(file: &Path, protocol: ProtocolKind) -> Outcome<Exit> {
    let text = presets::init(protocol);
    if file == Path::new("-") {
        say(&[text.trim_end().to_owned()]);
        return Ok(Exit::Ok);
    }
    let fail = |why: std::io::Error| {
        let why = match why.kind() {
            ErrorKind::AlreadyExists => {
                "the file exists and is never replaced; name another file".into()
            }
            _ => why.to_string(),
        };
        Failure::scenario(format!("cannot create {}: {why}", file.display()))
    };
    // Creates the file first, so that an existing file stays as it is.
    std::fs::File::create_new(file).map_err(fail)?;
    files::put(file, text.as_bytes()).map_err(|why| {
        let _ = std::fs::remove_file(file);
        Failure::aborted(format!("cannot write {}: {why}", file.display()))
    })?;
    let file = file.display();
    say(&[
        format!("created {file}: edit it, then"),
        format!("    loadgen validate {file}"),
        format!("    loadgen plan {file}"),
        match protocol {
            ProtocolKind::Trunkline => format!("    loadgen run {file}"),
            ProtocolKind::Mqtt => format!("    loadgen run {file} --target mqtt://HOST:PORT"),
            _ => format!("    loadgen run {file} --target ws://HOST:PORT"),
        },
    ]);
    Ok(Exit::Ok)
}

fn validate(scenario: &str, variables: &[Variable]) -> Outcome<Exit> {
    let loaded = load::load_with(scenario, variables)?;
    say(&[format!("{}: the scenario is valid", loaded.origin)]);
    say(&Sizing::of(&loaded.scenario).explain(&loaded.scenario));
    if let Err(why) = loaded.runnable() {
        say(&[format!(
            "loadgen can plan this scenario and cannot run it: {why}"
        )]);
    }
    Ok(Exit::Ok)
}
