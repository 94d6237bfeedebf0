//! The events that clients receive of a stored record, one for each part.

use std::borrow::Cow;

use trunkline_proto::Str;
use trunkline_proto::message::{
    ChangeKind, ConversationSettings, Deleted, Event, GroupChanged, Media, Message, MessageExtras,
    Push, Reacted, Recalled, Receipt,
};
use trunkline_storage::{Position, Record, TimelineId, Token};

use super::receipt::{self, Parts};
use super::{Body, Details, RecordKind};
use crate::position::Tokens;

impl<'a> Body<'a> {
    /// Returns the message in a record.
    #[allow(
        clippy::inline_always,
        reason = "the compiler copies the body otherwise"
    )]
    #[inline(always)]
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
            extras: self.extras.and_then(|_| self.shown_extras(record)),
            recalled: self.recalled,
            ..Message::default()
        }
    }

    /// Returns the fields of a message that few messages have, as clients see them.
    #[inline(never)]
    fn shown_extras(&self, record: &Record<'_>) -> Option<Box<MessageExtras<'a>>> {
        self.extras().shown(self.happened(record))
    }

    /// Returns the change of a group in a record; `None` for a change of a later version.
    fn group(self, record: &Record<'_>) -> Option<GroupChanged<'a>> {
        let details = Details::read(self.details.unwrap_or_default())?;
        Some(GroupChanged {
            conversation: self.conversation.into(),
            change: match self.change? {
                "created" => ChangeKind::Created,
                "added" => ChangeKind::Added,
                "removed" => ChangeKind::Removed,
                "left" => ChangeKind::Left,
                "renamed" => ChangeKind::Renamed,
                "role" => ChangeKind::Role,
                "set" => ChangeKind::Set,
                "joined" => ChangeKind::Joined,
                "pinned" => ChangeKind::Pinned,
                "unpinned" => ChangeKind::Unpinned,
                _ => return None,
            },
            by: self.user.into(),
            members: self.members.into_iter().map(Str::from).collect(),
            name: self.name.map(Str::from),
            role: details.role,
            picture: details.picture.map(Str::from),
            send: details.send,
            join: details.join,
            seq: (self.seq != 0).then_some(self.seq),
            time: self.time.unwrap_or(record.time),
        })
    }

    /// Returns the user's own settings in a record; `None` if it has none that this version knows.
    fn settings(&self, record: &Record<'_>) -> Option<ConversationSettings<'a>> {
        let details = Details::read(self.details?)?;
        Some(ConversationSettings {
            conversation: self.conversation.into(),
            muted_until: details.muted_until.unwrap_or_default(),
            pinned: details.pinned.unwrap_or_default(),
            archived: details.archived.unwrap_or_default(),
            time: self.happened(record),
        })
    }

    /// Returns one part of a receipt; `None` if the receipt has no such part.
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
        if receipt::position(record.position, part, parts) <= after {
            told &= !(1 << part);
        }
    }
    PartsFor { told, parts }
}

/// An iterator over the numbers of the parts that a user receives.
#[derive(Debug, Clone)]
pub struct PartsFor {
    /// The remaining parts as bits: bit N is part N.
    told: u64,
    /// The number of all parts of the record.
    parts: usize,
}

impl PartsFor {
    /// Returns the position of a part in the order of events. `record` is the position of its
    /// record.
    #[inline]
    pub fn position(&self, record: Position, part: usize) -> Position {
        receipt::position(record, part, self.parts)
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
#[inline]
pub fn push<'a>(
    record: &Record<'a>,
    part: usize,
    tokens: &mut Tokens,
    pos: &'a mut Token,
) -> Option<Push<'a>> {
    let Placed { event, position } = event(record, part)?;
    *pos = tokens.token(position);
    Some(Push {
        pos: Some(pos.as_str().into()),
        event,
    })
}

/// One part of a stored event, at its position in the order of events.
pub(crate) struct Placed<'a> {
    pub(crate) event: Event<'a>,
    pub(crate) position: Position,
}

/// Returns the new version of a message in the record of an edit.
#[inline(never)]
fn edited<'a>(record: &Record<'a>, seq: u64) -> Option<Message<'a>> {
    let edited = Body::read(record.redaction()?.body)?;
    Some(Message {
        seq,
        ..edited.message(record)
    })
}

/// Returns one part of a stored event. `None` for a kind or body of a later version.
#[inline]
pub(crate) fn event<'a>(record: &Record<'a>, part: usize) -> Option<Placed<'a>> {
    let mut body = Body::default();
    body.fill(record.body)?;
    if body.conversation.is_empty() {
        // The record was erased with its user.
        return None;
    }
    let (mut position, time) = (record.position, body.happened(record));
    let event = match RecordKind::of(record)? {
        RecordKind::Message => Event::Message(body.message(record)),
        RecordKind::Receipt => {
            position = receipt::position(position, part, body.parts().count());
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
        RecordKind::Edit => Event::Edit(edited(record, body.seq)?),
        RecordKind::Settings => Event::Settings(body.settings(record)?),
    };
    Some(Placed { event, position })
}
