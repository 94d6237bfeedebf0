//! What the sequencer knows of conversations: a function of the log.
//!
//! A command is decided against this state, and the record it becomes is applied to it; at
//! start the log's records are applied again. Both go through the same methods.

use std::collections::HashMap;

use trunkline_storage::{IdBuildHasher, Position, Record, TimelineId};

use super::command::Side;
use super::idempotency::{KeyHasher, Keys, Window};
use crate::event::{Body, Kind};
use trunkline_proto::names::Conversation as Name;

#[derive(Debug)]
pub(crate) struct State {
    conversations: HashMap<TimelineId, Conversation, IdBuildHasher>,
    pub(super) keys: Keys,
}

/// A 1:1 conversation.
#[derive(Debug, Default)]
struct Conversation {
    last_seq: u64,
    /// By [`Side`].
    marks: [Marks; 2],
}

/// How far a member has come; both cumulative, `read` never beyond `delivered`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) delivered: u64,
    pub(crate) read: u64,
}

/// What an acknowledgement comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acked {
    UnknownConversation,
    /// The watermarks were there already.
    Unchanged,
    Moved(Marks),
}

impl State {
    pub(crate) fn new(window: Window) -> Self {
        Self {
            conversations: HashMap::default(),
            keys: Keys::new(window),
        }
    }

    pub(crate) fn conversations(&self) -> usize {
        self.conversations.len()
    }

    /// Takes the next sequence of a conversation. A sequence taken is never given again, whether
    /// or not its record becomes durable.
    pub(crate) fn next_seq(&mut self, conversation: TimelineId) -> u64 {
        let conversation = self.conversations.entry(conversation).or_default();
        conversation.last_seq += 1;
        conversation.last_seq
    }

    /// Moves watermarks forward, never beyond the last message and never back.
    pub(crate) fn ack(
        &mut self,
        conversation: TimelineId,
        side: Side,
        delivered: u64,
        read: u64,
    ) -> Acked {
        let Some(conversation) = self.conversations.get_mut(&conversation) else {
            return Acked::UnknownConversation;
        };
        let last = conversation.last_seq;
        let marks = &mut conversation.marks[side as usize];
        let read = read.min(last).max(marks.read);
        let delivered = delivered.min(last).max(marks.delivered).max(read);
        let moved = Marks { delivered, read };
        if *marks == moved {
            return Acked::Unchanged;
        }
        *marks = moved;
        Acked::Moved(moved)
    }

    /// Applies a record of the log at start. Records of later versions are passed over.
    pub(crate) fn replay(&mut self, hasher: &KeyHasher, record: &Record<'_>) {
        let (Some(kind), Some(body)) = (Kind::of(record), Body::read(record.body)) else {
            return;
        };
        match kind {
            Kind::Message => {
                let conversation = self.conversations.entry(record.timeline).or_default();
                conversation.last_seq = conversation.last_seq.max(record.seq);
                if let Some(key) = body.key {
                    let key = hasher.id(body.namespace, body.user, key);
                    self.keys.insert(key, record.position, record.time);
                }
            }
            Kind::Receipt => {
                if let Some(side) = side_of(body.conversation, body.user) {
                    self.ack(record.timeline, side, body.delivered, body.read);
                }
            }
        }
    }

    pub(crate) fn remember_key(&mut self, key: TimelineId, position: Position, time: u64) {
        self.keys.insert(key, position, time);
    }
}

/// Which side of a 1:1 conversation a user is.
pub(crate) fn side_of(conversation: &str, user: &str) -> Option<Side> {
    match Name::parse(conversation)? {
        Name::Direct(lesser, _) if lesser == user => Some(Side::Lesser),
        Name::Direct(_, greater) if greater == user => Some(Side::Greater),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window {
        life: 1_000,
        keys: 100,
    };

    #[test]
    fn watermarks_only_advance_and_stay_within_the_conversation() {
        let mut state = State::new(WINDOW);
        let id = TimelineId(1);
        assert_eq!(
            state.ack(id, Side::Lesser, 1, 0),
            Acked::UnknownConversation
        );
        for seq in 1..=5 {
            assert_eq!(state.next_seq(id), seq);
        }
        let mut check = |delivered, read, expect: Option<(u64, u64)>| {
            let expect = expect.map_or(Acked::Unchanged, |(delivered, read)| {
                Acked::Moved(Marks { delivered, read })
            });
            assert_eq!(state.ack(id, Side::Greater, delivered, read), expect);
        };
        check(2, 0, Some((2, 0)));
        check(1, 0, None);
        check(0, 3, Some((3, 3)));
        check(99, 0, Some((5, 3)));
        check(99, 99, Some((5, 5)));
        check(0, 0, None);
        assert_eq!(
            state.ack(id, Side::Lesser, 1, 1),
            Acked::Moved(Marks {
                delivered: 1,
                read: 1
            })
        );
    }

    #[test]
    fn sides() {
        assert_eq!(side_of("u:alice:bob", "alice"), Some(Side::Lesser));
        assert_eq!(side_of("u:alice:bob", "bob"), Some(Side::Greater));
        assert_eq!(side_of("u:alice:bob", "carol"), None);
        assert_eq!(side_of("u:alice:alice", "alice"), Some(Side::Lesser));
        assert_eq!(side_of("g:alice", "alice"), None);
    }
}
