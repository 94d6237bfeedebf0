//! Reading a segment from its first frame on, and searching for frames behind the end of the log.

use std::io;

use crate::log::frame::{self, FrameHeader, FrameKind};
use crate::log::record::{self, Record, StateEntry};
use crate::log::segment::Segment;
use crate::log::window::Window;

/// The bytes of a segment that are read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// The findings of a scan of the log so far.
#[derive(Clone)]
pub(crate) struct Scan {
    pub(crate) records: u64,
    /// The position of the last record.
    pub(crate) head: u64,
    pub(crate) records_end: u64,
    /// The end of the data that a frame reports as durable.
    pub(crate) covered: u64,
    pub(crate) session: Option<u32>,
}

/// What is known of all entries of a sealed segment together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The number of records.
    pub(crate) records: u64,
    /// The position of the last record; 0 if there is none.
    pub(crate) head: u64,
    /// The position of the last record or value; 0 if there is none.
    pub(crate) last: u64,
    /// The greatest time of a record, in milliseconds; 0 if there is none.
    pub(crate) last_time: u64,
}

/// An entry of the log: a frame with content.
pub(crate) enum Entry<'a> {
    Record(&'a Record<'a>),
    /// A state, with its position.
    State(u64, StateEntry<'a>),
}

/// The end of a segment's frames.
pub(crate) enum ScanEnd {
    /// A seal ends the segment at this position, and the log goes on in the next segment.
    Sealed(u64),
    /// No valid frame follows at this position.
    Open(u64),
}

impl Scan {
    /// Reads the frames of `segment`, which must follow the segment read before, and gives each
    /// entry to `each`.
    pub(crate) fn segment(
        &mut self,
        segment: &Segment,
        each: &mut dyn FnMut(Entry<'_>),
    ) -> io::Result<ScanEnd> {
        self.segment_from(segment, segment.first(), each)
    }

    /// Reads the frames of `segment` from the one at `position` on, and gives each entry to `each`.
    pub(crate) fn segment_from(
        &mut self,
        segment: &Segment,
        position: u64,
        each: &mut dyn FnMut(Entry<'_>),
    ) -> io::Result<ScanEnd> {
        self.read(segment, position, false, each)
    }

    /// Goes on behind a sealed segment whose entries are known. Reads only the frames from its last
    /// entry on. Returns the end of the segment's frames.
    pub(crate) fn pass(&mut self, segment: &Segment, known: Summary) -> io::Result<ScanEnd> {
        let before = self.records;
        let from = known.last.max(segment.first());
        let end = self.read(segment, from, true, &mut |_| {})?;
        self.records = before + known.records;
        self.head = self.head.max(known.head);
        Ok(end)
    }

    /// Reads frames like [`segment_from`](Self::segment_from), of `any` session if it is set.
    fn read(
        &mut self,
        segment: &Segment,
        mut position: u64,
        any: bool,
        each: &mut dyn FnMut(Entry<'_>),
    ) -> io::Result<ScanEnd> {
        let mut window = Window::with_len(CHUNK_BYTES.min(segment.size as usize));
        loop {
            let Some((header, payload)) = window.frame(segment, position)? else {
                return Ok(ScanEnd::Open(position));
            };
            if !any && !header.continues(self.session) {
                return Ok(ScanEnd::Open(position));
            }
            let end = position + header.len() as u64;
            match header.kind {
                FrameKind::Record => {
                    let Some(mut record) = record::decode_payload(position, payload) else {
                        return Ok(ScanEnd::Open(position));
                    };
                    record.states = record.states.read_where(segment.values_erased);
                    each(Entry::Record(&record));
                    self.records += 1;
                    self.head = position;
                    self.records_end = end;
                }
                FrameKind::Redacted => {
                    let Some(mut record) = record::decode_payload(position, payload) else {
                        return Ok(ScanEnd::Open(position));
                    };
                    record.states = record.states.read_where(segment.values_erased);
                    each(Entry::Record(&Record {
                        body: &[],
                        ..record
                    }));
                    self.records += 1;
                    self.head = position;
                    self.records_end = end;
                }
                FrameKind::State => {
                    let Some(mut state) = record::decode_state(payload) else {
                        return Ok(ScanEnd::Open(position));
                    };
                    state.value = segment.present(state.value);
                    each(Entry::State(position, state));
                    self.records_end = end;
                }
                FrameKind::Inner => return Ok(ScanEnd::Open(position)),
                FrameKind::Anchor | FrameKind::Seal | FrameKind::Hole => {}
            }
            self.session = Some(header.session);
            self.covered = self.covered.max(header.durable(position));
            if header.kind == FrameKind::Seal {
                return Ok(ScanEnd::Sealed(end));
            }
            position = end;
        }
    }
}

/// Reads the frames of a segment that is sealed and on the disk, from the one at `position` on, and
/// gives each entry to `each`. The sessions of the frames do not matter there.
pub(crate) fn frames(
    segment: &Segment,
    position: u64,
    each: &mut dyn FnMut(Entry<'_>),
) -> io::Result<ScanEnd> {
    frames_after(segment, position, &mut None, each)
}

/// Reads frames like [`frames`]. `session` is that of the frame before, and then that of the last
/// frame that was read.
pub(crate) fn frames_after(
    segment: &Segment,
    position: u64,
    session: &mut Option<u32>,
    each: &mut dyn FnMut(Entry<'_>),
) -> io::Result<ScanEnd> {
    let mut scan = Scan {
        records: 0,
        head: 0,
        records_end: 0,
        covered: 0,
        session: *session,
    };
    let end = scan.read(segment, position, true, each);
    *session = scan.session;
    end
}

/// The bytes of a segment behind the end of the log.
pub(crate) struct Leftover {
    /// The position behind the last byte that is not zero.
    pub(crate) end: u64,
    /// The position of a valid frame that reports data behind the end of the log as durable.
    pub(crate) claim: Option<u64>,
    /// The number of records whose batches were acknowledged before they were durable. They are whole,
    /// but the one where the log ends, of which the header is.
    pub(crate) weak: u64,
}

/// Searches `segment` from position `from` on, at every place where a frame can begin, for a frame
/// that reports `cut` as durable, and for records that were acknowledged early.
pub(crate) fn leftover(segment: &Segment, from: u64, cut: u64) -> io::Result<Leftover> {
    let is_weak = |header: &FrameHeader| {
        header.is_weak() && matches!(header.kind, FrameKind::Record | FrameKind::Redacted)
    };
    let (mut claim, mut weak) = (None, 0);
    let mut damaged = Window::default();
    if from == cut && damaged.frame(segment, from)?.is_none() {
        let header = damaged.header(segment, from)?;
        weak += u64::from(header.is_some_and(|header| is_weak(&header)));
    }
    let end = search(segment, from, &mut |position, header| {
        weak += u64::from(is_weak(header));
        if claim.is_none() && header.durable(position) > cut {
            claim = Some(position);
        }
        true
    })?;
    Ok(Leftover { end, claim, weak })
}

/// Gives every valid frame of the log in `segment` from position `from` on to `each`, until `each` returns
/// `false`: none of those inside a record, which are nothing without it. Frames need not follow each other. Returns the position behind the last byte that is
/// not zero.
pub(crate) fn search(
    segment: &Segment,
    from: u64,
    each: &mut dyn FnMut(u64, &FrameHeader) -> bool,
) -> io::Result<u64> {
    let mut chunks = Window::with_len(CHUNK_BYTES.min(segment.size as usize));
    let mut frames = Window::default();
    let mut end = from;
    let mut at = from;
    while at < segment.end() {
        let len = (segment.end() - at).min(CHUNK_BYTES as u64) as usize;
        let chunk = chunks.load(segment, segment.offset(at), len)?;
        for (i, word) in chunk.chunks_exact(frame::ALIGN).enumerate() {
            let mut bytes = [0; frame::ALIGN];
            bytes.copy_from_slice(word);
            let word = u64::from_le_bytes(bytes);
            if word == 0 {
                continue;
            }
            let position = at + (i * frame::ALIGN) as u64;
            end = position + frame::ALIGN as u64;
            if frame::may_begin(word)
                && let Some((header, _)) = frames.frame(segment, position)?
                && header.kind != FrameKind::Inner
                && !each(position, &header)
            {
                return Ok(end);
            }
        }
        at += len as u64;
    }
    Ok(end)
}
