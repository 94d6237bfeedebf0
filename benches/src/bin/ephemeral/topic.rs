//! Measures publications to many subscribers: the rate of deliveries, and a burst.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use trunkline_benches::figures::{self, median, short};
use trunkline_benches::scrape;
use trunkline_benches::talk::Talk;

use crate::listening::{self, Heard};
use crate::{Args, Gateway};

/// The number of publications in a burst. Each is delivered to every subscriber.
const FLOOD: usize = 100;

/// The silence after which nothing more is expected.
const QUIET: Duration = Duration::from_secs(3);

/// The counters of the gateway: delivered events, events dropped because queues were full, and
/// gaps.
const COUNTERS: [&str; 3] = [
    r#"trunkline_pushes_total{event="passing"}"#,
    r#"trunkline_limited_total{limit="passing"}"#,
    "trunkline_gaps_total",
];

pub(crate) fn publication(args: &Args) -> Value {
    json!({"topic": "live", "data": "x".repeat(args.bytes)})
}

pub(crate) const SUBSCRIBE: &str = r#"{"id":2,"subscribe":{"topic":"live"}}"#;

/// Reads the gateway's counters of ephemeral events.
pub(crate) fn counted(gateway: &Gateway) -> anyhow::Result<[f64; 3]> {
    let text = gateway.peer.metrics()?;
    let mut numbers = [0.0; 3];
    for (number, name) in numbers.iter_mut().zip(COUNTERS) {
        *number = scrape::number(&text, name)?;
    }
    Ok(numbers)
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let gateway = Gateway::start(args).context("the gateway")?;
    let address = gateway.peer.address;
    let size = args.subscribers as u64;
    let mut crowd = listening::open(address, ("s", args.subscribers), SUBSCRIBE)?;
    let mut publisher = Talk::start(address, "publisher")?;
    let heard = Heard::default();
    let (mut rates, mut micros) = (Vec::new(), Vec::new());
    let flood = std::thread::scope(|scope| {
        let listening = scope.spawn(|| listening::listen(&mut crowd, &heard));
        let mut measure = || {
            for _ in 0..args.rounds {
                let (rate, cpu) = one_by_one(args, &gateway, &mut publisher, &heard)?;
                rates.push(rate);
                micros.push(cpu);
            }
            at_once(args, &gateway, &mut publisher, &heard)
        };
        let measured = measure();
        heard.over();
        let listened = listening.join();
        listened.map_err(|_| anyhow::anyhow!("it panicked"))??;
        measured
    })?;
    println!(
        "Topic: {} subscribers, {} B of data; medians of {} rounds of {} s",
        figures::grouped(size),
        args.bytes,
        args.rounds,
        args.seconds
    );
    let rate = median(rates);
    println!(
        "  one behind another  {} publications/s, {} deliveries/s, {:.2} µs CPU of the gateway each",
        short(rate / size as f64),
        short(rate),
        median(micros)
    );
    println!("  {flood}\n");
    Ok(())
}

/// Returns the deliveries per second, and the gateway's CPU time for each in microseconds.
fn one_by_one(
    args: &Args,
    gateway: &Gateway,
    publisher: &mut Talk,
    heard: &Heard,
) -> anyhow::Result<(f64, f64)> {
    let (size, publication) = (args.subscribers as u64, publication(args));
    let (start, cpu, before) = (Instant::now(), gateway.peer.cpu_seconds(), heard.messages());
    let mut published = 0;
    while start.elapsed() < args.time() {
        publisher.tell("publish", &publication)?;
        published += 1;
        let told = heard.settle(before + published * size, QUIET) - before;
        if told < published * size {
            bail!("{told} of {} were told", published * size);
        }
    }
    let told = (published * size) as f64;
    let rate = told / start.elapsed().as_secs_f64();
    Ok((rate, (gateway.peer.cpu_seconds() - cpu) / told * 1e6))
}

/// Sends a burst of publications and reports what was delivered.
fn at_once(
    args: &Args,
    gateway: &Gateway,
    publisher: &mut Talk,
    heard: &Heard,
) -> anyhow::Result<String> {
    let publication = publication(args);
    let (before, start, told) = (counted(gateway)?, Instant::now(), heard.messages());
    for _ in 0..FLOOD {
        publisher.tell("publish", &publication)?;
    }
    // The last publication is answered, so all have arrived.
    publisher.ask("publish", &publication)?;
    let published = start.elapsed();
    let last = heard.settle(u64::MAX, QUIET);
    let time = start.elapsed().saturating_sub(QUIET);
    let after = counted(gateway)?;
    let [pushed, refused, gaps] = [0, 1, 2].map(|i| after[i] - before[i]);
    Ok(format!(
        "{} at once        taken in {:.2} s; {} deliveries in {:.1} s, {}/s; {} refused, {} gaps; {} heard",
        figures::grouped(FLOOD as u64),
        published.as_secs_f64(),
        short(pushed),
        time.as_secs_f64(),
        short(pushed / time.as_secs_f64()),
        short(refused),
        short(gaps),
        figures::grouped(last - told)
    ))
}
