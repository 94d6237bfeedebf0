//! The bodies of stored records: the content of an event as tagged fields.
//!
//! A body is a list of fields. Each has a tag byte, the length of its value as a varint (LEB128)
//! and the value. Readers skip unknown tags, so a later version can add fields.

mod body;
mod details;
mod extras;
mod fields;
mod kind;
mod names;
mod push;
mod receipt;
mod size;

use trunkline_proto::names::Conversation;

pub use body::{Body, conversation, with_time, write_receipt};
pub use details::Details;
pub use extras::{Extras, milliseconds};
pub use kind::{BLOCKS, CONTACTS, ERASURE, EXPIRED, LAST_SEEN, RecordKind};
pub use names::{BodyNames, ConversationName};
pub use push::{PartsFor, parts_for, push};
pub(crate) use push::{Placed, event};
pub use receipt::{MOST_PARTS, MOST_TOLD, Part};
pub(crate) use size::{AROUND_MESSAGE, AROUND_NAME, extra_bytes, message_bytes};

/// Returns the names of the two users of a 1:1 conversation, the lesser name first; `None` for a
/// group, or a name that is not valid.
pub(crate) fn both(conversation: &str) -> Option<(&str, &str)> {
    match Conversation::parse(conversation)? {
        Conversation::Direct(one, other) => Some((one, other)),
        Conversation::Group(_) => None,
    }
}
