//! The states that a record carries.

use std::fmt;

use crc32c::crc32c_append;

use super::{ID, LEN, decode_state, push_part, push_state_as, take_id, take_part};
use crate::TimelineId;
use crate::log::frame::{self, FrameContext, FrameHeader, FrameKind};
use crate::log::overwrite;

/// The bytes of the number of states.
const COUNT: usize = 2;
/// The number in place of the first number if the states are apart. The true one follows.
const APART: u16 = 0;
/// The fewest states that are kept apart.
pub(super) const APART_STATES: usize = 4;
/// The fewest bytes of all states of a record that are kept apart. Reading less costs little more than reading one.
/// In tests many records are such ones.
pub(super) const APART_BYTES: usize = if cfg!(test) { 200 } else { 16 << 10 };
/// The bytes of a state before its value.
const HEAD: usize = ID + LEN;
/// A flag in the word of the number: the key of the first state is the record's own timeline, and
/// is left out.
const OWN: u16 = 1 << 15;
/// The maximum number of states of a record that the format can count.
pub(crate) const MAX_STATES: usize = OWN as usize - 1;

/// A value under a key. A program keeps data that it derives from its records in states, so that it
/// need not replay the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateEntry<'a> {
    /// The key, with which [`Reader::state`](crate::Reader::state) finds the value. Make it like
    /// the id of a timeline; it may be one.
    pub key: TimelineId,
    /// The value from this record on. An empty value removes the key.
    pub value: &'a [u8],
}

/// How a record has its states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateForm {
    /// One after another: short. All of the record is read and checked for one of them.
    Together,
    /// Each as a frame inside the record, so that each is found, read and checked by itself. What a change of a
    /// thousand members stores would otherwise be read whole for each of them, at each later look at one of them.
    Apart,
}

/// Returns whether the key of the first state is the id of the record's own timeline.
const fn has_own(states: &[StateEntry<'_>], timeline: TimelineId) -> bool {
    matches!(states, [first, ..] if first.key.0 == timeline.0)
}

/// Returns the bytes that `states` take in the payload of a record of `timeline`.
pub(super) const fn bytes(states: &[StateEntry<'_>], timeline: TimelineId) -> usize {
    let mut bytes = if states.is_empty() { 0 } else { COUNT };
    let mut rest = states;
    while let [state, more @ ..] = rest {
        bytes += HEAD + state.value.len();
        rest = more;
    }
    if has_own(states, timeline) {
        bytes - ID
    } else {
        bytes
    }
}

/// Appends `states` to the payload of a record of `timeline`, if there are any. The caller has
/// checked their number.
pub(super) fn push(buffer: &mut Vec<u8>, states: &[StateEntry<'_>], timeline: TimelineId) {
    if states.is_empty() {
        return;
    }
    let own = has_own(states, timeline);
    let count = states.len() as u16 | if own { OWN } else { 0 };
    buffer.extend_from_slice(&count.to_le_bytes());
    for (i, state) in states.iter().enumerate() {
        if i > 0 || !own {
            buffer.extend_from_slice(&state.key.0.to_le_bytes());
        }
        push_part(buffer, state.value);
    }
}

/// Returns the bytes that `states` take in the payload of a record, apart and with the padding before them, `before`
/// bytes behind its beginning.
pub(super) const fn bytes_apart(states: &[StateEntry<'_>], before: usize) -> usize {
    let mut end = begin_apart(before);
    let mut rest = states;
    while let [state, more @ ..] = rest {
        end += frame::frame_len(ID + state.value.len());
        rest = more;
    }
    end - before
}

/// Returns where the first frame begins in the payload of a record, in which the numbers stand at `before`.
const fn begin_apart(before: usize) -> usize {
    (before + 2 * COUNT).next_multiple_of(frame::ALIGN)
}

/// Appends `states`, apart, to the payload of the record whose frame begins at `start` of the buffer, and in the log
/// at `record`.
pub(super) fn push_apart(
    buffer: &mut Vec<u8>,
    start: usize,
    states: &[StateEntry<'_>],
    record: FrameContext,
) {
    let begin = begin_apart(buffer.len() - start - frame::HEADER);
    buffer.extend_from_slice(&APART.to_le_bytes());
    buffer.extend_from_slice(&(states.len() as u16).to_le_bytes());
    buffer.resize(start + frame::HEADER + begin, 0);
    for state in states {
        let place = FrameContext {
            position: record.position + (buffer.len() - start) as u64,
            ..record
        };
        push_state_as(FrameKind::Inner, buffer, state, place);
    }
}

/// Makes the checksum of a state right that is apart and whose value has changed. `from` is the distance of the value
/// from the beginning of the payload of the record at `position`, and `seed` makes the seed of a position.
pub(crate) fn renew_apart(
    payload: &mut [u8],
    position: u64,
    from: usize,
    seed: impl Fn(u64) -> u32,
) -> Option<()> {
    let start = from.checked_sub(ID + frame::HEADER)?;
    let bytes = payload.get_mut(start..)?;
    let header = FrameHeader::decode_trusted(bytes)?;
    let seed = seed(position + (frame::HEADER + start) as u64);
    let content = bytes.get(frame::HEADER..frame::HEADER + header.payload_len as usize)?;
    let header = FrameHeader {
        payload_crc: crc32c_append(seed, content),
        ..header
    };
    bytes[..frame::HEADER].copy_from_slice(&header.encode(seed));
    Some(())
}

/// The states of a record: an iterator that decodes each state when it is asked for. A copy of the
/// iterator starts at the same place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct States<'a> {
    /// The bytes of the states that are left. Each state is complete.
    bytes: &'a [u8],
    left: u16,
    /// The distance of `bytes` from the beginning of the payload, if the states are apart; else 0.
    at: u32,
    /// The key of the next state, if the format leaves it out.
    own: Option<TimelineId>,
    /// Whether a value of zeros alone is one that was overwritten.
    erased: bool,
}

impl<'a> States<'a> {
    pub(crate) const NONE: States<'static> = States {
        bytes: &[],
        left: 0,
        at: 0,
        own: None,
        erased: false,
    };

    /// Takes the states of a record of `timeline` from the beginning of `rest`, the end of `payload`. Returns
    /// `None` if a state is cut off, or if the part is empty: no writer makes an empty part.
    pub(super) fn take(
        rest: &mut &'a [u8],
        payload: &'a [u8],
        timeline: TimelineId,
    ) -> Option<Self> {
        let (count, bytes) = rest.split_first_chunk()?;
        let count = u16::from_le_bytes(*count);
        if count == APART {
            return Self::take_apart(rest, payload);
        }
        let left = count & !OWN;
        let own = (count & OWN != 0).then_some(timeline);
        let (mut behind, mut key) = (bytes, own);
        for _ in 0..left {
            take_state(&mut behind, key.take())?;
        }
        *rest = behind;
        let bytes = &bytes[..bytes.len() - behind.len()];
        let erased = false;
        (left > 0).then_some(States {
            bytes,
            left,
            at: 0,
            own,
            erased,
        })
    }

    /// Takes states that are apart.
    fn take_apart(rest: &mut &'a [u8], payload: &'a [u8]) -> Option<Self> {
        let numbers = payload.len() - rest.len();
        let count = rest.get(COUNT..)?.first_chunk()?;
        let left = u16::from_le_bytes(*count);
        let at = begin_apart(numbers);
        let bytes = payload.get(at..)?;
        let mut behind = bytes;
        for _ in 0..left {
            take_frame(&mut behind)?;
        }
        *rest = behind;
        (left > 0).then_some(States {
            bytes: &bytes[..bytes.len() - behind.len()],
            left,
            at: at as u32,
            own: None,
            erased: false,
        })
    }

    /// Returns whether each state is a frame inside the record.
    pub(crate) const fn are_apart(&self) -> bool {
        self.at != 0
    }

    /// Returns each key with the distance from the position of the record to where its state is found: 0 for the
    /// record itself.
    pub(crate) fn places(mut self) -> impl Iterator<Item = (TimelineId, u64)> + use<'a> {
        std::iter::from_fn(move || {
            let from = match self.at {
                0 => 0,
                at => frame::HEADER as u64 + u64::from(at),
            };
            Some((self.next()?.key, from))
        })
    }

    /// Returns the states as those of a segment in which old values are overwritten, or are not.
    pub(crate) const fn read_where(self, values_erased: bool) -> Self {
        States {
            erased: values_erased,
            ..self
        }
    }

    /// Returns the value that counts under `key`, if there is one.
    pub(crate) fn value(self, key: TimelineId) -> Option<&'a [u8]> {
        let of_key = self.filter(|state| state.key == key);
        of_key.last().map(|state| state.value)
    }
}

impl<'a> Iterator for States<'a> {
    type Item = StateEntry<'a>;

    fn next(&mut self) -> Option<StateEntry<'a>> {
        let mut state = match self.at {
            0 => take_state(&mut self.bytes, self.own.take())?,
            _ => {
                let before = self.bytes.len();
                let state = take_frame(&mut self.bytes)?;
                self.at += (before - self.bytes.len()) as u32;
                state
            }
        };
        self.left -= 1;
        if self.erased {
            state.value = overwrite::present(state.value);
        }
        Some(state)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.left);
        (left, Some(left))
    }
}

impl ExactSizeIterator for States<'_> {}

impl fmt::Debug for States<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// Takes a state that is apart.
fn take_frame<'a>(rest: &mut &'a [u8]) -> Option<StateEntry<'a>> {
    let header = FrameHeader::decode_trusted(rest)?;
    let frame = rest.split_at_checked(header.len())?;
    *rest = frame.1;
    let payload = &frame.0[frame::HEADER..][..header.payload_len as usize];
    decode_state(payload).filter(|_| header.kind == FrameKind::Inner)
}

fn take_state<'a>(rest: &mut &'a [u8], own: Option<TimelineId>) -> Option<StateEntry<'a>> {
    let key = match own {
        Some(key) => key,
        None => take_id(rest)?,
    };
    let value = take_part(rest)?;
    Some(StateEntry { key, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Draft;
    use crate::log::record::{FIELDS, decode_payload, payload_of, push_record};

    #[test]
    fn as_many_states_read_back_as_can_be_counted() {
        let keys: Vec<TimelineId> = (0..MAX_STATES as u128).map(TimelineId).collect();
        let bytes: Vec<u8> = (0..MAX_STATES).map(|i| i as u8).collect();
        let state = |i: usize| StateEntry {
            key: keys[i],
            value: &bytes[i..(i + i % 3).min(MAX_STATES)],
        };
        let counts = [0, 1, 2, 3, 255, 256, 257, MAX_STATES];
        // The first state is under the record's own timeline, then the second, then none.
        for (count, timeline) in counts
            .into_iter()
            .flat_map(|count| [0, 1, 1 << 100].map(|t| (count, t)))
        {
            let states: Vec<StateEntry<'_>> = (0..count).map(state).collect();
            let draft = Draft {
                timeline: TimelineId(timeline),
                states: &states,
                body: b"body",
                ..Draft::default()
            };
            let payload = payload_of(&draft);
            let record = decode_payload(8192, &payload).unwrap();
            assert_eq!(record.body, b"body");
            assert_eq!(record.states.len(), count);
            assert!(record.states.eq(states.iter().copied()));
            for state in states.iter().take(3) {
                assert_eq!(record.states.value(state.key), Some(state.value));
            }
            let other = TimelineId(MAX_STATES as u128);
            assert_eq!(record.states.value(other), None);
        }
        let plain = Draft {
            body: b"body",
            ..Draft::default()
        };
        assert_eq!(plain.record_bytes(), FIELDS + 4, "none cost nothing");
    }

    #[test]
    fn states_apart_read_back_and_are_frames_at_their_places() {
        const PLACE: FrameContext = FrameContext {
            position: 8192,
            durable: 8192,
            salt: 1,
            session: 2,
        };
        let seed = |position| frame::seed(PLACE.salt, position);
        let values: Vec<Vec<u8>> = (0..40).map(|len| vec![len as u8; len]).collect();
        let states: Vec<StateEntry<'_>> = (0..)
            .map(TimelineId)
            .zip(&values)
            .map(|(key, value)| StateEntry { key, value })
            .collect();
        for key in [None, Some(TimelineId(7))] {
            let draft = Draft {
                states: &states,
                fanout: &[TimelineId(8)],
                body: b"body",
                key,
                ..Draft::default()
            };
            let mut frame = Vec::new();
            let len = draft.bytes_apart();
            push_record(&mut frame, &draft, (StateForm::Apart, len), PLACE);
            assert_eq!(frame.len(), frame::frame_len(len));
            let mut payload = frame[frame::HEADER..][..len].to_vec();
            for changed in [None, Some(39)] {
                if let Some(number) = changed {
                    let record = decode_payload(8192, &payload).unwrap();
                    let value = record.states.value(TimelineId(number)).unwrap();
                    let from = value.as_ptr() as usize - payload.as_ptr() as usize;
                    let len = value.len();
                    payload[from..from + len].fill(0);
                    renew_apart(&mut payload, 8192, from, seed).unwrap();
                }
                let record = decode_payload(8192, &payload).unwrap();
                assert_eq!((record.key, record.body), (key, &b"body"[..]));
                assert!(record.fanout.eq([TimelineId(8)]));
                assert_eq!(record.states.len(), states.len());
                let places: Vec<_> = record.states.places().collect();
                for ((state, was), (key, from)) in record.states.zip(&states).zip(places) {
                    assert_eq!((state.key, key), (was.key, was.key));
                    let expected = match changed == Some(key.0) {
                        true => vec![0; was.value.len()],
                        false => was.value.to_vec(),
                    };
                    assert_eq!(state.value, expected);
                    let bytes = &payload[from as usize - frame::HEADER..];
                    let seed = seed(8192 + from);
                    let header = FrameHeader::decode(bytes, seed).unwrap();
                    let content = &bytes[frame::HEADER..][..header.payload_len as usize];
                    assert!(header.payload_is_whole(content, seed), "{key:?}");
                    assert_eq!(decode_state(content), Some(state));
                }
            }
            for cut in FIELDS..payload.len() - 4 {
                assert_eq!(decode_payload(0, &payload[..cut]), None, "{cut}");
            }
        }
    }

    #[test]
    fn a_count_of_states_that_nobody_writes_is_refused() {
        let state = StateEntry {
            key: TimelineId(1),
            value: b"value",
        };
        let draft = Draft {
            states: &[state],
            ..Draft::default()
        };
        let payload = payload_of(&draft);
        for (count, whole) in [
            (0, false),
            (1, true),
            (2, false),
            (OWN, false),
            (u16::MAX, false),
        ] {
            let mut payload = payload.clone();
            payload[FIELDS..FIELDS + COUNT].copy_from_slice(&count.to_le_bytes());
            assert_eq!(decode_payload(0, &payload).is_some(), whole, "{count}");
        }
    }

    #[test]
    fn a_state_under_its_own_timeline_is_shorter_by_its_key() {
        let bytes = |key| {
            let draft = Draft {
                timeline: TimelineId(1),
                states: &[StateEntry {
                    key,
                    value: b"value",
                }],
                ..Draft::default()
            };
            payload_of(&draft).len()
        };
        assert_eq!(bytes(TimelineId(1)) + ID, bytes(TimelineId(2)));
    }
}
