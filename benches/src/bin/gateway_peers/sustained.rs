//! Minutes at the full rate, a row each ten seconds.

use std::time::Duration;

use anyhow::Context;
use trunkline_benches::blast::{Blast, DIGITS};
use trunkline_benches::figures::{self, short};
use trunkline_benches::metering::{self, BACKGROUND, Goal, Load, Measured, Meter, Progress, cells};
use trunkline_benches::open_loop::millis;

use crate::Args;
use crate::contender::{Contender, Name};
use crate::targets::Targets;

/// The messages in flight on each connection.
const WINDOW: usize = 16;

/// The time of a row.
const ROW: Duration = Duration::from_secs(10);

/// The most bytes of disk that a row is expected to take, with what merges take meanwhile.
const ROW_BYTES: u64 = 4 << 30;

/// The headings of a row.
const HEAD: [&str; 11] = [
    "s",
    "messages/s",
    "worst s",
    "µs CPU each",
    "background",
    "B/B store",
    "B/B process",
    "put off MiB",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
];

pub(crate) fn run(args: &Args, targets: &mut Targets) -> anyhow::Result<()> {
    let time = Duration::from_secs_f64(args.minutes * 60.0);
    println!(
        "Sustained: {} connections in pairs, {WINDOW} in flight on each, {} B of text, JSON, for {} \
         s and up to half as long again until the store is steady",
        args.connections,
        args.bytes,
        short(time.as_secs_f64())
    );
    one(
        args,
        &Contender::gateway(args, args.shards).context("the gateway")?,
        time,
        targets,
    )?;
    for &name in &args.peers {
        match Contender::start(args, name) {
            Ok(contender) => one(args, &contender, time, targets)?,
            Err(error) => println!("{name:?}: not run: {error:#}"),
        }
    }
    Ok(())
}

/// Measures one server, and prints its rows as they come.
fn one(
    args: &Args,
    contender: &Contender,
    time: Duration,
    targets: &mut Targets,
) -> anyhow::Result<()> {
    if matches!(contender.kind, Some(Name::Raw | Name::Nats)) {
        println!("{}: not run: its messages carry no time", contender.name);
        return Ok(());
    }
    let text = format!("{{time}}{}", "x".repeat(args.bytes.saturating_sub(DIGITS)));
    let plan = contender.plan(args, WINDOW, &text);
    let mut blast = Blast::start(&plan)?;
    blast.time_pushes()?;
    let read = || contender.reading(args);
    metering::measure(&mut blast, Goal::warm(time), &read)?;
    blast.time_pushes()?;
    println!("\n{}", contender.name);
    // The first row gives the width of the columns.
    let widths = HEAD.map(|head| head.chars().count().max(9));
    let print = |cells: &[String]| {
        let cells = cells.iter().zip(widths);
        let line: Vec<_> = cells.map(|(cell, wide)| format!("{cell:>wide$}")).collect();
        println!("{}", line.join(" "));
    };
    print(&HEAD.map(str::to_owned));
    let mut whole = Meter::start(Goal::steady(time), &read)?;
    let (mut passed, mut counted, mut full) = (Duration::ZERO, 0, None);
    loop {
        let start = blast.done();
        let mut row = Meter::start(Goal::exactly(ROW), &read)?;
        let mut over = Progress::GoesOn;
        let (mut time, mut count) = (Duration::ZERO, 0);
        metering::drive(&mut blast, &mut |now, done| {
            (time, count) = (now, done);
            over = whole.enter(passed + now, counted + done)?;
            Ok(match (row.enter(now, done)?, over) {
                (Progress::GoesOn, Progress::GoesOn) => Progress::GoesOn,
                _ => Progress::Over,
            })
        })?;
        (passed, counted) = (passed + time, counted + (blast.done() - start));
        let times = blast.time_pushes()?.context("no times")?;
        let measured = row.finish()?;
        let at = |quantile| millis(&times, quantile);
        let latency = [0.5, 0.99, 0.999].map(|quantile| format!("{:.2}", at(quantile)));
        print(&cells_of(args, passed, &measured, latency));
        if over == Progress::Over {
            break;
        }
        if let Err(error) = contender.has_room(ROW_BYTES) {
            full = Some(error);
            break;
        }
    }
    let whole = whole.finish()?;
    let series = &whole.series;
    println!(
        "\n  mean {}/s, worst second {}, ÷ mean {}, last 20 s ÷ first 20 s {}; {:.2} µs CPU each, \
         background {}",
        short(series.mean()),
        short(series.worst()),
        short(series.worst_of_mean()),
        short(series.last_of_first()),
        whole.micros(),
        match whole.verdict {
            Some(_) => short(whole.cpu.share(BACKGROUND)),
            None => "-".into(),
        },
    );
    targets.steady(&contender.name, &whole);
    if let Some(error) = full {
        println!("  ended early: {error:#}");
    }
    println!();
    Ok(())
}

/// Returns the cells of a row that ends after `passed`.
fn cells_of(
    args: &Args,
    passed: Duration,
    measured: &Measured,
    latency: [String; 3],
) -> Vec<String> {
    let [worst, _, _, background, written, device] = cells(measured, args.bytes);
    let debt = measured.verdict.map(|verdict| verdict.after.bytes() >> 20);
    let mut line = vec![
        format!("{:.0}", passed.as_secs_f64()),
        short(measured.series.mean()),
        short(worst),
        format!("{:.2}", measured.micros()),
        short(background),
        short(written),
        short(device),
        debt.map_or_else(|| "-".into(), figures::grouped),
    ];
    line.extend(latency);
    line
}
