//! What a thread tells those who look on while it works, a few times a second.
//!
//! Nothing of it is on the way of a message: latencies are in a [`Tally`] that is read from outside,
//! all else is copied at a report.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::Client;
use crate::clock::Nanos;
use crate::foreign::heard;
use crate::stats::Tally;

/// Most troubles of a thread that wait to be read; the oldest make room.
const TROUBLES: usize = 16;

/// How far a thread is behind the executors, in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum After {
    /// Not yet there.
    #[default]
    Executing,
    /// Waits for what is under way, until then at most.
    Draining(Nanos),
    /// Reads history back, until then at most.
    Reading(Nanos),
    /// Closes its sessions, until then at most.
    Closing(Nanos),
}

/// What a thread says beside its counters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    /// When.
    pub(crate) at: Nanos,
    /// Connections whose session is not open yet.
    pub(crate) connecting: u64,
    /// Longest time it was away from its sockets.
    pub(crate) stall: Nanos,
    pub(crate) after: After,
    /// Broken promises by kind.
    pub(crate) violations: BTreeMap<&'static str, u64>,
    /// What went wrong since these were taken last, with the time of the report that brought it.
    troubles: Vec<(Nanos, String)>,
}

/// The reports of all threads.
#[derive(Debug)]
pub(crate) struct Told {
    /// By executor: when the first thread began it, plus one; 0 before.
    began: Vec<AtomicU64>,
    threads: Vec<(Arc<Tally>, Mutex<Report>)>,
}

impl Told {
    pub(super) fn new(executors: usize, threads: u32) -> Self {
        Self {
            began: (0..executors).map(|_| AtomicU64::new(0)).collect(),
            threads: (0..threads)
                .map(|_| (Arc::new(Tally::new()), Mutex::default()))
                .collect(),
        }
    }

    /// Where a thread counts its latencies.
    pub(super) fn tally(&self, thread: u32) -> Arc<Tally> {
        Arc::clone(&self.threads[thread as usize].0)
    }

    /// Everybody's latencies.
    pub(crate) fn tallies(&self) -> impl Iterator<Item = &Tally> {
        self.threads.iter().map(|(tally, _)| &**tally)
    }

    /// An executor begins, or has begun, at that time.
    pub(super) fn begin(&self, executor: usize, at: Nanos) {
        let began = &self.began[executor];
        // Others may have entered it: threads agree on the time but for how fast they are.
        let _ = began.compare_exchange(0, at + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// How many executors there are.
    pub(crate) fn executors(&self) -> usize {
        self.began.len()
    }

    /// When an executor began.
    pub(crate) fn began(&self, executor: usize) -> Option<Nanos> {
        self.began[executor].load(Ordering::Relaxed).checked_sub(1)
    }

    /// Each thread's last report.
    pub(crate) fn reports(&self) -> impl Iterator<Item = Report> {
        let reports = self.threads.iter();
        reports.filter_map(|(_, report)| report.lock().ok().map(|report| report.clone()))
    }

    /// What went wrong since they were taken last, the oldest first.
    pub(crate) fn take_troubles(&self) -> Vec<(Nanos, String)> {
        let reports = self.threads.iter();
        let reports = reports.filter_map(|(_, report)| report.lock().ok());
        let mut all: Vec<_> = reports
            .flat_map(|mut report| std::mem::take(&mut report.troubles))
            .collect();
        all.sort_by_key(|(at, _)| *at);
        all
    }

    fn tell(&self, thread: u32, mut report: Report) {
        if let Ok(mut last) = self.threads[thread as usize].1.lock() {
            let mut troubles = std::mem::take(&mut last.troubles);
            troubles.append(&mut report.troubles);
            troubles.drain(..troubles.len().saturating_sub(TROUBLES));
            *last = Report { troubles, ..report };
        }
    }
}

impl Client {
    /// Notes the first thing that went wrong since the last report; a peer may have worded it.
    pub(super) fn note_trouble(&mut self, why: &str) {
        self.trouble.get_or_insert_with(|| heard(why));
    }

    /// Tells how far this thread is.
    pub(super) fn tell(&mut self, now: Nanos) {
        let mut troubles: Vec<_> = self
            .job
            .checker
            .new_findings(&mut self.findings_told)
            .map(|finding| (now, finding))
            .collect();
        if let Some(trouble) = self.trouble.take() {
            self.first_trouble.get_or_insert_with(|| trouble.clone());
            troubles.push((now, trouble));
        }
        let violations = self.job.checker.violations().iter();
        let report = Report {
            at: now,
            connecting: self.connecting as u64,
            stall: self.stall,
            after: self.phases.after(),
            violations: violations.map(|(kind, n)| (kind.name(), *n)).collect(),
            troubles,
        };
        self.job.board.report(self.job.thread, self.counters());
        self.job.board.told.tell(self.job.thread, report);
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
        let mut latencies = crate::stats::Latencies::watched(self.told.tally(0));
        for (metric, us) in timed {
            latencies.record(*metric, 0, us * 1_000);
        }
        self.report(0, counters);
        let violations = [("lost", counters.lost)].into();
        let report = Report {
            violations,
            ..Report::default()
        };
        self.told.tell(0, report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_are_bounded_and_read_once() {
        let told = Told::new(1, 2);
        for at in 0..100 {
            let troubles = vec![(at, format!("trouble {at}"))];
            told.tell(
                (at % 2) as u32,
                Report {
                    at,
                    troubles,
                    ..Report::default()
                },
            );
        }
        let troubles = told.take_troubles();
        assert_eq!(troubles.len(), 2 * TROUBLES);
        assert_eq!(troubles[0].1, "trouble 68");
        assert_eq!(troubles.last().map(|it| it.0), Some(99));
        assert!(told.take_troubles().is_empty());
        assert_eq!(told.reports().map(|it| it.at).max(), Some(99));
    }

    #[test]
    fn an_executor_begins_once() {
        let told = Told::new(2, 1);
        told.begin(1, 5);
        told.begin(1, 7);
        assert_eq!((told.began(0), told.began(1)), (None, Some(5)));
    }

    #[test]
    fn the_last_thread_says_how_far_all_are() {
        let least = [
            After::Closing(1),
            After::Draining(9),
            After::Draining(3),
            After::Reading(2),
        ];
        assert_eq!(least.into_iter().min(), Some(After::Draining(3)));
        assert!(After::Executing < After::Draining(0));
    }
}
