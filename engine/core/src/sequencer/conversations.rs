//! The conversations that the sequencer holds in memory. The store has all of them.
//!
//! The sequencer decides a command against the state of its conversation. The record of the command
//! carries the changes of that state: the index of the timeline has the sequence of a message, and
//! the record of a receipt has the marks. So a start replays nothing, and a conversation that is no
//! longer in memory is loaded again for its next command.

use std::collections::HashMap;

use trunkline_storage::{IdBuildHasher, ReadError, Reader, TimelineId};

use super::batch::COMMIT_COMMANDS;
use super::counts::Sides;
use crate::ids::Side;
use crate::state::{self, Direct, Marks};

/// The minimum number of conversations in memory: each half must hold all that one commit can
/// touch.
pub const MIN_CONVERSATIONS: usize = 2 * COMMIT_COMMANDS;

type Half = HashMap<TimelineId, Conversation, IdBuildHasher>;

/// The recently used conversations, in two halves. When the younger half is full, it replaces the
/// older one, which is dropped.
pub(super) struct Conversations {
    store: Reader,
    /// The maximum number of conversations in each half.
    capacity: usize,
    young: Half,
    /// The conversations used before the younger half began. They are dropped when the younger half
    /// is full.
    old: Half,
}

/// The state of one conversation.
///
/// The sequencer first asks what a command would change, and applies the change when the record is
/// in the batch. A record that the store refuses leaves no trace here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Conversation {
    last_seq: u64,
    /// The number of sequences to skip after the last message. A repair may have given up messages
    /// with these sequences.
    skip: u64,
    /// The marks of both members of a 1:1 conversation; empty in a group.
    direct: Direct,
    /// The number of messages of each side of a 1:1 conversation in the current stretch.
    sides: Sides,
}

impl Conversations {
    /// Returns the conversations of a store, with at most `most` of them in memory.
    pub(super) fn new(store: Reader, most: usize) -> Self {
        let capacity = most.max(MIN_CONVERSATIONS) / 2;
        // Both halves get their full room now, because a map that grows later stops all messages
        // meanwhile. The kernel gives memory only for the part in use.
        let half = || HashMap::with_capacity_and_hasher(capacity, IdBuildHasher::default());
        Self {
            store,
            capacity,
            young: half(),
            old: half(),
        }
    }

    /// Returns the number of conversations in memory.
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Drops all conversations from memory, because some have changes of a batch that was given up.
    pub(super) fn forget_all(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    /// Returns a conversation as the batch under construction leaves it; an empty one if it is new.
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

/// Loads a conversation; an empty one if it is new.
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
    // The value of a group has another form, and this decodes to nothing.
    let direct = store.state(id)?.and_then(|value| state::decode(&value));
    Ok(Conversation {
        last_seq,
        skip,
        direct: direct.unwrap_or_default(),
        ..Conversation::default()
    })
}

impl Conversation {
    /// Returns the sequence of the last message; 0 before the first.
    pub(super) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Returns the sequence of the next message.
    pub(super) fn next_seq(&self) -> u64 {
        self.last_seq + self.skip + 1
    }

    /// Notes that the message with this sequence is in the batch or in the log.
    pub(super) fn stored(&mut self, seq: u64) {
        self.last_seq = self.last_seq.max(seq);
        self.skip = 0;
    }

    /// Returns the marks of both members of a 1:1 conversation.
    pub(super) fn direct(&self) -> Direct {
        self.direct
    }

    /// Returns the marks of one member of a 1:1 conversation.
    pub(super) fn marks(&self, side: Side) -> Marks {
        self.direct.marks[side as usize]
    }

    /// Sets the marks of one member of a 1:1 conversation.
    pub(super) fn set_marks(&mut self, side: Side, marks: Marks) {
        self.direct.marks[side as usize] = marks;
    }

    /// Counts a stored message of a 1:1 conversation.
    pub(super) fn wrote(&mut self, seq: u64, side: Side) {
        self.sides.wrote(seq, side);
    }

    /// Returns the number of messages of the stretch before `seq` that `side` wrote, and then that
    /// of the other side; `None` if memory has not counted all of them.
    pub(super) fn counted(&self, seq: u64, side: Side) -> Option<[u16; 2]> {
        self.sides.counted(seq, side)
    }

    /// Takes a message that `side` recalls out of the counts of the current stretch.
    pub(super) fn uncount(&mut self, seq: u64, side: Side) {
        self.sides.recall(seq, self.last_seq, side);
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
