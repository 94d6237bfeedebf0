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
///
/// What a command would change is asked first and changed once its record is in the batch: a
/// record that the store refuses must leave no trace here.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
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

impl Conversation {
    /// The sequence of the next message.
    pub(crate) fn next_seq(&self) -> u64 {
        self.last_seq + 1
    }

    /// The message with this sequence is in the log or on its way there.
    pub(crate) fn stored(&mut self, seq: u64) {
        self.last_seq = self.last_seq.max(seq);
    }

    /// Where an acknowledgement moves a member's watermarks: never back, never beyond the last
    /// message. `None` where they are there already.
    pub(crate) fn acked(&self, side: Side, delivered: u64, read: u64) -> Option<Marks> {
        let marks = self.marks[side as usize];
        let read = read.min(self.last_seq).max(marks.read);
        let delivered = delivered.min(self.last_seq).max(marks.delivered).max(read);
        let moved = Marks { delivered, read };
        (marks != moved).then_some(moved)
    }

    /// The watermarks are in the log or on their way there.
    pub(crate) fn set_marks(&mut self, side: Side, marks: Marks) {
        self.marks[side as usize] = marks;
    }
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

    /// A conversation, made where this is its first message.
    pub(crate) fn conversation(&mut self, id: TimelineId) -> &mut Conversation {
        self.conversations.entry(id).or_default()
    }

    /// Forgets a conversation whose first message was refused.
    pub(crate) fn drop_empty(&mut self, id: TimelineId) {
        if self.existing(id).is_none() {
            self.conversations.remove(&id);
        }
    }

    /// A conversation that holds a message.
    pub(crate) fn existing(&mut self, id: TimelineId) -> Option<&mut Conversation> {
        self.conversations
            .get_mut(&id)
            .filter(|conversation| conversation.last_seq > 0)
    }

    /// Applies a record of the log at start. Records of later versions are passed over.
    pub(crate) fn replay(&mut self, hasher: &KeyHasher, record: &Record<'_>) {
        let (Some(kind), Some(body)) = (Kind::of(record), Body::read(record.body)) else {
            return;
        };
        match kind {
            Kind::Message => {
                self.conversation(record.timeline).stored(record.seq);
                if let Some(key) = body.key {
                    let key = hasher.id(body.namespace, body.user, key);
                    self.keys.insert(key, record.position, record.time);
                }
            }
            Kind::Receipt => {
                if let Some(side) = side_of(body.conversation, body.user) {
                    let marks = Marks {
                        delivered: body.delivered,
                        read: body.read,
                    };
                    self.conversation(record.timeline).set_marks(side, marks);
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
        assert!(state.existing(id).is_none());
        let conversation = state.conversation(id);
        for seq in 1..=5 {
            assert_eq!(conversation.next_seq(), seq);
            assert_eq!(conversation.next_seq(), seq, "asking takes nothing");
            conversation.stored(seq);
        }
        let mut check = |delivered, read, expect: Option<(u64, u64)>| {
            let expect = expect.map(|(delivered, read)| Marks { delivered, read });
            let moved = conversation.acked(Side::Greater, delivered, read);
            assert_eq!(moved, expect, "{delivered} {read}");
            if let Some(marks) = moved {
                conversation.set_marks(Side::Greater, marks);
            }
        };
        check(2, 0, Some((2, 0)));
        check(1, 0, None);
        check(0, 3, Some((3, 3)));
        check(99, 0, Some((5, 3)));
        check(99, 99, Some((5, 5)));
        check(0, 0, None);
        assert_eq!(
            conversation.acked(Side::Lesser, 1, 1),
            Some(Marks {
                delivered: 1,
                read: 1
            })
        );
        assert!(state.existing(id).is_some());
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
