//! The states that a record carries.

use std::fmt;

use super::{ID, LEN, push_part, take_id, take_part};
use crate::TimelineId;
use crate::log::overwrite;

/// The bytes of the number of states.
const COUNT: usize = 2;
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

/// The states of a record: an iterator that decodes each state when it is asked for. A copy of the
/// iterator starts at the same place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct States<'a> {
    /// The bytes of the states that are left. Each state is complete.
    bytes: &'a [u8],
    left: u16,
    /// The key of the next state, if the format leaves it out.
    own: Option<TimelineId>,
    /// Whether a value of zeros alone is one that was overwritten.
    erased: bool,
}

impl<'a> States<'a> {
    pub(crate) const NONE: States<'static> = States {
        bytes: &[],
        left: 0,
        own: None,
        erased: false,
    };

    /// Takes the states of a record of `timeline` from the beginning of `rest`. Returns `None` if a
    /// state is cut off, or if the part is empty: no writer makes an empty part.
    pub(super) fn take(rest: &mut &'a [u8], timeline: TimelineId) -> Option<Self> {
        let (count, bytes) = rest.split_first_chunk()?;
        let count = u16::from_le_bytes(*count);
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
            own,
            erased,
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
        let mut state = take_state(&mut self.bytes, self.own.take())?;
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
    use crate::log::record::{FIELDS, decode_payload, payload_of};

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
