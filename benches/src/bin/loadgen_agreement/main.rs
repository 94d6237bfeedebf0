//! Compares the latencies of the load generator with those of an independent client and of the
//! wire.
//!
//! `cargo build --release --bin loadgen && cargo run --release -p trunkline-benches --bin
//! loadgen-agreement`, as root
//!
//! Both clients drive the same gateway at the same rate, in turns. A capture of loopback, whose
//! clock belongs to neither end, runs with each.
//!
//! A client's latencies are longer than those on the wire: they begin at the intended time of a
//! send, and end when the client has woken up. On loopback this difference is as large as the time
//! of the gateway; it is printed for both clients. The latencies that must agree are measured
//! across a line with a delay of some milliseconds, of which the difference is a small part.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of a program"
)]

mod clients;
mod wire;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use trunkline_benches::capture::Capture;
use trunkline_benches::delay::Delay;
use trunkline_benches::figures::{columns, grouped, median, percentile, short};
use trunkline_benches::peer::{self, Peer};

use clients::{QUANTILES, Said};

/// Drives a gateway with the load generator and with another client in turns, captures their
/// packets, and prints p50, p90 and p99 by each clock with their ratio.
///
/// The exit code is 1 if a median ratio across the line is further from 1 than --within, and 2 if
/// the measurement cannot run.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Rounds, each with both clients; the medians of the ratios are judged
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of messages per client and round
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// Messages per second
    #[arg(long, default_value_t = 2_000.0)]
    rate: f64,
    /// Sessions
    #[arg(long, default_value_t = 200)]
    sessions: usize,
    /// Bytes of text per message
    #[arg(long, default_value_t = 120)]
    bytes: usize,
    /// Durability of the gateway
    #[arg(long, default_value = "sync")]
    durability: String,
    /// Delay of the line, in milliseconds each way
    #[arg(long, default_value_t = 5)]
    line: u64,
    /// Greatest distance of a ratio from 1
    #[arg(long, default_value_t = 0.05)]
    within: f64,
    /// Program of the load generator [default: the one built beside this program]
    #[arg(long, value_name = "PATH")]
    loadgen: Option<PathBuf>,
    /// Run as the other client
    #[arg(long, hide = true)]
    client: Option<SocketAddr>,
}

fn main() -> ExitCode {
    if let Some(code) = peer::child_main() {
        return code;
    }
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("loadgen-agreement: not run: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The latencies of one client in one round, by its own clock and by the wire.
#[derive(Debug, Clone, Copy)]
struct Round {
    said: Said,
    wire_ack: [f64; 3],
    wire_e2e: [f64; 3],
}

/// The most attempts at a measurement.
const TRIES: usize = 4;

const NAMES: [&str; 2] = ["loadgen", "independent"];

fn run(args: &Args) -> anyhow::Result<bool> {
    if let Some(server) = args.client {
        let said = clients::as_independent(args, server)?;
        println!("{}", serde_json::to_string(&said)?);
        return Ok(true);
    }
    let program = clients::loadgen_program(args)?;
    println!(
        "{} rounds of {} s, {} messages/s at random times between {} sessions, {} B of text; medians, µs\n",
        args.rounds, args.seconds, args.rate, args.sessions, args.bytes
    );
    println!("Across a line of {} ms each way:", args.line);
    let line = Some(Duration::from_millis(args.line));
    let good = print(args, &measure_all(args, &program, line)?);
    println!("\nDirectly, where each wakes up as often as the gateway answers:");
    print(args, &measure_all(args, &program, None)?);
    Ok(good)
}

fn measure_all(
    args: &Args,
    program: &Path,
    line: Option<Duration>,
) -> anyhow::Result<[Vec<Round>; 2]> {
    let mut rounds: [Vec<Round>; 2] = Default::default();
    for round in 0..args.rounds {
        // The clients change places in the next round.
        for turn in 0..2 {
            let client = (round + turn) % 2;
            let measured = patiently(|| measure(args, program, line, client))
                .with_context(|| format!("{} in round {}", NAMES[client], round + 1))?;
            rounds[client].push(measured);
        }
    }
    Ok(rounds)
}

/// Repeats a measurement that fails, because a moment of other load on the machine makes a run
/// invalid.
fn patiently(mut measure: impl FnMut() -> anyhow::Result<Round>) -> anyhow::Result<Round> {
    for _ in 1..TRIES {
        match measure() {
            Ok(round) => return Ok(round),
            Err(why) => eprintln!("again: {why:#}"),
        }
    }
    measure()
}

fn measure(
    args: &Args,
    program: &Path,
    line: Option<Duration>,
    client: usize,
) -> anyhow::Result<Round> {
    let folder = tempfile::tempdir()?;
    let gateway = Peer::gateway(&folder.path().join("data"), 1, &args.durability)?;
    let line = line.map(|time| Delay::start(gateway.address, time));
    let line = line.transpose()?;
    let server = line.as_ref().map_or(gateway.address, |line| line.address);
    let port = server.port();
    let capture = Capture::start(port)?;
    let said = match client {
        0 => clients::loadgen(args, program, server, folder.path()),
        _ => clients::independent(args, server),
    };
    let packets = capture.end()?;
    let said = said?;
    let mut wire = wire::follow(packets, port)?;
    let counts = [wire.sent, wire.ack.len(), wire.e2e.len()].map(|n| n as u64);
    if counts != [said.messages; 3] {
        bail!(
            "{} messages, and the capture has {} of them, {} answers and {} pushes",
            said.messages,
            counts[0],
            counts[1],
            counts[2]
        );
    }
    let of = |times: &mut Vec<f64>| QUANTILES.map(|(_, q)| percentile(times, q) / 1e3);
    Ok(Round {
        wire_ack: of(&mut wire.ack),
        wire_e2e: of(&mut wire.e2e),
        said,
    })
}

/// A way to take a figure of a round.
type Way = fn(&Round) -> [f64; 3];

const WAYS: [(&str, Way, Way); 2] = [
    ("send → answer", |it| it.said.ack, |it| it.wire_ack),
    ("send → push", |it| it.said.e2e, |it| it.wire_e2e),
];

/// Prints the results. Returns whether the ratios that must agree do agree.
fn print(args: &Args, rounds: &[Vec<Round>; 2]) -> bool {
    let mut rows = Vec::new();
    let mut good = true;
    let over =
        |rounds: &[Round], of: &dyn Fn(&Round) -> f64| median(rounds.iter().map(of).collect());
    for (what, said, wire) in WAYS {
        for (at, (quantile, _)) in QUANTILES.iter().enumerate() {
            let mut row = vec![what.to_owned(), (*quantile).to_owned()];
            for rounds in rounds {
                row.push(short(over(rounds, &|it| said(it)[at])));
                row.push(short(over(rounds, &|it| wire(it)[at])));
                let ratio = over(rounds, &|it| said(it)[at] / wire(it)[at]);
                row.push(format!("{ratio:.3}"));
                good &= (ratio - 1.0).abs() <= args.within;
            }
            let pairs = rounds[0].iter().zip(&rounds[1]);
            let ratio = median(pairs.map(|(a, b)| said(a)[at] / said(b)[at]).collect());
            row.push(format!("{ratio:.3}"));
            // The two clients ran at different times, and tails depend on the machine's other work.
            // A comparison with the wire is about the same messages.
            good &= *quantile == "p99" || (ratio - 1.0).abs() <= args.within;
            rows.push(row);
        }
    }
    let head = [
        "",
        "",
        "loadgen",
        "its wire",
        "ratio",
        "independent",
        "its wire",
        "ratio",
        "loadgen ÷ independent",
    ];
    println!("{}", columns(&head, &rows, 2));
    for (name, rounds) in NAMES.iter().zip(rounds) {
        let lag = [0, 1, 2].map(|at| short(over(rounds, &|it| it.said.lag[at])));
        let messages: u64 = rounds.iter().map(|it| it.said.messages).sum();
        println!(
            "{name}: {} messages, written p50 {}, p90 {}, p99 {} µs after their time",
            grouped(messages),
            lag[0],
            lag[1],
            lag[2]
        );
    }
    good
}
