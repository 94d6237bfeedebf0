//! Ephemeral events beside messages: a topic with very many subscribers, a user with very many
//! watchers who comes and goes, and the effect of both on the latency of messages between two
//! users.
//!
//! `cargo run --release -p trunkline-benches --bin ephemeral`

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of a program"
)]

mod latency;
mod listening;
mod topic;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tempfile::TempDir;
use trunkline_benches::metering::SEGMENT;
use trunkline_benches::peer::{self, Peer};

/// Measures publications to the subscribers of one topic. Measures the latency of messages alone,
/// beside such publications, and beside a user with many watchers who comes and goes.
///
/// Both ends run on this machine. The listeners run at a lower priority, because only the
/// measurement needs them.
#[derive(Debug, Parser)]
struct Args {
    /// Only these sections
    #[arg(long, value_delimiter = ',', value_name = "SECTION")]
    only: Vec<Section>,
    /// Number of rounds; each measures everything in turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds counted per measurement
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Messages per second, from random users to their partners
    #[arg(long, default_value_t = 2_000.0)]
    rate: f64,
    /// Number of users who exchange messages
    #[arg(long, default_value_t = 1_000)]
    sessions: usize,
    /// Number of watchers of one user
    #[arg(long, default_value_t = 5_000)]
    watchers: usize,
    /// Number of times per second that the watched user comes or goes
    #[arg(long, default_value_t = 4.0)]
    changes: f64,
    /// Number of subscribers of one topic
    #[arg(long, default_value_t = 10_000)]
    subscribers: usize,
    /// Publications to the topic per second
    #[arg(long, default_value_t = 10.0)]
    publications: f64,
    /// Bytes of text of a message, and of a publication
    #[arg(long, default_value_t = 120)]
    bytes: usize,
    /// Shards of the gateway
    #[arg(long, default_value_t = 1)]
    shards: usize,
    /// Size of the gateway's segments in bytes
    #[arg(long, default_value_t = SEGMENT)]
    segment_bytes: u64,
    /// End with an error if the store was not steady while messages were measured
    #[arg(long)]
    steady_or_fail: bool,
}

/// The parts that can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Publications one after another, and too many of them
    Topic,
    /// Messages beside ephemeral events
    Latency,
}

impl Args {
    fn wants(&self, section: Section) -> bool {
        self.only.is_empty() || self.only.contains(&section)
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

/// A gateway and its folder.
struct Gateway {
    peer: Peer,
    _folder: TempDir,
}

impl Gateway {
    /// Starts a gateway that reports a user's absence at once.
    fn start(args: &Args) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let segment = format!("{}B", args.segment_bytes);
        let flags = [("presence-grace", "0s"), ("segment-bytes", &segment)];
        let peer = Peer::gateway_with(folder.path(), args.shards, "sync", &flags)?;
        Ok(Self {
            peer,
            _folder: folder,
        })
    }
}

fn main() -> ExitCode {
    if let Some(code) = peer::child_main() {
        return code;
    }
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ephemeral: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    if args.wants(Section::Topic) {
        topic::run(args)?;
    }
    if args.wants(Section::Latency) {
        latency::run(args)?;
    }
    Ok(())
}
