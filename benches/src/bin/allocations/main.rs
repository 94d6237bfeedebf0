//! Allocations of the gateway while messages flow, by thread and by the place that makes them.
//!
//! `cargo run --release -p trunkline-benches --bin allocations`

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of a program"
)]

mod sites;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use trunkline::config::Config;
use trunkline::gateway::Gateway;
use trunkline_benches::blast::{Blast, CHAT, Plan};
use trunkline_benches::scrape;

use sites::{ROLES, Sites};

/// The counting allocator. It counts only while a profiler exists.
#[global_allocator]
static COUNTING: dhat::Alloc = dhat::Alloc;

/// Runs a gateway in this process, sends messages through it, and prints its allocations per
/// message and per commit.
///
/// Counting is slow, so the rates are not those of a normal gateway.
#[derive(Debug, Parser)]
struct Args {
    /// Messages in flight per connection, one result line for each number
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16])]
    windows: Vec<usize>,
    /// Connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Shards of the gateway
    #[arg(long, default_value_t = 1)]
    shards: usize,
    /// Bytes of text per message
    #[arg(long, default_value_t = 120)]
    bytes: usize,
    /// Seconds before counting, in which reusable buffers are made
    #[arg(long, default_value_t = 3)]
    warm: u64,
    /// Seconds counted
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Give messages idempotency keys
    #[arg(long)]
    keys: bool,
    /// Number of places to print, those with the most allocations first
    #[arg(long, default_value_t = 5)]
    sites: usize,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("allocations: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let settings = format!(
        "listen = \"127.0.0.1:0\"\ncontrol = \"127.0.0.1:0\"\ndev_auth = true\n\
         data = {:?}\nshards = {}\n",
        data.path(),
        args.shards
    );
    let gateway = Gateway::start(&Config::of_text(&settings)?)?;
    println!(
        "{} connections, {} B of text, JSON{}, {} shard(s); allocations in {} s of counting, after {} s",
        args.connections,
        args.bytes,
        if args.keys { " with keys" } else { "" },
        args.shards,
        args.seconds,
        args.warm
    );
    print!("in flight   messages   commits   per message   per commit");
    for role in &ROLES[..ROLES.len() - 1] {
        print!(" {role:>10}");
    }
    println!();
    for &window in &args.windows {
        count(args, window, &gateway)?;
    }
    gateway.stop()
}

/// Runs one load, and prints its line and its places.
fn count(args: &Args, window: usize, gateway: &Gateway) -> anyhow::Result<()> {
    let plan = plan(args, window, gateway);
    let mut blast = Blast::start(&plan)?;
    blast.warm(Duration::from_secs(args.warm))?;
    let numbers = || -> anyhow::Result<(f64, f64)> {
        let text = scrape::text(gateway.control())?;
        let number = |name| scrape::number(&text, name);
        Ok((
            number("trunkline_messages_total")?,
            number("trunkline_store_commits_total")?,
        ))
    };
    // Read outside of the counted time, because the answer takes memory.
    let before = numbers()?;
    let mut counting = dhat::Profiler::builder().trim_backtraces(None).build();
    let counted = blast.count(Duration::from_secs(args.seconds));
    let sites = Sites::parse(&counting.drop_and_get_memory_output());
    // The profiler has ended. Dropping it now would panic.
    std::mem::forget(counting);
    counted?;
    let after = numbers()?;
    let (messages, commits) = (after.0 - before.0, after.1 - before.1);
    let sites = sites.context("what was counted cannot be read")?;
    let blocks = sites.gateway() as f64;
    print!(
        "{window:>9} {messages:>10.0} {commits:>9.0} {:>13.4} {:>12.3}",
        blocks / messages,
        blocks / commits
    );
    for role in 0..ROLES.len() - 1 {
        print!(" {:>10}", sites.of_role(role));
    }
    println!();
    for site in sites.most(args.sites) {
        println!(
            "{:>20} of {:>6.0} B, {:.3} a commit: {}: {}",
            site.blocks,
            site.bytes as f64 / site.blocks as f64,
            site.blocks as f64 / commits,
            ROLES[site.role],
            site.place
        );
    }
    Ok(())
}

fn plan(args: &Args, window: usize, gateway: &Gateway) -> Plan {
    let text = "x".repeat(args.bytes);
    let key = if args.keys {
        format!(r#""key":"{window}-{{n}}","#)
    } else {
        String::new()
    };
    Plan {
        server: gateway.listen(),
        path: "/v1/ws".into(),
        hello: r#"{"id":1,"connect":{"user":"{id}","device":"d"}}"#.into(),
        message: format!(r#"{{"id":{{n}},"send":{{"user":"{{peer}}",{key}"text":"{text}"}}}}"#),
        counts: CHAT,
        connections: args.connections,
        window,
        others: 1,
        duration: Duration::from_secs(args.seconds),
    }
}
