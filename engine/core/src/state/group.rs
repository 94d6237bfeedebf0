//! The state of a group: its head, its roster in chunks, and each member's own.
//!
//! A chunk keeps its members while they stay, so that a list in pages neither misses nor repeats
//! anybody; a newcomer takes the first chunk with room.

use serde::{Deserialize, Serialize};

use super::{Form, Marks};

/// Members of one chunk of a roster: what one change of membership rewrites.
pub(crate) const ROSTER_CHUNK: usize = 128;

/// What somebody may do in a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// No longer a member.
    #[default]
    Left,
    Member,
    /// Adds, removes and renames.
    Owner,
}

/// A group, under an id of its own: what is under that of its timeline are the [`Marks`] of its
/// members, which change far more often.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head<'a> {
    /// What people call it.
    pub(crate) name: &'a str,
    /// New members see messages from before they came.
    pub(crate) all_history: bool,
    /// Members catch up from the group's own timeline instead of from theirs.
    pub(crate) pull: bool,
    /// Members.
    pub(crate) members: u64,
    /// Chunks of the roster, some of them perhaps empty.
    pub(crate) chunks: u32,
    /// How often somebody became a member: the number of the next one.
    pub(crate) joined: u64,
    /// The first message that any member sees: those before it were said in an earlier group of
    /// the same name, which everybody left.
    pub(crate) first: u64,
}

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
    const TAG: u8 = 16;

    fn earlier(tag: u8, rest: &'a [u8]) -> Option<Self> {
        let head: HeadBefore<'a> = earlier(tag == 12, rest)?;
        Some(Self {
            name: head.name,
            all_history: head.all_history,
            pull: head.pull,
            members: head.members,
            chunks: head.chunks,
            joined: head.joined,
            first: 1,
        })
    }
}

fn earlier<'a, T: Deserialize<'a>>(is_it: bool, rest: &'a [u8]) -> Option<T> {
    is_it.then(|| postcard::from_bytes(rest).ok()).flatten()
}

/// A chunk of a roster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Roster<'a> {
    /// In the order they came.
    #[serde(borrow)]
    pub(crate) members: Vec<Entry<'a>>,
}

/// A member in a roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry<'a> {
    pub(crate) user: &'a str,
    pub(crate) role: Role,
    /// When the user became a member, in milliseconds since 1970 UTC.
    pub(crate) since: u64,
    /// The first message that the member sees; 0 where an earlier version wrote the roster, and
    /// the value of the member says it.
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

/// What one user is to a group, under an id of both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) role: Role,
    /// The first message that the member sees.
    pub(crate) first_seq: u64,
    /// The number of this membership: whoever comes back has another.
    pub(crate) number: u64,
    /// The last message when the user became a member: what came before is not unread.
    pub(crate) joined_at: u64,
    /// How far the member has acknowledged, unless the group's [`Advance`](super::Advance) knows
    /// more. It outlives the membership: what was read once stays read.
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

    /// An earlier version began the marks at the last message of then, without a time.
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
    /// Whether the user is a member now.
    pub(crate) fn is_in(&self) -> bool {
        self.role != Role::Left
    }

    /// The last message that is not unread, for a member whose marks are these.
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
