//! Records: the content of a frame, as written and as read.

mod states;

use std::fmt;

use crc32c::crc32c_append;

use crate::log::frame::{self, FrameContext, FrameHeader, FrameKind};
use crate::{Position, TimelineId};
pub use states::StateEntry;
pub(crate) use states::{MAX_STATES, StateForm, States, renew_apart};

/// The bytes of a payload before its fan-out list.
pub(crate) const FIELDS: usize = 36;
/// The fewest bytes of log that a record takes.
pub(crate) const MIN_RECORD: u64 = 64;
const _: () = assert!(frame::frame_len(FIELDS) == MIN_RECORD as usize);
/// The bytes of a state's payload before its value.
pub(crate) const STATE_FIELDS: usize = ID;
/// The bytes of a timeline id.
const ID: usize = 16;
/// The bytes of a sequence.
const SEQ: usize = 8;
/// The bytes of the length of a part.
const LEN: usize = 4;
/// The longest fan-out list the format can count.
pub(crate) const MAX_FANOUT: usize = (1 << 21) - 1;
/// A flag in the word of the fan-out's count: a key follows the fields.
const HAS_KEY: u32 = 1 << 21;
/// A flag in the word of the fan-out's count: states follow the fields.
const HAS_STATES: u32 = 1 << 22;
/// A flag in the word of the fan-out's count: a redaction follows the fields.
const HAS_REDACTION: u32 = 1 << 23;

/// A record to append: one event with its fan-out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Draft<'a> {
    /// The kind of event. The store does not interpret it.
    pub kind: u8,
    /// The time of the event, in milliseconds since the Unix epoch. Lifetimes count from this time
    /// ([`Options::sync_life`](crate::Options::sync_life)).
    pub time: u64,
    /// The message timeline of the event.
    pub timeline: TimelineId,
    /// The sequence of the event in its message timeline: greater than all before it and at most
    /// 2⁶³ − 1. A record with sequence 0 is no entry of the timeline.
    pub seq: u64,
    /// The sync timelines that get a reference to the event: at most 2²¹ − 1, each at most once.
    pub fanout: &'a [TimelineId],
    /// The content of the event. The store does not interpret it.
    pub body: &'a [u8],
    /// The key with which [`Reader::find`](crate::Reader::find) finds the record, such as the
    /// idempotency key of a send. Make it with [`StoreKey::id`](crate::StoreKey::id) in a domain of
    /// its own.
    pub key: Option<TimelineId>,
    /// The [states](crate::Writer::set_state) that this record sets, at most 32,767. They are in
    /// the same frame, so a crash never separates them from the record. If a key occurs twice, its
    /// last value counts.
    pub states: &'a [StateEntry<'a>],
    /// The redaction of an earlier record of the same timeline that this record makes.
    pub redacts: Option<Redaction<'a>>,
}

/// A redaction: the replacement of an earlier record's body.
///
/// Reads return the new body as soon as the redaction is visible, and a merge removes the old body
/// from the disk. The rest of the redacted record stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redaction<'a> {
    /// The sequence of the redacted record. It is in the timeline of the redacting record.
    pub seq: u64,
    /// The new body. Of several redactions of a record the latest counts. A body of zeros alone reads as
    /// an empty one.
    pub body: &'a [u8],
}

impl Draft<'_> {
    /// Returns the size in bytes that
    /// [`Options::max_record_bytes`](crate::Options::max_record_bytes) limits.
    #[must_use]
    pub const fn record_bytes(&self) -> usize {
        self.bytes_besides_states() + states::bytes(self.states, self.timeline)
    }

    /// Returns the length of the payload of the record's frame, with its states apart.
    pub(crate) const fn bytes_apart(&self) -> usize {
        let before = FIELDS + if self.key.is_some() { ID } else { 0 };
        self.bytes_besides_states() + states::bytes_apart(self.states, before)
    }

    /// Returns whether each state is worth the header of a frame.
    pub(crate) const fn has_long_states(&self) -> bool {
        self.states.len() >= states::APART_STATES
            && states::bytes(self.states, self.timeline) >= states::APART_BYTES
    }

    const fn bytes_besides_states(&self) -> usize {
        let mut bytes = FIELDS + self.fanout.len() * ID + self.body.len();
        if self.key.is_some() {
            bytes += ID;
        }
        if let Some(redaction) = self.redacts {
            bytes += SEQ + LEN + redaction.body.len();
        }
        bytes
    }
}

/// A record as read, borrowed from a [`Batch`](crate::Batch) or a [`Page`](crate::Page).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The position of the record in the log.
    pub position: Position,
    /// The kind of event, as in [`Draft::kind`].
    pub kind: u8,
    /// The time of the event, as in [`Draft::time`].
    pub time: u64,
    /// The message timeline, as in [`Draft::timeline`].
    pub timeline: TimelineId,
    /// The sequence in the message timeline, as in [`Draft::seq`].
    pub seq: u64,
    /// The sync timelines that refer to the record, in the order of [`Draft::fanout`].
    pub fanout: Fanout<'a>,
    /// The content: [`Draft::body`], or the body of the latest redaction.
    pub body: &'a [u8],
    /// The key with which the record can be found, as in [`Draft::key`].
    pub key: Option<TimelineId>,
    /// The states that the record sets. Runs do not keep them with the record.
    pub(crate) states: States<'a>,
    /// The redaction that the record makes. Runs do not keep it with the record.
    pub(crate) redacts: Option<Redaction<'a>>,
}

impl<'a> Record<'a> {
    /// Returns the values that the record sets, with their keys. Only a record from a [`Batch`](crate::Batch) is sure to
    /// have them.
    pub fn states(&self) -> impl Iterator<Item = StateEntry<'a>> + use<'a> {
        self.states
    }

    /// Returns the keys under which the record sets values. A record from a run of version 1 comes without
    /// them.
    pub fn state_keys(&self) -> impl Iterator<Item = TimelineId> + use<'a> {
        self.states.map(|state| state.key)
    }

    /// Returns the redaction that the record makes. A record that was read through a
    /// [`Reader`](crate::Reader) may come without it, one of a [`Dump`](crate::Dump) has it. Its body is
    /// nothing but zeros if a later redaction has replaced it.
    #[must_use]
    pub const fn redaction(&self) -> Option<Redaction<'a>> {
        self.redacts
    }
}

/// The lists of a record, in memory of their own.
pub(crate) struct Lists<'a> {
    fanout: Vec<TimelineId>,
    states: Vec<StateEntry<'a>>,
}

impl<'a> Record<'a> {
    /// Returns the lists of the record, for [`draft`](Self::draft).
    pub(crate) fn lists(&self) -> Lists<'a> {
        Lists {
            fanout: self.fanout.collect(),
            states: self.states.collect(),
        }
    }

    /// Returns the draft that the record was made of.
    pub(crate) const fn draft<'b>(&'b self, lists: &'b Lists<'a>) -> Draft<'b> {
        Draft {
            kind: self.kind,
            time: self.time,
            timeline: self.timeline,
            seq: self.seq,
            fanout: lists.fanout.as_slice(),
            body: self.body,
            key: self.key,
            states: lists.states.as_slice(),
            redacts: self.redacts,
        }
    }
}

/// A reference to a record: where it is in its timeline and in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef {
    /// The message timeline of the record.
    pub timeline: TimelineId,
    /// The sequence of the record in its message timeline; 0 if the record is no entry of it.
    pub seq: u64,
    /// The position of the record in the log.
    pub position: Position,
}

/// The sync timelines of a record: an iterator that decodes each when it is asked for. A copy of
/// the iterator starts at the same place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fanout<'a> {
    bytes: &'a [u8],
}

impl Fanout<'_> {
    /// Returns whether no timeline is left.
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

/// Appends the frame of a state to `buffer`. The caller has checked the sizes.
pub(crate) fn push_state(buffer: &mut Vec<u8>, state: &StateEntry<'_>, at: FrameContext) {
    push_state_as(FrameKind::State, buffer, state, at);
}

/// Appends the frame of a state, of the kind for a frame of its own or for one inside a record.
fn push_state_as(kind: FrameKind, buffer: &mut Vec<u8>, state: &StateEntry<'_>, at: FrameContext) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; frame::HEADER]);
    buffer.extend_from_slice(&state.key.0.to_le_bytes());
    buffer.extend_from_slice(state.value);
    finish(buffer, start, kind, at);
}

/// Appends a frame with a payload that another store made to `buffer`. The caller has checked the sizes.
pub(crate) fn push_payload(
    buffer: &mut Vec<u8>,
    kind: FrameKind,
    payload: &[u8],
    at: FrameContext,
) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; frame::HEADER]);
    buffer.extend_from_slice(payload);
    finish(buffer, start, kind, at);
}

/// Decodes the payload of a state whose checksum holds.
pub(crate) fn decode_state(payload: &[u8]) -> Option<StateEntry<'_>> {
    let (key, value) = payload.split_first_chunk::<ID>()?;
    let key = TimelineId(u128::from_le_bytes(*key));
    Some(StateEntry { key, value })
}

/// Completes a frame in `buffer`: writes its header at `start`, in front of the payload, and adds
/// the padding behind the payload.
// Each message has one frame at least, and the compiler does not decide for it where there are several callers: 1,373
// instructions for an append in place of 1,329.
#[inline(always)]
fn finish(buffer: &mut Vec<u8>, start: usize, kind: FrameKind, at: FrameContext) {
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

/// Appends the frame of `draft` to `buffer`, with its states in this form and with a payload of this length. The caller
/// has checked the sizes.
// As of `finish`.
#[inline(always)]
pub(crate) fn push_record(
    buffer: &mut Vec<u8>,
    draft: &Draft<'_>,
    (form, payload_len): (StateForm, usize),
    at: FrameContext,
) {
    let start = buffer.len();
    buffer.reserve(frame::frame_len(payload_len));
    buffer.extend_from_slice(&[0; frame::HEADER]);
    buffer.extend_from_slice(&draft.time.to_le_bytes());
    buffer.extend_from_slice(&draft.seq.to_le_bytes());
    buffer.extend_from_slice(&draft.timeline.0.to_le_bytes());
    let mut word = draft.fanout.len() as u32 | u32::from(draft.kind) << 24;
    for (flag, has) in [
        (HAS_KEY, draft.key.is_some()),
        (HAS_STATES, !draft.states.is_empty()),
        (HAS_REDACTION, draft.redacts.is_some()),
    ] {
        word |= if has { flag } else { 0 };
    }
    buffer.extend_from_slice(&word.to_le_bytes());
    if let Some(key) = draft.key {
        buffer.extend_from_slice(&key.0.to_le_bytes());
    }
    match form {
        StateForm::Together => states::push(buffer, draft.states, draft.timeline),
        StateForm::Apart => states::push_apart(buffer, start, draft.states, at),
    }
    if let Some(redaction) = draft.redacts {
        buffer.extend_from_slice(&redaction.seq.to_le_bytes());
        push_part(buffer, redaction.body);
    }
    for id in draft.fanout {
        buffer.extend_from_slice(&id.0.to_le_bytes());
    }
    buffer.extend_from_slice(draft.body);
    finish(buffer, start, FrameKind::Record, at);
}

/// Appends the payload of a record to `buffer`, with its states together.
///
/// It comes out of a frame, so that one place alone writes records.
pub(crate) fn push_together(buffer: &mut Vec<u8>, draft: &Draft<'_>) {
    let nowhere = FrameContext {
        position: 0,
        durable: 0,
        salt: 0,
        session: 0,
    };
    let len = draft.record_bytes();
    let mut whole = Vec::new();
    push_record(&mut whole, draft, (StateForm::Together, len), nowhere);
    buffer.extend_from_slice(&whole[frame::HEADER..][..len]);
}

fn push_part(buffer: &mut Vec<u8>, part: &[u8]) {
    buffer.extend_from_slice(&(part.len() as u32).to_le_bytes());
    buffer.extend_from_slice(part);
}

/// Decodes the payload of a record whose checksum matches.
///
/// Returns `None` if the parts are longer than the payload. No writer makes such a payload: it is
/// damage that the checksum missed.
pub(crate) fn decode_payload(position: u64, payload: &[u8]) -> Option<Record<'_>> {
    let mut rest = payload;
    let time = take_u64(&mut rest)?;
    let seq = take_u64(&mut rest)?;
    let timeline = take_id(&mut rest)?;
    let word = take_u32(&mut rest)?;
    let mut record = Record {
        position: Position(position),
        kind: (word >> 24) as u8,
        time,
        timeline,
        seq,
        fanout: Fanout { bytes: &[] },
        body: &[],
        key: None,
        states: States::NONE,
        redacts: None,
    };
    if word & (HAS_KEY | HAS_STATES | HAS_REDACTION) != 0 {
        if word & HAS_KEY != 0 {
            record.key = Some(take_id(&mut rest)?);
        }
        if word & HAS_STATES != 0 {
            record.states = States::take(&mut rest, payload, timeline)?;
        }
        if word & HAS_REDACTION != 0 {
            let seq = take_u64(&mut rest)?;
            let body = take_part(&mut rest)?;
            record.redacts = Some(Redaction { seq, body });
        }
    }
    let (fanout, body) = rest.split_at_checked((word as usize & MAX_FANOUT) * ID)?;
    record.fanout = Fanout { bytes: fanout };
    record.body = body;
    Some(record)
}

/// Appends the payload of `record` as runs hold it: without states and redaction, and with `body`
/// in place of its own body if there is one.
pub(crate) fn push_lasting(into: &mut Vec<u8>, record: &Record<'_>, body: Option<&[u8]>) {
    into.extend_from_slice(&record.time.to_le_bytes());
    into.extend_from_slice(&record.seq.to_le_bytes());
    into.extend_from_slice(&record.timeline.0.to_le_bytes());
    let flags = if record.key.is_some() { HAS_KEY } else { 0 };
    let word = record.fanout.len() as u32 | flags | u32::from(record.kind) << 24;
    into.extend_from_slice(&word.to_le_bytes());
    if let Some(key) = record.key {
        into.extend_from_slice(&key.0.to_le_bytes());
    }
    into.extend_from_slice(record.fanout.bytes);
    into.extend_from_slice(body.unwrap_or(record.body));
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(u32::from_le_bytes(*bytes))
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    let (bytes, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(u64::from_le_bytes(*bytes))
}

fn take_id(rest: &mut &[u8]) -> Option<TimelineId> {
    let (bytes, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(TimelineId(u128::from_le_bytes(*bytes)))
}

fn take_part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = take_u32(rest)?;
    let (part, left) = rest.split_at_checked(len as usize)?;
    *rest = left;
    Some(part)
}

/// Returns the form of a record with its states together.
#[cfg(test)]
pub(crate) const fn together(draft: &Draft<'_>) -> (StateForm, usize) {
    (StateForm::Together, draft.record_bytes())
}

/// Returns the payload of a record's frame.
#[cfg(test)]
pub(crate) fn payload_of(draft: &Draft<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    let place = FrameContext {
        position: 8192,
        durable: 8192,
        salt: 1,
        session: 2,
    };
    push_record(&mut frame, draft, together(draft), place);
    frame[frame::HEADER..][..draft.record_bytes()].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: FrameContext = FrameContext {
        position: 8192,
        durable: 8192,
        salt: 1,
        session: 2,
    };

    fn frame_of(draft: &Draft<'_>) -> Vec<u8> {
        let mut buffer = Vec::new();
        push_record(&mut buffer, draft, together(draft), PLACE);
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
                ..Draft::default()
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
    fn parts_read_back_and_only_some_of_them_last() {
        let redaction = Redaction {
            seq: 77,
            body: b"gone",
        };
        let states = [(3, &b"state"[..]), (u128::MAX, b""), (4, b"other")];
        let states = states.map(|(key, value)| StateEntry {
            key: TimelineId(key),
            value,
        });
        for parts in 0..8 {
            let draft = Draft {
                kind: 7,
                seq: 5,
                fanout: &[TimelineId(1)],
                body: b"body",
                key: (parts & 1 != 0).then_some(TimelineId(2)),
                states: if parts & 2 != 0 { &states } else { &[] },
                redacts: (parts & 4 != 0).then_some(redaction),
                ..Draft::default()
            };
            let bytes = frame_of(&draft);
            let payload = &bytes[frame::HEADER..][..draft.record_bytes()];
            let record = decode_payload(8192, payload).unwrap();
            assert_eq!((record.kind, record.seq, record.body), (7, 5, &b"body"[..]));
            assert!(record.fanout.eq([TimelineId(1)]));
            assert_eq!((record.key, record.redacts), (draft.key, draft.redacts));
            assert_eq!(record.states.len(), draft.states.len());
            assert!(record.states.eq(draft.states.iter().copied()));
            for cut in FIELDS..payload.len() - 4 {
                assert_eq!(decode_payload(0, &payload[..cut]), None, "{parts} {cut}");
            }
            for body in [None, Some(&b"other body"[..])] {
                let mut lasting = Vec::new();
                push_lasting(&mut lasting, &record, body);
                let expected = Record {
                    states: States::NONE,
                    redacts: None,
                    body: body.unwrap_or(b"body"),
                    ..record
                };
                assert_eq!(decode_payload(8192, &lasting), Some(expected));
            }
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
            ..Draft::default()
        };
        assert_eq!(frame_of(&draft).len(), 216);
    }

    #[test]
    fn a_list_longer_than_the_payload_is_refused() {
        let draft = Draft {
            body: b"ab",
            ..Draft::default()
        };
        let mut payload = frame_of(&draft)[frame::HEADER..][..draft.record_bytes()].to_vec();
        payload[32] = 1;
        assert_eq!(decode_payload(0, &payload), None);
        assert_eq!(decode_payload(0, &payload[..FIELDS - 1]), None);
    }
}
