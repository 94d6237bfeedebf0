//! Checks the commands about messages: sends, acknowledgements, recalls, deletions and reactions.

use trunkline_proto::message;
use trunkline_proto::names::{Conversation, MAX_CONVERSATION_BYTES, is_name};
use trunkline_proto::{ErrorCode, Str};

use super::known::DirectIds;
use super::{Ask, BAD_CONVERSATION, BAD_GROUP, BAD_USER, Failure, Prepared, Target, extras};
use crate::event::{Body, Extras};
use crate::exchange::{Action, CommandBatch, Members};
use crate::ids::Side;
use crate::media;

/// The maximum length of a reaction in bytes: a word, or an emoji of several code points.
pub(super) const MAX_REACTION_BYTES: usize = 64;

/// What a message says.
#[derive(Clone, Copy)]
struct Content<'a> {
    text: Option<&'a Str<'a>>,
    media: Option<&'a message::Media<'a>>,
}

impl Content<'_> {
    fn is_empty(self) -> bool {
        self.text.is_none() && self.media.is_none()
    }
}

impl Ask<'_> {
    /// Checks a message.
    #[inline]
    pub(super) fn send(
        &self,
        send: &message::Send<'_>,
        batch: &mut CommandBatch,
    ) -> Result<Prepared, Failure> {
        let names = self.caller.names;
        let own = names.user();
        let to = match (&send.user, &send.group) {
            (Some(user), None) if is_name(user) => Conversation::between(own, user),
            (Some(_), None) => return Err(BAD_USER),
            (None, Some(group)) if is_name(group) => Conversation::Group(group),
            (None, Some(_)) => return Err(BAD_GROUP),
            _ => {
                return Err((
                    ErrorCode::BadRequest,
                    "send needs one of \"user\" and \"group\"",
                ));
            }
        };
        let content = Content {
            text: send.text.as_ref(),
            media: send.media.as_ref(),
        };
        if content.is_empty() {
            return Err((ErrorCode::BadRequest, "send needs a \"text\" or \"media\""));
        }
        self.check_content(content)?;
        self.check_key(send.key.as_deref())?;
        let target = match to {
            Conversation::Direct(lesser, greater) => {
                let (side, other) = if lesser == own {
                    (Side::Lesser, greater)
                } else {
                    (Side::Greater, lesser)
                };
                let DirectIds {
                    other,
                    conversation,
                } = self.direct(side, other);
                Target {
                    conversation,
                    members: Members::Direct { other, side },
                }
            }
            Conversation::Group(name) => Target {
                conversation: self.group(name),
                members: Members::Group,
            },
        };
        let name = to.text();
        let extras = match &send.extras {
            None => None,
            Some(extras) => extras::checked(extras)?,
        };
        let media = send.media.as_ref();
        let body = Body {
            device: names.device(),
            key: send.key.as_deref(),
            text: send.text.as_deref(),
            mime: media.map(|m| &*m.mime),
            data: media.and_then(|m| m.data.as_deref()),
            url: media.and_then(|m| m.url.as_deref()),
            size: media.and_then(|m| m.size),
            extras: extras.as_deref(),
            ..self.body(&name)
        };
        let key = send.key.as_deref();
        let key = key.map(|key| self.ids.key(names.namespace(), own, key));
        let names_media = body.url.is_some_and(|url| media::id_in(url).is_some());
        let action = Action::Send {
            key,
            names_media,
            has_extras: extras.is_some(),
        };
        Ok(self.queue(target, action, &body, batch))
    }

    /// Checks the new content of a message.
    #[cold]
    pub(super) fn edit(
        &self,
        edit: &message::Edit<'_>,
        batch: &mut CommandBatch,
    ) -> Result<Prepared, Failure> {
        let content = Content {
            text: edit.text.as_ref(),
            media: edit.media.as_ref(),
        };
        if content.is_empty() {
            return Err((ErrorCode::BadRequest, "edit needs a \"text\" or \"media\""));
        }
        self.check_content(content)?;
        extras::check_meta(edit.meta.as_ref())?;
        let extras = Extras {
            meta: edit.meta.as_ref().map(message::Json::as_str),
            ..Extras::default()
        };
        let (extras, media) = (extras.stored(), edit.media.as_ref());
        let body = Body {
            device: self.caller.names.device(),
            seq: edit.seq,
            text: edit.text.as_deref(),
            mime: media.map(|m| &*m.mime),
            data: media.and_then(|m| m.data.as_deref()),
            url: media.and_then(|m| m.url.as_deref()),
            size: media.and_then(|m| m.size),
            extras: extras.as_deref(),
            ..self.body(&edit.conversation)
        };
        let action = Action::Edit {
            seq: edit.seq,
            names_media: body.url.is_some_and(|url| media::id_in(url).is_some()),
        };
        self.about(&edit.conversation, action, &body, batch)
    }

    /// Checks the text and the media of a message.
    fn check_content(&self, content: Content<'_>) -> Result<(), Failure> {
        let too_long = |text: Option<&Str<'_>>, max| text.is_some_and(|text| text.len() > max);
        if too_long(content.text, self.limits.text_bytes) {
            return Err((
                ErrorCode::LimitExceeded,
                "the text is longer than limits.text_bytes",
            ));
        }
        let Some(media) = content.media else {
            return Ok(());
        };
        if media.mime.is_empty() || media.mime.len() > 255 {
            return Err((ErrorCode::BadRequest, "a media type has 1 to 255 bytes"));
        }
        if too_long(media.url.as_ref(), 2_048) {
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

    /// Checks an idempotency key.
    pub(super) fn check_key(&self, key: Option<&str>) -> Result<(), Failure> {
        match key.map(str::len) {
            Some(0) => Err((ErrorCode::BadRequest, "an idempotency key is not empty")),
            Some(bytes) if bytes > self.limits.key_bytes => Err((
                ErrorCode::LimitExceeded,
                "the key is longer than limits.key_bytes",
            )),
            _ => Ok(()),
        }
    }

    /// Checks an acknowledgement.
    pub(super) fn ack(
        &self,
        ack: &message::Ack<'_>,
        batch: &mut CommandBatch,
    ) -> Result<Prepared, Failure> {
        if ack.delivered.is_none() && ack.read.is_none() {
            return Err((ErrorCode::BadRequest, "ack needs \"delivered\" or \"read\""));
        }
        let action = Action::Ack {
            delivered: ack.delivered.unwrap_or(0),
            read: ack.read.unwrap_or(0),
        };
        let body = self.body(&ack.conversation);
        self.about(&ack.conversation, action, &body, batch)
    }

    /// Checks a command that names one message and has no other content.
    pub(super) fn about_message(
        &self,
        conversation: &str,
        seq: u64,
        action: Action,
        batch: &mut CommandBatch,
    ) -> Result<Prepared, Failure> {
        let body = Body {
            seq,
            ..self.body(conversation)
        };
        self.about(conversation, action, &body, batch)
    }

    /// Checks a reaction, or its removal.
    pub(super) fn react(
        &self,
        react: &message::React<'_>,
        batch: &mut CommandBatch,
    ) -> Result<Prepared, Failure> {
        if !(1..=MAX_REACTION_BYTES).contains(&react.reaction.len()) {
            return Err((ErrorCode::BadRequest, "a reaction has 1 to 64 bytes"));
        }
        if react.reaction.chars().any(char::is_control) {
            let text = "a reaction is a word or an emoji: it holds no control characters";
            return Err((ErrorCode::BadRequest, text));
        }
        let action = Action::React {
            seq: react.seq,
            remove: react.remove,
        };
        let body = Body {
            seq: react.seq,
            reaction: Some(&react.reaction),
            removed: react.remove,
            ..self.body(&react.conversation)
        };
        self.about(&react.conversation, action, &body, batch)
    }

    /// Puts a command about a conversation into the batch.
    pub(super) fn about(
        &self,
        conversation: &str,
        action: Action,
        body: &Body<'_>,
        batch: &mut CommandBatch,
    ) -> Result<Prepared, Failure> {
        if conversation.len() > MAX_CONVERSATION_BYTES {
            return Err(BAD_CONVERSATION);
        }
        let target = self.own(conversation)?;
        Ok(self.queue(target, action, body, batch))
    }
}
