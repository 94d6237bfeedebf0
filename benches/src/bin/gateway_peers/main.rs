//! The gateway beside other servers, in turns in one run: messages, latency, a storm, a group, many
//! shards, five minutes at the full rate.
//!
//! `cargo run --release -p trunkline-benches --bin gateway-peers`
//!
//! A rate is measured in steady state: 10 segments are written meanwhile, and the store has put off
//! no more work at the end than at the start. Where that is not so, the output says `not steady`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of a program"
)]

mod contender;
mod fanout;
mod latency;
mod messages;
mod shards;
mod storm;
mod sustained;
mod table;
mod targets;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Parser, ValueEnum};
use tempfile::TempDir;
use trunkline_benches::metering::SEGMENT;
use trunkline_benches::peer;

use targets::Targets;

/// Measures the gateway, other servers and the kernel in turns in one run, and prints the targets
/// with the measured values.
///
/// Both ends run on this machine. Servers that cannot be installed are left out, with the reason.
#[derive(Debug, Parser)]
struct Args {
    /// Only these sections
    #[arg(long, value_delimiter = ',', value_name = "SECTION")]
    only: Vec<Section>,
    /// Only these servers beside the gateway, in the messages section [default: all]; the sustained
    /// section measures the gateway and the servers that are named here
    #[arg(long, value_delimiter = ',', value_name = "PEER")]
    peers: Vec<contender::Name>,
    /// Rounds; each measures every server once, and the medians are printed [default: 1 of messages
    /// and shards, 3 of the storm and the group]
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds counted per measurement, and up to half as many more until the store is steady; the
    /// latency section takes five times as many [default: 60; 15 of the group]
    #[arg(long)]
    seconds: Option<f64>,
    /// Minutes of the sustained section
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// End with an error if a measurement is not steady
    #[arg(long)]
    steady_or_fail: bool,
    /// Size of the gateway's segments in bytes; smaller ones are steady sooner, and are not what the
    /// default costs
    #[arg(long, default_value_t = SEGMENT)]
    segment_bytes: u64,
    /// Folder on the disk to measure [default: the system's folder for temporary files]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Connections that exchange messages
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Sessions of the latency and storm sections, members of the group
    #[arg(long, default_value_t = 10_000)]
    sessions: usize,
    /// Bytes of text per message
    #[arg(long, default_value_t = 120)]
    bytes: usize,
    /// Shards of the gateway
    #[arg(long, default_value_t = 1)]
    shards: usize,
    /// Durability of the gateway
    #[arg(long, default_value = "sync")]
    durability: String,
    /// File for a plot of the latency section: p50, p99 and p99.9 of each second, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// The parts that can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Messages per second, CPU and system calls per message, beside all peers
    Messages,
    /// The same load on one shard and on many
    Shards,
    /// Latency at 20,000 messages/s
    Latency,
    /// All sessions reconnect at once
    Storm,
    /// A group with all members online
    Fanout,
    /// Minutes at the full rate, a row each ten seconds; runs only if it is named
    Sustained,
}

impl Args {
    fn wants(&self, section: Section) -> bool {
        let named = self.only.contains(&section);
        named || self.only.is_empty() && section != Section::Sustained
    }

    /// Returns the rounds of a section, which has this default.
    fn rounds(&self, default: usize) -> usize {
        self.rounds.unwrap_or(default)
    }

    /// Returns the time of a measurement of a section, which has this default in seconds.
    fn time(&self, default: f64) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(default))
    }

    /// Makes a folder for a server's files.
    fn folder(&self) -> anyhow::Result<TempDir> {
        Ok(match &self.dir {
            Some(dir) => tempfile::tempdir_in(dir)?,
            None => tempfile::tempdir()?,
        })
    }
}

fn main() -> ExitCode {
    if let Some(code) = peer::child_main() {
        return code;
    }
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gateway-peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures one section, prints it, and enters its targets.
type Run = fn(&Args, &mut Targets) -> anyhow::Result<()>;

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut targets = Targets::default();
    let sections: [(Section, &str, Run); 6] = [
        (Section::Messages, "messages", messages::run),
        (Section::Shards, "shards", shards::run),
        (Section::Latency, "latency", latency::run),
        (Section::Storm, "storm", storm::run),
        (Section::Fanout, "fan-out", fanout::run),
        (Section::Sustained, "sustained", sustained::run),
    ];
    for (section, name, run) in sections {
        if args.wants(section)
            && let Err(error) = run(args, &mut targets)
        {
            println!("{name}: not run: {error:#}\n");
            targets.not_run(name);
        }
    }
    targets.print();
    let unsteady = targets.unsteady();
    if args.steady_or_fail && unsteady > 0 {
        bail!("{unsteady} measurements are not steady");
    }
    Ok(ExitCode::SUCCESS)
}
