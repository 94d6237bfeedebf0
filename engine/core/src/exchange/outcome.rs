//! The outcomes of commands, and the answers to them.

use trunkline_proto::ErrorCode;
use trunkline_proto::message::{
    AckReply, Done as Nothing, GroupCreateReply, GroupMembersReply, ReplyBody, SendReply,
};
use trunkline_storage::{Batch, Position, Record, RecordRef, TimelineId, Token};

use super::{Failure, Part, Query};
use crate::event;
use crate::ids::UserId;
use crate::position::Tokens;

/// The outcome of a command.
#[derive(Debug, Clone, Copy)]
pub enum Outcome {
    /// The message is the record at this position of the batch.
    Sent(Position),
    /// The message is an earlier record.
    Duplicate(RecordRef),
    /// The command was carried out: its record is at this position of the batch. `None` if everything
    /// was already as the command asks.
    Done(Done, Option<Position>),
    /// An earlier command with the same idempotency key created the group. A reader finds the first
    /// answer under this key.
    Made(TimelineId),
    /// The contacts are as the command asks. The shard reads and shows them, and may watch them.
    Contacts {
        /// Whether the caller watches the contacts from now on.
        watch: bool,
    },
    /// The command failed, with the code and text of the error reply.
    Failed(ErrorCode, &'static str),
    /// An acknowledgement failed, with the code and text of the error reply.
    NotAcked(ErrorCode, &'static str),
}

/// The command that was carried out, with the content of its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// The marks have at least reached the acknowledged messages.
    Ack,
    /// The message is recalled.
    Recall,
    /// The message has the new content.
    Edit,
    /// The message is deleted from the caller's view.
    Delete,
    /// The reaction is set or removed.
    React,
    /// The group exists.
    GroupCreate {
        /// The number of its members.
        members: u64,
    },
    /// The users are members.
    GroupAdd {
        /// The number of members.
        members: u64,
    },
    /// The users are not members.
    GroupRemove {
        /// The number of members.
        members: u64,
    },
    /// The caller is not a member.
    GroupLeave,
    /// The group has the new display name.
    GroupRename,
    /// The member has the role.
    GroupRole,
    /// The group has the picture and the rules.
    GroupSet,
    /// The caller is a member.
    GroupJoin {
        /// The number of members.
        members: u64,
    },
    /// The message is pinned.
    Pin,
    /// The message is not pinned.
    Unpin,
    /// The user is blocked.
    Block,
    /// The user is not blocked.
    Unblock,
    /// The conversation has the settings.
    Settings,
    /// The step of the erasure is complete.
    Erase,
}

impl Outcome {
    /// Returns the outcome of an acknowledgement, which counts its failures apart.
    pub fn of_ack(self) -> Self {
        match self {
            Self::Failed(code, message) => Self::NotAcked(code, message),
            other => other,
        }
    }

    /// Returns whether this is the outcome of an acknowledgement.
    pub const fn is_of_ack(self) -> bool {
        matches!(self, Self::Done(Done::Ack, _) | Self::NotAcked(..))
    }

    /// Returns the position of the record of the command; `None` if the command has no record of its
    /// own in the batch.
    pub fn position(self) -> Option<Position> {
        match self {
            Self::Sent(position) | Self::Done(_, Some(position)) => Some(position),
            _ => None,
        }
    }

    /// Returns the answer to a command of `user`, or the query that finds it. `batch` is the commit
    /// with the record, and `ahead` the difference of times in [`Committed`](super::Committed).
    /// Writes the position of a message into `pos`. `None` if the record cannot be decoded.
    pub fn next<'b>(
        self,
        user: UserId,
        (batch, ahead): (&'b Batch, u64),
        tokens: &mut Tokens,
        pos: &'b mut Token,
    ) -> Option<Next<'b>> {
        Some(match self {
            Self::Sent(position) => {
                let record = batch.record_at(position);
                let conversation = event::conversation(record.body)?;
                *pos = tokens.token(position);
                Next::Reply(ReplyBody::Send(SendReply {
                    conversation: conversation.into(),
                    seq: record.seq,
                    pos: pos.as_str().into(),
                    time: record.time.wrapping_add(ahead),
                    duplicate: false,
                }))
            }
            Self::Duplicate(place) => Next::Ask(Query::Duplicate { place }),
            Self::Made(key) => Next::Ask(Query::Made { key }),
            Self::Contacts { watch } => {
                let part = Part::WHOLE;
                Next::Ask(Query::Contacts { user, watch, part })
            }
            Self::Done(done, position) => {
                let record = position.map(|position| batch.record_at(position));
                Next::Reply(done.reply(record))
            }
            Self::Failed(code, message) | Self::NotAcked(code, message) => {
                Next::Failed((code, message))
            }
        })
    }
}

/// The answer to a command, or the query that finds the answer.
#[derive(Debug)]
pub enum Next<'b> {
    /// The reply.
    Reply(ReplyBody<'b>),
    /// The query to the readers that finds the answer.
    Ask(Query),
    /// The error reply.
    Failed(Failure),
}

impl Done {
    /// Returns the reply to the command. `record` is the record of the command, if it has one.
    fn reply(self, record: Option<Record<'_>>) -> ReplyBody<'_> {
        let nothing = Nothing {};
        match self {
            Self::Ack => ReplyBody::Ack(AckReply {}),
            // No client asks for a step of an erasure: the reply says nothing.
            Self::Recall | Self::Erase => ReplyBody::Recall(nothing),
            Self::Edit => ReplyBody::Edit(nothing),
            Self::Delete => ReplyBody::Delete(nothing),
            Self::React => ReplyBody::React(nothing),
            Self::GroupCreate { members } => {
                let conversation = record.and_then(|record| event::conversation(record.body));
                ReplyBody::GroupCreate(GroupCreateReply {
                    conversation: conversation.unwrap_or_default().into(),
                    members,
                    duplicate: false,
                })
            }
            Self::GroupAdd { members } => ReplyBody::GroupAdd(GroupMembersReply { members }),
            Self::GroupRemove { members } => ReplyBody::GroupRemove(GroupMembersReply { members }),
            Self::GroupLeave => ReplyBody::GroupLeave(nothing),
            Self::GroupRename => ReplyBody::GroupRename(nothing),
            Self::GroupRole => ReplyBody::GroupRole(nothing),
            Self::GroupSet => ReplyBody::GroupSet(nothing),
            Self::GroupJoin { members } => ReplyBody::GroupJoin(GroupMembersReply { members }),
            Self::Pin => ReplyBody::Pin(nothing),
            Self::Unpin => ReplyBody::Unpin(nothing),
            Self::Block => ReplyBody::Block(nothing),
            Self::Unblock => ReplyBody::Unblock(nothing),
            Self::Settings => ReplyBody::Settings(nothing),
        }
    }
}
