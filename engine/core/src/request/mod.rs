//! Commands of an open session: checked and made ready for whoever carries them out.

mod contacts;
mod group;
mod message;
mod names;
mod presence;
mod query;
mod recipients;
mod size;

use trunkline_proto::ErrorCode;
use trunkline_proto::message::{CommandBody, Ping, ReplyBody};
use trunkline_proto::names::{Conversation, is_name};
use trunkline_storage::{Epochs, TimelineId};

use crate::event::{Body, BodyNames};
use crate::exchange::{
    Action, Change, Command, CommandBatch, Failure, Members, NOT_A_MEMBER, Query, ReplyTo,
};
use crate::ids::{Ids, Side, UserId};

pub use names::Names;
pub use presence::check_presence;
pub use recipients::{Recipients, recipients};
pub use size::too_large;

/// Limits of what a command may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentLimits {
    /// The bytes of one WebSocket message, all fragments together; beyond it 1009.
    pub message_bytes: usize,
    /// The bytes of a message's text; beyond it 106.
    pub text_bytes: usize,
    /// The bytes of an idempotency key; beyond it 106.
    pub key_bytes: usize,
    /// The entries of a page; a larger `limit` is lowered.
    pub page: u32,
}

/// The user who asks.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The user's id.
    pub id: UserId,
    /// The names of the user, the device and the namespace.
    pub names: &'a Names,
}

/// Who asks, and what is needed to answer.
pub struct Ask<'a> {
    /// Who asks.
    pub caller: Caller<'a>,
    /// The ids of names.
    pub ids: &'a Ids,
    /// What proves positions.
    pub epochs: &'a Epochs,
    /// The limits of what is asked.
    pub limits: &'a ContentLimits,
    /// To whom the answer goes.
    pub reply_to: ReplyTo,
}

/// What becomes of a command.
pub enum Asked {
    /// It stands in the batch for the sequencer.
    Queued,
    /// A reader has to answer it.
    Query(Query),
    /// The answer is known at once.
    Reply(ReplyBody<'static>),
}

const BAD_CONVERSATION: Failure = (
    ErrorCode::BadRequest,
    "a conversation is u:<user>:<user>, the two names sorted, or g:<group>",
);
const BAD_USER: Failure = (
    ErrorCode::BadRequest,
    "a user is 1 to 64 bytes of [A-Za-z0-9._@-]",
);
const BAD_GROUP: Failure = (
    ErrorCode::BadRequest,
    "a group is 1 to 64 bytes of [A-Za-z0-9._@-]",
);

/// Checks a command and hands it on.
///
/// # Errors
/// The code and text of the error reply.
pub fn ask(
    ask: &Ask<'_>,
    command: &CommandBody<'_>,
    batch: &mut CommandBatch,
) -> Result<Asked, Failure> {
    match command {
        CommandBody::Send(send) => ask.send(send, batch),
        CommandBody::Ack(ack) => ask.ack(ack, batch),
        CommandBody::Recall(message) => {
            let action = Action::Recall { seq: message.seq };
            ask.about_message(&message.conversation, message.seq, action, batch)
        }
        CommandBody::Delete(message) => {
            let action = Action::Delete { seq: message.seq };
            ask.about_message(&message.conversation, message.seq, action, batch)
        }
        CommandBody::React(react) => ask.react(react, batch),
        CommandBody::GroupCreate(create) => ask.group_create(create, batch),
        CommandBody::GroupAdd(members) => ask.group_members(members, Change::Add, batch),
        CommandBody::GroupRemove(members) => ask.group_members(members, Change::Remove, batch),
        CommandBody::GroupLeave(leave) => ask.group_leave(leave, batch),
        CommandBody::GroupRename(rename) => ask.group_rename(rename, batch),
        CommandBody::GroupInfo(info) => ask.group_info(info),
        CommandBody::Sync(sync) => ask.sync(sync),
        CommandBody::History(history) => ask.history(history),
        CommandBody::Get(get) => ask.get(get),
        CommandBody::Receipts(receipts) => ask.receipts(receipts),
        CommandBody::Reactions(reactions) => ask.reactions(reactions),
        CommandBody::Conversations(conversations) => ask.conversations(conversations),
        CommandBody::Ping(_) => Ok(Asked::Reply(ReplyBody::Ping(Ping {}))),
        CommandBody::Contacts(contacts) => ask.contacts(contacts, batch),
        // The shard takes these out before.
        CommandBody::Connect(_) => Err((ErrorCode::BadRequest, "already connected")),
        CommandBody::Presence(_)
        | CommandBody::Typing(_)
        | CommandBody::Signal(_)
        | CommandBody::Subscribe(_)
        | CommandBody::Unsubscribe(_)
        | CommandBody::Publish(_) => Err((
            ErrorCode::UnknownCommand,
            "this gateway does not carry this command out",
        )),
    }
}

/// A conversation that the caller named.
enum Named<'a> {
    /// The caller is one of two.
    Direct {
        id: TimelineId,
        side: Side,
        other: &'a str,
    },
    /// A group: whether the caller is in it, and whether it exists, is not known here.
    Group(TimelineId),
}

impl Ask<'_> {
    /// Puts a command about a conversation into the batch, with what `body` says.
    fn queue(
        &self,
        (conversation, members): (TimelineId, Members),
        action: Action,
        body: &Body<'_>,
        batch: &mut CommandBatch,
    ) -> Asked {
        let start = batch.bodies.len();
        body.write(&mut batch.bodies);
        batch.commands.push(Command {
            reply_to: self.reply_to.clone(),
            user: self.caller.id,
            conversation,
            members,
            body: start..batch.bodies.len(),
            names: BodyNames::of(body),
            action,
        });
        Asked::Queued
    }

    /// What every body of the caller begins with.
    fn body<'b>(&'b self, conversation: &'b str) -> Body<'b> {
        let names = self.caller.names;
        Body {
            conversation,
            namespace: names.namespace(),
            user: names.user(),
            ..Body::default()
        }
    }

    fn user(&self, name: &str) -> TimelineId {
        self.ids.user(self.caller.names.namespace(), name)
    }

    /// The conversation and its members, where the caller may be one of them.
    fn own(&self, conversation: &str) -> Result<(TimelineId, Members), Failure> {
        Ok(match self.named(conversation)? {
            Named::Direct { id, side, other } => {
                let other = self.user(other);
                (id, Members::Direct { other, side })
            }
            Named::Group(id) => (id, Members::Group),
        })
    }

    /// A page's length: what was asked for, at most the limit.
    fn page(&self, asked: Option<u32>, otherwise: u32) -> Result<usize, Failure> {
        match asked {
            Some(0) => Err((ErrorCode::BadRequest, "a page's \"limit\" is at least 1")),
            asked => Ok(asked.unwrap_or(otherwise).min(self.limits.page) as usize),
        }
    }

    /// What the caller may be a member of, by the name alone: nothing is looked up, so that the
    /// answer tells a stranger nothing.
    fn named<'n>(&self, conversation: &'n str) -> Result<Named<'n>, Failure> {
        let namespace = self.caller.names.namespace();
        let own = self.caller.names.user();
        match Conversation::parse(conversation).ok_or(BAD_CONVERSATION)? {
            Conversation::Direct(lesser, greater) => {
                let (side, other) = if lesser == own {
                    (Side::Lesser, greater)
                } else if greater == own {
                    (Side::Greater, lesser)
                } else {
                    return Err(NOT_A_MEMBER);
                };
                let id = self.ids.direct(namespace, lesser, greater);
                Ok(Named::Direct { id, side, other })
            }
            Conversation::Group(name) => Ok(Named::Group(self.ids.group(namespace, name))),
        }
    }
}

fn check_user(name: &str) -> Result<(), Failure> {
    if is_name(name) { Ok(()) } else { Err(BAD_USER) }
}
