//! The end: what is still under way, judged in two steps, before and after history is read.

use super::evidence::Kind;
use super::{Checker, flights};
use crate::clock::Nanos;
use crate::population::MAX_DEVICES;

impl Checker {
    /// Whether everything that was sent is answered and delivered, receipts included.
    pub(crate) fn settled(&self) -> bool {
        self.flights.len() == 0 && self.receipts.settled(&self.part, &self.open, &self.gone)
    }

    /// Judges what is still under way once nothing more is waited for. What is judged stays in
    /// the table until [`finish`](Self::finish), so that a late answer or push finds it.
    pub(crate) fn close(&mut self, now: Nanos) {
        for place in self.flights.places() {
            let flight = *self.flights.at(place);
            let (user, slot) = self.part.stream_parts(flight.stream);
            let waits = self.waiting_devices(&flight, user, self.part.contact(user, slot));
            if flight.ack_seq == 0 {
                self.counters.unknown += 1;
                self.uncertain = true;
                self.flights.at(place).judged = true;
            } else if waits.iter().any(|&device| self.open[device as usize]) {
                self.counters.lost += 1;
                self.violation(now, Kind::Lost, Some(flight.stream), || {
                    format!(
                        "message {} (sequence {}) was acknowledged and did not reach {} device(s)",
                        flight.counter,
                        flight.ack_seq,
                        waits.len()
                    )
                });
                self.flights.at(place).judged = true;
            }
            // What only gone devices wait for is looked for in history.
        }
        let sessions = (&*self.open, &*self.gone);
        self.receipts
            .close(now, &self.part, sessions, &mut self.evidence);
        if !self.uncertain && !self.gone.contains(&true) {
            self.expect_no_gaps(now);
        }
    }

    fn waiting_devices(&self, flight: &flights::Flight, user: u32, contact: u32) -> Vec<u32> {
        (0..MAX_DEVICES * 2)
            .filter(|bit| flight.awaiting & 1 << bit != 0)
            .map(|bit| {
                let user = if bit < MAX_DEVICES { contact } else { user };
                self.part.first_device(user) + bit % MAX_DEVICES
            })
            .collect()
    }

    fn expect_no_gaps(&mut self, now: Nanos) {
        for conversation in 0..self.sequences.len() {
            if let Some(gap) = self.sequences[conversation].gap() {
                let stream = self.part.conversation_streams(conversation as u32)[0];
                self.violation(now, Kind::SequenceMissing, Some(stream), || {
                    format!("no message has sequence {gap}")
                });
            }
        }
    }

    /// What is left after history was read: not found anywhere.
    pub(crate) fn finish(&mut self, now: Nanos) {
        for place in self.flights.places() {
            let flight = *self.flights.at(place);
            self.flights.remove(place);
            if flight.judged {
                continue;
            }
            let conversation = self.part.conversation(flight.stream) as usize;
            if !self.read[conversation] {
                // Nobody is accused on what could not be looked at.
                self.counters.unproven += 1;
                continue;
            }
            self.counters.lost += 1;
            self.violation(now, Kind::Lost, Some(flight.stream), || {
                format!(
                    "message {} is in no push and not in history",
                    flight.counter
                )
            });
        }
    }
}
