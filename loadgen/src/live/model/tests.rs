//! Tests of the model that is computed from looks.

use super::samples::{about, busy, lying, run, unhealthy};
use super::*;
use crate::clock::SECOND;

fn named<'a>(bars: &'a [Bar], name: &str) -> &'a Bar {
    let found = bars.iter().find(|bar| bar.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {bars:?}"))
}

#[test]
fn rates_are_of_the_last_seconds() {
    let model = busy(30);
    assert_eq!(model.rates.offered, 2_000.0);
    assert_eq!(model.rates.acknowledged, 1_900.0);
    assert_eq!(model.rates.opened, 0.0);
    assert_eq!(busy(5).rates.opened, 200.0);
    // Threads report in their own time: a rate is over the time between reports, not looks.
    let mut model = Model::new(about());
    for (now, told_at, scheduled) in [(10, 9.9, 1_000), (11, 10.9, 2_000), (12, 11.7, 2_800)] {
        let counters = Counters {
            scheduled,
            ..Counters::default()
        };
        let look = Look {
            now: now * SECOND,
            told_at,
            counters,
            ..Look::default()
        };
        model.note(look, Vec::new());
    }
    assert!(
        (model.rates.offered - 1_000.0).abs() < 1e-6,
        "{:?}",
        model.rates
    );
}

#[test]
fn a_rate_that_ends_is_zero_soon() {
    let mut model = busy(30);
    let mut look = model.look.clone();
    for second in 31..=34 {
        look.told_at = f64::from(second);
        model.note(look.clone(), Vec::new());
    }
    assert_eq!(model.rates.offered, 0.0);
}

#[test]
fn percentiles_of_now_forget_what_was() {
    let tally = std::sync::Arc::new(crate::stats::Tally::new());
    let mut latencies = crate::stats::Latencies::watched(std::sync::Arc::clone(&tally));
    let mut model = Model::new(about());
    let mut second = |model: &mut Model, us: u64| {
        latencies.record(Metric::Ack, 0, us * 1_000);
        let metrics = Metric::ALL.iter();
        let tallied = metrics.map(|it| Tallied::look([&*tally].into_iter(), *it));
        model.note_second(tallied.collect(), Used::look(None));
        *model.latency(Metric::Ack).expect("it is timed")
    };
    assert_eq!(second(&mut model, 100).recent.max, 100);
    for _ in 1..RECENT {
        assert_eq!(second(&mut model, 50).recent.max, 100);
    }
    let now = second(&mut model, 50);
    assert_eq!((now.recent.max, now.recent.count), (50, RECENT as u64));
    assert_eq!((now.run.max, now.run.count), (100, RECENT as u64 + 1));
}

#[test]
fn stages_follow_each_other() {
    let model = busy(5);
    let bars = model.bars();
    let names: Vec<_> = bars.iter().map(|bar| &*bar.name).collect();
    assert_eq!(names, ["connect", "day", "drain", "read back", "close"]);
    let connect = named(&bars, "connect");
    assert_eq!(
        (connect.state, connect.passed, connect.lasts),
        (StageState::Running, 5.0, 10.0)
    );
    assert_eq!(named(&bars, "day").state, StageState::Waiting);
    assert_eq!(model.end(), 45.0);

    let after = |after, now: u64| {
        let mut model = busy(30);
        let mut look = model.look.clone();
        (look.now, look.after) = (now * SECOND, after);
        look.spans[1].ended = Some(45 * SECOND);
        model.note(look, Vec::new());
        model.bars()
    };
    let drain = after(RunStage::Draining(75 * SECOND), 50);
    let bar = named(&drain, "drain");
    assert_eq!(
        (bar.state, bar.passed, bar.lasts, bar.at_most),
        (StageState::Running, 5.0, 30.0, true)
    );
    assert_eq!(named(&drain, "day").state, StageState::Ended);
    assert_eq!(named(&drain, "day").passed, 35.0);
    let closing = after(RunStage::Closing(80 * SECOND), 60);
    assert_eq!(named(&closing, "read back").state, StageState::Ended);
    assert_eq!(named(&closing, "close").state, StageState::Running);
}

#[test]
fn what_is_wrong_is_named_once() {
    let model = lying(20);
    // Lost is counted twice, among the counters and the violations.
    assert_eq!(model.wrong_total(), 3);
    let wrong = model.wrong();
    assert_eq!(wrong[0], ("lost", 2));
    assert_eq!(wrong[4], ("text-changed", 1));
    assert_eq!(model.odd(), [("connect_failures", 3), ("gaps", 2)]);
    assert_eq!(busy(20).wrong_total(), 0);
    for name in PROMISES.iter().chain(&ODD) {
        assert!(Counters::default().get(name).is_some(), "{name}");
    }
}

#[test]
fn the_generator_is_judged_as_the_verdict_will() {
    let well = busy(30).health.expect("it is judged");
    assert!(well.healthy, "{:?}", well.faults);
    let late = unhealthy(30).health.expect("it is judged");
    assert!(late.faults[0].contains("send lag p99"), "{:?}", late.faults);
}

#[test]
fn who_was_there_and_is_not_is_away() {
    let mut model = busy(20);
    assert_eq!(model.away(), 0);
    let mut look = model.look.clone();
    (look.counters.sessions, look.connecting) = (1_500, 40);
    model.note(look.clone(), Vec::new());
    assert_eq!(model.away(), 450);
    look.after = RunStage::Closing(30 * SECOND);
    model.note(look, Vec::new());
    assert_eq!(model.away(), 0, "a run's end is no absence");
}

#[test]
fn troubles_are_bounded_and_not_repeated() {
    let mut model = Model::new(about());
    for second in 0..200u64 {
        let trouble = format!("trouble {}", second / 2);
        model.note(Look::default(), vec![(second * SECOND, trouble)]);
    }
    assert_eq!(model.troubles.len(), TROUBLES);
    assert_eq!(model.troubles.back().map(|it| &*it.1), Some("trouble 99"));
    assert_eq!(model.forgotten, 200 - TROUBLES as u64);
}

#[test]
fn both_ends_are_watched() {
    let usage = run(10, 300, |_| {}).usage;
    assert!((usage.generator_cpu - 0.5).abs() < 1e-9, "{usage:?}");
    assert!((usage.gateway_cpu - 0.75).abs() < 1e-9, "{usage:?}");
    assert_eq!(usage.gateway.map(|it| it.rss_bytes), Some(80 << 20));
}

#[test]
fn clocks_are_read_as_clocks() {
    for (seconds, text) in [
        (-1.0, "0:00"),
        (7.9, "0:07"),
        (725.0, "12:05"),
        (3_723.0, "1:02:03"),
    ] {
        assert_eq!(clock(seconds), text);
    }
}
