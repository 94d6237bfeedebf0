//! The recipients of the events of a commit.

use std::sync::Arc;

use trunkline_storage::Position;

use crate::directory::{Directory, ShardSet};
use crate::exchange::{Item, Items};
use crate::ids::UserId;
use crate::told::{Audience, PartRecipients};

/// The recipients of an event: the timelines that its record enters, and the users who receive it
/// live.
pub(super) enum Reach {
    /// The users of a 1:1 conversation, and how many of them are different users: 1 or 2.
    Both([UserId; 2], usize),
    /// The members of a group, each with the own timeline.
    Members(Arc<[UserId]>),
    /// The channel of a large group, which is the only timeline, and the members who see the message with this
    /// sequence; all members with 0.
    Channel([UserId; 1], Arc<[UserId]>, u64),
}

impl Reach {
    /// Returns the recipients in a 1:1 conversation. `other` may be the caller itself.
    pub(super) fn both(user: UserId, other: UserId) -> Self {
        Self::Both([user, other], 1 + usize::from(user != other))
    }

    /// Returns the recipients in a group. `channel` is the timeline from which the members catch up,
    /// if that is not their own. `seeing` is the sequence of the message that they see; 0 if they are all members.
    pub(super) fn members(members: &Arc<[UserId]>, channel: Option<UserId>, seeing: u64) -> Self {
        match channel {
            Some(channel) => Self::Channel([channel], Arc::clone(members), seeing),
            None => Self::Members(Arc::clone(members)),
        }
    }

    /// Returns the timelines that the record enters.
    pub(super) fn fanout(&self) -> &[UserId] {
        match self {
            Self::Both(users, len) => &users[..*len],
            Self::Members(members) => members,
            Self::Channel(channel, ..) => channel,
        }
    }

    /// Returns the users who receive the event live.
    pub(super) fn audience(self) -> Audience {
        match self {
            Self::Both([_, other], 2) => Audience::One(other),
            Self::Both(..) => Audience::Nobody,
            Self::Members(members) => Audience::Members(members),
            Self::Channel(_, members, seeing) => Audience::Channel(members, seeing),
        }
    }
}

/// The caller of a command, and the shard of its connection. A call in this process has no shard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) user: UserId,
    pub(super) shard: Option<usize>,
}

/// Lists a part of a receipt for the shards that hold connections of its recipients.
pub(super) fn route_part(directory: &Directory, outgoing: &mut [Items], told: &PartRecipients) {
    let part = |user, except| Item::Part {
        user,
        position: told.position,
        part: told.part,
        except,
    };
    if let Some(reader) = told.reader {
        each(directory.shards(reader), |shard| {
            let except = told.device.filter(|device| device.shard == shard);
            let except = except.map(|device| device.conn);
            outgoing[shard].list.push(part(reader, except));
        });
    }
    for &user in &told.others {
        each(directory.shards(user), |shard| {
            outgoing[shard].list.push(part(user, None));
        });
    }
}

/// Lists a record for the shards that hold connections of its audience or of the caller. The
/// caller's shard is not listed for the caller: it pushes the record when it answers the command.
/// Returns the number of pushes, each to the connections of a user in a shard.
pub(super) fn route(
    directory: &Directory,
    outgoing: &mut [Items],
    caller: Caller,
    audience: &Audience,
    position: Position,
) -> usize {
    let Caller { user, shard } = caller;
    let replies = shard.map_or(0, |shard| 1 << shard);
    let elsewhere = directory.shards(user) & !replies;
    let mut pushes = elsewhere.count_ones();
    each(elsewhere, |shard| {
        deliver(&mut outgoing[shard], user, position)
    });
    let mut spread = |users: &[UserId]| {
        let mut pushes = 0;
        directory.shards_of(users, |member, shards| {
            if member != user {
                pushes += shards.count_ones();
                each(shards, |shard| outgoing[shard].spread(member, position));
            }
        });
        pushes
    };
    match audience {
        Audience::Nobody => {}
        &Audience::One(other) => {
            let shards = directory.shards(other);
            pushes += shards.count_ones();
            each(shards, |shard| {
                deliver(&mut outgoing[shard], other, position)
            });
        }
        Audience::Members(members) | Audience::Channel(members, _) => pushes += spread(members),
        Audience::MembersAnd(both) => pushes += spread(&both.members) + spread(&both.gone),
    }
    pushes as usize
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
    use crate::told::MembersAndGone;

    /// Returns what each shard pushes: users and positions.
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
        let both = Box::new(MembersAndGone {
            members: [user(2)].into(),
            gone: [user(4)].into(),
        });
        let mut outgoing: Vec<_> = (0..3).map(|_| Items::default()).collect();
        let mut pushes = 0;
        for (n, audience) in [
            (1, &members),
            (2, &members),
            (3, &Audience::One(user(4))),
            (4, &Audience::Nobody),
            (5, &Audience::MembersAnd(both)),
        ] {
            pushes += route(
                &directory,
                &mut outgoing,
                Caller {
                    user: user(n as u128),
                    shard: Some(0),
                },
                audience,
                Position(n),
            );
        }
        let expected: [&[_]; 3] = [
            // Users 1 to 3 receive their records with the replies. User 4 is on another shard.
            &[(3, 1), (2, 1), (3, 2), (1, 2), (2, 5)],
            &[(3, 1), (3, 2), (3, 3)],
            &[(1, 1), (4, 1), (4, 2), (1, 2), (4, 3), (4, 4), (4, 5)],
        ];
        assert_eq!(told(&outgoing), expected);
        assert_eq!(pushes, 15);
        assert_eq!(outgoing[0].list.len(), 3, "many are one item");
        for items in &mut outgoing {
            assert!(items.bytes() > 0 && items.recycle() && items.is_empty());
        }
    }
}
