//! Measures messages per second and CPU per message, beside all peers.

use anyhow::Context;
use trunkline_benches::figures;
use trunkline_benches::metering::SECONDS;
use trunkline_benches::scrape;

use crate::Args;
use crate::contender::{Contender, Name};
use crate::table::Row;
use crate::targets::Targets;

/// The messages in flight on each connection, and the targets for them.
const WANTED: [Wanted; 2] = [
    Wanted {
        window: 1,
        of_bun: 1.2,
        micros: 9.0,
    },
    Wanted {
        window: 16,
        of_bun: 2.5,
        micros: 2.3,
    },
];

struct Wanted {
    window: usize,
    of_bun: f64,
    micros: f64,
}

/// The required part of the prototype's rate.
const OF_PROTOTYPE: f64 = 0.85;

/// The bytes of disk that a message takes at most, with its index and with what a merge takes
/// meanwhile.
const MESSAGE_BYTES: f64 = 1_000.0;

/// A rate in messages per second that the gateway does not keep up for a minute.
const MOST: f64 = 300_000.0;

/// The counters of `/metrics` that are printed per message: the name there, and the heading.
pub(crate) const WORK: [(&str, &str); 6] = [
    ("trunkline_store_commits_total", "commits"),
    ("trunkline_store_syncs_total", "fdatasyncs"),
    ("trunkline_wakes_total", "wakes"),
    ("trunkline_polls_total", "polls"),
    ("trunkline_reads_total", "reads"),
    ("trunkline_writes_total", "writes"),
];

/// Returns the gateway's counters: messages, and then [`WORK`].
pub(crate) fn work(gateway: &Contender) -> anyhow::Result<Vec<f64>> {
    let text = gateway.server.metrics()?;
    let names = std::iter::once("trunkline_messages_total").chain(WORK.map(|(name, _)| name));
    names.map(|name| scrape::number(&text, name)).collect()
}

/// Returns the counters per message, between two reads of `/metrics`.
pub(crate) fn per_message(before: &[f64], after: &[f64]) -> Vec<String> {
    let deltas: Vec<f64> = before.iter().zip(after).map(|(b, a)| a - b).collect();
    deltas[1..]
        .iter()
        .map(|delta| format!("{:.3}", delta / deltas[0]))
        .collect()
}

pub(crate) fn run(args: &Args, targets: &mut Targets) -> anyhow::Result<()> {
    let (rounds, time) = (args.rounds(1), args.time(SECONDS));
    println!(
        "Messages: {} connections in pairs, {} B of text, JSON; medians of {rounds} rounds in turns, \
         of {} s each and up to half as many more until the store is steady",
        args.connections,
        args.bytes,
        time.as_secs_f64()
    );
    let (mut worked, mut does) = (Vec::new(), Vec::new());
    for wanted in &WANTED {
        // New servers, so that the disk does not have to hold the messages of both loads.
        let contenders = contenders(args)?;
        // Warming up and becoming steady take up to a half of the time each.
        let messages = MOST * time.as_secs_f64() * 2.0 * rounds as f64;
        contenders[0].has_room((messages * MESSAGE_BYTES / 2.0) as u64)?;
        let mut rows: Vec<Row> = contenders.iter().map(|_| Row::default()).collect();
        let before = work(&contenders[0])?;
        for _ in 0..rounds {
            for (contender, row) in contenders.iter().zip(&mut rows) {
                let measured = contender.measure(args, wanted.window, time);
                row.add(measured.with_context(|| contender.name.clone())?);
            }
        }
        let after = work(&contenders[0])?;
        let mut line = vec![wanted.window.to_string()];
        line.extend(per_message(&before, &after));
        worked.push(line);
        print(args, &contenders, &rows, wanted, targets);
        does = contenders
            .into_iter()
            .map(|contender| (contender.name, contender.does))
            .collect();
    }
    println!("servers:");
    for (name, does) in &does {
        println!("  {name:<13} {does}");
    }
    println!("\nThe gateway per message, as /metrics counts it:");
    let head: Vec<&str> = std::iter::once("in flight")
        .chain(WORK.map(|(_, name)| name))
        .collect();
    println!("{}", figures::table(&head, &worked));
    Ok(())
}

/// Starts the gateway, and the other servers that can be installed.
fn contenders(args: &Args) -> anyhow::Result<Vec<Contender>> {
    let mut contenders = vec![Contender::gateway(args, args.shards).context("the gateway")?];
    for name in Name::ALL {
        if args.peers.is_empty() || args.peers.contains(&name) {
            match Contender::start(args, name) {
                Ok(contender) => contenders.push(contender),
                Err(error) => println!("{name:?}: not run: {error:#}"),
            }
        }
    }
    Ok(contenders)
}

/// Prints the lines of all servers for one load, and enters the targets.
fn print(
    args: &Args,
    contenders: &[Contender],
    rows: &[Row],
    wanted: &Wanted,
    targets: &mut Targets,
) {
    let flight = format!("{} in flight", wanted.window);
    let mut lines = Vec::new();
    for (contender, row) in contenders.iter().zip(rows) {
        let ratio = rows[0].ratio(row);
        lines.push(row.cells(args, &contender.name, ratio));
        let least = match contender.kind {
            Some(Name::Bun) => Some(wanted.of_bun),
            Some(Name::Prototype) => Some(OF_PROTOTYPE),
            _ => None,
        };
        if let Some(least) = least {
            let what = format!("messages, {flight}: gateway ÷ {}", contender.name);
            targets.at_least(&what, ratio, least, "");
        }
    }
    print!(
        "{}",
        figures::table(&Row::head(&flight, "gateway ÷ it"), &lines)
    );
    for (contender, row) in contenders.iter().zip(rows) {
        if let Some(last) = row.last() {
            targets.steady(&contender.name, last);
        }
    }
    println!();
    let what = format!("CPU per message, {flight}");
    targets.at_most(&what, rows[0].micros(), wanted.micros, " µs");
}
