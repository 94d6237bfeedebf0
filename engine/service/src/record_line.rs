//! A stored record as a line of JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;
use trunkline_core::event::{
    BLOCKS, Body, CONTACTS, Details, ERASURE, EXPIRED, LAST_SEEN, RecordKind,
};
use trunkline_proto::message::{Joining, Role, Senders};
use trunkline_storage::{Record, TimelineId};

/// The content of a record, as far as this version can read it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Line<'a> {
    position: u64,
    kind: Name,
    time: u64,
    timeline: String,
    #[serde(skip_serializing_if = "is_zero")]
    seq: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    conversation: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    /// The user who sent the message.
    #[serde(skip_serializing_if = "str::is_empty")]
    from: &'a str,
    /// The user who did something other than send a message.
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    device: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media: Option<Media<'a>>,
    /// The users whose watermarks moved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    marks: Vec<Marks<'a>>,
    /// The sequence of the message that the record changes.
    #[serde(skip_serializing_if = "is_zero")]
    of: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reaction: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    recalled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<&'a str>,
    /// What a change of a group or of settings sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<Set<'a>>,
    /// The number of sync timelines that have the record.
    fanout: usize,
    fanout_ids: Vec<String>,
    /// The id of the key that finds the record, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    /// The sequence of the message that this one replies to.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<u64>,
    /// The kind of the content, as the sender names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_kind: Option<&'a str>,
    /// The sender's own value.
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'a RawValue>,
    /// The milliseconds after which the message expires.
    #[serde(skip_serializing_if = "is_zero")]
    ttl: u64,
    /// The members whom the message mentions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mentions: Vec<&'a str>,
    /// The time of the last edit.
    #[serde(skip_serializing_if = "Option::is_none")]
    edited: Option<u64>,
    /// The whole body in hex, if this version does not know its kind or form.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

/// A kind of event by its name, or by its number if this version has no name for it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Name {
    Known(&'static str),
    Unknown(u8),
}

impl Default for Name {
    fn default() -> Self {
        Self::Unknown(0)
    }
}

/// The watermarks of one user.
#[derive(Debug, Serialize)]
struct Marks<'a> {
    user: &'a str,
    delivered: u64,
    read: u64,
    /// The indices in `fanout_ids` of the timelines whose devices are told.
    told: Vec<usize>,
}

/// What a change of a group or of settings sets.
#[derive(Debug, Serialize)]
struct Set<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    picture: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    send: Option<Senders>,
    #[serde(skip_serializing_if = "Option::is_none")]
    join: Option<Joining>,
    #[serde(skip_serializing_if = "Option::is_none")]
    muted_until: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    archived: Option<bool>,
}

impl<'a> From<Details<'a>> for Set<'a> {
    fn from(details: Details<'a>) -> Self {
        Self {
            role: details.role,
            picture: details.picture,
            send: details.send,
            join: details.join,
            muted_until: details.muted_until,
            pinned: details.pinned,
            archived: details.archived,
        }
    }
}

#[derive(Debug, Serialize)]
struct Media<'a> {
    #[serde(rename = "type")]
    mime: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    /// The inline data, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

impl<'a> Line<'a> {
    pub(crate) fn of(record: &Record<'a>) -> Self {
        let line = Line {
            position: record.position.0,
            kind: match (RecordKind::of(record), record.kind) {
                (Some(kind), _) => Name::Known(kind.name()),
                (None, CONTACTS) => Name::Known("contacts"),
                (None, BLOCKS) => Name::Known("blocks"),
                (None, LAST_SEEN) => Name::Known("last_seen"),
                (None, EXPIRED) => Name::Known("expired"),
                (None, ERASURE) => Name::Known("erasure"),
                (None, other) => Name::Unknown(other),
            },
            time: record.time,
            timeline: hex_id(record.timeline),
            seq: record.seq,
            fanout: record.fanout.len(),
            fanout_ids: record.fanout.map(hex_id).collect(),
            key_id: record.key.map(hex_id),
            ..Line::default()
        };
        match (RecordKind::of(record), Body::read(record.body)) {
            (Some(RecordKind::Receipt), Some(body)) => line.receipt(&body),
            (Some(kind), Some(body)) => line.with(Some(kind), body),
            (None, Some(body)) if [CONTACTS, BLOCKS, ERASURE].contains(&record.kind) => {
                line.with(None, body)
            }
            _ => Line {
                body: Some(hex(record.body)),
                ..line
            },
        }
    }

    fn receipt(self, body: &Body<'a>) -> Self {
        let places = 0..self.fanout.min(64);
        let marks = body.parts().map(|part| Marks {
            user: part.user,
            delivered: part.delivered,
            read: part.read,
            told: places
                .clone()
                .filter(|place| part.told >> place & 1 == 1)
                .collect(),
        });
        Line {
            conversation: body.conversation,
            namespace: body.namespace,
            time: body.time.unwrap_or(self.time),
            marks: marks.collect(),
            ..self
        }
    }

    fn with(mut self, kind: Option<RecordKind>, body: Body<'a>) -> Self {
        match kind {
            Some(RecordKind::Message) => self.from = body.user,
            _ => self.user = body.user,
        }
        let extras = body.extras();
        Line {
            reply_to: extras.reply_to,
            edited: extras.edited,
            ttl: extras.ttl,
            mentions: extras.mentions,
            content_kind: extras.kind,
            meta: extras.meta.and_then(|meta| serde_json::from_str(meta).ok()),
            conversation: body.conversation,
            namespace: body.namespace,
            time: body.time.unwrap_or(self.time),
            device: body.device,
            key: body.key,
            text: body.text,
            media: body.mime.map(|mime| Media {
                mime,
                size: body.size,
                url: body.url,
                data: body.data.map(|data| STANDARD.encode(data)),
            }),
            of: body.seq,
            reaction: body.reaction,
            removed: body.removed,
            recalled: body.recalled,
            change: body.change,
            name: body.name,
            members: body.members,
            set: body.details.and_then(Details::read).map(Set::from),
            ..self
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Formats an id in hex, as `--timeline` takes it.
pub(crate) fn hex_id(id: TimelineId) -> String {
    format!("{:032x}", id.0)
}

/// Formats bytes in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| DIGITS[usize::from(digit)]).collect()
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use serde_json::{Value, json};
    use trunkline_storage::{Draft, Durability, Options, Position, Store};

    use super::*;

    #[test]
    fn what_this_version_cannot_read_is_hex() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            durability: Durability::Os,
            segment_bytes: 64 << 10,
            max_record_bytes: 4 << 10,
            ..Options::default()
        };
        let mut opened = Store::open(dir.path(), options, &mut |_| ()).unwrap();
        for (kind, body) in [(99, &b"\xff\x00"[..]), (1, b"\x01\x7f")] {
            let draft = Draft {
                kind,
                time: 5,
                body,
                ..Draft::default()
            };
            opened.writer.append(&draft).unwrap();
        }
        opened.writer.commit().unwrap();
        drop(opened);
        let mut lines = Vec::new();
        let mut dump = Store::dump(dir.path()).unwrap();
        let mut each = |record: &Record<'_>| {
            let mut line = serde_json::to_value(Line::of(record)).unwrap();
            line["position"] = Value::Null;
            line["timeline"] = Value::Null;
            lines.push(line);
            ControlFlow::Continue(())
        };
        dump.records(Position::ZERO, &mut each).unwrap();
        let line = |kind: Value, body| {
            json!({
                "position": null, "kind": kind, "time": 5, "timeline": null,
                "fanout": 0, "fanout_ids": [], "body": body,
            })
        };
        assert_eq!(
            lines,
            [line(json!(99), "ff00"), line(json!("message"), "017f")]
        );
    }

    #[test]
    fn bytes_read_as_hex() {
        assert_eq!(hex(&[]), "");
        assert_eq!(hex(&[0, 9, 0xab, 0xff]), "0009abff");
        assert_eq!(hex_id(TimelineId(0xab)).len(), 32);
    }
}
