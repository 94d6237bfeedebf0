//! Fields whose values are a fixed set of words.

use serde::{Deserialize, Serialize};

/// How much of a group's past its members see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Members see all messages.
    #[default]
    All,
    /// Members see the messages since they joined.
    Joined,
}

/// The role of a member in a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A member may send, read and leave.
    #[default]
    Member,
    /// An owner may do everything in the group.
    Owner,
    /// An admin may also add members, remove those who are neither owners nor admins, and pin
    /// messages.
    Admin,
}

/// The members who may send messages to a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Senders {
    /// All members.
    #[default]
    All,
    /// Owners and admins.
    Admins,
}

/// How users become members of a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Joining {
    /// A member adds them.
    #[default]
    Invite,
    /// Anybody may join.
    Open,
}

/// The state of the members that `receipts` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReceiptState {
    /// The members that have read the message.
    Read,
    /// The members that the message has reached.
    Delivered,
    /// The members that have not read the message.
    Unread,
}

/// The kind of a change of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// A user created the group, with the named members.
    Created,
    /// An owner added the named members.
    Added,
    /// An owner removed the named members.
    Removed,
    /// The named member left.
    Left,
    /// The group has a new display name.
    Renamed,
    /// The named member has another role.
    Role,
    /// The picture or the rules of the group changed, with or without its display name.
    Set,
    /// The named user joined.
    Joined,
    /// A message is pinned.
    Pinned,
    /// A message is no longer pinned.
    Unpinned,
}
