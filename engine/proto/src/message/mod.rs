//! The messages between client and server, independent of the encoding.
//!
//! Every type borrows from the frame that it is decoded from. The field names are those of the JSON
//! form. Times are milliseconds since 1970 UTC.

mod command;
mod event;
mod extras;
mod json_value;
mod manage;
mod reply;
mod search;
mod terms;

pub use crate::media::Media;
pub use command::*;
pub use event::*;
pub use extras::{Edit, MessageExtras, SendExtras};
pub use json_value::{Json, NotJson};
pub use manage::*;
pub use reply::*;
pub use search::{Search, SearchReply};
pub use terms::{ChangeKind, Joining, ReceiptState, Role, Senders, Visibility};

/// Tells `skip_serializing_if` to leave out a flag that is not set.
#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_false(flag: &bool) -> bool {
    !flag
}
