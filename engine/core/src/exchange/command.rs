//! What is asked of the sequencer, and what becomes of it.

use std::ops::Range;
use std::sync::Arc;

use trunkline_storage::{Batch, Position, TimelineId};

use super::{Outcome, ReplyTo};
use crate::event::BodyNames;
use crate::ids::{Side, UserId};

/// Names a connection of a shard, also after it is gone: slots are used again, generations not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnRef {
    /// The connection's place in the shard's table.
    pub slot: u32,
    /// How often the shard had given a place away before.
    pub generation: u32,
}

/// The commands of one turn of a shard's loop, or one command of another caller, in the order they
/// arrived.
#[derive(Debug, Default)]
pub struct CommandBatch {
    /// The commands.
    pub commands: Vec<Command>,
    /// The record bodies of the commands, one behind another.
    pub bodies: Vec<u8>,
    /// How far devices have come, by the keys that is kept under.
    pub positions: Vec<(TimelineId, Position)>,
}

/// A command that changes what is stored.
#[derive(Debug)]
pub struct Command {
    /// To whom the answer goes.
    pub reply_to: ReplyTo,
    /// Who asks.
    pub user: UserId,
    /// The conversation that it is about; for contacts, the list of them.
    pub conversation: TimelineId,
    /// Who takes part in the conversation.
    pub members: Members,
    /// The record's body, in [`CommandBatch::bodies`]; the sequencer adds what it decides.
    pub body: Range<usize>,
    /// Where in the body the names are that the command is decided by.
    pub names: BodyNames,
    /// What is to be done.
    pub action: Action,
}

/// Who takes part in the conversation of a command.
#[derive(Debug, Clone, Copy)]
pub enum Members {
    /// The caller and another user, the same for notes to oneself.
    Direct {
        /// The other user.
        other: UserId,
        /// Which of the two the caller is.
        side: Side,
    },
    /// Those of a group: the sequencer knows them.
    Group,
}

/// What a command does.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    /// Adds a message to the conversation.
    Send {
        /// What makes this the same as an earlier send.
        key: Option<TimelineId>,
    },
    /// Moves the caller's marks. The body lacks the marks: the sequencer adds those that come into
    /// force.
    Ack {
        /// The last message that was delivered; 0: says nothing of that.
        delivered: u64,
        /// The last message that was read; 0: says nothing of that.
        read: u64,
    },
    /// Takes a message back, for everybody.
    Recall {
        /// The sequence of the message.
        seq: u64,
    },
    /// Takes a message out of the caller's own view.
    Delete {
        /// The sequence of the message.
        seq: u64,
    },
    /// Reacts to a message with what the body says.
    React {
        /// The sequence of the message.
        seq: u64,
        /// Takes the reaction back.
        remove: bool,
    },
    /// Changes a group. The body names the users, and the group.
    Group(Change),
    /// Changes the caller's contacts. The body names the users: first those to add, then those to
    /// remove.
    Contacts {
        /// The number of users to add.
        added: usize,
        /// Watches the contacts from now on.
        watch: bool,
    },
}

/// What becomes of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is made.
    Create {
        /// New members can read what was said before they came.
        all_history: bool,
    },
    /// Members are added.
    Add,
    /// Members are removed.
    Remove,
    /// The caller leaves.
    Leave,
    /// It gets another name.
    Rename,
}

/// A committed batch as one shard sees it.
#[derive(Debug)]
pub struct Committed {
    /// The records.
    pub batch: Arc<Batch>,
    /// What the shard has to do about them.
    pub items: Items,
    /// How far clients' time was ahead of that of the records, modulo 2^64.
    pub ahead: u64,
}

/// What a shard has to do about a batch.
#[derive(Debug, Default)]
pub struct Items {
    /// In the order of the log.
    pub list: Vec<Item>,
    /// The users of all [`Item::Spread`], those of one event behind those of another.
    pub users: Vec<UserId>,
}

impl Items {
    /// Most items of which the memory is kept to be filled again.
    pub const KEPT: usize = 4_096;
    /// Most users of which the memory is kept to be filled again.
    pub const KEPT_USERS: usize = 16_384;

    /// Returns whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds a user to those who get the record of a group at `position`.
    pub fn spread(&mut self, user: UserId, position: Position) {
        let end = self.users.len() + 1;
        self.users.push(user);
        match self.list.last_mut() {
            Some(Item::Spread {
                users,
                position: of,
            }) if *of == position => users.end = end,
            _ => self.list.push(Item::Spread {
                users: end - 1..end,
                position,
            }),
        }
    }

    /// The memory in use.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.list) + size_of_val(&*self.users)
    }

    /// Empties the lists; whether their memory is worth keeping.
    pub fn recycle(&mut self) -> bool {
        self.list.clear();
        self.users.clear();
        self.list.capacity() <= Self::KEPT && self.users.capacity() <= Self::KEPT_USERS
    }
}

/// One thing that a shard has to do about a batch.
#[derive(Debug)]
pub enum Item {
    /// Answer a command of this shard; other connections of its user that this shard holds get
    /// the push.
    Reply {
        /// The connection that asked.
        conn: ConnRef,
        /// The client's id for the command.
        id: u32,
        /// The user who asked.
        user: UserId,
        /// What became of the command.
        outcome: Outcome,
    },
    /// Push a record to the connections of a user.
    Deliver {
        /// The user.
        user: UserId,
        /// The record's position.
        position: Position,
    },
    /// Push a part of a record to the connections of a user, but for the one that said so.
    Part {
        /// The user.
        user: UserId,
        /// The record's position.
        position: Position,
        /// The number of the part, from 0.
        part: usize,
        /// The connection that is not told.
        except: Option<ConnRef>,
    },
    /// Push a record to the connections of many users: an id takes a sixth of an item.
    Spread {
        /// The users, as a part of [`Items::users`].
        users: Range<usize>,
        /// The record's position.
        position: Position,
    },
}
