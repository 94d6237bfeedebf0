//! Commands of an open session: checked and made ready for whoever carries them out.

use trunkline_proto::ErrorCode;
use trunkline_proto::message::{self, CommandBody, ReplyBody};
use trunkline_proto::names::{Conversation, MAX_CONVERSATION_BYTES, is_name};

use super::Session;
use crate::config::Limits;
use crate::event::{Body, parse_pos};
use crate::ids::Ids;
use crate::reader::Query;
use crate::sequencer::command::{Command, CommandBatch, ConnRef, Side, What};

/// Who asks, and what is needed to answer.
pub(crate) struct Ask<'a> {
    pub(crate) session: &'a Session,
    pub(crate) ids: &'a Ids,
    pub(crate) limits: &'a Limits,
    pub(crate) conn: ConnRef,
    /// The client's id for the command.
    pub(crate) id: u32,
}

/// What becomes of a command.
#[allow(
    clippy::large_enum_variant,
    reason = "made and taken apart on the stack"
)]
pub(crate) enum Asked {
    /// It stands in the batch for the sequencer.
    Queued,
    /// A reader has to answer it.
    Query(Query),
    Reply(ReplyBody<'static>),
}

type Failure = (ErrorCode, &'static str);

const BAD_CONVERSATION: Failure = (
    ErrorCode::BadRequest,
    "a conversation is u:<user>:<user>, the two names sorted, or g:<group>",
);

/// Checks a command and hands it on.
///
/// # Errors
/// The code and text of the error reply.
pub(crate) fn ask(
    ask: &Ask<'_>,
    command: &CommandBody<'_>,
    batch: &mut CommandBatch,
) -> Result<Asked, Failure> {
    match command {
        CommandBody::Send(send) => ask.send(send, batch),
        CommandBody::Ack(ack) => ask.ack(ack, batch),
        CommandBody::Sync(sync) => ask.sync(sync),
        CommandBody::History(history) => ask.history(history),
        CommandBody::Get(get) => ask.get(get),
        CommandBody::Ping(_) => Ok(Asked::Reply(ReplyBody::Ping(message::Ping {}))),
        // The shard takes `connect` out before.
        CommandBody::Connect(_) => Err((ErrorCode::BadRequest, "already connected")),
        _ => Err((
            ErrorCode::UnknownCommand,
            "this gateway does not answer this command yet",
        )),
    }
}

/// A conversation that the caller named.
enum Named<'a> {
    /// The caller is a member: which one, and who the other is.
    Own {
        id: trunkline_storage::TimelineId,
        side: Side,
        other: &'a str,
    },
    /// The caller is none; whether it exists decides what to answer.
    Foreign(trunkline_storage::TimelineId),
}

impl Ask<'_> {
    fn send(&self, send: &message::Send<'_>, batch: &mut CommandBatch) -> Result<Asked, Failure> {
        let to = match (&send.user, &send.group) {
            (Some(user), None) => user,
            (None, Some(group)) if is_name(group) => {
                return Err((ErrorCode::Unknown, "no such group"));
            }
            (None, Some(_)) => {
                return Err((
                    ErrorCode::BadRequest,
                    "a group is 1 to 64 bytes of [A-Za-z0-9._@-]",
                ));
            }
            _ => {
                return Err((
                    ErrorCode::BadRequest,
                    "send needs one of \"user\" and \"group\"",
                ));
            }
        };
        if !is_name(to) {
            return Err((
                ErrorCode::BadRequest,
                "a user is 1 to 64 bytes of [A-Za-z0-9._@-]",
            ));
        }
        self.check_content(send)?;
        let session = self.session;
        let own = session.names.user();
        let name = Conversation::between(own, to);
        let mut id = [0; MAX_CONVERSATION_BYTES];
        let id = name.write_into(&mut id);
        let start = batch.bodies.len();
        let media = send.media.as_ref();
        Body {
            conversation: id,
            namespace: session.names.namespace(),
            user: own,
            device: session.names.device(),
            key: send.key.as_deref(),
            text: send.text.as_deref(),
            mime: media.map(|m| &*m.mime),
            data: media.and_then(|m| m.data.as_deref()),
            url: media.and_then(|m| m.url.as_deref()),
            size: media.and_then(|m| m.size),
            ..Body::default()
        }
        .write(&mut batch.bodies);
        let Conversation::Direct(lesser, greater) = name else {
            return Err(BAD_CONVERSATION);
        };
        batch.commands.push(Command {
            conn: self.conn,
            id: self.id,
            user: session.id,
            other: self.ids.user(session.names.namespace(), to),
            conversation: self.ids.direct(session.names.namespace(), lesser, greater),
            body: start..batch.bodies.len(),
            what: What::Send {
                key: send
                    .key
                    .as_deref()
                    .map(|key| self.ids.key(session.names.namespace(), own, key)),
            },
        });
        Ok(Asked::Queued)
    }

    fn check_content(&self, send: &message::Send<'_>) -> Result<(), Failure> {
        if send.text.is_none() && send.media.is_none() {
            return Err((ErrorCode::BadRequest, "send needs a \"text\" or \"media\""));
        }
        let too_long = |text: &Option<trunkline_proto::Str<'_>>, max| {
            text.as_ref().is_some_and(|text| text.len() > max)
        };
        if too_long(&send.text, self.limits.text_bytes) {
            return Err((
                ErrorCode::LimitExceeded,
                "the text is longer than limits.text_bytes",
            ));
        }
        if too_long(&send.key, self.limits.key_bytes) {
            return Err((
                ErrorCode::LimitExceeded,
                "the key is longer than limits.key_bytes",
            ));
        }
        if send.key.as_ref().is_some_and(|key| key.is_empty()) {
            return Err((ErrorCode::BadRequest, "an idempotency key is not empty"));
        }
        let Some(media) = &send.media else {
            return Ok(());
        };
        if media.mime.is_empty() || media.mime.len() > 255 {
            return Err((ErrorCode::BadRequest, "a media type has 1 to 255 bytes"));
        }
        if too_long(&media.url, 2_048) {
            return Err((
                ErrorCode::LimitExceeded,
                "a media URL has at most 2,048 bytes",
            ));
        }
        if media.data.is_some() == media.url.is_some() {
            return Err((
                ErrorCode::BadRequest,
                "media needs one of \"data\" and \"url\"",
            ));
        }
        Ok(())
    }

    fn ack(&self, ack: &message::Ack<'_>, batch: &mut CommandBatch) -> Result<Asked, Failure> {
        if ack.delivered.is_none() && ack.read.is_none() {
            return Err((ErrorCode::BadRequest, "ack needs \"delivered\" or \"read\""));
        }
        let (id, side, other) = match self.named(&ack.conversation)? {
            Named::Own { id, side, other } => (id, side, other),
            Named::Foreign(id) => return Ok(Asked::Query(Query::Deny { conversation: id })),
        };
        let session = self.session;
        let start = batch.bodies.len();
        Body {
            conversation: &ack.conversation,
            namespace: session.names.namespace(),
            user: session.names.user(),
            ..Body::default()
        }
        .write(&mut batch.bodies);
        batch.commands.push(Command {
            conn: self.conn,
            id: self.id,
            user: session.id,
            other: self.ids.user(session.names.namespace(), other),
            conversation: id,
            body: start..batch.bodies.len(),
            what: What::Ack {
                side,
                delivered: ack.delivered.unwrap_or(0),
                read: ack.read.unwrap_or(0),
            },
        });
        Ok(Asked::Queued)
    }

    fn sync(&self, sync: &message::Sync<'_>) -> Result<Asked, Failure> {
        let since = parse_pos(&sync.since).ok_or((
            ErrorCode::BadRequest,
            "\"since\" is no position that this gateway gave out",
        ))?;
        let limit = self.page(sync.limit, self.limits.page)?;
        Ok(Asked::Query(Query::Sync {
            user: self.session.id,
            since,
            limit,
        }))
    }

    fn history(&self, history: &message::History<'_>) -> Result<Asked, Failure> {
        let limit = self.page(history.limit, 50)?;
        let range = match (history.before, history.after) {
            (None, None) => crate::reader::Range::Newest,
            (Some(before), None) => crate::reader::Range::Before(before),
            (None, Some(after)) => crate::reader::Range::After(after),
            (Some(_), Some(_)) => {
                return Err((
                    ErrorCode::BadRequest,
                    "history takes one of \"before\" and \"after\"",
                ));
            }
        };
        Ok(Asked::Query(match self.named(&history.conversation)? {
            Named::Own { id, .. } => Query::History {
                conversation: id,
                range,
                limit,
            },
            Named::Foreign(id) => Query::Deny { conversation: id },
        }))
    }

    fn get(&self, get: &message::Get<'_>) -> Result<Asked, Failure> {
        Ok(Asked::Query(match self.named(&get.conversation)? {
            Named::Own { id, .. } => Query::Get {
                conversation: id,
                seq: get.seq,
            },
            Named::Foreign(id) => Query::Deny { conversation: id },
        }))
    }

    /// A page's length: what was asked for, at most the limit.
    fn page(&self, asked: Option<u32>, otherwise: u32) -> Result<usize, Failure> {
        match asked {
            Some(0) => Err((ErrorCode::BadRequest, "a page's \"limit\" is at least 1")),
            asked => Ok(asked.unwrap_or(otherwise).min(self.limits.page) as usize),
        }
    }

    fn named<'n>(&self, conversation: &'n str) -> Result<Named<'n>, Failure> {
        let namespace = self.session.names.namespace();
        let own = self.session.names.user();
        match Conversation::parse(conversation).ok_or(BAD_CONVERSATION)? {
            Conversation::Direct(lesser, greater) => {
                let id = self.ids.direct(namespace, lesser, greater);
                Ok(if lesser == own {
                    Named::Own {
                        id,
                        side: Side::Lesser,
                        other: greater,
                    }
                } else if greater == own {
                    Named::Own {
                        id,
                        side: Side::Greater,
                        other: lesser,
                    }
                } else {
                    Named::Foreign(id)
                })
            }
            Conversation::Group(name) => Ok(Named::Foreign(self.ids.group(namespace, name))),
        }
    }
}
