//! Commands and replies about the rules of groups, pinned messages, blocked users, and the user's own
//! settings of conversations.

use serde::{Deserialize, Serialize};

use super::{Joining, Role, Senders};
use crate::object;
use crate::text::Str;

/// Changes the role of a member of a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupRole<'a> {
    /// The name of the group.
    #[serde(borrow)]
    pub group: Str<'a>,
    /// The member.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// The role that the member gets.
    pub role: Role,
}

/// Changes the display name, the picture and the rules of a group. What is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupSet<'a> {
    /// The name of the group.
    #[serde(borrow)]
    pub group: Str<'a>,
    /// The new display name; empty for none.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Str<'a>>,
    /// The URL of the new picture; empty for none.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<Str<'a>>,
    /// Who may send messages.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "object::stated"
    )]
    pub send: Option<Senders>,
    /// How users become members.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "object::stated"
    )]
    pub join: Option<Joining>,
}

/// Adds the caller to a group that is open for everybody.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupJoin<'a> {
    /// The name of the group.
    #[serde(borrow)]
    pub group: Str<'a>,
}

/// Names the user to block, or to block no longer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UserRef<'a> {
    /// The name of the user.
    #[serde(borrow)]
    pub user: Str<'a>,
}

/// Asks which users the caller blocks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Blocked<'a> {
    /// The name that the listed users follow, in bytewise order.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub after: Option<Str<'a>>,
    /// The most users in the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Changes the caller's own settings of a conversation. What is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings<'a> {
    /// The id of the conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The time until which the conversation is muted, in milliseconds since 1970 UTC; 0 if it is
    /// not muted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<u64>,
    /// Whether the user keeps the conversation at the top of the list.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "object::stated"
    )]
    pub pinned: Option<bool>,
    /// Whether the user has put the conversation away.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "object::stated"
    )]
    pub archived: Option<bool>,
}

/// The caller's own settings of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConversationSettings<'a> {
    /// The id of the conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The time until which the conversation is muted, in milliseconds since 1970 UTC; 0 if it is
    /// not muted.
    pub muted_until: u64,
    /// Whether the user keeps the conversation at the top of the list.
    pub pinned: bool,
    /// Whether the user has put the conversation away.
    pub archived: bool,
    /// The time of the change, in milliseconds since 1970 UTC.
    pub time: u64,
}

/// A pinned message of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedMessage {
    /// The sequence of the message.
    pub seq: u64,
    /// The time at which the message was pinned, in milliseconds since 1970 UTC.
    pub time: u64,
}

/// A page of the users whom the caller blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockedReply<'a> {
    /// Blocked users, in bytewise order.
    #[serde(borrow)]
    pub users: Vec<Str<'a>>,
    /// Whether there are more users after the last of `users`.
    pub more: bool,
}
