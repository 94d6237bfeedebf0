//! One look at a run, from outside: what everything that is shown comes from.

use std::collections::BTreeMap;

use super::about::Span;
use crate::client::{Board, RunStage};
use crate::clock::{Nanos, seconds};
use crate::health::{Cpu, CpuTimes, Process};
use crate::stats::{Counters, Metric, Tallied};

/// What everything has come to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    pub(crate) now: Nanos,
    /// The time that the counters are of, in seconds: threads report a few times a second, each in
    /// its own time, and this is the mean of them.
    pub(crate) told_at: f64,
    pub(crate) counters: Counters,
    /// Connections whose sessions are not open yet.
    pub(crate) connecting: u64,
    /// Longest time that an event loop was away from its sockets.
    pub(crate) stall: Nanos,
    /// How far the last thread is behind the executors.
    pub(crate) after: RunStage,
    /// By executor.
    pub(crate) spans: Vec<Span>,
    /// Broken promises by kind.
    pub(crate) violations: BTreeMap<&'static str, u64>,
}

impl Look {
    /// Looks at a board.
    pub(crate) fn take(now: Nanos, board: &Board) -> Self {
        let mut look = Self {
            now,
            counters: board.total(),
            spans: (0..board.reports.executors())
                .map(|executor| Span {
                    began: board.reports.began(executor),
                    ended: board.ended(executor),
                })
                .collect(),
            ..Self::default()
        };
        let (mut threads, mut after) = (0, None);
        for report in board.reports.reports() {
            threads += 1;
            look.told_at += seconds(report.at);
            look.connecting += report.connecting;
            look.stall = look.stall.max(report.stall);
            after = Some(after.map_or(report.stage, |stage: RunStage| stage.min(report.stage)));
            for (kind, count) in report.violations {
                *look.violations.entry(kind).or_default() += count;
            }
        }
        look.told_at /= f64::from(threads.max(1));
        look.after = after.unwrap_or_default();
        look
    }
}

/// Everybody's latencies so far, by [`Metric::ALL`].
pub(crate) fn latencies(board: &Board) -> Vec<Tallied> {
    let metrics = Metric::ALL.iter();
    metrics
        .map(|metric| Tallied::look(board.reports.tallies(), *metric))
        .collect()
}

/// What both ends have used so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) generator: Process,
    /// A gateway of the run's own.
    pub(crate) gateway: Option<Process>,
    pub(crate) cpu: CpuTimes,
}

impl Used {
    /// Looks; `gateway`: its process.
    pub(crate) fn look(gateway: Option<u32>) -> Self {
        Self {
            generator: Process::look(std::process::id()),
            gateway: gateway.map(Process::look),
            cpu: Cpu::look(),
        }
    }
}
