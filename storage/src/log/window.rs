//! A buffered view of a segment file, so that one read returns several short frames.

use std::io;

use crate::log::frame::{self, FrameHeader, FrameKind};
use crate::log::segment::Segment;

/// The bytes that are read at once by default: enough for several short records.
const READ_BYTES: usize = 4096;
/// The bytes that are read at once for a record whose neighbours are not wanted: enough for most records.
pub(crate) const SHORT: usize = 320;
/// The largest buffer in bytes that is kept after use.
const KEEP_BYTES: usize = 64 << 10;

/// The part of a segment that was read last.
pub(crate) struct Window {
    bytes: Vec<u8>,
    start: u64,
    len: usize,
    /// The bytes to read at once.
    ask: usize,
}

impl Default for Window {
    fn default() -> Self {
        Window::with_len(READ_BYTES)
    }
}

impl Window {
    /// Makes a window that reads `len` bytes at once, or more if more are asked for.
    pub(crate) fn with_len(len: usize) -> Self {
        Window {
            bytes: Vec::new(),
            start: 0,
            len: 0,
            ask: len,
        }
    }

    /// Chooses how much to read at once for the record at `position`, when the record at `next` follows.
    pub(crate) fn expect(&mut self, position: u64, next: Option<u64>) {
        let near = position..position.saturating_add(READ_BYTES as u64);
        self.ask = match next.is_some_and(|next| near.contains(&next)) {
            true => READ_BYTES,
            false => SHORT,
        };
    }

    /// Drops the buffered bytes. Call it before reading another segment, and before each new read
    /// of the store, which may find more bytes written.
    pub(crate) fn forget(&mut self) {
        self.len = 0;
    }

    /// Drops the buffered bytes and frees a large buffer.
    pub(crate) fn release(&mut self) {
        self.forget();
        self.bytes.truncate(KEEP_BYTES);
        self.bytes.shrink_to(KEEP_BYTES);
    }

    /// Returns `want` bytes at offset `at` of the segment's file.
    pub(crate) fn load(&mut self, segment: &Segment, at: u64, want: usize) -> io::Result<&[u8]> {
        let inside = at >= self.start && at + want as u64 <= self.start + self.len as u64;
        if !inside {
            let ask = want.max(self.ask);
            if self.bytes.len() < ask {
                self.bytes.resize(ask, 0);
            }
            self.len = 0;
            let read = segment.file.read_at(&mut self.bytes[..ask], at)?;
            if read < want {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            (self.start, self.len) = (at, read);
        }
        let from = (at - self.start) as usize;
        Ok(&self.bytes[from..from + want])
    }

    /// Returns header and payload of the frame at `position`, like [`frame`](Self::frame) did just
    /// before, without checking them again.
    pub(crate) fn checked(&self, segment: &Segment, position: u64) -> Option<(FrameHeader, &[u8])> {
        let from = segment.offset(position).checked_sub(self.start)?;
        let bytes = self.bytes[..self.len].get(usize::try_from(from).ok()?..)?;
        let header = FrameHeader::decode_trusted(bytes)?;
        let payload = match header.kind {
            FrameKind::Hole => &[],
            _ => bytes[frame::HEADER..].get(..header.payload_len as usize)?,
        };
        Some((header, payload))
    }

    /// Returns the header of the frame at `position`, checked. Returns `None` if there is none of this
    /// segment and position, or if its frame does not fit into the segment.
    pub(crate) fn header(
        &mut self,
        segment: &Segment,
        position: u64,
    ) -> io::Result<Option<FrameHeader>> {
        let room = usize::try_from(segment.end() - position).unwrap_or(usize::MAX);
        if room < frame::HEADER {
            return Ok(None);
        }
        let bytes = self.load(segment, segment.offset(position), frame::HEADER)?;
        let header = FrameHeader::decode(bytes, segment.seed(position));
        Ok(header.filter(|header| header.len() <= room))
    }

    /// Returns header and payload of the frame at `position`, both checked. Returns `None` if there
    /// is no valid frame of this segment and position. The payload of a hole is empty.
    pub(crate) fn frame(
        &mut self,
        segment: &Segment,
        position: u64,
    ) -> io::Result<Option<(FrameHeader, &[u8])>> {
        let Some(header) = self.header(segment, position)? else {
            return Ok(None);
        };
        let (at, seed) = (segment.offset(position), segment.seed(position));
        if header.kind == FrameKind::Hole {
            return Ok(Some((header, &[])));
        }
        let bytes = self.load(segment, at, header.len())?;
        let payload = &bytes[frame::HEADER..][..header.payload_len as usize];
        Ok(header
            .payload_is_whole(payload, seed)
            .then_some((header, payload)))
    }
}
