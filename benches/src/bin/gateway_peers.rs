//! Messages per second of the gateway beside an in-memory chat on Bun, in turns in one run.
//!
//! `cargo run --release -p trunkline-benches --bin gateway-peers`

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of a program"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use trunkline_benches::blast::{self, Plan};
use trunkline_benches::peer::{self, Peer};

/// Compares the gateway with an in-memory chat on Bun.
#[derive(Debug, Parser)]
struct Args {
    /// Rounds; each measures every server once, and the medians are printed
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds counted per measurement
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
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

/// One server under one load: rates and CPU time of the rounds.
#[derive(Default)]
struct Row {
    rates: Vec<f64>,
    micros: Vec<f64>,
}

fn main() -> ExitCode {
    if let Some(code) = peer::gateway_main() {
        return code;
    }
    match compare(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway-peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let ours = Peer::gateway(data.path(), args.shards, &args.durability)?;
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/peers");
    let port = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/bun-chat.js");
    let bun = peer::bun(&folder)?;
    let theirs = Peer::other(Command::new(bun).arg(script).arg(port.to_string()), address)?;

    println!(
        "{} connections, {} B of text, JSON; the gateway stores every message ({}), Bun none; \
         medians of {} rounds of {} s",
        args.connections, args.bytes, args.durability, args.rounds, args.seconds
    );
    println!("in flight    gateway msg/s   µs CPU/msg      Bun msg/s   µs CPU/msg   ratio");
    for window in [1, 16] {
        let (mut gateway, mut bun) = (Row::default(), Row::default());
        for _ in 0..args.rounds {
            measure(&ours, &plan(args, window, ours.address, true), &mut gateway)
                .context("the gateway")?;
            measure(
                &theirs,
                &plan(args, window, theirs.address, false),
                &mut bun,
            )
            .context("Bun")?;
        }
        let ratios = gateway
            .rates
            .iter()
            .zip(&bun.rates)
            .map(|(a, b)| a / b)
            .collect();
        println!(
            "{window:>9} {:>16.0} {:>12.2} {:>14.0} {:>12.2} {:>7.2}",
            median(gateway.rates),
            median(gateway.micros),
            median(bun.rates),
            median(bun.micros),
            median(ratios)
        );
    }
    Ok(())
}

fn plan(args: &Args, window: usize, server: SocketAddr, ours: bool) -> Plan {
    let text = "x".repeat(args.bytes);
    let (path, hello) = if ours {
        (
            "/v1/ws",
            r#"{"id":1,"connect":{"user":"{id}","device":"d"}}"#,
        )
    } else {
        ("/?u={id}", "")
    };
    Plan {
        server,
        path: path.into(),
        hello: hello.into(),
        message: format!(r#"{{"id":{{n}},"send":{{"user":"{{peer}}","text":"{text}"}}}}"#),
        ack: r#""send""#,
        push: r#""push""#,
        connections: args.connections,
        window,
        others: 1,
        duration: Duration::from_secs(args.seconds),
    }
}

fn measure(peer: &Peer, plan: &Plan, row: &mut Row) -> anyhow::Result<()> {
    let before = peer.cpu_seconds();
    let counted = blast::run(plan)?;
    let cpu = peer.cpu_seconds() - before;
    row.rates.push(counted.acks);
    // The warm-up's tenth is in the CPU time as well.
    row.micros
        .push(cpu / (counted.acks * plan.duration.as_secs_f64() * 1.1) * 1e6);
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
