//! Runs to look at.

use super::super::about::{About, Span, Stage};
use super::super::look::{Look, Used};
use super::Model;
use crate::clock::SECOND;
use crate::health::{Cpu, Process};
use crate::stats::{Counters, Latencies, Metric, Tallied, Tally};

/// 2,000 sessions are opened in 10 s, then 2,000 messages a second are sent for 35 s.
pub(crate) fn about() -> About {
    let stage = |name: &str, kind, after, seconds| Stage {
        name: name.into(),
        kind,
        after,
        delay: 0,
        duration: seconds * SECOND,
    };
    About {
        title: "run smoke".into(),
        gateway: "ws://127.0.0.1:7700/v1/ws (local)".into(),
        sessions: 2_000,
        stages: vec![
            stage("connect", "ramping-connections", None, 10),
            stage("day", "constant-arrival-rate", Some(0), 35),
        ],
        drain: 30 * SECOND,
        thresholds: [(
            "e2e".to_owned(),
            vec!["p(99)<250ms".parse().expect("a threshold")],
        )]
        .into(),
        ..About::default()
    }
}

/// Returns the model of a run of this many seconds, with one look per second. `edit` changes each
/// look.
pub(crate) fn run(seconds: u64, lag_us: u64, edit: impl Fn(&mut Look)) -> Model {
    let mut model = Model::new(about());
    let tally = std::sync::Arc::new(Tally::new());
    let mut latencies = Latencies::watched(std::sync::Arc::clone(&tally));
    for second in 1..=seconds {
        let sending = second.saturating_sub(10);
        for i in 0..if sending > 0 { 100 } else { 0 } {
            let (at, us) = (second * SECOND, 1_000 + i * 10);
            latencies.record(Metric::E2e, at, at + us * 1_000);
            latencies.record(Metric::Ack, at, at + us * 900);
            latencies.record(Metric::SendLag, at, at + lag_us * 1_000);
        }
        let mut look = Look {
            now: second * SECOND,
            told_at: second as f64,
            counters: Counters {
                scheduled: sending * 2_000,
                attempted: sending * 2_000,
                acknowledged: sending * 1_900,
                message_pushes: sending * 1_900,
                sessions: (second * 200).min(1_990),
                sessions_opened: (second * 200).min(1_990),
                connects: (second * 200).min(2_000),
                connect_failures: 3,
                gaps: 2,
                ..Counters::default()
            },
            connecting: 7,
            stall: SECOND / 250,
            spans: vec![
                Span {
                    began: Some(0),
                    ended: (second >= 10).then_some(10 * SECOND),
                },
                Span {
                    began: (second >= 10).then_some(10 * SECOND),
                    ended: None,
                },
            ],
            ..Look::default()
        };
        edit(&mut look);
        let troubles = match second {
            12 => vec![(second * SECOND, "rate-limited: wait 20 ms".to_owned())],
            _ => Vec::new(),
        };
        model.note(look, troubles);
        let process = |share: f64, mib: u64| Process {
            cpu_seconds: second as f64 * share,
            rss_bytes: mib << 20,
        };
        let metrics = Metric::ALL.iter();
        let tallied = metrics.map(|metric| Tallied::look([&*tally].into_iter(), *metric));
        model.note_second(
            tallied.collect(),
            Used {
                generator: process(0.5, 40),
                gateway: Some(process(0.75, 80)),
                cpu: Cpu::look(),
            },
        );
    }
    // Whatever else the machine does now is not of this run.
    model.about.health.steal_max = 1.0;
    model.judge();
    model
}

/// Returns the model of a run without troubles.
pub(crate) fn busy(seconds: u64) -> Model {
    run(seconds, 300, |_| {})
}

/// Returns the model of a run whose gateway breaks its promises.
pub(crate) fn lying(seconds: u64) -> Model {
    run(seconds, 300, |look| {
        look.counters.lost = 2;
        look.violations = [("lost", 2), ("text-changed", 1)].into();
    })
}

/// The generator is late.
pub(crate) fn unhealthy(seconds: u64) -> Model {
    run(seconds, 9_000, |_| {})
}
