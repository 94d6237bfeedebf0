//! The conversations that the sequencer works on: those of late in memory, all in the store.
//!
//! A command is decided against the state of its conversation, and the record that it becomes
//! carries what it changes: the sequence of a message is in the index of its timeline, watermarks
//! are a state of the store in the very frame of the receipt. So nothing is replayed at start, and
//! a conversation that fell out of memory is loaded again when somebody says something in it.

use std::collections::HashMap;

use trunkline_storage::{IdBuildHasher, ReadError, Reader, TimelineId};

use super::COMMIT_COMMANDS;
use super::tallies::Sides;
use crate::state::{self, Direct};

/// The cache must hold at least what one commit can touch, in either of its halves.
pub const MIN_CONVERSATIONS: usize = 2 * COMMIT_COMMANDS;

type Half = HashMap<TimelineId, Conversation, IdBuildHasher>;

pub(super) struct Conversations {
    store: Reader,
    /// Of each half.
    capacity: usize,
    young: Half,
    /// What was used before the younger half was begun; dropped when that is full.
    old: Half,
}

/// A conversation.
///
/// What a command would change is asked first and changed once its record is in the batch: a
/// record that the store refuses must leave no trace here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Conversation {
    last_seq: u64,
    /// Sequences behind it that may have been used by messages which a repair gave up.
    skip: u64,
    /// How far the members of a 1:1 conversation have come; nothing in a group.
    pub(super) direct: Direct,
    /// Who wrote the last messages of a 1:1 conversation.
    pub(super) sides: Sides,
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

    /// Forgets all of them: some are as a batch would have left them that was given up.
    pub(super) fn forget_all(&mut self) {
        self.young.clear();
        self.old.clear();
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
    let skip = match store.losses().skip {
        0 => 0,
        _ => store.next_seq(id)?.saturating_sub(last_seq + 1),
    };
    if last_seq == 0 {
        return Ok(Conversation {
            skip,
            ..Conversation::default()
        });
    }
    // A group's value is of another form, and nothing here.
    let direct = store.state(id)?.and_then(|value| state::decode(&value));
    Ok(Conversation {
        last_seq,
        skip,
        direct: direct.unwrap_or_default(),
        ..Conversation::default()
    })
}

impl Conversation {
    /// The sequence of the last message; 0 before the first.
    pub(super) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// The sequence of the next message.
    pub(super) fn next_seq(&self) -> u64 {
        self.last_seq + self.skip + 1
    }

    /// The message with this sequence is in the log or on its way there.
    pub(super) fn stored(&mut self, seq: u64) {
        self.last_seq = self.last_seq.max(seq);
        self.skip = 0;
    }
}

#[cfg(test)]
mod tests {
    use trunkline_storage::{Draft, Options, StateEntry, Store};

    use super::*;
    use crate::state::Marks;

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
        let marks = |id: TimelineId| Marks {
            delivered: 1,
            read: u64::from(id.0.is_multiple_of(2)),
            ..Marks::default()
        };
        for id in ids.clone() {
            let conversation = conversations.get(id).unwrap();
            let seq = conversation.last_seq() + 1;
            conversation.stored(seq);
            conversation.direct.marks[1] = marks(id);
            let value = state::encode(&conversation.direct);
            let draft = Draft {
                timeline: id,
                seq,
                states: &[StateEntry {
                    key: id,
                    value: &value,
                }],
                ..Draft::default()
            };
            writer.append_next(&draft).unwrap();
            writer.commit().unwrap();
            assert!(conversations.len() <= MIN_CONVERSATIONS);
        }
        for id in ids {
            let conversation = conversations.get(id).unwrap();
            assert_eq!(
                (conversation.last_seq, conversation.direct.marks[1]),
                (1, marks(id))
            );
            assert!(conversations.len() <= MIN_CONVERSATIONS);
        }
    }
}
