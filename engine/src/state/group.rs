//! The state of a group: its head, its roster in chunks, and each member's own.
//!
//! A chunk keeps its members while they stay, so that a list in pages neither misses nor repeats
//! anybody; a newcomer takes the first chunk with room.

use serde::{Deserialize, Serialize};

use super::Marks;

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
}

/// What one user is to a group, under an id of both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) role: Role,
    /// The first message that the member sees.
    pub(crate) first_seq: u64,
    /// The number of this membership: whoever comes back has another.
    pub(crate) number: u64,
    /// How far the member has come, unless the group's [`Advance`] knows more.
    pub(crate) marks: Marks,
}

impl Member {
    /// Whether the user is a member now.
    pub(crate) fn is_in(&self) -> bool {
        self.role != Role::Left
    }
}
