//! The commands to the sequencer, and the committed batches that it returns.

use std::ops::Range;
use std::sync::Arc;

use trunkline_proto::message::Role;
use trunkline_storage::{Batch, Position, TimelineId};

use super::{Outcome, ReplyTo};
use crate::cost::Cost;
use crate::event::BodyNames;
use crate::ids::{Side, UserId};

/// A connection of a shard. A slot is used again after its connection ends, with another
/// generation, so a reference never names a later connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnRef {
    /// The connection's place in the shard's table.
    pub slot: u32,
    /// The number of earlier connections that the shard had given a place to.
    pub generation: u32,
}

/// The commands of one turn of a shard's loop, or one command of another caller, in the order they
/// arrived.
#[derive(Debug, Default)]
pub struct CommandBatch {
    /// The commands.
    pub commands: Vec<Command>,
    /// The record bodies of the commands, one after another.
    pub bodies: Vec<u8>,
    /// The positions that devices have reached, each with the key under which the store keeps it.
    pub positions: Vec<(TimelineId, Position)>,
    /// The number of commands at the end of the batch that the same user sent.
    run: u32,
    uneven: bool,
}

/// The number of commands in a row of one user that make a batch uneven.
const RUN: u32 = 64;

/// The length of a body in bytes that makes a batch uneven.
const LONG_BODY: usize = 4 << 10;

/// The capacity for bodies that an empty batch may always keep, in bytes.
const KEPT_BODIES: usize = 16 << 10;

/// The capacity for positions that an empty batch may always keep.
const KEPT_POSITIONS: usize = 512;

/// The capacity for commands that an empty batch may always keep.
const KEPT_COMMANDS: usize = 128;

/// The length of an ordinary body in bytes.
const BODY: usize = 64;

/// Empties a list of which `used` items were in use. Gives memory back if the list has room for more
/// than `kept` items and for more than eight times `used`.
fn empty<T>(list: &mut Vec<T>, used: usize, kept: usize) {
    list.clear();
    if list.capacity() > kept.max(8 * used) {
        list.shrink_to(kept.max(2 * used));
    }
}

impl CommandBatch {
    /// Adds a command, whose body is in the batch already.
    #[inline]
    pub fn push(&mut self, command: Command) {
        let last = self.commands.last();
        self.run = match last.is_some_and(|last| last.user == command.user) {
            true => self.run + 1,
            false => 1,
        };
        self.uneven |= self.run > RUN
            || command.body.len() > LONG_BODY
            || matches!(
                command.action,
                Action::Group(_)
                    | Action::Contacts { .. }
                    | Action::Block { .. }
                    | Action::Erase(_)
            );
        self.commands.push(command);
    }

    /// Moves all of another batch behind what this one has. The other one keeps its memory.
    pub fn append(&mut self, other: &mut Self) {
        let shift = self.bodies.len();
        self.bodies.extend_from_slice(&other.bodies);
        self.positions.append(&mut other.positions);
        for mut command in other.commands.drain(..) {
            command.body = command.body.start + shift..command.body.end + shift;
            self.push(command);
        }
        other.clear();
    }

    /// Returns the last command.
    #[inline]
    pub fn last(&self) -> Option<&Command> {
        self.commands.last()
    }

    /// Returns the length of the body of the last command, in bytes.
    #[inline]
    pub fn last_body(&self) -> usize {
        self.commands.last().map_or(0, |last| last.body.len())
    }

    /// Returns whether some user asks for more than a small part of a turn: many commands in a row,
    /// a long message, or a change of a group or of contacts. Then the sequencer does not decide the
    /// commands in order, but by turns of the users.
    pub fn is_uneven(&self) -> bool {
        self.uneven
    }

    /// Empties the batch. Keeps its memory as far as the batch used it: one burst does not hold memory
    /// for ever.
    pub(super) fn clear(&mut self) {
        let (bodies, positions) = (self.bodies.len(), self.positions.len());
        // Commands that take turns have left the batch, and their bodies have not.
        let commands = self.commands.len().max(bodies / BODY);
        empty(&mut self.commands, commands, KEPT_COMMANDS);
        empty(&mut self.bodies, bodies, KEPT_BODIES);
        empty(&mut self.positions, positions, KEPT_POSITIONS);
        (self.run, self.uneven) = (0, false);
    }
}

/// A command that changes the store.
#[derive(Debug)]
pub struct Command {
    /// The receiver of the answer.
    pub reply_to: ReplyTo,
    /// The user who sends the command.
    pub user: UserId,
    /// The conversation that the command is about; for contacts, the id of the list.
    pub conversation: TimelineId,
    /// The members of the conversation.
    pub members: Members,
    /// The range of the record's body in [`CommandBatch::bodies`]. The sequencer adds what it
    /// decides.
    pub body: Range<usize>,
    /// The places of the names in the body.
    pub names: BodyNames,
    /// The action of the command.
    pub action: Action,
    /// The time at which the shard read the command, in microseconds since the gateway began, modulo
    /// 2^32; 0 for a call.
    pub read_at: u32,
}

/// The members of the conversation of a command.
#[derive(Debug, Clone, Copy)]
pub enum Members {
    /// The caller and another user. Both are the same user for notes to oneself.
    Direct {
        /// The other user.
        other: UserId,
        /// The side of the caller.
        side: Side,
    },
    /// The members of a group. The sequencer looks them up.
    Group,
}

/// What a command does.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    /// Adds a message to the conversation.
    Send {
        /// The id of the idempotency key. A later send with the same key changes nothing.
        key: Option<TimelineId>,
        /// Whether the message names media that this gateway keeps.
        names_media: bool,
        /// Whether the message has extras, which the sequencer looks at.
        has_extras: bool,
    },
    /// Moves the caller's marks. The body has no marks; the sequencer adds the resulting ones.
    Ack {
        /// The sequence of the last delivered message; 0 leaves that mark as it is.
        delivered: u64,
        /// The sequence of the last read message; 0 leaves that mark as it is.
        read: u64,
    },
    /// Recalls a message: its content is gone for all members.
    Recall {
        /// The sequence of the message.
        seq: u64,
    },
    /// Replaces the content of a message. The body has the new content.
    Edit {
        /// The sequence of the message.
        seq: u64,
        /// Whether the new content names media that this gateway keeps.
        names_media: bool,
    },
    /// Deletes a message from the caller's own view.
    Delete {
        /// The sequence of the message.
        seq: u64,
    },
    /// Sets or removes a reaction to a message. The body has the reaction.
    React {
        /// The sequence of the message.
        seq: u64,
        /// Whether to remove the reaction.
        remove: bool,
    },
    /// Changes a group. The body names the group and the users.
    Group(Change),
    /// Changes the caller's contacts. The body names the users: first those to add, then those to
    /// remove.
    Contacts {
        /// The number of users to add.
        added: usize,
        /// Whether the caller watches the contacts from now on.
        watch: bool,
    },
    /// Pins a message of a group, or takes it from the pinned ones.
    Pin {
        /// The sequence of the message.
        seq: u64,
        /// Whether to take it from the pinned ones.
        remove: bool,
    },
    /// Changes the caller's own settings of the conversation. The body has what changes.
    Settings,
    /// Blocks the other user of [`Members::Direct`], whom the body names.
    Block {
        /// Whether to block the user no longer.
        remove: bool,
    },
    /// Erases something of the caller.
    Erase(EraseStep),
}

/// A step of the erasure of a user, who is the caller. The body names the user, and the conversation if the
/// step is about one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EraseStep {
    /// Commands of the user are refused from now on.
    Begin,
    /// The content of a message of the user goes.
    Message {
        /// The sequence of the message.
        seq: u64,
    },
    /// A reaction of the user goes. The body has it.
    Reaction {
        /// The sequence of the message.
        seq: u64,
    },
    /// The user has deleted no message near this one from the own view.
    Hidden {
        /// The sequence of the message.
        seq: u64,
    },
    /// A new user of the name sees nothing of the 1:1 conversation so far.
    Conversation,
    /// The user leaves the group.
    Leave,
    /// What a former member of a group has acknowledged goes.
    Membership,
    /// The position of a device goes. The body has the device.
    Device,
    /// Through which windows the user saw the channels of groups that the user has left goes, as far as a stretch of
    /// them has it. The stretches behind it have to go before.
    Windows {
        /// The number of the stretch.
        stretch: u64,
    },
    /// The contacts and the last-seen time go.
    Contacts,
    /// The user no longer blocks the other user of the command. The body names the other user, as for an
    /// [`Action::Block`].
    Unblock,
    /// Notes how many parts of the erasure are complete.
    Phase {
        /// The number of parts.
        complete: u8,
    },
    /// A new user of the name may begin.
    End,
}

/// A change of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Creates the group.
    Create {
        /// Whether new members see messages from before they joined.
        all_history: bool,
    },
    /// Adds members.
    Add,
    /// Removes members.
    Remove,
    /// Ends the membership of the caller.
    Leave,
    /// Changes the display name.
    Rename,
    /// Changes the role of a member. The body names the member.
    Role(Role),
    /// Changes the display name, the picture and the rules. The body has what changes.
    Set,
    /// Adds the caller.
    Join,
}

/// A committed batch, for one shard.
#[derive(Debug)]
pub struct Committed {
    /// The records of the batch.
    pub batch: Arc<Batch>,
    /// The work of the shard for this batch.
    pub items: Items,
    /// How far the time that clients see is ahead of the time in the records, in milliseconds, modulo
    /// 2^64.
    pub ahead: u64,
}

/// The work of a shard for one batch.
#[derive(Debug, Default)]
pub struct Items {
    /// The items, in the order of the log.
    pub list: Vec<Item>,
    /// The users of all [`Item::Spread`] items, in the order of the items.
    pub users: Vec<UserId>,
}

impl Items {
    /// The maximum capacity of a list of items that is used again. Larger ones are freed.
    pub const KEPT: usize = 4_096;
    /// The maximum capacity of a list of users that is used again. Larger ones are freed.
    pub const KEPT_USERS: usize = 16_384;

    /// Returns whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds a user who receives the record of a group at `position`.
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

    /// Returns the memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.list) + size_of_val(&*self.users)
    }

    /// Empties the lists. Returns whether their memory is worth keeping.
    pub fn recycle(&mut self) -> bool {
        self.list.clear();
        self.users.clear();
        self.list.capacity() <= Self::KEPT && self.users.capacity() <= Self::KEPT_USERS
    }
}

/// One step of the work of a shard for a batch.
#[derive(Debug)]
pub enum Item {
    /// Answer a command of this shard, and push its record to the other connections of the user in
    /// this shard.
    Reply {
        /// The connection that sent the command.
        conn: ConnRef,
        /// The client's id for the command.
        id: u32,
        /// The user who sent the command.
        user: UserId,
        /// The outcome of the command.
        outcome: Outcome,
        /// The cost of the command for the sequencer and for all who receive its record, all shards
        /// together. The shard charged for reading the command before.
        cost: Cost,
        /// The length of the command's body in bytes; 0 for an acknowledgement.
        bytes: u32,
        /// The time at which the shard read the command, as in [`Command::read_at`]; 0 for an
        /// acknowledgement.
        read_at: u32,
    },
    /// Push a record to the connections of a user.
    Deliver {
        /// The user.
        user: UserId,
        /// The record's position.
        position: Position,
    },
    /// Push a part of a receipt to the connections of a user, except the one that acknowledged.
    Part {
        /// The user.
        user: UserId,
        /// The record's position.
        position: Position,
        /// The number of the part, from 0.
        part: usize,
        /// The connection that does not receive the part.
        except: Option<ConnRef>,
    },
    /// Push a record to the connections of many users. An id takes a sixth of the bytes of an item.
    Spread {
        /// The range of the users in [`Items::users`].
        users: Range<usize>,
        /// The record's position.
        position: Position,
    },
}
