//! What waiting HTTP clients cost senders: latency and rate of messages with very many waiting
//! polls and streams, a callback back end that hangs and metrics that are read each second, against
//! without. The memory of each poll and stream. And what the erasure of a user costs senders.
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

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use trunkline_benches::blast::{self, CHAT, Plan};
use trunkline_benches::crowd::{Crowd, MemberKind};
use trunkline_benches::figures::{grouped, median, percentile, short, table};
use trunkline_benches::open_loop::{self, Control, Traffic, millis};
use trunkline_benches::peer::{self, Peer};

use crate::beside::{Beside, Load, Memory};

/// Measures messages in turns: alone, and beside polls, streams, a back end that hangs and metrics.
///
/// The latency that is judged is the median of the 99th percentiles of whole seconds. That of a whole turn is
/// printed beside it: one flush of the disk that takes long decides it, and two turns without any other load
/// differ in it by a factor of up to four.
///
/// "theirs" is the part of a processor that the gateway's threads for clients over HTTP, back ends and
/// metrics took while the latency was measured.
///
/// Then the same beside the erasure of a user. All turns are of one gateway with one store. Both ends run on
/// this machine. Each pair of turns gives a factor, so what the machine does besides counts on both sides.
/// The exit code is 1 if the median of the factors of the latency or of the rate is more than 1.05, or if a
/// poll takes more than 2 KiB.
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
    /// Pairs of turns: alone and beside, in the other order in every second pair
    #[arg(long, default_value_t = 21)]
    rounds: usize,
    /// Pairs of turns with an erasure; 0 for none
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
    /// The most that a median may be worse beside the waiting clients, as a factor
    #[arg(long, default_value_t = 1.05)]
    bound: f64,
}

/// The connections that send as fast as they can, and the messages in flight on each.
const SENDING: usize = 16;
const WINDOW: usize = 4;

/// The most memory of a waiting poll in bytes.
const POLL_BYTES: f64 = 2_048.0;

/// The descriptors of this process besides connections.
const OWN: u64 = 256;

/// The beginnings of the names of the gateway's threads that work for waiting clients, for back ends and for
/// metrics, and not for messages.
const THEIRS: [&str; 5] = ["http", "control", "back-end", "blocking", "admin"];

/// What one turn measured.
struct Turn {
    p50: f64,
    p99: f64,
    /// The median of the 99th percentiles of its seconds.
    p99_of_seconds: f64,
    rate: f64,
    /// The part of a processor that [`THEIRS`] took while the latency was measured.
    theirs: f64,
}

/// Two turns that follow each other.
struct Pair {
    alone: Turn,
    beside: Turn,
}

fn main() -> ExitCode {
    if let Some(code) = peer::child_main() {
        return code;
    }
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("waiting: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether everything is within its bounds.
fn run(args: &Args) -> anyhow::Result<bool> {
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
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")?;
    let back = beside::hanging()?;
    let flags = [
        ("callbacks-rpc", format!("=http://{back}/hang")),
        ("callbacks-secret-file", secret.display().to_string()),
        (
            "http-connections",
            (args.polls + args.streams + 64).to_string(),
        ),
        // More than one table of descriptors: the client API has the gateway's own.
        ("max-connections", "100000".to_owned()),
    ];
    let gateway = {
        let data = folder.path().join("data");
        Peer::gateway_with_http(&data, args.shards, &args.durability, &flags)?
    };
    println!("round  turn      p50 ms   second     turn   messages/s   theirs");
    // Not counted: the first messages make the store's files and the users.
    measure(args, &gateway)?;
    if args.each {
        let mut is_good = true;
        for (name, part) in load.parts() {
            let (pairs, _) = pairs(args, &gateway, name, part)?;
            is_good &= report(args, &pairs);
        }
        return Ok(is_good);
    }
    let (pairs, memory) = pairs(args, &gateway, "beside", load)?;
    let is_good = report(args, &pairs) & report_memory(args, &memory);
    if args.erased == 0 || args.erasures == 0 {
        return Ok(is_good);
    }
    let mut pairs = Vec::new();
    for round in 1..=args.erasures {
        let alone = turn(args, &gateway, round, "alone")?;
        let erasure = erasing::begin(&gateway, round, args.erased)?;
        let beside = turn(args, &gateway, round, "erase");
        let beside = beside.context("beside the erasure of a user")?;
        println!("       {}", erasure.end(&gateway)?);
        pairs.push(Pair { alone, beside });
    }
    Ok(is_good & report(args, &pairs))
}

/// Measures in turns alone and beside a load that is called `name`.
fn pairs(
    args: &Args,
    gateway: &Peer,
    name: &'static str,
    load: Load,
) -> anyhow::Result<(Vec<Pair>, Vec<Memory>)> {
    let (mut pairs, mut memory) = (Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        let alone = || turn(args, gateway, round, "alone");
        let first = if round % 2 == 1 { Some(alone()?) } else { None };
        let others = Beside::begin(gateway, load)?;
        let beside = turn(args, gateway, round, name);
        let beside = beside.with_context(|| format!("beside the waiting clients ({name})"))?;
        memory.push(others.memory);
        others.end(gateway)?;
        let alone = first.map_or_else(alone, Ok)?;
        pairs.push(Pair { alone, beside });
    }
    Ok((pairs, memory))
}

/// Measures a turn, and prints it.
fn turn(args: &Args, gateway: &Peer, round: usize, name: &str) -> anyhow::Result<Turn> {
    let turn = measure(args, gateway)?;
    say(round, name, &turn);
    Ok(turn)
}

fn say(round: usize, name: &str, turn: &Turn) {
    println!(
        "{round:>5}  {name:<7} {:>8.2} {:>8.2} {:>8.2} {:>12} {:>6.2} %",
        turn.p50,
        turn.p99_of_seconds,
        turn.p99,
        grouped(turn.rate as u64),
        100.0 * turn.theirs
    );
}

/// Prints the medians and the quartiles of the factors, and returns whether the medians are within the bounds.
fn report(args: &Args, pairs: &[Pair]) -> bool {
    type Figure = fn(&Turn) -> f64;
    let figures: [(&str, Figure, bool); 4] = [
        ("p50 ms", |turn| turn.p50, false),
        ("p99 ms, second", |turn| turn.p99_of_seconds, true),
        ("p99 ms, turn", |turn| turn.p99, false),
        ("messages/s", |turn| turn.rate, true),
    ];
    let mut rows = Vec::new();
    let mut is_good = true;
    for (name, figure, counts) in figures {
        let of = |side: fn(&Pair) -> &Turn| -> Vec<f64> {
            pairs.iter().map(|pair| figure(side(pair))).collect()
        };
        let (mut alone, beside) = (of(|pair| &pair.alone), of(|pair| &pair.beside));
        let mut factors: Vec<f64> = { alone.iter().zip(&beside) }
            // More of a latency is worse, and less of a rate.
            .map(|(alone, beside)| match name {
                "messages/s" => alone / beside,
                _ => beside / alone,
            })
            .collect();
        let factor = median(factors.clone());
        let is_within = factor <= args.bound;
        is_good &= is_within || !counts;
        let verdict = match (counts, is_within) {
            (false, _) => "",
            (true, true) => "within",
            (true, false) => "MISSED",
        };
        let middle_half = |values: &mut [f64]| {
            let [lower, upper] = [0.25, 0.75].map(|part| percentile(values, part));
            format!("{} to {}", short(lower), short(upper))
        };
        let spread = middle_half(&mut alone);
        rows.push(vec![
            name.to_owned(),
            short(median(alone)),
            spread,
            short(median(beside)),
            format!("{factor:.3}"),
            middle_half(&mut factors),
            verdict.to_owned(),
        ]);
    }
    let head = [
        "median",
        "alone",
        "half of them",
        "beside",
        "factor",
        "half of them",
        "",
    ];
    println!("\n{}", table(&head, &rows));
    is_good
}

/// Prints the memory of waiting clients, and returns whether it is within its bound.
fn report_memory(args: &Args, memory: &[Memory]) -> bool {
    // The first turn finds memory that was never used. Later ones use what earlier ones left.
    let first = memory.first().copied();
    let Some(first) = first else {
        return true;
    };
    let is_small = first.poll <= POLL_BYTES;
    println!(
        "memory: {:.0} B for each of {} polls ({}), {:.0} B for each of {} streams",
        first.poll,
        grouped(args.polls as u64),
        if is_small {
            "within 2,048"
        } else {
            "MISSED: 2,048"
        },
        first.stream,
        grouped(args.streams as u64),
    );
    is_small
}

/// Measures latency on a schedule, and then the rate of connections that send as fast as they can.
fn measure(args: &Args, gateway: &Peer) -> anyhow::Result<Turn> {
    let time = Duration::from_secs_f64(args.seconds);
    let mut crowd = Crowd::new(
        gateway.address,
        MemberKind::Sessions("honest"),
        2 * args.pairs,
    )?;
    crowd.open(64)?;
    let traffic = Traffic {
        name: "honest",
        rate: args.rate,
        bytes: 120,
    };
    let control = Control::default();
    let (seen, theirs) = std::thread::scope(|scope| {
        let running = scope.spawn(|| open_loop::run(&mut crowd, traffic, &control));
        std::thread::sleep(time / 8);
        control.count(true);
        let (start, before) = (Instant::now(), gateway.thread_seconds(&THEIRS));
        std::thread::sleep(time);
        let (took, after) = (start.elapsed(), gateway.thread_seconds(&THEIRS));
        control.end();
        match running.join() {
            Ok(seen) => anyhow::Ok((seen?, (after? - before?) / took.as_secs_f64())),
            Err(_) => bail!("the thread of the users panicked"),
        }
    })?;
    crowd.close()?;
    let counted = blast::run(&Plan {
        server: gateway.address,
        path: "/v1/ws".into(),
        hello: r#"{"id":1,"connect":{"user":"fast{id}","device":"d"}}"#.into(),
        message: format!(
            r#"{{"id":{{n}},"send":{{"user":"fast{{peer}}","text":"{}"}}}}"#,
            "x".repeat(120)
        ),
        counts: CHAT,
        connections: SENDING,
        window: WINDOW,
        others: 1,
        duration: time,
    })?;
    // The first and the last second are not whole.
    let whole = seen.by_second.iter().skip(1);
    let whole = whole.take(seen.by_second.len().saturating_sub(2));
    let seconds: Vec<f64> = whole.map(|second| millis(second, 0.99)).collect();
    if seconds.is_empty() {
        bail!("a measurement takes at least three seconds: --seconds 3");
    }
    Ok(Turn {
        p50: millis(&seen.e2e, 0.5),
        p99: millis(&seen.e2e, 0.99),
        p99_of_seconds: median(seconds),
        rate: counted.acks,
        theirs,
    })
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
