//! The effect of an answer to a send: the message has a sequence, or it was refused.

use trunkline_proto::message::SendReply;

use super::super::evidence::{EventKind, Violation};
use super::super::scene::{NOBODY, Scene};
use super::Ledger;
use crate::clock::Nanos;

impl Ledger {
    /// Handles the acknowledgement of a send. Returns when the message should have been sent;
    /// `None` if no such answer was due.
    pub(in crate::check) fn acknowledged(
        &mut self,
        scene: &mut Scene<'_>,
        id: u32,
        reply: &SendReply<'_>,
    ) -> Option<Nanos> {
        let Some(place) = self.flights.by_id(id) else {
            scene.violation(Violation::ReplyUnexpected, None, || {
                format!("a reply to send {id}, which is not under way")
            });
            return None;
        };
        let flight = *self.flights.get(place);
        let conversation = Some(flight.conversation);
        let seq = u32::try_from(reply.seq).ok().filter(|seq| *seq != 0);
        let Some(seq) = seq else {
            scene.violation(Violation::SequenceDiffers, conversation, || {
                format!("sequence {} is out of range for a run", reply.seq)
            });
            return None;
        };
        if flight.ack_seq != 0 {
            scene.violation(Violation::ReplyUnexpected, conversation, || {
                format!("send {id} was answered twice")
            });
            return None;
        }
        if reply.duplicate && flight.resent {
            scene.counters.duplicates_answered += 1;
        } else if reply.duplicate {
            scene.violation(Violation::ReplyUnexpected, conversation, || {
                format!("send {id} was answered as a duplicate, and was sent once")
            });
        }
        scene.expect_name(flight.conversation, &reply.conversation);
        self.set_sequence(scene, place, seq);
        self.flights.at(place).ack_seq = seq;
        if flight.judged {
            // The answer came too late for a verdict, but it came.
            scene.counters.unknown -= 1;
        }
        scene.counters.acknowledged += 1;
        self.add_to_digest(place, seq);
        scene.remember(EventKind::Acknowledged, flight.origin(), seq, NOBODY);
        self.land(scene, place);
        Some(flight.intended)
    }

    /// Handles the refusal of a send.
    pub(in crate::check) fn refused(&mut self, scene: &mut Scene<'_>, id: u32) {
        let Some(place) = self.flights.by_id(id) else {
            return scene.violation(Violation::ReplyUnexpected, None, || {
                format!("an error for send {id}, which is not under way")
            });
        };
        let flight = *self.flights.get(place);
        let conversation = Some(flight.conversation);
        if flight.ack_seq != 0 {
            return scene.violation(Violation::ReplyUnexpected, conversation, || {
                format!("send {id} was acknowledged and then refused")
            });
        }
        if flight.resent {
            // The first attempt may have been stored. Pushes and history decide, as for a message
            // without a key.
            let flight = self.flights.at(place);
            (flight.orphaned, flight.keyed) = (true, false);
            scene.counters.command_errors += 1;
            return self.land(scene, place);
        }
        if flight.judged {
            scene.counters.unknown -= 1;
        }
        scene.counters.rejected += 1;
        self.conversations.count_refused(flight.conversation);
        scene.remember(EventKind::Refused, flight.origin(), 0, NOBODY);
        if flight.push_seq != 0 {
            scene.counters.unexpected += 1;
            scene.violation(Violation::Unexpected, conversation, || {
                "a refused message was pushed".into()
            });
        }
        self.remove(scene, place);
    }
}
