//! Batches: the records of one commit, as the bytes that the commit writes to the disk.

use std::fmt;
use std::sync::Arc;

use crate::log::frame::{self, FrameContext, FrameHeader, FrameKind};
use crate::log::record::{self, Draft, Record, StateEntry, StateForm};
use crate::log::segment::Segment;
use crate::{Position, TimelineId};

/// The capacity in bytes that an empty batch may always keep.
const KEPT_BYTES: usize = 64 << 10;

/// The records of one commit, shared with everybody who follows the log.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    records: usize,
    /// The key and the position of each state that has a frame of its own.
    states: Vec<(TimelineId, u64)>,
    /// Whether a record of the batch has states or redacts another record.
    effects: bool,
    first: u64,
    last: u64,
    end: u64,
}

/// The part of a batch that lies in one segment. A batch has one, or more when it crosses into
/// the next segment.
struct Piece {
    segment: Arc<Segment>,
    position: u64,
    /// The offset in the batch's bytes at which the piece begins.
    start: usize,
}

/// The bytes that a batch writes to one segment.
pub(crate) struct SegmentWrite<'a> {
    pub(crate) segment: &'a Arc<Segment>,
    /// The position of the first byte in the log.
    pub(crate) position: u64,
    pub(crate) bytes: &'a [u8],
}

impl SegmentWrite<'_> {
    /// Returns the position behind the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.position + self.bytes.len() as u64
    }
}

impl Batch {
    /// Returns the position of the first record; [`end`](Self::end) if the batch has no record.
    #[must_use]
    #[inline]
    pub fn first(&self) -> Position {
        Position(if self.records == 0 {
            self.end
        } else {
            self.first
        })
    }

    /// Returns the position of the last record, or [`Position::ZERO`] if the batch has none. It is
    /// the [`Reader::head`](crate::Reader::head) once the batch is visible.
    #[must_use]
    #[inline]
    pub fn last(&self) -> Position {
        Position(self.last)
    }

    /// Returns the position behind the last byte of the batch.
    #[must_use]
    pub fn end(&self) -> Position {
        Position(self.end)
    }

    /// Returns the number of records.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.records
    }

    /// Returns whether the batch has no records.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Iterates over the records in the order of the log.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        Records {
            batch: self,
            piece: 0,
            at: 0,
            left: self.records,
        }
    }

    /// Returns the record at `position`.
    ///
    /// # Panics
    /// If no record of this batch begins at `position`.
    #[must_use]
    #[inline]
    pub fn record_at(&self, position: Position) -> Record<'_> {
        match self.find(position.0) {
            Some(record) => record,
            None => panic!("{position:?} is not a record of {self:?}"),
        }
    }

    /// Returns the record at `position`; `None` if no record of this batch begins there.
    #[inline]
    pub(crate) fn find(&self, position: u64) -> Option<Record<'_>> {
        let write = self
            .writes()
            .filter(|write| write.position <= position)
            .last()?;
        let offset = usize::try_from(position - write.position).ok()?;
        let bytes = write.bytes.get(offset..)?;
        let header = FrameHeader::decode_trusted(bytes)?;
        if header.kind != FrameKind::Record {
            return None;
        }
        let payload = bytes.get(frame::HEADER..frame::HEADER + header.payload_len as usize)?;
        record::decode_payload(position, payload)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Empties the batch for use with the log at `end`. Gives memory back if the batch used less than
    /// an eighth of it, so that one burst does not hold memory for ever.
    pub(crate) fn reset(&mut self, end: u64) {
        let used = self.bytes.len();
        self.bytes.clear();
        if self.bytes.capacity() > KEPT_BYTES.max(8 * used) {
            self.bytes.shrink_to(KEPT_BYTES.max(2 * used));
        }
        self.pieces.clear();
        self.records = 0;
        self.states.clear();
        self.effects = false;
        self.first = end;
        self.last = 0;
        self.end = end;
    }

    /// Appends a record's frame with its states in this form, and with a payload of this length. The caller has
    /// checked that it fits.
    pub(crate) fn push(
        &mut self,
        draft: &Draft<'_>,
        form: (StateForm, usize),
        segment: &Arc<Segment>,
        at: FrameContext,
    ) {
        self.enter(segment, at.position);
        let before = self.bytes.len();
        record::push_record(&mut self.bytes, draft, form, at);
        if self.records == 0 {
            self.first = at.position;
        }
        self.records += 1;
        self.effects |= !draft.states.is_empty() || draft.redacts.is_some();
        self.last = at.position;
        self.end = at.position + (self.bytes.len() - before) as u64;
    }

    /// Appends a state's frame. The caller has checked that it fits.
    pub(crate) fn push_state(
        &mut self,
        state: &StateEntry<'_>,
        segment: &Arc<Segment>,
        at: FrameContext,
    ) {
        self.enter(segment, at.position);
        let before = self.bytes.len();
        record::push_state(&mut self.bytes, state, at);
        self.end = at.position + (self.bytes.len() - before) as u64;
        self.states.push((state.key, at.position));
    }

    /// Appends the frame of a record that another store made. The caller has checked that it fits.
    pub(crate) fn copy_record(
        &mut self,
        record: &Record<'_>,
        payload: &[u8],
        segment: &Arc<Segment>,
        at: FrameContext,
    ) {
        self.enter(segment, at.position);
        record::push_payload(&mut self.bytes, FrameKind::Record, payload, at);
        if self.records == 0 {
            self.first = at.position;
        }
        self.records += 1;
        self.effects |= record.states.len() > 0 || record.redacts.is_some();
        self.last = at.position;
        self.end = at.position + frame::frame_len(payload.len()) as u64;
    }

    /// Appends the frame of a state that another store made. The caller has checked that it fits.
    pub(crate) fn copy_state(
        &mut self,
        key: TimelineId,
        payload: &[u8],
        segment: &Arc<Segment>,
        at: FrameContext,
    ) {
        self.enter(segment, at.position);
        record::push_payload(&mut self.bytes, FrameKind::State, payload, at);
        self.end = at.position + frame::frame_len(payload.len()) as u64;
        self.states.push((key, at.position));
    }

    /// Returns key and position of each state that has a frame of its own.
    pub(crate) fn states(&self) -> &[(TimelineId, u64)] {
        &self.states
    }

    /// Returns whether a record of the batch has states or redacts another record.
    pub(crate) fn has_effects(&self) -> bool {
        self.effects
    }

    /// Returns whether the batch has no bytes to write.
    pub(crate) fn is_blank(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends the frame that ends a segment.
    pub(crate) fn push_seal(&mut self, segment: &Arc<Segment>, at: FrameContext) {
        self.enter(segment, at.position);
        frame::push_mark(&mut self.bytes, FrameKind::Seal, at);
        self.end = at.position + frame::HEADER as u64;
    }

    fn enter(&mut self, segment: &Arc<Segment>, position: u64) {
        if self
            .pieces
            .last()
            .is_none_or(|piece| piece.segment.base != segment.base)
        {
            let start = self.bytes.len();
            self.pieces.push(Piece {
                segment: segment.clone(),
                position,
                start,
            });
        }
    }

    /// Returns the segment and the position at which the batch begins; `None` if it is empty.
    pub(crate) fn origin(&self) -> Option<(Arc<Segment>, u64)> {
        self.pieces
            .first()
            .map(|piece| (piece.segment.clone(), piece.position))
    }

    /// Returns the writes that put this batch on the disk, in the order of the log: one for each
    /// segment.
    pub(crate) fn writes(&self) -> impl Iterator<Item = SegmentWrite<'_>> {
        self.pieces.iter().enumerate().map(|(i, piece)| {
            let end = self
                .pieces
                .get(i + 1)
                .map_or(self.bytes.len(), |next| next.start);
            SegmentWrite {
                segment: &piece.segment,
                position: piece.position,
                bytes: &self.bytes[piece.start..end],
            }
        })
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("first", &self.first())
            .field("end", &self.end())
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

/// The records of a [`Batch`] in log order.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    batch: &'a Batch,
    /// The index of the piece that holds `at`.
    piece: usize,
    /// The offset of the next frame in the batch's bytes.
    at: usize,
    left: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        while self.left > 0 {
            let batch = self.batch;
            if batch
                .pieces
                .get(self.piece + 1)
                .is_some_and(|next| next.start == self.at)
            {
                self.piece += 1;
            }
            let piece = &batch.pieces[self.piece];
            let position = piece.position + (self.at - piece.start) as u64;
            let bytes = &batch.bytes[self.at..];
            let header = FrameHeader::decode_trusted(bytes)?;
            self.at += header.len();
            if header.kind == FrameKind::Record {
                self.left -= 1;
                let payload = &bytes[frame::HEADER..frame::HEADER + header.payload_len as usize];
                return record::decode_payload(position, payload);
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Records<'_> {}

/// The number of published batches that the writer keeps, to use their buffers again.
const POOL: usize = 8;
/// The largest buffer in bytes that is kept for reuse. So one burst does not hold memory for ever.
const POOL_BUFFER_BYTES: usize = 4 << 20;

/// Published batches whose buffers return to the writer when nobody reads them any more.
#[derive(Default)]
pub(crate) struct BatchPool {
    published: Vec<Arc<Batch>>,
    /// The allocation of a batch that came back, which saves one allocation for each commit.
    shell: Option<Arc<Batch>>,
}

impl BatchPool {
    /// Returns an empty batch for the log at `end`, in a used buffer if one is free.
    pub(crate) fn take(&mut self, end: u64) -> Batch {
        let mut batch = Batch::default();
        for (i, shared) in self.published.iter_mut().enumerate() {
            if let Some(free) = Arc::get_mut(shared) {
                std::mem::swap(free, &mut batch);
                self.shell = Some(self.published.swap_remove(i));
                break;
            }
        }
        batch.reset(end);
        batch
    }

    /// Shares a finished batch, and remembers it for reuse.
    pub(crate) fn publish(&mut self, batch: Batch) -> Arc<Batch> {
        let mut shell = self.shell.take().unwrap_or_default();
        let batch = match Arc::get_mut(&mut shell) {
            Some(inside) => {
                *inside = batch;
                shell
            }
            // Unreachable: a batch is put aside only when the pool alone holds it.
            None => Arc::new(batch),
        };
        if batch.capacity() <= POOL_BUFFER_BYTES {
            if self.published.len() == POOL {
                // All batches are still being read. The oldest one is the least likely to come back
                // soon; its last reader frees it.
                self.published.remove(0);
            }
            self.published.push(batch.clone());
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_buffer_comes_back_when_its_last_reader_lets_go() {
        let mut pool = BatchPool::default();
        let mut batch = pool.take(0);
        batch.bytes.reserve(1000);
        let memory = batch.bytes.as_ptr();
        let shared = pool.publish(batch);
        let other = pool.take(8);
        assert_ne!(other.bytes.as_ptr(), memory, "still read");
        drop(shared);
        let around = Arc::as_ptr(&pool.published[0]);
        let again = pool.take(16);
        assert_eq!(again.bytes.as_ptr(), memory);
        assert_eq!((again.end(), again.len()), (Position(16), 0));
        assert!(pool.shell.is_some());
        let shared = pool.publish(again);
        assert_eq!(Arc::as_ptr(&shared), around, "what was around it, too");
    }

    #[test]
    fn the_pool_forgets_what_is_held_too_long_or_too_large() {
        let mut pool = BatchPool::default();
        let held: Vec<_> = (0..POOL * 2)
            .map(|_| pool.publish(Batch::default()))
            .collect();
        assert_eq!(pool.published.len(), POOL);
        drop(held);
        let large = Batch {
            bytes: Vec::with_capacity(POOL_BUFFER_BYTES + 1),
            ..Batch::default()
        };
        let before = pool.published.len();
        pool.publish(large);
        assert_eq!(pool.published.len(), before);
    }

    #[test]
    fn the_next_small_batch_gives_back_what_a_large_one_needed() {
        let mut pool = BatchPool::default();
        let mut batch = pool.take(0);
        for (used, kept) in [(1 << 20, 1 << 20), (1 << 18, 1 << 20), (100, KEPT_BYTES)] {
            batch.bytes.resize(used, 0);
            pool.publish(batch);
            batch = pool.take(0);
            let room = batch.capacity();
            assert!(room >= kept && room < 2 * kept, "{used}: {room}");
        }
    }

    #[test]
    fn an_empty_batch_has_no_records() {
        let mut batch = Batch::default();
        batch.reset(4096);
        assert!(batch.is_empty());
        assert_eq!(
            (batch.first(), batch.end()),
            (Position(4096), Position(4096))
        );
        assert_eq!(batch.records().count(), 0);
        assert_eq!(batch.find(4096), None);
    }

    #[test]
    fn pieces_in_two_segments_read_as_one_log() {
        let backend = crate::backend::sim::SimDisk::new(1);
        let factory = crate::log::segment::SegmentFactory {
            backend: Arc::new(backend),
            store_id: [0; 16],
            size: 8192,
            version: crate::log::segment::FORMAT_VERSION,
        };
        let segments = [factory.create(0).unwrap(), factory.create(8192).unwrap()].map(Arc::new);
        let draft = |seq| Draft {
            kind: 1,
            time: seq,
            timeline: TimelineId(1),
            seq,
            fanout: &[],
            body: b"body",
            ..Draft::default()
        };
        let place = |position| FrameContext {
            position,
            durable: position,
            salt: 0,
            session: 0,
        };
        let mut batch = Batch::default();
        batch.push(
            &draft(1),
            record::together(&draft(1)),
            &segments[0],
            place(4096),
        );
        batch.push_seal(&segments[0], place(4160));
        batch.push(
            &draft(2),
            record::together(&draft(2)),
            &segments[1],
            place(12288),
        );
        batch.push(
            &draft(3),
            record::together(&draft(3)),
            &segments[1],
            place(12352),
        );

        let seen: Vec<_> = batch.records().map(|r| (r.position.0, r.seq)).collect();
        assert_eq!(seen, [(4096, 1), (12288, 2), (12352, 3)]);
        assert_eq!(batch.records().len(), 3);
        for (position, seq) in seen {
            assert_eq!(batch.record_at(Position(position)).seq, seq);
        }
        for elsewhere in [0, 4160, 8192, 12289, 12416, 1 << 50] {
            assert_eq!(batch.find(elsewhere), None, "{elsewhere}");
        }
        let writes: Vec<_> = batch
            .writes()
            .map(|write| (write.segment.base, write.position, write.bytes.len()))
            .collect();
        assert_eq!(writes, [(0, 4096, 88), (8192, 12288, 128)]);
    }
}
