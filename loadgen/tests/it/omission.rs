//! Coordinated omission: a pause must be in the percentiles as arithmetic says, whichever side paused.
//!
//! In a run that sends for `T` with a pause of `P` in it, the messages whose time falls into the pause
//! wait for its end: between 0 and `P`, evenly. So the part of all messages that is later than `x` is
//! `(P - x) / T`, and the percentile of `q` is where that is `1 - q`: at `P - (1 - q) T`, if that is more
//! than what a message takes anyway. With `P` = 2 s and `T` = 8 s:
//!
//! | | |
//! |---|---|
//! | p50 | not touched: 75 % of the messages met no pause |
//! | p90 | 2 - 0.1 × 8 = 1.2 s |
//! | p99 | 2 - 0.01 × 8 = 1.92 s |
//! | p99.9 | 2 - 0.001 × 8 = 1.992 s |
//! | max | 2 s |
//!
//! Who waits for an answer before sending the next message has one message in the pause per connection,
//! here 12 of 1,600: a p99 of nothing. Who counts from the time at which a message was really sent sees
//! a stopped generator as no pause at all.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{number, scenario, until};
use crate::local::started;

const PAUSE: Duration = Duration::from_secs(2);

/// Which process is stopped.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Side {
    Gateway,
    Generator,
}

/// Runs with one side stopped for a while. Returns the summary, and the least duration of the stop
/// in seconds.
fn paused(side: Side) -> (Value, f64) {
    let long = scenario(&[("duration = \"1s\"", "duration = \"8s\"")]);
    let (run, gateway) = started(&long, &[]);
    until("sessions", || {
        run.stderr().contains("sessions 12/12").then_some(())
    });
    let pid = match side {
        Side::Gateway => gateway,
        Side::Generator => run.id(),
    };
    let signal = |signal| {
        let pid = Pid::from_raw(pid.cast_signed());
        kill(pid, signal).expect("the process is there");
    };
    signal(Signal::SIGSTOP);
    let stopped = Instant::now();
    until("the end of the pause", || {
        (stopped.elapsed() >= PAUSE).then_some(())
    });
    let pause = stopped.elapsed();
    signal(Signal::SIGCONT);
    let done = run.done();
    (done.expect(0, "ok"), pause.as_secs_f64())
}

#[track_caller]
fn check(side: Side) {
    let (summary, pause) = paused(side);
    // Nothing was left out: what was due was sent.
    assert_eq!(number(&summary, "counts.skipped"), 0.0, "{summary}");
    let attempted = number(&summary, "counts.attempted");
    assert!((1_400.0..1_800.0).contains(&attempted), "{summary}");
    let sending = number(&summary, "sending_seconds");
    for metric in ["ack", "e2e"] {
        let seconds = |name: &str| number(&summary, &format!("latency_us.{metric}.{name}")) / 1e6;
        assert_eq!(
            number(&summary, &format!("latency_us.{metric}.count")),
            attempted
        );
        for (name, q) in [("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)] {
            let expected = pause - (1.0 - q) * sending;
            let found = seconds(name);
            // The figure may be lower, because the messages come at random times (a deviation of 6
            // % at p90). It may be higher, because the backlog is sent after the pause, on a shared
            // machine.
            let wide = expected * 0.8..expected + 2.0;
            assert!(
                wide.contains(&found),
                "{metric} {name}: {found}, not {expected}: {summary}"
            );
        }
        assert!(seconds("p50") < pause / 2.0, "{metric}: {summary}");
    }
    // The send lag shows which side was late.
    let lag = number(&summary, "latency_us.send_lag.p99") / 1e6;
    assert_eq!(lag > pause / 2.0, side == Side::Generator, "{summary}");
}

#[test]
fn a_gateway_that_was_stopped_is_late_for_all_that_was_due() {
    check(Side::Gateway);
}

#[test]
fn a_generator_that_was_stopped_makes_up_for_nothing() {
    check(Side::Generator);
}
