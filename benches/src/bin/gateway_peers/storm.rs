//! Measures a storm: all sessions reconnect at once, while some others exchange messages.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use trunkline_benches::crowd::{Crowd, MemberKind};
use trunkline_benches::figures::{self, median};
use trunkline_benches::machine;
use trunkline_benches::open_loop::{self, Control, Traffic, millis};
use trunkline_benches::peer::Peer;

use crate::Args;
use crate::contender::Contender;
use crate::targets::Targets;

/// The number of sessions that stay connected.
const SURVIVORS: usize = 1_000;
/// The messages per second among the sessions that stay connected.
const RATE: f64 = 1_000.0;

/// The number of connections that are opened at a time: as many as a listener's queue takes without
/// a loss.
const AT_ONCE: usize = 1_000;

/// The most time until the gateway has noticed that connections are gone.
const GONE: Duration = Duration::from_secs(20);

/// The rates of the rounds, and the CPU time of storms.
#[derive(Default)]
struct Rates {
    raw: Vec<f64>,
    sessions: Vec<f64>,
    gateway: f64,
    client: f64,
}

pub(crate) fn run(args: &Args, targets: &mut Targets) -> anyhow::Result<()> {
    let gateway = Contender::gateway(args, args.shards).context("the gateway")?;
    let bare = Peer::raw()?;
    let address = gateway.server.address;
    let mut survivors = Crowd::new(address, MemberKind::Sessions("s"), SURVIVORS)?;
    survivors.open(AT_ONCE)?;
    let traffic = Traffic {
        name: "s",
        rate: RATE,
        bytes: args.bytes,
    };
    let mut crowd = Crowd::new(address, MemberKind::Sessions("c"), args.sessions)?;
    crowd.open(AT_ONCE)?;
    let mut raw = Crowd::new(bare.address, MemberKind::Raw, args.sessions)?;
    let control = Control::default();
    let mut rates = Rates::default();
    let latencies = std::thread::scope(|scope| {
        let talking = scope.spawn(|| open_loop::run(&mut survivors, traffic, &control));
        let mut storms = || -> anyhow::Result<()> {
            for _ in 0..args.rounds(3) {
                crowd.close()?;
                // Not earlier, because descriptors are few.
                let took = raw.open(AT_ONCE).context("raw")?;
                rates.raw.push(args.sessions as f64 / took.as_secs_f64());
                raw.close()?;
                emptied(&gateway.server)?;
                let cpu = || (gateway.server.cpu_seconds(), machine::cpu_seconds("self"));
                let before = cpu();
                control.count(true);
                let took = crowd.open(AT_ONCE)?;
                control.count(false);
                rates
                    .sessions
                    .push(args.sessions as f64 / took.as_secs_f64());
                let after = cpu();
                rates.gateway += after.0 - before.0;
                rates.client += after.1 - before.1;
            }
            Ok(())
        };
        let stormed = storms();
        control.end();
        let talked = talking.join().map_err(|_| anyhow::anyhow!("it panicked"))?;
        stormed.and(talked)
    })?;
    println!(
        "Storm: {} sessions come back at once, {AT_ONCE} at a time: TCP, upgrade, connect, resume \
         with `since`; meanwhile {SURVIVORS} others send {RATE} messages/s; medians of {} rounds",
        figures::grouped(args.sessions as u64),
        args.rounds(3)
    );
    let ratios = rates.sessions.iter().zip(&rates.raw).map(|(a, b)| a / b);
    let ratio = median(ratios.collect());
    let (sessions, bare) = (median(rates.sessions), median(rates.raw));
    let p99 = millis(&latencies.e2e, 0.99);
    let micros = |seconds: f64| seconds / (args.sessions * args.rounds(3)) as f64 * 1e6;
    println!("  raw connections   {}/s", figures::short(bare));
    println!(
        "  sessions          {}/s, {ratio:.2} of that",
        figures::short(sessions)
    );
    println!(
        "  CPU a session     gateway {:.1} µs, client {:.1} µs, including the sessions that stay",
        micros(rates.gateway),
        micros(rates.client)
    );
    println!(
        "  turned away       {} times; each client comes again",
        crowd.turned_away()
    );
    println!(
        "  other sessions    {} messages during storms, pushed in {:.2} ms p50, {p99:.2} ms \
         p99, {:.2} ms at most; the client itself was late by {:.2} ms p99\n",
        figures::grouped(latencies.e2e.len()),
        millis(&latencies.e2e, 0.5),
        millis(&latencies.e2e, 1.0),
        millis(&latencies.lag, 0.99),
    );
    targets.at_least("storm: sessions ÷ raw connections", ratio, 0.4, "");
    targets.at_least("storm: sessions a second", sessions, 20_000.0, "/s");
    targets.at_most("storm: p99 of other sessions", p99, 20.0, " ms");
    Ok(())
}

/// Waits until the gateway has noticed that all connections but the survivors are gone.
fn emptied(gateway: &Peer) -> anyhow::Result<()> {
    let start = Instant::now();
    while gateway.metric("trunkline_connections")? > SURVIVORS as f64 {
        if start.elapsed() > GONE {
            bail!("the gateway does not see that connections are gone");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
