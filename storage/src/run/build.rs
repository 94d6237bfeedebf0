//! Makes run files: from a segment of the log, and from other run files.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::redaction::{Applied, Replacement, Target};
use super::write::{RunWriter, temporary};
use super::{Cursor, Key, MAX_SEQ, RunFile, RunId, RunKind, Runs, encode_reference, minor, u64_at};
use super::{decode_replacement, encode_replacement, is_stub};
use crate::TimelineId;
use crate::backend::Backend;
use crate::error::ReadError;
use crate::log::record::{self, StateEntry};
use crate::log::scan::{Entry, Scan, ScanEnd};
use crate::log::segment::Segment;
use crate::stats::Counters;

/// The redactions that no merge has applied yet, by the record that they redact.
pub(crate) type Pending = HashMap<Target, Replacement>;

/// The run files that a step made, and the redactions that are done with them.
#[derive(Default)]
pub(crate) struct MadeRuns {
    pub(crate) runs: Vec<RunId>,
    pub(crate) applied: Vec<Applied>,
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

/// The content of a segment, to be sorted. It holds the payloads in memory, because a segment is
/// small.
#[derive(Default)]
struct Content {
    payloads: Vec<u8>,
    /// The records by message timeline and number.
    messages: Vec<Payload>,
    /// The references to records, by sync timeline or key.
    syncs: Vec<(Key, Key)>,
    keys: Vec<(Key, Key)>,
    /// The values by key. The number in the key is 0.
    states: Vec<Payload>,
    /// The redactions in the segment, of records in any segment.
    redactions: Vec<(Target, Replacement)>,
    last_time: u64,
}

/// A value inside the payloads of a [`Content`], with its key.
struct Payload {
    key: Key,
    range: Range<usize>,
}

impl Content {
    /// Adds an entry of the log. If `redactions` has a new body for the entry, the body replaces
    /// the old one.
    fn add(&mut self, entry: Entry<'_>, redactions: &Pending) {
        match entry {
            Entry::Record(record) => {
                self.last_time = self.last_time.max(record.time);
                let position = record.position.0;
                let key = (record.timeline.0, minor(record.seq, position));
                let replacement = redactions.get(&(record.timeline, record.seq));
                let start = self.payloads.len();
                self.payloads.extend_from_slice(&position.to_le_bytes());
                let body = replacement.map(|replacement| &*replacement.body);
                record::push_lasting(&mut self.payloads, record, body);
                self.messages.push(Payload {
                    key,
                    range: start..self.payloads.len(),
                });
                self.syncs
                    .extend(record.fanout.map(|id| ((id.0, position), key)));
                self.keys
                    .extend(record.key.map(|id| ((id.0, position), key)));
                for state in record.states {
                    self.add_state(state);
                }
                if let Some(redaction) = record.redacts {
                    let replacement = Replacement {
                        position,
                        time: record.time,
                        body: redaction.body.into(),
                    };
                    let target = (record.timeline, redaction.seq);
                    self.redactions.push((target, replacement));
                }
            }
            Entry::State(_, state) => self.add_state(state),
        }
    }

    fn add_state(&mut self, state: StateEntry<'_>) {
        let start = self.payloads.len();
        self.payloads.extend_from_slice(state.value);
        let range = start..self.payloads.len();
        self.states.push(Payload {
            key: (state.key.0, 0),
            range,
        });
    }

    fn sort(&mut self) {
        self.messages.sort_unstable_by_key(|payload| payload.key);
        self.keys.sort_unstable();
        self.syncs.sort_unstable();
        // A fan-out that names a timeline twice makes one entry.
        self.syncs.dedup_by_key(|entry| entry.0);
        // The latest of several values under a key counts. Payloads are in the order of the log.
        self.states.sort_unstable_by_key(|value| {
            (
                value.key,
                Reverse(value.range.start),
                Reverse(value.range.end),
            )
        });
        self.states.dedup_by_key(|value| value.key);
        // The latest of several redactions of a record counts too.
        let latest_first = |(target, r): &(Target, Replacement)| (*target, Reverse(r.position));
        self.redactions.sort_unstable_by_key(latest_first);
        self.redactions.dedup_by_key(|entry| entry.0);
    }

    fn has(&self, (timeline, seq): Target) -> bool {
        let key = (timeline.0, seq);
        let found = self
            .messages
            .binary_search_by_key(&key, |payload| payload.key);
        found.is_ok()
    }

    /// Removes the redactions that need not be kept: those applied to this segment, those applied
    /// elsewhere before, and those whose record does not exist. Returns the redactions that are now
    /// done.
    fn settle(&mut self, pending: &Pending, older: &Runs) -> Result<Vec<Applied>, ReadError> {
        let mut applied = Vec::new();
        let mut left = Vec::new();
        for (target, replacement) in std::mem::take(&mut self.redactions) {
            let known = pending.get(&target);
            if known.is_none_or(|known| known.position != replacement.position) {
                continue;
            }
            if self.has(target) || older.run_of(target)?.is_none() {
                applied.push((target, replacement.position));
            } else {
                left.push((target, replacement));
            }
        }
        // Redactions in later segments of records in this one.
        let later = pending
            .iter()
            .filter(|(target, _)| self.has(**target))
            .map(|(target, replacement)| (*target, replacement.position));
        applied.extend(later);
        applied.sort_unstable();
        applied.dedup();
        self.redactions = left;
        Ok(applied)
    }
}

impl RunMaker<'_> {
    /// Turns a sealed segment into run files, one for each kind of its content. `scan` is the state
    /// of the log before the segment, and `older` holds the runs made from that part. Also returns
    /// which of the `pending` redactions are now done.
    pub(crate) fn sort(
        &self,
        segment: &Segment,
        scan: &mut Scan,
        (pending, older): (&Pending, &Runs),
        numbers: &AtomicU64,
    ) -> io::Result<MadeRuns> {
        let mut content = Content::default();
        match scan.segment(segment, &mut |entry| content.add(entry, pending))? {
            ScanEnd::Sealed(_) => {}
            ScanEnd::Open(at) => {
                return Err(io::Error::other(format!(
                    "{}: damaged at offset {}",
                    self.backend.path(&segment.name).display(),
                    segment.offset(at)
                )));
            }
        }
        content.sort();
        let applied = content.settle(pending, older).map_err(as_io)?;
        let mut runs = Vec::new();
        for kind in RunKind::ALL {
            let id = RunId {
                kind,
                level: 0,
                number: numbers.fetch_add(1, Ordering::Relaxed),
                from: segment.base,
                to: segment.end(),
                last_time: content.last_time,
            };
            let made = self.write(id, |writer| self.fill(writer, kind, &content))?;
            runs.extend(made.then_some(id));
        }
        Ok(MadeRuns { runs, applied })
    }

    /// Adds the content of one kind to a run file.
    fn fill(&self, writer: &mut RunWriter<'_>, kind: RunKind, content: &Content) -> io::Result<()> {
        let values = match kind {
            RunKind::Messages => content.messages.as_slice(),
            RunKind::States => &content.states,
            RunKind::Syncs | RunKind::Keys | RunKind::Redactions | RunKind::Marks => &[],
        };
        for Payload { key, range } in values {
            self.go_on()?;
            writer.add(*key, &content.payloads[range.clone()])?;
        }
        let references = match kind {
            RunKind::Syncs => content.syncs.as_slice(),
            RunKind::Keys => &content.keys,
            RunKind::Messages | RunKind::States | RunKind::Redactions | RunKind::Marks => &[],
        };
        for (key, reference) in references {
            self.go_on()?;
            writer.add(*key, &encode_reference(*reference))?;
        }
        if kind == RunKind::Redactions {
            for ((timeline, seq), replacement) in &content.redactions {
                writer.add((timeline.0, *seq), &encode_replacement(replacement))?;
            }
        }
        Ok(())
    }

    /// Merges neighbouring run files of a kind, from the oldest to the newest, into one, or makes a
    /// single file anew. `oldest` tells that there are no files before them. Also returns which of
    /// the `pending` redactions are now done.
    pub(crate) fn merge(
        &self,
        runs: &[Arc<RunFile>],
        oldest: bool,
        pending: &Pending,
        number: u64,
    ) -> io::Result<MadeRuns> {
        let mut made = MadeRuns::default();
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
            return Ok(made);
        };
        let (first, last) = (first.id, last.id);
        let more = u8::from(runs.len() > 1);
        let id = RunId {
            kind: first.kind,
            level: runs.iter().map(|run| run.id.level).max().unwrap_or(0) + more,
            number,
            from: first.from,
            // Marks may overlap.
            to: runs.iter().map(|run| run.id.to).max().unwrap_or(last.to),
            last_time: runs.iter().map(|run| run.id.last_time).max().unwrap_or(0),
        };
        let mut merge = Merge::new(id.kind, runs).map_err(as_io)?;
        let applied = &mut made.applied;
        let any = self.write(id, |writer| {
            while let Some((key, value)) = merge.next().map_err(as_io)? {
                self.go_on()?;
                if oldest && id.kind == RunKind::States && value.is_empty() {
                    continue;
                }
                let target = (TimelineId(key.0), key.1);
                let replacement = match id.kind {
                    RunKind::Messages | RunKind::Redactions if !pending.is_empty() => {
                        pending.get(&target)
                    }
                    _ => None,
                };
                match (id.kind, replacement) {
                    (RunKind::Messages, Some(replacement)) if is_stub(value) => {
                        writer.add(key, value)?;
                        applied.push((target, replacement.position));
                    }
                    (RunKind::Messages, Some(replacement)) => {
                        let redacted = redact(value, &replacement.body);
                        let redacted = redacted.ok_or_else(|| damaged(&runs[0]))?;
                        writer.add(key, &redacted)?;
                        applied.push((target, replacement.position));
                    }
                    (RunKind::Redactions, replacement) => {
                        // Drops redactions that are applied, or that a later one replaces.
                        let position = decode_replacement(value).map(|r| r.position);
                        if replacement.map(|r| r.position) == position {
                            writer.add(key, value)?;
                        }
                    }
                    _ => writer.add(key, value)?,
                }
            }
            Ok(())
        })?;
        made.runs.extend(any.then_some(id));
        Ok(made)
    }

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
            level: 0,
            number,
            ..run.id
        };
        let any = self.write(id, |writer| {
            let mut last: Option<Key> = None;
            let mut cursor = run.scan().map_err(as_io)?;
            while let Some((key, _)) = cursor.entry().map_err(as_io)? {
                self.go_on()?;
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
                cursor.advance();
            }
            match last {
                Some(last) => writer.add((last.0, 0), &last.1.to_le_bytes()),
                None => Ok(()),
            }
        })?;
        made.runs.extend(any.then_some(id));
        Ok(made)
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

/// Reads several runs of a kind, from the oldest to the newest, as one.
struct Merge<'a> {
    kind: RunKind,
    cursors: Vec<Cursor<'a>>,
    /// The key at each cursor; `None` at a cursor's end.
    heads: Vec<Option<Key>>,
    /// The value of the last entry that was returned.
    value: Vec<u8>,
}

impl<'a> Merge<'a> {
    fn new(kind: RunKind, runs: &'a [Arc<RunFile>]) -> Result<Self, ReadError> {
        let mut cursors = Vec::new();
        let mut heads = Vec::new();
        for run in runs {
            let mut cursor = run.scan()?;
            heads.push(cursor.entry()?.map(|entry| entry.0));
            cursors.push(cursor);
        }
        Ok(Merge {
            kind,
            cursors,
            heads,
            value: Vec::new(),
        })
    }

    /// Returns the next entry. If several runs have its key, the newest run's entry counts. For
    /// marks the greatest value counts, because messages may expire in another order.
    fn next(&mut self) -> Result<Option<(Key, &[u8])>, ReadError> {
        let Some(least) = self.heads.iter().copied().flatten().min() else {
            return Ok(None);
        };
        let seq = |value: &[u8]| value.first_chunk().copied().map(u64::from_le_bytes);
        self.value.clear();
        for (cursor, head) in self.cursors.iter_mut().zip(&mut self.heads) {
            if *head != Some(least) {
                continue;
            }
            if let Some((_, value)) = cursor.entry()?
                && (self.kind != RunKind::Marks || seq(&self.value) < seq(value))
            {
                self.value.clear();
                self.value.extend_from_slice(value);
            }
            cursor.advance();
            *head = cursor.entry()?.map(|entry| entry.0);
        }
        Ok(Some((least, &self.value)))
    }
}

/// Returns the value of a message's entry with `body` in place of its body.
fn redact(value: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    let (position, payload) = value.split_at_checked(8)?;
    let record = record::decode_payload(u64_at(position, 0), payload)?;
    let mut redacted = position.to_vec();
    record::push_lasting(&mut redacted, &record, Some(body));
    Some(redacted)
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
