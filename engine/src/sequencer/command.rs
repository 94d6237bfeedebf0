//! What shards ask of the sequencer, and what they get back.

use std::ops::Range;
use std::sync::Arc;

use trunkline_proto::ErrorCode;
use trunkline_storage::{Batch, Place, Position, TimelineId};

use crate::ids::UserId;

/// Names a connection of a shard, also after it is gone: slots are used again, generations not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnRef {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// The commands of one turn of a shard's loop, in the order they arrived.
#[derive(Debug, Default)]
pub(crate) struct CommandBatch {
    pub(crate) shard: usize,
    pub(crate) commands: Vec<Command>,
    /// The record bodies of the commands, one behind another.
    pub(crate) bodies: Vec<u8>,
    /// How far devices have come, by the keys that is kept under.
    pub(crate) positions: Vec<(TimelineId, Position)>,
}

#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) conn: ConnRef,
    /// The client's id for the command.
    pub(crate) id: u32,
    /// Who asks.
    pub(crate) user: UserId,
    pub(crate) conversation: TimelineId,
    pub(crate) members: Members,
    /// The record's body, in [`CommandBatch::bodies`]; the sequencer adds what it decides.
    pub(crate) body: Range<usize>,
    pub(crate) what: What,
}

/// Who takes part in the conversation of a command.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Members {
    /// The caller and another user, the same for notes to oneself.
    Direct {
        other: UserId,
        /// Which of the two the caller is.
        side: Side,
    },
    /// Those of a group: the sequencer knows them.
    Group,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum What {
    Send {
        /// What makes this the same as an earlier send.
        key: Option<TimelineId>,
    },
    /// The body lacks the watermarks: the sequencer adds those that come into force.
    Ack { delivered: u64, read: u64 },
    /// Takes a message back, for everybody.
    Recall { seq: u64 },
    /// Takes a message out of the caller's own view.
    Delete { seq: u64 },
    /// The body says with what.
    React { seq: u64, remove: bool },
    /// The body names users, and the group.
    Group(Change),
    /// The body names users: the first of them, so many, are added, the others removed.
    Contacts { added: usize, watch: bool },
}

/// What becomes of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Create { all_history: bool },
    Add,
    Remove,
    Leave,
    Rename,
}

/// Which member of a 1:1 conversation, by the order of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Lesser = 0,
    Greater = 1,
}

/// A committed batch as one shard sees it.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) batch: Arc<Batch>,
    pub(crate) items: Items,
    /// How far clients' time was ahead of that of the records, modulo 2^64.
    pub(crate) ahead: u64,
}

impl Committed {
    /// The time that clients are told, of a record of the batch.
    pub(crate) fn wire_time(&self, stamped: u64) -> u64 {
        stamped.wrapping_add(self.ahead)
    }
}

/// What a shard has to do about a batch.
#[derive(Debug, Default)]
pub(crate) struct Items {
    /// In the order of the log.
    pub(crate) list: Vec<Item>,
    /// The users of all [`Item::Spread`], those of one event behind those of another.
    pub(crate) users: Vec<UserId>,
}

impl Items {
    /// Most items, and most users, of which the memory is kept to be filled again.
    pub(crate) const KEPT: usize = 4_096;
    pub(crate) const KEPT_USERS: usize = 16_384;

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds a user to those who get the record of a group at `position`.
    pub(crate) fn spread(&mut self, user: UserId, position: Position) {
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
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.list) + size_of_val(&*self.users)
    }

    /// Empties the lists; whether their memory is worth keeping.
    pub(crate) fn recycle(&mut self) -> bool {
        self.list.clear();
        self.users.clear();
        self.list.capacity() <= Self::KEPT && self.users.capacity() <= Self::KEPT_USERS
    }
}

#[derive(Debug)]
pub(crate) enum Item {
    /// Answer a command of this shard; other connections of its user that this shard holds get
    /// the push.
    Reply {
        conn: ConnRef,
        id: u32,
        user: UserId,
        outcome: Outcome,
    },
    /// Push a record to the connections of a user.
    Deliver { user: UserId, position: Position },
    /// Push a part of a record to the connections of a user, but for the one that said so.
    Part {
        user: UserId,
        position: Position,
        part: usize,
        except: Option<ConnRef>,
    },
    /// Push a record to the connections of many, who are a part of [`Items::users`]: an id takes
    /// a sixth of an item.
    Spread {
        users: Range<usize>,
        position: Position,
    },
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// The message is the record at this position of the batch.
    Sent(Position),
    /// The message is an earlier record.
    Duplicate(Place),
    /// What was asked for is the record at this position, or was so already.
    Done(Done, Option<Position>),
    /// The group was created before, under this key: a reader knows what the answer was.
    Made(TimelineId),
    /// The contacts are as was asked; the shard reads and shows them, and may watch them.
    Contacts {
        watch: bool,
    },
    Failed(ErrorCode, &'static str),
    /// The same of an acknowledgement.
    NotAcked(ErrorCode, &'static str),
}

/// Which command was carried out, with what its reply says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Ack,
    Recall,
    Delete,
    React,
    GroupCreate { members: u64 },
    GroupAdd { members: u64 },
    GroupRemove { members: u64 },
    GroupLeave,
    GroupRename,
}

impl Outcome {
    /// That of an acknowledgement that failed.
    pub(crate) fn of_ack(self) -> Self {
        match self {
            Self::Failed(code, message) => Self::NotAcked(code, message),
            other => other,
        }
    }

    /// Whether it is of an acknowledgement.
    pub(crate) const fn is_of_ack(self) -> bool {
        matches!(self, Self::Done(Done::Ack, _) | Self::NotAcked(..))
    }

    /// The record that it is, if it is one.
    pub(crate) fn position(self) -> Option<Position> {
        match self {
            Self::Sent(position) | Self::Done(_, Some(position)) => Some(position),
            _ => None,
        }
    }
}
