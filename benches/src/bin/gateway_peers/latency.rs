//! Latency at a fixed rate with many connections.

use std::time::Duration;

use anyhow::Context;
use trunkline_benches::crowd::{Crowd, MemberKind};
use trunkline_benches::open_loop::{self, Control, Traffic, millis};
use trunkline_benches::{figures, machine};

use crate::Args;
use crate::contender::Contender;
use crate::targets::Targets;

/// The number of messages per second.
const RATE: f64 = 20_000.0;

/// The time before counting.
const WARM: Duration = Duration::from_secs(2);

/// Connections begun at a time.
const AT_ONCE: usize = 1_000;

pub(crate) fn run(args: &Args, targets: &mut Targets) -> anyhow::Result<()> {
    let gateway = Contender::gateway(args, args.shards).context("the gateway")?;
    let kind = MemberKind::Sessions("l");
    let mut crowd = Crowd::new(gateway.server.address, kind, args.sessions)?;
    crowd.open(AT_ONCE)?;
    let traffic = Traffic {
        name: "l",
        rate: RATE,
        bytes: args.bytes,
    };
    let control = Control::default();
    let time = args.time() * 5;
    let cpu = || (gateway.server.cpu_seconds(), machine::cpu_seconds("self"));
    let (latencies, before, after) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| open_loop::run(&mut crowd, traffic, &control));
        std::thread::sleep(WARM);
        control.count(true);
        let before = cpu();
        std::thread::sleep(time);
        let after = cpu();
        control.end();
        let sent = sending.join().map_err(|_| anyhow::anyhow!("it panicked"))?;
        sent.map(|latencies| (latencies, before, after))
    })?;
    println!(
        "Latency: {} connections, {} messages/s at random times, {} B of text, over {:.1} s; from \
         the time a message should have been sent",
        figures::grouped(args.sessions as u64),
        figures::grouped(RATE as u64),
        args.bytes,
        time.as_secs_f64()
    );
    let rows = [
        ("acknowledged", &latencies.ack),
        ("pushed", &latencies.e2e),
        ("sent by the client", &latencies.lag),
    ];
    let lines: Vec<_> = rows
        .iter()
        .map(|(what, times)| {
            let at = |quantile| format!("{:.2}", millis(times, quantile));
            vec![
                (*what).to_owned(),
                figures::grouped(times.len()),
                at(0.5),
                at(0.99),
                at(0.999),
                at(1.0),
            ]
        })
        .collect();
    let head = ["ms", "messages", "p50", "p99", "p99.9", "max"];
    println!("{}", figures::table(&head, &lines));
    let cores = |before: f64, after: f64| (after - before) / time.as_secs_f64();
    println!(
        "CPU: the gateway {:.2} cores, the client {:.2}\n",
        cores(before.0, after.0),
        cores(before.1, after.1)
    );
    let e2e = &latencies.e2e;
    targets.at_most("latency, p99", millis(e2e, 0.99), 3.0, " ms");
    targets.at_most("latency, p99.9", millis(e2e, 0.999), 10.0, " ms");
    Ok(())
}
