//! Threads that read the store for the shards.
//!
//! A shard never waits for a disk: it queues a job and finds the answer, framed and ready for the
//! socket, in its mailbox.

mod answer;

use std::sync::Arc;

use crossbeam::channel::Receiver;
use trunkline_proto::Encoding;
use trunkline_proto::ErrorCode;
use trunkline_storage::{Page, Place, Position, Reader, TimelineId};

use crate::ids::UserId;
use crate::sequencer::command::ConnRef;
use crate::shard::mailbox::{Mail, Mailbox};

/// Jobs that may wait; a client that asks for more gets a temporary error.
pub(crate) const QUEUE: usize = 4_096;

/// A question of a connection to the store.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) shard: usize,
    pub(crate) conn: ConnRef,
    /// The client's id for the command; 0 for [`Query::CatchUp`].
    pub(crate) id: u32,
    pub(crate) encoding: Encoding,
    /// Nothing after this position is answered: the connection gets that live.
    pub(crate) until: Position,
    pub(crate) query: Query,
}

#[derive(Debug)]
pub(crate) enum Query {
    /// The next page of what a session missed, as pushes.
    CatchUp {
        user: UserId,
        since: Position,
        connect: Option<Box<Opening>>,
    },
    Sync {
        user: UserId,
        since: Position,
        limit: usize,
    },
    History {
        conversation: TimelineId,
        range: Range,
        limit: usize,
    },
    Get {
        conversation: TimelineId,
        seq: u64,
    },
    /// The first answer to a send that came again.
    Duplicate {
        place: Place,
    },
    /// A conversation that the caller is no member of: does it exist?
    Deny {
        conversation: TimelineId,
    },
}

/// The reply to a `connect` with `since`, sent once the position proves good.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) session: String,
    pub(crate) user: String,
    pub(crate) device: String,
    pub(crate) ping_ms: u32,
    pub(crate) limits: trunkline_proto::message::ConnectLimits,
}

/// Which messages of a conversation.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Range {
    Newest,
    Before(u64),
    After(u64),
}

/// What a reader found.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) conn: ConnRef,
    /// Frames for the connection.
    pub(crate) frames: Vec<u8>,
    /// The error in them, to be counted.
    pub(crate) error: Option<ErrorCode>,
    pub(crate) kind: AnswerKind,
}

#[derive(Debug)]
pub(crate) enum AnswerKind {
    /// A reply; `paged` for those that a connection may have few of at a time.
    Reply { paged: bool },
    /// The send reply of an earlier message.
    SendReply,
    /// Pushes up to `reached`, so many of them messages and receipts.
    CaughtUp {
        reached: Position,
        more: bool,
        messages: u64,
        receipts: u64,
    },
    /// The position to catch up from is gone; the frames say so.
    Expired,
}

/// Answers jobs until the last sender of `jobs` is gone.
pub(crate) fn run(store: &Reader, jobs: &Receiver<Job>, mailboxes: &[Arc<Mailbox>]) {
    let mut page = Page::default();
    while let Ok(job) = jobs.recv() {
        let answer = answer::answer(store, &job, &mut page);
        mailboxes[job.shard].put_waiting(Mail::Answer(answer));
    }
}
