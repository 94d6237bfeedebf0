//! What a group costs whose events enter every member's timeline (push), beside one whose members
//! catch up from the group's (pull): log, CPU, and the time to catch up, by the size of the group.
//!
//! `cargo run --release -p trunkline-benches --bin fanout-modes`

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
use trunkline_benches::peer::{self, Peer};

/// Measures groups of several sizes on two gateways that differ in `--fanout-limit` alone; what
/// receipts add to messages; and a very large group.
///
/// Both ends run on this machine, and share its processors.
#[derive(Debug, Parser)]
struct Args {
    /// Only these sections
    #[arg(long, value_delimiter = ',', value_name = "SECTION")]
    only: Vec<Section>,
    /// Members of the groups, the sender among them
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
    /// Messages that somebody catches up on
    #[arg(long, default_value_t = 1_000)]
    missed: usize,
    /// Members of the very large group
    #[arg(long, default_value_t = 100_000)]
    large: usize,
    /// Shards of the gateways
    #[arg(long, default_value_t = 1)]
    shards: usize,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Sending to groups and catching up on them, in both modes
    Modes,
    /// What receipts add to messages
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
        let peer = Peer::gateway_with(folder.path(), args.shards, "sync", flags)?;
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
