//! Erasing old values from a sealed segment: a new file of the segment has zeros in their place.
//!
//! The file of the segment never changes for that. The new one is written beside it and takes its name when it
//! is durable: so a crash leaves either file, and a backup that has linked the old one keeps it.

use std::io;
use std::sync::Arc;

use crc32c::crc32c_append;

use crate::TimelineId;
use crate::backend::{self, Backend, BackendFile};
use crate::log::frame::{FrameHeader, FrameKind, HEADER};
use crate::log::record::{self, StateEntry};
use crate::log::segment::{self, Segment, SegmentHeader, VALUES_ERASED};
use crate::log::window::Window;

/// The bytes of a segment that are read at once to look at its values.
const LOOKED_AT_ONCE: u64 = if cfg!(test) { 1024 } else { 1 << 20 };
/// The bytes that are copied and synced at once. A commit that syncs meanwhile waits for no more of them.
const COPIED_AT_ONCE: u64 = if cfg!(test) { 1024 } else { 256 << 10 };
/// The frames that are changed and synced at once.
const CHANGED_AT_ONCE: usize = if cfg!(test) { 3 } else { 256 };
/// The most values that one new file of a segment has less. If there are more, another new file follows.
const MOST: usize = if cfg!(test) { 7 } else { 65_536 };

/// A value in a segment that becomes zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OldValue {
    /// The position of the frame.
    position: u64,
    /// The distance of the value from the beginning of the payload, in bytes.
    from: u32,
    len: u32,
}

/// Tells whether a value under a key is old.
pub(crate) type IsOld<'a> = dyn Fn(TimelineId, &[u8]) -> bool + 'a;

/// A look at the values of a sealed segment, in pieces.
pub(crate) struct ValueSearch {
    /// The position of the next frame.
    at: u64,
    /// The position behind the last frame, once it is known.
    end: Option<u64>,
    found: Vec<OldValue>,
}

impl ValueSearch {
    pub(crate) fn new(segment: &Segment) -> Self {
        ValueSearch {
            at: segment.first(),
            end: None,
            found: Vec::new(),
        }
    }

    /// Returns whether all frames were looked at.
    pub(crate) fn is_over(&self) -> bool {
        self.end.is_some()
    }

    /// Returns whether it is time to erase what was found: all was looked at, or it is as much as there is
    /// room for.
    pub(crate) fn is_enough(&self) -> bool {
        self.is_over() || self.found.len() >= MOST
    }

    pub(crate) fn found(&self) -> usize {
        self.found.len()
    }

    /// Forgets what was found. The look goes on where it is.
    pub(crate) fn clear(&mut self) {
        self.found.clear();
    }

    /// Looks at some frames, and notes the values that are old and not zeros.
    ///
    /// # Errors
    /// `InvalidData` if a frame is damaged, or the error of the file system.
    pub(crate) fn look(&mut self, segment: &Segment, is_old: &IsOld<'_>) -> io::Result<()> {
        let mut window = Window::with_len(LOOKED_AT_ONCE.min(segment.size) as usize);
        let until = self.at + LOOKED_AT_ONCE;
        while self.at < until && !self.is_enough() {
            let (header, payload) = frame_at(segment, self.at, &mut window)?;
            let states: Box<dyn Iterator<Item = StateEntry<'_>>> = match header.kind {
                FrameKind::State => Box::new(record::decode_state(payload).into_iter()),
                FrameKind::Record | FrameKind::Redacted => {
                    let record = record::decode_payload(self.at, payload);
                    let record = record.ok_or_else(|| damaged(segment, self.at))?;
                    Box::new(record.states)
                }
                FrameKind::Anchor | FrameKind::Seal | FrameKind::Hole | FrameKind::Inner => {
                    Box::new(std::iter::empty())
                }
            };
            let position = self.at;
            for StateEntry { key, value } in states {
                if value.iter().any(|byte| *byte != 0) && is_old(key, value) {
                    self.found.push(OldValue {
                        position,
                        from: (value.as_ptr() as usize - payload.as_ptr() as usize) as u32,
                        len: value.len() as u32,
                    });
                }
            }
            self.at += header.len() as u64;
            if header.kind == FrameKind::Seal {
                self.end = Some(self.at);
            }
        }
        Ok(())
    }
}

/// A new file of a sealed segment, until it is complete.
pub(crate) struct NewFile {
    name: String,
    temporary: String,
    file: Arc<dyn BackendFile>,
    /// The offset of the next byte to copy.
    copied: u64,
    /// The offset behind the last byte to copy. Zeros follow.
    end: u64,
    /// The number of values that have become zeros.
    changed: usize,
}

impl NewFile {
    /// Begins the file, with what `search` has found in the segment.
    pub(crate) fn begin(
        backend: &dyn Backend,
        segment: &Segment,
        search: &ValueSearch,
    ) -> io::Result<Self> {
        let temporary = format!("{}.tmp", segment.name);
        Ok(NewFile {
            file: backend::create_anew(backend, &temporary)?,
            name: segment.name.clone(),
            temporary,
            copied: 0,
            end: segment.offset(search.end.unwrap_or(segment.end())),
            changed: 0,
        })
    }

    /// Writes the next piece of the file, durably. Returns whether there may be more.
    ///
    /// # Errors
    /// `InvalidData` if the segment is damaged, or the error of the file system. The file is then of no use.
    pub(crate) fn go_on(&mut self, segment: &Segment, search: &ValueSearch) -> io::Result<bool> {
        if self.copied < self.end {
            self.copy(segment)?;
        } else if self.changed < search.found.len() {
            self.change(segment, &search.found)?;
        } else {
            // The rest is a hole, which reads as zeros.
            if self.file.len()? < segment.size {
                self.file.write_all_at(&[0], segment.size - 1)?;
            }
            self.file.sync_data()?;
            return Ok(false);
        }
        self.file.sync_data()?;
        Ok(true)
    }

    fn copy(&mut self, segment: &Segment) -> io::Result<()> {
        let len = COPIED_AT_ONCE.min(self.end - self.copied);
        let mut bytes = vec![0; len as usize];
        backend::read_exact_at(&*segment.file, &mut bytes, self.copied)?;
        if self.copied == 0 {
            let old = bytes.first_chunk().map(SegmentHeader::decode);
            let Some(Ok(old)) = old else {
                return Err(damaged(segment, segment.base));
            };
            let header = SegmentHeader {
                flags: old.flags | VALUES_ERASED,
                ..old
            };
            bytes[..segment::HEADER_USED].copy_from_slice(&header.encode());
        }
        self.file.write_all_at(&bytes, self.copied)?;
        self.copied += len;
        Ok(())
    }

    /// Changes some frames in the new file. Each is read from the segment, and must be whole there.
    fn change(&mut self, segment: &Segment, found: &[OldValue]) -> io::Result<()> {
        let mut window = Window::default();
        let left = found[self.changed..].chunk_by(|a, b| a.position == b.position);
        for same in left.take(CHANGED_AT_ONCE) {
            let position = same[0].position;
            let (header, payload) = frame_at(segment, position, &mut window)?;
            let is_apart = header.kind != FrameKind::State
                && record::decode_payload(position, payload)
                    .is_some_and(|record| record.states.are_apart());
            let mut frame = vec![0; HEADER];
            frame.extend_from_slice(payload);
            for value in same {
                let from = HEADER + value.from as usize;
                let zeroed = frame.get_mut(from..from + value.len as usize);
                zeroed.ok_or_else(|| damaged(segment, position))?.fill(0);
                if is_apart {
                    let payload = &mut frame[HEADER..];
                    let seed = |position| segment.seed(position);
                    record::renew_apart(payload, position, value.from as usize, seed)
                        .ok_or_else(|| damaged(segment, position))?;
                }
            }
            let seed = segment.seed(position);
            let header = FrameHeader {
                payload_crc: crc32c_append(seed, &frame[HEADER..]),
                ..header
            };
            frame[..HEADER].copy_from_slice(&header.encode(seed));
            self.file.write_all_at(&frame, segment.offset(position))?;
            self.changed += same.len();
        }
        Ok(())
    }

    /// Gives the complete file the name of the segment. It is durable when the folder is synced.
    pub(crate) fn take_place(&self, backend: &dyn Backend) -> io::Result<()> {
        backend.rename(&self.temporary, &self.name)
    }

    /// Removes the file. The next opening removes it if that fails.
    pub(crate) fn remove(self, backend: &dyn Backend) {
        let _ = backend.remove(&self.temporary);
    }
}

/// Returns a frame of a sealed segment.
fn frame_at<'a>(
    segment: &Segment,
    position: u64,
    window: &'a mut Window,
) -> io::Result<(FrameHeader, &'a [u8])> {
    if position >= segment.end() {
        return Err(damaged(segment, position));
    }
    let frame = window.frame(segment, position)?;
    frame.ok_or_else(|| damaged(segment, position))
}

fn damaged(segment: &Segment, position: u64) -> io::Error {
    let offset = segment.offset(position);
    let text = format!("{}: damaged at offset {offset}", segment.name);
    io::Error::new(io::ErrorKind::InvalidData, text)
}
