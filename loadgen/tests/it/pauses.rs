//! Pauses of the gateway or of the generator count in the latencies.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::fake::{Fake, PAUSE};
use crate::fake_conduct::{Conduct, TRIGGER};
use crate::harness::{Loadgen, number, scenario, until};

#[test]
fn a_generator_that_was_stopped_is_not_believed() {
    let fake = Fake::start(Conduct::Honest);
    let edits = [
        ("send_lag_p99 = \"60s\"", "send_lag_p99 = \"500ms\""),
        ("duration = \"1s\"", "duration = \"3s\""),
    ];
    let run = Loadgen::run(&scenario(&edits), &["--target", &fake.url()]);
    until("messages", || (fake.sends() > 20).then_some(()));
    run.signal(Signal::SIGSTOP);
    let stopped = Instant::now();
    until("time to pass", || {
        (stopped.elapsed() > Duration::from_secs(1)).then_some(())
    });
    run.signal(Signal::SIGCONT);
    let done = run.done();
    let summary = done.expect(90, "invalid");
    assert!(done.stdout.contains("send lag p99 is"), "{}", done.stdout);
    // Messages that were due in the pause were sent late. Their latencies count from the due times.
    for metric in ["send_lag", "ack", "e2e"] {
        let max = number(&summary, &format!("latency_us.{metric}.max"));
        assert!(max > 800_000.0, "{metric}: {summary}");
    }
    assert_eq!(number(&summary, "counts.attempted"), fake.sends() as f64);
    assert!(number(&summary, "health.loop_stall_us") > 800_000.0);
}

#[test]
fn a_gateway_that_paused_shows_it() {
    let fake = Fake::start(Conduct::Pause);
    let done = Loadgen::run(&scenario(&[]), &["--target", &fake.url()]).done();
    let summary = done.expect(0, "ok");
    // Answers after the end of the schedule do not count for the rate. The pause is as long as the
    // schedule, so only answers before the pause count.
    let count = |name: &str| number(&summary, &format!("counts.{name}"));
    assert!(count("acknowledged") > 100.0, "{summary}");
    assert!(count("acknowledged_in_time") <= TRIGGER as f64, "{summary}");
    assert!(number(&summary, "rates.achieved") <= TRIGGER as f64);
    let pause = PAUSE.as_micros() as f64;
    for metric in ["ack", "e2e"] {
        // The first message that met the pause waited for all of it but the time that it took
        // to arrive: a fifth is far more than that.
        let max = number(&summary, &format!("latency_us.{metric}.max"));
        assert!(max > pause * 0.8, "{metric}: {summary}");
    }
}
