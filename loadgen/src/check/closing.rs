//! The end: what is still under way, judged in two steps, before and after history is read.

use super::Checker;
use super::evidence::Kind;
use crate::clock::Nanos;

impl Checker {
    /// Whether everything that was sent is answered and delivered, receipts included.
    pub(crate) fn settled(&self) -> bool {
        self.flights.len() == 0
            && self.settled_in_groups()
            && !self.sessions.some_away()
            && self.receipts.settled(&self.part, &self.sessions)
    }

    /// Judges what is still under way once nothing more is waited for. What is judged stays in
    /// the table until [`finish`](Self::finish), so that a late answer or push finds it.
    pub(crate) fn close(&mut self, now: Nanos) {
        self.nobody_comes_back();
        self.nothing_is_sent_again();
        for place in self.flights.places() {
            let flight = *self.flights.at(place);
            let waiting = self.waiting(place);
            let stored = flight.ack_seq != 0 || (flight.adrift && flight.push_seq != 0);
            if !stored {
                self.uncertain.insert(self.part.conversation(flight.stream));
                // History tells what became of what was sent on sessions that broke.
                if !flight.adrift {
                    self.counters.unknown += 1;
                    self.flights.at(place).judged = true;
                }
            } else if waiting > 0 {
                self.counters.lost += 1;
                self.violation(now, Kind::Lost, Some(flight.stream), || {
                    format!(
                        "message {} (sequence {}) was {} and did not reach {waiting} device(s)",
                        flight.counter,
                        flight.ack_seq.max(flight.push_seq),
                        match flight.ack_seq {
                            0 => "pushed to others",
                            _ => "acknowledged",
                        }
                    )
                });
                self.flights.at(place).judged = true;
            }
            // What only gone devices wait for is looked for in history.
        }
        self.close_in_groups(now);
        self.receipts
            .close(now, &self.part, &self.sessions, &mut self.evidence);
        if !self.sessions.some_gone() {
            self.expect_no_gaps(now);
            self.expect_no_gaps_in_groups(now);
        }
    }

    fn expect_no_gaps(&mut self, now: Nanos) {
        for conversation in 0..self.sequences.len() {
            if self.uncertain.contains(&(conversation as u32)) {
                continue;
            }
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
        self.finish_in_groups(now);
        for place in self.flights.places() {
            let flight = *self.flights.at(place);
            let told = flight.judged || self.end_of_adrift(now, place);
            self.flights.remove(place);
            if told {
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
