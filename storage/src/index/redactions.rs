//! Redactions that no merge has applied to the run files yet: reads apply them.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Weak};

use crate::log::overwrite::present;
use crate::log::record::Record;
use crate::run::Runs;
use crate::run::redaction::{Applied, NewBody, Replacement, Target};

/// The most redactions that are removed at once. The index is locked meanwhile, and commits wait for it.
const REMOVED_AT_ONCE: usize = if cfg!(test) { 2 } else { 512 };

/// The longest body that stays in memory, in bytes. What a recall leaves of a message fits. Reads find a longer
/// one in the log.
const LONGEST: usize = if cfg!(test) { 4 } else { 256 };

/// The redactions that reads have to apply.
pub(crate) struct Redactions {
    /// The longest body that stays in memory, in bytes.
    longest: usize,
    by_target: HashMap<Target, Replacement>,
    /// The targets of the same redactions, by position.
    by_position: BTreeMap<u64, Target>,
    /// The redactions of which it is not known whether the old body is in a segment, by position.
    waiting: VecDeque<Applied>,
    /// The positions of redactions that a later one replaces, each behind the position of that one, by
    /// the latter: their bodies have yet to be overwritten.
    replaced: VecDeque<(u64, u64)>,
    /// The redacted records whose old bodies are overwritten.
    overwritten: HashSet<Target>,
    /// The changes of the run files that matter to somebody who still reads files from before them.
    changes: Vec<Change>,
    /// The redactions that nobody needs any more, until they are removed: lists in ascending order.
    unneeded: Vec<Vec<Applied>>,
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

impl Default for Redactions {
    fn default() -> Self {
        Self {
            longest: LONGEST,
            ..Self::in_memory()
        }
    }
}

impl Redactions {
    /// Returns redactions that have all bodies in memory, for a tool that reads the log once.
    pub(crate) fn in_memory() -> Self {
        Self {
            longest: usize::MAX,
            by_target: HashMap::new(),
            by_position: BTreeMap::new(),
            waiting: VecDeque::new(),
            replaced: VecDeque::new(),
            overwritten: HashSet::new(),
            changes: Vec::new(),
            unneeded: Vec::new(),
        }
    }

    /// Adds the redaction of a record, if it has one.
    pub(crate) fn note(&mut self, record: &Record<'_>) {
        let Some(redaction) = record.redacts else {
            return;
        };
        let body = present(redaction.body);
        let replacement = Replacement {
            position: record.position.0,
            time: record.time,
            body: match body.len() > self.longest {
                true => NewBody::Logged(body.len()),
                false => NewBody::Here(body.into()),
            },
        };
        self.add((record.timeline, redaction.seq), replacement);
    }

    /// Adds a redaction, unless there is a later one of the same record.
    pub(crate) fn add(&mut self, target: Target, replacement: Replacement) {
        let known = self.by_target.get(&target);
        if known.is_none_or(|known| known.position < replacement.position) {
            let position = replacement.position;
            self.waiting.push_back((target, position));
            self.by_position.insert(position, target);
            if let Some(replaced) = self.by_target.insert(target, replacement) {
                self.by_position.remove(&replaced.position);
                self.replaced.push_back((position, replaced.position));
            }
        } else if let Some(known) = known
            && known.position > replacement.position
        {
            // An opening reads the log before runs of values, which have earlier redactions.
            let replaced = (known.position, replacement.position);
            self.replaced.push_back(replaced);
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
        !(self.waiting.is_empty() && self.replaced.is_empty())
    }

    /// Returns the positions of the oldest redactions that a later one before the position `end`
    /// replaces, at most `limit`. Their bodies have yet to be overwritten.
    pub(crate) fn replaced(&self, end: u64, limit: usize) -> Vec<u64> {
        let due = self.replaced.iter().take_while(|(by, _)| *by < end);
        due.take(limit).map(|(_, position)| *position).collect()
    }

    /// Notes that the bodies of the `count` oldest replaced redactions are overwritten.
    pub(crate) fn settle_replaced(&mut self, count: usize) {
        self.replaced.drain(..count.min(self.replaced.len()));
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

    /// Keeps the bodies of redactions that stay in force although their segment has become runs. Each has
    /// its body in memory.
    pub(crate) fn hold(&mut self, bodies: Vec<(Target, Replacement)>) {
        for (target, replacement) in bodies {
            if let Some(known) = self.by_target.get_mut(&target)
                && known.position == replacement.position
            {
                *known = replacement;
            }
        }
    }

    pub(crate) fn get(&self, target: Target) -> Option<&Replacement> {
        self.by_target.get(&target)
    }

    /// Returns the redactions that no merge has applied yet.
    pub(crate) fn pending(&self) -> HashMap<Target, Replacement> {
        let mut pending = self.by_target.clone();
        let applied = self.changes.iter().flat_map(|change| &change.applied);
        for (target, position) in applied.chain(self.unneeded.iter().flatten()) {
            if pending.get(target).is_some_and(|r| r.position == *position) {
                pending.remove(target);
            }
        }
        pending
    }

    /// Appends redactions at `positions` to `into`, by position, as [`pending`](Self::pending) has them,
    /// at most `limit`. Returns from which position on there may be more.
    pub(crate) fn pending_at(
        &self,
        positions: Range<u64>,
        limit: usize,
        into: &mut HashMap<Target, Replacement>,
    ) -> Option<u64> {
        let mut left = limit;
        for (&position, target) in self.by_position.range(positions) {
            if left == 0 {
                return Some(position);
            }
            left -= 1;
            if !self.is_applied(*target, position) {
                into.insert(*target, self.by_target[target].clone());
            }
        }
        None
    }

    /// Returns whether the new files have a redaction applied, which stays for readers of older files.
    fn is_applied(&self, target: Target, position: u64) -> bool {
        let changed = self.changes.iter().map(|change| &change.applied);
        let mut lists = changed.chain(&self.unneeded);
        lists.any(|applied| applied.binary_search(&(target, position)).is_ok())
    }

    /// Records that the files that replace `old` have these redactions applied, and do not name the
    /// segments at the bases `expired`.
    pub(super) fn changed(&mut self, old: &Arc<Runs>, applied: Vec<Applied>, expired: Vec<u64>) {
        // Also notes a change without any, because a reader of files older than `old` needs all later
        // changes.
        let mut applied = applied;
        applied.sort_unstable();
        self.changes.push(Change {
            before: Arc::downgrade(old),
            applied,
            expired,
        });
    }

    /// Removes applied redactions once no reader uses files without them, a few at a time. Appends the
    /// bases of the segments that no reader uses any more to `released`. Returns whether there are more
    /// redactions to remove.
    pub(super) fn sweep(&mut self, released: &mut Vec<u64>) -> bool {
        let gone = |change: &&Change| change.before.strong_count() == 0;
        let swept = self.changes.iter().take_while(gone).count();
        for change in self.changes.drain(..swept) {
            released.extend(change.expired);
            self.unneeded.push(change.applied);
        }
        let Some(list) = self.unneeded.last_mut() else {
            return false;
        };
        let kept = list.len().saturating_sub(REMOVED_AT_ONCE);
        for (target, position) in list.drain(kept..) {
            let known = self.by_target.get(&target);
            if known.is_some_and(|known| known.position == position) {
                self.by_target.remove(&target);
                self.by_position.remove(&position);
                self.overwritten.remove(&target);
            }
        }
        if kept == 0 {
            self.unneeded.pop();
        }
        !self.unneeded.is_empty()
    }

    /// Returns the approximate memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        let entry = size_of::<(Target, Replacement)>() + size_of::<(u64, Target)>();
        let bodies: usize = { self.by_target.values() }
            .map(|r| r.body.here().map_or(0, |body| body.len() + 16))
            .sum();
        self.by_target.capacity() * entry + bodies
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::record;
    use crate::{Draft, Redaction, TimelineId};

    fn target(seq: u64) -> Target {
        (TimelineId(7), seq)
    }

    fn pending_at(redactions: &Redactions, positions: Range<u64>) -> Vec<u64> {
        let mut found = HashMap::new();
        let mut from = Some(positions.start);
        while let Some(start) = from {
            from = redactions.pending_at(start..positions.end, 2, &mut found);
        }
        let mut found: Vec<u64> = found.values().map(|found| found.position).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn what_files_have_applied_is_not_pending_and_leaves_in_pieces_after_the_last_reader() {
        let mut redactions = Redactions::default();
        for (seq, position) in [(1, 10), (2, 20), (3, 30), (4, 40), (5, 50), (2, 60)] {
            let body = NewBody::Here([].into());
            let time = 0;
            redactions.add(
                target(seq),
                Replacement {
                    position,
                    time,
                    body,
                },
            );
        }
        // The redaction at 20 has a later one of the same record.
        assert_eq!(pending_at(&redactions, 0..100), [10, 30, 40, 50, 60]);
        assert_eq!(pending_at(&redactions, 10..40), [10, 30]);

        let read = Arc::new(Runs::default());
        let applied = vec![(target(5), 50), (target(1), 10), (target(3), 30)];
        redactions.changed(&read, applied, vec![0]);
        let mut released = Vec::new();
        assert!(!redactions.sweep(&mut released));
        assert_eq!(
            (pending_at(&redactions, 0..100), redactions.len()),
            (vec![40, 60], 5)
        );

        drop(read);
        assert!(redactions.sweep(&mut released));
        assert_eq!((released.as_slice(), redactions.len()), (&[0][..], 3));
        assert_eq!(pending_at(&redactions, 0..100), [40, 60]);
        assert_eq!(redactions.pending().len(), 2);
        assert!(!redactions.sweep(&mut released));
        assert_eq!(redactions.len(), 2);
        assert_eq!(pending_at(&redactions, 0..100), [40, 60]);
    }

    #[test]
    fn long_bodies_are_not_in_memory() {
        let body = [7; 10_000];
        let payload = record::payload_of(&Draft {
            redacts: Some(Redaction {
                seq: 1,
                body: &body,
            }),
            timeline: TimelineId(7),
            ..Draft::default()
        });
        let noted = record::decode_payload(800, &payload).unwrap();
        for (mut redactions, in_memory) in [
            (Redactions::default(), false),
            (Redactions::in_memory(), true),
        ] {
            redactions.note(&noted);
            assert_eq!(redactions.bytes() > body.len(), in_memory);
            let kept = redactions.get(target(1)).unwrap().body.here();
            assert_eq!(kept, in_memory.then_some(&body[..]));
        }
        // One that stays in force beyond its segment is held.
        let mut redactions = Redactions::default();
        redactions.note(&noted);
        let held = |position| Replacement {
            position,
            time: 0,
            body: NewBody::Here(body.as_slice().into()),
        };
        redactions.hold(vec![(target(1), held(792)), (target(2), held(800))]);
        assert!(redactions.get(target(1)).unwrap().body.here().is_none());
        redactions.hold(vec![(target(1), held(800))]);
        assert_eq!(
            redactions.get(target(1)).unwrap().body.here(),
            Some(&body[..])
        );
        assert_eq!(redactions.len(), 1);
    }

    #[test]
    fn of_two_redactions_the_earlier_one_is_replaced_in_whichever_order_they_come() {
        let redaction = |position| Replacement {
            position,
            time: 0,
            body: NewBody::Here([].into()),
        };
        for order in [[20, 60], [60, 20]] {
            let mut redactions = Redactions::default();
            for position in order {
                redactions.add(target(1), redaction(position));
            }
            assert_eq!(redactions.get(target(1)).unwrap().position, 60);
            assert_eq!(
                redactions.replaced(60, 9),
                [],
                "the later one is not on the disk"
            );
            assert_eq!(redactions.replaced(61, 9), [20], "{order:?}");
            redactions.settle_replaced(1);
            assert_eq!(redactions.replaced(61, 9), []);
        }
    }
}
