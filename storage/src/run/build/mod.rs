//! Makes run files: from a segment of the log, and from other run files.

mod again;
mod merge;
#[cfg(test)]
mod old;
mod order;
mod sort;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::postings::Posting;
use super::redaction::{Applied, Replacement, Target};
use super::write::{RunWriter, temporary};
use super::{Key, MAX_SEQ, RunFile, RunForm, RunId, RunKind, Runs};
use crate::TimelineId;
use crate::backend::Backend;
use crate::error::ReadError;
use crate::log::scan::{Scan, Summary};
use crate::log::segment::Segment;
use crate::stats::Counters;

/// The redactions that no merge has applied yet, by the record that they redact.
pub(crate) type Pending = HashMap<Target, Replacement>;

/// The run files that a step made, and the redactions that are done with them.
#[derive(Default)]
pub(crate) struct MadeRuns {
    pub(crate) runs: Vec<RunId>,
    pub(crate) applied: Vec<Applied>,
    /// The redactions of the segment that stay in force, with their bodies.
    pub(crate) held: Vec<(Target, Replacement)>,
    /// The end of the frames of the segment that the files were made of; 0 for a merge.
    pub(crate) frames_end: u64,
}

/// The index of a sealed segment: where its entries are.
pub(crate) trait SegmentEntries {
    fn summary(&self) -> Summary;

    /// Returns whether the segment has this record.
    fn has(&self, target: Target) -> bool;

    /// Returns the position of the latest value under each key, by ascending key.
    fn states(&self) -> Vec<(TimelineId, u64)>;

    /// Gives the postings of each timeline or key of a kind to `each`, by ascending id, until `each`
    /// fails.
    fn each_list(
        &self,
        kind: RunKind,
        each: &mut dyn FnMut(u128, &mut Vec<Posting>) -> io::Result<()>,
    ) -> io::Result<()>;
}

/// A sealed segment that becomes runs, and what was before it.
pub(crate) struct Sealed<'a> {
    pub(crate) segment: &'a Segment,
    /// The index of the segment.
    pub(crate) entries: &'a dyn SegmentEntries,
    /// The state of the log before the segment.
    pub(crate) scan: &'a mut Scan,
    /// The redactions that are not applied everywhere.
    pub(crate) pending: &'a Pending,
    /// The redacted records in segments whose bodies could not be overwritten.
    pub(crate) stays: &'a HashSet<Target>,
    /// The runs made of the log before the segment.
    pub(crate) older: &'a Runs,
    /// Reads the body of a redaction into memory.
    pub(crate) whole: &'a dyn Fn(Target, &mut Replacement) -> Result<(), ReadError>,
}

/// Makes run files.
pub(crate) struct RunMaker<'a> {
    pub(crate) backend: &'a dyn Backend,
    pub(crate) store_id: [u8; 16],
    /// The size of a block in bytes.
    pub(crate) block: usize,
    pub(crate) counters: &'a Counters,
    /// Set when the store closes. The maker then stops early.
    pub(crate) stopping: &'a AtomicBool,
    /// Other work that runs before each next entry.
    pub(crate) between_entries: &'a dyn Fn() -> io::Result<()>,
    /// The files made so far.
    pub(crate) made: RefCell<Vec<RunId>>,
}

impl RunMaker<'_> {
    /// Makes marks of a run of messages before its removal. Also returns which of the `pending`
    /// redactions have nothing left to redact.
    pub(crate) fn mark(
        &self,
        run: &RunFile,
        pending: &Pending,
        number: u64,
    ) -> io::Result<MadeRuns> {
        let mut made = MadeRuns::default();
        let id = RunId {
            kind: RunKind::Marks,
            form: RunForm::Values,
            level: 0,
            number,
            ..run.id
        };
        let mut last: Option<Key> = None;
        let any = self.write(id, |writer| {
            self.each_key(run, &mut |key| {
                let target = (TimelineId(key.0), key.1);
                if let Some(replacement) = pending.get(&target) {
                    made.applied.push((target, replacement.position));
                }
                if let Some(last) = last.filter(|last| last.0 != key.0) {
                    writer.add((last.0, 0), &last.1.to_le_bytes())?;
                }
                // Other records are not entries of a timeline.
                last = (key.1 <= MAX_SEQ)
                    .then_some(key)
                    .or(last.filter(|last| last.0 == key.0));
                Ok(())
            })?;
            match last {
                Some(last) => writer.add((last.0, 0), &last.1.to_le_bytes()),
                None => Ok(()),
            }
        })?;
        made.runs.extend(any.then_some(id));
        Ok(made)
    }

    /// Gives the key of each entry of a run to `each`.
    fn each_key(
        &self,
        run: &RunFile,
        each: &mut dyn FnMut(Key) -> io::Result<()>,
    ) -> io::Result<()> {
        match run.id.form {
            RunForm::Values => {
                let mut cursor = run.scan().map_err(as_io)?;
                while let Some((key, _)) = cursor.entry().map_err(as_io)? {
                    self.go_on()?;
                    each(key)?;
                    cursor.advance();
                }
            }
            RunForm::Positions => {
                let mut cursor = run.scan_postings().map_err(as_io)?;
                while let Some((key, _)) = cursor.entry().map_err(as_io)? {
                    self.go_on()?;
                    each(key)?;
                    cursor.advance();
                }
            }
        }
        Ok(())
    }

    /// Returns the description of a new file of a segment's entries, of level 0.
    fn id_of(&self, sealed: &Sealed<'_>, kind: (RunKind, RunForm), numbers: &AtomicU64) -> RunId {
        RunId {
            kind: kind.0,
            form: kind.1,
            level: 0,
            number: numbers.fetch_add(1, Ordering::Relaxed),
            from: sealed.segment.base,
            to: sealed.segment.end(),
            last_time: 0,
        }
    }

    /// Returns the error of a segment that is damaged at a position.
    fn damaged_segment(&self, segment: &Segment, at: u64) -> io::Error {
        let file = self.backend.path(&segment.name);
        let offset = segment.offset(at);
        io::Error::other(format!("{}: damaged at offset {offset}", file.display()))
    }

    /// Writes a run file, unless `fill` adds nothing. Returns whether it wrote one.
    fn write(
        &self,
        id: RunId,
        fill: impl FnOnce(&mut RunWriter<'_>) -> io::Result<()>,
    ) -> io::Result<bool> {
        let writer = RunWriter::create(self.backend, id, self.store_id, self.block);
        let mut writer = writer.map_err(|error| self.named(id, error))?;
        let written = fill(&mut writer).and_then(|()| writer.finish());
        if matches!(written, Ok(0) | Err(_)) {
            // Frees the space. The next opening removes files that cannot be removed now.
            let _ = self.backend.remove(&temporary(&id));
        }
        let bytes = written.map_err(|error| self.named(id, error))?;
        if bytes > 0 {
            self.made.borrow_mut().push(id);
            self.counters.merged(bytes);
        }
        Ok(bytes > 0)
    }

    /// Adds the name of the file to an error that came while the file was written, for the
    /// operator.
    fn named(&self, id: RunId, error: io::Error) -> io::Error {
        let file = self.backend.path(&id.name());
        io::Error::new(error.kind(), format!("{}: {error}", file.display()))
    }

    fn go_on(&self) -> io::Result<()> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        (self.between_entries)()
    }
}

fn damaged(run: &RunFile) -> io::Error {
    as_io(run.corrupt(0))
}

pub(crate) fn as_io(error: ReadError) -> io::Error {
    match error {
        ReadError::Io { source, .. } => source,
        damage => io::Error::other(damage.to_string()),
    }
}
