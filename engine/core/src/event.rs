//! The bodies of stored records: the content of an event as tagged fields.
//!
//! A body is a list of fields. Each has a tag byte, the length of its value as a varint (LEB128)
//! and the value. Readers skip unknown tags, so a later version can add fields.

mod names;
mod receipt;

use std::borrow::Cow;

use trunkline_proto::Str;
use trunkline_proto::message::{
    ChangeKind, Deleted, Event, GroupChanged, Media, Message, Push, Reacted, Recalled, Receipt,
};
use trunkline_proto::names::Conversation;
use trunkline_storage::{Position, Record, TimelineId, Token};

use crate::ids::Side;
use crate::position::Tokens;
use receipt::Parts;

pub use names::BodyNames;
pub use receipt::{MOST_PARTS, MOST_TOLD, Part};

/// The kind of event in a record: the store's `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// A message.
    Message = 1,
    /// A receipt: new marks of members of a conversation.
    Receipt = 2,
    /// A recall: a sender takes a message back.
    Recall = 3,
    /// A deletion: a user removes a message from the own view.
    Delete = 4,
    /// A reaction to a message, or its removal.
    Reaction = 5,
    /// A change of a group.
    Group = 6,
}

/// The kind of a record that changes a user's contacts. The gateway stores it and pushes it to no
/// client.
pub const CONTACTS: u8 = 7;

/// The kind of a record with last-seen times in the values that it carries. The gateway pushes it
/// to no client.
pub const LAST_SEEN: u8 = 9;

impl RecordKind {
    /// All kinds of events.
    pub const ALL: [Self; 6] = [
        Self::Message,
        Self::Receipt,
        Self::Recall,
        Self::Delete,
        Self::Reaction,
        Self::Group,
    ];

    /// The length of a table indexed by kind.
    pub const ROOM: usize = Self::ALL.len() + 1;

    /// Returns the name of the kind in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Receipt => "receipt",
            Self::Recall => "recall",
            Self::Delete => "delete",
            Self::Reaction => "reaction",
            Self::Group => "group",
        }
    }

    /// Returns the kind of a record; `None` for a kind of a later version.
    pub fn of(record: &Record<'_>) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| *kind as u8 == record.kind)
    }
}

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
    pub(super) const TIME: u8 = 40;
}

impl<'a> Body<'a> {
    /// Appends the fields that are set.
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
        for (tag, set) in [(tag::REMOVED, self.removed), (tag::RECALLED, self.recalled)] {
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
        if let Some(time) = self.time {
            number(out, tag::TIME, time);
        }
    }

    /// Reads a body; `None` if the bytes are not a body.
    pub fn read(mut bytes: &'a [u8]) -> Option<Self> {
        let mut body = Self::default();
        while let Some((&tag, rest)) = bytes.split_first() {
            let (len, rest) = varint(rest)?;
            let (value, rest) = rest.split_at_checked(len)?;
            bytes = rest;
            let text = || simdutf8::basic::from_utf8(value).ok();
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
                tag::CHANGE => body.change = Some(text()?),
                tag::NAME => body.name = Some(text()?),
                tag::MEMBER => body.members.push(text()?),
                tag::MARKS => body.marks = Some(value),
                tag::TIME => body.time = Some(number()?),
                // The conversation comes first.
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
        Some(body)
    }

    /// Returns the time of the event in milliseconds since 1970 UTC, as clients see it.
    pub fn happened(&self, record: &Record<'_>) -> u64 {
        self.time.unwrap_or(record.time)
    }

    /// Returns whether both messages have the same text and media.
    pub fn has_content_of(&self, other: &Self) -> bool {
        self.text == other.text
            && self.mime == other.mime
            && self.data == other.data
            && self.url == other.url
            && self.size == other.size
    }

    /// Returns the message in a record.
    pub fn message(self, record: &Record<'_>) -> Message<'a> {
        Message {
            conversation: self.conversation.into(),
            seq: record.seq,
            from: self.user.into(),
            device: self.device.into(),
            time: self.happened(record),
            key: self.key.map(Str::from),
            text: self.text.map(Str::from),
            media: self.mime.map(|mime| Media {
                mime: mime.into(),
                data: self.data.map(Cow::Borrowed),
                url: self.url.map(Str::from),
                size: self.size,
            }),
            recalled: self.recalled,
            ..Message::default()
        }
    }

    fn group(self, record: &Record<'_>) -> Option<GroupChanged<'a>> {
        Some(GroupChanged {
            conversation: self.conversation.into(),
            change: match self.change? {
                "created" => ChangeKind::Created,
                "added" => ChangeKind::Added,
                "removed" => ChangeKind::Removed,
                "left" => ChangeKind::Left,
                "renamed" => ChangeKind::Renamed,
                _ => return None,
            },
            by: self.user.into(),
            members: self.members.into_iter().map(Str::from).collect(),
            name: self.name.map(Str::from),
            time: self.time.unwrap_or(record.time),
        })
    }

    /// Returns the parts of a receipt, each with the marks of one member, in the order of their
    /// places.
    pub fn parts(&self) -> impl Iterator<Item = Part<'a>> + use<'a> {
        let parts = match self.marks {
            Some(bytes) => Parts::new(self.conversation, bytes),
            None => Parts::new("", &[]),
        };
        // An earlier version had one member's in a record, and told everybody.
        let only = self.marks.is_none().then_some(Part {
            user: self.user,
            delivered: self.delivered,
            read: self.read,
            told: u64::MAX,
        });
        only.into_iter().chain(parts)
    }

    fn receipt(&self, record: &Record<'_>, part: usize) -> Option<Receipt<'a>> {
        let part = self.parts().nth(part)?;
        Some(Receipt {
            conversation: self.conversation.into(),
            user: part.user.into(),
            delivered: part.delivered,
            read: part.read,
            time: self.happened(record),
        })
    }
}

/// Returns the name of the conversation in a body. It is the first field, so the rest is not read.
pub fn conversation(body: &[u8]) -> Option<&str> {
    let (&tag, rest) = body.split_first()?;
    let (len, rest) = varint(rest)?;
    if tag != tag::CONVERSATION {
        return Body::read(body).map(|body| body.conversation);
    }
    simdutf8::basic::from_utf8(rest.get(..len)?).ok()
}

/// Returns the names of the two users of a 1:1 conversation.
pub(crate) fn both(conversation: &str) -> Option<(&str, &str)> {
    match Conversation::parse(conversation)? {
        Conversation::Direct(one, other) => Some((one, other)),
        Conversation::Group(_) => None,
    }
}

/// Returns the numbers of the parts of a record that `user` receives and that come after a
/// position. Each part is an event of its own, in this order. Only receipts have more than one
/// part.
pub fn parts_for(record: &Record<'_>, user: TimelineId, after: Position) -> PartsFor {
    let one = PartsFor { told: 1, parts: 1 };
    if RecordKind::of(record) != Some(RecordKind::Receipt) {
        return one;
    }
    let Some(body) = Body::read(record.body) else {
        return one;
    };
    let Some(marks) = body.marks else {
        return one;
    };
    let parts = Parts::new(body.conversation, marks);
    let mut told = receipt::told(record, parts.clone(), user);
    let parts = parts.count().max(1);
    for part in 0..parts {
        if receipt::position(record.position, (part, parts)) <= after {
            told &= !(1 << part);
        }
    }
    PartsFor { told, parts }
}

/// An iterator over the numbers of the parts that a user receives.
#[derive(Debug, Clone)]
pub struct PartsFor {
    told: u64,
    parts: usize,
}

impl PartsFor {
    /// Returns the position of a part in the order of events. `record` is the position of its
    /// record.
    pub fn position(&self, record: Position, part: usize) -> Position {
        receipt::position(record, (part, self.parts))
    }
}

impl Iterator for PartsFor {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let part = self.told.trailing_zeros();
        (part < 64).then(|| {
            self.told &= self.told - 1;
            part as usize
        })
    }
}

/// Returns the push of one part of a stored event, and writes its position into `pos`. `None` for a
/// kind or body of a later version.
pub fn push<'a>(
    record: &Record<'a>,
    part: usize,
    tokens: &mut Tokens,
    pos: &'a mut Token,
) -> Option<Push<'a>> {
    let (event, position) = event(record, part)?;
    *pos = tokens.token(position);
    Some(Push {
        pos: Some(pos.as_str().into()),
        event,
    })
}

/// Returns the push of one part of a stored event, which owns its position. `None` for a kind or
/// body of a later version.
pub fn owned_push<'a>(record: &Record<'a>, part: usize, tokens: &mut Tokens) -> Option<Push<'a>> {
    let (event, position) = event(record, part)?;
    Some(Push {
        pos: Some(tokens.text(position)),
        event,
    })
}

fn event<'a>(record: &Record<'a>, part: usize) -> Option<(Event<'a>, Position)> {
    let body = Body::read(record.body)?;
    let (mut position, time) = (record.position, body.happened(record));
    let event = match RecordKind::of(record)? {
        RecordKind::Message => Event::Message(body.message(record)),
        RecordKind::Receipt => {
            position = receipt::position(position, (part, body.parts().count()));
            Event::Receipt(body.receipt(record, part)?)
        }
        RecordKind::Recall => Event::Recall(Recalled {
            conversation: body.conversation.into(),
            seq: body.seq,
            by: body.user.into(),
            time,
        }),
        RecordKind::Delete => Event::Delete(Deleted {
            conversation: body.conversation.into(),
            seq: body.seq,
            time,
        }),
        RecordKind::Reaction => Event::Reaction(Reacted {
            conversation: body.conversation.into(),
            seq: body.seq,
            user: body.user.into(),
            reaction: body.reaction?.into(),
            removed: body.removed,
            time,
        }),
        RecordKind::Group => Event::Group(body.group(record)?),
    };
    Some((event, position))
}

/// Appends the body of a receipt with [`MOST_PARTS`] parts at most.
pub fn write_receipt<'a>(
    out: &mut Vec<u8>,
    (namespace, conversation): (&str, &str),
    parts: impl IntoIterator<Item = Part<'a>>,
) {
    field(out, tag::CONVERSATION, conversation.as_bytes());
    if !namespace.is_empty() {
        field(out, tag::NAMESPACE, namespace.as_bytes());
    }
    let mut marks = Vec::new();
    receipt::write(&mut marks, conversation, parts);
    field(out, tag::MARKS, &marks);
}

/// Returns a copy of a body with the time of the event added, for a record with another time.
pub fn with_time(body: &[u8], time: u64) -> Vec<u8> {
    let mut with = Vec::with_capacity(body.len() + 10);
    with.extend_from_slice(body);
    number(&mut with, tag::TIME, time);
    with
}

/// Appends those of the two mark fields that are not 0.
fn write_marks(out: &mut Vec<u8>, delivered: u64, read: u64) {
    for (tag, mark) in [(tag::DELIVERED, delivered), (tag::READ, read)] {
        if mark != 0 {
            number(out, tag, mark);
        }
    }
}

/// Appends a number field: little-endian, without trailing zero bytes.
fn number(out: &mut Vec<u8>, tag: u8, value: u64) {
    let bytes = value.to_le_bytes();
    field(out, tag, &bytes[..8 - value.leading_zeros() as usize / 8]);
}

fn field(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    out.push(tag);
    let mut len = value.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(value);
}

fn varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().enumerate().take(5) {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
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
            change: Some("added"),
            name: Some("Engineering"),
            members: vec!["carol", "dave"],
            time: Some(8),
            marks: None,
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
