//! The reports of the threads while they work, a few times a second, for the live view and
//! scrapers.
//!
//! The reports are off the path of a message. Readers look into the [`Tally`] of the latencies
//! directly; a thread copies everything else when it reports.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::clock::Nanos;
use crate::stats::Tally;

/// The maximum number of a thread's troubles that wait to be read. Further ones replace the oldest.
const TROUBLES: usize = 16;

/// The stage of a thread. The stages follow each other in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub(crate) enum RunStage {
    /// The executors work.
    #[default]
    Executing,
    /// The thread waits for messages under way, until that time at most.
    Draining(Nanos),
    /// The thread reads history back, until that time at most.
    Reading(Nanos),
    /// The thread closes its sessions, until that time at most.
    Closing(Nanos),
}

/// The report of a thread, beside its counters.
#[derive(Debug, Clone, Default)]
pub(crate) struct ThreadReport {
    /// The time of the report.
    pub(crate) at: Nanos,
    /// Connections whose session is not open yet.
    pub(crate) connecting: u64,
    /// The longest time that the thread was away from its sockets.
    pub(crate) stall: Nanos,
    /// The stage of the thread.
    pub(crate) stage: RunStage,
    /// The violations, by kind.
    pub(crate) violations: BTreeMap<&'static str, u64>,
    /// Failures since they were taken last, each with the time of its report.
    pub(super) troubles: Vec<(Nanos, String)>,
}

/// The last reports of all threads, and when the executors began.
#[derive(Debug)]
pub(crate) struct Reports {
    /// The time at which the first thread began an executor, plus one, by executor; 0 before.
    began: Vec<AtomicU64>,
    /// The tally and the last report of each thread.
    threads: Vec<(Arc<Tally>, Mutex<ThreadReport>)>,
}

impl Reports {
    pub(super) fn new(executors: usize, threads: u32) -> Self {
        Self {
            began: (0..executors).map(|_| AtomicU64::new(0)).collect(),
            threads: (0..threads)
                .map(|_| (Arc::new(Tally::new()), Mutex::default()))
                .collect(),
        }
    }

    /// Returns the tally in which a thread counts its latencies.
    pub(super) fn tally(&self, thread: u32) -> Arc<Tally> {
        Arc::clone(&self.threads[thread as usize].0)
    }

    /// Returns the latencies of all threads.
    pub(crate) fn tallies(&self) -> impl Iterator<Item = &Tally> {
        self.threads.iter().map(|(tally, _)| &**tally)
    }

    /// Notes when an executor begins; the time of the first thread counts.
    pub(super) fn begin(&self, executor: usize, at: Nanos) {
        let began = &self.began[executor];
        // Others may have entered it: threads agree on the time but for how fast they are.
        let _ = began.compare_exchange(0, at + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Returns the number of executors.
    pub(crate) fn executors(&self) -> usize {
        self.began.len()
    }

    /// Returns when an executor began; `None` before.
    pub(crate) fn began(&self, executor: usize) -> Option<Nanos> {
        self.began[executor].load(Ordering::Relaxed).checked_sub(1)
    }

    /// Returns the last report of each thread.
    pub(crate) fn reports(&self) -> impl Iterator<Item = ThreadReport> {
        let reports = self.threads.iter();
        reports.filter_map(|(_, report)| report.lock().ok().map(|report| report.clone()))
    }

    /// Takes the failures since they were taken last, the oldest first.
    pub(crate) fn take_troubles(&self) -> Vec<(Nanos, String)> {
        let reports = self.threads.iter();
        let reports = reports.filter_map(|(_, report)| report.lock().ok());
        let mut all: Vec<_> = reports
            .flat_map(|mut report| std::mem::take(&mut report.troubles))
            .collect();
        all.sort_by_key(|(at, _)| *at);
        all
    }

    /// Replaces the last report of a thread, and keeps the troubles that were not read yet.
    pub(super) fn put(&self, thread: u32, mut report: ThreadReport) {
        if let Ok(mut last) = self.threads[thread as usize].1.lock() {
            let mut troubles = std::mem::take(&mut last.troubles);
            troubles.append(&mut report.troubles);
            troubles.drain(..troubles.len().saturating_sub(TROUBLES));
            *last = ThreadReport { troubles, ..report };
        }
    }
}

#[cfg(test)]
impl super::Board {
    /// Reports like a thread with these counts and latencies. Lost messages are violations.
    pub(crate) fn work_for_tests(
        &self,
        counters: crate::stats::Counters,
        timed: &[(crate::stats::Metric, u64)],
    ) {
        let mut latencies = crate::stats::Latencies::watched(self.reports.tally(0));
        for (metric, us) in timed {
            latencies.record(*metric, 0, us * 1_000);
        }
        self.report(0, counters);
        let violations = [("lost", counters.lost)].into();
        let report = ThreadReport {
            violations,
            ..ThreadReport::default()
        };
        self.reports.put(0, report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_are_bounded_and_read_once() {
        let reports = Reports::new(1, 2);
        for at in 0..100 {
            let troubles = vec![(at, format!("trouble {at}"))];
            reports.put(
                (at % 2) as u32,
                ThreadReport {
                    at,
                    troubles,
                    ..ThreadReport::default()
                },
            );
        }
        let troubles = reports.take_troubles();
        assert_eq!(troubles.len(), 2 * TROUBLES);
        assert_eq!(troubles[0].1, "trouble 68");
        assert_eq!(troubles.last().map(|it| it.0), Some(99));
        assert!(reports.take_troubles().is_empty());
        assert_eq!(reports.reports().map(|it| it.at).max(), Some(99));
    }

    #[test]
    fn an_executor_begins_once() {
        let reports = Reports::new(2, 1);
        reports.begin(1, 5);
        reports.begin(1, 7);
        assert_eq!((reports.began(0), reports.began(1)), (None, Some(5)));
    }

    #[test]
    fn the_last_thread_says_how_far_all_are() {
        let least = [
            RunStage::Closing(1),
            RunStage::Draining(9),
            RunStage::Draining(3),
            RunStage::Reading(2),
        ];
        assert_eq!(least.into_iter().min(), Some(RunStage::Draining(3)));
        assert!(RunStage::Executing < RunStage::Draining(0));
    }
}
