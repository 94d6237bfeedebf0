//! What the threads report while they work, a few times a second, to those who look on.
//!
//! Nothing of this is on the path of a message. Latencies are counted in a [`Tally`] that is read from
//! outside, and everything else is copied when a thread reports.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::clock::Nanos;
use crate::stats::Tally;

/// Most troubles of a thread that wait to be read; the oldest make room.
const TROUBLES: usize = 16;

/// How far a thread is in its run. The stages follow each other in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
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
    /// When the report was made.
    pub(crate) at: Nanos,
    /// Connections whose session is not open yet.
    pub(crate) connecting: u64,
    /// The longest time that the thread was away from its sockets.
    pub(crate) stall: Nanos,
    /// How far it is behind the executors.
    pub(crate) stage: RunStage,
    /// The violations, by kind.
    pub(crate) violations: BTreeMap<&'static str, u64>,
    /// Failures since they were taken last, each with the time of its report.
    pub(super) troubles: Vec<(Nanos, String)>,
}

/// The last reports of all threads, and when the executors began.
#[derive(Debug)]
pub(crate) struct Reports {
    /// By executor: when the first thread began it, plus one; 0 before.
    began: Vec<AtomicU64>,
    /// By thread.
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

    /// The tally in which a thread counts its latencies.
    pub(super) fn tally(&self, thread: u32) -> Arc<Tally> {
        Arc::clone(&self.threads[thread as usize].0)
    }

    /// The latencies of all threads.
    pub(crate) fn tallies(&self) -> impl Iterator<Item = &Tally> {
        self.threads.iter().map(|(tally, _)| &**tally)
    }

    /// Notes when an executor begins; the first thread to say so is right.
    pub(super) fn begin(&self, executor: usize, at: Nanos) {
        let began = &self.began[executor];
        // Others may have entered it: threads agree on the time but for how fast they are.
        let _ = began.compare_exchange(0, at + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The number of executors.
    pub(crate) fn executors(&self) -> usize {
        self.began.len()
    }

    /// When an executor began; none before.
    pub(crate) fn began(&self, executor: usize) -> Option<Nanos> {
        self.began[executor].load(Ordering::Relaxed).checked_sub(1)
    }

    /// The last report of each thread.
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

    /// Puts the report of a thread in the place of its last, and keeps the troubles that nobody has
    /// taken.
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
    /// Reports as a thread does that has counted and timed this; what was lost is a violation.
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
