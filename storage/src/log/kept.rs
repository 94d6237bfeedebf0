//! Kept segments: the sealed part of the log, which holds records for as long as they live.
//!
//! Run files name records by their positions. A kept segment is opened when one of its records is
//! read, and only some are open at a time.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::backend::Backend;
use crate::error::{OpenError, ReadError};
use crate::log::frame::FrameKind;
use crate::log::read_ahead::ReadAhead;
use crate::log::record::{self, Record};
use crate::log::segment::{self, Segment};
use crate::log::window::{self, Window};

/// The most kept segments that are open at a time.
const MAX_OPEN: usize = if cfg!(test) { 2 } else { 64 };

/// Neighbouring segments of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// The base of the first segment.
    pub(crate) from: u64,
    /// The size of each segment in bytes.
    pub(crate) size: u64,
    /// The number of segments.
    pub(crate) count: u64,
}

impl Span {
    pub(crate) const fn end(&self) -> u64 {
        self.from + self.size * self.count
    }

    fn bases(self) -> impl Iterator<Item = u64> {
        (0..self.count).map(move |i| self.from + i * self.size)
    }
}

/// The kept segments, as the manifest names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KeptSegments {
    /// The segments, by ascending base.
    pub(crate) spans: Vec<Span>,
    /// The parts of the log that repairs gave up, from a position to another one, ascending.
    pub(crate) given_up: Vec<(u64, u64)>,
}

impl KeptSegments {
    /// Adds a segment behind all others.
    pub(crate) fn push(&mut self, base: u64, size: u64) {
        match self.spans.last_mut() {
            Some(last) if last.size == size && last.end() == base => last.count += 1,
            _ => self.spans.push(Span {
                from: base,
                size,
                count: 1,
            }),
        }
    }

    /// Returns base and size of each segment.
    pub(crate) fn segments(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let each = |span: &Span| {
            let size = span.size;
            span.bases().map(move |base| (base, size))
        };
        self.spans.iter().flat_map(each)
    }

    /// Keeps the segments for which `keep` returns true, by base and end. Returns the bases of the
    /// others.
    pub(crate) fn retain(&mut self, keep: impl Fn(u64, u64) -> bool) -> Vec<u64> {
        let mut kept = KeptSegments::default();
        let mut removed = Vec::new();
        for (base, size) in self.segments() {
            if keep(base, base + size) {
                kept.push(base, size);
            } else {
                removed.push(base);
            }
        }
        if !removed.is_empty() {
            self.spans = kept.spans;
        }
        removed
    }

    /// Returns the base of the segment that holds `position`.
    pub(crate) fn base_of(&self, position: u64) -> Option<u64> {
        let after = self.spans.partition_point(|span| span.from <= position);
        let span = self.spans[after.checked_sub(1)?];
        (position < span.end()).then(|| position - (position - span.from) % span.size)
    }

    /// Returns whether a repair gave up what was at `position`.
    pub(crate) fn is_given_up(&self, position: u64) -> bool {
        self.given_up_until(position).is_some()
    }

    /// Returns the end of the part around `position` that a repair gave up; `None` if there is none.
    pub(crate) fn given_up_until(&self, position: u64) -> Option<u64> {
        let mut parts = self.given_up.iter();
        let found = parts.find(|&&(from, to)| (from..to).contains(&position));
        found.map(|&(_, to)| to)
    }

    /// Returns the number of segments, and their size in bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        let count = self.spans.iter().map(|span| span.count).sum();
        let bytes = self.spans.iter().map(|span| span.count * span.size).sum();
        (count, bytes)
    }
}

/// The files of the kept segments: those that are open.
pub(crate) struct SegmentFiles {
    backend: Arc<dyn Backend>,
    store_id: [u8; 16],
    open: Mutex<OpenFiles>,
    /// Held while frames are overwritten. A reader that finds a damaged frame looks again with this
    /// lock.
    pub(crate) rewriting: Mutex<()>,
}

#[derive(Default)]
struct OpenFiles {
    by_base: HashMap<u64, OpenSegment>,
    line: VecDeque<u64>,
    /// The number of files that others took the place of.
    replaced: u64,
}

struct OpenSegment {
    segment: Arc<Segment>,
    /// Whether it was used since its last turn to be closed.
    used: bool,
}

impl SegmentFiles {
    pub(crate) fn new(backend: Arc<dyn Backend>, store_id: [u8; 16]) -> Self {
        SegmentFiles {
            backend,
            store_id,
            open: Mutex::default(),
            rewriting: Mutex::new(()),
        }
    }

    /// Notes an open segment that is kept from now on.
    pub(crate) fn adopt(&self, segment: Arc<Segment>) {
        self.open.lock().add(segment);
    }

    /// Notes that another file has taken the place of the segment at `base`. When this returns, no read that
    /// begins gets the file before.
    pub(crate) fn replaced(&self, base: u64) {
        self.open.lock().replaced += 1;
        self.forget(&[base]);
    }

    /// Closes segments that have expired. Call it before their files are removed.
    pub(crate) fn forget(&self, bases: &[u64]) {
        let mut open = self.open.lock();
        for base in bases {
            open.by_base.remove(base);
        }
        open.line.retain(|base| !bases.contains(base));
    }

    /// Returns the segment at `base`. Opens its file if it is not open.
    pub(crate) fn get(&self, base: u64) -> Result<Arc<Segment>, ReadError> {
        let replaced = {
            let mut open = self.open.lock();
            if let Some(open) = open.by_base.get_mut(&base) {
                open.used = true;
                return Ok(open.segment.clone());
            }
            open.replaced
        };
        let name = segment::segment_name(base);
        match Segment::open(&*self.backend, &name, self.store_id) {
            Ok(segment) => {
                let segment = Arc::new(segment);
                let mut open = self.open.lock();
                // Otherwise it may be a file that another one has replaced: good for this read alone.
                if open.replaced == replaced {
                    open.add(segment.clone());
                }
                Ok(segment)
            }
            Err(OpenError::Io { file, source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(ReadError::Corrupt { file, offset: 0 })
            }
            Err(OpenError::Io { file, source, .. }) => Err(ReadError::Io { file, source }),
            Err(_) => Err(self.corrupt(&name, 0)),
        }
    }

    fn corrupt(&self, name: &str, offset: u64) -> ReadError {
        ReadError::Corrupt {
            file: self.backend.path(name),
            offset,
        }
    }

    /// Returns the error that reports damage at `position`, which is in one of the segments `kept`.
    pub(crate) fn damaged(&self, kept: &KeptSegments, position: u64) -> ReadError {
        let base = kept.base_of(position).unwrap_or(position);
        self.corrupt(&segment::segment_name(base), position - base)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.backend.path(name)
    }
}

impl OpenFiles {
    fn add(&mut self, segment: Arc<Segment>) {
        let base = segment.base;
        let slot = OpenSegment {
            segment,
            used: false,
        };
        if self.by_base.insert(base, slot).is_none() {
            self.line.push_back(base);
        }
        while self.by_base.len() > MAX_OPEN {
            self.shrink();
        }
    }

    /// Closes the segment that is first in line, or moves it to the end if it was used.
    fn shrink(&mut self) {
        let Some(base) = self.line.pop_front() else {
            self.by_base.clear();
            return;
        };
        match self.by_base.get_mut(&base) {
            Some(open) if open.used => {
                open.used = false;
                self.line.push_back(base);
            }
            _ => {
                self.by_base.remove(&base);
            }
        }
    }
}

/// A record in a kept segment.
pub(crate) struct KeptRecord<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) record: Record<'a>,
    /// Whether the body was overwritten, because the record was redacted.
    pub(crate) is_redacted: bool,
}

/// Reads records of kept segments.
pub(crate) struct KeptReader<'a> {
    kept: &'a KeptSegments,
    files: &'a SegmentFiles,
    segment: Option<Arc<Segment>>,
    window: Window,
    ahead: ReadAhead,
    /// The end of the last read, or the beginning of the first one.
    clock: Instant,
    /// The time that the last read took.
    took: Duration,
}

impl<'a> KeptReader<'a> {
    pub(crate) fn new(kept: &'a KeptSegments, files: &'a SegmentFiles) -> Self {
        KeptReader {
            kept,
            files,
            segment: None,
            window: Window::with_len(window::SHORT),
            ahead: ReadAhead::default(),
            clock: Instant::now(),
            took: Duration::ZERO,
        }
    }

    /// Asks the disk for records that will be read next, if the last one came from the disk. Call it
    /// once after each record, with the positions of the next ones, nearest first.
    pub(crate) fn look_ahead(&mut self, next: impl Iterator<Item = u64>) {
        let wanted = self.ahead.after(std::mem::take(&mut self.took));
        for position in next.take(wanted) {
            let Some(base) = self.kept.base_of(position) else {
                continue;
            };
            let same = self.segment.as_ref().filter(|segment| segment.base == base);
            // The read reports an error.
            let segment = same.map_or_else(|| self.files.get(base).ok(), |same| Some(same.clone()));
            if let Some(segment) = segment {
                let offset = segment.offset(position);
                segment.file.prefetch(offset, window::SHORT as u64);
            }
        }
    }

    /// Returns the record at `position`; `None` if its segment is not kept, or if a repair gave the
    /// record up.
    pub(crate) fn record(&mut self, position: u64) -> Result<Option<KeptRecord<'_>>, ReadError> {
        let Some(base) = self.kept.base_of(position) else {
            return Ok(None);
        };
        if self.kept.is_given_up(position) {
            return Ok(None);
        }
        let segment = match self.segment.take() {
            Some(segment) if segment.base == base => segment,
            _ => {
                self.window.forget();
                self.files.get(base)?
            }
        };
        let segment = self.segment.insert(segment);
        let files = self.files;
        let io = |source| ReadError::Io {
            file: files.path(&segment.name),
            source,
        };
        let corrupt = || files.corrupt(&segment.name, segment.offset(position));
        let is_whole = self.window.frame(segment, position).map_err(io)?.is_some();
        // What happens between two reads takes no time that matters here.
        let now = Instant::now();
        self.took = now - self.clock;
        self.clock = now;
        if !is_whole {
            // It may be overwritten at this moment.
            let _rewriting = files.rewriting.lock();
            self.window.forget();
            let again = self.window.frame(segment, position).map_err(io)?;
            again.ok_or_else(corrupt)?;
        }
        let frame = self.window.checked(segment, position);
        let (header, payload) = frame.ok_or_else(corrupt)?;
        let is_redacted = match header.kind {
            FrameKind::Record => false,
            FrameKind::Redacted => true,
            _ => return Err(corrupt()),
        };
        let record = record::decode_payload(position, payload).ok_or_else(corrupt)?;
        Ok(Some(KeptRecord {
            payload,
            record,
            is_redacted,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_a_size_make_a_span() {
        let mut kept = KeptSegments::default();
        for (base, size) in [(0, 10), (10, 10), (20, 5), (25, 10), (40, 10), (50, 10)] {
            kept.push(base, size);
        }
        let counts: Vec<u64> = kept.spans.iter().map(|span| span.count).collect();
        assert_eq!(counts, [2, 1, 1, 2]);
        assert_eq!(kept.size(), (6, 55));
        for (position, base) in [
            (0, Some(0)),
            (9, Some(0)),
            (10, Some(10)),
            (24, Some(20)),
            (34, Some(25)),
            (35, None),
            (39, None),
            (59, Some(50)),
            (60, None),
        ] {
            assert_eq!(kept.base_of(position), base, "{position}");
        }
        assert_eq!(kept.retain(|_, end| end > 20 && end != 50), [0, 10, 40]);
        let left: Vec<u64> = kept.segments().map(|segment| segment.0).collect();
        assert_eq!(left, [20, 25, 50]);
        assert_eq!(kept.base_of(5), None);
    }
}
