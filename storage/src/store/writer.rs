//! The writer: batches under construction, and their commit.

mod admission;
mod apply;
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
use crate::store::compact::{Compactor, Lifetimes};
use crate::store::condition::Subsystem;
use crate::store::flush::Flusher;
use crate::store::guard::FolderGuard;
use crate::store::index_thread::{IndexThread, LARGE};
use crate::store::prepare::Preparer;
use crate::store::shared::Shared;
use crate::{Draft, Durability, IdBuildHasher, Options, Position, Record, StoreKey, TimelineId};

/// The one writer of a store.
///
/// [`append`](Self::append) adds records to the batch under construction, [`commit`](Self::commit)
/// writes it. Dropping the writer discards the batch under construction and closes the log like
/// [`sync`](Self::sync), but hides errors: call `sync` first to see them.
pub struct Writer {
    shared: Arc<Shared>,
    options: Options,
    /// The segment for the next frame.
    segment: Arc<Segment>,
    /// The position of the next frame.
    cursor: u64,
    /// The session number of this writer in its frames.
    session: u32,
    batch: Batch,
    /// The last sequence of each timeline in the batch.
    pending: HashMap<TimelineId, u64, IdBuildHasher>,
    pool: BatchPool,
    scratch: Scratch,
    preparer: Preparer,
    flusher: Flusher,
    /// Where the log goes on behind the last transcript that was applied.
    applied: Option<Position>,
    /// A failed write that the store still has to take back.
    failed_write: Option<FailedWrite>,
    /// The next segments, in order, if a batch that was given up had taken them.
    spare: VecDeque<Arc<Segment>>,
    /// The thread that indexes large batches; `None` without threads.
    index_thread: Option<IndexThread>,
    /// The thread that watches the folder; `None` without threads.
    _guard: Option<FolderGuard>,
    /// Dropped with the other fields, before the lock of the folder.
    compactor: Option<Compactor>,
    last_sync: Instant,
    /// The end of the written records.
    records_end: u64,
    /// The end of the data that a frame on the disk reports as durable.
    covered: u64,
    /// The time of the first record in the segment, in milliseconds.
    first_time: Option<u64>,
    /// The value of `first_time` when the batch under construction began.
    began_time: Option<u64>,
    /// The longest time for which a segment is written to, in milliseconds; `None` sets no limit.
    segment_life: Option<u64>,
    /// `Send`, but not `Sync`.
    _one: PhantomData<Cell<()>>,
}

/// The helpers that work beside the writer.
pub(crate) struct HelperThreads {
    pub(crate) preparer: Preparer,
    pub(crate) flusher: Flusher,
    pub(crate) index_thread: Option<IndexThread>,
    pub(crate) compactor: Option<Compactor>,
    pub(crate) guard: Option<FolderGuard>,
}

/// The place in the log at which a new writer continues.
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
            applied: None,
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

    /// Returns the key with which the store makes timeline ids.
    #[must_use]
    pub fn key(&self) -> StoreKey {
        self.shared.key
    }

    /// Adds a record to the batch under construction, and returns the position that it will have.
    ///
    /// The call does no I/O. At the end of a segment it waits until the next segment is ready, and
    /// while [`Options::max_waiting_segments`] segments wait to become runs.
    ///
    /// # Errors
    /// An error leaves the batch unchanged. [`AppendError::BatchFull`] passes after a commit,
    /// [`AppendError::Full`] when there is space again, [`AppendError::Behind`] when runs can be
    /// made again, [`AppendError::Short`] and [`AppendError::Lost`] when the missing thing is back.
    /// [`AppendError::Poisoned`] does not pass. The other errors are mistakes of the caller.
    pub fn append(&mut self, draft: &Draft<'_>) -> Result<Position, AppendError> {
        self.check_seq(draft)?;
        self.append_next(draft)
    }

    /// Adds a record like [`append`](Self::append), for a caller that keeps the last sequences
    /// itself.
    ///
    /// The commit checks the sequences of all its records together, and only against the newest
    /// part of the log. That is faster, but a wrong sequence stops the store
    /// ([`CommitError::Sequence`]) or goes unnoticed.
    ///
    /// # Errors
    /// The errors of [`append`](Self::append). [`AppendError::Sequence`] is returned only for a
    /// sequence that does not follow one in the same batch.
    pub fn append_next(&mut self, draft: &Draft<'_>) -> Result<Position, AppendError> {
        let len = draft.record_bytes();
        if draft.fanout.len() > MAX_FANOUT || draft.states.len() > MAX_STATES {
            let max = self.options.max_record_bytes;
            return Err(AppendError::TooLarge { bytes: len, max });
        }
        self.check_size(len)?;
        self.check_order(draft)?;
        let is_wanted = self.shared.old_values.wants_seal(self.segment.base);
        if self.is_due(draft.time) || (is_wanted && self.can_roll()) {
            self.roll()?;
        }
        let form = self.make_room_for(draft, len)?;
        self.first_time.get_or_insert(draft.time);
        if draft.seq != 0 {
            self.pending.insert(draft.timeline, draft.seq);
        }
        let position = self.cursor;
        self.batch.push(draft, form, &self.segment, self.place());
        self.cursor = self.batch.end().0;
        Ok(Position(position))
    }

    /// Adds a value under a key to the batch under construction. It becomes durable and visible
    /// ([`Reader::state`](crate::Reader::state)) with the batch.
    ///
    /// Of several values under a key the latest counts. An empty value removes the key. Make keys
    /// like the ids of timelines, in a domain of their own.
    ///
    /// # Errors
    /// The errors of [`append`](Self::append), without [`AppendError::Sequence`].
    pub fn set_state(&mut self, key: TimelineId, value: &[u8]) -> Result<(), AppendError> {
        let len = record::STATE_FIELDS + value.len();
        self.check_size(len)?;
        self.make_room(frame::frame_len(len))?;
        let (state, place) = (StateEntry { key, value }, self.place());
        self.batch.push_state(&state, &self.segment, place);
        self.cursor += frame::frame_len(len) as u64;
        Ok(())
    }

    /// Returns the size of the batch under construction in bytes, as it will be on the disk.
    #[must_use]
    pub fn batch_bytes(&self) -> usize {
        self.batch.bytes()
    }

    /// Returns the number of records in the batch under construction.
    #[must_use]
    pub fn batch_records(&self) -> usize {
        self.batch.len()
    }

    /// Returns the record at `position` of the batch under construction; `None` if none begins
    /// there.
    #[must_use]
    pub fn appended(&self, position: Position) -> Option<Record<'_>> {
        self.batch.find(position.0)
    }

    /// Returns the position of the last record of the batch under construction. For an empty batch
    /// that is the last committed record ([`Reader::head`](crate::Reader::head)), or
    /// [`Position::ZERO`].
    #[must_use]
    pub fn last_appended(&self) -> Position {
        if self.batch.is_empty() {
            Position(self.shared.head.load(Ordering::Acquire))
        } else {
            self.batch.last()
        }
    }

    /// Writes the batch under construction, makes it as durable as [`Options::durability`] says,
    /// and then makes all of it visible to readers. An empty batch causes no I/O.
    ///
    /// # Errors
    /// [`CommitError::Refused`] and [`CommitError::Unclear`] follow a failed write. The batch is
    /// given up, and later records take its sequences and positions: discard what you derived from
    /// it. The store takes appends again once the disk does; [`tick`](Self::tick) tries that too.
    ///
    /// [`CommitError::Io`] follows a failed sync. The outcome of the batch is unknown: after a
    /// restart all of it may be there, its beginning, or nothing. It never becomes visible in this
    /// process. [`CommitError::Sequence`] is a mistake of the caller, and nothing of the batch was
    /// written. Both stop the store: every later append and commit fails with
    /// [`CommitError::Poisoned`] or [`AppendError::Poisoned`], while reads go on.
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
        // Counted only after all writes have succeeded, because a write that is taken back must not
        // count as durable.
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
            // The flusher's thread syncs.
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

    /// Makes everything committed durable, and marks the log as durable up to there, so that the
    /// next opening notices damage even to the last batch. Call it before a shutdown or when there
    /// is nothing to do. The store writes no mark while a batch is under construction, and none if it has an
    /// [`Options::origin`], because a mark takes room in the log.
    ///
    /// # Errors
    /// The errors of [`commit`](Self::commit).
    pub fn sync(&mut self) -> Result<(), CommitError> {
        self.check_poison()?;
        self.flusher.sync()?;
        if let Some(lost) = self.shared.condition.obstacle_now(Subsystem::Folder) {
            return Err(CommitError::Refused {
                full: false,
                reason: lost.reason,
            });
        }
        let covered = self.records_end <= self.covered || self.options.origin.is_some();
        if self.batch.bytes() > 0 || covered || self.failed_write.is_some() {
            return Ok(());
        }
        // There is always room for the mark: records end before `END_RESERVE`, and only one mark
        // follows.
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

    /// Tells the store the time, in milliseconds since the Unix epoch, on the clock of the records.
    /// The store then removes what is older than its lifetime ([`Options::sync_life`]), on its
    /// threads if it has any.
    ///
    /// Nothing expires without this call. Call it regularly, with a clock that does not run ahead,
    /// because expired data does not come back.
    ///
    /// After a failed write the call also tries again to take it back, so that the store recovers
    /// without an append.
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

    fn place(&self) -> FrameContext {
        let (position, durable) = (self.cursor, self.shared.durable());
        FrameContext {
            position,
            durable: match self.options.durability {
                Durability::Sync => durable,
                Durability::Interval(_) | Durability::Os => frame::weak(position, durable),
            },
            salt: self.segment.salt,
            session: self.session,
        }
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
