//! What waiting HTTP clients cost senders: latency and rate of messages with very many waiting
//! polls and streams, a callback back end that hangs and metrics that are read each second, against
//! the same clients at a server that does nothing, and against none. The memory of each poll and stream. And what the
//! erasure of a user costs senders.
//!
//! `cargo run --release -p trunkline-benches --bin waiting`

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of a program"
)]

mod beside;
mod erasing;
mod held;
mod measure;
mod report;
mod sample;
mod stage;

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use trunkline_benches::peer;
use trunkline_benches::rounds::Verdict;

use crate::beside::Load;
use crate::measure::measure;
use crate::report::{report, report_memory};
use crate::stage::Stage;

/// Measures messages in turns: alone, and beside polls, streams, a back end that hangs and metrics.
///
/// The latency that is judged is the median of the 99th percentiles of whole seconds. That of a whole turn is
/// printed beside it: one flush of the disk that takes long decides it, and two turns without any other load
/// differ in it by a factor of up to four.
///
/// A round has three turns: alone, beside the waiting clients, and while the same clients wait at a server that does
/// nothing (the sink). The clients run on this machine too, and what they and the kernel take is in the third turn. So
/// the factor that is judged is that of beside to the sink; "raw" is that of beside to alone.
///
/// "theirs" is the part of a processor that the gateway's threads for clients over HTTP, back ends and
/// metrics took while the latency was measured; in the turn with the sink, what the sink took. "ends/s" is how many
/// polls end and how many comments come, and "answers/s" the answers to questions for the back end.
///
/// Then the same beside the erasure of a user, without a sink. All turns are of one gateway with one store. Each round
/// gives a factor, so what the machine does besides counts on all sides. The 95 % interval of the median of the
/// factors decides (by the bootstrap). The exit code is 1 if that of the latency or of the rate is beyond 1.05, or if
/// a poll takes more than 2 KiB, and 90 if 1.05 lies in an interval.
#[derive(Debug, Parser)]
struct Args {
    /// Polls that wait
    #[arg(long, default_value_t = 10_000)]
    polls: usize,
    /// Streams of events
    #[arg(long, default_value_t = 5_000)]
    streams: usize,
    /// Clients that ask a back end that hangs, again and again
    #[arg(long, default_value_t = 16)]
    asking: usize,
    /// Do not read the metrics each second
    #[arg(long)]
    no_metrics: bool,
    /// Say what each part of the load costs by itself: polls, streams, the back end, metrics
    #[arg(long)]
    each: bool,
    /// Messages of each user who is erased; 0 for no erasures
    #[arg(long, default_value_t = 100_000)]
    erased: u64,
    /// Rounds of three turns, in another order each time
    #[arg(long, default_value_t = 18)]
    rounds: usize,
    /// Rounds of two turns, alone and beside an erasure; 0 for none
    #[arg(long, default_value_t = 5)]
    erasures: usize,
    /// Seconds of each measurement. A turn has two
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Pairs of users whose latency is measured
    #[arg(long, default_value_t = 200)]
    pairs: usize,
    /// Messages per second of these users together. Of few messages, few decide the 99th percentile: of 500 a
    /// second, five
    #[arg(long, default_value_t = 5_000.0)]
    rate: f64,
    /// Shards of the gateway
    #[arg(long, default_value_t = 2)]
    shards: usize,
    /// Folder in which the gateway has its store for the run. One in memory (/dev/shm) gives a figure without the
    /// noise of the disk, which waiting clients do not use
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    folder: std::path::PathBuf,
    /// When a message is acknowledged: `sync`, or `memory`
    #[arg(long, default_value = "sync")]
    durability: String,
    /// The most that the median of a factor may be
    #[arg(long, default_value_t = 1.05)]
    bound: f64,
}

/// The descriptors of this process besides connections.
const OWN: u64 = 256;

/// The exit code if nothing was missed and the rounds do not decide, as that of `neighbours`.
const UNDECIDED: u8 = 90;

fn main() -> ExitCode {
    if let Some(code) = peer::child_main() {
        return code;
    }
    match run(&Args::parse()) {
        Ok(Verdict::Within) => ExitCode::SUCCESS,
        Ok(Verdict::Undecided) => ExitCode::from(UNDECIDED),
        Ok(Verdict::Beyond) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("waiting: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether everything is within its bounds.
fn run(args: &Args) -> anyhow::Result<Verdict> {
    if args.rounds == 0 || args.pairs == 0 || args.shards == 0 {
        bail!("--rounds, --pairs and --shards take numbers from 1 on");
    }
    let load = Load {
        polls: args.polls,
        streams: args.streams,
        asking: args.asking,
        reads_metrics: !args.no_metrics,
    };
    raise_descriptors(args)?;
    let folder = tempfile::tempdir_in(&args.folder)
        .with_context(|| format!("no folder can be made in {}", args.folder.display()))?;
    let stage = Stage::begin(args, folder.path())?;
    let memory = match args.each {
        true => None,
        false => stage.memory(Load {
            asking: 0,
            reads_metrics: false,
            ..load
        })?,
    };
    println!("{}", measure::HEAD);
    // Not counted: the first messages make the store's files and the users.
    measure(args, &stage.gateway, None)?;
    let mut verdicts = Vec::new();
    if args.each {
        for (name, part) in load.parts() {
            let rounds = stage.rounds(args, name, part)?;
            verdicts.push(report(&rounds, args.bound));
        }
        return Ok(worst(&verdicts));
    }
    let rounds = stage.rounds(args, "beside", load)?;
    verdicts.push(report(&rounds, args.bound));
    if let Some(memory) = memory
        && !report_memory(memory, args.polls, args.streams)
    {
        verdicts.push(Verdict::Beyond);
    }
    if args.erased > 0 && args.erasures > 0 {
        verdicts.push(report(&stage.erasures(args)?, args.bound));
    }
    Ok(worst(&verdicts))
}

/// Returns what all verdicts together say.
fn worst(verdicts: &[Verdict]) -> Verdict {
    [Verdict::Beyond, Verdict::Undecided]
        .into_iter()
        .find(|bad| verdicts.contains(bad))
        .unwrap_or(Verdict::Within)
}

/// Lets this process and the gateway have as many connections as the machine allows.
fn raise_descriptors(args: &Args) -> anyhow::Result<()> {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limits.maximum,
        maximum: limits.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("cannot raise the number of open files")?;
    let need = (args.polls + args.streams + 2 * args.pairs) as u64 + OWN;
    if let Some(limit) = limits.maximum.filter(|limit| *limit < need) {
        bail!(
            "{need} descriptors are needed and the limit is {limit}: wait with fewer polls and streams"
        );
    }
    Ok(())
}
