//! The fields that few messages have.
//!
//! Commands and messages move through many hands, and most of them have none of these fields. So the
//! fields stand apart, in a box of which a plain message has none. On the wire they are fields like
//! the others.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Json, Media, Message, MessageReaction, Send, is_false};
use crate::object;
use crate::text::Str;

/// The fields of `send` that few messages have.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SendExtras<'a> {
    /// The sequence of the message that this one replies to, in the same conversation.
    pub reply_to: Option<u64>,
    /// The kind of the content, such as `text.markdown`. Clients agree on its meaning.
    pub kind: Option<Str<'a>>,
    /// A value of the client's own. The server never looks at it.
    pub meta: Option<Json<'a>>,
    /// The members whom the message mentions; `*` stands for all.
    pub mentions: Vec<Str<'a>>,
    /// The time after which the message expires: a whole number with its unit, such as `1h`.
    pub ttl: Option<Str<'a>>,
}

impl<'a> SendExtras<'a> {
    /// Returns the fields in their box; `None` if all are absent.
    #[inline]
    pub fn boxed(self) -> Option<Box<Self>> {
        // Most messages have none of them. Each field on its own, because then there is nothing to drop.
        let Self {
            reply_to: None,
            kind: None,
            meta: None,
            ttl: None,
            mentions,
        } = &self
        else {
            return Some(Box::new(self));
        };
        if mentions.is_empty() {
            return None;
        }
        Some(Box::new(self))
    }

    /// Returns a copy that borrows nothing.
    pub fn into_owned(self) -> SendExtras<'static> {
        SendExtras {
            reply_to: self.reply_to,
            kind: self.kind.map(Str::into_owned),
            meta: self.meta.map(Json::into_owned),
            mentions: owned(self.mentions),
            ttl: self.ttl.map(Str::into_owned),
        }
    }
}

/// Replaces the content of a message of the caller.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Edit<'a> {
    /// The id of the conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The sequence of the message.
    pub seq: u64,
    /// The new text. The message has `text`, `media` or both.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Str<'a>>,
    /// The new picture, video or file. The message has `text`, `media` or both.
    #[serde(
        borrow,
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "object::optional"
    )]
    pub media: Option<Media<'a>>,
    /// The new value of the sender's own.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Json<'a>>,
}

impl Edit<'_> {
    /// Returns a copy that borrows nothing.
    pub fn into_owned(self) -> Edit<'static> {
        Edit {
            conversation: self.conversation.into_owned(),
            seq: self.seq,
            text: self.text.map(Str::into_owned),
            media: self.media.map(Media::into_owned),
            meta: self.meta.map(Json::into_owned),
        }
    }
}

/// The fields of a stored message that few messages have.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MessageExtras<'a> {
    /// The sequence of the message that this one replies to.
    pub reply_to: Option<u64>,
    /// The kind of the content.
    pub kind: Option<Str<'a>>,
    /// The sender's own value.
    pub meta: Option<Json<'a>>,
    /// The time at which the sender last edited the message, in milliseconds since 1970 UTC.
    pub edited: Option<u64>,
    /// The members whom the message mentions; `*` stands for all.
    pub mentions: Vec<Str<'a>>,
    /// The time at which the message expires, in milliseconds since 1970 UTC.
    pub expires: Option<u64>,
    /// Whether the message has expired. It then has neither text nor media.
    pub expired: bool,
}

impl<'a> MessageExtras<'a> {
    /// Returns the fields in their box; `None` if all are absent.
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }

    /// Returns a copy that borrows nothing.
    pub fn into_owned(self) -> MessageExtras<'static> {
        MessageExtras {
            reply_to: self.reply_to,
            kind: self.kind.map(Str::into_owned),
            meta: self.meta.map(Json::into_owned),
            edited: self.edited,
            mentions: owned(self.mentions),
            expires: self.expires,
            expired: self.expired,
        }
    }
}

fn owned(texts: Vec<Str<'_>>) -> Vec<Str<'static>> {
    texts.into_iter().map(Str::into_owned).collect()
}

impl Message<'_> {
    /// Removes what the sender wrote: text, media, and what belongs to them. The place of the message
    /// stays, with the message that it replies to and the time at which it expires.
    pub fn remove_content(&mut self) {
        self.text = None;
        self.media = None;
        if let Some(extras) = self.extras.take() {
            self.extras = MessageExtras {
                reply_to: extras.reply_to,
                expires: extras.expires,
                expired: extras.expired,
                ..MessageExtras::default()
            }
            .boxed();
        }
    }
}

/// The form of `send` in JSON.
#[derive(Default, Deserialize)]
#[serde(default)]
struct SendIn<'a> {
    #[serde(borrow)]
    user: Option<Str<'a>>,
    #[serde(borrow)]
    group: Option<Str<'a>>,
    #[serde(borrow)]
    key: Option<Str<'a>>,
    #[serde(borrow)]
    text: Option<Str<'a>>,
    #[serde(borrow, deserialize_with = "object::optional")]
    media: Option<Media<'a>>,
    reply_to: Option<u64>,
    #[serde(borrow)]
    kind: Option<Str<'a>>,
    #[serde(borrow)]
    meta: Option<Json<'a>>,
    #[serde(borrow)]
    mentions: Vec<Str<'a>>,
    #[serde(borrow)]
    ttl: Option<Str<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Send<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let form = SendIn::deserialize(from)?;
        Ok(Send {
            user: form.user,
            group: form.group,
            key: form.key,
            text: form.text,
            media: form.media,
            extras: SendExtras {
                reply_to: form.reply_to,
                kind: form.kind,
                meta: form.meta,
                mentions: form.mentions,
                ttl: form.ttl,
            }
            .boxed(),
        })
    }
}

/// The form of `send` in JSON, as it is written.
#[derive(Serialize)]
struct SendOut<'s, 'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: &'s Option<Str<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: &'s Option<Str<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: &'s Option<Str<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: &'s Option<Str<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media: &'s Option<Media<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'s Str<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'s Json<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    mentions: &'s [Str<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'s Str<'a>>,
}

impl Serialize for Send<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let extras = self.extras.as_deref();
        SendOut {
            user: &self.user,
            group: &self.group,
            key: &self.key,
            text: &self.text,
            media: &self.media,
            reply_to: extras.and_then(|extras| extras.reply_to),
            kind: extras.and_then(|extras| extras.kind.as_ref()),
            meta: extras.and_then(|extras| extras.meta.as_ref()),
            mentions: extras.map_or(&[][..], |extras| &extras.mentions[..]),
            ttl: extras.and_then(|extras| extras.ttl.as_ref()),
        }
        .serialize(to)
    }
}

/// The form of a message in JSON.
#[derive(Deserialize)]
struct MessageIn<'a> {
    #[serde(borrow)]
    conversation: Str<'a>,
    seq: u64,
    #[serde(borrow)]
    from: Str<'a>,
    #[serde(borrow)]
    device: Str<'a>,
    time: u64,
    #[serde(borrow, default)]
    key: Option<Str<'a>>,
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow, default)]
    media: Option<Media<'a>>,
    #[serde(default)]
    reply_to: Option<u64>,
    #[serde(borrow, default)]
    kind: Option<Str<'a>>,
    #[serde(borrow, default)]
    meta: Option<Json<'a>>,
    #[serde(default)]
    edited: Option<u64>,
    #[serde(borrow, default)]
    mentions: Vec<Str<'a>>,
    #[serde(default)]
    expires: Option<u64>,
    #[serde(default)]
    expired: bool,
    #[serde(default)]
    recalled: bool,
    #[serde(default)]
    deleted: bool,
    #[serde(borrow, default)]
    reactions: Vec<MessageReaction<'a>>,
    #[serde(default)]
    more_reactions: bool,
    #[serde(default)]
    too_large: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Message<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let form = MessageIn::deserialize(from)?;
        Ok(Message {
            conversation: form.conversation,
            seq: form.seq,
            from: form.from,
            device: form.device,
            time: form.time,
            key: form.key,
            text: form.text,
            media: form.media,
            extras: MessageExtras {
                reply_to: form.reply_to,
                kind: form.kind,
                meta: form.meta,
                edited: form.edited,
                mentions: form.mentions,
                expires: form.expires,
                expired: form.expired,
            }
            .boxed(),
            recalled: form.recalled,
            deleted: form.deleted,
            reactions: form.reactions.into(),
            more_reactions: form.more_reactions,
            too_large: form.too_large,
        })
    }
}

/// The form of a message in JSON, as it is written.
#[derive(Serialize)]
struct MessageOut<'s, 'a> {
    conversation: &'s Str<'a>,
    seq: u64,
    from: &'s Str<'a>,
    device: &'s Str<'a>,
    time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: &'s Option<Str<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: &'s Option<Str<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media: &'s Option<Media<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'s Str<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'s Json<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    edited: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    mentions: &'s [Str<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    #[serde(skip_serializing_if = "is_false")]
    expired: bool,
    #[serde(skip_serializing_if = "is_false")]
    recalled: bool,
    #[serde(skip_serializing_if = "is_false")]
    deleted: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    reactions: &'s [MessageReaction<'a>],
    #[serde(skip_serializing_if = "is_false")]
    more_reactions: bool,
    #[serde(skip_serializing_if = "is_false")]
    too_large: bool,
}

impl Serialize for Message<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let extras = self.extras.as_deref();
        MessageOut {
            conversation: &self.conversation,
            seq: self.seq,
            from: &self.from,
            device: &self.device,
            time: self.time,
            key: &self.key,
            text: &self.text,
            media: &self.media,
            reply_to: extras.and_then(|extras| extras.reply_to),
            kind: extras.and_then(|extras| extras.kind.as_ref()),
            meta: extras.and_then(|extras| extras.meta.as_ref()),
            edited: extras.and_then(|extras| extras.edited),
            mentions: extras.map_or(&[][..], |extras| &extras.mentions[..]),
            expires: extras.and_then(|extras| extras.expires),
            expired: extras.is_some_and(|extras| extras.expired),
            recalled: self.recalled,
            deleted: self.deleted,
            reactions: &self.reactions,
            more_reactions: self.more_reactions,
            too_large: self.too_large,
        }
        .serialize(to)
    }
}
