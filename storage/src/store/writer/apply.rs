//! Batches on their way from the writer of one store to that of another.

use std::sync::Arc;

use super::Writer;
use crate::error::{AppendError, ApplyError};
use crate::index::Misplaced;
use crate::log::batch::Batch;
use crate::log::frame;
use crate::log::record::{Record, StateForm};
use crate::log::segment;
use crate::log::transcript::{self, Content, Transcript};
use crate::store::reader::Reader;
use crate::store::reader::compare::Comparison;
use crate::{Draft, Position};

impl Writer {
    /// Appends the transcript of the batch under construction to `to`: its content, for
    /// [`apply`](Self::apply) of another store with the same
    /// [`Options::origin`](crate::Options::origin). Appends nothing if the batch is empty.
    ///
    /// Commit the batch only once it is certain that it is the next one of the log. Otherwise
    /// [`discard`](Self::discard) it: a store that has committed another batch than the log cannot go on.
    pub fn transcribe(&self, to: &mut Vec<u8>) {
        transcript::write(&self.batch, to);
    }

    /// Returns the position of the next frame: where the log goes on behind the batch under construction.
    #[must_use]
    pub const fn next_position(&self) -> Position {
        Position(self.cursor)
    }

    /// Returns where the log goes on behind the last transcript that was [applied](Self::apply); `None` before the first. A
    /// store whose [`next_position`](Self::next_position) is another one had more than the log.
    #[must_use]
    pub const fn applied(&self) -> Option<Position> {
        self.applied
    }

    /// Commits a batch that the writer of another store made: the same records and states at the same
    /// positions. Gives the batch under construction up before.
    ///
    /// `transcript` comes from [`transcribe`](Self::transcribe). Apply the transcripts of a log in its order. The
    /// store leaves out what it has: after a crash, apply the transcript again that may be there in part. It compares
    /// the records that it leaves out with its own.
    ///
    /// # Errors
    /// [`ApplyError::Form`], [`ApplyError::Place`], [`ApplyError::Differs`] and [`ApplyError::Segments`] say that the
    /// transcript does not belong here, and so does [`AppendError::Sequence`]. The others are those of [`append`](Self::append) and
    /// [`commit`](Self::commit). After an error nothing of the transcript is in the store, unless it was there
    /// before or the error of the commit says otherwise.
    pub fn apply(&mut self, transcript: &[u8]) -> Result<Arc<Batch>, ApplyError> {
        let transcript = Transcript::read(transcript).ok_or(ApplyError::Form)?;
        self.discard();
        let taken = self.take_frames(transcript);
        let end = match taken.and_then(|end| self.check_taken().map(|()| end)) {
            Ok(end) => end,
            Err(error) => {
                self.discard();
                return Err(error);
            }
        };
        let batch = self.commit()?;
        self.applied = end.or(self.applied);
        Ok(batch)
    }

    /// Adds the frames of a transcript that the store does not have to the batch under construction. Returns where the log
    /// goes on behind the transcript.
    fn take_frames(&mut self, transcript: Transcript<'_>) -> Result<Option<Position>, ApplyError> {
        let (own_end, mut end) = (self.cursor, None);
        let mut comparison = None;
        for frame in transcript.frames() {
            end = Some(Position(frame.next));
            if frame.next <= self.cursor {
                if let Content::Record(record, _) | Content::Apart(record) = &frame.content {
                    let comparison = comparison.get_or_insert_with(|| {
                        Comparison::new(Reader::new(Arc::clone(&self.shared)))
                    });
                    if !comparison.has(record).map_err(AppendError::Unreadable)? {
                        return Err(ApplyError::Differs {
                            at: record.position,
                            end: Position(own_end),
                        });
                    }
                }
                continue;
            }
            if frame.position != self.cursor {
                return Err(ApplyError::Place {
                    first: Position(frame.position),
                    end: Position(self.cursor),
                });
            }
            match frame.content {
                Content::Record(record, payload) => {
                    self.make_room_here(payload.len(), payload.len())?;
                    self.follow(&record)?;
                    let place = self.place();
                    self.batch
                        .copy_record(&record, payload, &self.segment, place);
                }
                Content::Apart(record) => self.take_apart(&record)?,
                Content::State(key, payload) => {
                    self.make_room_here(payload.len(), payload.len())?;
                    let place = self.place();
                    self.batch.copy_state(key, payload, &self.segment, place);
                }
                Content::Seal if self.segment.first_of_next() == frame.next => self.roll()?,
                Content::Seal => return Err(self.other_segments()),
            }
            self.cursor = frame.next;
        }
        Ok(end)
    }

    /// Adds a record whose states are apart. Makes the frames of the states for this store.
    fn take_apart(&mut self, record: &Record<'_>) -> Result<(), ApplyError> {
        let lists = record.lists();
        let draft = record.draft(&lists);
        let len = draft.bytes_apart();
        self.make_room_here(draft.record_bytes(), len)?;
        if self.segment.version < segment::APART_VERSION {
            return Err(self.other_segments());
        }
        self.follow(record)?;
        let place = self.place();
        self.batch
            .push(&draft, (StateForm::Apart, len), &self.segment, place);
        Ok(())
    }

    /// Notes time and sequence of a record that is taken next.
    fn follow(&mut self, record: &Record<'_>) -> Result<(), AppendError> {
        let Record { timeline, seq, .. } = *record;
        self.check_order(&Draft {
            timeline,
            seq,
            ..Draft::default()
        })?;
        if seq != 0 {
            self.pending.insert(timeline, seq);
        }
        self.first_time.get_or_insert(record.time);
        Ok(())
    }

    /// Checks that the sequences of the batch follow those of the store.
    fn check_taken(&mut self) -> Result<(), ApplyError> {
        let index = self.shared.index.read();
        match index.prepare(&self.batch, &mut self.scratch) {
            None => Ok(()),
            Some(misplaced) => {
                let Misplaced {
                    timeline,
                    seq,
                    last,
                } = misplaced;
                Err(ApplyError::Append(AppendError::Sequence {
                    timeline,
                    seq,
                    last,
                }))
            }
        }
    }

    /// Makes room for a frame at the cursor, in this segment and no later one. `bytes` is the size that settings
    /// limit, and `len` that of the payload.
    fn make_room_here(&mut self, bytes: usize, len: usize) -> Result<(), ApplyError> {
        self.check_size(bytes)?;
        let len = frame::frame_len(len);
        if !self.segment.fits(self.cursor, len) {
            return Err(self.other_segments());
        }
        Ok(self.make_room(len)?)
    }

    fn other_segments(&self) -> ApplyError {
        ApplyError::Segments {
            at: Position(self.cursor),
        }
    }
}
