//! The body of a record, read from and written as tagged fields.

use trunkline_storage::Record;

use super::fields::{field, number, varint};
use super::receipt::{self, Part, Parts};
use super::{ConversationName, Extras, both};
use crate::ids::Side;

/// The fields of a body, for all kinds of records. Tags are part of the disk format: never reuse
/// one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Body<'a> {
    /// The name of the conversation.
    pub conversation: &'a str,
    /// The namespace; empty in a gateway without namespaces.
    pub namespace: &'a str,
    /// The name of the user who caused the event. In a receipt of an earlier version: the user
    /// whose marks it holds.
    pub user: &'a str,
    /// The name of the sender's device; empty where the event does not depend on it.
    pub device: &'a str,
    /// The client's idempotency key.
    pub key: Option<&'a str>,
    /// The message's text.
    pub text: Option<&'a str>,
    /// The media type of the attachment.
    pub mime: Option<&'a str>,
    /// The bytes of an inline attachment.
    pub data: Option<&'a [u8]>,
    /// The URL of an attachment that is stored elsewhere.
    pub url: Option<&'a str>,
    /// The size of the attachment in bytes, as the sender gave it.
    pub size: Option<u64>,
    /// The sequence of the last delivered message; 0 in other kinds than receipts.
    pub delivered: u64,
    /// The sequence of the last read message; 0 in other kinds than receipts.
    pub read: u64,
    /// The sequence of the message that the event is about.
    pub seq: u64,
    /// The reaction, such as an emoji.
    pub reaction: Option<&'a str>,
    /// Whether the user removed the reaction.
    pub removed: bool,
    /// Whether the sender recalled the message. Its content is gone then.
    pub recalled: bool,
    /// Whether the message was erased with its sender. It is recalled then, too.
    pub erased: bool,
    /// The change of a group, by its name in the protocol.
    pub change: Option<&'a str>,
    /// The display name of the group.
    pub name: Option<&'a str>,
    /// The names of the users whose membership changed.
    pub members: Vec<&'a str>,
    /// The time of the event in milliseconds since 1970 UTC, if it differs from the time of the
    /// record.
    pub time: Option<u64>,
    /// The marks of a receipt with their recipients, in stored form: see [`Body::parts`].
    pub marks: Option<&'a [u8]>,
    /// The fields of a message that few messages have, in stored form: see
    /// [`Extras`](super::Extras).
    pub extras: Option<&'a [u8]>,
    /// What a change of a group or of settings sets, in stored form: see
    /// [`Details`](super::Details).
    pub details: Option<&'a [u8]>,
}

mod tag {
    pub(super) const CONVERSATION: u8 = 1;
    pub(super) const NAMESPACE: u8 = 2;
    pub(super) const USER: u8 = 3;
    pub(super) const DEVICE: u8 = 4;
    pub(super) const KEY: u8 = 5;
    pub(super) const TEXT: u8 = 6;
    pub(super) const MIME: u8 = 7;
    pub(super) const DATA: u8 = 8;
    pub(super) const URL: u8 = 9;
    pub(super) const SIZE: u8 = 10;
    pub(super) const DELIVERED: u8 = 11;
    pub(super) const READ: u8 = 12;
    pub(super) const SEQ: u8 = 13;
    pub(super) const REACTION: u8 = 14;
    pub(super) const REMOVED: u8 = 15;
    pub(super) const RECALLED: u8 = 16;
    pub(super) const CHANGE: u8 = 17;
    pub(super) const NAME: u8 = 18;
    pub(super) const MEMBER: u8 = 19;
    /// The member of a receipt in earlier versions.
    pub(super) const SIDE: u8 = 20;
    pub(super) const MARKS: u8 = 21;
    pub(super) const EXTRAS: u8 = 22;
    pub(super) const TIME: u8 = 40;
    pub(super) const DETAILS: u8 = 41;
    pub(super) const ERASED: u8 = 60;
}

/// The length of a body in bytes below which all its fields are checked together.
const SHORT: usize = 256;

impl<'a> Body<'a> {
    /// Appends the fields that are set.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        field(out, tag::CONVERSATION, self.conversation.as_bytes());
        if !self.namespace.is_empty() {
            field(out, tag::NAMESPACE, self.namespace.as_bytes());
        }
        field(out, tag::USER, self.user.as_bytes());
        if !self.device.is_empty() {
            field(out, tag::DEVICE, self.device.as_bytes());
        }
        for (tag, value) in [
            (tag::KEY, self.key.map(str::as_bytes)),
            (tag::TEXT, self.text.map(str::as_bytes)),
            (tag::MIME, self.mime.map(str::as_bytes)),
            (tag::DATA, self.data),
            (tag::URL, self.url.map(str::as_bytes)),
            (tag::EXTRAS, self.extras),
        ] {
            if let Some(value) = value {
                field(out, tag, value);
            }
        }
        if let Some(size) = self.size {
            number(out, tag::SIZE, size);
        }
        write_marks(out, self.delivered, self.read);
        if self.seq != 0 {
            number(out, tag::SEQ, self.seq);
        }
        for (tag, set) in [
            (tag::REMOVED, self.removed),
            (tag::RECALLED, self.recalled),
            (tag::ERASED, self.erased),
        ] {
            if set {
                field(out, tag, &[]);
            }
        }
        for (tag, value) in [
            (tag::REACTION, self.reaction),
            (tag::CHANGE, self.change),
            (tag::NAME, self.name),
        ] {
            if let Some(value) = value {
                field(out, tag, value.as_bytes());
            }
        }
        for member in &self.members {
            field(out, tag::MEMBER, member.as_bytes());
        }
        if let Some(details) = self.details {
            field(out, tag::DETAILS, details);
        }
        if let Some(time) = self.time {
            number(out, tag::TIME, time);
        }
    }

    /// Reads a body; `None` if the bytes are not a body.
    #[inline]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut body = Self::default();
        body.fill(bytes)?;
        Some(body)
    }

    /// Reads a body into this empty one; `None` if the bytes are not a body. A body is large, and a call that
    /// returns one returns a copy of it: this is for the place that reads the body of each push.
    #[allow(
        clippy::inline_always,
        reason = "the compiler copies the body otherwise"
    )]
    #[inline(always)]
    pub(super) fn fill(&mut self, mut bytes: &'a [u8]) -> Option<()> {
        let body = self;
        let whole = bytes.len();
        // Tags and lengths below 128 are letters too, so one check does for all fields of most short
        // bodies.
        let all = (whole < SHORT)
            .then(|| simdutf8::basic::from_utf8(bytes).ok())
            .flatten();
        while let Some((&tag, rest)) = bytes.split_first() {
            let (len, rest) = varint(rest)?;
            let (value, rest) = rest.split_at_checked(len)?;
            bytes = rest;
            let end = whole - rest.len();
            let text = || match all {
                Some(all) => all.get(end - len..end),
                None => simdutf8::basic::from_utf8(value).ok(),
            };
            let number = || {
                let mut bytes = [0; 8];
                bytes.get_mut(..value.len())?.copy_from_slice(value);
                Some(u64::from_le_bytes(bytes))
            };
            match tag {
                tag::CONVERSATION => body.conversation = text()?,
                tag::NAMESPACE => body.namespace = text()?,
                tag::USER => body.user = text()?,
                tag::DEVICE => body.device = text()?,
                tag::KEY => body.key = Some(text()?),
                tag::TEXT => body.text = Some(text()?),
                tag::MIME => body.mime = Some(text()?),
                tag::DATA => body.data = Some(value),
                tag::URL => body.url = Some(text()?),
                tag::SIZE => body.size = Some(number()?),
                tag::DELIVERED => body.delivered = number()?,
                tag::READ => body.read = number()?,
                tag::SEQ => body.seq = number()?,
                tag::REACTION => body.reaction = Some(text()?),
                tag::REMOVED => body.removed = true,
                tag::RECALLED => body.recalled = true,
                tag::ERASED => body.erased = true,
                tag::CHANGE => body.change = Some(text()?),
                tag::NAME => body.name = Some(text()?),
                tag::MEMBER => body.members.push(text()?),
                tag::MARKS => body.marks = Some(value),
                tag::EXTRAS => body.extras = Some(value),
                tag::TIME => body.time = Some(number()?),
                tag::DETAILS => body.details = Some(value),
                // The conversation comes first, so it is known here.
                tag::SIDE => {
                    let (lesser, greater) = both(body.conversation)?;
                    body.user = if number()? == Side::Lesser as u64 {
                        lesser
                    } else {
                        greater
                    };
                }
                _ => {}
            }
        }
        Some(())
    }

    /// Returns the time of the event in milliseconds since 1970 UTC, as clients see it.
    #[inline]
    pub fn happened(&self, record: &Record<'_>) -> u64 {
        self.time.unwrap_or(record.time)
    }

    /// Returns whether both messages have the same text, media and extras.
    pub fn has_content_of(&self, other: &Self) -> bool {
        self.text == other.text && self.has_media_of(other)
    }

    /// Returns whether both messages have the same media and extras.
    pub fn has_media_of(&self, other: &Self) -> bool {
        self.mime == other.mime
            && self.data == other.data
            && self.url == other.url
            && self.size == other.size
            && self.extras == other.extras
    }

    /// Returns the fields that few messages have. All are absent if the body has none, or has them in
    /// another form.
    pub fn extras(&self) -> Extras<'a> {
        self.extras.and_then(Extras::read).unwrap_or_default()
    }

    /// Returns the parts of a receipt, each with the marks of one member, in the order of their
    /// places.
    pub fn parts(&self) -> impl Iterator<Item = Part<'a>> + use<'a> {
        let parts = match self.marks {
            Some(bytes) => Parts::new(self.conversation, bytes),
            None => Parts::new("", &[]),
        };
        // A receipt of an earlier version has the marks of one member, and all members receive it.
        let only = self.marks.is_none().then_some(Part {
            user: self.user,
            delivered: self.delivered,
            read: self.read,
            told: u64::MAX,
        });
        only.into_iter().chain(parts)
    }
}

/// Returns the name of the conversation in a body. It is the first field, so the rest is not read.
#[inline]
pub fn conversation(body: &[u8]) -> Option<&str> {
    let (&tag, rest) = body.split_first()?;
    let (len, rest) = varint(rest)?;
    if tag != tag::CONVERSATION {
        return Body::read(body).map(|body| body.conversation);
    }
    simdutf8::basic::from_utf8(rest.get(..len)?).ok()
}

/// Appends the body of a receipt with `MOST_PARTS` parts at most.
pub fn write_receipt<'a>(
    out: &mut Vec<u8>,
    conversation: ConversationName<'_>,
    parts: impl IntoIterator<Item = Part<'a>>,
) {
    let ConversationName { namespace, name } = conversation;
    field(out, tag::CONVERSATION, name.as_bytes());
    if !namespace.is_empty() {
        field(out, tag::NAMESPACE, namespace.as_bytes());
    }
    let mut marks = Vec::new();
    receipt::write(&mut marks, name, parts);
    field(out, tag::MARKS, &marks);
}

/// Returns a copy of a body with the time of the event added, for a record with another time.
pub fn with_time(body: &[u8], time: u64) -> Vec<u8> {
    let mut with = Vec::with_capacity(body.len() + 10);
    with.extend_from_slice(body);
    number(&mut with, tag::TIME, time);
    with
}

/// Appends the fields of the marks. A mark of 0 has no field.
fn write_marks(out: &mut Vec<u8>, delivered: u64, read: u64) {
    for (tag, mark) in [(tag::DELIVERED, delivered), (tag::READ, read)] {
        if mark != 0 {
            number(out, tag, mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_round_trip_and_survive_unknown_fields() {
        let text = "x".repeat(300);
        let body = Body {
            conversation: "u:alice:bob",
            namespace: "acme",
            user: "alice",
            device: "phone",
            key: Some("k"),
            text: Some(&text),
            mime: Some("image/png"),
            data: Some(&[0, 1, 255]),
            url: Some("https://x"),
            size: Some(7),
            delivered: 5,
            read: 4,
            seq: 9,
            reaction: Some("like"),
            removed: true,
            recalled: true,
            erased: true,
            change: Some("added"),
            name: Some("Engineering"),
            members: vec!["carol", "dave"],
            time: Some(8),
            marks: None,
            extras: Some(b"any"),
            details: Some(&[1, 1, 2]),
        };
        let mut bytes = Vec::new();
        body.write(&mut bytes);
        field(&mut bytes, 200, b"from a later version");
        assert_eq!(Body::read(&bytes).as_ref(), Some(&body));
        let mut empty = Vec::new();
        Body::default().write(&mut empty);
        assert_eq!(Body::read(&empty), Some(Body::default()));
        for cut in [1, 2, 5, bytes.len() - 1] {
            assert_ne!(
                Body::read(&bytes[..cut]).as_ref(),
                Some(&body),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        for (value, len) in [(0, 0), (1, 1), (255, 1), (256, 2), (u64::MAX, 8)] {
            let mut bytes = Vec::new();
            number(&mut bytes, tag::SIZE, value);
            assert_eq!(bytes.len(), 2 + len, "{value}");
            let body = Body::read(&bytes).expect("a body");
            assert_eq!(body.size, Some(value));
        }
        assert_eq!(Body::read(&[tag::SIZE, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
