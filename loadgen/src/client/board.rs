//! The board of a run: what its threads tell each other and the main thread.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::REPORT;
use super::chaos::Chaos;
use super::reports::Reports;
use crate::clock::{Nanos, SECOND};
use crate::stats::Counters;

/// The time from the end of an executor to the start of those that wait for it. Every thread learns of
/// the end within it: an idle thread looks only as often as it reports.
pub(super) const HANDOVER: Nanos = SECOND / 2;
const _: () = assert!(HANDOVER >= 2 * REPORT);

/// What the threads tell each other and the main thread.
#[derive(Debug)]
pub(crate) struct Board {
    /// By executor: the number of threads that have not ended it.
    left: Vec<AtomicU32>,
    /// By executor: when the last thread ended it, plus one; 0 before.
    ended: Vec<AtomicU64>,
    /// By thread: its counters as of its last report.
    counters: Vec<Mutex<Counters>>,
    /// What the threads report to those who look on.
    pub(crate) reports: Reports,
    pub(super) chaos: Chaos,
    /// Whether threads make groups first.
    has_groups: bool,
    /// The number of threads that have not made their groups.
    making: AtomicU32,
    /// When the last thread had made its groups.
    made: AtomicU64,
}

impl Board {
    /// A board for so many executors and threads. `has_groups`: before the first executor, each
    /// thread makes its groups.
    pub(crate) fn new(executors: usize, threads: u32, has_groups: bool) -> Self {
        Self {
            left: (0..executors).map(|_| AtomicU32::new(threads)).collect(),
            ended: (0..executors).map(|_| AtomicU64::new(0)).collect(),
            counters: (0..threads).map(|_| Mutex::default()).collect(),
            reports: Reports::new(executors, threads),
            chaos: Chaos::default(),
            has_groups,
            making: AtomicU32::new(if has_groups { threads } else { 0 }),
            made: AtomicU64::new(0),
        }
    }

    /// Notes that a thread has made its groups.
    pub(super) fn made(&self, now: Nanos) {
        self.made.fetch_max(now, Ordering::SeqCst);
        self.making.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether each thread makes groups before the first executor.
    pub(super) fn has_groups(&self) -> bool {
        self.has_groups
    }

    /// When the run begins: once all groups are made, and every thread knows of it. None before.
    pub(super) fn begins(&self) -> Option<Nanos> {
        if !self.has_groups {
            return Some(0);
        }
        let made = || self.made.load(Ordering::SeqCst) + HANDOVER;
        (self.making.load(Ordering::SeqCst) == 0).then(made)
    }

    /// Notes that a thread has ended an executor.
    pub(super) fn end(&self, executor: usize, now: Nanos) {
        self.ended[executor].fetch_max(now + 1, Ordering::SeqCst);
        self.left[executor].fetch_sub(1, Ordering::SeqCst);
    }

    /// When the last thread ended an executor; none while some have not.
    pub(crate) fn ended(&self, executor: usize) -> Option<Nanos> {
        (self.left[executor].load(Ordering::SeqCst) == 0)
            .then(|| self.ended[executor].load(Ordering::SeqCst) - 1)
    }

    /// Keeps the counters of a thread.
    pub(super) fn report(&self, thread: u32, counters: Counters) {
        if let Ok(mut last) = self.counters[thread as usize].lock() {
            *last = counters;
        }
    }

    /// The sum of the counters of all threads, as of their last reports.
    pub(crate) fn total(&self) -> Counters {
        let mut total = Counters::default();
        for counters in &self.counters {
            if let Ok(counters) = counters.lock() {
                total.add(&counters);
            }
        }
        total
    }
}
