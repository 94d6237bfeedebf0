//! Merges neighbouring run files of a kind and a form.

use std::io;
use std::sync::Arc;

use super::{MadeRuns, Pending, RunMaker, as_io, damaged};
use crate::TimelineId;
use crate::error::ReadError;
use crate::log::record;
use crate::run::cursor::Cursor;
use crate::run::posting_cursor::PostingCursor;
use crate::run::postings::Posting;
use crate::run::write::RunWriter;
use crate::run::{Key, RunFile, RunForm, RunId, RunKind, decode_replacement, is_stub, u64_at};

impl RunMaker<'_> {
    /// Merges neighbouring run files of a kind, from the oldest to the newest, into one, or makes a
    /// single file anew. The file gets the given level. `oldest` tells that there are no files before them.
    /// Also returns which of the `pending` redactions are now done.
    pub(crate) fn merge(
        &self,
        runs: &[Arc<RunFile>],
        oldest: bool,
        pending: &Pending,
        (number, level): (u64, u8),
    ) -> io::Result<MadeRuns> {
        let mut made = MadeRuns::default();
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
            return Ok(made);
        };
        let (first, last) = (first.id, last.id);
        let id = RunId {
            kind: first.kind,
            form: first.form,
            level,
            number,
            from: first.from,
            // Marks may overlap.
            to: runs.iter().map(|run| run.id.to).max().unwrap_or(last.to),
            last_time: runs.iter().map(|run| run.id.last_time).max().unwrap_or(0),
        };
        if id.form == RunForm::Positions {
            let any = self.write(id, |writer| self.merge_lists(runs, id.kind, writer))?;
            made.runs.extend(any.then_some(id));
            return Ok(made);
        }
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
                        let redacted = redact(value, replacement.body.read()?);
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

    /// Merges runs of positions. Their parts of the log follow each other, so lists of a timeline do
    /// too. A redaction replaces earlier ones of the same record.
    fn merge_lists(
        &self,
        runs: &[Arc<RunFile>],
        kind: RunKind,
        writer: &mut RunWriter<'_>,
    ) -> io::Result<()> {
        let mut cursors = Vec::new();
        for run in runs {
            let mut cursor = run.scan_postings().map_err(as_io)?;
            let id = cursor.id().map_err(as_io)?;
            cursors.push((id, cursor));
        }
        let mut list: Vec<Posting> = Vec::new();
        while let Some(least) = cursors.iter().filter_map(|(id, _)| *id).min() {
            let mut last = None;
            for (id, cursor) in &mut cursors {
                while *id == Some(least) {
                    cursor.take(&mut list);
                    *id = next_id(cursor)?;
                    if kind != RunKind::Redactions {
                        self.add_after(writer, least, &mut last, &mut list)?;
                    }
                }
            }
            if kind == RunKind::Redactions {
                latest_of_each(&mut list);
                self.add_after(writer, least, &mut last, &mut list)?;
            }
        }
        Ok(())
    }

    /// Writes a piece of a list, and empties it. Leaves out what does not follow the number `last`:
    /// sequences never go back, so no store has that.
    fn add_after(
        &self,
        writer: &mut RunWriter<'_>,
        id: u128,
        last: &mut Option<u64>,
        list: &mut Vec<Posting>,
    ) -> io::Result<()> {
        for _ in &*list {
            self.go_on()?;
        }
        list.retain(|posting| {
            let follows = last.is_none_or(|last| last < posting.number);
            if follows {
                *last = Some(posting.number);
            }
            follows
        });
        writer.add_list(id, list)?;
        list.clear();
        Ok(())
    }
}

fn next_id(cursor: &mut PostingCursor<'_>) -> io::Result<Option<u128>> {
    cursor.id().map_err(as_io)
}

/// Keeps the last posting of each number, by number.
pub(super) fn latest_of_each(list: &mut Vec<Posting>) {
    list.sort_unstable_by_key(|posting| (posting.number, std::cmp::Reverse(posting.position)));
    list.dedup_by_key(|posting| posting.number);
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
