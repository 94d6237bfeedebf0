//! The place where threads meet: requests, the queues that carry them, and the answers.
//!
//! - A [`Command`] changes the store. Commands go to the sequencer in a [`CommandBatch`] through
//!   [`ToSequencer`]. Their outcomes come back as [`Committed`].
//! - A [`Query`] reads the store. It goes to the readers in a [`Job`] and comes back as an
//!   [`Answer`].
//! - Each request names the receiver of its answer as [`ReplyTo`]. The answer to a connection is
//!   [`Mail`] in the [`Mailbox`] of its shard. The answer to a caller in this process is the value
//!   of a [`Call`].
//!
//! Every queue here is bounded and documents what happens when it is full. The sequencer, the
//! readers, the hub and their callers use this module; it uses none of them.

mod command;
mod mailbox;
mod outcome;
mod query;
mod queue;
mod reply;
mod wanted;

use trunkline_proto::ErrorCode;

pub use command::{
    Action, Change, Command, CommandBatch, Committed, ConnRef, Item, Items, Members,
};
#[cfg(test)]
pub(crate) use mailbox::NoSleeper;
pub use mailbox::{Mail, Mailbox, Wake};
pub use outcome::{Done, Next, Outcome};
pub use query::{
    Access, Answer, AnswerKind, Asked, AskedUser, Cursor, Finding, Job, Listing, Opening, Part,
    QUEUE, Query, Range,
};
pub use queue::{Commands, ToSequencer, queue};
pub use reply::{Call, CallAnswer, Lost, Pending, ReplyConn, ReplyTo};
pub use wanted::Wanted;

/// An error reply: its code and its text for people.
pub type Failure = (ErrorCode, &'static str);

/// The error reply where the gateway cannot decode a stored value or record.
pub const UNREADABLE: Failure = (
    ErrorCode::Internal,
    "the data stored for this cannot be decoded: a newer version wrote it, or it is damaged; run \
     `trunkline store verify` on the gateway's data folder",
);

/// The error reply to a caller who names a conversation of others, or one that does not exist.
pub const NOT_A_MEMBER: Failure = (
    ErrorCode::PermissionDenied,
    "you are not a member of this conversation, or it does not exist",
);
