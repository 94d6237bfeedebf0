//! The verdict on messages that are still under way at the end, in two steps: before and after
//! history is read.

use super::super::evidence::{Event, EventKind, Violation};
use super::super::scene::Scene;
use super::Ledger;

/// The most devices that the violation of a lost message names.
const NAMED: usize = 8;

/// The number of messages before and after a lost one, in a group, whose events are kept with it.
const NEIGHBOURS: u32 = 2;

impl Ledger {
    /// Returns whether every message is answered and delivered, except those that only history can
    /// settle.
    pub(in crate::check) fn is_settled(&self) -> bool {
        self.flights.iter().all(|flight| flight.waits_for_history())
    }

    /// Judges the messages under way when the wait is over. Judged messages stay in the table until
    /// [`finish`](Self::finish), so that a late answer or push finds them.
    pub(in crate::check) fn close(&mut self, scene: &mut Scene<'_>) {
        self.give_up_sending_again(scene);
        for place in self.flights.places() {
            let flight = *self.flights.get(place);
            if !flight.is_stored() {
                self.conversations.set_uncertain(flight.conversation);
                // History decides the fate of orphans.
                if !flight.orphaned {
                    scene.counters.unknown += 1;
                    self.flights.at(place).judged = true;
                }
            } else if self.is_lost(scene, place) {
                self.flights.at(place).judged = true;
            }
            // History must hold the messages for which only gone devices wait.
        }
    }

    /// Counts a stored message as lost if a device with an open session never got it. Returns
    /// whether one did not.
    fn is_lost(&self, scene: &mut Scene<'_>, place: u32) -> bool {
        let waiting: Vec<u32> = self.waiting(scene, place).collect();
        if waiting.is_empty() {
            return false;
        }
        scene.counters.lost += 1;
        let roster = scene.roster;
        let flight = *self.flights.get(place);
        // The evidence shows the first device that missed the message, and one that received it.
        let others = (0..roster
            .size(flight.conversation)
            .min(super::super::WITNESSES))
            .map(|nth| roster.member(flight.conversation, nth))
            .filter(|user| *user != roster.user(flight.stream))
            .map(|user| roster.devices(user).start);
        let witness =
            { others }.find(|device| scene.sessions.is_open(*device) && !waiting.contains(device));
        let devices: Vec<_> = waiting.iter().take(1).copied().chain(witness).collect();
        // The loss is found out at the end, long after it happened.
        let about = |event: &Event| {
            event.counter.abs_diff(flight.counter) <= NEIGHBOURS
                && (event.kind != EventKind::Pushed || devices.contains(&event.device))
        };
        scene.violation_about(Violation::Lost, flight.conversation, about, || {
            let named = waiting.iter().take(NAMED);
            let mut names: Vec<_> = named.map(|device| roster.device_name(*device)).collect();
            if waiting.len() > NAMED {
                names.push("…".into());
            }
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
        });
        true
    }

    /// Looks for sequences that no message has.
    pub(in crate::check) fn expect_no_missing_sequences(&self, scene: &mut Scene<'_>) {
        for conversation in 0..self.conversations.len() {
            if let Some(seq) = self.conversations.missing(conversation) {
                scene.violation(Violation::SequenceMissing, Some(conversation), || {
                    format!("no message has sequence {seq}")
                });
            }
        }
    }

    /// Judges the remaining messages after history was read: those that were not found anywhere.
    pub(in crate::check) fn finish(&mut self, scene: &mut Scene<'_>) {
        for place in self.flights.places() {
            let flight = *self.flights.get(place);
            let told = flight.judged || self.is_last_word_on_orphan(scene, place);
            self.remove(scene, place);
            if told {
                continue;
            }
            if !self.conversations.is_read(flight.conversation) {
                // History could not be looked at: nothing is proven.
                scene.counters.unproven += 1;
                continue;
            }
            scene.counters.lost += 1;
            scene.violation(Violation::Lost, Some(flight.conversation), || {
                format!(
                    "message {} is in no push and not in history",
                    flight.counter
                )
            });
        }
    }

    /// Counts a message that was an orphan to the end as unknown or lost. Returns whether it was
    /// one of these.
    fn is_last_word_on_orphan(&self, scene: &mut Scene<'_>, place: u32) -> bool {
        let flight = *self.flights.get(place);
        if flight.ack_seq != 0 || !flight.orphaned {
            return false;
        }
        if flight.is_in_doubt() {
            scene.counters.unknown += 1;
            scene.counters.unknown_excused += u64::from(flight.by_run);
            return true;
        }
        self.is_lost(scene, place)
    }
}
