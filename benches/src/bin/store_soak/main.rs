//! Simulates three days of messages, and checks that the store does not grow under expiry.
//!
//! `cargo run --release -p trunkline-benches --bin store-soak`
//!
//! Records and the store's clock have simulated times. Each line shows the store's use of resources
//! after a simulated hour. The last line has the verdict: whether files, disk, memory and the time
//! of an opening stayed flat, from the middle third of the hours to the last third. The exit code
//! is 1 if not.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of a program"
)]

mod ingest;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Parser;
use trunkline_benches::figures::grouped;
use trunkline_benches::machine;

use crate::ingest::{Hour, Ingest};

/// Simulates days of ingest under expiry, and fails if files, memory or openings grow.
#[derive(Debug, Parser)]
#[command(name = "store-soak")]
struct Args {
    /// Hours to simulate, at least three times the longest lifetime
    #[arg(long, default_value_t = 72)]
    hours: u64,
    /// Messages per simulated second, 120 B each with two readers and a key
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// Number of conversations, and of users
    #[arg(long, default_value_t = 1_000_000)]
    timelines: u64,
    /// Messages in a group, which one sync makes durable
    #[arg(long, default_value_t = 1_000)]
    group: u64,
    /// Lifetime of messages, in hours
    #[arg(long, default_value_t = 24)]
    message_life: u64,
    /// Lifetime of sync timelines, in hours
    #[arg(long, default_value_t = 24)]
    sync_life: u64,
    /// Lifetime of idempotency keys, in hours
    #[arg(long, default_value_t = 1)]
    key_life: u64,
    /// Size of a segment in MiB; use less for short lifetimes or low rates, because each thirtieth
    /// of a lifetime begins a segment
    #[arg(long, default_value_t = 64)]
    segment: u64,
    /// Open the store again every this many hours
    #[arg(long, default_value_t = 6)]
    reopen: u64,
    /// Folder on the disk to use [default: a folder below the build]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// End with an error if the last two thirds of the hours are not steady
    #[arg(long)]
    steady_or_fail: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    fn check(&self) -> anyhow::Result<()> {
        let lives = [self.message_life, self.sync_life, self.key_life];
        let longest = lives.into_iter().max().unwrap_or(0);
        if self.hours < 3 * longest.max(1) {
            bail!(
                "--hours {} is too short to tell: the first third is for filling up to a life of \
                 {longest} hours",
                self.hours
            );
        }
        if self.hours < 3 * self.reopen || self.reopen == 0 {
            bail!("--reopen must happen at least once in each third of the hours");
        }
        if self.rate == 0 || self.group == 0 || self.timelines < 2 {
            bail!("there is nothing to store: look at --rate, --group and --timelines");
        }
        Ok(())
    }

    /// Returns the most bytes of disk: the live data, the same again for merging, and the log.
    fn disk(&self) -> u64 {
        let living = self.rate * 3600 * self.message_life.max(self.sync_life) * 11 / 10;
        2 * 400 * living + (2 << 30)
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("store-soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.check()?;
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let dir = tempfile::tempdir_in(args.dir.as_ref().unwrap_or(&beside))?;
    machine::require(dir.path(), args.disk())?;
    if !args.json {
        println!(
            "{} hours of {} messages/s, 120 B each with two readers and a key, in groups of {}; \
             {} conversations; messages live {} h, sync {} h, keys {} h",
            args.hours,
            grouped(args.rate),
            grouped(args.group),
            grouped(args.timelines),
            args.message_life,
            args.sync_life,
            args.key_life
        );
        println!("{}", Hour::head());
    }
    let mut ingest = Ingest::open(args, dir.path())?;
    let mut hours = Vec::new();
    for hour in 1..=args.hours {
        let line = ingest.hour(hour.is_multiple_of(args.reopen))?;
        if !args.json {
            println!("{line}");
        }
        hours.push(line);
        // Leaves room on the disk for other programs.
        machine::require(dir.path(), 0)?;
    }
    let verdict = verdict::of(&hours);
    match args.json {
        true => println!(
            "{}",
            serde_json::to_string_pretty(&serde_json::json!({
                "hours": hours,
                "verdict": verdict,
            }))?
        ),
        false => print!("{verdict}"),
    }
    if args.steady_or_fail && !verdict.steady() {
        bail!("the ingest is not steady");
    }
    Ok(match verdict.flat() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Returns a lifetime of this many hours, as the store's options take it.
fn hours(hours: u64) -> Option<Duration> {
    Some(Duration::from_secs(hours * 3600))
}
