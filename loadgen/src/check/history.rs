//! Reading conversations back and comparing.

use trunkline_proto::message::HistoryReply;

use super::evidence::{Kind, What};
use super::{Checker, NOBODY};
use crate::clock::Nanos;
use crate::schedule::mix;
use crate::schedule::text::Origin;

/// A conversation being read back, page by page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// Which.
    pub(crate) conversation: u32,
    /// The next page is behind this sequence.
    pub(crate) after: u64,
    pub(super) digest: u64,
    /// The last message of each of its two streams.
    counters: [u32; 2],
}

/// A number for "this message has this sequence"; XORed over a conversation it says which
/// message is where, whatever the order it was learned in.
pub(super) fn digest(stream: u32, counter: u32, seq: u32) -> u64 {
    mix(mix(u64::from(stream) << 32 | u64::from(counter)) ^ u64::from(seq))
}

impl Reading {
    /// A conversation from its beginning.
    pub(crate) fn new(conversation: u32) -> Self {
        Self {
            conversation,
            after: 0,
            digest: 0,
            counters: [0; 2],
        }
    }
}

impl Checker {
    /// Whether anything was sent in a conversation.
    pub(crate) fn has_messages(&self, conversation: u32) -> bool {
        if let Some(group) = self.group_of(conversation) {
            return self.has_group_messages(group);
        }
        let streams = self.part.conversation_streams(conversation);
        streams
            .iter()
            .any(|&stream| self.flights.sent(stream) > self.flights.refused(stream))
    }

    /// Compares a page; whether there are more.
    pub(crate) fn read_back(
        &mut self,
        now: Nanos,
        reading: &mut Reading,
        page: &HistoryReply<'_>,
    ) -> bool {
        if let Some(group) = self.group_of(reading.conversation) {
            return self.read_group_back(now, group, reading, page);
        }
        let before = reading.after;
        for message in &page.messages {
            self.counters.messages_read += 1;
            let text = message.text.as_deref().unwrap_or_default();
            let stream = self.part.conversation_streams(reading.conversation)[0];
            if message.seq != reading.after + 1 {
                let after = reading.after;
                self.violation(now, Kind::HistoryMissing, Some(stream), || {
                    format!("history goes from sequence {after} to {}", message.seq)
                });
            }
            reading.after = message.seq;
            match self.texts.origin(&self.part, text) {
                Some(origin) => {
                    self.compare(now, reading, origin, message.seq as u32);
                    self.expect_conversation(now, origin.stream, &message.conversation);
                    self.is_as_sent(now, origin, message, Kind::HistoryDiffers);
                }
                None => self.violation(now, Kind::HistoryDiffers, Some(stream), || {
                    format!(
                        "sequence {} of history is a message nobody sent",
                        message.seq
                    )
                }),
            }
        }
        // A page that does not lead on would be asked for again without end.
        reading.after > before && reading.after < page.last
    }

    fn compare(&mut self, now: Nanos, reading: &mut Reading, origin: Origin, seq: u32) {
        let streams = self.part.conversation_streams(reading.conversation);
        self.remember(
            now,
            What::History,
            origin.stream,
            origin.counter,
            seq,
            NOBODY,
        );
        let Some(side) = streams.iter().position(|&stream| stream == origin.stream) else {
            return self.violation(now, Kind::HistoryDiffers, Some(streams[0]), || {
                format!("sequence {seq} of history is another conversation's")
            });
        };
        if origin.counter <= reading.counters[side] {
            self.violation(now, Kind::HistoryDiffers, Some(origin.stream), || {
                format!(
                    "history has message {} a second time, or late",
                    origin.counter
                )
            });
        }
        reading.counters[side] = origin.counter;
        reading.digest ^= digest(origin.stream, origin.counter, seq);
        let Some(place) = self.flights.find(origin.stream, origin.counter) else {
            return;
        };
        if self.found_in_history(now, place, seq) {
            return;
        }
        let flight = self.flights.at(place);
        if flight.awaiting != 0 {
            // Its device was gone, or its answer never came: history is where they would find it.
            flight.awaiting = 0;
            let lost = flight.judged && (flight.ack_seq != 0 || flight.adrift);
            flight.judged = true;
            self.counters.recovered += u64::from(!lost);
        }
        self.land(place);
    }

    /// A conversation has been read to its end.
    pub(crate) fn read_whole(&mut self, now: Nanos, reading: &Reading) {
        if let Some(group) = self.group_of(reading.conversation) {
            return self.read_group_whole(now, group, reading);
        }
        self.counters.conversations_read += 1;
        self.read[reading.conversation as usize] = true;
        // A message without an answer may be there or not: what is there has been noted as if it
        // had been answered so.
        if self.digests[reading.conversation as usize] != reading.digest {
            let stream = self.part.conversation_streams(reading.conversation)[0];
            self.violation(now, Kind::HistoryMissing, Some(stream), || {
                "history does not hold exactly what was acknowledged".into()
            });
        }
    }

    /// Nobody was there to read a conversation, or to answer.
    pub(crate) fn not_read(&mut self) {
        self.counters.conversations_unread += 1;
    }

    /// The gateway does not know a conversation. Where nothing is known to be stored in it, since the
    /// session of whoever wrote there broke before the answer, that is as good as an empty page.
    pub(crate) fn not_known(&mut self, now: Nanos, reading: &Reading, why: &str) {
        let conversation = reading.conversation as usize;
        let may_be_empty = self.group_of(reading.conversation).is_none()
            && reading.after == 0
            && self.sequences[conversation].max() == 0;
        match may_be_empty {
            true => self.read_whole(now, reading),
            false => self.not_readable(now, reading, why),
        }
    }

    /// The gateway refused to show a conversation.
    pub(crate) fn not_readable(&mut self, now: Nanos, reading: &Reading, why: &str) {
        if let Some(group) = self.group_of(reading.conversation) {
            return self.group_not_readable(now, group, why);
        }
        let stream = self.part.conversation_streams(reading.conversation)[0];
        self.violation(now, Kind::HistoryMissing, Some(stream), || {
            format!("history cannot be read: {why}")
        });
    }
}
