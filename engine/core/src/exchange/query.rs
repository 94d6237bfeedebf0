//! The queries to the readers, and their answers.

use std::sync::Arc;

use compact_str::CompactString;
use trunkline_proto::ErrorCode;
use trunkline_proto::message::{Json, ReceiptState};
use trunkline_storage::{BadToken, Epochs, Position, RecordRef, TimelineId};

use super::slices::LongLookUp;
use super::{ConnRef, Failure, ReplyTo, Search, TopicFound, TopicQuery, Wanted};
use crate::cost::Cost;
use crate::event::RecordKind;
use crate::ids::UserId;
use crate::turns::Flow;

/// The maximum number of waiting jobs, and of waiting questions of a shard. A client that asks for
/// more gets a temporary error.
pub const QUEUE: usize = 4_096;

/// The least bytes that count for an event that waits for a reader's word.
const LEAST_HELD: usize = 4 << 10;

/// A query with the receiver of its answer.
#[derive(Debug)]
pub struct Job {
    /// The user who asks.
    pub flow: Flow,
    /// The receiver of the answer.
    pub reply_to: ReplyTo,
    /// The position up to which events are part of the answer. The connection receives later ones
    /// live.
    pub until: Position,
    /// Says whether somebody still waits for the answer.
    pub wanted: Wanted,
    /// The query.
    pub query: Query,
    /// The rest of the look-up, if a reader has done slices of it.
    pub(crate) rest: Option<LongLookUp>,
    /// The cost of the slices so far.
    pub(crate) cost: Cost,
}

impl Job {
    /// Returns a job that no reader has begun.
    pub fn new(
        flow: Flow,
        reply_to: ReplyTo,
        until: Position,
        wanted: Wanted,
        query: Query,
    ) -> Self {
        Self {
            flow,
            reply_to,
            until,
            wanted,
            query,
            rest: None,
            cost: Cost::NONE,
        }
    }

    /// Returns whether a reader has done a slice of the look-up.
    pub(crate) fn has_begun(&self) -> bool {
        self.rest.is_some()
    }
}

/// A request that reads the store.
#[derive(Debug)]
pub enum Query {
    /// The next page of the events that a session missed, as pushes.
    CatchUp {
        /// The user who catches up.
        user: UserId,
        /// The position to catch up from.
        since: Position,
        /// The reply to `connect`, if this is the first page.
        connect: Option<Box<Opening>>,
    },
    /// The events of a user after a position.
    Sync {
        /// The user who asks.
        user: UserId,
        /// The position to read from; `None` for the oldest event that there is.
        since: Option<Position>,
        /// The maximum number of events.
        limit: usize,
    },
    /// Messages of a conversation.
    History {
        /// The conversation, and the user who asks.
        access: Access,
        /// The range of the messages.
        range: Range,
        /// The maximum number of messages.
        limit: usize,
    },
    /// A message, and the replies to it.
    Thread {
        /// The conversation, and the user who asks.
        access: Access,
        /// The sequence of the message.
        first: u64,
        /// The range of the messages.
        range: Range,
        /// The maximum number of messages.
        limit: usize,
    },
    /// One message.
    Get {
        /// The conversation, and the user who asks.
        access: Access,
        /// The sequence of the message.
        seq: u64,
    },
    /// The members who have received or read a message.
    Receipts {
        /// The conversation, and the user who asks.
        access: Access,
        /// The sequence of the message.
        seq: u64,
        /// The state of the members to list.
        state: ReceiptState,
        /// The names for the answer.
        listing: Box<Listing>,
        /// The maximum number of members.
        limit: usize,
    },
    /// The reactions to a message, or the users who set one of them.
    Reactions {
        /// The conversation, and the user who asks.
        access: Access,
        /// The sequence of the message.
        seq: u64,
        /// The reaction whose users to list; `None` lists all reactions with their counts.
        reaction: Option<Box<str>>,
        /// The names for the answer.
        listing: Box<Listing>,
        /// The maximum number of entries.
        limit: usize,
    },
    /// The conversations of a user.
    Conversations {
        /// The user who asks.
        user: UserId,
        /// The names for the answer.
        listing: Box<Listing>,
        /// The end of the page before; `None` for the first page.
        before: Option<Cursor>,
        /// The maximum number of conversations.
        limit: usize,
    },
    /// Messages with words.
    Search(Box<Search>),
    /// The name and the members of a group.
    GroupInfo {
        /// The group, and the user who asks.
        access: Access,
        /// The names for the answer.
        listing: Box<Listing>,
        /// The maximum number of members.
        limit: usize,
    },
    /// The members of a group who learn that a user is typing.
    Typing {
        /// The group, and the user who asks.
        access: Access,
        /// The names for the answer.
        listing: Box<Listing>,
        /// Whether the user has stopped.
        stop: bool,
    },
    /// A user's contacts.
    Contacts {
        /// The user.
        user: UserId,
        /// Whether the contacts are watched from now on.
        watch: bool,
        /// The part of the list.
        part: Part,
    },
    /// The users whom a user blocks.
    Blocked {
        /// The user.
        user: UserId,
        /// The part of the list.
        part: Part,
    },
    /// Whether the user of the query may hand an event to another user.
    Pass {
        /// The user who hands it over.
        from: UserId,
        /// The user who gets it.
        to: UserId,
        /// The event, which comes back with the answer.
        passing: Arc<Passing>,
    },
    /// The last-seen times of users that memory does not have.
    LastSeen {
        /// The users, with the known times.
        asked: PresenceQuery,
    },
    /// The first answer to a repeated creation of a group.
    Made {
        /// The key under which the store keeps the answer.
        key: TimelineId,
    },
    /// The first answer to a repeated send.
    Duplicate {
        /// The place of the first message.
        place: RecordRef,
    },
    /// A question about a topic to another node of a cluster. A reader passes it on.
    Topic(Box<TopicQuery>),
}

impl PresenceQuery {
    /// Returns whether the store has to be asked for some of the users.
    pub fn needs_store(&self) -> bool {
        self.users.iter().any(|user| user.unknown || user.may_block)
    }
}

impl Query {
    /// Returns whether the query is a page. A connection may have only a few pages in flight.
    pub fn is_paged(&self) -> bool {
        !matches!(
            self,
            Self::CatchUp { .. }
                | Self::Duplicate { .. }
                | Self::Made { .. }
                | Self::Pass { .. }
                | Self::Topic(_)
        )
    }

    /// Returns whether the query goes ahead of the pages that its connection asked for earlier.
    pub fn goes_first(&self) -> bool {
        matches!(
            self,
            Self::Duplicate { .. } | Self::Made { .. } | Self::Pass { .. } | Self::Topic(_)
        )
    }

    /// Returns whether the answer has to show what the connection wrote before.
    pub fn follows_writes(&self) -> bool {
        !matches!(self, Self::Pass { .. } | Self::Topic(_))
    }

    /// Returns the bytes that count as held while the query waits: those of an event that goes on with the
    /// answer, and at least 4 KiB, so that the number of such queries has a bound too.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Pass { passing, .. } => passing.bytes().max(LEAST_HELD),
            Self::Topic(query) => query.what.bytes().max(LEAST_HELD),
            _ => 0,
        }
    }

    /// Returns whether a reader looks the answer up in slices, because it may take long.
    pub(crate) fn is_long(&self) -> bool {
        matches!(
            self,
            Self::Conversations { .. }
                | Self::Search(_)
                | Self::Thread { .. }
                | Self::Receipts { .. }
                | Self::GroupInfo { .. }
                | Self::Typing { .. }
                | Self::LastSeen { .. }
        )
    }

    /// Returns whether the query reads the events that a session missed.
    pub fn recovers(&self) -> bool {
        matches!(self, Self::CatchUp { .. })
    }
}

/// A part of a list.
#[derive(Debug, Clone)]
pub struct Part {
    /// The entry after which the part begins; `None` for the beginning of the list.
    pub after: Option<CompactString>,
    /// The maximum number of entries.
    pub limit: usize,
}

impl Part {
    /// The whole list.
    pub const WHOLE: Self = Self {
        after: None,
        limit: usize::MAX,
    };
}

/// The reply to a `connect` with `since`. A reader sends it after it has checked the position.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The key under which the store keeps the position; `None` if the client gave the position.
    pub resumes: Option<TimelineId>,
    /// The name of the session.
    pub session: String,
    /// The name of the user.
    pub user: String,
    /// The name of the device.
    pub device: String,
    /// The time of the `connect` in milliseconds since 1970 UTC.
    pub time: u64,
    /// The silence after which the gateway pings, in milliseconds.
    pub ping_ms: u32,
    /// The limits in the reply.
    pub limits: trunkline_proto::message::ConnectLimits,
    /// When the token ends the session, in milliseconds since 1970 UTC; `None` without an end.
    pub expires: Option<u64>,
}

/// An event that one user hands to another, and that is not stored.
#[derive(Debug, Clone)]
pub enum Passing {
    /// The user is typing.
    Typing {
        /// The name of the conversation.
        conversation: String,
        /// Whether the user has stopped.
        stop: bool,
    },
    /// A value.
    Signal(Json<'static>),
    /// An event that the asker keeps.
    Kept,
}

impl Passing {
    fn bytes(&self) -> usize {
        match self {
            Self::Typing { conversation, .. } => conversation.len(),
            Self::Signal(data) => data.as_str().len(),
            Self::Kept => 0,
        }
    }
}

/// The users of a request for presence.
#[derive(Debug, Clone)]
pub struct PresenceQuery {
    /// The users.
    pub users: Vec<PresenceUser>,
    /// The number of users to watch, from the first.
    pub watched: usize,
    /// Whether the list of contacts has more users; `None` if the users are not contacts.
    pub contacts: Option<bool>,
    /// The user who asks.
    pub by: UserId,
    /// Why the store did not answer; `None` if it did.
    pub failed: Option<Failure>,
}

/// One user of a request for presence.
#[derive(Debug, Clone)]
pub struct PresenceUser {
    /// The user's id.
    pub id: UserId,
    /// The user's name.
    pub name: CompactString,
    /// Whether the user is offline, and only the store may have the last-seen time.
    pub unknown: bool,
    /// Whether the user may block the one who asks: the store knows.
    pub may_block: bool,
    /// Whether the user blocks the one who asks, as the store says.
    pub blocks: bool,
    /// Whether the answer leaves the user out: only the watch is settled.
    pub is_unlisted: bool,
    /// The number of the command with which the watch began; 0 if it began with an earlier one, or if there is
    /// none.
    pub begun: u32,
    /// The last-seen time in milliseconds since 1970 UTC, if it was found. It is kept here because
    /// memory may forget it at any time.
    pub left: Option<u64>,
}

/// The names for an answer. The store has only their ids.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The namespace of all names.
    pub namespace: String,
    /// The name of the user who asks.
    pub user: String,
    /// The name of the conversation or the group.
    pub name: String,
    /// The entry after which the page begins; `None` for the first page.
    pub after: Option<String>,
}

/// A range of messages of a conversation.
#[derive(Debug, Clone, Copy)]
pub enum Range {
    /// The newest messages.
    Newest,
    /// The messages before this sequence, the newest first.
    Before(u64),
    /// The messages after this sequence, the oldest first.
    After(u64),
}

/// The answer of a reader.
#[derive(Debug)]
pub struct Answer {
    /// The connection that asked.
    pub conn: ConnRef,
    /// Frames for the connection.
    pub frames: Vec<u8>,
    /// The code of the error in the frames, for the metrics.
    pub error: Option<ErrorCode>,
    /// The kind of the answer.
    pub kind: AnswerKind,
    /// The cost of the look-up and of sending the frames. The shard charged for reading the command
    /// before.
    pub cost: Cost,
}

/// The kind of an answer.
#[derive(Debug)]
pub enum AnswerKind {
    /// A reply.
    Reply {
        /// Whether the answer is a page. A connection may have only a few pages in flight.
        paged: bool,
    },
    /// The reply to a repeated send, about the first message.
    SendReply,
    /// The data that the shard needs to carry out the command with this id.
    Found {
        /// The client's id for the command.
        id: u32,
        /// The data.
        finding: Box<Finding>,
        /// Whether the answer is a page. A connection may have only a few pages in flight.
        paged: bool,
    },
    /// The pushes of the events up to `reached`.
    CaughtUp {
        /// The position from which the session continued.
        began: Position,
        /// The position up to which the frames have all events.
        reached: Position,
        /// Whether there are more events.
        more: bool,
        /// The number of pushed events of each [`RecordKind`]. A page has a few hundred at most.
        pushed: [u16; RecordKind::ROOM],
    },
    /// The position to catch up from has expired. The frames say so.
    Expired,
    /// The readers looked nothing up, because the connection was closed.
    Dropped {
        /// Whether the query counted as a command in flight.
        counted: bool,
    },
}

/// The data of the store for a command that a shard carries out.
#[derive(Debug)]
pub enum Finding {
    /// The users who learn that a user is typing.
    Typing {
        /// The name of the conversation.
        conversation: String,
        /// The ids of the users.
        users: Vec<UserId>,
        /// Whether the user has stopped.
        stop: bool,
    },
    /// The other user accepts the event.
    Pass {
        /// The user who gets it.
        to: UserId,
        /// The event.
        passing: Arc<Passing>,
    },
    /// A user's contacts.
    Contacts {
        /// The names of the contacts.
        names: Vec<String>,
        /// Whether the user watches the contacts from now on.
        watch: bool,
        /// The part of the list to show.
        part: Part,
    },
    /// The last-seen times of users.
    LastSeen {
        /// The users.
        asked: PresenceQuery,
    },
    /// What the node that numbers the publications of a topic answered.
    Topic(TopicFound),
}

/// A conversation that a user reads.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// The user who reads.
    pub user: UserId,
    /// The conversation's id.
    pub conversation: TimelineId,
    /// Whether the conversation is a group. The reader then checks that the user is a member.
    pub group: bool,
}

/// The end of a page of conversations.
///
/// Conversations with messages come first, by their newest message. Groups without messages follow.
/// The newest comes first in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Whether the conversation has a message.
    pub(crate) has_message: bool,
    /// The position of the newest message, or of the record that made the user a member.
    pub(crate) at: u64,
}

impl Cursor {
    /// Reads a cursor from a client.
    ///
    /// # Errors
    /// The text is not a cursor, or not one of this history.
    pub fn parse(epochs: &Epochs, text: &str) -> Result<Self, BadToken> {
        let (detail, token) = text.split_once('-').ok_or(BadToken::Form)?;
        let (kind, at) = detail.split_at_checked(1).ok_or(BadToken::Form)?;
        let has_message = match kind {
            "m" => true,
            "g" => false,
            _ => return Err(BadToken::Form),
        };
        let at = at.parse().map_err(|_| BadToken::Form)?;
        epochs.check_with(token, detail.as_bytes())?;
        Ok(Self { has_message, at })
    }

    /// Returns the cursor as clients get it. `head` is the head of the log at the time of the page. It
    /// proves that the next page is of the same history.
    pub(crate) fn text(self, epochs: &Epochs, head: Position) -> String {
        let kind = if self.has_message { 'm' } else { 'g' };
        let detail = format!("{kind}{}", self.at);
        let token = epochs.token_with(head, detail.as_bytes());
        format!("{detail}-{token}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_store::open;

    #[test]
    fn cursors_are_opaque_but_checked() {
        let ((_one, store), (_other, foreign)) = (open(), open());
        let epochs = store.epochs();
        let cursor = |has_message, at| Cursor { has_message, at };
        let head = Position(4_096);
        for cursor in [cursor(true, 7), cursor(false, 0)] {
            let text = cursor.text(epochs, head);
            assert_eq!(Cursor::parse(epochs, &text), Ok(cursor));
            let elsewhere = Cursor::parse(foreign.epochs(), &text);
            assert_eq!(elsewhere, Err(BadToken::Foreign));
            // Another place, kind or position than was given out.
            for (from, to) in [
                ("7", "8"),
                ("0", "1"),
                ("m", "g"),
                ("g", "m"),
                ("4096", "4097"),
            ] {
                let other = text.replacen(from, to, 1);
                let refused = Cursor::parse(epochs, &other) == Err(BadToken::Foreign);
                assert!(refused || other == text, "{other}");
            }
        }
        for bad in [
            "",
            "m",
            "7",
            "m7",
            "x7-00000000-1",
            "m+7",
            "ä7-1",
            "m7 -",
            "m7-x",
            "m-1-1",
        ] {
            assert_eq!(Cursor::parse(epochs, bad), Err(BadToken::Form), "{bad:?}");
        }
        assert!(cursor(true, 1) > cursor(false, 9), "messages before none");
    }
}
