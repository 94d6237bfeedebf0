//! To whom the events of a commit go.

use std::sync::Arc;

use trunkline_storage::Position;

use super::command::Item;
use crate::directory::Directory;
use crate::ids::UserId;

/// Who gets an event pushed, beside the devices of whoever caused it.
#[derive(Debug, Clone)]
pub(super) enum Audience {
    Nobody,
    One(UserId),
    Members(Arc<[UserId]>),
}

/// Whom an event reaches: whose timelines it enters, and who gets it pushed.
pub(super) enum Reach {
    Both([UserId; 2], usize),
    Members(Arc<[UserId]>),
    /// A large group: the event enters the timeline of the group alone.
    Channel([UserId; 1], Arc<[UserId]>),
}

impl Reach {
    /// The caller and another user, who may be the same.
    pub(super) fn both(user: UserId, other: UserId) -> Self {
        Self::Both([user, other], 1 + usize::from(user != other))
    }

    /// The members of a group, and the timeline that they catch up from if it is not theirs.
    pub(super) fn members(members: &Arc<[UserId]>, channel: Option<UserId>) -> Self {
        match channel {
            Some(channel) => Self::Channel([channel], Arc::clone(members)),
            None => Self::Members(Arc::clone(members)),
        }
    }

    /// Users.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Both(_, len) => *len,
            Self::Members(members) | Self::Channel(_, members) => members.len(),
        }
    }

    /// The timelines.
    pub(super) fn fanout(&self) -> &[UserId] {
        match self {
            Self::Both(users, len) => &users[..*len],
            Self::Members(members) => members,
            Self::Channel(channel, _) => channel,
        }
    }

    /// Who gets it pushed.
    pub(super) fn audience(self) -> Audience {
        match self {
            Self::Both([_, other], 2) => Audience::One(other),
            Self::Both(..) => Audience::Nobody,
            Self::Members(members) | Self::Channel(_, members) => Audience::Members(members),
        }
    }
}

/// Lists a record for the shards that hold connections of its audience. Those that `shard` holds
/// of `user` get it with the reply.
pub(super) fn route(
    directory: &Directory,
    outgoing: &mut [Vec<Item>],
    (user, shard): (UserId, usize),
    audience: &Audience,
    position: Position,
) {
    let elsewhere = directory.shards(user) & !(1 << shard);
    deliver(outgoing, elsewhere, user, position);
    match audience {
        Audience::Nobody => {}
        &Audience::One(other) => deliver(outgoing, directory.shards(other), other, position),
        Audience::Members(members) => {
            for &member in members.iter().filter(|&&member| member != user) {
                deliver(outgoing, directory.shards(member), member, position);
            }
        }
    }
}

fn deliver(outgoing: &mut [Vec<Item>], mut shards: u128, user: UserId, position: Position) {
    while shards != 0 {
        outgoing[shards.trailing_zeros() as usize].push(Item::Deliver { user, position });
        shards &= shards - 1;
    }
}
