//! The stored state of a group: its head, its roster in chunks, and one value for each member.
//!
//! A member stays in the same chunk until the membership ends, so a list read in pages neither
//! misses nor repeats a member. A new member enters the first chunk with room.

use serde::{Deserialize, Serialize};
use trunkline_proto::message::Role as RoleName;

use super::{Form, Marks};

/// The maximum number of members in a chunk of a roster. A change of membership rewrites one chunk.
pub(crate) const ROSTER_CHUNK: usize = 128;

/// The role of a user in a group, which decides what the user may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// The user was a member and is no longer one.
    #[default]
    Left,
    Member,
    /// A member who may do everything in the group.
    Owner,
    /// A member who may add members, remove those who are neither owners nor admins, pin messages, and
    /// send where only admins may.
    Admin,
}

impl Role {
    /// Returns whether a member of this role manages the group: owners and admins do.
    pub(crate) fn manages(self) -> bool {
        matches!(self, Self::Owner | Self::Admin)
    }
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Member => Self::Member,
            RoleName::Owner => Self::Owner,
            RoleName::Admin => Self::Admin,
        }
    }
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Owner => Self::Owner,
            Role::Admin => Self::Admin,
            Role::Member | Role::Left => Self::Member,
        }
    }
}

/// The name, rules and size of a group, under an id of its own. The [`Marks`] of members change far
/// more often and are under the id of the group's timeline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head<'a> {
    /// The group's display name.
    pub(crate) name: &'a str,
    /// Whether new members see messages from before they joined.
    pub(crate) all_history: bool,
    /// Whether members catch up from the group's channel instead of from their own sync timelines.
    pub(crate) pull: bool,
    /// The number of members.
    pub(crate) members: u64,
    /// The number of chunks in the roster. Some may be empty.
    pub(crate) chunks: u32,
    /// The number of memberships that ever began. The next member gets this number.
    pub(crate) joined: u64,
    /// The sequence of the first message that any member sees. Earlier messages belong to a group
    /// of the same name that all members left.
    pub(crate) first: u64,
    /// The steady time at which members last began to catch up from the channel, in milliseconds since 1970
    /// UTC; 0 if an earlier version let them.
    pub(crate) pulled_at: u64,
}

/// A head of an earlier version. The earliest had no `first`.
#[derive(Deserialize)]
struct HeadBefore<'a> {
    name: &'a str,
    all_history: bool,
    pull: bool,
    members: u64,
    chunks: u32,
    joined: u64,
}

impl<'a> Form<'a> for Head<'a> {
    const TAG: u8 = 30;

    fn earlier(tag: u8, rest: &'a [u8]) -> Option<Self> {
        let (head, first): (HeadBefore<'a>, u64) = match tag {
            12 => (postcard::from_bytes(rest).ok()?, 1),
            16 => postcard::from_bytes(rest).ok()?,
            _ => return None,
        };
        Some(Self {
            name: head.name,
            all_history: head.all_history,
            pull: head.pull,
            members: head.members,
            chunks: head.chunks,
            joined: head.joined,
            first,
            pulled_at: 0,
        })
    }
}

fn earlier<'a, T: Deserialize<'a>>(is_it: bool, rest: &'a [u8]) -> Option<T> {
    is_it.then(|| postcard::from_bytes(rest).ok()).flatten()
}

/// One chunk of a group's roster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Roster<'a> {
    /// The members of the chunk, in the order in which they joined.
    #[serde(borrow)]
    pub(crate) members: Vec<Entry<'a>>,
}

/// The entry of one member in a roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry<'a> {
    pub(crate) user: &'a str,
    pub(crate) role: Role,
    /// When the user became a member, in milliseconds since 1970 UTC.
    pub(crate) since: u64,
    /// The sequence of the first message that the member sees. It is 0 in a roster of an earlier
    /// version; the member's own value has it then.
    pub(crate) first: u64,
}

#[derive(Deserialize)]
struct RosterBefore<'a> {
    #[serde(borrow)]
    members: Vec<EntryBefore<'a>>,
}

#[derive(Deserialize)]
struct EntryBefore<'a> {
    user: &'a str,
    role: Role,
    since: u64,
}

impl<'a> Form<'a> for Roster<'a> {
    const TAG: u8 = 17;

    fn earlier(tag: u8, rest: &'a [u8]) -> Option<Self> {
        let roster: RosterBefore<'a> = earlier(tag == 4, rest)?;
        let members = roster.members.into_iter().map(|entry| Entry {
            user: entry.user,
            role: entry.role,
            since: entry.since,
            first: 0,
        });
        Some(Self {
            members: members.collect(),
        })
    }
}

/// One user's membership of a group, under an id of both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) role: Role,
    /// The sequence of the first message that the member sees.
    pub(crate) first_seq: u64,
    /// The number of this membership. A user who joins again gets a new number.
    pub(crate) number: u64,
    /// The sequence of the group's last message when the user joined. Messages up to it never count
    /// as unread.
    pub(crate) joined_at: u64,
    /// The member's marks. Where the group's [`Advance`](super::Advance) has further marks, those
    /// count. The marks stay when the membership ends: read messages stay read.
    pub(crate) marks: Marks,
}

#[derive(Deserialize)]
struct MemberBefore {
    role: Role,
    first_seq: u64,
    number: u64,
    marks: Marks,
}

impl Form<'_> for Member {
    const TAG: u8 = 15;

    /// Reads the form of an earlier version. That version started the marks at the last message of
    /// the time, without a time of their own.
    fn earlier(tag: u8, rest: &[u8]) -> Option<Self> {
        let member: MemberBefore = earlier(tag == 13, rest)?;
        let marks = member.marks;
        Some(Self {
            role: member.role,
            first_seq: member.first_seq,
            number: member.number,
            joined_at: if marks.read_time == 0 { marks.read } else { 0 },
            marks: marks.acknowledged(),
        })
    }
}

impl Member {
    /// Returns whether the user is a member now.
    pub(crate) fn is_in(&self) -> bool {
        self.role != Role::Left
    }

    /// Returns the sequence of the last message that is not unread, for a member with these marks.
    pub(crate) fn read_up_to(&self, marks: Marks) -> u64 {
        marks.read.max(self.joined_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{decode, encode};

    fn before<T: Serialize>(tag: u8, value: &T) -> Vec<u8> {
        postcard::to_extend(value, vec![tag]).unwrap()
    }

    #[test]
    fn values_of_earlier_versions_are_read() {
        let head = before(12, &("Engineering", true, false, 3_u64, 1_u32, 4_u64));
        let head: Head<'_> = decode(&head).expect("a head");
        assert_eq!((head.name, head.joined, head.first), ("Engineering", 4, 1));
        let roster = before(4, &vec![("bob", Role::Owner, 7_u64)]);
        let roster: Roster<'_> = decode(&roster).expect("a roster");
        let entry = Entry {
            user: "bob",
            role: Role::Owner,
            since: 7,
            first: 0,
        };
        assert_eq!(roster.members, [entry]);
        assert_eq!(decode(&encode(&roster)), Some(roster));
        let marks = |read, time| Marks {
            delivered: read,
            read,
            delivered_time: time,
            read_time: time,
        };
        let member = |marks: Marks| before(13, &(Role::Member, 1_u64, 2_u64, marks));
        let joined: Member = decode(&member(marks(9, 0))).expect("a member");
        assert_eq!((joined.joined_at, joined.marks), (9, Marks::default()));
        let read: Member = decode(&member(marks(9, 5))).expect("a member");
        assert_eq!((read.joined_at, read.marks), (0, marks(9, 5)));
        assert_eq!(decode(&encode(&read)), Some(read));
        assert_eq!(joined.read_up_to(joined.marks), 9);
        assert_eq!(read.read_up_to(read.marks), 9);
        assert_eq!(decode::<Member>(&[14]), None);
    }
}
