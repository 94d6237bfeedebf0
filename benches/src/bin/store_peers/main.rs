//! Our store beside raft-engine, fjall, redb, RocksDB and a bare file, in turns in one run.
//!
//! `cargo run --release -p trunkline-benches --bin store-peers`
//!
//! Each contender runs in its own process. It appends groups, each durable by its own sync, reads
//! ranges, is killed, and opens again. The appends last until our store is in steady state, and all
//! others get the same time. `--count-syncs` makes a separate run under strace, which
//! fails unless each contender syncs as often as it claims.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of a program"
)]

mod contest;
mod report;
mod syncs;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::Parser;
use trunkline_benches::rival::RIVALS;
use trunkline_benches::{child, machine};

use crate::contest::Entrant;
use crate::report::{Missing, Report};

/// Compares our store with others. Each makes every group durable by a sync.
#[derive(Debug, Parser)]
#[command(name = "store-peers")]
struct Args {
    /// Messages to load before reads, openings and appends are measured, 120 B each; a third of
    /// them goes to timelines with at least 100
    #[arg(long, default_value_t = 1_500_000)]
    messages: u64,
    /// Timelines
    #[arg(long, default_value_t = 1_000_000)]
    timelines: u64,
    /// Rounds of openings and reads; each measures every contender once, and the medians are printed
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds of appends per group size and contender, and up to half as many more until the
    /// store is steady
    #[arg(long, default_value_t = 15_000)]
    millis: u64,
    /// End with an error if our store's appends are not steady, but for groups of 1, which are too slow
    /// for that
    #[arg(long)]
    steady_or_fail: bool,
    /// Reads per contender in a round
    #[arg(long, default_value_t = 2_000)]
    reads: u64,
    /// Numbers of messages in a group
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 1_000])]
    groups: Vec<usize>,
    /// Index entries per message: 0, 2 or both, each in a separate run
    #[arg(long, value_delimiter = ',', default_values_t = [0, 2])]
    fanout: Vec<usize>,
    /// Folder on the disk to measure [default: a folder below the build]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Only these stores: trunkline, bare, raft-engine, fjall, redb, rocksdb
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Folder to build the other stores in, which several checkouts can share [default:
    /// benches/rivals/target]
    #[arg(long)]
    rivals_target: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Only count the syncs of each contender, and fail if there are fewer than groups
    #[arg(long)]
    count_syncs: bool,
}

/// The most bytes of disk that a second of appends takes, with the warm-up and with merges.
const APPENDED_BYTES: u64 = 1 << 30;

fn main() -> ExitCode {
    if let Some(code) = child::contender_main() {
        return code;
    }
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("store-peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.rounds == 0 || args.groups.contains(&0) || args.messages < 3 || args.timelines < 2 {
        bail!("there is nothing to measure: look at --rounds, --groups, --messages, --timelines");
    }
    if args.fanout.iter().any(|fanout| ![0, 2].contains(fanout)) {
        bail!("--fanout takes 0 and 2");
    }
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let dir = tempfile::tempdir_in(args.dir.as_ref().unwrap_or(&beside))?;
    if machine::in_memory(dir.path())? {
        eprintln!("store-peers: the folder is in memory, where a sync does nothing");
    }
    let (entrants, missing) = entrants(args)?;
    if args.count_syncs {
        return syncs::count(dir.path(), &entrants, &args.groups);
    }
    // All stores have the load at a time. Some keep a message three times for a while, and its index
    // entries; fjall also keeps its journals. Only one has the messages of the appends.
    let load = 1_000 * args.messages + (1 << 30);
    let appends = APPENDED_BYTES * args.millis / 1_000;
    machine::require(dir.path(), load * entrants.len() as u64 + appends)?;
    let mut report = Report::new(args, &entrants, missing);
    for &fanout in &args.fanout {
        if !args.json {
            eprintln!("store-peers: measuring with fan-out {fanout}");
        }
        let section = contest::run(args, &entrants, fanout, dir.path())?;
        report.sections.push(section);
    }
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print!("{}", report.text()),
    }
    if args.steady_or_fail && !report.is_steady() {
        bail!("appends are not steady");
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the stores that take part, and those that cannot be built.
fn entrants(args: &Args) -> anyhow::Result<(Vec<Entrant>, Vec<Missing>)> {
    let only = &args.only;
    let ours = [child::BARE, child::TRUNKLINE];
    let known = || ours.into_iter().chain(RIVALS.map(|rival| rival.name));
    if let Some(unknown) = only
        .iter()
        .find(|name| known().all(|known| known != **name))
    {
        bail!(
            "--only {unknown}: there are {}",
            known().collect::<Vec<_>>().join(", ")
        );
    }
    let wanted = |name: &str| only.is_empty() || only.iter().any(|other| other == name);
    let (mut entrants, mut missing) = (Vec::new(), Vec::new());
    for name in ours.into_iter().filter(|name| wanted(name)) {
        entrants.push(Entrant {
            name: name.into(),
            program: child::ours(name)?,
            version: env!("CARGO_PKG_VERSION").into(),
        });
    }
    for rival in RIVALS.iter().filter(|rival| wanted(rival.name)) {
        eprintln!("store-peers: building {}", rival.name);
        match rival.build(args.rivals_target.as_deref()) {
            Ok(program) => entrants.push(Entrant {
                name: rival.name.into(),
                program: vec![program.display().to_string()],
                version: rival.version()?,
            }),
            Err(error) => {
                eprintln!("store-peers: going on without {}: {error:#}", rival.name);
                missing.push(Missing {
                    contender: rival.name.into(),
                    reason: format!("{error:#}"),
                });
            }
        }
    }
    Ok((entrants, missing))
}
