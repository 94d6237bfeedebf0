//! Makes a run of a kept segment again, for a repair, from the segment itself.

use std::cmp::Reverse;
use std::io;

use super::merge::latest_of_each;
use super::{RunMaker, order};
use crate::log::scan::{self, Entry, ScanEnd};
use crate::log::segment::Segment;
use crate::run::postings::Posting;
use crate::run::write::RunWriter;
use crate::run::{RunForm, RunId, RunKind};

/// The entries of a segment, to be sorted.
#[derive(Default)]
struct Content {
    messages: Vec<(u128, Posting)>,
    syncs: Vec<(u128, Posting)>,
    keys: Vec<(u128, Posting)>,
    /// The redactions in the segment, by the record that they redact.
    redactions: Vec<(u128, Posting)>,
    last_time: u64,
}

impl Content {
    /// Adds an entry of the log.
    fn add(&mut self, entry: Entry<'_>) {
        // Values under keys are in runs of another form.
        let Entry::Record(record) = entry else { return };
        self.last_time = self.last_time.max(record.time);
        let position = record.position.0;
        let numbered = |number| Posting { number, position };
        if record.seq != 0 {
            self.messages
                .push((record.timeline.0, numbered(record.seq)));
        }
        let at = numbered(position);
        self.syncs.extend(record.fanout.map(|id| (id.0, at)));
        self.keys.extend(record.key.map(|id| (id.0, at)));
        if let Some(redaction) = record.redacts {
            self.redactions
                .push((record.timeline.0, numbered(redaction.seq)));
        }
    }

    fn sort(&mut self) {
        // A fan-out that names a timeline twice makes one entry.
        for entries in [&mut self.messages, &mut self.syncs, &mut self.keys] {
            order::sort(entries);
        }
        // The latest of several redactions of a record counts.
        self.redactions
            .sort_unstable_by_key(|(id, at)| (*id, at.number, Reverse(at.position)));
        self.redactions.dedup_by_key(|(id, at)| (*id, at.number));
    }
}

impl RunMaker<'_> {
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
    pub(super) fn fill(
        &self,
        writer: &mut RunWriter<'_>,
        entries: &[(u128, Posting)],
    ) -> io::Result<()> {
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
