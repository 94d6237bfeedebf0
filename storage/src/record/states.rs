//! The states that a record carries.

use std::fmt;

use super::{ID, LEN, push_part, take_id, take_part};
use crate::TimelineId;

/// Bytes of the number of states, and of a state before its value.
const COUNT: usize = 2;
const HEAD: usize = ID + LEN;
/// The most states of a record that the format can count.
pub(crate) const MAX_STATES: usize = u16::MAX as usize;

/// A value under a key: what a program derives from its records and would not replay them for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State<'a> {
    /// What the value is found by ([`Reader::state`](crate::Reader::state)); made as the ids of
    /// timelines are, and it may be one.
    pub key: TimelineId,
    /// The value from now on; an empty one removes the key.
    pub value: &'a [u8],
}

/// Bytes that `states` take in a payload.
pub(super) const fn bytes(states: &[State<'_>]) -> usize {
    let mut bytes = if states.is_empty() { 0 } else { COUNT };
    let mut rest = states;
    while let [state, more @ ..] = rest {
        bytes += HEAD + state.value.len();
        rest = more;
    }
    bytes
}

/// Appends `states` to a payload, if there are any. The caller has checked their number.
pub(super) fn push(buffer: &mut Vec<u8>, states: &[State<'_>]) {
    if states.is_empty() {
        return;
    }
    buffer.extend_from_slice(&(states.len() as u16).to_le_bytes());
    for state in states {
        buffer.extend_from_slice(&state.key.0.to_le_bytes());
        push_part(buffer, state.value);
    }
}

/// The states of a record: an iterator that decodes as it goes. Copy it to go twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct States<'a> {
    /// As many states as are left, whole.
    bytes: &'a [u8],
    left: u16,
}

impl<'a> States<'a> {
    pub(crate) const NONE: States<'static> = States {
        bytes: &[],
        left: 0,
    };

    /// Takes the states from the beginning of `rest`. None that is cut off, and no empty part,
    /// which nobody writes.
    pub(super) fn take(rest: &mut &'a [u8]) -> Option<Self> {
        let (count, bytes) = rest.split_first_chunk()?;
        let left = u16::from_le_bytes(*count);
        let mut behind = bytes;
        for _ in 0..left {
            take_state(&mut behind)?;
        }
        *rest = behind;
        let bytes = &bytes[..bytes.len() - behind.len()];
        (left > 0).then_some(States { bytes, left })
    }

    /// The value that counts under `key`, if there is one.
    pub(crate) fn value(self, key: TimelineId) -> Option<&'a [u8]> {
        let of_key = self.filter(|state| state.key == key);
        of_key.last().map(|state| state.value)
    }
}

impl<'a> Iterator for States<'a> {
    type Item = State<'a>;

    fn next(&mut self) -> Option<State<'a>> {
        let state = take_state(&mut self.bytes)?;
        self.left -= 1;
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

fn take_state<'a>(rest: &mut &'a [u8]) -> Option<State<'a>> {
    let key = take_id(rest)?;
    let value = take_part(rest)?;
    Some(State { key, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Draft;
    use crate::record::{FIELDS, decode_payload, payload_of};

    #[test]
    fn as_many_states_read_back_as_can_be_counted() {
        let keys: Vec<TimelineId> = (0..MAX_STATES as u128).map(TimelineId).collect();
        let bytes: Vec<u8> = (0..MAX_STATES).map(|i| i as u8).collect();
        let state = |i: usize| State {
            key: keys[i],
            value: &bytes[i..(i + i % 3).min(MAX_STATES)],
        };
        for count in [0, 1, 2, 3, 255, 256, 257, MAX_STATES] {
            let states: Vec<State<'_>> = (0..count).map(state).collect();
            let draft = Draft {
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
        let state = State {
            key: TimelineId(1),
            value: b"value",
        };
        let draft = Draft {
            states: &[state],
            ..Draft::default()
        };
        let payload = payload_of(&draft);
        for (count, whole) in [(0, false), (1, true), (2, false), (u16::MAX, false)] {
            let mut payload = payload.clone();
            payload[FIELDS..FIELDS + COUNT].copy_from_slice(&count.to_le_bytes());
            assert_eq!(decode_payload(0, &payload).is_some(), whole, "{count}");
        }
    }
}
