//! The writer: batches under construction, and their commit.

mod refused;

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::error::{AppendError, CommitError};
use crate::index::Scratch;
use crate::log::batch::{Batch, BatchPool};
use crate::log::failed_write::{FailedWrite, SegmentStretch};
use crate::log::frame::{self, FrameContext, FrameKind};
use crate::log::record::{self, MAX_FANOUT, MAX_STATES, StateEntry};
use crate::log::segment::Segment;
use crate::run::MAX_SEQ;
use crate::store::compact::{Compactor, Lifetimes};
use crate::store::condition::{Obstacle, Subsystem};
use crate::store::flush::Flusher;
use crate::store::guard::FolderGuard;
use crate::store::index_thread::{IndexThread, LARGE};
use crate::store::prepare::Preparer;
use crate::store::shared::Shared;
use crate::{Draft, Durability, IdBuildHasher, Options, Position, Record, StoreKey, TimelineId};

/// The one writer of a store.
///
/// [`append`](Self::append) records to the batch under construction, then
/// [`commit`](Self::commit) it. Dropping the writer discards a batch under construction and
/// closes the log as [`sync`](Self::sync) does, without a word about errors: call `sync` first to
/// know.
pub struct Writer {
    shared: Arc<Shared>,
    options: Options,
    /// The segment the next frame goes to, and that frame's position.
    segment: Arc<Segment>,
    cursor: u64,
    /// This writer's number in the frames.
    session: u32,
    batch: Batch,
    /// Last sequences of the timelines in the batch.
    pending: HashMap<TimelineId, u64, IdBuildHasher>,
    pool: BatchPool,
    scratch: Scratch,
    preparer: Preparer,
    flusher: Flusher,
    /// A write that failed and is not made good yet.
    failed_write: Option<FailedWrite>,
    /// Segments that were taken for a batch which was given up: the next ones, in order.
    spare: VecDeque<Arc<Segment>>,
    /// Only with threads.
    index_thread: Option<IndexThread>,
    /// Only with threads.
    _guard: Option<FolderGuard>,
    /// Dropped before the lock of the folder, with the rest.
    compactor: Option<Compactor>,
    last_sync: Instant,
    /// End of the records written, and how far a frame on disk says that they are durable.
    records_end: u64,
    covered: u64,
    /// Time of the first record in the segment, and how long it may be written to.
    first_time: Option<u64>,
    /// The same when the batch under construction was begun.
    began_time: Option<u64>,
    segment_life: Option<u64>,
    /// `Send`, but not `Sync`.
    _one: PhantomData<Cell<()>>,
}

/// What works for the writer beside it.
pub(crate) struct HelperThreads {
    pub(crate) preparer: Preparer,
    pub(crate) flusher: Flusher,
    pub(crate) index_thread: Option<IndexThread>,
    pub(crate) compactor: Option<Compactor>,
    pub(crate) guard: Option<FolderGuard>,
}

/// Where the writer goes on.
pub(crate) struct WriterStart {
    pub(crate) segment: Arc<Segment>,
    pub(crate) cursor: u64,
    pub(crate) session: u32,
    pub(crate) records_end: u64,
    pub(crate) covered: u64,
    pub(crate) first_time: Option<u64>,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        options: Options,
        start: WriterStart,
        helpers: HelperThreads,
    ) -> Self {
        let HelperThreads {
            preparer,
            flusher,
            index_thread,
            compactor,
            guard,
        } = helpers;
        preparer.order(start.segment.end());
        let mut pool = BatchPool::default();
        Writer {
            batch: pool.take(start.cursor),
            pool,
            scratch: Scratch::default(),
            shared,
            segment: start.segment,
            cursor: start.cursor,
            session: start.session,
            pending: HashMap::default(),
            preparer,
            flusher,
            failed_write: None,
            spare: VecDeque::new(),
            index_thread,
            _guard: guard,
            compactor,
            last_sync: Instant::now(),
            records_end: start.records_end,
            covered: start.covered,
            first_time: start.first_time,
            began_time: start.first_time,
            segment_life: Lifetimes::of(&options).segment(),
            options,
            _one: PhantomData,
        }
    }

    /// The key that timeline ids are made with.
    #[must_use]
    pub fn key(&self) -> StoreKey {
        self.shared.key
    }

    /// Adds a record to the batch under construction and says where it will be. No I/O; but at
    /// the end of a segment it waits for the next one if that is not ready yet, and while
    /// [`Options::max_waiting_segments`] wait to be turned into runs.
    ///
    /// # Errors
    /// On any error the batch is as it was before. [`AppendError::Full`] passes when there is
    /// space again, [`AppendError::Behind`] when runs can be made again, [`AppendError::Short`] and
    /// [`AppendError::Lost`] when what lacks is back,
    /// [`AppendError::BatchFull`] after a commit; [`AppendError::Poisoned`] does not
    /// pass; the others are the caller's mistakes.
    pub fn append(&mut self, draft: &Draft<'_>) -> Result<Position, AppendError> {
        self.check_seq(draft)?;
        self.append_next(draft)
    }

    /// As [`append`](Self::append), for a caller that keeps the last sequences itself: whether the
    /// record's sequence goes up is checked when the batch is committed, together with all others,
    /// and only against the newest part of the log. That is faster, but a mistake then stops the store
    /// ([`CommitError::Sequence`]), or is not noticed.
    ///
    /// # Errors
    /// As [`append`](Self::append), but for [`AppendError::Sequence`], which is returned only for
    /// a sequence that does not follow one in the same batch.
    pub fn append_next(&mut self, draft: &Draft<'_>) -> Result<Position, AppendError> {
        let len = draft.record_bytes();
        if draft.fanout.len() > MAX_FANOUT || draft.states.len() > MAX_STATES {
            let max = self.options.max_record_bytes;
            return Err(AppendError::TooLarge { bytes: len, max });
        }
        self.check_size(len)?;
        self.check_order(draft)?;
        let len = frame::frame_len(len);
        if self.is_due(draft.time) {
            self.roll()?;
        }
        self.make_room(len)?;
        self.first_time.get_or_insert(draft.time);
        if draft.seq != 0 {
            self.pending.insert(draft.timeline, draft.seq);
        }
        let position = self.cursor;
        self.batch.push(draft, &self.segment, self.place());
        self.cursor += len as u64;
        Ok(Position(position))
    }

    /// Puts a value under a key into the batch under construction, to become durable and visible
    /// ([`Reader::state`](crate::Reader::state)) with it. Of several values under a key the latest
    /// counts; an empty one means that there is none. Keys are made as ids of timelines are, in a
    /// domain of their own.
    ///
    /// # Errors
    /// As [`append`](Self::append), but for [`AppendError::Sequence`].
    pub fn set_state(&mut self, key: TimelineId, value: &[u8]) -> Result<(), AppendError> {
        let len = record::STATE_FIELDS + value.len();
        self.check_size(len)?;
        self.make_room(frame::frame_len(len))?;
        let (state, place) = (StateEntry { key, value }, self.place());
        self.batch.push_state(&state, &self.segment, place);
        self.cursor += frame::frame_len(len) as u64;
        Ok(())
    }

    /// Bytes in the batch under construction, as they will go to disk.
    #[must_use]
    pub fn batch_bytes(&self) -> usize {
        self.batch.bytes()
    }

    /// Records in the batch under construction.
    #[must_use]
    pub fn batch_records(&self) -> usize {
        self.batch.len()
    }

    /// The record at `position` of the batch under construction; `None` if none begins there.
    #[must_use]
    pub fn appended(&self, position: Position) -> Option<Record<'_>> {
        self.batch.find(position.0)
    }

    /// Position of the last record: of the batch under construction, or else of what is committed,
    /// as [`Reader::head`](crate::Reader::head) says; [`Position::ZERO`] if there is none. So it is
    /// what the next record comes after.
    #[must_use]
    pub fn last_appended(&self) -> Position {
        if self.batch.is_empty() {
            Position(self.shared.head.load(Ordering::Acquire))
        } else {
            self.batch.last()
        }
    }

    /// Writes the batch under construction, makes it as durable as
    /// [`Options::durability`] says, and then makes it visible to readers, whole. An empty batch
    /// is returned without I/O.
    ///
    /// # Errors
    /// [`CommitError::Sequence`]: nothing of the batch was written, and the store is poisoned:
    /// every later append and commit fails at once, while reads go on. So it is after a failed
    /// sync, and then the outcome of the batch is unknown: after a restart all of it may be there,
    /// or the beginning, or nothing. It never becomes visible in this process.
    ///
    /// [`CommitError::Refused`] and [`CommitError::Unclear`] after a failed write: the batch is
    /// given up, and its sequences and positions go to others. Forget what was derived from it. The
    /// store takes appends again once the disk does, which [`tick`](Self::tick) tries, too.
    pub fn commit(&mut self) -> Result<Arc<Batch>, CommitError> {
        self.check_poison()?;
        if self.batch.is_blank() {
            let mut empty = Batch::default();
            empty.reset(self.cursor);
            return Ok(Arc::new(empty));
        }
        let began = Instant::now();
        self.pending.clear();
        let next = self.pool.take(self.cursor);
        let batch = std::mem::replace(&mut self.batch, next);
        self.check_batch(&batch)?;
        if let Some(lost) = self.shared.condition.obstacle_now(Subsystem::Folder) {
            self.rewind(&batch);
            return Err(CommitError::Refused {
                full: false,
                reason: lost.reason,
            });
        }
        let claimed = self.shared.durable();
        for write in batch.writes() {
            let segment = write.segment;
            let offset = segment.offset(write.position);
            if let Err(error) = segment.file.write_all_at(write.bytes, offset) {
                let obstacle = self.refused("write", segment, &error);
                self.rewind(&batch);
                return Err(self.take_back(FailedWrite::of(&batch), obstacle));
            }
        }
        // Only when all of it is written: what is taken back must not count as durable.
        for write in batch.writes() {
            self.flusher.wrote(write.segment, write.end());
            self.shared.counters.wrote(write.bytes.len());
        }
        let batch = self.pool.publish(batch);
        let index_thread = self.index_thread.as_ref().filter(|_| batch.len() >= LARGE);
        let indexed = match (self.options.durability, index_thread) {
            (Durability::Sync, Some(index_thread)) => {
                index_thread.index_during(&batch, || self.flusher.sync())?;
                true
            }
            _ => false,
        };
        match self.options.durability {
            Durability::Sync => {
                if !indexed {
                    self.flusher.sync()?;
                }
                self.covered = claimed;
            }
            Durability::Interval(interval) if !self.options.background => {
                if self.last_sync.elapsed() >= interval {
                    self.flusher.sync()?;
                    self.last_sync = Instant::now();
                }
            }
            Durability::Os if !self.options.background => {
                if self.flusher.due() {
                    self.flusher.sync()?;
                }
            }
            // The flusher's thread does it.
            Durability::Interval(_) | Durability::Os => {}
        }
        self.records_end = batch.end().0;
        self.began_time = self.first_time;
        if !indexed {
            self.shared.insert(&batch);
        }
        self.shared.publish(&batch);
        if let Some(compactor) = &self.compactor
            && self.shared.oldest_full_segment().is_some()
        {
            compactor.wake();
        }
        self.shared.counters.committed(batch.len(), began.elapsed());
        Ok(batch)
    }

    /// Forces everything committed to disk, and marks the log as durable up to there, so that
    /// even damage to the last batch will be noticed. For a shutdown, or when there is nothing
    /// to do. The mark is left out while a batch is under construction.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn sync(&mut self) -> Result<(), CommitError> {
        self.check_poison()?;
        self.flusher.sync()?;
        if let Some(lost) = self.shared.condition.obstacle_now(Subsystem::Folder) {
            return Err(CommitError::Refused {
                full: false,
                reason: lost.reason,
            });
        }
        let covered = self.records_end <= self.covered;
        if self.batch.bytes() > 0 || covered || self.failed_write.is_some() {
            return Ok(());
        }
        // There is always room: records end before `END_RESERVE`, and only one mark follows.
        let mut bytes = Vec::with_capacity(frame::HEADER);
        let place = self.place();
        frame::push_mark(&mut bytes, FrameKind::Anchor, place);
        let segment = self.segment.clone();
        let end = place.position + bytes.len() as u64;
        let offset = segment.offset(place.position);
        if let Err(error) = segment.file.write_all_at(&bytes, offset) {
            let obstacle = self.refused("write", &segment, &error);
            let mark = SegmentStretch {
                segment,
                from: place.position,
                to: end,
            };
            return Err(self.take_back(FailedWrite::at(vec![mark]), obstacle));
        }
        self.flusher.wrote(&segment, end);
        self.shared.counters.wrote(bytes.len());
        self.flusher.sync()?;
        self.cursor += bytes.len() as u64;
        self.covered = place.durable;
        self.batch.reset(self.cursor);
        Ok(())
    }

    /// Tells the store the time, in milliseconds since the Unix epoch as in the records: what is
    /// older than its life ([`Options::sync_life`]) is removed, on the store's threads if it has
    /// any. Nothing else makes anything expire. Call it now and then, from a clock that does not
    /// run ahead: what is gone does not come back.
    ///
    /// Tries again what a failed write left to do, so that the store goes on without an append.
    pub fn tick(&mut self, now: u64) {
        self.mend();
        if let Some(compactor) = &self.compactor {
            compactor.tick(now);
        }
    }

    fn check_poison(&self) -> Result<(), CommitError> {
        match self.shared.poisoned() {
            Some(reason) => Err(CommitError::Poisoned {
                reason: reason.into(),
            }),
            None => Ok(()),
        }
    }

    /// Whether a payload of this size may enter the batch, and whether anything may.
    fn check_size(&self, bytes: usize) -> Result<(), AppendError> {
        if let Some(reason) = self.shared.poisoned() {
            return Err(AppendError::Poisoned {
                reason: reason.into(),
            });
        }
        let max = self.options.max_record_bytes;
        if bytes > max {
            return Err(AppendError::TooLarge { bytes, max });
        }
        // A seal may have to go in front.
        let more = frame::frame_len(bytes) + frame::HEADER;
        if self.batch.bytes() + more > self.options.max_batch_bytes {
            return Err(AppendError::BatchFull);
        }
        Ok(())
    }

    /// Sees to it that a frame of `len` bytes fits where the next one goes.
    fn make_room(&mut self, len: usize) -> Result<(), AppendError> {
        if self.shared.condition.is_obstructed() {
            self.overcome()?;
        }
        // Twice if the segment in stock was prepared under a smaller `segment_bytes`.
        while !self.segment.fits(self.cursor, len) {
            self.roll()?;
        }
        Ok(())
    }

    /// Whether the sequence goes up from what is visible, or was given up.
    fn check_seq(&self, draft: &Draft<'_>) -> Result<(), AppendError> {
        let Draft { timeline, seq, .. } = *draft;
        if seq == 0 || self.pending.contains_key(&timeline) {
            return Ok(());
        }
        match self
            .shared
            .last_used(timeline)
            .map_err(AppendError::Unreadable)?
        {
            last if seq <= last => Err(AppendError::Sequence {
                timeline,
                seq,
                last,
            }),
            _ => Ok(()),
        }
    }

    /// Whether the sequence goes up from what is in the batch.
    fn check_order(&self, draft: &Draft<'_>) -> Result<(), AppendError> {
        let Draft { timeline, seq, .. } = *draft;
        match self.pending.get(&timeline).or(Some(&0)) {
            Some(&last) if seq != 0 && (seq <= last || seq > MAX_SEQ) => {
                Err(AppendError::Sequence {
                    timeline,
                    seq,
                    last,
                })
            }
            _ => Ok(()),
        }
    }

    /// Whether all sequences of a batch go up from what is visible, and the index made ready for
    /// it. A mistake of the caller here is as bad as a failed disk: what it keeps is not what the
    /// store has.
    fn check_batch(&mut self, batch: &Batch) -> Result<(), CommitError> {
        let index = self.shared.index.read();
        let Some((record, last)) = index.prepare(batch, &mut self.scratch) else {
            return Ok(());
        };
        let error = CommitError::Sequence {
            timeline: record.timeline,
            seq: record.seq,
            last,
        };
        self.shared.poison(error.to_string());
        Err(error)
    }

    /// Whether the segment was begun so long ago that its records would expire too late.
    fn is_due(&self, time: u64) -> bool {
        match (self.first_time, self.segment_life) {
            (Some(first), Some(life)) => time >= first.saturating_add(life),
            _ => false,
        }
    }

    /// Seals the segment and goes on in the next one.
    fn roll(&mut self) -> Result<(), AppendError> {
        self.keep_pace()?;
        let next = match self.spare.pop_front() {
            Some(next) => next,
            None => self.preparer.take().map_err(refusal)?,
        };
        self.batch.push_seal(&self.segment, self.place());
        self.segment = next;
        self.cursor = self.segment.first();
        self.first_time = None;
        if self.spare.is_empty() {
            self.preparer.order(self.segment.end());
        }
        Ok(())
    }

    /// Waits while too many full segments wait to be turned into runs.
    fn keep_pace(&self) -> Result<(), AppendError> {
        let Some(compactor) = &self.compactor else {
            return Ok(());
        };
        let condition = &self.shared.condition;
        match compactor.admit(self.options.max_waiting_segments) {
            Ok(()) => {
                if condition.is_obstructed() {
                    condition.set(Subsystem::Runs, None);
                }
                Ok(())
            }
            Err(obstacle) => {
                if let Some(reason) = self.shared.poisoned() {
                    return Err(AppendError::Poisoned {
                        reason: reason.into(),
                    });
                }
                condition.set(Subsystem::Runs, Some(obstacle.clone()));
                match obstacle {
                    Obstacle { full: true, .. } => Err(AppendError::Full),
                    Obstacle { reason, .. } => Err(AppendError::Behind { reason }),
                }
            }
        }
    }

    fn place(&self) -> FrameContext {
        FrameContext {
            position: self.cursor,
            durable: self.shared.durable(),
            salt: self.segment.salt,
            session: self.session,
        }
    }
}

/// What an append is told that a obstacle stops.
fn refusal(obstacle: Obstacle) -> AppendError {
    match obstacle {
        Obstacle { full: true, .. } => AppendError::Full,
        Obstacle { reason, .. } => AppendError::Short { reason },
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some((segment, position)) = self.batch.origin() {
            self.segment = segment;
            self.cursor = position;
            self.batch.reset(position);
        }
        let _ = self.sync();
    }
}
