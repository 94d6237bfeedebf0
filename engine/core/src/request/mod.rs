//! Checks the commands of an open session, and turns each into a command for the sequencer, a query
//! for the readers, or a reply.

mod contacts;
mod extras;
mod group;
mod known;
mod message;
mod names;
mod own;
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
    Action, BAD_USER, Change, Command, CommandBatch, Failure, Members, NOT_A_MEMBER, Query, ReplyTo,
};
use crate::ids::{Ids, Side, UserId};
use known::DirectIds;

pub use known::Known;
pub use names::Names;
pub use own::IN_SECONDS;
pub use presence::check_presence;
pub use recipients::{Recipients, recipients};
pub use size::too_large;

/// The limits of the content of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentLimits {
    /// The maximum size of a WebSocket message in bytes, all fragments together. A larger message
    /// closes the connection with 1009.
    pub message_bytes: usize,
    /// The maximum length of a message's text in bytes. A longer text fails with 106.
    pub text_bytes: usize,
    /// The maximum length of an idempotency key in bytes. A longer key fails with 106.
    pub key_bytes: usize,
    /// The maximum number of entries in a page. The gateway lowers a larger `limit` to it.
    pub page: u32,
}

/// The user who sends a command.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The user's id.
    pub id: UserId,
    /// The names of the user, the device and the namespace.
    pub names: &'a Names,
}

/// The caller of a command, and everything needed to check it.
pub struct Ask<'a> {
    /// The user who sends the command.
    pub caller: Caller<'a>,
    /// Computes the ids of names.
    pub ids: &'a Ids,
    /// The epochs that prove the positions in commands.
    pub epochs: &'a Epochs,
    /// The ids of conversations that commands named of late. `None`: every id is made.
    pub known: Option<&'a Known>,
    /// The limits of the content of commands.
    pub limits: &'a ContentLimits,
    /// The receiver of the answer.
    pub reply_to: ReplyTo,
    /// The time at which the shard read the command, in microseconds since the gateway began, modulo
    /// 2^32; 0 for a call.
    pub read_at: u32,
}

/// The next step for a checked command.
pub enum Prepared {
    /// The command is in the batch for the sequencer.
    Queued,
    /// The readers answer this query.
    Query(Query),
    /// The answer to the command.
    Reply(ReplyBody<'static>),
}

const BAD_CONVERSATION: Failure = (
    ErrorCode::BadRequest,
    "a conversation is u:<user>:<user>, the two names sorted, or g:<group>",
);
const BAD_GROUP: Failure = (
    ErrorCode::BadRequest,
    "a group is 1 to 64 bytes of [A-Za-z0-9._@-]",
);

/// Checks a command. Puts it into `batch` if the sequencer decides it, and returns the next step.
///
/// # Errors
/// The command is not valid. The error is the code and text of the reply.
#[inline]
pub fn ask(
    ask: &Ask<'_>,
    command: &CommandBody<'_>,
    batch: &mut CommandBatch,
) -> Result<Prepared, Failure> {
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
        CommandBody::Edit(edit) => ask.edit(edit, batch),
        CommandBody::GroupCreate(create) => ask.group_create(create, batch),
        CommandBody::GroupAdd(members) => ask.group_members(members, Change::Add, batch),
        CommandBody::GroupRemove(members) => ask.group_members(members, Change::Remove, batch),
        CommandBody::GroupLeave(leave) => ask.group_leave(leave, batch),
        CommandBody::GroupRename(rename) => ask.group_rename(rename, batch),
        CommandBody::GroupRole(role) => ask.group_role(role, batch),
        CommandBody::GroupSet(set) => ask.group_set(set, batch),
        CommandBody::GroupJoin(join) => ask.group_join(&join.group, batch),
        CommandBody::GroupInfo(info) => ask.group_info(info),
        CommandBody::Pin(message) => ask.pin(message, false, batch),
        CommandBody::Unpin(message) => ask.pin(message, true, batch),
        CommandBody::Block(user) => ask.block(&user.user, false, batch),
        CommandBody::Unblock(user) => ask.block(&user.user, true, batch),
        CommandBody::Blocked(asked) => ask.blocked(asked),
        CommandBody::Settings(settings) => ask.settings(settings, batch),
        CommandBody::Sync(sync) => ask.sync(sync),
        CommandBody::History(history) => ask.history(history),
        CommandBody::Get(get) => ask.get(get),
        CommandBody::Receipts(receipts) => ask.receipts(receipts),
        CommandBody::Reactions(reactions) => ask.reactions(reactions),
        CommandBody::Conversations(conversations) => ask.conversations(conversations),
        CommandBody::Search(search) => ask.search(search),
        CommandBody::Ping(_) => Ok(Prepared::Reply(ReplyBody::Ping(Ping {}))),
        CommandBody::Contacts(contacts) => ask.contacts(contacts, batch),
        // The shard carries these out itself, and does not pass them on.
        CommandBody::Connect(_) => Err((ErrorCode::BadRequest, "already connected")),
        CommandBody::Presence(_)
        | CommandBody::Typing(_)
        | CommandBody::Signal(_)
        | CommandBody::Subscribe(_)
        | CommandBody::Unsubscribe(_)
        | CommandBody::Publish(_)
        | CommandBody::Rpc(_) => Err((
            ErrorCode::UnknownCommand,
            "this gateway does not carry this command out",
        )),
    }
}

/// A conversation that the caller named.
enum Named {
    /// A 1:1 conversation of the caller.
    Direct { ids: DirectIds, side: Side },
    /// A group. It may not exist, and the caller may not be a member.
    Group(TimelineId),
}

/// The conversation that a command is about, and its members.
struct Target {
    conversation: TimelineId,
    members: Members,
}

impl Ask<'_> {
    /// Puts a command about a conversation into the batch, with `body` as the body of its record.
    fn queue(
        &self,
        target: Target,
        action: Action,
        body: &Body<'_>,
        batch: &mut CommandBatch,
    ) -> Prepared {
        let start = batch.bodies.len();
        body.write(&mut batch.bodies);
        batch.push(Command {
            reply_to: self.reply_to.clone(),
            user: self.caller.id,
            conversation: target.conversation,
            members: target.members,
            body: start..batch.bodies.len(),
            names: BodyNames::of(body),
            action,
            read_at: self.read_at,
        });
        Prepared::Queued
    }

    /// Returns a body with the names that every body of the caller has.
    fn body<'b>(&'b self, conversation: &'b str) -> Body<'b> {
        let names = self.caller.names;
        Body {
            conversation,
            namespace: names.namespace(),
            user: names.user(),
            ..Body::default()
        }
    }

    /// Returns the id of a user in the caller's namespace.
    fn user(&self, name: &str) -> TimelineId {
        self.ids.user(self.caller.names.namespace(), name)
    }

    /// Returns the id of a group in the caller's namespace.
    fn group(&self, name: &str) -> TimelineId {
        self.ids.group(self.caller.names.namespace(), name)
    }

    /// Returns the ids of the conversation with another user. The caller has this side of it.
    #[inline]
    fn direct(&self, side: Side, other: &str) -> DirectIds {
        let make = || {
            let (namespace, own) = (self.caller.names.namespace(), self.caller.names.user());
            let conversation = match side {
                Side::Lesser => self.ids.direct(namespace, own, other),
                Side::Greater => self.ids.direct(namespace, other, own),
            };
            let other = self.user(other);
            DirectIds {
                other,
                conversation,
            }
        };
        match self.known {
            Some(known) => known.ids(self.caller.id, other, make),
            None => make(),
        }
    }

    /// Returns a conversation of which the caller may be a member, by its name.
    ///
    /// # Errors
    /// The name is not valid, or the caller is not one of the two users.
    fn own(&self, conversation: &str) -> Result<Target, Failure> {
        Ok(match self.named(conversation)? {
            Named::Direct { ids, side } => Target {
                conversation: ids.conversation,
                members: Members::Direct {
                    other: ids.other,
                    side,
                },
            },
            Named::Group(id) => Target {
                conversation: id,
                members: Members::Group,
            },
        })
    }

    /// Returns the length of a page: `asked`, or `otherwise` without it, and at most the limit.
    ///
    /// # Errors
    /// `asked` is 0.
    fn page(&self, asked: Option<u32>, otherwise: u32) -> Result<usize, Failure> {
        match asked {
            Some(0) => Err((ErrorCode::BadRequest, "a page's \"limit\" is at least 1")),
            asked => Ok(asked.unwrap_or(otherwise).min(self.limits.page) as usize),
        }
    }

    /// Returns the conversation of this name. It decides by the name alone and looks nothing up, so
    /// that the answer tells a stranger nothing.
    ///
    /// # Errors
    /// The name is not valid, or the caller is not one of the two users.
    fn named(&self, conversation: &str) -> Result<Named, Failure> {
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
                let ids = self.direct(side, other);
                Ok(Named::Direct { ids, side })
            }
            Conversation::Group(name) => Ok(Named::Group(self.group(name))),
        }
    }
}

/// Checks the name of a user.
fn check_user(name: &str) -> Result<(), Failure> {
    if is_name(name) { Ok(()) } else { Err(BAD_USER) }
}
