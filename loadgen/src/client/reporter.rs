//! The reports of a thread while it works: its counters, its longest stall, its troubles.

use crate::clock::Nanos;
use crate::foreign::safe_line;

use super::reports::{RunStage, ThreadReport};
use super::{Board, REPORT};
use crate::check::Judge;

/// The next report of a thread.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    /// The first failure since the last report.
    trouble: Option<String>,
    /// The first failure of all.
    first_trouble: Option<String>,
    /// Violations whose details were reported.
    findings_told: usize,
    /// The time of the last report.
    reported: Nanos,
    /// The longest time that the loop was away from its sockets.
    stall: Nanos,
}

impl Reporter {
    /// Notes a failure, unless there was one since the last report; a peer may have worded it.
    pub(super) fn note_trouble(&mut self, why: &str) {
        self.trouble.get_or_insert_with(|| safe_line(why));
    }

    /// Notes for how long the loop was away from its sockets.
    pub(super) fn note_stall(&mut self, stall: Nanos) {
        self.stall = self.stall.max(stall);
    }

    /// Returns when the next report is due.
    pub(super) fn due(&self) -> Nanos {
        self.reported + REPORT
    }

    /// Returns the longest time that the loop was away from its sockets.
    pub(super) fn stall(&self) -> Nanos {
        self.stall
    }

    /// Returns the first failure of all, for people.
    pub(super) fn into_first_trouble(self) -> Option<String> {
        self.first_trouble.or(self.trouble)
    }

    /// Reports the progress of this thread to the board. `connecting` is the number of connections
    /// whose sessions are not open yet.
    pub(super) fn report(
        &mut self,
        now: Nanos,
        board: &Board,
        thread: u32,
        checker: &impl Judge,
        connecting: usize,
        stage: RunStage,
    ) {
        self.reported = now;
        let mut troubles: Vec<_> = checker
            .new_findings(&mut self.findings_told)
            .map(|finding| (now, finding))
            .collect();
        if let Some(trouble) = self.trouble.take() {
            self.first_trouble.get_or_insert_with(|| trouble.clone());
            troubles.push((now, trouble));
        }
        let violations = checker.violations().iter();
        let report = ThreadReport {
            at: now,
            connecting: connecting as u64,
            stall: self.stall,
            stage,
            violations: violations.map(|(kind, n)| (kind.name(), *n)).collect(),
            troubles,
        };
        board.report(thread, *checker.counters());
        board.reports.put(thread, report);
    }
}
