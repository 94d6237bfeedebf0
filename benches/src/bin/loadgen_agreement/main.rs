//! Compares the latencies of the load generator with those of an independent client and of the
//! wire.
//!
//! `cargo build --release --bin loadgen && cargo run --release -p trunkline-benches --bin
//! loadgen-agreement`, as root
//!
//! Both clients drive one gateway at the same time, each with half of the load, so both meet the same moments of the
//! machine. Messages of the other client count while the load generator sends. A capture of loopback, whose clock
//! belongs to neither, has the latencies of both on the wire.
//!
//! A client's latencies are longer than those on the wire: they begin at the intended time of a
//! send, and end when the client has woken up and reads. On loopback this difference is as large as the time
//! of the gateway; it is printed for both clients. The latencies that must agree are measured
//! across a line with a delay of some milliseconds, of which the difference is a small part.
//!
//! The percentiles are those of all rounds together. Their ratios have a 95 % interval, from a bootstrap of whole rounds.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of a program"
)]

mod clients;
mod judge;
mod wire;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use trunkline_benches::capture::Capture;
use trunkline_benches::delay::Delay;
use trunkline_benches::figures::{columns, grouped, short};
use trunkline_benches::peer::{self, Peer};
use trunkline_benches::pooled::Pool;
use trunkline_benches::rounds::Verdict;

use clients::{Independent, NAME};
use judge::{Compared, Latencies, QUANTILES, spread, together, within};

/// Drives a gateway with the load generator and with another client at the same time, captures their packets, and
/// prints p50, p90 and p99 of both and of the wire with their ratio.
///
/// The exit code is 0 if each ratio of the clients across the line is within --agree of 1 by its whole 95 % interval, 1
/// if one is beyond by its whole interval, 90 if the rounds do not decide, and 2 if the measurement cannot run.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Args {
    /// Rounds across the line, which decide; at least 6
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// Rounds without a line, which are only printed
    #[arg(long, default_value_t = 6)]
    direct: usize,
    /// Seconds of messages of a round
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// Messages per second of both clients together
    #[arg(long, default_value_t = 2_000.0)]
    rate: f64,
    /// Sessions of both clients together
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
    /// Greatest distance of a ratio of the clients from 1
    #[arg(long, default_value_t = 0.03)]
    agree: f64,
    /// Program of the load generator [default: the one built beside this program]
    #[arg(long, value_name = "PATH")]
    loadgen: Option<PathBuf>,
    /// Run as the other client
    #[arg(long, hide = true)]
    client: Option<SocketAddr>,
}

/// The exit code if the rounds do not decide. The load lab ends with the same code if a run shows nothing.
const UNDECIDED: u8 = 90;

fn main() -> ExitCode {
    if let Some(code) = peer::child_main() {
        return code;
    }
    match run(&Args::parse()) {
        Ok(Verdict::Within) => ExitCode::SUCCESS,
        Ok(Verdict::Beyond) => ExitCode::FAILURE,
        Ok(Verdict::Undecided) => ExitCode::from(UNDECIDED),
        Err(error) => {
            eprintln!("loadgen-agreement: not run: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The latencies of one client in one round.
#[derive(Debug)]
struct Side {
    ack: Latencies,
    e2e: Latencies,
    /// The times from the intended send of a message to its write.
    lag: Latencies,
    wire_ack: Latencies,
    wire_e2e: Latencies,
}

/// The most attempts at a round.
const TRIES: usize = 4;

const NAMES: [&str; 2] = ["loadgen", "independent"];

fn run(args: &Args) -> anyhow::Result<Verdict> {
    if let Some(server) = args.client {
        let each = clients::as_independent(args, server)?;
        println!("{}", serde_json::to_string(&each)?);
        return Ok(Verdict::Within);
    }
    let program = clients::loadgen_program(args)?;
    println!(
        "Rounds of {} s, {} messages/s at random times between {} sessions, half of them each client's, {} B of text; µs",
        args.seconds, args.rate, args.sessions, args.bytes
    );
    println!("\nAcross a line of {} ms each way:", args.line);
    let line = Some(Duration::from_millis(args.line));
    let verdict = print(args, &measure_all(args, &program, line, args.rounds)?, true);
    if args.direct > 0 {
        println!("\nDirectly, where each wakes up as often as the gateway answers:");
        print(
            args,
            &measure_all(args, &program, None, args.direct)?,
            false,
        );
    }
    let percent = 100.0 * args.agree;
    println!(
        "\nWithin {percent} % across the line, at p50, p90 and p99, by the whole 95 % interval: {}",
        match verdict {
            Verdict::Within => "yes",
            Verdict::Beyond => "no",
            Verdict::Undecided => "undecided; more rounds (--rounds) or a quieter machine may tell",
        }
    );
    Ok(verdict)
}

fn measure_all(
    args: &Args,
    program: &Path,
    line: Option<Duration>,
    rounds: usize,
) -> anyhow::Result<Vec<[Side; 2]>> {
    let half = Args {
        rate: args.rate / 2.0,
        sessions: args.sessions.div_ceil(2),
        ..args.clone()
    };
    let measured = (1..=rounds).map(|round| {
        let measured = patiently(|| measure(&half, round, program, line));
        measured.with_context(|| format!("round {round}"))
    });
    measured.collect()
}

/// Repeats a measurement that fails, because a moment of other load on the machine makes a run
/// invalid.
fn patiently<T>(mut measure: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    for _ in 1..TRIES {
        match measure() {
            Ok(measured) => return Ok(measured),
            Err(why) => eprintln!("again: {why:#}"),
        }
    }
    measure()
}

/// Lets both clients drive one gateway with the load of `args` each. The load generator is the first of the result.
fn measure(
    args: &Args,
    round: usize,
    program: &Path,
    line: Option<Duration>,
) -> anyhow::Result<[Side; 2]> {
    let folder = tempfile::tempdir()?;
    let gateway = Peer::gateway(&folder.path().join("data"), 1, &args.durability)?;
    let line = line.map(|time| Delay::start(gateway.address, time));
    let line = line.transpose()?;
    let server = line.as_ref().map_or(gateway.address, |line| line.address);
    let port = server.port();
    let capture = Capture::start(port)?;
    let other = Independent::start(args, server)?;
    let reported = clients::loadgen(args, round, program, server, folder.path());
    let other = other.end();
    let packets = capture.end()?;
    let (reported, other) = (reported?, other?);
    let [wire, other_wire] = wire::follow(packets, port, NAME)?;
    let counts = [wire.sent.len(), wire.ack.len(), wire.e2e.len()].map(|n| n as u64);
    if counts != [reported.ack.len(); 3] {
        bail!(
            "{} messages, and the capture has {} of them, {} answers and {} pushes",
            reported.ack.len(),
            counts[0],
            counts[1],
            counts[2]
        );
    }
    let window = wire.sent.first().zip(wire.sent.last());
    let (from, to) = window.context("loadgen sent no message")?;
    let within = |each| within([*from, *to], each);
    Ok([
        Side {
            ack: reported.ack,
            e2e: reported.e2e,
            lag: reported.lag,
            wire_ack: within(&wire.ack),
            wire_e2e: within(&wire.e2e),
        },
        Side {
            ack: within(&other.ack),
            e2e: within(&other.e2e),
            lag: within(&other.lag),
            wire_ack: within(&other_wire.ack),
            wire_e2e: within(&other_wire.e2e),
        },
    ])
}

/// A way to take latencies of a round.
type Way = fn(&Side) -> &Latencies;

const WAYS: [(&str, Way, Way); 2] = [
    ("send → answer", |it| &it.ack, |it| &it.wire_ack),
    ("send → push", |it| &it.e2e, |it| &it.wire_e2e),
];

/// Returns the latencies of each client, of all rounds together.
fn pools(rounds: &[[Side; 2]], way: Way) -> [Pool; 2] {
    [0, 1].map(|client| {
        let latencies = rounds.iter().map(|round| spread(way(&round[client])));
        let latencies: Vec<_> = latencies.collect();
        Pool::new(latencies.iter().map(Vec::as_slice))
    })
}

/// Prints the results, each with its verdict if it is `judged`. Returns whether the clients agree.
fn print(args: &Args, rounds: &[[Side; 2]], judged: bool) -> Verdict {
    let mut rows = Vec::new();
    let mut verdicts = Vec::new();
    for (what, said, wire) in WAYS {
        let (said, wire) = (pools(rounds, said), pools(rounds, wire));
        for (name, quantile) in QUANTILES {
            let mut row = vec![what.to_owned(), name.to_owned()];
            for client in 0..2 {
                let pools = [&said[client], &wire[client]];
                let compared = Compared::of(pools, rounds.len(), quantile);
                row.extend(compared.micros.map(short));
                row.push(format!("{:.3}", compared.ratio));
            }
            let compared = Compared::of([&said[0], &said[1]], rounds.len(), quantile);
            let [low, high] = compared.interval;
            row.push(format!("{:.3}", compared.ratio));
            row.push(format!("{low:.3} to {high:.3}"));
            let verdict = compared.verdict(rounds.len(), args.agree);
            row.push(if judged { verdict.word() } else { "" }.to_owned());
            verdicts.push(verdict);
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
        "95 %",
        "",
    ];
    println!("{}", columns(&head, &rows, 2));
    let lags = pools(rounds, |it| &it.lag);
    for (client, (name, lag)) in NAMES.iter().zip(&lags).enumerate() {
        let messages: u64 = rounds.iter().map(|round| round[client].lag.len()).sum();
        let [p50, p90, p99] =
            QUANTILES.map(|(_, quantile)| short(lag.millis_of_all(quantile) * 1e3));
        println!(
            "{name}: {} messages, written p50 {p50}, p90 {p90}, p99 {p99} µs after their time",
            grouped(messages),
        );
    }
    together(verdicts)
}
