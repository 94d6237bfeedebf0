//! Measures messages per second and CPU per message, beside all peers.

use anyhow::Context;
use trunkline_benches::figures::{self, median};
use trunkline_benches::scrape;

use crate::Args;
use crate::contender::{Contender, Name};
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

/// A server's measurements under one load.
#[derive(Default)]
struct Row {
    rates: Vec<f64>,
    micros: Vec<f64>,
}

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
    let mut contenders = vec![Contender::gateway(args, args.shards).context("the gateway")?];
    for name in Name::ALL {
        if args.peers.is_empty() || args.peers.contains(&name) {
            match Contender::start(name) {
                Ok(contender) => contenders.push(contender),
                Err(error) => println!("{name:?}: not run: {error:#}"),
            }
        }
    }
    println!(
        "Messages: {} connections in pairs, {} B of text, JSON; medians of {} rounds of {} s in turns",
        args.connections, args.bytes, args.rounds, args.seconds
    );
    let mut worked = Vec::new();
    for wanted in &WANTED {
        let mut rows: Vec<Row> = contenders.iter().map(|_| Row::default()).collect();
        let before = work(&contenders[0])?;
        for _ in 0..args.rounds {
            for (contender, row) in contenders.iter().zip(&mut rows) {
                let measured = contender.measure(args, wanted.window);
                let measured = measured.with_context(|| contender.name.clone())?;
                row.rates.push(measured.rate);
                row.micros.push(measured.micros);
            }
        }
        let after = work(&contenders[0])?;
        let mut line = vec![wanted.window.to_string()];
        line.extend(per_message(&before, &after));
        worked.push(line);
        print(&contenders, &rows, wanted, targets);
    }
    println!("servers:");
    for contender in &contenders {
        println!("  {:<13} {}", contender.name, contender.does);
    }
    println!("\nThe gateway per message, as /metrics counts it:");
    let head: Vec<&str> = std::iter::once("in flight")
        .chain(WORK.map(|(_, name)| name))
        .collect();
    println!("{}", figures::table(&head, &worked));
    Ok(())
}

/// Prints the lines of all servers for one load, and enters the targets.
fn print(contenders: &[Contender], rows: &[Row], wanted: &Wanted, targets: &mut Targets) {
    let flight = format!("{} in flight", wanted.window);
    let mut lines = Vec::new();
    for (contender, row) in contenders.iter().zip(rows) {
        let ratios = rows[0].rates.iter().zip(&row.rates).map(|(a, b)| a / b);
        let ratio = median(ratios.collect());
        lines.push(vec![
            contender.name.clone(),
            figures::short(median(row.rates.clone())),
            format!("{:.2}", median(row.micros.clone())),
            format!("{ratio:.2}"),
        ]);
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
    let head = [flight.as_str(), "messages/s", "µs CPU each", "gateway ÷ it"];
    println!("{}", figures::table(&head, &lines));
    let micros = median(rows[0].micros.clone());
    let what = format!("CPU per message, {flight}");
    targets.at_most(&what, micros, wanted.micros, " µs");
}
