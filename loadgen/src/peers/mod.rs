//! `loadgen peers`: the same load against the servers of others that are installed, and against the
//! gateway, in turns. The result is one table.
//!
//! Each run is a process of this program of its own, so nothing of one server is left for the next.

mod contender;
mod table;

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::args::PeersArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::files;
use crate::foreign;
use crate::health::Process;
use crate::output::{complain, say};
use crate::settings::default_folder;
use crate::suggest::hint;

use contender::{CONTENDERS, Contender, Started};
use table::{Measurement, Row};

/// The scenario of every run.
const SCENARIO: &str = include_str!("peers.toml");

/// Compares the servers.
///
/// # Errors
/// An option is wrong, or a run cannot be conducted.
pub(crate) fn run(args: &PeersArgs) -> Outcome<Exit> {
    let chosen = chosen(&args.only)?;
    let out = args.out.clone().unwrap_or_else(|| default_folder("peers"));
    std::fs::create_dir_all(&out).map_err(|why| files::unwritten(&out, &why))?;
    let scenario = out.join("scenario.toml");
    files::put(&scenario, SCENARIO.as_bytes()).map_err(|why| files::unwritten(&scenario, &why))?;
    let mut rows: Vec<_> = chosen
        .into_iter()
        .map(|contender| Row {
            contender,
            rounds: Vec::new(),
            missing: None,
        })
        .collect();
    for round in 1..=args.rounds {
        for row in rows.iter_mut().filter(|row| row.missing.is_none()) {
            let folder = out.join(format!("{round}-{}", row.contender.name));
            complain(&format!(
                "round {round} of {}: {}",
                args.rounds, row.contender.name
            ));
            match measure(args, &scenario, &folder, row.contender)? {
                Ok(measurement) => row.rounds.push(measurement),
                Err(why) => row.missing = Some(why),
            }
        }
    }
    let load = format!(
        "{} users, {} offered for {} by each of {} rounds in turns, texts of 120 B",
        args.connections, args.rate, args.duration, args.rounds
    );
    let (text, json) = (table::text(&rows, &load), table::json(&rows, &load));
    for (name, content) in [
        ("peers.txt", foreign::shown(&(text.join("\n") + "\n"))),
        ("peers.json", foreign::json(&json) + "\n"),
    ] {
        let path = out.join(name);
        files::put(&path, content.as_bytes()).map_err(|why| files::unwritten(&path, &why))?;
    }
    match args.json {
        true => say(&[foreign::json(&json)]),
        false => {
            say(&text);
            say(&[format!("results: {}", out.display())]);
        }
    }
    match rows.iter().any(|row| !row.rounds.is_empty()) {
        true => Ok(Exit::Ok),
        false => Err(Failure::preflight(
            "none of the servers is installed: the lines above say how each is",
        )),
    }
}

/// Returns the servers that the options name; all without names.
fn chosen(only: &[String]) -> Outcome<Vec<&'static Contender>> {
    if only.is_empty() {
        return Ok(CONTENDERS.iter().collect());
    }
    let find = |name: &String| {
        let found = CONTENDERS.iter().find(|it| it.name == name);
        found.ok_or_else(|| {
            let known: Vec<_> = CONTENDERS.iter().map(|it| it.name).collect();
            Failure::scenario(format!(
                "--only {name}: there is no such server{}",
                hint(name, &known)
            ))
        })
    };
    only.iter().map(find).collect()
}

/// Measures one server once. Returns why it cannot be measured in the inner result.
///
/// # Errors
/// This program cannot be started again, or the user ends it.
fn measure(
    args: &PeersArgs,
    scenario: &Path,
    folder: &Path,
    contender: &Contender,
) -> Outcome<Result<Measurement, String>> {
    let own = folder.join("server");
    std::fs::create_dir_all(&own).map_err(|why| files::unwritten(&own, &why))?;
    let server = match contender.start(&own) {
        Ok(Started::Ours) => None,
        Ok(Started::Running(server)) => Some(server),
        Ok(Started::Missing) => return Ok(Err(format!("not installed: {}", contender.install))),
        Err(why) => return Ok(Err(why)),
    };
    let before = server.as_ref().map(|it| it.used());
    let results = folder.join("run");
    let this = std::env::current_exe()
        .map_err(|why| Failure::aborted(format!("this program cannot be started again: {why}")))?;
    let mut command = Command::new(this);
    command
        .arg("run")
        .arg(scenario)
        .args(["--no-tui", "--out"])
        .arg(&results);
    command.args(["--rate", &args.rate.to_string()]);
    command.args(["--duration", &args.duration.to_string()]);
    command.args(["--connections", &args.connections.to_string()]);
    if !args.health.is_empty() {
        command.args(["--health", &args.health.join(",")]);
    }
    if let Some(server) = &server {
        command.args(["--target", &server.url, "--protocol", contender.name]);
    }
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|why| Failure::aborted(format!("this program cannot be started again: {why}")))?;
    let used = server.as_ref().zip(before).map(|(server, before)| {
        let now = server.used();
        Process {
            cpu_seconds: now.cpu_seconds - before.cpu_seconds,
            ..now
        }
    });
    let Some(summary) = summary(&results.join("summary.json")) else {
        let code = status.code().unwrap_or(-1);
        return Ok(Err(format!(
            "the run ended with {code} and left no summary in {}",
            results.display()
        )));
    };
    Ok(Ok(Measurement::new(summary, used)))
}

fn summary(file: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}
