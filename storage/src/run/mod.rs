//! Runs: immutable sorted files, which the store makes of the log.
//!
//! A sealed segment of the log becomes one run file of each [`RunKind`]. Several neighbouring files
//! of a kind become one larger file. The [`Manifest`] names the files in force.
//!
//! **Invariants:** a run file never changes. The files of a kind cover the log without overlapping
//! (except marks), so that of two files one is older. Nothing here knows the index or an open
//! store.

pub(crate) mod block;
pub(crate) mod build;
mod cache;
mod cursor;
mod file;
mod filter;
pub(crate) mod footer;
mod kept;
pub(crate) mod manifest;
mod posting_cursor;
pub(crate) mod postings;
pub(crate) mod redaction;
mod resident;
pub(crate) mod write;

use std::hint::black_box;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::backend::Backend;
use crate::error::{Fault, OpenError, ReadError};
use crate::log::kept::{KeptSegments, SegmentFiles};
use crate::log::page::Order;
use crate::log::record::RecordRef;
use crate::{Position, TimelineId};
pub(crate) use block::Key;
pub(crate) use cache::BlockCache;
pub(crate) use file::RunFile;
use footer::u64_at;
pub(crate) use footer::{RunForm, RunId, RunKind};
use manifest::{Floors, Manifest};
use redaction::{NewBody, Replacement, Target};

/// The greatest sequence. Greater numbers stand for records that are no entries of a timeline.
pub(crate) const MAX_SEQ: u64 = (1 << 63) - 1;
/// The bytes of a reference: a timeline, and a number within it.
#[cfg(test)]
const REFERENCE: usize = 24;
/// The bytes of the position before a record's payload.
const POSITION: usize = 8;

/// Returns whether `name` is the name of a run file, or of one that is being written.
pub(crate) fn is_run_name(name: &str) -> bool {
    name.starts_with("run-")
}

/// Returns whether a run file was made of a part of the log that does not begin at 0. So a manifest
/// was in force that named what is before it.
pub(crate) fn is_of_later_segment(backend: &dyn Backend, store_id: [u8; 16], name: &str) -> bool {
    let identify = || {
        let file = backend.open(name)?;
        RunFile::identify(&*file, file.len()?, 0, store_id)
    };
    identify().is_ok_and(|run| run.is_some_and(|run| run.from > 0))
}

/// Returns the number of a record within its message timeline in a run.
#[cfg(test)]
fn minor(seq: u64, position: u64) -> u64 {
    if seq == 0 {
        MAX_SEQ + 1 + position
    } else {
        seq
    }
}

#[cfg(test)]
fn encode_reference(key: Key) -> [u8; REFERENCE] {
    let mut bytes = [0; REFERENCE];
    bytes[..16].copy_from_slice(&key.0.to_le_bytes());
    bytes[16..].copy_from_slice(&key.1.to_le_bytes());
    bytes
}

pub(crate) fn decode_reference(bytes: &[u8]) -> Option<Key> {
    let (id, minor) = bytes.split_first_chunk::<16>()?;
    let minor = minor.first_chunk::<8>()?;
    Some((u128::from_le_bytes(*id), u64::from_le_bytes(*minor)))
}

fn encode_replacement(replacement: &Replacement) -> io::Result<Vec<u8>> {
    let body = replacement.body.read()?;
    let mut bytes = Vec::with_capacity(16 + body.len());
    bytes.extend_from_slice(&replacement.position.to_le_bytes());
    bytes.extend_from_slice(&replacement.time.to_le_bytes());
    bytes.extend_from_slice(body);
    Ok(bytes)
}

fn decode_replacement(bytes: &[u8]) -> Option<Replacement> {
    let (position, rest) = bytes.split_first_chunk::<8>()?;
    let (time, body) = rest.split_first_chunk::<8>()?;
    Some(Replacement {
        position: u64::from_le_bytes(*position),
        time: u64::from_le_bytes(*time),
        body: NewBody::Here(body.into()),
    })
}

/// Receives a record's position and payload. Returns whether it wants more records.
pub(crate) type TakeRecord<'a> = dyn FnMut(u64, &[u8]) -> Result<bool, ReadError> + 'a;

/// The last sequence of a message timeline in runs. Entries are ordered by sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LastEntry {
    pub(crate) seq: u64,
    /// The position of its record, or one before it.
    pub(crate) position: u64,
}

/// The run files in force.
pub(crate) struct Runs {
    cache: Arc<BlockCache>,
    /// The segments that runs of positions name.
    kept: KeptSegments,
    /// The files of the segments; `None` for an index without a store.
    segments: Option<Arc<SegmentFiles>>,
    /// The files by kind, each kind from the oldest to the newest.
    files: [Vec<Arc<RunFile>>; RunKind::ALL.len()],
    floors: Floors,
}

impl Default for Runs {
    fn default() -> Self {
        Runs::none(Arc::new(BlockCache::new(0)), None)
    }
}

impl Runs {
    fn none(cache: Arc<BlockCache>, segments: Option<Arc<SegmentFiles>>) -> Self {
        Runs {
            cache,
            kept: KeptSegments::default(),
            segments,
            files: Default::default(),
            floors: Floors::default(),
        }
    }

    /// Makes runs without files, to open some [`with`](Self::with) a manifest.
    fn empty(backend: &Arc<dyn Backend>, store_id: [u8; 16], cache_bytes: usize) -> Self {
        let segments = SegmentFiles::new(backend.clone(), store_id);
        let cache = Arc::new(BlockCache::new(cache_bytes));
        Runs::none(cache, Some(Arc::new(segments)))
    }

    pub(crate) fn open(
        backend: &Arc<dyn Backend>,
        manifest: &Manifest,
        store_id: [u8; 16],
        cache_bytes: usize,
    ) -> Result<Runs, OpenError> {
        Runs::empty(backend, store_id, cache_bytes).with(&**backend, manifest, store_id)
    }

    /// Opens the runs like [`open`](Self::open), but notes damaged files and leaves them out.
    pub(crate) fn open_whole(
        backend: &Arc<dyn Backend>,
        manifest: &Manifest,
        store_id: [u8; 16],
        cache_bytes: usize,
        faults: &mut Vec<Fault>,
    ) -> Result<Runs, OpenError> {
        let mut runs = Runs::empty(backend, store_id, cache_bytes);
        runs.floors = manifest.floors;
        runs.kept.clone_from(&manifest.kept);
        for &id in &manifest.runs {
            match RunFile::open(&**backend, id, store_id, runs.cache.clone()) {
                Ok(run) => runs.files[id.kind as usize].push(Arc::new(run)),
                Err(error) => faults.push(Fault::of(error)?),
            }
        }
        Ok(runs)
    }

    /// Returns the runs of `manifest`. Files that are already open are shared.
    pub(crate) fn with(
        &self,
        backend: &dyn Backend,
        manifest: &Manifest,
        store_id: [u8; 16],
    ) -> Result<Runs, OpenError> {
        let mut runs = Runs::none(self.cache.clone(), self.segments.clone());
        runs.floors = manifest.floors;
        runs.kept.clone_from(&manifest.kept);
        for &id in &manifest.runs {
            let known = self.of(id.kind).iter().find(|run| run.id == id);
            let run = match known {
                Some(run) => run.clone(),
                None => Arc::new(RunFile::open(backend, id, store_id, self.cache.clone())?),
            };
            runs.files[id.kind as usize].push(run);
        }
        Ok(runs)
    }

    pub(crate) fn of(&self, kind: RunKind) -> &[Arc<RunFile>] {
        &self.files[kind as usize]
    }

    /// Returns the runs of a kind, like [`of`](Self::of), for a look-up that asks the filters of
    /// all of them.
    pub(crate) fn touched(&self, kind: RunKind, id: TimelineId) -> &[Arc<RunFile>] {
        let (runs, hash) = (self.of(kind), filter::hash(id.0));
        black_box(runs.iter().fold(0, |sum, run| sum ^ run.touch(hash)));
        runs
    }

    pub(crate) fn ids(&self, kind: RunKind) -> Vec<RunId> {
        self.of(kind).iter().map(|run| run.id).collect()
    }

    /// Returns the ids of all files.
    pub(crate) fn all(&self) -> impl Iterator<Item = RunId> {
        self.files.iter().flatten().map(|file| file.id)
    }

    /// Returns the first file that was removed from the folder, if any.
    pub(crate) fn removed(&self) -> Option<RunId> {
        let mut files = self.files.iter().flatten();
        files.find(|file| file.is_removed()).map(|file| file.id)
    }

    /// Returns the number of files and their size in bytes.
    pub(crate) fn size(&self) -> (usize, u64) {
        let files = self.files.iter().flatten();
        (files.clone().count(), files.map(|file| file.bytes).sum())
    }

    /// Returns the kept segments.
    pub(crate) fn kept(&self) -> &KeptSegments {
        &self.kept
    }

    /// Returns the files of the kept segments; `None` for an index without a store.
    pub(crate) fn segments(&self) -> Option<&Arc<SegmentFiles>> {
        self.segments.as_ref()
    }

    /// Returns the position from which all entries of sync timelines are here.
    pub(crate) fn sync_floor(&self) -> u64 {
        self.floors.syncs
    }

    /// Returns the last entry of a message timeline. The message itself may have expired. Returns
    /// `None` if the timeline has no entry here.
    pub(crate) fn last(&self, timeline: TimelineId) -> Result<Option<LastEntry>, ReadError> {
        for run in self.touched(RunKind::Messages, timeline).iter().rev() {
            if !run.may_have(timeline.0)? {
                continue;
            }
            if let Some((key, position)) = run.before((timeline.0, MAX_SEQ + 1))?
                && key.0 == timeline.0
            {
                let found = Some(LastEntry {
                    seq: key.1,
                    position: position.max(run.id.from),
                });
                // A newer run may have expired, if the time went back.
                return match run.id.to > self.floors.messages {
                    true => Ok(found),
                    false => Ok(self.mark(timeline)?.max(found)),
                };
            }
        }
        self.mark(timeline)
    }

    /// Returns the last entry among the timeline's expired messages, like [`last`](Self::last).
    fn mark(&self, timeline: TimelineId) -> Result<Option<LastEntry>, ReadError> {
        let mut last = None;
        for run in self.of(RunKind::Marks) {
            if run.may_have(timeline.0)?
                && let Some(value) = run.get((timeline.0, 0))?
            {
                let seq = value.first_chunk().ok_or_else(|| run.corrupt(0))?;
                last = last.max(Some(LastEntry {
                    seq: u64::from_le_bytes(*seq),
                    position: run.id.from,
                }));
            }
        }
        Ok(last)
    }

    /// Returns the first sequence of a message timeline that has not expired; `None` if the
    /// timeline has none here.
    pub(crate) fn first_seq(&self, timeline: TimelineId) -> Result<Option<u64>, ReadError> {
        for run in self.of(RunKind::Messages) {
            if !run.may_have(timeline.0)? {
                continue;
            }
            let key = match run.id.form {
                RunForm::Values => run.seek((timeline.0, 1))?.entry()?.map(|entry| entry.0),
                RunForm::Positions => run.seek_posting((timeline.0, 1))?.entry()?.map(|e| e.0),
            };
            if let Some(key) = key.filter(|key| key.0 == timeline.0 && key.1 <= MAX_SEQ) {
                return Ok(Some(key.1));
            }
        }
        Ok(None)
    }

    /// Passes the entries of a message timeline to `take`, from the end that `order` names, until
    /// `take` has enough. Returns whether it had enough.
    pub(crate) fn range(
        &self,
        timeline: TimelineId,
        seqs: &RangeInclusive<u64>,
        order: Order,
        take: &mut TakeRecord<'_>,
    ) -> Result<bool, ReadError> {
        let (from, to) = (*seqs.start(), (*seqs.end()).min(MAX_SEQ));
        if from > to {
            return Ok(false);
        }
        let runs = self.of(RunKind::Messages);
        for i in 0..runs.len() {
            let run = match order {
                Order::Ascending => &runs[i],
                Order::Descending => &runs[runs.len() - 1 - i],
            };
            if !run.may_have(timeline.0)? {
                continue;
            }
            if run.id.form == RunForm::Positions {
                if self.kept_range(run, timeline, (from.max(1), to), order, take)? {
                    return Ok(true);
                }
                continue;
            }
            let mut cursor = match order {
                Order::Ascending => run.seek((timeline.0, from.max(1)))?,
                Order::Descending => run.seek((timeline.0, to + 1))?,
            };
            loop {
                let entry = match order {
                    Order::Ascending => cursor.entry()?,
                    Order::Descending => cursor.back()?,
                };
                match entry {
                    Some((key, value)) if key.0 == timeline.0 && (from..=to).contains(&key.1) => {
                        if let Some((position, payload)) = record(run, value)?
                            && !take(position, payload)?
                        {
                            return Ok(true);
                        }
                    }
                    _ => break,
                }
                if order == Order::Ascending {
                    cursor.advance();
                }
            }
        }
        Ok(false)
    }

    /// Passes the records that a sync timeline refers to from positions in `(after, until]` to
    /// `take`, oldest first, until `take` has enough. Returns whether it had enough.
    pub(crate) fn sync(
        &self,
        timeline: TimelineId,
        after: u64,
        until: u64,
        take: &mut TakeRecord<'_>,
    ) -> Result<bool, ReadError> {
        let runs = self.of(RunKind::Syncs).iter();
        for run in runs.filter(|run| run.id.to > after && run.id.from <= until) {
            if !run.may_have(timeline.0)? {
                continue;
            }
            if run.id.form == RunForm::Positions {
                if self.kept_sync(run, timeline, (after, until), take)? {
                    return Ok(true);
                }
                continue;
            }
            let mut cursor = run.seek((timeline.0, after + 1))?;
            while let Some((key, value)) = cursor.entry()? {
                if key.0 != timeline.0 || key.1 > until {
                    break;
                }
                let reference = decode_reference(value).ok_or_else(|| run.corrupt(0))?;
                if let Some(payload) = self.resolve(key.1, reference)?
                    && !take(key.1, &payload)?
                {
                    return Ok(true);
                }
                cursor.advance();
            }
        }
        Ok(false)
    }

    /// Returns the position of the first record after a position that a sync timeline refers to.
    pub(crate) fn next_sync(
        &self,
        timeline: TimelineId,
        after: u64,
    ) -> Result<Option<u64>, ReadError> {
        let from = (timeline.0, after + 1);
        for run in self
            .of(RunKind::Syncs)
            .iter()
            .filter(|run| run.id.to > after)
        {
            if !run.may_have(timeline.0)? {
                continue;
            }
            let found = match run.id.form {
                RunForm::Positions => run
                    .seek_posting(from)?
                    .entry()?
                    .map(|(key, at)| (key.0, at)),
                RunForm::Values => run.seek(from)?.entry()?.map(|(key, _)| key),
            };
            if let Some((_, position)) = found.filter(|(own, _)| *own == timeline.0) {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }

    /// Returns the last record with a key.
    #[inline]
    pub(crate) fn find(&self, key: TimelineId) -> Result<Option<RecordRef>, ReadError> {
        for run in self.touched(RunKind::Keys, key).iter().rev() {
            if !run.may_have(key.0)? {
                continue;
            }
            if run.id.form == RunForm::Positions {
                match self.kept_find(run, key)? {
                    Some(found) => return Ok(Some(found)),
                    None => continue,
                }
            }
            let mut cursor = run.seek((key.0, u64::MAX))?;
            if let Some((found, value)) = cursor.back()?
                && found.0 == key.0
            {
                let (timeline, minor) = decode_reference(value).ok_or_else(|| run.corrupt(0))?;
                return Ok(Some(RecordRef {
                    timeline: TimelineId(timeline),
                    seq: if minor > MAX_SEQ { 0 } else { minor },
                    position: Position(found.1),
                }));
            }
        }
        Ok(None)
    }

    /// Returns what holds this entry of a message timeline; `None` if nothing here does.
    pub(crate) fn holder_of(&self, (timeline, seq): Target) -> Result<Option<Holder>, ReadError> {
        let key = (timeline.0, seq);
        for (i, run) in self.of(RunKind::Messages).iter().enumerate().rev() {
            if !run.may_have(timeline.0)? {
                continue;
            }
            match run.id.form {
                RunForm::Values if run.get(key)?.is_some() => return Ok(Some(Holder::Run(i))),
                RunForm::Values => {}
                RunForm::Positions => {
                    if let Some(position) = run.position_of(key)? {
                        return Ok(Some(Holder::Segment(position)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Returns the redactions of records in runs of values that no merge had applied when these
    /// files were made.
    pub(crate) fn redactions(&self) -> Result<Vec<(Target, Replacement)>, ReadError> {
        let mut found = Vec::new();
        let runs = self.of(RunKind::Redactions).iter();
        for run in runs.filter(|run| run.id.form == RunForm::Values) {
            let mut cursor = run.scan()?;
            while let Some((key, value)) = cursor.entry()? {
                let replacement = decode_replacement(value).ok_or_else(|| run.corrupt(0))?;
                found.push(((TimelineId(key.0), key.1), replacement));
                cursor.advance();
            }
        }
        Ok(found)
    }

    /// Returns the latest value under a key, which may be empty; `None` if there is none here.
    pub(crate) fn state(&self, key: TimelineId) -> Result<Option<Vec<u8>>, ReadError> {
        for run in self.of(RunKind::States).iter().rev() {
            if run.may_have(key.0)?
                && let Some(value) = run.get((key.0, 0))?
            {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Returns the payload of the record that a reference names; `None` if the record expired or a
    /// repair gave it up.
    fn resolve(&self, position: u64, reference: Key) -> Result<Option<Vec<u8>>, ReadError> {
        let run = covering(self.of(RunKind::Messages), position);
        let Some(run) = run.filter(|run| run.id.form == RunForm::Values) else {
            return match position < self.floors.messages {
                true => Ok(None),
                false => Err(ReadError::NoRecord),
            };
        };
        let mut value = run.get(reference)?.ok_or_else(|| run.corrupt(0))?;
        match record(run, &value)? {
            None => Ok(None),
            Some((found, _)) if found == position => Ok(Some(value.split_off(8))),
            Some(_) => Err(run.corrupt(0)),
        }
    }
}

/// What holds a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The run of messages with this index.
    Run(usize),
    /// The kept segment at this position, which is that of the record.
    Segment(u64),
}

/// Returns the file made from the part of the log at `position`.
fn covering(runs: &[Arc<RunFile>], position: u64) -> Option<&RunFile> {
    let after = runs.partition_point(|run| run.id.from <= position);
    let run = &runs[after.checked_sub(1)?];
    (position < run.id.to).then_some(run)
}

/// Reads position and payload of a record from the value of its entry. Returns `None` if a repair
/// gave the record up.
pub(crate) fn record<'a>(
    run: &RunFile,
    value: &'a [u8],
) -> Result<Option<(u64, &'a [u8])>, ReadError> {
    if is_stub(value) {
        return Ok(None);
    }
    match value.split_at_checked(POSITION) {
        Some((position, payload)) if crate::log::record::decode_payload(0, payload).is_some() => {
            Ok(Some((u64_at(position, 0), payload)))
        }
        _ => Err(run.corrupt(0)),
    }
}

/// Returns whether an entry is only the stub of a record that a repair gave up.
fn is_stub(value: &[u8]) -> bool {
    value.len() == POSITION
}
