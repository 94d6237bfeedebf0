//! The place where threads meet: requests, the queues that carry them, and the answers.
//!
//! - A [`Command`] changes the store. Commands go to the sequencer in a [`CommandBatch`] through
//!   [`ToSequencer`]. Their outcomes come back as [`Committed`].
//! - A [`Query`] reads the store. It goes to the readers in a [`Job`] through [`ToReaders`] and
//!   comes back as an [`Answer`].
//! - A [`BackQuestion`] is for a program of the operator. It goes to the back ends in a [`BackJob`].
//! - An [`Order`] of an operator goes to a shard as [`Mail`], and its result comes back as a [`Slice`].
//! - Each request names the receiver of its answer as [`ReplyTo`]. The answer to a connection is
//!   [`Mail`] in the [`Mailbox`] of its shard. The answer to a caller in this process is the value
//!   of a [`Call`].
//!
//! Every queue here is bounded and documents what happens when it is full. The sequencer, the
//! readers, the hub and their callers use this module; it uses none of them.

mod back;
mod carried;
mod command;
mod jobs;
mod mailbox;
mod order;
mod outcome;
mod query;
mod queue;
mod reply;
mod search;
pub(crate) mod slices;
mod topics;
mod wanted;

pub use back::{
    Admitted, BackEnds, BackJob, BackKind, BackMail, BackQuestion, BackUser, Caller as BackCaller,
    Deliver, Judged, SendTurn, Topics, Verdict,
};
pub use carried::CARRIED_VERSION;
pub use command::{
    Action, Change, Command, CommandBatch, Committed, ConnRef, EraseStep, Item, Items, Members,
};
pub use jobs::{JobRefused, Jobs, JobsForm, Take, ToReaders, jobs};
#[cfg(test)]
pub(crate) use mailbox::NoSleeper;
pub use mailbox::{Mail, Mailbox, Wake};
pub use order::{
    ENDED, Ending, Meant, Order, PLACES, Seen, Slice, Task, TokenMark, Which, first_number,
    unnamed_device,
};
pub use outcome::{Done, Next, Outcome};
pub use query::{
    Access, Answer, AnswerKind, Cursor, Finding, Job, Listing, Opening, Part, Passing,
    PresenceQuery, PresenceUser, QUEUE, Query, Range,
};
pub use queue::{Commands, ToSequencer, queue, queue_with};
pub use reply::{Answered, Call, CallAnswer, Lost, Pending, Remote, ReplyConn, ReplyTo};
pub use search::{FoundAt, Search};
pub use topics::{AskNodes, TopicAnswer, TopicAsk, TopicFound, TopicQuery};
pub use wanted::Wanted;

pub use crate::failure::{
    BAD_TOPIC, BAD_USER, BLOCKED, Failure, NO_TOPIC_NODE, NOT_A_MEMBER, TOO_MANY_TOPICS, UNREADABLE,
};
