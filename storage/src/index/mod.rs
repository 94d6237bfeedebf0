//! The index in memory: where the entries of each timeline are, for segments that are not in runs
//! yet.
//!
//! The index covers the log in stretches, each with an index of its own ([`stretch::Stretch`]),
//! because a stretch cannot be longer than its 32-bit numbers reach. Only the last stretch changes.
//!
//! **Invariants:** the index holds positions, never records. It does no I/O. Look-ups find an entry
//! only after [`Index::show`] has passed its position.

mod arena;
mod keys;
pub(crate) mod redactions;
mod stretch;
mod table;

use std::hint::black_box;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::log::batch::Batch;
use crate::log::record::Record;
use crate::run::Runs;
use crate::run::redaction::Applied;
use crate::{Order, Position, TimelineId};
use arena::List;
use redactions::Redactions;
pub(crate) use stretch::Stretch;
use stretch::{EntryRange, SPAN, TimelineKind};

/// The number of timelines that are loaded into the processor's cache at once.
const PORTION: usize = 4096;

/// Buffers that [`Index::prepare`] uses again for each batch.
#[derive(Default)]
pub(crate) struct Scratch {
    ids: Vec<(TimelineKind, TimelineId)>,
    /// The timeline and the sequence of each message.
    messages: Vec<(TimelineId, u64)>,
    lists: Vec<List>,
}

/// A message whose sequence is not greater than the last one of its timeline.
pub(crate) struct Misplaced {
    pub(crate) timeline: TimelineId,
    pub(crate) seq: u64,
    /// The last sequence of the timeline.
    pub(crate) last: u64,
}

/// Positions by timeline. Message timelines are ordered by sequence, sync timelines by position.
pub(crate) struct Index {
    /// The stretch of the segment that is being turned into runs. It does not change any more.
    oldest: Option<Arc<Stretch>>,
    /// The stretches after the oldest one by ascending base; there is always at least one.
    stretches: Vec<Stretch>,
    /// The length of a stretch in bytes of log.
    span: u64,
    /// Whether each segment has a stretch of its own, which is dropped with the segment.
    by_segment: bool,
    /// The position of the last inserted record.
    newest: u64,
    visible: u64,
    /// The run files, which hold everything before the first stretch.
    runs: Arc<Runs>,
    redactions: Redactions,
    /// The bases of the segments that have expired and that no reader uses any more.
    released: Vec<u64>,
}

impl Index {
    /// Makes the index of a log that begins at `base`.
    pub(crate) fn new(base: u64, by_segment: bool) -> Self {
        Index {
            oldest: None,
            stretches: vec![Stretch::new(base)],
            span: SPAN,
            by_segment,
            newest: 0,
            visible: 0,
            runs: Arc::default(),
            redactions: Redactions::default(),
            released: Vec::new(),
        }
    }

    /// Begins a stretch for the segment at `base`, if segments have their own.
    pub(crate) fn begin(&mut self, base: u64) {
        if self.by_segment
            && self
                .stretches
                .last()
                .is_some_and(|stretch| stretch.base() < base)
        {
            self.stretches.push(Stretch::new(base));
        }
    }

    /// Returns whether the stretch of the oldest segment is complete.
    pub(crate) fn has_full_segment(&self) -> bool {
        self.waiting() > 0
    }

    /// Returns the stretch of the oldest segment, which is full and of which all is visible; `None`
    /// if no segment is full.
    pub(crate) fn freeze_oldest(&mut self) -> Option<Arc<Stretch>> {
        if self.oldest.is_none() && self.has_full_segment() {
            self.oldest = Some(Arc::new(self.stretches.remove(0)));
        }
        self.oldest.clone()
    }

    /// Removes the oldest stretch and puts `runs` in its place. The runs have the redactions
    /// `applied` applied.
    pub(crate) fn replace_oldest(
        &mut self,
        runs: Runs,
        applied: Vec<Applied>,
    ) -> Option<Arc<Stretch>> {
        self.set_runs(runs, applied, Vec::new());
        self.freeze_oldest();
        self.oldest.take()
    }

    /// Returns all stretches by ascending base.
    fn all(&self) -> impl DoubleEndedIterator<Item = &Stretch> {
        self.oldest.as_deref().into_iter().chain(&self.stretches)
    }

    /// Replaces the runs by `runs`, which have the redactions `applied` applied, and do not name the
    /// segments at the bases `expired` any more.
    pub(crate) fn set_runs(&mut self, runs: Runs, applied: Vec<Applied>, expired: Vec<u64>) {
        let old = std::mem::replace(&mut self.runs, Arc::new(runs));
        self.redactions.changed(&old, applied, expired);
        drop(old);
        self.redactions.sweep(&mut self.released);
    }

    /// Removes some of what no reader needs any more. Returns whether there is more.
    pub(crate) fn sweep(&mut self) -> bool {
        self.redactions.sweep(&mut self.released)
    }

    /// Returns and forgets the bases of the segments that have expired and that no reader uses any
    /// more, as far as [`sweep`](Self::sweep) has found them.
    pub(crate) fn take_released(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.released)
    }

    pub(crate) fn redactions(&self) -> &Redactions {
        &self.redactions
    }

    pub(crate) fn redactions_mut(&mut self) -> &mut Redactions {
        &mut self.redactions
    }

    pub(crate) fn runs(&self) -> &Arc<Runs> {
        &self.runs
    }

    /// Returns how many stretches wait to be turned into runs.
    pub(crate) fn waiting(&self) -> usize {
        match self.by_segment {
            true => self.stretches.len() - 1 + usize::from(self.oldest.is_some()),
            false => 0,
        }
    }

    /// Adds the entries of a record that is newer than all before it. Look-ups find them only after
    /// [`show`](Self::show).
    pub(crate) fn insert(&mut self, record: &Record<'_>) {
        self.newest = record.position.0;
        self.stretch_of(record.position.0).insert(record);
    }

    /// Shows all records up to `position`.
    pub(crate) fn show(&mut self, position: u64) {
        self.visible = position;
    }

    /// Returns the position that look-ups must not pass, if there are entries behind it.
    fn cut(&self) -> Option<u64> {
        (self.newest > self.visible).then_some(self.visible)
    }

    /// Applies the states and the redaction of a record that is being shown.
    pub(crate) fn apply(&mut self, record: &Record<'_>) {
        let position = record.position.0;
        for (key, from) in record.states.places() {
            self.set(key, position + from, position);
        }
        self.redactions.note(record);
    }

    /// Sets the position of the latest value under a key, which has a frame of its own.
    pub(crate) fn set_state(&mut self, key: TimelineId, position: u64) {
        self.set(key, position, position);
    }

    /// Sets the position of the latest value under a key. It belongs to the frame at `frame`.
    fn set(&mut self, key: TimelineId, position: u64, frame: u64) {
        let after = self
            .stretches
            .partition_point(|stretch| stretch.base() <= position);
        // A position before the first of these stretches occurs only in a log whose segments have no
        // stretches of their own.
        self.stretches[after.saturating_sub(1)].set_state(key, position, frame);
    }

    /// Returns the position of the latest value under a key.
    pub(crate) fn state(&self, key: TimelineId) -> Option<u64> {
        self.all().rev().find_map(|stretch| stretch.state(key))
    }

    /// Returns the stretch for a position behind all entries; begins a new one if the last stretch
    /// does not reach that far.
    fn stretch_of(&mut self, position: u64) -> &mut Stretch {
        let last = self.stretches.len() - 1;
        if position.saturating_sub(self.stretches[last].base()) <= self.span {
            return &mut self.stretches[last];
        }
        self.stretches.push(Stretch::new(position));
        &mut self.stretches[last + 1]
    }

    /// Loads the memory that inserting these records will need into the processor's cache. Returns
    /// the first record whose sequence is not greater than the last one of its timeline in the
    /// newest stretch.
    ///
    /// Older stretches are not checked: each would cost a memory read that nothing else needs.
    pub(crate) fn prepare(&self, batch: &Batch, scratch: &mut Scratch) -> Option<Misplaced> {
        let stretch = self.stretches.last()?;
        let Scratch {
            ids,
            messages,
            lists,
        } = scratch;
        for record in batch.records() {
            if record.seq != 0 {
                ids.push((TimelineKind::Message, record.timeline));
                messages.push((record.timeline, record.seq));
            }
            ids.extend(record.fanout.map(|id| (TimelineKind::Sync, id)));
            ids.extend(record.key.map(|id| (TimelineKind::Key, id)));
        }
        // Works in portions that the cache can hold, because a group may have a list of thousands.
        for portion in ids.chunks(PORTION) {
            black_box(stretch.touch(portion, lists));
        }
        let cut = self.cut();
        let misplaced = messages.iter().find_map(|&(timeline, seq)| {
            let last = stretch.last_seq(timeline, cut)?;
            (seq <= last).then_some(Misplaced {
                timeline,
                seq,
                last,
            })
        });
        ids.clear();
        messages.clear();
        // Frees the memory that an unusually large batch needed.
        ids.shrink_to(4 * PORTION);
        messages.shrink_to(4 * PORTION);
        misplaced
    }

    /// Returns the last sequence of a message timeline; `None` if it has no entry in memory.
    pub(crate) fn last_seq(&self, timeline: TimelineId) -> Option<u64> {
        let mut newest_first = self.all().rev();
        newest_first.find_map(|stretch| stretch.last_seq(timeline, self.cut()))
    }

    /// Returns the first sequence of a message timeline in memory.
    pub(crate) fn first_seq(&self, timeline: TimelineId) -> Option<u64> {
        let mut oldest_first = self.all();
        oldest_first.find_map(|stretch| stretch.first_seq(timeline, self.cut()))
    }

    pub(crate) fn get(&self, timeline: TimelineId, seq: u64) -> Option<u64> {
        self.all().rev().find_map(|stretch| {
            let found = stretch.range(timeline, &(seq..=seq), self.cut())?;
            (found.len() > 0).then(|| stretch.first(found))
        })
    }

    /// Appends the positions of the entries `seqs` to `into` in ascending order, at most `limit`,
    /// from the end that `order` names. Returns whether the limit cut some off.
    pub(crate) fn range(
        &self,
        timeline: TimelineId,
        seqs: &RangeInclusive<u64>,
        limit: usize,
        order: Order,
        into: &mut Vec<u64>,
    ) -> bool {
        let cut = self.cut();
        self.collect(
            |stretch| stretch.range(timeline, seqs, cut),
            limit,
            order,
            into,
        )
    }

    /// Appends the positions of a sync timeline in `(after, until]` to `into`, the oldest `limit`
    /// of them. Returns whether there are more.
    pub(crate) fn sync(
        &self,
        timeline: TimelineId,
        after: Position,
        until: Position,
        limit: usize,
        into: &mut Vec<u64>,
    ) -> bool {
        let until = self.cut().map_or(until.0, |cut| cut.min(until.0));
        let find = |stretch: &Stretch| stretch.sync(timeline, after.0, until);
        self.collect(find, limit, Order::Ascending, into)
    }

    /// Returns the position of the last record with this key.
    #[inline]
    pub(crate) fn find(&self, key: TimelineId) -> Option<u64> {
        let mut newest_first = self.all().rev();
        newest_first.find_map(|stretch| stretch.find(key, self.cut()))
    }

    /// Appends the entries that `find` finds in all stretches to `into` in ascending order, at most
    /// `limit`. Returns whether the limit cut some off.
    fn collect(
        &self,
        find: impl Fn(&Stretch) -> Option<EntryRange>,
        limit: usize,
        order: Order,
        into: &mut Vec<u64>,
    ) -> bool {
        let total: usize = self.all().filter_map(&find).map(|f| f.len()).sum();
        let mut skip = match order {
            Order::Ascending => 0,
            Order::Descending => total.saturating_sub(limit),
        };
        let mut left = limit.min(total);
        for stretch in self.all() {
            let Some(mut found) = find(stretch) else {
                continue;
            };
            let skipped = skip.min(found.len());
            skip -= skipped;
            found.from += skipped as u32;
            found.to = found.from + left.min(found.len()) as u32;
            left -= found.len();
            stretch.copy(found, into);
        }
        limit < total
    }

    /// Returns the memory in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let stretches: usize = self.all().map(Stretch::bytes).sum();
        stretches + self.redactions.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunKind;
    use crate::run::build::SegmentEntries;
    use crate::run::postings::Posting;

    /// Returns a record of timeline 1, in the fan-out of `users`.
    fn payload(seq: u64, users: &[u128]) -> Vec<u8> {
        let mut payload = vec![0; 8];
        payload.extend_from_slice(&seq.to_le_bytes());
        payload.extend_from_slice(&1u128.to_le_bytes());
        payload.extend_from_slice(&(users.len() as u32).to_le_bytes());
        for user in users {
            payload.extend_from_slice(&user.to_le_bytes());
        }
        payload
    }

    fn insert(index: &mut Index, position: u64, seq: u64, users: &[u128]) {
        let payload = payload(seq, users);
        index.insert(&crate::log::record::decode_payload(position, &payload).unwrap());
        index.show(position);
    }

    /// Returns a timeline whose entry `seq` is at `(i + 1) * 8`; in stretches of one entry, or in
    /// one.
    fn timeline(seqs: &[u64], span: u64) -> Index {
        let mut index = Index {
            span,
            ..Index::new(0, false)
        };
        for (i, &seq) in seqs.iter().enumerate() {
            insert(&mut index, (i as u64 + 1) * 8, seq, &[]);
        }
        index
    }

    #[test]
    fn a_frozen_stretch_lists_all_entries_by_id() {
        let mut index = Index::new(0, true);
        let all = [(8, 1), (16, 2), (24, 7), (32, 8)];
        for (position, seq) in all {
            insert(&mut index, position, seq, &[9, 5, 9]);
        }
        assert!(index.freeze_oldest().is_none(), "it is still written to");
        index.begin(4096);
        insert(&mut index, 4104, 9, &[5]);
        let frozen = index.freeze_oldest().unwrap();
        assert_eq!(index.waiting(), 1);
        let lists = |kind| {
            let mut lists = Vec::new();
            let each = |id, list: &mut Vec<Posting>| {
                let entries = list.iter().map(|p| (p.position, p.number));
                lists.push((id, entries.collect::<Vec<_>>()));
                Ok(())
            };
            frozen.each_list(kind, &mut { each }).unwrap();
            lists
        };
        assert_eq!(lists(RunKind::Messages), [(1, all.to_vec())]);
        let at: Vec<(u64, u64)> = all.map(|(position, _)| (position, position)).to_vec();
        assert_eq!(lists(RunKind::Syncs), [(5, at.clone()), (9, at)]);
        assert_eq!(lists(RunKind::Keys), []);
        let summary = frozen.summary();
        assert_eq!((summary.records, summary.head, summary.last), (4, 32, 32));
        // Look-ups still find both parts.
        let mut found = Vec::new();
        index.range(TimelineId(1), &(2..=9), 9, Order::Ascending, &mut found);
        assert_eq!(found, [16, 24, 32, 4104]);
        assert_eq!(index.last_seq(TimelineId(1)), Some(9));
    }

    #[test]
    fn any_range_of_any_gaps_matches_a_filter() {
        let cases: [&[u64]; 6] = [
            &[1, 2, 3, 4, 5],
            &[5, 6, 7],
            &[1, 3, 5, 7],
            &[2, 3, 10, 11, 12, 20],
            &[u64::MAX / 8],
            &[],
        ];
        for (seqs, span) in cases.into_iter().flat_map(|c| [(c, SPAN), (c, 8), (c, 16)]) {
            let index = timeline(seqs, span);
            let edges = (0..25).chain([u64::MAX / 8, u64::MAX]);
            let pairs = edges
                .clone()
                .flat_map(|from| edges.clone().map(move |to| (from, to)));
            for (from, to) in pairs {
                let expected: Vec<u64> = (1..)
                    .zip(seqs)
                    .filter(|(_, s)| (from..=to).contains(s))
                    .map(|(i, _)| i * 8)
                    .collect();
                for limit in [0, 1, 2, 100] {
                    let kept = limit.min(expected.len());
                    for (order, expected_page) in [
                        (Order::Ascending, &expected[..kept]),
                        (Order::Descending, &expected[expected.len() - kept..]),
                    ] {
                        let mut found = Vec::new();
                        let id = TimelineId(1);
                        let more = index.range(id, &(from..=to), limit, order, &mut found);
                        assert_eq!(found, expected_page, "{seqs:?} {from}..={to}");
                        assert_eq!(more, limit < expected.len());
                    }
                }
            }
            for seq in edges {
                let place = seqs.iter().position(|&s| s == seq);
                let expected = place.map(|i| (i as u64 + 1) * 8);
                assert_eq!(index.get(TimelineId(1), seq), expected, "{seqs:?} {seq}");
            }
            let last = seqs.last().copied();
            assert_eq!(index.last_seq(TimelineId(1)), last);
        }
    }

    #[test]
    fn what_is_not_shown_is_not_found() {
        for by_segment in [false, true] {
            let mut index = Index::new(0, by_segment);
            let payload = |seq| payload(seq, &[2]);
            let positions = [(8, 1), (16, 2), (24, 5), (4096, 6), (4104, 9)];
            for (i, &(position, seq)) in positions.iter().enumerate() {
                index.begin(position / 4096 * 4096);
                let payload = payload(seq);
                let record = crate::log::record::decode_payload(position, &payload).unwrap();
                let key = Some(TimelineId(70 + u128::from(seq % 2)));
                index.insert(&Record { key, ..record });
                for shown in 0..=i + 1 {
                    let shown = &positions[..shown];
                    let upto = shown.last().map_or(0, |last| last.0);
                    index.show(upto);
                    let last = shown.last().map(|last| last.1);
                    assert_eq!(index.last_seq(TimelineId(1)), last);
                    let first = shown.first().map(|first| first.1);
                    assert_eq!(index.first_seq(TimelineId(1)), first);
                    let mut found = Vec::new();
                    let all = 0..=u64::MAX;
                    index.range(TimelineId(1), &all, 9, Order::Ascending, &mut found);
                    assert!(found.iter().eq(shown.iter().map(|(at, _)| at)));
                    found.clear();
                    let (zero, end) = (Position(0), Position(u64::MAX));
                    index.sync(TimelineId(2), zero, end, 9, &mut found);
                    assert!(found.iter().eq(shown.iter().map(|(at, _)| at)));
                    for odd in 0..2 {
                        let with = |(_, seq): &&(u64, u64)| seq % 2 == odd;
                        let expected = shown.iter().rfind(with).map(|(at, _)| *at);
                        let key = TimelineId(70 + u128::from(odd));
                        assert_eq!(index.find(key), expected);
                    }
                    for (at, seq) in positions {
                        let expected = (at <= upto).then_some(at);
                        assert_eq!(index.get(TimelineId(1), seq), expected);
                    }
                }
            }
        }
    }

    #[test]
    fn a_timeline_named_twice_gets_one_entry() {
        let mut index = Index::new(0, false);
        insert(&mut index, 64, 0, &[9, 9]);
        let mut found = Vec::new();
        assert!(!index.sync(TimelineId(9), Position(0), Position(64), 10, &mut found));
        assert_eq!(found, [64]);
    }

    #[test]
    fn sync_excludes_after_and_includes_until() {
        let cases = [
            (0, 32, 10, &[8, 16, 24, 32][..], false),
            (8, 24, 10, &[16, 24], false),
            (9, 31, 10, &[16, 24], false),
            (8, 32, 2, &[16, 24], true),
            (32, 32, 10, &[], false),
            (24, 8, 10, &[], false),
            (0, u64::MAX, 0, &[], true),
            (0, u64::MAX, 4, &[8, 16, 24, 32], false),
        ];
        for span in [SPAN, 8, 16] {
            let mut index = Index {
                span,
                ..Index::new(0, false)
            };
            for position in [8, 16, 24, 32] {
                insert(&mut index, position, 0, &[2]);
            }
            for (after, until, limit, expected, more) in cases {
                let mut found = Vec::new();
                let (after, until) = (Position(after), Position(until));
                let said = index.sync(TimelineId(2), after, until, limit, &mut found);
                assert_eq!(
                    (found.as_slice(), said),
                    (expected, more),
                    "({after:?}, {until:?}] in stretches of {span}"
                );
            }
        }
    }
}
