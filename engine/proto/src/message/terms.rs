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
    /// An owner may also add members, remove them and rename the group.
    Owner,
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
}
