//! Makes runs from a segment: files with the positions of its records. The segment stays.

use std::cmp::Reverse;
use std::io;
use std::ops::Range;
use std::sync::atomic::AtomicU64;

use super::merge::latest_of_each;
use super::order;
use super::{MadeRuns, Pending, RunMaker, Sealed, as_io};
use crate::error::ReadError;
use crate::log::record::StateEntry;
use crate::log::scan::{self, Entry, ScanEnd};
use crate::log::segment::Segment;
use crate::run::postings::Posting;
use crate::run::redaction::{Applied, Replacement, Target};
use crate::run::write::RunWriter;
use crate::run::{Holder, Key, RunForm, RunId, RunKind, Runs, encode_replacement};

/// The content of a segment, to be sorted.
#[derive(Default)]
struct Content {
    messages: Vec<(u128, Posting)>,
    syncs: Vec<(u128, Posting)>,
    keys: Vec<(u128, Posting)>,
    /// The redactions of records in segments.
    redactions: Vec<(u128, Posting)>,
    values: Vec<u8>,
    /// The values by key. The number in the key is 0.
    states: Vec<Value>,
    /// All redactions in the segment, of records anywhere.
    found: Vec<(Target, Replacement)>,
    last_time: u64,
}

/// A value inside the values of a [`Content`], with its key.
struct Value {
    key: Key,
    range: Range<usize>,
}

impl Content {
    /// Adds an entry of the log.
    fn add(&mut self, entry: Entry<'_>) {
        let record = match entry {
            Entry::Record(record) => record,
            Entry::State(_, state) => return self.add_state(state),
        };
        self.last_time = self.last_time.max(record.time);
        let position = record.position.0;
        let at = Posting {
            number: position,
            position,
        };
        if record.seq != 0 {
            let number = record.seq;
            self.messages
                .push((record.timeline.0, Posting { number, position }));
        }
        self.syncs.extend(record.fanout.map(|id| (id.0, at)));
        self.keys.extend(record.key.map(|id| (id.0, at)));
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
            self.found.push((target, replacement));
        }
    }

    fn add_state(&mut self, state: StateEntry<'_>) {
        let start = self.values.len();
        self.values.extend_from_slice(state.value);
        let range = start..self.values.len();
        self.states.push(Value {
            key: (state.key.0, 0),
            range,
        });
    }

    fn sort(&mut self) {
        // A fan-out that names a timeline twice makes one entry.
        for entries in [&mut self.messages, &mut self.syncs, &mut self.keys] {
            order::sort(entries);
        }
        // The latest of several values under a key counts. Values are in the order of the log.
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
        self.found.sort_unstable_by_key(latest_first);
        self.found.dedup_by_key(|entry| entry.0);
    }

    fn has(&self, (timeline, seq): Target) -> bool {
        let found = self
            .messages
            .binary_search_by_key(&(timeline.0, seq), |(id, posting)| (*id, posting.number));
        found.is_ok()
    }

    /// Sorts the redactions by what holds their records. Those of records in segments become
    /// postings, and are done: the bodies were overwritten before. Those of records in runs of
    /// values wait for a merge. Leaves out those that a later one replaces, and those of records
    /// that do not exist. Returns the redactions that are done.
    fn settle(&mut self, pending: &Pending, older: &Runs) -> Result<Vec<Applied>, ReadError> {
        let mut applied = Vec::new();
        let mut left = Vec::new();
        for (target, replacement) in std::mem::take(&mut self.found) {
            let known = pending.get(&target);
            if known.is_none_or(|known| known.position != replacement.position) {
                continue;
            }
            let holder = match self.has(target) {
                true => Some(Holder::Segment(0)),
                false => older.holder_of(target)?,
            };
            match holder {
                Some(Holder::Run(_)) => {
                    left.push((target, replacement));
                    continue;
                }
                Some(Holder::Segment(_)) => {
                    let posting = Posting {
                        number: target.1,
                        position: replacement.position,
                    };
                    self.redactions.push((target.0.0, posting));
                }
                None => {}
            }
            applied.push((target, replacement.position));
        }
        self.found = left;
        Ok(applied)
    }
}

impl RunMaker<'_> {
    /// Makes run files of a sealed segment, one for each kind of its content. The bodies of redacted
    /// records in it, and of those that it redacts, must be overwritten already. Also returns which
    /// of the pending redactions are now done.
    pub(crate) fn sort(&self, sealed: Sealed<'_>, numbers: &AtomicU64) -> io::Result<MadeRuns> {
        let mut content = Content::default();
        let scanned = sealed
            .scan
            .segment(sealed.segment, &mut |entry| content.add(entry))?;
        let frames_end = match scanned {
            ScanEnd::Sealed(end) => end,
            ScanEnd::Open(at) => return Err(self.damaged_segment(sealed.segment, at)),
        };
        content.sort();
        let applied = content
            .settle(sealed.pending, sealed.older)
            .map_err(as_io)?;
        let mut runs = Vec::new();
        let mut write = |kind, form, fill: &dyn Fn(&mut RunWriter<'_>) -> io::Result<()>| {
            let id = RunId {
                last_time: content.last_time,
                ..self.id_of(&sealed, (kind, form), numbers)
            };
            let made = self.write(id, fill)?;
            runs.extend(made.then_some(id));
            io::Result::Ok(())
        };
        for (kind, entries) in [
            (RunKind::Messages, &content.messages),
            (RunKind::Syncs, &content.syncs),
            (RunKind::Keys, &content.keys),
            (RunKind::Redactions, &content.redactions),
        ] {
            write(kind, RunForm::Positions, &|writer| {
                self.fill(writer, entries)
            })?;
        }
        write(RunKind::States, RunForm::Values, &|writer| {
            for Value { key, range } in &content.states {
                self.go_on()?;
                writer.add(*key, &content.values[range.clone()])?;
            }
            Ok(())
        })?;
        write(RunKind::Redactions, RunForm::Values, &|writer| {
            for ((timeline, seq), replacement) in &content.found {
                writer.add((timeline.0, *seq), &encode_replacement(replacement))?;
            }
            Ok(())
        })?;
        Ok(MadeRuns {
            runs,
            applied,
            frames_end,
        })
    }

    /// Makes the run of positions of one kind again, from a kept segment, unless `dry_run` is set.
    /// Returns its description; `None` if the segment has nothing of the kind.
    pub(crate) fn make_again(
        &self,
        segment: &Segment,
        kind: RunKind,
        number: u64,
        dry_run: bool,
    ) -> io::Result<Option<RunId>> {
        let mut content = Content::default();
        let scanned = scan::frames(segment, segment.first(), &mut |entry| content.add(entry))?;
        if let (ScanEnd::Open(at), false) = (scanned, dry_run) {
            return Err(self.damaged_segment(segment, at));
        }
        content.sort();
        let redactions = content.found.iter().map(|(target, replacement)| {
            let (number, position) = (target.1, replacement.position);
            (target.0.0, Posting { number, position })
        });
        content.redactions = redactions.collect();
        let entries = match kind {
            RunKind::Messages => &content.messages,
            RunKind::Syncs => &content.syncs,
            RunKind::Keys => &content.keys,
            RunKind::Redactions => &content.redactions,
            RunKind::States | RunKind::Marks => return Ok(None),
        };
        let id = RunId {
            kind,
            form: RunForm::Positions,
            level: 0,
            number,
            from: segment.base,
            to: segment.end(),
            last_time: content.last_time,
        };
        if dry_run {
            return Ok((!entries.is_empty()).then_some(id));
        }
        let made = self.write(id, |writer| self.fill(writer, entries))?;
        Ok(made.then_some(id))
    }

    /// Adds sorted postings to a run file.
    fn fill(&self, writer: &mut RunWriter<'_>, entries: &[(u128, Posting)]) -> io::Result<()> {
        let mut list = Vec::new();
        for same in entries.chunk_by(|a, b| a.0 == b.0) {
            self.go_on()?;
            list.clear();
            list.extend(same.iter().map(|entry| entry.1));
            // Of entries with a number the latest counts.
            if !list.is_sorted_by(|a, b| a.number < b.number) {
                latest_of_each(&mut list);
            }
            writer.add_list(same[0].0, &list)?;
        }
        Ok(())
    }
}
