//! Making run files: from a segment of the log, and from other run files.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::write::{RunWriter, temporary};
use super::{Cursor, Key, Kind, RunFile, RunId, encode_reference, minor};
use crate::backend::Backend;
use crate::error::ReadError;
use crate::recovery::{Entry, Scan, ScanEnd};
use crate::segment::Segment;

/// What making run files needs to know of the store.
pub(super) struct Workshop<'a> {
    pub(super) backend: &'a dyn Backend,
    pub(super) store_id: [u8; 16],
    /// Size of a block in bytes.
    pub(super) block: usize,
    /// Set when the store closes.
    pub(super) stopping: &'a AtomicBool,
}

/// The content of a segment, to be sorted. Keeps the payloads in memory: a segment is small.
#[derive(Default)]
struct Content {
    payloads: Vec<u8>,
    /// Position and payload.
    messages: Vec<(Key, u64, std::ops::Range<usize>)>,
    /// Reference.
    syncs: Vec<(Key, Key)>,
    places: Vec<(Key, Key)>,
    /// Position and value; the key's number is 0.
    states: Vec<(Key, u64, std::ops::Range<usize>)>,
}

impl Content {
    fn add(&mut self, entry: Entry<'_>) {
        let start = self.payloads.len();
        match entry {
            Entry::Record(record, payload) => {
                let position = record.position.0;
                let key = (record.timeline.0, minor(record.seq, position));
                self.payloads.extend_from_slice(&position.to_le_bytes());
                self.payloads.extend_from_slice(payload);
                self.messages
                    .push((key, position, start..self.payloads.len()));
                self.places.push(((0, position), key));
                self.syncs
                    .extend(record.fanout.map(|id| ((id.0, position), key)));
            }
            Entry::State(position, state) => {
                self.payloads.extend_from_slice(state.value);
                let value = start..self.payloads.len();
                self.states.push(((state.key.0, 0), position, value));
            }
        }
    }

    fn sort(&mut self) {
        self.messages.sort_unstable_by_key(|entry| entry.0);
        self.syncs.sort_unstable();
        // A fan-out that names a timeline twice still makes one entry.
        self.syncs.dedup_by_key(|entry| entry.0);
        // Of several values under a key the latest counts.
        self.states
            .sort_unstable_by_key(|entry| (entry.0, std::cmp::Reverse(entry.1)));
        self.states.dedup_by_key(|entry| entry.0);
    }
}

impl Workshop<'_> {
    /// Turns a sealed segment into run files, one for each kind that it has. `scan` has what was
    /// read of the log before it.
    pub(super) fn sort(
        &self,
        segment: &Segment,
        scan: &mut Scan,
        next: &mut u64,
    ) -> io::Result<Vec<RunId>> {
        let mut content = Content::default();
        match scan.segment(segment, &mut |entry| content.add(entry))? {
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
        let mut made = Vec::new();
        for kind in Kind::ALL {
            let id = RunId {
                kind,
                level: 0,
                number: *next,
                from: segment.base,
                to: segment.end(),
            };
            let Content {
                payloads,
                messages,
                syncs,
                places,
                states,
            } = &content;
            let empty = match kind {
                Kind::Messages => messages.is_empty(),
                Kind::Syncs => syncs.is_empty(),
                Kind::Places => places.is_empty(),
                Kind::States => states.is_empty(),
            };
            if empty {
                continue;
            }
            *next += 1;
            made.push(id);
            self.write(id, |writer| {
                for (key, _, value) in match kind {
                    Kind::Messages => messages.as_slice(),
                    Kind::States => states,
                    Kind::Syncs | Kind::Places => &[],
                } {
                    self.go_on()?;
                    writer.add(*key, &payloads[value.clone()])?;
                }
                for (key, reference) in match kind {
                    Kind::Syncs => syncs.as_slice(),
                    Kind::Places => places,
                    Kind::Messages | Kind::States => &[],
                } {
                    self.go_on()?;
                    writer.add(*key, &encode_reference(*reference))?;
                }
                Ok(())
            })?;
        }
        Ok(made)
    }

    /// Merges neighbouring run files of a kind, from the oldest to the newest, into one. With
    /// `oldest` there are none before them.
    pub(super) fn merge(
        &self,
        runs: &[Arc<RunFile>],
        oldest: bool,
        number: u64,
    ) -> io::Result<Option<RunId>> {
        let (first, last) = match runs {
            [first, .., last] => (first.id, last.id),
            _ => return Ok(None),
        };
        let id = RunId {
            kind: first.kind,
            level: first.level.max(last.level) + 1,
            number,
            from: first.from,
            to: last.to,
        };
        let mut any = false;
        let mut cursors = Vec::new();
        for run in runs {
            cursors.push(run.scan().map_err(as_io)?);
        }
        self.write(id, |writer| {
            while let Some((key, value)) = take_least(&mut cursors)? {
                self.go_on()?;
                if oldest && id.kind == Kind::States && value.is_empty() {
                    continue;
                }
                writer.add(key, &value)?;
                any = true;
            }
            Ok(())
        })?;
        Ok(any.then_some(id))
    }

    /// Writes a run file, unless `fill` adds nothing.
    fn write(
        &self,
        id: RunId,
        fill: impl FnOnce(&mut RunWriter<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut writer = RunWriter::create(self.backend, id, self.store_id, self.block)?;
        let written = fill(&mut writer).and_then(|()| writer.finish());
        if !matches!(written, Ok(true)) {
            // Gives the space back; what cannot be removed now goes at the next opening.
            let _ = self.backend.remove(&temporary(&id));
        }
        written.map(|_| ())
    }

    fn go_on(&self) -> io::Result<()> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(())
    }
}

/// The least entry of all, which the cursors then are behind. Of several with one key it is that
/// of the last cursor.
fn take_least(cursors: &mut [Cursor<'_>]) -> io::Result<Option<(Key, Vec<u8>)>> {
    let mut least: Option<Key> = None;
    for cursor in cursors.iter_mut() {
        if let Some((key, _)) = cursor.entry().map_err(as_io)? {
            least = Some(least.map_or(key, |least| least.min(key)));
        }
    }
    let Some(least) = least else { return Ok(None) };
    let mut newest = Vec::new();
    for cursor in cursors {
        match cursor.entry().map_err(as_io)? {
            Some((key, value)) if key == least => newest = value.to_vec(),
            _ => continue,
        }
        cursor.advance();
    }
    Ok(Some((least, newest)))
}

fn as_io(error: ReadError) -> io::Error {
    match error {
        ReadError::Io { source, .. } => source,
        damage => io::Error::other(damage.to_string()),
    }
}
