//! The fields of the index.

use std::collections::BTreeSet;

use tantivy::schema::{BytesOptions, FAST, Field, INDEXED, Schema};
use tantivy::{TantivyDocument, Term};
use trunkline_core::search::words_of;
use trunkline_core::store::{Position, TimelineId};

/// The version of the fields and of the words. An index of another version is made anew.
pub(crate) const VERSION: u32 = 1;

/// The milliseconds of which all messages expire together.
const DAY: u64 = 86_400_000;

/// The bytes of a conversation's id in the index. Two conversations with the same bytes are told apart when a
/// hit is read from the store.
const CONVERSATION: usize = 8;

/// The fields of the index.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub(crate) schema: Schema,
    /// A conversation and a word in it: several in each message.
    pub(crate) word: Field,
    /// The conversation and the sequence: by it a message is removed.
    message: Field,
    /// The day of the message's record: by it messages expire.
    pub(crate) day: Field,
    place: Field,
    seq: Field,
}

/// The name of the field with the positions of messages.
pub(crate) const PLACE: &str = "place";

/// The name of the field with the sequences of messages.
pub(crate) const SEQ: &str = "seq";

/// A message as the log has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) conversation: TimelineId,
    pub(crate) seq: u64,
    pub(crate) position: Position,
    /// The time of the record, in milliseconds since 1970 UTC.
    pub(crate) time: u64,
    pub(crate) text: &'a str,
}

impl Form {
    pub(crate) fn new() -> Self {
        let mut schema = Schema::builder();
        let bytes = || BytesOptions::default().set_indexed();
        let word = schema.add_bytes_field("word", bytes());
        let message = schema.add_bytes_field("message", bytes());
        let day = schema.add_u64_field("day", INDEXED);
        let place = schema.add_u64_field(PLACE, FAST);
        let seq = schema.add_u64_field(SEQ, FAST);
        Self {
            schema: schema.build(),
            word,
            message,
            day,
            place,
            seq,
        }
    }

    /// Returns the entry of a message; `None` if its text has no words.
    pub(crate) fn document(&self, entry: &Entry<'_>) -> Option<TantivyDocument> {
        let words: BTreeSet<String> = words_of(entry.text);
        if words.is_empty() {
            return None;
        }
        let mut document = TantivyDocument::default();
        let mut key = Vec::new();
        for word in &words {
            set_word(&mut key, entry.conversation, word);
            document.add_bytes(self.word, &key);
        }
        document.add_bytes(self.message, &message(entry.conversation, entry.seq));
        document.add_u64(self.day, entry.time / DAY);
        document.add_u64(self.place, entry.position.0);
        document.add_u64(self.seq, entry.seq);
        Some(document)
    }

    /// Returns the term of a word in a conversation.
    pub(crate) fn word(&self, conversation: TimelineId, word: &str) -> Term {
        let mut key = Vec::new();
        set_word(&mut key, conversation, word);
        Term::from_field_bytes(self.word, &key)
    }

    /// Returns the term of one message.
    pub(crate) fn message(&self, conversation: TimelineId, seq: u64) -> Term {
        Term::from_field_bytes(self.message, &message(conversation, seq))
    }

    /// Returns the term of the messages of a day.
    pub(crate) fn day(&self, day: u64) -> Term {
        Term::from_field_u64(self.day, day)
    }
}

/// Returns the word of a key of the field `word`.
pub(crate) fn word_of(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(CONVERSATION..)?).ok()
}

/// Returns the day of a key of the field `day`.
pub(crate) fn day_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

/// Returns the first day of which messages may be kept that live for `life` milliseconds. What was stored
/// on an earlier day has expired.
pub(crate) const fn first_day(now: u64, life: u64) -> u64 {
    now.saturating_sub(life) / DAY
}

fn of(conversation: TimelineId) -> [u8; CONVERSATION] {
    (conversation.0 as u64).to_be_bytes()
}

fn set_word(key: &mut Vec<u8>, conversation: TimelineId, word: &str) {
    key.clear();
    key.extend_from_slice(&of(conversation));
    key.extend_from_slice(word.as_bytes());
}

fn message(conversation: TimelineId, seq: u64) -> [u8; CONVERSATION + 8] {
    let mut key = [0; CONVERSATION + 8];
    key[..CONVERSATION].copy_from_slice(&of(conversation));
    key[CONVERSATION..].copy_from_slice(&seq.to_be_bytes());
    key
}
