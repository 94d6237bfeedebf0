//! The decisions of the sequencer about commands, and the users who learn of them.

use std::sync::Arc;

use trunkline_storage::Position;

use crate::cost::Cost;
use crate::exchange::{Done, Outcome, ReplyTo};
use crate::ids::UserId;

/// A decided command.
#[derive(Debug)]
pub(crate) struct Decided {
    /// The receiver of the answer.
    pub(crate) reply_to: ReplyTo,
    /// The user who sent the command.
    pub(crate) user: UserId,
    /// The time at which the shard read the command, as in [`Command::read_at`](crate::exchange::Command::read_at);
    /// 0 for an acknowledgement.
    pub(crate) read_at: u32,
    /// The outcome, and who learns of it.
    pub(crate) decision: Decision,
}

/// The outcome of a command, and the users who receive its record.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    pub(crate) outcome: Outcome,
    /// The recipients besides the caller's own devices.
    pub(crate) audience: Audience,
    /// The cost of the command for the sequencer and the recipients.
    pub(crate) cost: Cost,
    /// The length of the command's body in bytes, about as much as a push of its record takes; 0 for
    /// an acknowledgement.
    pub(crate) bytes: u32,
}

// Decisions move several times on the way to the shards. Larger ones would be copied by a call.
const _: () = assert!(size_of::<Decision>() <= 96);

impl Decision {
    /// Returns a decision whose record, if it has one, goes to the caller's own devices only.
    pub(crate) const fn private(outcome: Outcome) -> Self {
        Self {
            outcome,
            audience: Audience::Nobody,
            cost: Cost::NONE,
            bytes: 0,
        }
    }

    /// Returns the decision about a command that changes nothing, because everything is already as
    /// it asks.
    pub(crate) const fn unchanged(done: Done) -> Self {
        Self::private(Outcome::Done(done, None))
    }

    /// Returns the decision about a command whose record is at `position` of the batch.
    pub(crate) const fn done(done: Done, position: Position, audience: Audience) -> Self {
        Self {
            outcome: Outcome::Done(done, Some(position)),
            audience,
            cost: Cost::NONE,
            bytes: 0,
        }
    }
}

/// The users who receive an event live, besides the user who caused it.
#[derive(Debug, Clone)]
pub(crate) enum Audience {
    /// No other user.
    Nobody,
    /// The other user of a 1:1 conversation.
    One(UserId),
    /// The members of a group, who are in the fan-out of the record. All events of the group share the list.
    Members(Arc<[UserId]>),
    /// The members of a large group who see the message with this sequence; all members with 0. The fan-out of the
    /// record has the channel of the group instead.
    Channel(Arc<[UserId]>, u64),
    /// The members of a group, and users who left with this event.
    MembersAnd(Box<MembersAndGone>),
}

/// The members of a group, and users who left it.
#[derive(Debug, Clone)]
pub(crate) struct MembersAndGone {
    pub(crate) members: Arc<[UserId]>,
    pub(crate) gone: Box<[UserId]>,
}

impl Audience {
    /// Returns the number of users.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Nobody => 0,
            Self::One(_) => 1,
            Self::Members(members) | Self::Channel(members, _) => members.len(),
            Self::MembersAnd(both) => both.members.len() + both.gone.len(),
        }
    }
}
