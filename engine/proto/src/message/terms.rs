//! The words that some fields are limited to.

use serde::{Deserialize, Serialize};

/// How much of a group's past its members see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// All of it.
    #[default]
    All,
    /// What was said since they joined.
    Joined,
}

/// What a member may do in a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Send, read and leave.
    #[default]
    Member,
    /// Also add, remove and rename.
    Owner,
}

/// Which of a conversation's members `receipts` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReceiptState {
    /// Those who have read the message.
    Read,
    /// Those whom it has reached.
    Delivered,
    /// Those who have not read it.
    Unread,
}

/// What happened to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It exists, with these members.
    Created,
    /// These were added.
    Added,
    /// These were removed.
    Removed,
    /// This one left.
    Left,
    /// It has a new name.
    Renamed,
}
