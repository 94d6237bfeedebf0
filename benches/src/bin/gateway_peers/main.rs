//! The gateway beside other servers, in turns in one run: messages, latency, a storm, a group, many
//! shards.
//!
//! `cargo run --release -p trunkline-benches --bin gateway-peers`

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
mod targets;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
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
    /// Only these servers beside the gateway, in the messages section
    #[arg(long, value_delimiter = ',', value_name = "PEER")]
    peers: Vec<contender::Name>,
    /// Rounds; each measures every server once, and the medians are printed
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds counted per measurement
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
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
}

impl Args {
    fn wants(&self, section: Section) -> bool {
        self.only.is_empty() || self.only.contains(&section)
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn main() -> ExitCode {
    if let Some(code) = peer::child_main() {
        return code;
    }
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway-peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures one section, prints it, and enters its targets.
type Run = fn(&Args, &mut Targets) -> anyhow::Result<()>;

fn run(args: &Args) -> anyhow::Result<()> {
    let mut targets = Targets::default();
    let sections: [(Section, &str, Run); 5] = [
        (Section::Messages, "messages", messages::run),
        (Section::Shards, "shards", shards::run),
        (Section::Latency, "latency", latency::run),
        (Section::Storm, "storm", storm::run),
        (Section::Fanout, "fan-out", fanout::run),
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
    Ok(())
}
