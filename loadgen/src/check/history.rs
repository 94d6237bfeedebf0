//! Reading conversations back and comparing them with what was acknowledged.

use fnv::FnvHashMap;
use trunkline_proto::message::{HistoryReply, Message};

use super::conversations::digest;
use super::evidence::{EventKind, Violation};
use super::ledger::Ledger;
use super::origin::{Origin, Recognizer};
use super::scene::{NOBODY, Scene};

/// A conversation that is read back, page by page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// The conversation.
    pub(crate) conversation: u32,
    /// The next page begins after this sequence.
    pub(crate) after: u64,
    /// A digest of the messages read so far.
    digest: u64,
}

impl Reading {
    /// Makes a conversation to be read from its beginning.
    pub(crate) fn new(conversation: u32) -> Self {
        Self {
            conversation,
            after: 0,
            digest: 0,
        }
    }
}

/// The order of messages in the conversations that are being read back.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The number of the last message read, by conversation that is being read, and by stream.
    last_read: FnvHashMap<u32, FnvHashMap<u32, u32>>,
}

impl History {
    /// Compares a page of history with the acknowledged messages. Returns whether there are more
    /// pages.
    pub(super) fn compare(
        &mut self,
        scene: &mut Scene<'_>,
        ledger: &mut Ledger,
        recognizer: &mut Recognizer,
        reading: &mut Reading,
        page: &HistoryReply<'_>,
    ) -> bool {
        let before = reading.after;
        let conversation = reading.conversation;
        if before == 0 {
            self.last_read.remove(&conversation);
        }
        for message in &page.messages {
            scene.counters.messages_read += 1;
            let after = std::mem::replace(&mut reading.after, message.seq);
            if message.seq != after + 1 {
                scene.violation(Violation::HistoryMissing, Some(conversation), || {
                    format!("history goes from sequence {after} to {}", message.seq)
                });
            }
            let text = message.text.as_deref().unwrap_or_default();
            let Some(origin) = recognizer.recognize(scene.roster, text) else {
                scene.violation(Violation::HistoryDiffers, Some(conversation), || {
                    let seq = message.seq;
                    format!("sequence {seq} of history is a message nobody sent")
                });
                continue;
            };
            let may_be_late = ledger.may_be_late(origin);
            if self.is_there(scene, reading, message, (origin, may_be_late)) {
                recognizer.compare(scene, message, Violation::HistoryDiffers);
                ledger.found_in_history(scene, origin, message.seq as u32);
            }
        }
        // A page that does not lead on would be asked for again without end.
        reading.after > before && reading.after < page.last
    }

    /// Judges where a message stands in history, which may be behind later ones of its sender if
    /// `may_be_late`. Returns whether it is one of this conversation.
    fn is_there(
        &mut self,
        scene: &mut Scene<'_>,
        reading: &mut Reading,
        message: &Message<'_>,
        (origin, may_be_late): (Origin, bool),
    ) -> bool {
        let conversation = reading.conversation;
        let seq = message.seq as u32;
        if origin.conversation != conversation {
            scene.violation(Violation::HistoryDiffers, Some(conversation), || {
                format!("sequence {seq} of history is another conversation's")
            });
            return false;
        }
        scene.remember(EventKind::History, origin, seq, NOBODY);
        let streams = self.last_read.entry(conversation).or_default();
        let last = streams.entry(origin.stream).or_default();
        // A second one changes the digest in any case.
        if origin.counter <= *last && !may_be_late {
            scene.violation(Violation::HistoryDiffers, Some(conversation), || {
                let counter = origin.counter;
                format!("history has message {counter} a second time, or late")
            });
        }
        *last = origin.counter.max(*last);
        reading.digest ^= digest(origin, seq);
        true
    }

    /// Judges a conversation that has been read to its end.
    pub(super) fn finish(&mut self, scene: &mut Scene<'_>, ledger: &mut Ledger, reading: &Reading) {
        let conversation = reading.conversation;
        self.last_read.remove(&conversation);
        scene.counters.conversations_read += 1;
        // A message without an answer may be there or not: history's word was taken as its answer.
        let known = { ledger.conversations_mut() }.finish_reading(conversation, reading.digest);
        if !known {
            scene.violation(Violation::HistoryMissing, Some(conversation), || {
                "history does not hold exactly what was acknowledged".into()
            });
        }
    }

    /// Judges the answer that the gateway does not know a conversation. For a pair without a
    /// message known to be stored, this equals an empty page. A group always exists.
    pub(super) fn unknown(
        &mut self,
        scene: &mut Scene<'_>,
        ledger: &mut Ledger,
        reading: &Reading,
        why: &str,
    ) {
        let conversation = reading.conversation;
        let may_be_empty = scene.roster.is_pair(conversation)
            && reading.after == 0
            && !ledger.conversations().has_sequences(conversation);
        match may_be_empty {
            true => self.finish(scene, ledger, reading),
            false => self.unreadable(scene, reading, why),
        }
    }

    /// Judges a refusal to show a conversation.
    pub(super) fn unreadable(&mut self, scene: &mut Scene<'_>, reading: &Reading, why: &str) {
        self.last_read.remove(&reading.conversation);
        scene.violation(
            Violation::HistoryMissing,
            Some(reading.conversation),
            || format!("history cannot be read: {why}"),
        );
    }
}
