//! Reads records through runs of positions.

use super::postings::Posting;
use super::redaction::Target;
use super::{MAX_SEQ, Order, RecordRef, RunFile, RunForm, RunKind, Runs, TakeRecord};
use crate::error::ReadError;
use crate::log::kept::{KeptReader, SegmentFiles};
use crate::log::overwrite::present;
use crate::log::record;
use crate::{Position, TimelineId};

/// Reads the records of a store's kept segments, and keeps the memory for it.
pub(crate) struct RecordReader<'a> {
    runs: &'a Runs,
    files: &'a SegmentFiles,
    kept: KeptReader<'a>,
    /// The payload of a record whose body was overwritten.
    redacted: Vec<u8>,
}

impl Runs {
    /// Returns a reader of kept segments; `None` for an index without a store.
    pub(crate) fn reader(&self) -> Option<RecordReader<'_>> {
        let files = self.segments.as_ref()?;
        Some(RecordReader {
            runs: self,
            files,
            kept: KeptReader::new(&self.kept, files),
            redacted: Vec::new(),
        })
    }

    /// Passes the entries `seqs` of a message timeline in a run of positions to `take`. Returns
    /// whether it had enough.
    pub(super) fn kept_range(
        &self,
        run: &RunFile,
        timeline: TimelineId,
        (from, to): (u64, u64),
        order: Order,
        take: &mut TakeRecord<'_>,
    ) -> Result<bool, ReadError> {
        let Some(mut reader) = self.reader() else {
            return Ok(false);
        };
        let mut cursor = match order {
            Order::Ascending => run.seek_posting((timeline.0, from))?,
            Order::Descending => run.seek_posting((timeline.0, to + 1))?,
        };
        loop {
            let entry = match order {
                Order::Ascending => cursor.entry()?,
                Order::Descending => cursor.back()?,
            };
            let Some((key, position)) = entry else {
                return Ok(false);
            };
            if key.0 != timeline.0 || !(from..=to).contains(&key.1) {
                return Ok(false);
            }
            if let Some(payload) = reader.payload(position, Some((timeline, key.1)))?
                && !take(position, payload)?
            {
                return Ok(true);
            }
            let wanted = |next: &Posting| (from..=to).contains(&next.number);
            match order {
                Order::Ascending => {
                    reader.look_ahead(cursor.following().take_while(wanted));
                    cursor.advance();
                }
                Order::Descending => reader.look_ahead(cursor.preceding().take_while(wanted)),
            }
        }
    }

    /// Passes the records that a sync timeline refers to in a run of positions to `take`. Returns
    /// whether it had enough.
    pub(super) fn kept_sync(
        &self,
        run: &RunFile,
        timeline: TimelineId,
        (after, until): (u64, u64),
        take: &mut TakeRecord<'_>,
    ) -> Result<bool, ReadError> {
        let Some(mut reader) = self.reader() else {
            return Ok(false);
        };
        let mut cursor = run.seek_posting((timeline.0, after + 1))?;
        while let Some((key, position)) = cursor.entry()? {
            if key.0 != timeline.0 || position > until {
                break;
            }
            if let Some(payload) = reader.payload(position, None)?
                && !take(position, payload)?
            {
                return Ok(true);
            }
            let wanted = |next: &Posting| next.position <= until;
            reader.look_ahead(cursor.following().take_while(wanted));
            cursor.advance();
        }
        Ok(false)
    }

    /// Returns the last record with a key in a run of positions.
    pub(super) fn kept_find(
        &self,
        run: &RunFile,
        key: TimelineId,
    ) -> Result<Option<RecordRef>, ReadError> {
        let Some((found, position)) = run.seek_posting((key.0, u64::MAX))?.back()? else {
            return Ok(None);
        };
        let (true, Some(mut reader)) = (found.0 == key.0, self.reader()) else {
            return Ok(None);
        };
        let Some(payload) = reader.payload(position, None)? else {
            return Ok(None);
        };
        Ok(
            record::decode_payload(position, payload).map(|record| RecordRef {
                timeline: record.timeline,
                seq: record.seq,
                position: Position(position),
            }),
        )
    }

    /// Returns the position of the record that redacted an entry of a message timeline, if runs of
    /// positions have it.
    pub(crate) fn redactor(&self, (timeline, seq): Target) -> Result<Option<u64>, ReadError> {
        let runs = self.of(RunKind::Redactions).iter().rev();
        for run in runs.filter(|run| run.id.form == RunForm::Positions) {
            if run.may_have(timeline.0)?
                && let Some(position) = run.position_of((timeline.0, seq))?
            {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }
}

impl RecordReader<'_> {
    /// Asks the disk for the records of the next postings, nearest first, if the last record came
    /// from the disk. Call it once after each record.
    fn look_ahead(&mut self, next: impl Iterator<Item = Posting>) {
        self.kept.look_ahead(next.map(|posting| posting.position));
    }

    /// Returns the payload of the record at `position`, with its latest body if it was redacted;
    /// `None` if the record has expired or a repair gave it up. If `expected` is given, another
    /// record there is damage.
    ///
    /// The body is empty if its redaction is not in runs.
    pub(crate) fn payload(
        &mut self,
        position: u64,
        expected: Option<Target>,
    ) -> Result<Option<&[u8]>, ReadError> {
        let runs = self.runs;
        if runs.kept.is_given_up(position) {
            return Ok(None);
        }
        if runs.kept.base_of(position).is_none() {
            return match position < runs.floors.messages {
                true => Ok(None),
                false => Err(ReadError::NoRecord),
            };
        }
        let Some(found) = self.kept.record(position)? else {
            return Ok(None);
        };
        let target = (found.record.timeline, found.record.seq);
        if expected.is_some_and(|expected| expected != target) {
            return Err(self.files.damaged(&runs.kept, position));
        }
        if !found.is_redacted {
            return Ok(Some(found.payload));
        }
        self.redacted.clear();
        let body = runs.replacement(target)?;
        record::push_lasting(&mut self.redacted, &found.record, Some(&body));
        Ok(Some(&self.redacted))
    }
}

impl Runs {
    /// Returns the latest body of a record whose body was overwritten; an empty one if its redaction
    /// is not in runs.
    pub(crate) fn replacement(&self, target: Target) -> Result<Vec<u8>, ReadError> {
        let found = if target.1 <= MAX_SEQ {
            self.redactor(target)?
        } else {
            None
        };
        let (Some(position), Some(mut reader)) = (found, self.reader()) else {
            return Ok(Vec::new());
        };
        let found = reader.kept.record(position)?;
        let redaction = found.and_then(|found| found.record.redacts);
        Ok(redaction.map_or_else(Vec::new, |redaction| present(redaction.body).to_vec()))
    }
}
