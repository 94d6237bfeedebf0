//! The conversations that the sequencer works on: those of late in memory, all in the store.
//!
//! A command is decided against the state of its conversation, and the record that it becomes
//! carries what it changes: the sequence of a message is in the index of its timeline, watermarks
//! are a state of the store in the very frame of the receipt. So nothing is replayed at start, and
//! a conversation that fell out of memory is loaded again when somebody says something in it.

use std::collections::HashMap;

use trunkline_storage::{IdBuildHasher, ReadError, Reader, TimelineId};

use super::COMMIT_COMMANDS;
use super::command::Side;

/// The cache must hold at least what one commit can touch, in either of its halves.
pub(crate) const MIN_CONVERSATIONS: usize = 2 * COMMIT_COMMANDS;

/// First byte of the state of a 1:1 conversation.
const DIRECT: u8 = 1;

type Half = HashMap<TimelineId, Conversation, IdBuildHasher>;

pub(super) struct Conversations {
    store: Reader,
    /// Of each half.
    capacity: usize,
    young: Half,
    /// What was used before the younger half was begun; dropped when that is full.
    old: Half,
}

/// A 1:1 conversation.
///
/// What a command would change is asked first and changed once its record is in the batch: a
/// record that the store refuses must leave no trace here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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

impl Conversations {
    /// The conversations of a store, at most `most` of them in memory.
    pub(super) fn new(store: Reader, most: usize) -> Self {
        let capacity = most.max(MIN_CONVERSATIONS) / 2;
        // Room for all of them now: growing later would stop everybody's messages meanwhile. The
        // kernel gives memory only for what is used.
        let half = || HashMap::with_capacity_and_hasher(capacity, IdBuildHasher::default());
        Self {
            store,
            capacity,
            young: half(),
            old: half(),
        }
    }

    /// How many are in memory.
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// A conversation as the batch under construction leaves it; an empty one if it is new.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn get(&mut self, id: TimelineId) -> Result<&mut Conversation, ReadError> {
        if !self.young.contains_key(&id) {
            let conversation = match self.old.remove(&id) {
                Some(conversation) => conversation,
                None => load(&self.store, id)?,
            };
            if self.young.len() >= self.capacity {
                std::mem::swap(&mut self.young, &mut self.old);
                self.young.clear();
            }
            return Ok(self.young.entry(id).or_insert(conversation));
        }
        Ok(self.young.entry(id).or_default())
    }
}

fn load(store: &Reader, id: TimelineId) -> Result<Conversation, ReadError> {
    let last_seq = store.try_last_seq(id)?;
    if last_seq == 0 {
        return Ok(Conversation::default());
    }
    let marks = store.state(id)?.and_then(|state| decode(&state));
    Ok(Conversation {
        last_seq,
        marks: marks.unwrap_or_default(),
    })
}

impl Conversation {
    /// Whether there is a message in it.
    pub(super) fn exists(&self) -> bool {
        self.last_seq > 0
    }

    /// The sequence of the next message.
    pub(super) fn next_seq(&self) -> u64 {
        self.last_seq + 1
    }

    /// The message with this sequence is in the log or on its way there.
    pub(super) fn stored(&mut self, seq: u64) {
        self.last_seq = self.last_seq.max(seq);
    }

    /// Where an acknowledgement moves a member's watermarks: never back, never beyond the last
    /// message. `None` where they are there already.
    pub(super) fn acked(&self, side: Side, delivered: u64, read: u64) -> Option<Marks> {
        let marks = self.marks[side as usize];
        let read = read.min(self.last_seq).max(marks.read);
        let delivered = delivered.min(self.last_seq).max(marks.delivered).max(read);
        let moved = Marks { delivered, read };
        (marks != moved).then_some(moved)
    }

    /// The conversation with a member's watermarks there.
    pub(super) fn with_marks(mut self, side: Side, marks: Marks) -> Self {
        self.marks[side as usize] = marks;
        self
    }

    /// What the store keeps of it beside its messages.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(DIRECT);
        for mark in self.marks.iter().flat_map(|m| [m.delivered, m.read]) {
            out.extend_from_slice(&mark.to_le_bytes());
        }
    }
}

/// Reads back what [`Conversation::encode`] wrote; `None` for what another version wrote.
fn decode(state: &[u8]) -> Option<[Marks; 2]> {
    let (&DIRECT, rest) = state.split_first()? else {
        return None;
    };
    let (numbers, []) = rest.as_chunks::<8>() else {
        return None;
    };
    let &[delivered, read, other_delivered, other_read] = numbers else {
        return None;
    };
    let marks = |delivered, read| Marks {
        delivered: u64::from_le_bytes(delivered),
        read: u64::from_le_bytes(read),
    };
    Some([marks(delivered, read), marks(other_delivered, other_read)])
}

#[cfg(test)]
mod tests {
    use trunkline_storage::{Draft, Options, State, Store};

    use super::*;

    #[test]
    fn watermarks_only_advance_and_stay_within_the_conversation() {
        let mut conversation = Conversation::default();
        assert!(!conversation.exists());
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
                conversation = conversation.with_marks(Side::Greater, marks);
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
        let mut state = Vec::new();
        conversation.encode(&mut state);
        assert_eq!(decode(&state), Some(conversation.marks));
        assert_eq!(decode(&state[1..]), None);
        assert_eq!(decode(&[]), None);
    }

    #[test]
    fn what_falls_out_of_memory_is_loaded_again() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            durability: trunkline_storage::Durability::Os,
            ..Options::default()
        };
        let opened = Store::open(dir.path(), options, &mut |_| ()).unwrap();
        let (mut writer, reader) = (opened.writer, opened.reader);
        let mut conversations = Conversations::new(reader, 0);
        let ids = (1..=3 * MIN_CONVERSATIONS as u128).map(TimelineId);
        for id in ids.clone() {
            let conversation = conversations.get(id).unwrap();
            let marks = Marks {
                delivered: 1,
                read: u64::from(id.0 % 2 == 0),
            };
            let seq = conversation.next_seq();
            conversation.stored(seq);
            *conversation = conversation.with_marks(Side::Greater, marks);
            let mut state = Vec::new();
            conversation.encode(&mut state);
            let draft = Draft {
                timeline: id,
                seq,
                states: &[State {
                    key: id,
                    value: &state,
                }],
                ..Draft::default()
            };
            writer.append_next(&draft).unwrap();
            writer.commit().unwrap();
            assert!(conversations.len() <= MIN_CONVERSATIONS);
        }
        for id in ids {
            let conversation = conversations.get(id).unwrap();
            let read = u64::from(id.0 % 2 == 0);
            assert_eq!(
                (conversation.last_seq, conversation.marks[1]),
                (1, Marks { delivered: 1, read })
            );
            assert!(conversations.len() <= MIN_CONVERSATIONS);
        }
    }
}
