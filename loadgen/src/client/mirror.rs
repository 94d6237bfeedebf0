//! The progress of one machine of a run, as it travels to the machine that leads the run.
//!
//! The lead has a board on which each machine stands in the place of a thread. So everything that shows a
//! run shows one of several machines too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Board;
use super::reports::{RunStage, ThreadReport};
use crate::check::Violation;
use crate::clock::Nanos;
use crate::stats::{Counters, TallyForm};

/// What all threads of a machine have reported so far.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub(crate) struct Beat {
    counters: Counters,
    /// The mean time of the reports of the threads.
    at: Nanos,
    connecting: u64,
    stall: Nanos,
    /// The stage of the thread that is furthest behind.
    stage: RunStage,
    violations: BTreeMap<Violation, u64>,
    /// Failures since the last beat, each with its time.
    troubles: Vec<(Nanos, String)>,
    tally: TallyForm,
    /// The start of each executor; `None` before.
    began: Vec<Option<Nanos>>,
    /// The end of each executor in all threads of the machine; `None` before.
    pub(crate) ended: Vec<Option<Nanos>>,
    /// All threads of the machine have made their groups.
    pub(crate) made: bool,
    /// The time of the first send; `None` before.
    sending: Option<Nanos>,
}

impl Board {
    /// Returns what the threads have reported, and takes their troubles.
    pub(crate) fn beat(&self) -> Beat {
        let reports: Vec<_> = self.reports.reports().collect();
        let at: u64 = reports.iter().map(|it| it.at).sum();
        let mut violations = BTreeMap::new();
        for (kind, count) in reports.iter().flat_map(|it| &it.violations) {
            if let Some(kind) = Violation::named(kind) {
                *violations.entry(kind).or_default() += count;
            }
        }
        let executors = 0..self.reports.executors();
        Beat {
            counters: self.total(),
            at: at / (reports.len() as u64).max(1),
            connecting: reports.iter().map(|it| it.connecting).sum(),
            stall: reports.iter().map(|it| it.stall).max().unwrap_or(0),
            stage: reports.iter().map(|it| it.stage).min().unwrap_or_default(),
            violations,
            troubles: self.reports.take_troubles(),
            tally: TallyForm::look(self.reports.tallies()),
            began: { executors.clone() }
                .map(|executor| self.reports.began(executor))
                .collect(),
            ended: executors
                .map(|executor| self.ended_here(executor))
                .collect(),
            made: self.made_here(),
            sending: self.sending(),
        }
    }

    /// Shows the beat of the machine in the place of a thread.
    pub(crate) fn mirror(&self, place: u32, beat: &Beat) {
        self.report(place, beat.counters);
        self.reports.tally(place).take_over(&beat.tally);
        for (executor, began) in (0..self.reports.executors()).zip(&beat.began) {
            if let Some(began) = began {
                self.reports.begin(executor, *began);
            }
        }
        if let Some(sending) = beat.sending {
            self.sending_began(sending);
        }
        let violations = beat.violations.iter();
        let report = ThreadReport {
            at: beat.at,
            connecting: beat.connecting,
            stall: beat.stall,
            stage: beat.stage,
            violations: violations.map(|(kind, n)| (kind.name(), *n)).collect(),
            troubles: beat.troubles.clone(),
        };
        self.reports.put(place, report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Metric, Tallied};

    #[test]
    fn the_lead_shows_what_the_machines_report() {
        let lead = Board::new(2, 2, false);
        for (place, lost) in [(0, 3), (1, 4)] {
            let machine = Board::of_part(2, 1, false);
            let counters = Counters {
                lost,
                attempted: 100,
                ..Counters::default()
            };
            machine.work_for_tests(counters, &[(Metric::Ack, 700), (Metric::E2e, 900)]);
            machine.reports.begin(1, 50 + lost);
            machine.sending_began(60 + lost);
            let text = serde_json::to_string(&machine.beat()).unwrap();
            lead.mirror(place, &serde_json::from_str(&text).unwrap());
        }
        assert_eq!((lead.total().lost, lead.total().attempted), (7, 200));
        assert_eq!(lead.sending(), Some(63));
        assert_eq!(
            (lead.reports.began(0), lead.reports.began(1)),
            (None, Some(53))
        );
        let acks = Tallied::look(lead.reports.tallies(), Metric::Ack);
        assert_eq!(acks.count(), 2);
        let lost: u64 = lead.reports.reports().map(|it| it.violations["lost"]).sum();
        assert_eq!(lost, 7);
    }

    #[test]
    fn an_executor_ends_when_the_lead_says_so() {
        let machine = Board::of_part(1, 2, true);
        assert!(!machine.made_here());
        machine.made(5);
        machine.made(7);
        assert!(machine.made_here() && machine.begins().is_none());
        machine.release_groups(1_000);
        assert_eq!(
            machine.begins(),
            Some(1_000 + super::super::board::HANDOVER)
        );
        machine.end(0, 30);
        assert_eq!(machine.beat().ended, [None]);
        machine.end(0, 20);
        assert_eq!(machine.beat().ended, [Some(30)]);
        assert_eq!(machine.ended(0), None, "other machines go on");
        machine.release(0, 90);
        assert_eq!(machine.ended(0), Some(90));
        assert_eq!(machine.ended_here(0), Some(90));
    }
}
