//! Records: what a frame of the log carries, as written and as read.

use std::fmt;

use crc32c::crc32c_append;

use crate::TimelineId;
use crate::frame::{self, FrameHeader, FrameKind, Place};

/// A place in the log: the byte address of a record's frame, counted from the log's beginning and
/// never reused. Later records have greater positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    /// Precedes every record.
    pub const ZERO: Position = Position(0);
}

/// Bytes of a payload before its fan-out list.
pub(crate) const FIELDS: usize = 36;
/// Bytes of a state's payload before its value.
pub(crate) const STATE_FIELDS: usize = ID;
/// Bytes of a timeline id.
const ID: usize = 16;
/// The longest fan-out list the format can count.
pub(crate) const MAX_FANOUT: usize = (1 << 24) - 1;

/// What the writer appends: one event with its fan-out.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// What kind of event this is; means nothing to the store.
    pub kind: u8,
    /// When it happened, in milliseconds since the Unix epoch; means nothing to the store.
    pub time: u64,
    /// The timeline the event belongs to.
    pub timeline: TimelineId,
    /// Its sequence there, greater than all before and at most 2⁶³ − 1; 0 if the event is no entry of that timeline.
    pub seq: u64,
    /// The sync timelines that get a reference to the event, each at most once. Up to 2²⁴ − 1.
    pub fanout: &'a [TimelineId],
    /// The content; means nothing to the store.
    pub body: &'a [u8],
}

impl Draft<'_> {
    /// Size in bytes that [`Options::max_record_bytes`](crate::Options::max_record_bytes) limits.
    #[must_use]
    pub const fn record_bytes(&self) -> usize {
        FIELDS + self.fanout.len() * ID + self.body.len()
    }
}

/// A record as read, borrowed from a [`Batch`](crate::Batch) or a [`Page`](crate::Page).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it is in the log.
    pub position: Position,
    /// As in the [`Draft`].
    pub kind: u8,
    /// As in the [`Draft`].
    pub time: u64,
    /// As in the [`Draft`].
    pub timeline: TimelineId,
    /// As in the [`Draft`].
    pub seq: u64,
    /// As in the [`Draft`], in the same order.
    pub fanout: Fanout<'a>,
    /// As in the [`Draft`].
    pub body: &'a [u8],
}

/// The sync timelines of a record: an iterator that decodes as it goes. Copy it to go twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fanout<'a> {
    bytes: &'a [u8],
}

impl Fanout<'_> {
    /// Whether no timeline is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Iterator for Fanout<'_> {
    type Item = TimelineId;

    fn next(&mut self) -> Option<TimelineId> {
        let (id, rest) = self.bytes.split_first_chunk::<ID>()?;
        self.bytes = rest;
        Some(TimelineId(u128::from_le_bytes(*id)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.bytes.len() / ID;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Fanout<'_> {}

impl fmt::Debug for Fanout<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// A value under a key, as in a frame or a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State<'a> {
    pub(crate) key: TimelineId,
    pub(crate) value: &'a [u8],
}

/// Appends the frame of a state to `buffer`. The caller has checked the sizes.
pub(crate) fn push_state(buffer: &mut Vec<u8>, state: &State<'_>, at: Place) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; frame::HEADER]);
    buffer.extend_from_slice(&state.key.0.to_le_bytes());
    buffer.extend_from_slice(state.value);
    finish(buffer, start, FrameKind::State, at);
}

/// Decodes the payload of a state whose checksum holds.
pub(crate) fn decode_state(payload: &[u8]) -> Option<State<'_>> {
    let (key, value) = payload.split_first_chunk::<ID>()?;
    let key = TimelineId(u128::from_le_bytes(*key));
    Some(State { key, value })
}

/// Completes the frame that begins at `start` of `buffer` and has its payload.
fn finish(buffer: &mut Vec<u8>, start: usize, kind: FrameKind, at: Place) {
    let payload_len = buffer.len() - start - frame::HEADER;
    let seed = frame::seed(at.salt, at.position);
    let header = FrameHeader {
        kind,
        payload_len: payload_len as u32,
        distance: frame::distance(at.position, at.durable),
        payload_crc: crc32c_append(seed, &buffer[start + frame::HEADER..]),
        session: at.session,
    };
    buffer[start..start + frame::HEADER].copy_from_slice(&header.encode(seed));
    buffer.resize(start + frame::frame_len(payload_len), 0);
}

/// Appends the frame of `draft` to `buffer`. The caller has checked the sizes.
pub(crate) fn push_record(buffer: &mut Vec<u8>, draft: &Draft<'_>, at: Place) {
    let payload_len = draft.record_bytes();
    let start = buffer.len();
    buffer.reserve(frame::frame_len(payload_len));
    buffer.extend_from_slice(&[0; frame::HEADER]);
    buffer.extend_from_slice(&draft.time.to_le_bytes());
    buffer.extend_from_slice(&draft.seq.to_le_bytes());
    buffer.extend_from_slice(&draft.timeline.0.to_le_bytes());
    let count_and_kind = draft.fanout.len() as u32 | u32::from(draft.kind) << 24;
    buffer.extend_from_slice(&count_and_kind.to_le_bytes());
    for id in draft.fanout {
        buffer.extend_from_slice(&id.0.to_le_bytes());
    }
    buffer.extend_from_slice(draft.body);

    finish(buffer, start, FrameKind::Record, at);
}

/// Decodes a payload whose checksum holds.
///
/// `None` if the fan-out list is longer than the payload: never written, so it is damage that the
/// checksum missed.
pub(crate) fn decode_payload(position: u64, payload: &[u8]) -> Option<Record<'_>> {
    let (time, rest) = payload.split_first_chunk::<8>()?;
    let (seq, rest) = rest.split_first_chunk::<8>()?;
    let (timeline, rest) = rest.split_first_chunk::<ID>()?;
    let (count_and_kind, rest) = rest.split_first_chunk::<4>()?;
    let count_and_kind = u32::from_le_bytes(*count_and_kind);
    let (fanout, body) = rest.split_at_checked((count_and_kind as usize & MAX_FANOUT) * ID)?;
    Some(Record {
        position: Position(position),
        kind: (count_and_kind >> 24) as u8,
        time: u64::from_le_bytes(*time),
        timeline: TimelineId(u128::from_le_bytes(*timeline)),
        seq: u64::from_le_bytes(*seq),
        fanout: Fanout { bytes: fanout },
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place {
        position: 8192,
        durable: 8192,
        salt: 1,
        session: 2,
    };

    fn frame_of(draft: &Draft<'_>) -> Vec<u8> {
        let mut buffer = Vec::new();
        push_record(&mut buffer, draft, PLACE);
        buffer
    }

    #[test]
    fn a_record_reads_back() {
        let ids = [TimelineId(1), TimelineId(u128::MAX)];
        for (fanout, body) in [
            (&ids[..], &b"hello"[..]),
            (&[], b"hello"),
            (&ids, b""),
            (&[], b""),
        ] {
            let draft = Draft {
                kind: 255,
                time: 3,
                timeline: TimelineId(9),
                seq: 4,
                fanout,
                body,
            };
            let bytes = frame_of(&draft);
            let header = FrameHeader::decode(&bytes, frame::seed(1, 8192)).unwrap();
            assert_eq!(bytes.len(), header.len());
            let payload = &bytes[frame::HEADER..][..header.payload_len as usize];
            assert!(header.payload_is_whole(payload, frame::seed(1, 8192)));

            let record = decode_payload(8192, payload).unwrap();
            assert_eq!(record.position, Position(8192));
            assert_eq!((record.kind, record.time, record.seq), (255, 3, 4));
            assert_eq!(record.timeline, TimelineId(9));
            assert_eq!(record.fanout.len(), fanout.len());
            assert!(record.fanout.eq(fanout.iter().copied()));
            assert_eq!(record.body, body);
        }
    }

    #[test]
    fn a_short_message_stays_small() {
        let draft = Draft {
            kind: 1,
            time: 1,
            timeline: TimelineId(1),
            seq: 1,
            fanout: &[TimelineId(2), TimelineId(3)],
            body: &[b'x'; 120],
        };
        assert_eq!(frame_of(&draft).len(), 216);
    }

    #[test]
    fn a_list_longer_than_the_payload_is_refused() {
        let draft = Draft {
            kind: 0,
            time: 0,
            timeline: TimelineId(0),
            seq: 0,
            fanout: &[],
            body: b"ab",
        };
        let mut payload = frame_of(&draft)[frame::HEADER..][..draft.record_bytes()].to_vec();
        payload[32] = 1;
        assert_eq!(decode_payload(0, &payload), None);
        assert_eq!(decode_payload(0, &payload[..FIELDS - 1]), None);
    }
}
