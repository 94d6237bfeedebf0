//! A snapshot of a run, taken from outside its threads. The view shows only data of snapshots.

use std::collections::BTreeMap;

use super::about::Span;
use crate::client::{Board, RunStage};
use crate::clock::{Nanos, seconds};
use crate::health::{Cpu, CpuTimes, Process};
use crate::stats::{Counters, Metric, Tallied};

/// The state of a run at one time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    pub(crate) now: Nanos,
    /// The time of the counters, in seconds. Threads report a few times a second, each at its own
    /// time; this is the mean of these times.
    pub(crate) told_at: f64,
    pub(crate) counters: Counters,
    /// Connections whose sessions are not open yet.
    pub(crate) connecting: u64,
    /// The longest time that an event loop was away from its sockets.
    pub(crate) stall: Nanos,
    /// The stage of the thread that is furthest behind.
    pub(crate) after: RunStage,
    /// The times at which each executor began and ended.
    pub(crate) spans: Vec<Span>,
    /// The violations, by kind.
    pub(crate) violations: BTreeMap<&'static str, u64>,
}

impl Look {
    /// Reads a board.
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

/// Returns the latencies of all threads so far, in the order of [`Metric::ALL`].
pub(crate) fn latencies(board: &Board) -> Vec<Tallied> {
    let metrics = Metric::ALL.iter();
    metrics
        .map(|metric| Tallied::look(board.reports.tallies(), *metric))
        .collect()
}

/// The CPU time and the memory of both sides so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) generator: Process,
    /// The process of a gateway that was started for the run.
    pub(crate) gateway: Option<Process>,
    pub(crate) cpu: CpuTimes,
}

impl Used {
    /// Reads both; `gateway` is the process of a gateway that was started for the run.
    pub(crate) fn look(gateway: Option<u32>) -> Self {
        Self {
            generator: Process::look(std::process::id()),
            gateway: gateway.map(Process::look),
            cpu: Cpu::look(),
        }
    }
}
