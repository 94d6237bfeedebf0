//! The check that each contender syncs as often as it claims, counted by strace.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command as Program, ExitCode, Stdio};

use anyhow::{Context, bail};
use trunkline_benches::child::Seat;
use trunkline_benches::figures::{grouped, table};
use trunkline_benches::trace::{CALLS, Syncs};
use trunkline_contender::{Command, Setup};

use crate::contest::Entrant;

/// The number of groups of each size; small groups are more.
const GROUPS: u64 = 200;

/// Runs each contender under strace, and fails if one synced fewer times than it stored groups.
pub(crate) fn count(
    dir: &Path,
    entrants: &[Entrant],
    groups: &[usize],
) -> anyhow::Result<ExitCode> {
    let there = Program::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .status();
    if there.is_err() {
        bail!("nothing was counted: that takes strace (apt-get install strace)");
    }
    let (mut rows, mut notes, mut short) = (Vec::new(), String::new(), 0);
    for entrant in entrants {
        for &group in groups {
            let syncs = trace(dir, entrant, group)
                .with_context(|| format!("{} in groups of {group}", entrant.name))?;
            let verdict = match (syncs.total() >= GROUPS, syncs.blind.is_empty()) {
                (true, _) => "ok",
                (false, false) => "cannot tell",
                (false, true) => "TOO FEW",
            };
            short += u32::from(verdict != "ok");
            let calls: Vec<_> = syncs
                .calls
                .iter()
                .map(|(call, n)| format!("{n} {call}"))
                .collect();
            rows.push(vec![
                entrant.name.clone(),
                grouped(group as u64),
                GROUPS.to_string(),
                syncs.total().to_string(),
                verdict.into(),
                calls.join(", "),
            ]);
            for note in &syncs.blind {
                notes += &format!("{}: {note}; such writes are not counted\n", entrant.name);
            }
        }
    }
    let head = ["", "group", "groups", "syncs", "verdict", "calls"];
    print!("{}{notes}", table(&head, &rows));
    if short == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("store-peers: a contender synced fewer times than it stored groups");
    Ok(ExitCode::FAILURE)
}

/// Returns the syncs that a contender makes while it stores groups of messages.
fn trace(dir: &Path, entrant: &Entrant, group: usize) -> anyhow::Result<Syncs> {
    let (store, trace) = (dir.join(&entrant.name), dir.join("trace"));
    let setup = Setup {
        dir: store.clone(),
        timelines: 10_000,
        messages: 30_000,
        entries: 2,
        stored: 0,
    };
    let strace = [
        "strace",
        "-f",
        "-qq",
        "-s",
        "32",
        "-e",
        CALLS,
        "-e",
        "signal=none",
        "-o",
    ];
    let mut program: Vec<String> = strace.map(String::from).into();
    program.push(trace.display().to_string());
    program.extend_from_slice(&entrant.program);
    // The end of strace does not end the processes that it follows.
    let mut seat = Seat::start(&program, &setup, false)?;
    seat.tell(Command::Groups {
        group,
        count: GROUPS,
    })?;
    seat.finish()?;
    let lines = BufReader::new(File::open(&trace)?).lines();
    let syncs = Syncs::parse(lines.map_while(Result::ok));
    if !syncs.complete {
        bail!("strace did not see the contender's marks");
    }
    std::fs::remove_dir_all(store)?;
    Ok(syncs)
}
