//! Makes runs of version 1 from a segment, with the bodies in them, as earlier versions did. The
//! tests need it, because stores of earlier versions still have such runs.

use std::cmp::Reverse;
use std::io;
use std::ops::Range;
use std::sync::atomic::AtomicU64;

use super::{MadeRuns, Pending, RunMaker, Sealed, as_io};
use crate::error::ReadError;
use crate::log::record::{self, StateEntry};
use crate::log::scan::{Entry, ScanEnd};
use crate::run::redaction::{Applied, NewBody, Replacement, Target};
use crate::run::write::RunWriter;
use crate::run::{Key, RunForm, RunId, RunKind, Runs, encode_reference, encode_replacement, minor};

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
                let body = replacement.and_then(|replacement| replacement.body.here());
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
                        body: NewBody::Here(redaction.body.into()),
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
            if self.has(target) || older.holder_of(target)?.is_none() {
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
    pub(crate) fn sort_as_before(
        &self,
        sealed: Sealed<'_>,
        numbers: &AtomicU64,
    ) -> io::Result<MadeRuns> {
        let (segment, pending, older) = (sealed.segment, sealed.pending, sealed.older);
        let mut content = Content::default();
        let scanned = sealed
            .scan
            .segment(segment, &mut |entry| content.add(entry, pending))?;
        if let ScanEnd::Open(at) = scanned {
            return Err(self.damaged_segment(segment, at));
        }
        content.sort();
        let applied = content.settle(pending, older).map_err(as_io)?;
        let mut runs = Vec::new();
        for kind in RunKind::ALL {
            let id = RunId {
                last_time: content.last_time,
                ..self.id_of(&sealed, (kind, RunForm::Values), numbers)
            };
            let made = self.write(id, |writer| self.fill_old(writer, kind, &content))?;
            runs.extend(made.then_some(id));
        }
        Ok(MadeRuns {
            held: Vec::new(),
            runs,
            applied,
            frames_end: 0,
        })
    }

    /// Adds the content of one kind to a run file.
    fn fill_old(
        &self,
        writer: &mut RunWriter<'_>,
        kind: RunKind,
        content: &Content,
    ) -> io::Result<()> {
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
                writer.add((timeline.0, *seq), &encode_replacement(replacement)?)?;
            }
        }
        Ok(())
    }
}
