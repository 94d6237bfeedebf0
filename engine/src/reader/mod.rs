//! Threads that read the store for the shards.
//!
//! A shard never waits for a disk: it queues a job and finds the answer, framed and ready for the
//! socket, in its mailbox.

mod access;
mod answer;
mod feed;
mod lists;
mod passing;
mod reactions;
mod unread;

use std::sync::Arc;

use compact_str::CompactString;
use crossbeam::channel::Receiver;
use trunkline_proto::Encoding;
use trunkline_proto::ErrorCode;
use trunkline_proto::message::ReceiptState;
use trunkline_storage::{Page, Place, Position, Reader, TimelineId};

use crate::event::Kind;
use crate::ids::{Ids, UserId};
use crate::sequencer::command::ConnRef;
use crate::shard::mailbox::{Mail, Mailbox};
use crate::shard::questions::Wanted;
pub(crate) use access::Access;
use feed::Feed;
pub(crate) use lists::Cursor;

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
    /// Falls when nobody waits for the answer any more.
    pub(crate) wanted: Wanted,
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
        access: Access,
        range: Range,
        limit: usize,
    },
    Get {
        access: Access,
        seq: u64,
    },
    /// Who has read a message.
    Receipts {
        access: Access,
        seq: u64,
        state: ReceiptState,
        listing: Box<Listing>,
        limit: usize,
    },
    /// Who reacted to a message: with this reaction, or which reactions there are.
    Reactions {
        access: Access,
        seq: u64,
        reaction: Option<Box<str>>,
        listing: Box<Listing>,
        limit: usize,
    },
    /// Where a user takes part.
    Conversations {
        user: UserId,
        listing: Box<Listing>,
        before: Option<Cursor>,
        limit: usize,
    },
    GroupInfo {
        access: Access,
        listing: Box<Listing>,
        limit: usize,
    },
    /// Who hears that somebody writes in a group.
    Typing {
        access: Access,
        listing: Box<Listing>,
    },
    Contacts {
        user: UserId,
        watch: bool,
        part: Part,
    },
    /// How users are whom memory does not know.
    LastSeen {
        asked: Asked,
    },
    /// The first answer to a creation of a group that came again.
    Made {
        key: TimelineId,
    },
    /// The first answer to a send that came again.
    Duplicate {
        place: Place,
    },
}

impl Query {
    /// Whether a connection may have only few of these at a time.
    pub(crate) fn is_paged(&self) -> bool {
        !matches!(
            self,
            Self::CatchUp { .. } | Self::Typing { .. } | Self::Duplicate { .. } | Self::Made { .. }
        )
    }

    /// Whether it is about what a session missed.
    pub(crate) fn recovers(&self) -> bool {
        matches!(self, Self::CatchUp { .. })
    }
}

/// Which part of a list.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// What is behind this one.
    pub(crate) after: Option<CompactString>,
    /// So many at most.
    pub(crate) limit: usize,
}

impl Part {
    /// A list from its beginning.
    pub(crate) const WHOLE: Self = Self {
        after: None,
        limit: usize::MAX,
    };
}

/// The reply to a `connect` with `since`, sent once the position proves good.
#[derive(Debug)]
pub(crate) struct Opening {
    /// The position is the one kept under this key.
    pub(crate) resumes: Option<TimelineId>,
    pub(crate) session: String,
    pub(crate) user: String,
    pub(crate) device: String,
    /// What the time was when it asked.
    pub(crate) time: u64,
    pub(crate) ping_ms: u32,
    pub(crate) limits: trunkline_proto::message::ConnectLimits,
    /// When its token ends the session.
    pub(crate) expires: Option<u64>,
}

/// Users whose presence was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) users: Vec<AskedUser>,
    /// So many of them, the first, are watched.
    pub(crate) watched: usize,
    /// As contacts, and whether there are more.
    pub(crate) contacts: Option<bool>,
}

#[derive(Debug, Clone)]
pub(crate) struct AskedUser {
    pub(crate) id: UserId,
    pub(crate) name: CompactString,
    /// They are not online, and only the store may know since when.
    pub(crate) unknown: bool,
    /// When they left, as far as that was found; memory may forget it at any time.
    pub(crate) left: Option<u64>,
}

/// What a list is made of: names, since the store knows only their ids.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) namespace: String,
    /// Who asks.
    pub(crate) user: String,
    /// The conversation, or the group.
    pub(crate) name: String,
    /// Only what comes after it.
    pub(crate) after: Option<String>,
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
    /// What the shard needs to carry out the command with this id.
    Found {
        id: u32,
        finding: Box<Finding>,
        paged: bool,
    },
    /// Pushes up to `reached`, so many of each [`Kind`].
    CaughtUp {
        /// Where the session goes on from.
        began: Position,
        reached: Position,
        more: bool,
        pushed: [u32; Kind::ROOM],
    },
    /// The position to catch up from is gone; the frames say so.
    Expired,
    /// Nobody waited any more, and nothing was looked up.
    Dropped {
        /// It counted as a command in flight.
        counted: bool,
    },
}

/// What a reader finds for a command that the shard carries out.
#[derive(Debug)]
pub(crate) enum Finding {
    /// Who is to be told.
    Typing {
        conversation: String,
        users: Vec<UserId>,
    },
    Contacts {
        names: Vec<String>,
        watch: bool,
        part: Part,
    },
    LastSeen {
        asked: Asked,
    },
}

/// What a reading thread works with.
struct Room {
    ids: Ids,
    page: Page,
    feed: Feed,
    /// Bytes of a message.
    most: usize,
}

/// Answers jobs until the last sender of `jobs` is gone, with messages of `most` bytes at most.
pub(crate) fn run(store: &Reader, jobs: &Receiver<Job>, mailboxes: &[Arc<Mailbox>], most: usize) {
    let mut room = Room {
        ids: Ids(store.key()),
        page: Page::default(),
        feed: Feed::default(),
        most,
    };
    while let Ok(job) = jobs.recv() {
        if mailboxes[job.shard].is_closed() {
            continue;
        }
        let answer = if job.wanted.is_so() {
            answer::answer(store, &job, &mut room)
        } else {
            dropped(&job)
        };
        mailboxes[job.shard].put_waiting(Mail::Answer(answer));
    }
}

/// The answer to a question whose connection is closed: the shard takes it off its counts.
fn dropped(job: &Job) -> Answer {
    Answer {
        conn: job.conn,
        frames: Vec::new(),
        error: None,
        kind: AnswerKind::Dropped {
            counted: !matches!(job.query, Query::CatchUp { .. }),
        },
    }
}
