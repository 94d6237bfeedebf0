//! What every judge of a thread has in common, and what is left of it after a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::evidence::{Evidence, Violation};
use super::ledger::Departure;
use super::roster::Roster;
use crate::clock::Nanos;
use crate::foreign::quoted;
use crate::schedule::Arrival;
use crate::stats::Counters;

/// A judge of one thread's messages. Each kind of server has one that checks what it can show.
pub(crate) trait Judge {
    /// Returns the members of each conversation.
    fn roster(&self) -> &Roster;

    /// Returns the counts so far.
    fn counters(&self) -> &Counters;

    /// Returns the counters, for what the client itself counts.
    fn counters_mut(&mut self) -> &mut Counters;

    /// Returns the violations so far.
    fn evidence(&self) -> &Evidence;

    /// Notes that a device's session ended and is to be opened again. `by_run`: the run itself ended
    /// the session.
    fn away(&mut self, now: Nanos, device: u32, by_run: bool);

    /// Notes that a device's session ended before it should and will not come back, or was away and
    /// does not come back.
    fn gone(&mut self, now: Nanos, device: u32);

    /// Notes the next message of a stream. Returns the send to make; `None` if too many messages
    /// are under way.
    fn depart(&mut self, now: Nanos, arrival: Arrival, intended: Nanos) -> Option<Departure>;

    /// Judges what is left, after everything has been asked.
    fn finish(&mut self, now: Nanos);

    /// Ends the judging.
    fn into_findings(self) -> Findings;

    /// Returns how often each violation happened.
    fn violations(&self) -> &BTreeMap<Violation, u64> {
        self.evidence().counts()
    }

    /// Returns the violations kept after the first `told`, a sentence each; raises `told` to all of
    /// them.
    fn new_findings(&self, told: &mut usize) -> impl Iterator<Item = String> {
        self.evidence().sentences(told)
    }
}

/// The most evidence that is kept of all threads of a process together, in bytes. Later lines are left out.
const EVIDENCE_MAX: usize = 8 << 20;

/// The findings about the messages of one thread, or of several together.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Findings {
    counters: Counters,
    violations: BTreeMap<Violation, u64>,
    /// The kept violations as JSON lines, each with the events before it.
    evidence: String,
}

impl Findings {
    pub(super) fn new(roster: &Roster, evidence: &Evidence, counters: Counters) -> Self {
        Self {
            counters,
            violations: evidence.counts().clone(),
            evidence: evidence.lines(roster),
        }
    }

    /// Adds the findings of another thread.
    pub(crate) fn add(&mut self, other: &Self) {
        self.counters.add(&other.counters);
        for (kind, count) in &other.violations {
            *self.violations.entry(*kind).or_default() += count;
        }
        for line in other.evidence.split_inclusive('\n') {
            if self.evidence.len() + line.len() <= EVIDENCE_MAX {
                self.evidence += line;
            }
        }
    }

    /// Adds violations that no judge of a thread can see, with a sentence on them.
    pub(crate) fn testify(&mut self, at: Nanos, violation: Violation, count: u64, detail: &str) {
        *self.violations.entry(violation).or_default() += count;
        let line = violation.line(at, None, &quoted(detail), &[]);
        if self.evidence.len() + line.len() <= EVIDENCE_MAX {
            self.evidence += &line;
        }
    }

    /// Returns the counts.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns how often each violation happened.
    pub(crate) fn violations(&self) -> &BTreeMap<Violation, u64> {
        &self.violations
    }

    /// Returns the kept violations as JSON lines, each with the events before it.
    pub(crate) fn evidence(&self) -> &str {
        &self.evidence
    }
}
