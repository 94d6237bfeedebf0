//! The costs of two kinds of groups: one whose events enter every member's timeline (push), and one
//! whose members catch up from the group's timeline (pull). The costs are log, CPU, and the time to
//! catch up, by the size of the group.
//!
//! `cargo run --release -p trunkline-benches --bin fanout-modes`
//!
//! Results on a shared machine with two cores. CPU is the ratio of push to pull, for the CPU time
//! per message until all members have it, with one in ten online and the others catching up later:
//!
//! | members | log B, push | log B, pull | CPU |
//! |---|---|---|---|
//! | 10 | 360 | 216 | 0.5 |
//! | 100 | 1,800 | 216 | 0.6 |
//! | 200 | 3,400 | 216 | 1.0 |
//! | 300 | 5,000 | 216 | 3 |
//! | 500 | 8,200 | 216 | 7 |
//! | 1,000 | 16,208 | 224 | 6 |
//! | 10,000 | 160,208 | 224 | 13 |
//!
//! Push pays for the fan-out in each record, which it writes and which every catching-up member
//! reads. Pull pays for reading one timeline per group: 1 ms for 1,000 messages of 20 groups, for
//! which push reads one timeline. The costs are equal at 200 members, whatever part of them is
//! online. So the default of `fanout_limit` is 200.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of a program"
)]

mod catching_up;
mod costs;
mod large;
mod receipts;
mod sending;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use tempfile::TempDir;
use trunkline_benches::metering::SEGMENT;
use trunkline_benches::peer::{self, Peer};

/// Measures groups of several sizes on two gateways that differ only in `--fanout-limit`, the cost
/// of receipts, and a very large group.
///
/// Both ends run on this machine, and share its processors.
#[derive(Debug, Parser)]
struct Args {
    /// Only these sections
    #[arg(long, value_delimiter = ',', value_name = "SECTION")]
    only: Vec<Section>,
    /// Members of the groups, including the sender
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "2,10,100,500,1000,2000,10000"
    )]
    sizes: Vec<usize>,
    /// Seconds of sending per measurement
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Bytes of text per message
    #[arg(long, default_value_t = 120)]
    bytes: usize,
    /// Members of the conversations in which receipts are counted; 2 is a conversation of two users
    #[arg(long, value_delimiter = ',', default_value = "2,10,16,17")]
    readers: Vec<usize>,
    /// Messages that a member catches up on
    #[arg(long, default_value_t = 1_000)]
    missed: usize,
    /// Members of the very large group
    #[arg(long, default_value_t = 100_000)]
    large: usize,
    /// Shards of the gateways
    #[arg(long, default_value_t = 1)]
    shards: usize,
    /// Size of the gateways' segments in bytes
    #[arg(long, default_value_t = SEGMENT)]
    segment_bytes: u64,
    /// End with an error if a store was not steady over all sizes of groups
    #[arg(long)]
    steady_or_fail: bool,
}

/// The parts that can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Sending to groups and catching up on them, in both modes
    Modes,
    /// The cost that receipts add to messages
    Receipts,
    /// A very large group
    Large,
}

impl Args {
    fn wants(&self, section: Section) -> bool {
        self.only.is_empty() || self.only.contains(&section)
    }
}

/// A gateway and its folder.
struct Gateway {
    peer: Peer,
    folder: TempDir,
}

impl Gateway {
    fn start(args: &Args, flags: &[(&str, usize)]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let flags = flags.iter().map(|(flag, value)| (*flag, value.to_string()));
        let segment = ("segment-bytes", format!("{}B", args.segment_bytes));
        let flags: Vec<_> = flags.chain([segment]).collect();
        let peer = Peer::gateway_with(folder.path(), args.shards, "sync", &flags)?;
        Ok(Self { peer, folder })
    }
}

fn main() -> ExitCode {
    if let Some(code) = peer::child_main() {
        return code;
    }
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fanout-modes: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    if args.wants(Section::Modes) {
        costs::run(args)?;
    }
    if args.wants(Section::Receipts) {
        receipts::run(args)?;
    }
    if args.wants(Section::Large) {
        large::run(args)?;
    }
    Ok(())
}
