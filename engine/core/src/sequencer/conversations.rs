//! The conversations that the sequencer holds in memory. The store has all of them.
//!
//! The sequencer decides a command against the state of its conversation. The record of the command
//! carries the changes of that state: the index of the timeline has the sequence of a message, and
//! the record of a receipt has the marks. So a start replays nothing, and a conversation that is no
//! longer in memory is loaded again for its next command.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use trunkline_storage::{IdBuildHasher, ReadError, Reader, TimelineId};

use super::batch::COMMIT_COMMANDS;
use super::counts::Sides;
use crate::ids::Side;
use crate::state::{self, Direct, Marks};

/// The minimum number of conversations in memory: each half must hold all that one commit can
/// touch.
pub const MIN_CONVERSATIONS: usize = 2 * COMMIT_COMMANDS;

/// The number of tables of a half. Each table grows on its own, so that growing never takes long.
const TABLES: usize = 256;

type Table = HashMap<TimelineId, Conversation, IdBuildHasher>;

/// One half of the conversations in memory. The memory that it takes follows its length.
struct Half {
    tables: Vec<Table>,
    len: usize,
}

impl Default for Half {
    fn default() -> Self {
        let tables = (0..TABLES).map(|_| Table::default());
        Self {
            tables: tables.collect(),
            len: 0,
        }
    }
}

impl Half {
    /// Returns the number of the table of a conversation. Tables use the low half of the id.
    #[inline]
    const fn number(id: TimelineId) -> usize {
        (id.0 >> 64) as usize % TABLES
    }

    fn remove(&mut self, id: TimelineId) -> Option<Conversation> {
        let conversation = self.tables[Self::number(id)].remove(&id)?;
        self.len -= 1;
        Some(conversation)
    }
}

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
    /// The tables of halves that were dropped. Each new conversation frees one of them: all at once
    /// would take too long.
    dropped: Vec<Table>,
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
        Self {
            store,
            capacity: most.max(MIN_CONVERSATIONS) / 2,
            young: Half::default(),
            old: Half::default(),
            dropped: Vec::new(),
        }
    }

    /// Returns the number of conversations in memory.
    pub(super) fn len(&self) -> usize {
        self.young.len + self.old.len
    }

    /// Drops all conversations from memory, because some have changes of a batch that was given up.
    pub(super) fn forget_all(&mut self) {
        self.young = Half::default();
        self.old = Half::default();
    }

    /// Returns a conversation as the batch under construction leaves it; an empty one if it is new.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn get(&mut self, id: TimelineId) -> Result<&mut Conversation, ReadError> {
        if self.young.len >= self.capacity {
            self.turn();
        }
        let Half { tables, len } = &mut self.young;
        match tables[Half::number(id)].entry(id) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let conversation = match self.old.remove(id) {
                    Some(conversation) => conversation,
                    None => load(&self.store, id)?,
                };
                *len += 1;
                self.dropped.pop();
                Ok(place.insert(conversation))
            }
        }
    }

    /// Lets the younger half replace the older one.
    #[cold]
    fn turn(&mut self) {
        let young = std::mem::take(&mut self.young);
        let old = std::mem::replace(&mut self.old, young);
        // A half holds more conversations than tables, so the earlier tables are freed by now.
        self.dropped = old.tables;
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

    #[test]
    fn memory_follows_the_number_of_conversations() {
        let dir = tempfile::tempdir().unwrap();
        let opened = Store::open(dir.path(), Options::default(), &mut |_| ()).unwrap();
        let mut conversations = Conversations::new(opened.reader, 1_000_000);
        let room = |half: &Half| half.tables.iter().map(HashMap::capacity).sum::<usize>();
        assert_eq!(room(&conversations.young) + room(&conversations.old), 0);
        // Ids are hashes.
        let ids =
            |from: u128, to| (from..to).map(|n| TimelineId((n * 0x9E37_79B9_7F4A_7C15) << 40));
        for id in ids(1, 10_000) {
            conversations.get(id).unwrap();
        }
        let grown = room(&conversations.young);
        assert!((10_000..40_000).contains(&grown), "{grown}");
        conversations.capacity = 10_000;
        for id in ids(10_000, 10_001 + TABLES as u128) {
            conversations.get(id).unwrap();
        }
        assert_eq!(
            room(&conversations.old),
            grown,
            "the younger half is the older one now"
        );
        assert!(
            conversations.dropped.is_empty(),
            "what was the older half is freed"
        );
    }
}
