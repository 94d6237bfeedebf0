//! The kinds of stored records.

use trunkline_storage::Record;

/// The kind of event in a record: the store's `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// A message.
    Message = 1,
    /// A receipt: new marks of members of a conversation.
    Receipt = 2,
    /// A recall: a sender takes a message back.
    Recall = 3,
    /// A deletion: a user removes a message from the own view.
    Delete = 4,
    /// A reaction to a message, or its removal.
    Reaction = 5,
    /// A change of a group.
    Group = 6,
    /// An edit: a sender replaces the content of a message.
    Edit = 10,
    /// A change of a user's own settings of a conversation.
    Settings = 11,
}

/// The kind of a record that removes the content of an ephemeral message. The gateway pushes it to no
/// client.
pub const EXPIRED: u8 = 13;

/// The kind of a record that changes a user's contacts. The gateway stores it and pushes it to no
/// client.
pub const CONTACTS: u8 = 7;

/// The kind of a record that changes which users a user blocks. The gateway stores it and pushes it to
/// no client.
pub const BLOCKS: u8 = 12;

/// The kind of a record with last-seen times in the values that it carries. The gateway pushes it
/// to no client.
pub const LAST_SEEN: u8 = 9;

/// The kind of a record with a step of the erasure of a user. The gateway pushes it to no client.
pub const ERASURE: u8 = 60;

impl RecordKind {
    /// All kinds of events.
    pub const ALL: [Self; 8] = [
        Self::Message,
        Self::Receipt,
        Self::Recall,
        Self::Delete,
        Self::Reaction,
        Self::Group,
        Self::Edit,
        Self::Settings,
    ];

    /// The length of a table indexed by kind.
    pub const ROOM: usize = 16;

    /// Returns the name of the kind in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Receipt => "receipt",
            Self::Recall => "recall",
            Self::Delete => "delete",
            Self::Reaction => "reaction",
            Self::Group => "group",
            Self::Edit => "edit",
            Self::Settings => "settings",
        }
    }

    /// Returns the kind of a record; `None` for a kind of a later version.
    pub fn of(record: &Record<'_>) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| *kind as u8 == record.kind)
    }
}
