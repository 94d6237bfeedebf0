//! One turn: the latency of messages on a schedule, and the rate of connections that send as fast as they can.

use std::time::{Duration, Instant};

use anyhow::bail;
use trunkline_benches::blast::{self, CHAT, Plan};
use trunkline_benches::crowd::{Crowd, MemberKind};
use trunkline_benches::figures::{grouped, median};
use trunkline_benches::open_loop::{self, Control, Traffic, millis};
use trunkline_benches::peer::Peer;
use trunkline_benches::rounds::middle;
use trunkline_benches::scrape;

use crate::Args;

/// The connections that send as fast as they can, and the messages in flight on each.
const SENDING: usize = 16;
const WINDOW: usize = 4;

/// The bytes that the store has yet to merge.
const UNMERGED: [&str; 2] = [
    "trunkline_store_waiting_bytes",
    "trunkline_store_merge_due_bytes",
];

/// The time between two looks at them.
const LOOK: Duration = Duration::from_millis(50);

/// The most time until the store has merged what earlier turns have sent.
const PATIENCE: Duration = Duration::from_secs(120);

/// The time of one piece of the measurement of the rate.
const PIECE: Duration = Duration::from_millis(500);

/// The beginnings of the names of the gateway's threads that work for waiting clients, for back ends and for
/// metrics, and not for messages.
const THEIRS: [&str; 5] = ["http", "control", "back-end", "blocking", "admin"];

/// What one turn measured.
pub(crate) struct Turn {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// The median of the 99th percentiles of its seconds.
    pub(crate) p99_of_seconds: f64,
    pub(crate) rate: f64,
    /// The part of a processor that [`THEIRS`] took while the latency was measured, or the server that does nothing.
    pub(crate) theirs: f64,
    /// What all polls and streams received in a second, on average over the whole turn.
    pub(crate) got: Got,
}

/// What polls and streams receive: in all, or in a second.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Got {
    /// Answers of polls and comments of streams.
    pub(crate) ends: f64,
    /// Answers to questions for a back end.
    pub(crate) answers: f64,
}

/// The head of the table of turns.
pub(crate) const HEAD: &str =
    "round  turn      p50 ms   second     turn   messages/s   theirs  ends/s  answers/s";

impl Turn {
    /// Prints the turn as a line of the table.
    pub(crate) fn say(&self, round: usize, name: &str) {
        println!(
            "{round:>5}  {name:<7} {:>8.2} {:>8.2} {:>8.2} {:>12} {:>6.2} % {:>7.0} {:>10.0}",
            self.p50,
            self.p99_of_seconds,
            self.p99,
            grouped(self.rate as u64),
            100.0 * self.theirs,
            self.got.ends,
            self.got.answers,
        );
    }
}

/// Measures latency on a schedule, and then the rate of connections that send as fast as they can.
///
/// `holding` is the server at which others wait meanwhile, if there is one besides the gateway.
///
/// # Errors
/// The gateway does not take the messages.
pub(crate) fn measure(args: &Args, gateway: &Peer, holding: Option<&Peer>) -> anyhow::Result<Turn> {
    settle(gateway)?;
    let time = Duration::from_secs_f64(args.seconds);
    let mut crowd = Crowd::new(
        gateway.address,
        MemberKind::Sessions("honest"),
        2 * args.pairs,
    )?;
    crowd.open(64)?;
    let traffic = Traffic {
        name: "honest",
        rate: args.rate,
        bytes: 120,
    };
    let control = Control::default();
    let (seen, theirs) = std::thread::scope(|scope| {
        let running = scope.spawn(|| open_loop::run(&mut crowd, traffic, &control));
        std::thread::sleep(time / 8);
        control.count(true);
        let used = || match holding {
            Some(server) => Ok(server.cpu_seconds()),
            None => gateway.thread_seconds(&THEIRS),
        };
        let (start, before) = (Instant::now(), used());
        std::thread::sleep(time);
        let (took, after) = (start.elapsed(), used());
        control.end();
        match running.join() {
            Ok(seen) => anyhow::Ok((seen?, (after? - before?) / took.as_secs_f64())),
            Err(_) => bail!("the thread of the users panicked"),
        }
    })?;
    crowd.close()?;
    // The first and the last second are not whole.
    let whole = seen.by_second.iter().skip(1);
    let whole = whole.take(seen.by_second.len().saturating_sub(2));
    let seconds: Vec<f64> = whole.map(|second| millis(second, 0.99)).collect();
    if seconds.is_empty() {
        bail!("a measurement takes at least three seconds: --seconds 3");
    }
    Ok(Turn {
        p50: millis(&seen.e2e, 0.5),
        p99: millis(&seen.e2e, 0.99),
        p99_of_seconds: median(seconds),
        rate: rate(args, gateway)?,
        theirs,
        got: Got::default(),
    })
}

/// Returns the acknowledged messages per second of connections that send as fast as they can.
///
/// How the kernel spreads so few connections over the shards changes the rate by a tenth and more, and so does a merge
/// of what was sent before. So the rate is measured in several pieces, and the result is the median of their rates. Each piece has
/// new connections, and begins when the store has merged what the previous piece sent.
fn rate(args: &Args, gateway: &Peer) -> anyhow::Result<f64> {
    let pieces = (args.seconds / PIECE.as_secs_f64()).ceil().max(1.0) as usize;
    let plan = Plan {
        server: gateway.address,
        path: "/v1/ws".into(),
        hello: r#"{"id":1,"connect":{"user":"fast{id}","device":"d"}}"#.into(),
        message: format!(
            r#"{{"id":{{n}},"send":{{"user":"fast{{peer}}","text":"{}"}}}}"#,
            "x".repeat(120)
        ),
        counts: CHAT,
        connections: SENDING,
        window: WINDOW,
        others: 1,
        duration: Duration::from_secs_f64(args.seconds / pieces as f64),
    };
    let mut acks = Vec::new();
    for _ in 0..pieces {
        settle(gateway)?;
        acks.push(blast::run(&plan)?.acks);
    }
    Ok(middle(&mut acks))
}

/// Waits until the store has merged what was sent before.
fn settle(gateway: &Peer) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let metrics = gateway.metrics()?;
        let due: Result<Vec<_>, _> = { UNMERGED.iter() }
            .map(|name| scrape::number(&metrics, name))
            .collect();
        if due?.iter().sum::<f64>() < 1.0 {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            bail!("the store still merges after {PATIENCE:?}");
        }
        std::thread::sleep(LOOK);
    }
}
