//! What becomes of a send in a group: its sequence, or a refusal.

use trunkline_proto::message::SendReply;

use super::super::evidence::{Kind, What};
use super::super::{Checker, NOBODY};
use super::flights::Flight;
use crate::clock::Nanos;
use crate::schedule::text::GroupOrigin;

impl Flight {
    /// Which message it is.
    pub(super) fn origin(&self) -> GroupOrigin {
        GroupOrigin::new(self.group, self.user, self.counter, self.intended)
    }
}

impl Checker {
    /// The gateway acknowledged a send in a group; the intended time of it, where it is one of ours.
    pub(in crate::check) fn acknowledged_in_group(
        &mut self,
        now: Nanos,
        id: u32,
        reply: &SendReply<'_>,
    ) -> Option<Nanos> {
        let Some(place) = self.groups.flights.by_id(id) else {
            self.violation(now, Kind::ReplyUnexpected, None, || {
                format!("a reply to send {id} in a group, which is not under way")
            });
            return None;
        };
        let flight = *self.groups.flights.at(place);
        let about = (flight.group, &[][..]);
        let seq = u32::try_from(reply.seq).ok().filter(|seq| *seq != 0);
        let Some(seq) = seq else {
            self.group_violation(now, Kind::SequenceDiffers, about, || {
                format!("sequence {} is none that a run can have", reply.seq)
            });
            return None;
        };
        if flight.ack_seq != 0 {
            self.group_violation(now, Kind::ReplyUnexpected, about, || {
                format!("send {id} was answered twice")
            });
            return None;
        }
        if reply.duplicate && flight.resent {
            self.counters.duplicates_answered += 1;
        } else if reply.duplicate {
            self.group_violation(now, Kind::ReplyUnexpected, about, || {
                format!("send {id} was answered as a duplicate, and was sent once")
            });
        }
        self.expect_group(now, flight.group, &reply.conversation);
        self.sequence_in_group(now, place, seq);
        self.groups.flights.at(place).ack_seq = seq;
        if flight.judged {
            // Too late for a verdict on it, but answered after all.
            self.counters.unknown -= 1;
        }
        self.counters.acknowledged += 1;
        self.note_group_digest(place, seq);
        self.remember_in_group(now, What::Acknowledged, flight.origin(), seq, NOBODY);
        self.land_in_group(place);
        Some(flight.intended)
    }

    /// The gateway refused a send in a group.
    pub(in crate::check) fn refused_in_group(&mut self, now: Nanos, id: u32) {
        let Some(place) = self.groups.flights.by_id(id) else {
            return self.violation(now, Kind::ReplyUnexpected, None, || {
                format!("an error for send {id} in a group, which is not under way")
            });
        };
        let flight = *self.groups.flights.at(place);
        let about = (flight.group, &[][..]);
        if flight.ack_seq != 0 {
            return self.group_violation(now, Kind::ReplyUnexpected, about, || {
                format!("send {id} was acknowledged and then refused")
            });
        }
        if flight.resent {
            // Its first sending may have been stored: what tells is the same as for one without
            // a key.
            let flight = self.groups.flights.at(place);
            (flight.adrift, flight.keyed) = (true, false);
            self.counters.command_errors += 1;
            return self.land_in_group(place);
        }
        if flight.judged {
            self.counters.unknown -= 1;
        }
        self.counters.rejected += 1;
        self.groups.states[flight.group as usize].refused += 1;
        self.remember_in_group(now, What::Refused, flight.origin(), 0, NOBODY);
        if flight.push_seq != 0 {
            self.counters.unexpected += 1;
            self.group_violation(now, Kind::Unexpected, about, || {
                "a refused message was pushed".into()
            });
        }
        self.groups.flights.remove(place);
    }

    /// Notes the sequence of a message, from its acknowledgement or a push.
    pub(super) fn sequence_in_group(&mut self, now: Nanos, place: u32, seq: u32) {
        let flight = *self.groups.flights.at(place);
        let about = (flight.group, &[][..]);
        let known = [flight.ack_seq, flight.push_seq];
        // Where the two differ that has been said, and need not be said for each device.
        if known.contains(&seq) && seq != 0 {
            return;
        }
        let sequences = &mut self.groups.states[flight.group as usize].sequences;
        let is_new = sequences.insert(seq);
        if known != [0, 0] {
            let [answered, pushed] = known;
            self.group_violation(now, Kind::SequenceDiffers, about, || {
                format!("sequence {seq} here, {} before", answered.max(pushed))
            });
        } else if !is_new {
            self.group_violation(now, Kind::SequenceReused, about, || {
                format!("sequence {seq} is another message's, or 0")
            });
        }
    }

    pub(super) fn expect_group(&mut self, now: Nanos, group: u32, said: &str) {
        if self.groups.members.parse_conversation(said) != Some(group) {
            let mut expected = String::new();
            self.groups.write_conversation(group, &mut expected);
            self.group_violation(now, Kind::WrongConversation, (group, &[]), || {
                format!("conversation {said:?} instead of {expected:?}")
            });
        }
    }

    /// Ends a flight that is known to be stored, by its answer or without one to come, and has
    /// reached everybody.
    pub(super) fn land_in_group(&mut self, place: u32) {
        let flight = *self.groups.flights.at(place);
        let without_answer = flight.adrift && !flight.keyed && flight.push_seq != 0;
        let stored = flight.ack_seq != 0 || without_answer;
        if !stored || flight.awaiting != 0 || flight.lapsed {
            return;
        }
        if flight.ack_seq == 0 && !flight.judged {
            self.counters.unknown_then_delivered += 1;
            self.note_group_digest(place, flight.push_seq);
        }
        self.groups.flights.remove(place);
        if flight.judged {
            return;
        }
        self.counters.to_offline += u64::from(flight.alone);
        match flight.synced {
            true => self.counters.recovered += 1,
            false => self.counters.delivered += 1,
        }
    }
}
