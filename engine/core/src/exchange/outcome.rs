//! What became of a command, and what is answered.

use trunkline_proto::ErrorCode;
use trunkline_proto::message::{
    AckReply, Done as Nothing, GroupCreateReply, GroupMembersReply, ReplyBody, SendReply,
};
use trunkline_storage::{Batch, Position, Record, RecordRef, TimelineId, Token};

use super::{Failure, Part, Query};
use crate::event;
use crate::ids::UserId;
use crate::position::Tokens;

/// What became of a command.
#[derive(Debug, Clone, Copy)]
pub enum Outcome {
    /// The message is the record at this position of the batch.
    Sent(Position),
    /// The message is an earlier record.
    Duplicate(RecordRef),
    /// What was asked for is the record at this position, or was so already.
    Done(Done, Option<Position>),
    /// The group was created before, under this key: a reader knows what the answer was.
    Made(TimelineId),
    /// The contacts are as was asked; the shard reads and shows them, and may watch them.
    Contacts {
        /// Watches them from now on.
        watch: bool,
    },
    /// It failed, for this reason.
    Failed(ErrorCode, &'static str),
    /// An acknowledgement failed, for this reason.
    NotAcked(ErrorCode, &'static str),
}

/// Which command was carried out, with what its reply says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// The marks are at least there.
    Ack,
    /// The message is taken back.
    Recall,
    /// The message is out of the caller's view.
    Delete,
    /// The reaction is as was asked.
    React,
    /// The group is made.
    GroupCreate {
        /// The number of its members.
        members: u64,
    },
    /// The users are members.
    GroupAdd {
        /// The number of members.
        members: u64,
    },
    /// The users are no members.
    GroupRemove {
        /// The number of members.
        members: u64,
    },
    /// The caller is no member.
    GroupLeave,
    /// The group has the name.
    GroupRename,
}

impl Outcome {
    /// That of an acknowledgement that failed.
    pub fn of_ack(self) -> Self {
        match self {
            Self::Failed(code, message) => Self::NotAcked(code, message),
            other => other,
        }
    }

    /// Whether it is of an acknowledgement.
    pub const fn is_of_ack(self) -> bool {
        matches!(self, Self::Done(Done::Ack, _) | Self::NotAcked(..))
    }

    /// The record that it is, if it is one.
    pub fn position(self) -> Option<Position> {
        match self {
            Self::Sent(position) | Self::Done(_, Some(position)) => Some(position),
            _ => None,
        }
    }

    /// Returns what is to be answered, of a command of `user` whose commit is `batch`; `None` where
    /// the record cannot be read. `ahead`: see [`Committed`](super::Committed). The position of a
    /// message is written into `pos`.
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

/// What is answered to a command, or asked before it can be answered.
#[derive(Debug)]
pub enum Next<'b> {
    /// The answer.
    Reply(ReplyBody<'b>),
    /// A reader knows the answer.
    Ask(Query),
    /// The error reply.
    Failed(Failure),
}

impl Done {
    /// What is said of a command that was carried out, with the record that it is.
    fn reply(self, record: Option<Record<'_>>) -> ReplyBody<'_> {
        let nothing = Nothing {};
        match self {
            Self::Ack => ReplyBody::Ack(AckReply {}),
            Self::Recall => ReplyBody::Recall(nothing),
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
        }
    }
}
