//! A stored record as a line of JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use trunkline_storage::{Record, TimelineId};

use crate::event::{Body, Kind};

/// What a record says, as far as this version can read it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Line<'a> {
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
    /// Who sent a message.
    #[serde(skip_serializing_if = "str::is_empty")]
    from: &'a str,
    /// Whose watermarks these are.
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
    #[serde(skip_serializing_if = "is_zero")]
    delivered: u64,
    #[serde(skip_serializing_if = "is_zero")]
    read: u64,
    /// Number of the sync timelines that have the record, and their ids.
    fanout: usize,
    fanout_ids: Vec<String>,
    /// What the record is found by.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    /// All of the body, in hex: of a kind or a form that this version does not know.
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

#[derive(Debug, Serialize)]
struct Media<'a> {
    #[serde(rename = "type")]
    mime: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    /// In base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

impl<'a> Line<'a> {
    pub(super) fn of(record: &Record<'a>) -> Self {
        let line = Line {
            position: record.position.0,
            kind: Name::Unknown(record.kind),
            time: record.time,
            timeline: hex_id(record.timeline),
            seq: record.seq,
            fanout: record.fanout.len(),
            fanout_ids: record.fanout.map(hex_id).collect(),
            key_id: record.key.map(hex_id),
            ..Line::default()
        };
        match (Kind::of(record), Body::read(record.body)) {
            (Some(kind), Some(body)) => line.with(kind, body),
            _ => Line {
                body: Some(hex(record.body)),
                ..line
            },
        }
    }

    fn with(mut self, kind: Kind, body: Body<'a>) -> Self {
        (self.kind, self.from, self.user) = match kind {
            Kind::Message => (Name::Known("message"), body.user, ""),
            Kind::Receipt => (Name::Known("receipt"), "", body.user),
        };
        Line {
            conversation: body.conversation,
            namespace: body.namespace,
            device: body.device,
            key: body.key,
            text: body.text,
            media: body.mime.map(|mime| Media {
                mime,
                size: body.size,
                url: body.url,
                data: body.data.map(|data| STANDARD.encode(data)),
            }),
            delivered: body.delivered,
            read: body.read,
            ..self
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// An id in hex, as it is given to `--timeline`.
pub(super) fn hex_id(id: TimelineId) -> String {
    format!("{:032x}", id.0)
}

/// Bytes in hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| DIGITS[usize::from(digit)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_as_hex() {
        assert_eq!(hex(&[]), "");
        assert_eq!(hex(&[0, 9, 0xab, 0xff]), "0009abff");
        assert_eq!(hex_id(TimelineId(0xab)).len(), 32);
    }
}
