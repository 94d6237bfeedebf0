//! Look-ups of states.
//!
//! A record with many states has each as a frame of its own inside it, and only that one is read. Records with few
//! states, and those of earlier versions with many, are one frame, whose checksum covers all of it: without a
//! cache each look-up of one state would read and check the whole frame.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::{Reader, View};
use crate::TimelineId;
use crate::error::ReadError;
use crate::log::frame::FrameKind;
use crate::log::record::{self, StateEntry};
use crate::log::window::Window;

/// The number of frames that a reader keeps.
const FRAMES: usize = 4;
/// The fewest states of a frame that is kept. Frames with fewer are read again for less than it costs
/// to keep them, unless they are long.
const KEEP_FROM: usize = 16;
/// The bytes from which on a frame is kept that has more than one state, such as a long message with the values
/// that it changes.
const LONG_FROM: usize = 4 << 10;
/// The most bytes of all frames that a reader keeps, with their tables of keys, besides one longer frame. A
/// change of a thousand members, who are in groups already, has some 400 KiB, and with long names more
/// than 1 MiB.
const KEEP_BYTES: usize = 1 << 20;
/// The most keys that are looked up in the index at once. The writer waits for the index meanwhile.
const AT_ONCE: usize = 32;

/// The checked frames with many states that a reader read last.
///
/// A clone of a reader begins without frames, so that threads do not wait for each other.
#[derive(Default)]
pub(super) struct Frames {
    kept: Mutex<Vec<Frame>>,
    /// The number of bytes of all frames that were read.
    read: AtomicU64,
}

/// The payload of a checked frame.
struct Frame {
    position: u64,
    payload: Vec<u8>,
    /// The number of its states.
    states: usize,
    /// The keys with their values in `payload`, ordered by key. It is made when a second key of the
    /// frame is looked up.
    table: Option<Box<[Place]>>,
}

/// The place of a value in the payload of a frame.
#[derive(Clone, Copy)]
struct Place {
    key: TimelineId,
    from: u32,
    len: u32,
}

/// What was read last of a segment, where the next state may be too.
#[derive(Default)]
struct Near {
    window: Window,
    /// The base of the segment.
    base: u64,
}

/// A key of a look-up of several keys, with the position of its value.
struct Wanted {
    /// The number of the key in the list of the caller.
    number: usize,
    position: Option<u64>,
    /// The number of the view in which the position was found.
    view: usize,
}

impl Clone for Frames {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Reader {
    /// Returns the latest visible value under a key; `None` if there is none or if it is empty.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] or [`ReadError::Io`] if the disk does not return what was written.
    pub fn state(&self, key: TimelineId) -> Result<Option<Vec<u8>>, ReadError> {
        let (view, position) = self.look_up(|index| index.state(key));
        self.value(&view, key, position, &mut Near::default())
    }

    /// Returns the latest visible values under many keys, in the order of the keys; `None` for a
    /// key without a value or with an empty one. The values are not of one moment: a commit can
    /// come between two of them.
    ///
    /// This is faster than [`state`](Self::state) for each key: values that lie near each other come with one read, and
    /// a record that is read whole for one of its values is read once.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] or [`ReadError::Io`] if the disk does not return what was written.
    pub fn states(&self, keys: &[TimelineId]) -> Result<Vec<Option<Vec<u8>>>, ReadError> {
        let mut views = Vec::with_capacity(keys.len().div_ceil(AT_ONCE));
        let mut all = Vec::with_capacity(keys.len());
        for (view, some) in keys.chunks(AT_ONCE).enumerate() {
            let first = view * AT_ONCE;
            let (seen, ()) = self.look_up(|index| {
                all.extend(some.iter().enumerate().map(|(number, &key)| Wanted {
                    number: first + number,
                    position: index.state(key),
                    view,
                }));
            });
            views.push(seen);
        }
        all.sort_unstable_by_key(|wanted: &Wanted| wanted.position);
        let mut values = vec![None; keys.len()];
        // States that lie near each other, such as those of one record, come with one read.
        let mut near = Near::default();
        for (place, wanted) in all.iter().enumerate() {
            let (number, view) = (wanted.number, &views[wanted.view]);
            if let Some(position) = wanted.position {
                let next = all.get(place + 1).and_then(|next| next.position);
                near.window.expect(position, next);
            }
            values[number] = self.value(view, keys[number], wanted.position, &mut near)?;
        }
        Ok(values)
    }

    /// Returns where the log has the latest visible values under many keys, in the order of the keys; `None` for a key
    /// without a value in the log. Reads nothing. Values at the same place are in the same record: look-ups in the
    /// order of the places read each record once.
    #[must_use]
    pub fn places(&self, keys: &[TimelineId]) -> Vec<Option<u64>> {
        let mut places = Vec::with_capacity(keys.len());
        for some in keys.chunks(AT_ONCE) {
            self.look_up(|index| places.extend(some.iter().map(|&key| index.state(key))));
        }
        places
    }

    /// Returns the number of bytes of records that this reader has read to look up values. A record with many values
    /// counts whole, each time that it is read.
    #[must_use]
    pub fn bytes_of_states(&self) -> u64 {
        self.frames.read.load(Relaxed)
    }

    /// Frees the frames that this reader keeps to make look-ups of states faster: up to 1 MiB, and one
    /// record that is longer. The next look-ups read them again.
    pub fn release(&self) {
        self.frames.kept.lock().clear();
    }

    /// Returns the value under a key that the index has at `position`, or that is in a run.
    fn value(
        &self,
        view: &View,
        key: TimelineId,
        position: Option<u64>,
        near: &mut Near,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let value = match position {
            Some(position) => Some(self.value_at(view, key, position, near)?),
            None => view.runs.state(key)?,
        };
        Ok(value.filter(|value| !value.is_empty()))
    }

    /// Returns the value that the frame at `position` puts under `key`.
    fn value_at(
        &self,
        view: &View,
        key: TimelineId,
        position: u64,
        near: &mut Near,
    ) -> Result<Vec<u8>, ReadError> {
        // Another thread with the same reader has the frames: this one reads for itself.
        let mut kept = self.frames.kept.try_lock();
        let known = kept.as_mut().and_then(|kept| find(kept, position));
        let segment = view.segment_of(position).ok_or(ReadError::NoRecord)?;
        if let Some(frame) = known {
            let value = frame
                .value(key)
                .map(|value| segment.present(value).to_vec());
            return value.ok_or_else(|| self.corrupt(segment, position));
        }
        if near.base != segment.base {
            near.window.forget();
            near.base = segment.base;
        }
        let (kind, payload) = self.read_frame(segment, position, &mut near.window)?;
        self.frames.read.fetch_add(payload.len() as u64, Relaxed);
        let (value, states) = match kind {
            FrameKind::State | FrameKind::Inner => {
                let state = record::decode_state(payload);
                let state = state.filter(|state| state.key == key);
                (state.map(|state| state.value), 1)
            }
            FrameKind::Record | FrameKind::Redacted => {
                let record = record::decode_payload(position, payload);
                let states = record.map_or(0, |record| record.states.len());
                (record.and_then(|record| record.states.value(key)), states)
            }
            FrameKind::Anchor | FrameKind::Seal | FrameKind::Hole => (None, 0),
        };
        let value = value.ok_or_else(|| self.corrupt(segment, position))?;
        let bytes = payload.len() + states * size_of::<Place>();
        if let Some(kept) = &mut kept
            && (states >= KEEP_FROM || states > 1 && payload.len() >= LONG_FROM)
        {
            make_room(kept, bytes);
            let frame = Frame {
                position,
                payload: payload.to_vec(),
                states,
                table: None,
            };
            kept.insert(0, frame);
        }
        Ok(segment.present(value).to_vec())
    }
}

/// Forgets the frames that were used least recently, so that one of `bytes` bytes may be kept too. A long frame
/// takes the place of another long one, and of no others.
fn make_room(frames: &mut Vec<Frame>, bytes: usize) {
    let is_long = |bytes: usize| bytes > KEEP_BYTES;
    if is_long(bytes) {
        frames.retain(|frame| !is_long(frame.bytes()));
        return;
    }
    let (mut count, mut sum) = (1, bytes);
    frames.retain(|frame| {
        if is_long(frame.bytes()) {
            return true;
        }
        count += 1;
        sum += frame.bytes();
        count <= FRAMES && sum <= KEEP_BYTES
    });
}

/// Returns the frame at `position`, which is then the first of `frames`.
fn find(frames: &mut [Frame], position: u64) -> Option<&mut Frame> {
    let found = frames.iter().position(|frame| frame.position == position)?;
    frames[..=found].rotate_right(1);
    frames.first_mut()
}

impl Frame {
    /// Returns the bytes of memory that it takes with its table.
    fn bytes(&self) -> usize {
        self.payload.len() + self.states * size_of::<Place>()
    }

    /// Returns the value that counts under `key`, if the frame has one.
    fn value(&mut self, key: TimelineId) -> Option<&[u8]> {
        let table = match &mut self.table {
            Some(table) => table,
            None => self.table.insert(places(self.position, &self.payload)?),
        };
        // Of several values under a key the last counts.
        let behind = table.partition_point(|place| place.key <= key);
        let place = table[..behind].last().filter(|place| place.key == key)?;
        let from = place.from as usize;
        self.payload.get(from..from + place.len as usize)
    }
}

/// Returns the places of all states in the payload of a record.
fn places(position: u64, payload: &[u8]) -> Option<Box<[Place]>> {
    let states = record::decode_payload(position, payload)?.states;
    let place = |StateEntry { key, value }: StateEntry<'_>| Place {
        key,
        from: (value.as_ptr() as usize - payload.as_ptr() as usize) as u32,
        len: value.len() as u32,
    };
    let mut places: Box<[Place]> = states.map(place).collect();
    // Stable: values under the same key keep their order.
    places.sort_by_key(|place| place.key);
    Some(places)
}
