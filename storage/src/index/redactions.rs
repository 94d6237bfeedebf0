//! Redactions that no merge has applied to the run files yet: reads apply them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crate::log::record::Record;
use crate::run::Runs;
use crate::run::redaction::{Applied, Replacement, Target};

/// The redactions that reads have to apply.
#[derive(Default)]
pub(crate) struct Redactions {
    by_target: HashMap<Target, Replacement>,
    /// For each change of the run files: the files before it, and the redactions that the new files
    /// have applied. A redaction stays here while somebody still reads these or older files.
    done: Vec<(Weak<Runs>, Vec<Applied>)>,
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
            self.by_target.insert(target, replacement);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_target.len()
    }

    pub(crate) fn get(&self, target: Target) -> Option<&Replacement> {
        self.by_target.get(&target)
    }

    /// Returns the redactions that no merge has applied yet.
    pub(crate) fn pending(&self) -> HashMap<Target, Replacement> {
        let mut pending = self.by_target.clone();
        for (target, position) in self.done.iter().flat_map(|(_, done)| done) {
            if pending.get(target).is_some_and(|r| r.position == *position) {
                pending.remove(target);
            }
        }
        pending
    }

    /// Records that the files that replace `old` have these redactions applied.
    pub(super) fn applied(&mut self, old: &Arc<Runs>, targets: Vec<Applied>) {
        // Also notes a change without targets, because a reader of files older than `old` needs all
        // later changes.
        self.done.push((Arc::downgrade(old), targets));
    }

    /// Removes applied redactions once no reader uses files without them.
    pub(super) fn sweep(&mut self) {
        let gone = |(runs, _): &(Weak<Runs>, _)| runs.strong_count() == 0;
        let swept = self.done.iter().take_while(|done| gone(done)).count();
        for (target, position) in self.done.drain(..swept).flat_map(|(_, done)| done) {
            let known = self.by_target.get(&target);
            if known.is_some_and(|known| known.position == position) {
                self.by_target.remove(&target);
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
