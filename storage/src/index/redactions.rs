//! Redactions that no merge has applied to the run files yet: reads apply them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Weak};

use crate::log::record::Record;
use crate::run::Runs;
use crate::run::redaction::{Applied, Replacement, Target};

/// The redactions that reads have to apply.
#[derive(Default)]
pub(crate) struct Redactions {
    by_target: HashMap<Target, Replacement>,
    /// The redactions of which it is not known whether the old body is in a segment, by position.
    waiting: VecDeque<Applied>,
    /// The redacted records whose old bodies are overwritten.
    overwritten: HashSet<Target>,
    /// The changes of the run files that matter to somebody who still reads files from before them.
    changes: Vec<Change>,
}

/// A change of the run files.
struct Change {
    /// The files before it.
    before: Weak<Runs>,
    /// The redactions that the new files have applied. They stay here while somebody still reads the
    /// files before, or older ones.
    applied: Vec<Applied>,
    /// The bases of the segments that only the files before name.
    expired: Vec<u64>,
}

impl Redactions {
    /// Adds the redaction of a record, if it has one.
    pub(crate) fn note(&mut self, record: &Record<'_>) {
        let Some(redaction) = record.redacts else {
            return;
        };
        let replacement = Replacement {
            position: record.position.0,
            time: record.time,
            body: redaction.body.into(),
        };
        self.add((record.timeline, redaction.seq), replacement);
    }

    /// Adds a redaction, unless there is a later one of the same record.
    pub(crate) fn add(&mut self, target: Target, replacement: Replacement) {
        let known = self.by_target.get(&target);
        if known.is_none_or(|known| known.position < replacement.position) {
            self.waiting.push_back((target, replacement.position));
            self.by_target.insert(target, replacement);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_target.len()
    }

    /// Returns the number of redactions whose old bodies may still be on the disk.
    pub(crate) fn unfinished(&self) -> usize {
        self.by_target.len() - self.overwritten.len()
    }

    /// Returns whether there are redactions whose records were not looked at yet.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns the oldest redactions before the position `end` whose records were not looked at yet,
    /// at most `limit`.
    pub(crate) fn waiting(&self, end: u64, limit: usize) -> Vec<Applied> {
        let due = self
            .waiting
            .iter()
            .take_while(|(_, position)| *position < end);
        due.take(limit).copied().collect()
    }

    /// Notes that the records of these redactions, the oldest ones that were waiting, were looked
    /// at. `is_overwritten` tells which of their bodies are overwritten.
    pub(crate) fn settle(
        &mut self,
        looked_at: &[Applied],
        is_overwritten: impl Fn(&Applied) -> bool,
    ) {
        for found in looked_at {
            if self.waiting.front() == Some(found) {
                self.waiting.pop_front();
            }
            if self.by_target.contains_key(&found.0) && is_overwritten(found) {
                self.overwritten.insert(found.0);
            }
        }
    }

    pub(crate) fn get(&self, target: Target) -> Option<&Replacement> {
        self.by_target.get(&target)
    }

    /// Returns the redactions that no merge has applied yet.
    pub(crate) fn pending(&self) -> HashMap<Target, Replacement> {
        let mut pending = self.by_target.clone();
        for (target, position) in self.changes.iter().flat_map(|change| &change.applied) {
            if pending.get(target).is_some_and(|r| r.position == *position) {
                pending.remove(target);
            }
        }
        pending
    }

    /// Records that the files that replace `old` have these redactions applied, and do not name the
    /// segments at the bases `expired`.
    pub(super) fn changed(&mut self, old: &Arc<Runs>, applied: Vec<Applied>, expired: Vec<u64>) {
        // Also notes a change without any, because a reader of files older than `old` needs all later
        // changes.
        self.changes.push(Change {
            before: Arc::downgrade(old),
            applied,
            expired,
        });
    }

    /// Removes applied redactions once no reader uses files without them. Appends the bases of the
    /// segments that no reader uses any more to `released`.
    pub(super) fn sweep(&mut self, released: &mut Vec<u64>) {
        let gone = |change: &&Change| change.before.strong_count() == 0;
        let swept = self.changes.iter().take_while(gone).count();
        for change in self.changes.drain(..swept) {
            released.extend(change.expired);
            for (target, position) in change.applied {
                let known = self.by_target.get(&target);
                if known.is_some_and(|known| known.position == position) {
                    self.by_target.remove(&target);
                    self.overwritten.remove(&target);
                }
            }
        }
    }

    /// Returns the approximate memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        let entry = size_of::<(Target, Replacement)>();
        let bodies: usize = self.by_target.values().map(|r| r.body.len() + 16).sum();
        self.by_target.capacity() * entry + bodies
    }
}
