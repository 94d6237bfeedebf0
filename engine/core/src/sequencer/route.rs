//! To whom the events of a commit go.

use std::sync::Arc;

use smallvec::SmallVec;
use trunkline_storage::Position;

use crate::directory::{Directory, ShardSet};
use crate::exchange::{ConnRef, Item, Items};
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

/// Who gets a part of a receipt pushed.
pub(super) struct PartRecipients {
    /// How many of the commit's outcomes come before it in the order of the log.
    pub(super) behind: usize,
    pub(super) position: Position,
    pub(super) part: usize,
    /// Whose marks they are: all devices but the one that said so, if it was one.
    pub(super) user: UserId,
    pub(super) by: Option<(usize, ConnRef)>,
    /// All their devices.
    pub(super) others: SmallVec<[UserId; 2]>,
}

/// Lists a part of a receipt for the shards that hold connections of those who are told.
pub(super) fn route_part(directory: &Directory, outgoing: &mut [Items], told: &PartRecipients) {
    let part = |user, except| Item::Part {
        user,
        position: told.position,
        part: told.part,
        except,
    };
    each(directory.shards(told.user), |shard| {
        let except = told.by.filter(|by| by.0 == shard).map(|by| by.1);
        outgoing[shard].list.push(part(told.user, except));
    });
    for &user in &told.others {
        each(directory.shards(user), |shard| {
            outgoing[shard].list.push(part(user, None));
        });
    }
}

/// Lists a record for the shards that hold connections of its audience. Those that `shard` holds
/// of `user` get it with the reply; without a shard there is none that does.
pub(super) fn route(
    directory: &Directory,
    outgoing: &mut [Items],
    (user, shard): (UserId, Option<usize>),
    audience: &Audience,
    position: Position,
) {
    let replies = shard.map_or(0, |shard| 1 << shard);
    let elsewhere = directory.shards(user) & !replies;
    each(elsewhere, |shard| {
        deliver(&mut outgoing[shard], user, position)
    });
    match audience {
        Audience::Nobody => {}
        &Audience::One(other) => {
            let shards = directory.shards(other);
            each(shards, |shard| {
                deliver(&mut outgoing[shard], other, position)
            });
        }
        Audience::Members(members) => directory.shards_of(members, |member, shards| {
            if member != user {
                each(shards, |shard| outgoing[shard].spread(member, position));
            }
        }),
    }
}

fn deliver(items: &mut Items, user: UserId, position: Position) {
    items.list.push(Item::Deliver { user, position });
}

fn each(mut shards: ShardSet, mut tell: impl FnMut(usize)) {
    while shards != 0 {
        tell(shards.trailing_zeros() as usize);
        shards &= shards - 1;
    }
}

#[cfg(test)]
mod tests {
    use trunkline_storage::TimelineId;

    use super::*;

    /// What each of three shards is to push: whose connections, and the positions.
    fn told(outgoing: &[Items]) -> Vec<Vec<(u128, u64)>> {
        let one = |items: &Items| {
            let mut told = Vec::new();
            for item in &items.list {
                match item {
                    Item::Deliver { user, position } => told.push((user.0, position.0)),
                    Item::Spread { users, position } => {
                        let users = items.users[users.clone()].iter();
                        told.extend(users.map(|user| (user.0, position.0)));
                    }
                    Item::Reply { .. } | Item::Part { .. } => panic!("{item:?}"),
                }
            }
            told
        };
        outgoing.iter().map(one).collect()
    }

    #[test]
    fn everybody_is_told_once_where_they_are() {
        let directory = Directory::new(Position::ZERO);
        let user = |n| TimelineId(n);
        for (n, shard) in [(1, 0), (1, 2), (2, 0), (3, 0), (3, 1), (3, 1), (4, 2)] {
            directory.enter(user(n), shard, crate::ids::DeviceMark([0; 4]));
        }
        let members = Audience::Members([5, 4, 3, 2, 1].map(user).into());
        let mut outgoing: Vec<_> = (0..3).map(|_| Items::default()).collect();
        for (n, audience) in [
            (1, &members),
            (2, &members),
            (3, &Audience::One(user(4))),
            (4, &Audience::Nobody),
        ] {
            route(
                &directory,
                &mut outgoing,
                (user(n as u128), Some(0)),
                audience,
                Position(n),
            );
        }
        let expected: [&[_]; 3] = [
            // Users 1 to 3 have it with their replies; user 4 is not on the shard that asks.
            &[(3, 1), (2, 1), (3, 2), (1, 2)],
            &[(3, 1), (3, 2), (3, 3)],
            &[(1, 1), (4, 1), (4, 2), (1, 2), (4, 3), (4, 4)],
        ];
        assert_eq!(told(&outgoing), expected);
        assert_eq!(outgoing[0].list.len(), 2, "many are one item");
        for items in &mut outgoing {
            assert!(items.bytes() > 0 && items.recycle() && items.is_empty());
        }
    }
}
