//! Measures each target of the store on this machine: pass or miss.
//!
//! `cargo run --release -p trunkline-benches --bin store-targets`
//!
//! The target for openings is for 50 million messages: `--messages 50000000` takes about 12 GB of
//! disk, and twice that while runs are merged. The table describes each target that is not one of
//! `store-peers` or `store-soak`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of a program"
)]

mod appends;
mod cold;
mod counting;
mod memory;
mod reads;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use crate::appends::Appends;
use anyhow::bail;
use clap::Parser;
use serde::Serialize;
use trunkline_benches::child::{self, Seat};
use trunkline_benches::figures::{columns, grouped, short};
use trunkline_benches::machine;
use trunkline_contender::{BODY, Command, Setup};

/// Measures the store's targets.
#[derive(Debug, Parser)]
#[command(name = "store-targets")]
struct Args {
    /// Messages to store before the store is killed, opened and read; 50000000 takes about 12 GB of
    /// disk, and twice that while runs are merged
    #[arg(long, default_value_t = 3_000_000)]
    messages: u64,
    /// Timelines
    #[arg(long, default_value_t = 1_000_000)]
    timelines: u64,
    /// Reads of each kind
    #[arg(long, default_value_t = 20_000)]
    reads: usize,
    /// Number of cold reads; the store is opened again before each
    #[arg(long, default_value_t = 20)]
    cold: usize,
    /// Rounds of appends beside a bare write
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Milliseconds of appends per group size in a round, and up to half as many more until the store
    /// is steady
    #[arg(long, default_value_t = 15_000)]
    millis: u64,
    /// End with an error if the appends are not steady
    #[arg(long)]
    steady_or_fail: bool,
    /// Folder on the disk to measure [default: a folder below the build]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A target and the measured value.
#[derive(Debug, Serialize)]
struct Row {
    what: String,
    target: String,
    measured: String,
    /// Whether the target is met; `None` without a target, or if another program measures it.
    pass: Option<bool>,
}

impl Row {
    fn at_most(what: impl Into<String>, value: f64, limit: f64, unit: &str, more: &str) -> Self {
        Row {
            what: what.into(),
            target: format!("≤ {} {unit}", number(limit)).trim_end().into(),
            measured: format!("{} {unit}", number(value)).trim_end().to_owned() + more,
            pass: Some(value <= limit),
        }
    }

    fn at_least(what: impl Into<String>, value: f64, limit: f64, unit: &str, more: &str) -> Self {
        Row {
            target: format!("≥ {} {unit}", number(limit)).trim_end().into(),
            pass: Some(value >= limit),
            ..Row::at_most(what, value, limit, unit, more)
        }
    }

    /// A figure without a target.
    fn told(what: impl Into<String>, measured: String) -> Self {
        Row {
            what: what.into(),
            target: String::new(),
            measured,
            pass: None,
        }
    }

    fn elsewhere(what: &str, target: &str, program: &str) -> Self {
        Row {
            what: what.into(),
            target: target.into(),
            measured: format!("see {program}"),
            pass: None,
        }
    }
}

/// Formats a number without needless digits.
fn number(value: f64) -> String {
    match value {
        v if v.fract() == 0.0 => grouped(v as u64),
        v => short(v),
    }
}

/// The number of messages in the store that must open after `kill -9`.
const TARGET_MESSAGES: u64 = 50_000_000;

fn main() -> ExitCode {
    if let Some(code) = child::contender_main() {
        return code;
    }
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("store-targets: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // Enough messages that each list that is read fills a page.
    if args.messages < 3_000 || args.timelines < 1_000 {
        bail!("--messages must be at least 3000 and --timelines 1000");
    }
    if args.reads == 0 || args.cold == 0 || args.rounds == 0 {
        bail!("there is nothing to measure: look at --reads, --cold and --rounds");
    }
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let dir = tempfile::tempdir_in(args.dir.as_ref().unwrap_or(&beside))?;
    // A second of appends takes up to a GiB, with the warm-up and with merges.
    let appended = (args.rounds as u64 * args.millis / 1_000) << 30;
    machine::require(dir.path(), (500 * args.messages + (2 << 30)).max(appended))?;
    let Appends {
        mut rows,
        remarks,
        steady,
    } = appends::measure(args, dir.path())?;
    let store = dir.path().join("store");
    let (written, opening) = load(args, &store)?;
    rows.extend(reads::rows(args, &store)?);
    std::fs::remove_dir_all(&store)?;
    rows.push(memory::row(args, dir.path())?);
    rows.push(opening);
    rows.push(written);
    let (written, flat) = ("bytes written per message byte, steady", "72 h of ingest");
    rows.push(Row::elsewhere(written, "≤ 3", "store-soak"));
    rows.push(Row::elsewhere(flat, "flat", "store-soak"));
    print(args, &rows)?;
    if !args.json {
        println!("\n{}", remarks.join("\n"));
    }
    if args.steady_or_fail && !steady {
        bail!("appends are not steady");
    }
    Ok(match rows.iter().any(|row| row.pass == Some(false)) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// Stores the messages in another process, kills it, and opens the store.
fn load(args: &Args, store: &Path) -> anyhow::Result<(Row, Row)> {
    eprintln!("store-targets: storing {} messages", grouped(args.messages));
    let setup = Setup {
        dir: store.to_path_buf(),
        timelines: args.timelines,
        messages: args.messages,
        entries: 2,
        stored: 0,
    };
    let program = child::ours(child::TRUNKLINE)?;
    std::fs::create_dir_all(store)?;
    let before = machine::written(store)?;
    let mut seat = Seat::start(&program, &setup, false)?;
    // In several pieces, so that the process is still working when it is killed.
    let messages = args.messages - args.messages / 100;
    seat.tell(Command::Load { messages })?;
    seat.tell(Command::Settle)?;
    seat.tell(Command::Load {
        messages: args.messages - messages,
    })?;
    let counted = seat.tell(Command::Cost)?.get("written")?;
    let device = machine::written(store)?.zip(before);
    seat.kill()?;
    let began = Instant::now();
    let opened = reads::open(store, None)?;
    let took = began.elapsed().as_secs_f64();
    let replayed = format!(", {} records replayed", grouped(opened.report.records));
    let mut opening = Row::at_most(
        format!("open after kill -9, {} messages", grouped(args.messages)),
        took * 1e3,
        500.0,
        "ms",
        &replayed,
    );
    if args.messages < TARGET_MESSAGES {
        opening.target += &format!(" with {}", grouped(TARGET_MESSAGES));
    }
    let per_byte = |bytes: f64| bytes / (args.messages * BODY as u64) as f64;
    // The device's count includes other work, and also the zeros in prepared segments.
    let more = device.map(|(after, before)| per_byte((after - before) as f64));
    let more = more.map_or_else(String::new, |more| {
        format!("by the store's count, {} by the device's", short(more))
    });
    let written = Row::at_most(
        "bytes written per message byte, filling",
        per_byte(counted),
        3.0,
        "",
        &format!(" {more}"),
    );
    drop(opened);
    Ok((written, opening))
}

fn print(args: &Args, rows: &[Row]) -> anyhow::Result<()> {
    if args.json {
        println!("{}", serde_json::to_string_pretty(rows)?);
        return Ok(());
    }
    let cells = |row: &Row| {
        let verdict = match row.pass {
            Some(true) => "pass",
            Some(false) => "MISS",
            None => "",
        };
        let Row {
            what,
            target,
            measured,
            ..
        } = row;
        vec![
            what.clone(),
            target.clone(),
            measured.clone(),
            verdict.into(),
        ]
    };
    let rows: Vec<_> = rows.iter().map(cells).collect();
    let head = ["", "target", "measured", "verdict"];
    print!("{}", columns(&head, &rows, head.len()));
    Ok(())
}
