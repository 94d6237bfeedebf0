//! The effect of an answer to a send: the message has a sequence, it was refused, or neither is known.

use trunkline_proto::message::SendReply;

use super::super::evidence::{EventKind, Violation};
use super::super::origin::Origin;
use super::super::scene::{NOBODY, Scene};
use super::Ledger;
use crate::clock::Nanos;

/// The most messages that are known to be late. With more, any message may be.
const LATE_MAX: usize = 1 << 20;

impl Ledger {
    /// Returns whether a message may stand in history behind later ones of its sender: it was sent again
    /// when those were on their way.
    pub(in crate::check) fn may_be_late(&self, origin: Origin) -> bool {
        self.late.len() == LATE_MAX || self.late.contains(&(origin.conversation, origin.counter))
    }

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

    /// Handles an answer that leaves open whether a send was stored. A send with a key can be sent again;
    /// of another one, pushes and history tell. `by_run`: the run itself broke the gateway.
    pub(in crate::check) fn unsure(&mut self, scene: &mut Scene<'_>, id: u32, by_run: bool) {
        let Some(place) = self.flights.by_id(id) else {
            return scene.violation(Violation::ReplyUnexpected, None, || {
                format!("an error for send {id}, which is not under way")
            });
        };
        let flight = *self.flights.get(place);
        if flight.ack_seq != 0 {
            return scene.violation(
                Violation::ReplyUnexpected,
                Some(flight.conversation),
                || format!("send {id} was acknowledged and then answered as unknown"),
            );
        }
        scene.counters.unsure += 1;
        if flight.keyed && self.late.len() < LATE_MAX {
            self.late.insert((flight.conversation, flight.counter));
        }
        if !flight.judged {
            let flight = self.flights.at(place);
            flight.orphaned = true;
            flight.by_run |= by_run;
            self.land(scene, place);
        }
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
