//! The board of a run, on which its threads report to each other and to the main thread.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::REPORT;
use super::chaos::Chaos;
use super::reports::Reports;
use crate::clock::{Nanos, SECOND};
use crate::stats::Counters;

/// The time from the end of an executor to the start of the executors that wait for it. Every
/// thread sees the end within this time, because even an idle thread looks as often as it reports.
pub(super) const HANDOVER: Nanos = SECOND / 2;
const _: () = assert!(HANDOVER >= 2 * REPORT);

/// The reports of the threads to each other and to the main thread.
#[derive(Debug)]
pub(crate) struct Board {
    /// The number of votes that are not from threads of this machine: 1 if other machines play a part of
    /// the run, otherwise 0.
    others: u32,
    /// The number of votes that an executor has not ended, by executor: one of each thread, and [`Self::others`].
    left: Vec<AtomicU32>,
    /// The time at which the last thread ended an executor, plus one, by executor; 0 before.
    ended: Vec<AtomicU64>,
    /// The counters of each thread at its last report.
    counters: Vec<Mutex<Counters>>,
    /// The reports for the live view and for scrapers.
    pub(crate) reports: Reports,
    pub(super) chaos: Chaos,
    /// Whether the threads make groups before the first executor.
    has_groups: bool,
    /// The number of threads that have not made their groups.
    making: AtomicU32,
    /// The time at which the last thread had made its groups.
    made: AtomicU64,
    /// The time at which sending ends before its executors do; [`Nanos::MAX`] without.
    sending_ends: AtomicU64,
}

impl Board {
    /// Makes a board for this many executors and threads. With `has_groups`, each thread makes its
    /// groups before the first executor.
    pub(crate) fn new(executors: usize, threads: u32, has_groups: bool) -> Self {
        Self::with_others(executors, threads, has_groups, 0)
    }

    /// Makes a board like [`Self::new`] for the threads of one of several machines. An executor ends, and
    /// groups are made, when the lead of the run says so too.
    pub(crate) fn of_part(executors: usize, threads: u32, has_groups: bool) -> Self {
        Self::with_others(executors, threads, has_groups, 1)
    }

    fn with_others(executors: usize, threads: u32, has_groups: bool, others: u32) -> Self {
        let votes = threads + others;
        Self {
            others,
            left: (0..executors).map(|_| AtomicU32::new(votes)).collect(),
            ended: (0..executors).map(|_| AtomicU64::new(0)).collect(),
            counters: (0..threads).map(|_| Mutex::default()).collect(),
            reports: Reports::new(executors, threads),
            chaos: Chaos::default(),
            has_groups,
            making: AtomicU32::new(if has_groups { votes } else { 0 }),
            made: AtomicU64::new(0),
            sending_ends: AtomicU64::new(Nanos::MAX),
        }
    }

    /// Ends sending soon, in all threads at one time.
    pub(crate) fn end_sending(&self, now: Nanos) {
        self.end_sending_at(now + HANDOVER);
    }

    /// Ends sending at this time, in all threads.
    pub(crate) fn end_sending_at(&self, at: Nanos) {
        self.sending_ends.fetch_min(at, Ordering::SeqCst);
    }

    /// Returns the time at which sending ends before its executors do; [`Nanos::MAX`] without.
    pub(crate) fn sending_ends(&self) -> Nanos {
        self.sending_ends.load(Ordering::Relaxed)
    }

    /// Notes that a thread has made its groups.
    pub(super) fn made(&self, now: Nanos) {
        self.made.fetch_max(now, Ordering::SeqCst);
        self.making.fetch_sub(1, Ordering::SeqCst);
    }

    /// Notes that all machines have made their groups, at that time.
    pub(crate) fn release_groups(&self, at: Nanos) {
        if self.has_groups {
            self.made(at);
        }
    }

    /// Returns whether the threads of this machine have made their groups.
    pub(crate) fn made_here(&self) -> bool {
        self.making.load(Ordering::SeqCst) <= self.others
    }

    /// Notes that an executor has ended on all machines, at that time.
    pub(crate) fn release(&self, executor: usize, at: Nanos) {
        self.end(executor, at);
    }

    /// Returns when the last thread of this machine ended an executor; `None` while some have not
    /// ended it.
    pub(crate) fn ended_here(&self, executor: usize) -> Option<Nanos> {
        let over = self.left[executor].load(Ordering::SeqCst) <= self.others;
        self.ended[executor]
            .load(Ordering::SeqCst)
            .checked_sub(1)
            .filter(|_| over)
    }

    /// Returns whether each thread makes groups before the first executor.
    pub(super) fn has_groups(&self) -> bool {
        self.has_groups
    }

    /// Returns when the run begins: after all groups are made, and every thread knows it. `None`
    /// before that.
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

    /// Returns when the last thread ended an executor; `None` while some threads have not ended it.
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

    /// Returns the sum of the counters of all threads, as of their last reports.
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
