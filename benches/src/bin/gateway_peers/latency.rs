//! Latency at a fixed rate with many connections.

use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use trunkline_benches::crowd::{Crowd, MemberKind};
use trunkline_benches::metering::{Goal, Measured, Meter, Progress, Reading, SECONDS, cells};
use trunkline_benches::open_loop::{self, Control, Traffic, millis};
use trunkline_benches::peer::Peer;
use trunkline_benches::{figures, machine, plot};

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
    let goal = Goal::steady(args.time(SECONDS) * 5);
    let read = || gateway.reading(args);
    let (latencies, measured, client) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| open_loop::run(&mut crowd, traffic, &control));
        std::thread::sleep(WARM);
        control.count(true);
        let client = machine::cpu_seconds("self");
        let measured = watch(&gateway.server, goal, &read);
        let client = machine::cpu_seconds("self") - client;
        control.end();
        let sent = sending.join().map_err(|_| anyhow::anyhow!("it panicked"))?;
        let measured = measured?;
        sent.map(|latencies| (latencies, measured, client))
    })?;
    let time = measured.series.time();
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
    // Counting ends within a second.
    let seconds = latencies.by_second.len().saturating_sub(1);
    let by_second = &latencies.by_second[..seconds];
    println!("{}", seconds_of(by_second));
    if let Some(file) = &args.plot {
        let title = format!(
            "Latency of a message up to its push, {} messages/s",
            figures::grouped(RATE as u64)
        );
        plot::latencies(file, &title, by_second)?;
        println!("plot: {}", file.display());
    }
    let cores = |seconds: f64| seconds / time.as_secs_f64();
    let [worst, _, _, background, written, device] = cells(&measured, args.bytes);
    println!(
        "CPU: the gateway {:.2} cores, {} of that the store's background; the client {:.2}\n\
         worst second {} messages/s; bytes written per byte of text {} by the store's count, {} by \
         the process's",
        cores(measured.cpu.seconds()),
        figures::short(background),
        cores(client),
        figures::short(worst),
        figures::short(written),
        figures::short(device),
    );
    targets.steady("gateway", &measured);
    println!();
    let e2e = &latencies.e2e;
    targets.at_most("latency, p99", millis(e2e, 0.99), 2.0, " ms");
    targets.at_most("latency, p99.9", millis(e2e, 0.999), 8.0, " ms");
    Ok(())
}

/// Returns a line about the seconds of the measurement: their median, and the worst one.
fn seconds_of(seconds: &[Histogram<u64>]) -> String {
    let of = |quantile| {
        let mut all: Vec<_> = seconds.iter().map(|of| millis(of, quantile)).collect();
        all.sort_by(f64::total_cmp);
        let at = |index: Option<usize>| index.and_then(|at| all.get(at)).copied().unwrap_or(0.0);
        let middle = all.len().checked_sub(1).map(|last| last / 2);
        (at(middle), at(all.len().checked_sub(1)))
    };
    let (p99, p999) = (of(0.99), of(0.999));
    format!(
        "by second, up to the push: p99 {:.2} ms in the median second, {:.2} in the worst; p99.9 {:.2} \
         and {:.2}",
        p99.0, p99.1, p999.0, p999.1
    )
}

/// Measures the messages that a gateway stores, until the goal is reached. Looks once a second.
fn watch(
    gateway: &Peer,
    goal: Goal,
    read: &dyn Fn() -> anyhow::Result<Reading>,
) -> anyhow::Result<Measured> {
    let messages = || Ok::<_, anyhow::Error>(gateway.metric("trunkline_messages_total")? as u64);
    let mut meter = Meter::start(goal, read)?;
    let (start, before) = (Instant::now(), messages()?);
    for second in 1u32.. {
        let due = Duration::from_secs(1) * second;
        std::thread::sleep(due.min(goal.most).saturating_sub(start.elapsed()));
        if meter.enter(start.elapsed(), messages()? - before)? == Progress::Over {
            break;
        }
    }
    meter.finish()
}
