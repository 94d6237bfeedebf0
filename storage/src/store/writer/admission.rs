//! The checks of the writer before it takes a record, and the making of room for it.

use super::Writer;
use crate::Draft;
use crate::error::{AppendError, CommitError};
use crate::index::Misplaced;
use crate::log::batch::Batch;
use crate::log::frame;
use crate::log::record::StateForm;
use crate::log::segment;
use crate::run::MAX_SEQ;
use crate::store::condition::{Obstacle, Subsystem};

impl Writer {
    /// Checks that the store takes appends and that a payload of this size fits into the batch.
    pub(super) fn check_size(&self, bytes: usize) -> Result<(), AppendError> {
        if let Some(reason) = self.shared.poisoned() {
            return Err(AppendError::Poisoned {
                reason: reason.into(),
            });
        }
        let max = self.options.max_record_bytes;
        if bytes > max {
            return Err(AppendError::TooLarge { bytes, max });
        }
        // The batch may need a seal before the record.
        let more = frame::frame_len(bytes) + frame::HEADER;
        if self.batch.bytes() + more > self.options.max_batch_bytes {
            return Err(AppendError::BatchFull);
        }
        Ok(())
    }

    /// Makes room for a frame of `len` bytes at the cursor.
    pub(super) fn make_room(&mut self, len: usize) -> Result<(), AppendError> {
        if self.shared.condition.is_obstructed() {
            self.overcome()?;
        }
        // A prepared segment may be smaller than a record, if an earlier opening had a smaller
        // `segment_bytes`.
        while !self.segment.fits(self.cursor, len) {
            self.roll()?;
        }
        Ok(())
    }

    /// Makes room for the frame of a record at the cursor, whose payload has `len` bytes with its states together.
    /// Returns the form of its states there, and the length of its payload.
    pub(super) fn make_room_for(
        &mut self,
        draft: &Draft<'_>,
        len: usize,
    ) -> Result<(StateForm, usize), AppendError> {
        if draft.has_long_states() {
            let apart_len = draft.bytes_apart();
            let apart = frame::frame_len(apart_len);
            let in_segment = segment::HEADER_BYTES + segment::END_RESERVE + apart as u64;
            let in_batch = self.batch.bytes() + frame::HEADER + apart;
            let (segment_bytes, batch_bytes) =
                (self.options.segment_bytes, self.options.max_batch_bytes);
            if in_segment <= segment_bytes && in_batch <= batch_bytes {
                self.make_room(apart)?;
                if self.segment.version >= segment::APART_VERSION {
                    return Ok((StateForm::Apart, apart_len));
                }
            }
        }
        self.make_room(frame::frame_len(len))?;
        Ok((StateForm::Together, len))
    }

    /// Checks that the sequence is greater than the last visible or given up one.
    pub(super) fn check_seq(&self, draft: &Draft<'_>) -> Result<(), AppendError> {
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

    /// Checks that the sequence is greater than the last one in the batch.
    pub(super) fn check_order(&self, draft: &Draft<'_>) -> Result<(), AppendError> {
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

    /// Checks that all sequences of a batch are greater than the visible ones, and prepares the
    /// index for the batch. A wrong sequence poisons the store, because what the caller keeps
    /// differs from what the store has.
    pub(super) fn check_batch(&mut self, batch: &Batch) -> Result<(), CommitError> {
        let index = self.shared.index.read();
        let Some(misplaced) = index.prepare(batch, &mut self.scratch) else {
            return Ok(());
        };
        let Misplaced {
            timeline,
            seq,
            last,
        } = misplaced;
        let error = CommitError::Sequence {
            timeline,
            seq,
            last,
        };
        self.shared.poison(error.to_string());
        Err(error)
    }

    /// Returns whether the segment is so old that its records would expire too late.
    pub(super) fn is_due(&self, time: u64) -> bool {
        match (self.first_time, self.segment_life) {
            (Some(first), Some(life)) => time >= first.saturating_add(life),
            _ => false,
        }
    }

    /// Returns whether the next segment is there, so that going on in it waits for nothing.
    pub(super) fn can_roll(&self) -> bool {
        let waiting = self.shared.waiting_segments();
        2 * waiting < self.options.max_waiting_segments
            && !self.shared.condition.is_obstructed()
            && (!self.spare.is_empty() || self.preparer.is_ready())
    }

    /// Seals the segment and goes on in the next one.
    pub(super) fn roll(&mut self) -> Result<(), AppendError> {
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
}

/// Turns an obstacle into the error of the append that it stops.
pub(super) fn refusal(obstacle: Obstacle) -> AppendError {
    match obstacle {
        Obstacle { full: true, .. } => AppendError::Full,
        Obstacle { reason, .. } => AppendError::Short { reason },
    }
}
