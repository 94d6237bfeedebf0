//! The end of what was sent in groups, judged in two steps, before and after history is read.

use super::super::Checker;
use super::super::evidence::{Event, Kind, What};
use super::WITNESSES;
use crate::clock::Nanos;

/// Most devices that a loss names.
const NAMED: usize = 8;

/// Messages before and behind a lost one whose events are kept with it.
const NEIGHBOURS: u32 = 2;

impl Checker {
    /// Whether everything that was sent in groups is answered and delivered; what is owed to nobody
    /// who is there waits for history.
    pub(in crate::check) fn settled_in_groups(&self) -> bool {
        self.groups.flights.all_wait_for_history()
    }

    /// Judges what is still under way in groups once nothing more is waited for.
    pub(in crate::check) fn close_in_groups(&mut self, now: Nanos) {
        for place in self.groups.flights.places() {
            let flight = *self.groups.flights.at(place);
            let stored = flight.ack_seq != 0 || (flight.adrift && flight.push_seq != 0);
            if !stored {
                self.groups.states[flight.group as usize].uncertain = true;
                // History tells what became of what was sent on sessions that broke.
                if !flight.adrift {
                    self.counters.unknown += 1;
                    self.groups.flights.at(place).judged = true;
                }
                continue;
            }
            let waiting = self.waiting_in_group(place);
            if !waiting.is_empty() {
                self.groups.flights.at(place).judged = true;
                self.lost_in_group(now, place, &waiting);
            }
            // What only gone devices wait for is looked for in history.
        }
    }

    /// The devices that are there and never got a message.
    pub(super) fn waiting_in_group(&self, place: u32) -> Vec<u32> {
        let groups = &self.groups;
        let flight = groups.flights.get(place);
        let seats = groups.flights.sets.seats(flight.devices);
        let devices = seats.map(|seat| {
            let (nth, index) = groups.seats.of(seat);
            let user = groups.members.member(flight.group, nth);
            self.part.first_device(user) + index
        });
        devices
            .filter(|&device| self.sessions.is_open(device))
            .collect()
    }

    /// Counts a message that these devices should have got and did not.
    pub(super) fn lost_in_group(&mut self, now: Nanos, place: u32, waiting: &[u32]) {
        self.counters.lost += 1;
        let flight = *self.groups.flights.get(place);
        let named = waiting.iter().take(NAMED);
        let mut names: Vec<_> = named.map(|device| self.device_name(*device)).collect();
        if waiting.len() > NAMED {
            names.push("…".into());
        }
        // Beside the first who missed it, somebody who did not.
        let members = &self.groups.members;
        let witnesses = (0..members.size(flight.group).min(WITNESSES))
            .map(|nth| members.member(flight.group, nth))
            .filter(|user| *user != flight.user)
            .map(|user| self.part.first_device(user));
        let witness = { witnesses }
            .find(|device| self.sessions.is_open(*device) && !waiting.contains(device));
        let about: Vec<_> = waiting.iter().take(1).copied().chain(witness).collect();
        // It was found out at the end only, long after it happened.
        let near = |event: &Event| event.counter.abs_diff(flight.counter) <= NEIGHBOURS;
        let whose = |event: &Event| event.what != What::Pushed || about.contains(&event.device);
        let conversation = Some(self.part.conversations() as u32 + flight.group);
        let about = |event: &Event| near(event) && whose(event);
        let detail = || {
            format!(
                "message {} (sequence {}) was {} and did not reach {} device(s): {}",
                flight.counter,
                flight.ack_seq.max(flight.push_seq),
                match flight.ack_seq {
                    0 => "stored, without an answer,",
                    _ => "acknowledged",
                },
                waiting.len(),
                names.join(", ")
            )
        };
        self.evidence
            .violation_of(now, Kind::Lost, conversation, about, detail);
    }

    /// A group's sequences have no gap.
    pub(in crate::check) fn expect_no_gaps_in_groups(&mut self, now: Nanos) {
        for group in 0..self.groups.members.groups() {
            let state = &self.groups.states[group as usize];
            if let Some(gap) = state.sequences.gap().filter(|_| !state.uncertain) {
                self.group_violation(now, Kind::SequenceMissing, (group, &[]), || {
                    format!("no message has sequence {gap}")
                });
            }
        }
    }

    /// What is left after history was read: not found anywhere.
    pub(in crate::check) fn finish_in_groups(&mut self, now: Nanos) {
        for place in self.groups.flights.places() {
            let flight = *self.groups.flights.at(place);
            let told = flight.judged || self.end_of_adrift_in_group(now, place);
            self.groups.flights.remove(place);
            if told {
                continue;
            }
            if !self.groups.states[flight.group as usize].read {
                // Nobody is accused on what could not be looked at.
                self.counters.unproven += 1;
                continue;
            }
            self.counters.lost += 1;
            self.group_violation(now, Kind::Lost, (flight.group, &[]), || {
                format!(
                    "message {} is in no push and not in history",
                    flight.counter
                )
            });
        }
    }
}
