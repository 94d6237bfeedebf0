//! What is asked of the readers, and what they answer.

use compact_str::CompactString;
use trunkline_proto::ErrorCode;
use trunkline_proto::message::ReceiptState;
use trunkline_storage::{BadToken, Epochs, Position, RecordRef, TimelineId};

use super::{ConnRef, ReplyTo, Wanted};
use crate::event::RecordKind;
use crate::ids::UserId;

/// Jobs that may wait; a client that asks for more gets a temporary error.
pub const QUEUE: usize = 4_096;

/// A question to the store.
#[derive(Debug)]
pub struct Job {
    /// To whom the answer goes.
    pub reply_to: ReplyTo,
    /// Nothing after this position is answered: the connection gets that live.
    pub until: Position,
    /// Falls when nobody waits for the answer any more.
    pub wanted: Wanted,
    /// What is asked.
    pub query: Query,
}

/// What can be asked of the store.
#[derive(Debug)]
pub enum Query {
    /// The next page of what a session missed, as pushes.
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
        /// The position to read from.
        since: Position,
        /// The number of events at most.
        limit: usize,
    },
    /// Messages of a conversation.
    History {
        /// The conversation, and who asks.
        access: Access,
        /// Which messages.
        range: Range,
        /// The number of messages at most.
        limit: usize,
    },
    /// One message.
    Get {
        /// The conversation, and who asks.
        access: Access,
        /// The sequence of the message.
        seq: u64,
    },
    /// Who has read a message.
    Receipts {
        /// The conversation, and who asks.
        access: Access,
        /// The sequence of the message.
        seq: u64,
        /// Which members are listed.
        state: ReceiptState,
        /// The names for the answer.
        listing: Box<Listing>,
        /// The number of members at most.
        limit: usize,
    },
    /// Who reacted to a message: with this reaction, or which reactions there are.
    Reactions {
        /// The conversation, and who asks.
        access: Access,
        /// The sequence of the message.
        seq: u64,
        /// The reaction whose users are listed; `None`: all reactions with their counts.
        reaction: Option<Box<str>>,
        /// The names for the answer.
        listing: Box<Listing>,
        /// The number of entries at most.
        limit: usize,
    },
    /// Where a user takes part.
    Conversations {
        /// The user who asks.
        user: UserId,
        /// The names for the answer.
        listing: Box<Listing>,
        /// Where the page before this one ended.
        before: Option<Cursor>,
        /// The number of conversations at most.
        limit: usize,
    },
    /// The name and the members of a group.
    GroupInfo {
        /// The group, and who asks.
        access: Access,
        /// The names for the answer.
        listing: Box<Listing>,
        /// The number of members at most.
        limit: usize,
    },
    /// Who hears that somebody writes in a group.
    Typing {
        /// The group, and who asks.
        access: Access,
        /// The names for the answer.
        listing: Box<Listing>,
    },
    /// A user's contacts.
    Contacts {
        /// The user.
        user: UserId,
        /// Whether the contacts are watched from now on.
        watch: bool,
        /// Which part of the list.
        part: Part,
    },
    /// How users are whom memory does not know.
    LastSeen {
        /// The users, and what is known of them.
        asked: Asked,
    },
    /// The first answer to a creation of a group that came again.
    Made {
        /// The key under which the store keeps the answer.
        key: TimelineId,
    },
    /// The first answer to a send that came again.
    Duplicate {
        /// Where the first message is stored.
        place: RecordRef,
    },
}

impl Query {
    /// Whether a connection may have only few of these at a time.
    pub fn is_paged(&self) -> bool {
        !matches!(
            self,
            Self::CatchUp { .. } | Self::Typing { .. } | Self::Duplicate { .. } | Self::Made { .. }
        )
    }

    /// Whether it is about what a session missed.
    pub fn recovers(&self) -> bool {
        matches!(self, Self::CatchUp { .. })
    }
}

/// Which part of a list.
#[derive(Debug, Clone)]
pub struct Part {
    /// What is behind this one.
    pub after: Option<CompactString>,
    /// So many at most.
    pub limit: usize,
}

impl Part {
    /// A list from its beginning.
    pub const WHOLE: Self = Self {
        after: None,
        limit: usize::MAX,
    };
}

/// The reply to a `connect` with `since`, sent once the position proves good.
#[derive(Debug)]
pub struct Opening {
    /// The position is the one kept under this key.
    pub resumes: Option<TimelineId>,
    /// The session's name.
    pub session: String,
    /// The user's name.
    pub user: String,
    /// The device's name.
    pub device: String,
    /// What the time was when it asked.
    pub time: u64,
    /// The silence after which the gateway pings, in milliseconds.
    pub ping_ms: u32,
    /// The limits that the client is told.
    pub limits: trunkline_proto::message::ConnectLimits,
    /// When its token ends the session.
    pub expires: Option<u64>,
}

/// Users whose presence was asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The users.
    pub users: Vec<AskedUser>,
    /// So many of them, the first, are watched.
    pub watched: usize,
    /// As contacts, and whether there are more.
    pub contacts: Option<bool>,
}

/// A user whose presence was asked for.
#[derive(Debug, Clone)]
pub struct AskedUser {
    /// The user's id.
    pub id: UserId,
    /// The user's name.
    pub name: CompactString,
    /// They are not online, and only the store may know since when.
    pub unknown: bool,
    /// When they left, as far as that was found; memory may forget it at any time.
    pub left: Option<u64>,
}

/// What a list is made of: names, since the store knows only their ids.
#[derive(Debug)]
pub struct Listing {
    /// The namespace of all names.
    pub namespace: String,
    /// Who asks.
    pub user: String,
    /// The conversation, or the group.
    pub name: String,
    /// Only what comes after it.
    pub after: Option<String>,
}

/// Which messages of a conversation.
#[derive(Debug, Clone, Copy)]
pub enum Range {
    /// The newest messages.
    Newest,
    /// The messages before this sequence, the newest first.
    Before(u64),
    /// The messages after this sequence, the oldest first.
    After(u64),
}

/// What a reader found.
#[derive(Debug)]
pub struct Answer {
    /// The connection that asked.
    pub conn: ConnRef,
    /// Frames for the connection.
    pub frames: Vec<u8>,
    /// The error in them, to be counted.
    pub error: Option<ErrorCode>,
    /// What the answer is.
    pub kind: AnswerKind,
}

/// What an answer is.
#[derive(Debug)]
pub enum AnswerKind {
    /// A reply.
    Reply {
        /// Whether it is a page, of which a connection may ask for few at a time.
        paged: bool,
    },
    /// The send reply of an earlier message.
    SendReply,
    /// What the shard needs to carry out the command with this id.
    Found {
        /// The client's id for the command.
        id: u32,
        /// What was found.
        finding: Box<Finding>,
        /// Whether it is a page, of which a connection may ask for few at a time.
        paged: bool,
    },
    /// Pushes up to `reached`, so many of each [`RecordKind`].
    CaughtUp {
        /// Where the session goes on from.
        began: Position,
        /// The position up to which events are pushed.
        reached: Position,
        /// Whether there are more events.
        more: bool,
        /// How many events of each kind are pushed.
        pushed: [u32; RecordKind::ROOM],
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
pub enum Finding {
    /// Who is to be told.
    Typing {
        /// The name of the conversation.
        conversation: String,
        /// The ids of the users.
        users: Vec<UserId>,
    },
    /// A user's contacts.
    Contacts {
        /// Their names.
        names: Vec<String>,
        /// Whether they are watched from now on.
        watch: bool,
        /// Which part of the list is wanted.
        part: Part,
    },
    /// When users were last seen.
    LastSeen {
        /// The users.
        asked: Asked,
    },
}

/// A conversation that somebody wants to read.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// The user who wants to read it.
    pub user: UserId,
    /// The conversation's id.
    pub conversation: TimelineId,
    /// Whether the user is in it is to be found out; otherwise the user is one of two.
    pub group: bool,
}

/// Where a page of conversations ends: those with messages come first, by the newest; then groups
/// in which nothing was said yet, the newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Whether the conversation has a message.
    pub(crate) has_message: bool,
    /// The position of the newest message, or of what made the user a member.
    pub(crate) at: u64,
}

impl Cursor {
    /// Reads back a cursor that a client was given.
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

    /// What a client is given who has read the page up to here. What proves it is the `head` of
    /// the log at that time: the rest of the list is of the same history.
    pub(crate) fn text(self, epochs: &Epochs, head: Position) -> String {
        let kind = if self.has_message { 'm' } else { 'g' };
        let detail = format!("{kind}{}", self.at);
        let token = epochs.token_with(head, detail.as_bytes());
        format!("{detail}-{token}")
    }
}

#[cfg(test)]
mod tests {
    use trunkline_storage::{Options, Store};

    use super::*;

    #[test]
    fn cursors_are_opaque_but_checked() {
        let open = || {
            let dir = tempfile::tempdir().unwrap();
            let options = Options {
                segment_bytes: 1 << 20,
                max_record_bytes: 64 << 10,
                ..Options::default()
            };
            let opened = Store::open(dir.path(), options, &mut |_| ()).unwrap();
            (dir, opened.reader)
        };
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
