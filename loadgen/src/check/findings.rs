//! What every judge of a thread has in common, and what is left of it after a run.

use std::collections::BTreeMap;
use std::io::Write;

use super::evidence::{Evidence, Violation};
use super::ledger::Departure;
use super::roster::Roster;
use crate::clock::Nanos;
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

/// The findings about one thread's messages.
#[derive(Debug)]
pub(crate) struct Findings {
    roster: Roster,
    evidence: Evidence,
    counters: Counters,
}

impl Findings {
    pub(super) fn new(roster: Roster, evidence: Evidence, counters: Counters) -> Self {
        Self {
            roster,
            evidence,
            counters,
        }
    }

    /// Returns the counts.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns how often each violation happened.
    pub(crate) fn violations(&self) -> &BTreeMap<Violation, u64> {
        self.evidence.counts()
    }

    /// Writes the kept violations as JSON lines, each with the events before it.
    ///
    /// # Errors
    /// The writer fails.
    pub(crate) fn write_evidence(&self, out: &mut dyn Write) -> std::io::Result<()> {
        self.evidence.write(&self.roster, out)
    }
}
