//! The gateway's memory while it stores very many messages: it must not grow with them.
//!
//! Each round goes through the same conversations in the same order. There are more of them than
//! the gateway keeps in memory, so from the second round on nearly every message loads a
//! conversation from the store.
//!
//! `cargo run --release -p trunkline-benches --bin gateway-memory`

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of a program"
)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use trunkline_benches::blast::{self, CHAT, Plan};
use trunkline_benches::peer::{self, Peer};

/// Sends messages with keys to very many users, and prints the gateway's memory meanwhile.
///
/// The exit code is 1 if the memory in the last quarter of the run is more than 25 % above that in
/// the second quarter.
#[derive(Debug, Parser)]
struct Args {
    /// Messages to store
    #[arg(long, default_value_t = 20_000_000)]
    messages: u64,
    /// Users that the messages go to
    #[arg(long, default_value_t = 1_000_000)]
    users: u64,
    /// Bytes of text per message
    #[arg(long, default_value_t = 120)]
    bytes: usize,
    /// Seconds between two lines
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// The number of connections, and of messages in flight on each.
const CONNECTIONS: usize = 64;
const WINDOW: usize = 16;

fn main() -> ExitCode {
    if let Some(code) = peer::child_main() {
        return code;
    }
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("gateway-memory: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<bool> {
    let data = tempfile::tempdir()?;
    let gateway = Peer::gateway(data.path(), 1, "sync")?;
    println!(
        "messages   per s   resident MB   index MB   segments   runs   run MB   conversations"
    );
    let mut seen: Vec<(f64, f64)> = Vec::new();
    for round in 0.. {
        let counted = blast::run(&plan(args, round, &gateway)).context("the gateway")?;
        let metric = |name: &str| gateway.metric(name);
        let messages = metric("trunkline_messages_total")?;
        let resident = metric("process_resident_memory_bytes")?;
        println!(
            "{messages:>8.0} {:>7.0} {:>13.1} {:>10.1} {:>10} {:>6} {:>8.0} {:>15}",
            counted.acks,
            resident / 1e6,
            metric("trunkline_store_index_bytes")? / 1e6,
            metric("trunkline_store_segments")?,
            metric("trunkline_store_runs")?,
            metric("trunkline_store_run_bytes")? / 1e6,
            metric("trunkline_conversations")?,
        );
        seen.push((messages, resident));
        if messages >= args.messages as f64 {
            break;
        }
    }
    let total = seen.last().map_or(0.0, |seen| seen.0);
    let most = |from: f64, to: f64| {
        let within = |(messages, _): &&(f64, f64)| (from..=to).contains(&(messages / total));
        let residents = seen.iter().filter(within).map(|seen| seen.1);
        residents.fold(0.0, f64::max)
    };
    let (early, late) = (most(0.25, 0.5), most(0.75, 1.0));
    let flat = early > 0.0 && late <= 1.25 * early;
    println!(
        "most in the second quarter {:.1} MB, in the last {:.1} MB: {}",
        early / 1e6,
        late / 1e6,
        if flat { "flat" } else { "not flat" }
    );
    Ok(flat)
}

fn plan(args: &Args, round: u64, gateway: &Peer) -> Plan {
    let text = "x".repeat(args.bytes);
    Plan {
        server: gateway.address,
        path: "/v1/ws".into(),
        hello: r#"{"id":1,"connect":{"user":"sender{id}","device":"d"}}"#.into(),
        message: format!(
            r#"{{"id":{{n}},"send":{{"user":"user{{any}}","key":"{round}-{{n}}","text":"{text}"}}}}"#
        ),
        counts: CHAT,
        connections: CONNECTIONS,
        window: WINDOW,
        others: args.users,
        duration: Duration::from_secs(args.seconds),
    }
}
