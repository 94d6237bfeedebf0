//! The judge of one thread: every message's story, from sending to the last device and history.
//!
//! Pure: what happened goes in, violations are counted. Memory is bounded by the population
//! (a few words per stream, conversation and device) and by the messages under way, not by the
//! length of the run.

mod adrift;
mod closing;
mod evidence;
mod flights;
mod groups;
mod history;
mod pushes;
mod receipts;
mod sequences;
mod sessions;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use fnv::{FnvHashMap, FnvHashSet};
use trunkline_proto::message::SendReply;

use crate::clock::Nanos;
use crate::membership::Memberships;
use crate::population::{MAX_DEVICES, Part};
use crate::schedule::Arrival;
use crate::schedule::text::{Origin, Texts};
use crate::stats::Counters;

use evidence::{Event, Evidence, What};
use flights::Flights;
use groups::Groups;
use receipts::Receipts;
use sequences::Sequences;
use sessions::Sessions;

pub(crate) use evidence::Kind;
pub(crate) use groups::{GroupDeparture, group_sender};
pub(crate) use history::Reading;
pub(crate) use pushes::Via;
pub(crate) use receipts::Marks;
pub(crate) use sessions::sender;

/// No device.
const NOBODY: u32 = u32::MAX;

/// Checks what one thread's users send and get.
#[derive(Debug)]
pub(crate) struct Checker {
    pub(crate) part: Part,
    pub(crate) texts: Texts,
    flights: Flights,
    /// By conversation, what has a sequence.
    sequences: Vec<Sequences>,
    /// By conversation, a digest of which message has which sequence, over acknowledged ones.
    digests: Vec<u64>,
    /// By device and slot, the last sequence pushed.
    last_pushed: Vec<u32>,
    /// By device and slot, the last sequence fetched with `sync`, where something was.
    synced: FnvHashMap<usize, u32>,
    sessions: Sessions,
    /// By conversation: history has been read to its end.
    read: Vec<bool>,
    /// Conversations with sends that had no answer when the time for answers was over.
    uncertain: FnvHashSet<u32>,
    receipts: Receipts,
    groups: Groups,
    evidence: Evidence,
    pub(crate) counters: Counters,
    text: String,
    name: String,
}

/// A send to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Departure {
    /// The command's id.
    pub(crate) id: u32,
    /// Which message it is.
    pub(crate) origin: Origin,
}

/// What a push means for the client that got it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Landing {
    /// The recipient's own stream of the conversation: where to acknowledge.
    pub(crate) reader: u32,
    /// When the message should have been sent; `None` for one that was not expected.
    pub(crate) intended: Option<Nanos>,
    /// It is a group's: the reader is a membership, counted on from the streams.
    pub(crate) in_group: bool,
}

impl Checker {
    /// A checker for a thread's part, with these groups.
    pub(crate) fn new(part: Part, members: Arc<Memberships>, texts: Texts) -> Self {
        let devices = part.devices() as usize;
        Self {
            flights: Flights::new(part.streams()),
            sequences: (0..part.conversations())
                .map(|_| Sequences::default())
                .collect(),
            digests: vec![0; part.conversations()],
            last_pushed: vec![0; devices * part.slots() as usize],
            synced: FnvHashMap::default(),
            sessions: Sessions::new(devices),
            read: vec![false; part.conversations()],
            uncertain: FnvHashSet::default(),
            receipts: Receipts::new(&part),
            groups: Groups::new(&part, members),
            evidence: Evidence::default(),
            counters: Counters::default(),
            text: String::new(),
            name: String::new(),
            part,
            texts,
        }
    }

    /// Notes the next message of a stream; `None` where too many are under way.
    pub(crate) fn depart(
        &mut self,
        now: Nanos,
        arrival: Arrival,
        intended: Nanos,
        from: u32,
    ) -> Option<Departure> {
        let (user, slot) = self.part.stream_parts(arrival.stream);
        let contact = self.part.contact(user, slot);
        let expected = self.owed_of(contact, NOBODY) | self.owed_of(user, from) << MAX_DEVICES;
        let (id, counter) = self
            .flights
            .push(arrival.stream, intended, expected, arrival.keyed)?;
        self.counters.attempted += 1;
        self.remember(now, What::Sent, arrival.stream, counter, 0, from);
        Some(Departure {
            id,
            origin: Origin::new(arrival.stream, counter, intended),
        })
    }

    fn remember(
        &mut self,
        at: Nanos,
        what: What,
        stream: u32,
        counter: u32,
        seq: u32,
        device: u32,
    ) {
        let conversation = self.part.conversation(stream);
        self.evidence.remember(Event {
            at,
            what,
            conversation,
            stream,
            counter,
            seq,
            device,
        });
    }

    /// Counts a violation.
    fn violation(
        &mut self,
        at: Nanos,
        kind: Kind,
        stream: Option<u32>,
        detail: impl FnOnce() -> String,
    ) {
        let conversation = stream.map(|stream| self.part.conversation(stream));
        self.evidence.violation(at, kind, conversation, detail);
    }

    /// The gateway acknowledged a send; the intended time of it, where it is one of ours.
    pub(crate) fn acknowledged(
        &mut self,
        now: Nanos,
        id: u32,
        reply: &SendReply<'_>,
    ) -> Option<Nanos> {
        self.counters.send_replies += 1;
        if groups::is_in_group(id) {
            return self.acknowledged_in_group(now, id, reply);
        }
        let Some(place) = self.flights.by_id(id) else {
            self.violation(now, Kind::ReplyUnexpected, None, || {
                format!("a reply to send {id}, which is not under way")
            });
            return None;
        };
        let flight = *self.flights.at(place);
        let seq = u32::try_from(reply.seq).ok().filter(|seq| *seq != 0);
        let Some(seq) = seq else {
            self.violation(now, Kind::SequenceDiffers, Some(flight.stream), || {
                format!("sequence {} is none that a run can have", reply.seq)
            });
            return None;
        };
        if flight.ack_seq != 0 {
            self.violation(now, Kind::ReplyUnexpected, Some(flight.stream), || {
                format!("send {id} was answered twice")
            });
            return None;
        }
        if reply.duplicate && flight.resent {
            self.counters.duplicates_answered += 1;
        } else if reply.duplicate {
            self.violation(now, Kind::ReplyUnexpected, Some(flight.stream), || {
                format!("send {id} was answered as a duplicate, and was sent once")
            });
        }
        self.expect_conversation(now, flight.stream, &reply.conversation);
        self.sequence(now, place, seq);
        let flight = self.flights.at(place);
        flight.ack_seq = seq;
        let flight = *flight;
        if flight.judged {
            // Too late for a verdict on it, but answered after all.
            self.counters.unknown -= 1;
        }
        self.counters.acknowledged += 1;
        self.note_digest(place, seq);
        self.remember(
            now,
            What::Acknowledged,
            flight.stream,
            flight.counter,
            seq,
            NOBODY,
        );
        self.land(place);
        Some(flight.intended)
    }

    /// The gateway refused a send, or a send of ours could not reach it.
    pub(crate) fn refused(&mut self, now: Nanos, id: u32) {
        if groups::is_in_group(id) {
            return self.refused_in_group(now, id);
        }
        let Some(place) = self.flights.by_id(id) else {
            return self.violation(now, Kind::ReplyUnexpected, None, || {
                format!("an error for send {id}, which is not under way")
            });
        };
        let flight = *self.flights.at(place);
        if flight.ack_seq != 0 {
            return self.violation(now, Kind::ReplyUnexpected, Some(flight.stream), || {
                format!("send {id} was acknowledged and then refused")
            });
        }
        if flight.resent {
            // Its first sending may have been stored: what tells is the same as for one without
            // a key.
            let flight = self.flights.at(place);
            (flight.adrift, flight.keyed) = (true, false);
            self.counters.command_errors += 1;
            return self.land(place);
        }
        if flight.judged {
            self.counters.unknown -= 1;
        }
        self.counters.rejected += 1;
        self.flights.note_refused(flight.stream);
        self.remember(now, What::Refused, flight.stream, flight.counter, 0, NOBODY);
        if flight.push_seq != 0 {
            self.counters.unexpected += 1;
            self.violation(now, Kind::Unexpected, Some(flight.stream), || {
                "a refused message was pushed".into()
            });
        }
        self.flights.remove(place);
    }

    /// Notes the sequence of a message, from its acknowledgement or a push.
    fn sequence(&mut self, now: Nanos, place: u32, seq: u32) {
        let flight = *self.flights.at(place);
        let known = flight.ack_seq.max(flight.push_seq);
        if known == seq && seq != 0 {
            return;
        }
        if known != 0 {
            return self.violation(now, Kind::SequenceDiffers, Some(flight.stream), || {
                format!("sequence {seq} here, {known} before")
            });
        }
        let conversation = self.part.conversation(flight.stream) as usize;
        if !self.sequences[conversation].insert(seq) {
            self.violation(now, Kind::SequenceReused, Some(flight.stream), || {
                format!("sequence {seq} is another message's, or 0")
            });
        }
    }

    /// Notes in its conversation's digest which sequence a message has, once.
    fn note_digest(&mut self, place: u32, seq: u32) {
        let flight = self.flights.at(place);
        if !std::mem::replace(&mut flight.digested, true) {
            let digest = history::digest(flight.stream, flight.counter, seq);
            let stream = flight.stream;
            self.digests[self.part.conversation(stream) as usize] ^= digest;
        }
    }

    fn expect_conversation(&mut self, now: Nanos, stream: u32, said: &str) {
        let (user, slot) = self.part.stream_parts(stream);
        self.name.clear();
        self.part
            .write_conversation(user, self.part.contact(user, slot), &mut self.name);
        if self.name != said {
            let expected = self.name.clone();
            self.violation(now, Kind::WrongConversation, Some(stream), || {
                format!("conversation {said:?} instead of {expected:?}")
            });
        }
    }

    /// Ends a flight that is known to be stored, by its answer or without one to come, and has
    /// reached everybody.
    fn land(&mut self, place: u32) {
        let flight = *self.flights.at(place);
        let without_answer = flight.adrift && !flight.keyed && flight.push_seq != 0;
        if (flight.ack_seq == 0 && !without_answer) || flight.awaiting != 0 {
            return;
        }
        if flight.ack_seq == 0 && !flight.judged {
            self.counters.unknown_then_delivered += 1;
            self.note_digest(place, flight.push_seq);
        }
        self.flights.remove(place);
        if flight.judged {
            return;
        }
        if flight.expected & 0xff == 0 {
            self.counters.to_offline += 1;
        }
        match flight.synced {
            true => self.counters.recovered += 1,
            false => self.counters.delivered += 1,
        }
    }

    /// How often each kind of violation happened.
    pub(crate) fn violations(&self) -> &BTreeMap<Kind, u64> {
        self.evidence.counts()
    }

    /// What is known of the violations kept since `told` of them were, in words.
    pub(crate) fn new_findings(&self, told: &mut usize) -> impl Iterator<Item = String> {
        self.evidence.sentences(told)
    }

    /// Writes the kept violations as JSON lines.
    ///
    /// # Errors
    /// The writer fails.
    pub(crate) fn write_evidence(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let name = |conversation, id: &mut String| self.write_conversation(conversation, id);
        self.evidence.write(&self.part, name, out)
    }
}

/// The beginning of a text, for messages.
fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}
