//! The index of one stretch of the log.

use std::collections::HashMap;
use std::io;
use std::ops::RangeInclusive;

use super::arena::{Arena, List};
use super::keys::Keys;
use super::table::{Table, TimelineSlot};
use crate::log::frame;
use crate::log::record::Record;
use crate::log::scan::Summary;
use crate::run::RunKind;
use crate::run::build::SegmentEntries;
use crate::run::postings::Posting;
use crate::run::redaction::Target;
use crate::{IdBuildHasher, TimelineId};

/// The places of the records of a stretch of the log, by timeline.
///
/// A position is stored in 32 bits: its distance from the beginning of the stretch, in steps of 8
/// bytes.
pub(crate) struct Stretch {
    base: u64,
    messages: Table,
    syncs: Table,
    keys: Table,
    positions: Arena,
    /// The timelines whose sequences are not consecutive. Only a failed commit causes a gap.
    gaps: HashMap<TimelineId, Vec<Gap>, IdBuildHasher>,
    /// The place of the latest value of each key.
    states: Keys,
    summary: Summary,
}

/// A gap in a timeline's sequences: from the entry `index` on, sequences count up from `seq`.
#[derive(Clone, Copy)]
struct Gap {
    index: u32,
    seq: u64,
}

/// The kinds of timelines. A key is a timeline of its own to the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimelineKind {
    Message,
    Sync,
    Key,
}

/// A range of consecutive entries of a timeline.
#[derive(Clone, Copy)]
pub(super) struct EntryRange {
    list: List,
    pub(super) from: u32,
    pub(super) to: u32,
}

impl EntryRange {
    pub(super) fn len(&self) -> usize {
        (self.to - self.from) as usize
    }
}

/// The most bytes that a stretch may reach behind its base.
pub(super) const SPAN: u64 = (u32::MAX as u64) * frame::ALIGN as u64;

impl Stretch {
    pub(super) fn new(base: u64) -> Self {
        Stretch {
            base,
            messages: Table::default(),
            syncs: Table::default(),
            keys: Table::default(),
            positions: Arena::default(),
            gaps: HashMap::default(),
            states: Keys::default(),
            summary: Summary::default(),
        }
    }

    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// Adds a record that is newer than all records before it, and at most [`SPAN`] behind the
    /// base.
    pub(super) fn insert(&mut self, record: &Record<'_>) {
        let position = record.position.0;
        let step = self.step(position);
        self.summary.records += 1;
        self.summary.head = position;
        self.summary.last = self.summary.last.max(position);
        self.summary.last_time = self.summary.last_time.max(record.time);
        if record.seq != 0 {
            let slot = self.messages.slot(record.timeline);
            if slot.list.len > 0 && record.seq != slot.last + 1 {
                let gaps = self.gaps.entry(record.timeline).or_insert_with(|| {
                    vec![Gap {
                        index: 0,
                        seq: slot.last - u64::from(slot.list.len - 1),
                    }]
                });
                gaps.push(Gap {
                    index: slot.list.len,
                    seq: record.seq,
                });
            }
            slot.last = record.seq;
            self.positions.push(&mut slot.list, step);
        }
        let syncs = record.fanout.map(|id| (TimelineKind::Sync, id));
        let keys = record.key.map(|id| (TimelineKind::Key, id));
        for (kind, id) in syncs.chain(keys) {
            let table = match kind {
                TimelineKind::Key => &mut self.keys,
                _ => &mut self.syncs,
            };
            let slot = table.slot(id);
            // A list that names a timeline twice still makes one entry.
            if slot.last != position {
                slot.last = position;
                self.positions.push(&mut slot.list, step);
            }
        }
    }

    pub(super) fn set_state(&mut self, key: TimelineId, position: u64, frame: u64) {
        self.summary.last = self.summary.last.max(frame);
        self.states.set(key, position);
    }

    pub(super) fn state(&self, key: TimelineId) -> Option<u64> {
        self.states.get(key)
    }

    /// Reads the memory that `insert` will change for these timelines, so that it is in the
    /// processor's cache. Returns a value made from it, which the compiler must not drop.
    ///
    /// Two tight loops without decisions let the reads of many timelines wait for memory together.
    /// The reads of `insert` would wait one after another. `lists` is scratch memory.
    pub(super) fn touch(&self, ids: &[(TimelineKind, TimelineId)], lists: &mut Vec<List>) -> u64 {
        let slots = ids
            .iter()
            .fold(0, |sum, &(kind, id)| sum ^ self.table(kind).touch(id));
        lists.clear();
        let found = ids
            .iter()
            .filter_map(|&(kind, id)| self.table(kind).find(id));
        lists.extend(found.map(|slot| slot.list));
        let chunks = lists
            .iter()
            .fold(0, |sum, &list| sum ^ self.positions.touch(list));
        slots ^ u64::from(chunks)
    }

    fn table(&self, kind: TimelineKind) -> &Table {
        match kind {
            TimelineKind::Message => &self.messages,
            TimelineKind::Sync => &self.syncs,
            TimelineKind::Key => &self.keys,
        }
    }

    /// Returns the last sequence of a message timeline, among its entries up to the position `cut`.
    pub(super) fn last_seq(&self, timeline: TimelineId, cut: Option<u64>) -> Option<u64> {
        let slot = self.messages.find(timeline)?;
        let len = self.len_up_to(slot.list, cut);
        if len == slot.list.len {
            return Some(slot.last);
        }
        let index = len.checked_sub(1)?;
        let gaps = self.gaps.get(&timeline).map_or(&[][..], Vec::as_slice);
        let after = gaps.partition_point(|gap| gap.index <= index);
        Some(match after.checked_sub(1).map(|i| gaps[i]) {
            Some(gap) => gap.seq + u64::from(index - gap.index),
            None => slot.last - u64::from(slot.list.len - 1 - index),
        })
    }

    /// Returns the first sequence of a message timeline; `None` if it has no entry at or before the
    /// position `cut`.
    pub(super) fn first_seq(&self, timeline: TimelineId, cut: Option<u64>) -> Option<u64> {
        let slot = self.messages.find(timeline)?;
        if self.len_up_to(slot.list, cut) == 0 {
            return None;
        }
        let gaps = self.gaps.get(&timeline).and_then(|gaps| gaps.first());
        let consecutive = slot.last - u64::from(slot.list.len - 1);
        Some(gaps.map_or(consecutive, |gap| gap.seq))
    }

    /// Returns how many entries of a list are at or before the position `cut`.
    fn len_up_to(&self, list: List, cut: Option<u64>) -> u32 {
        let Some(cut) = cut else { return list.len };
        let Some(distance) = cut.checked_sub(self.base) else {
            return 0;
        };
        let step = u32::try_from(distance / frame::ALIGN as u64).unwrap_or(u32::MAX);
        self.positions.count_up_to(list, step)
    }

    /// Returns the entries of a message timeline with these sequences, up to the position `cut`.
    pub(super) fn range(
        &self,
        timeline: TimelineId,
        seqs: &RangeInclusive<u64>,
        cut: Option<u64>,
    ) -> Option<EntryRange> {
        let slot = self.messages.find(timeline)?;
        if seqs.is_empty() {
            return None;
        }
        let first = Gap {
            index: 0,
            seq: slot.last - u64::from(slot.list.len - 1),
        };
        let gaps = match self.gaps.get(&timeline) {
            Some(gaps) => gaps.as_slice(),
            None => &[first],
        };
        let from = lower_bound(gaps, slot.list.len, slot.last, *seqs.start());
        let to = seqs.end().checked_add(1).map_or(slot.list.len, |end| {
            lower_bound(gaps, slot.list.len, slot.last, end)
        });
        let len = self.len_up_to(slot.list, cut);
        Some(EntryRange {
            list: slot.list,
            from: from.min(len),
            to: to.min(len),
        })
    }

    /// Returns the entries of a sync timeline in `(after, until]`.
    pub(super) fn sync(&self, timeline: TimelineId, after: u64, until: u64) -> Option<EntryRange> {
        let slot = self.syncs.find(timeline)?;
        if until < self.base {
            return None;
        }
        let up_to = |position: u64| self.len_up_to(slot.list, Some(position));
        let from = up_to(after);
        let to = if until >= slot.last {
            slot.list.len
        } else {
            up_to(until)
        };
        Some(EntryRange {
            list: slot.list,
            from,
            to: to.max(from),
        })
    }

    /// Returns the position of the last record with this key, up to the position `cut`.
    pub(super) fn find(&self, key: TimelineId, cut: Option<u64>) -> Option<u64> {
        let slot = self.keys.find(key)?;
        if cut.is_none_or(|cut| slot.last <= cut) {
            return Some(slot.last);
        }
        let last = self.len_up_to(slot.list, cut).checked_sub(1)?;
        let step = self.positions.get(slot.list, last);
        Some(self.base + u64::from(step) * frame::ALIGN as u64)
    }

    /// Appends the positions of entries to `into`.
    pub(super) fn copy(&self, found: EntryRange, into: &mut Vec<u64>) {
        let (range, base) = ((found.from, found.to), self.base);
        let position = |step| base + u64::from(step) * frame::ALIGN as u64;
        self.positions.copy(found.list, range, position, into);
    }

    /// Gives the entries of each timeline of a kind to `each`, by ascending id, until `each` fails.
    fn each_list_of(
        &self,
        kind: TimelineKind,
        each: &mut dyn FnMut(u128, &mut Vec<Posting>) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut positions, mut list) = (Vec::new(), Vec::new());
        self.table(kind).each_sorted(|slot| {
            positions.clear();
            let (range, base) = ((0, slot.list.len), self.base);
            let position = |step| base + u64::from(step) * frame::ALIGN as u64;
            self.positions
                .copy(slot.list, range, position, &mut positions);
            list.clear();
            if kind == TimelineKind::Message {
                self.number(slot, &positions, &mut list);
            } else {
                list.extend(positions.iter().map(|&position| Posting {
                    number: position,
                    position,
                }));
            }
            each(slot.id, &mut list)
        })
    }

    /// Appends the entries of a message timeline at `positions`, with their sequences, to `into`.
    fn number(&self, slot: &TimelineSlot, positions: &[u64], into: &mut Vec<Posting>) {
        let first = Gap {
            index: 0,
            seq: slot.last.wrapping_sub(u64::from(slot.list.len - 1)),
        };
        let gaps = self.gaps.get(&TimelineId(slot.id));
        let gaps = gaps.map_or(std::slice::from_ref(&first), Vec::as_slice);
        for (i, gap) in gaps.iter().enumerate() {
            let end = gaps
                .get(i + 1)
                .map_or(positions.len(), |next| next.index as usize);
            let entries = positions.get(gap.index as usize..end).unwrap_or_default();
            into.extend(
                (gap.seq..)
                    .zip(entries)
                    .map(|(number, &position)| Posting { number, position }),
            );
        }
    }

    /// Returns the position of the first entry of `found`, which is not empty.
    pub(super) fn first(&self, found: EntryRange) -> u64 {
        let step = self.positions.get(found.list, found.from);
        self.base + u64::from(step) * frame::ALIGN as u64
    }

    /// Returns the memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        let tables = [&self.messages, &self.syncs, &self.keys].map(Table::bytes);
        tables.iter().sum::<usize>() + self.states.bytes() + self.positions.bytes()
    }

    fn step(&self, position: u64) -> u32 {
        ((position - self.base) / frame::ALIGN as u64) as u32
    }
}

impl SegmentEntries for Stretch {
    fn summary(&self) -> Summary {
        self.summary
    }

    fn has(&self, (timeline, seq): Target) -> bool {
        let found = self.range(timeline, &(seq..=seq), None);
        found.is_some_and(|found| found.len() > 0)
    }

    fn states(&self) -> Vec<(TimelineId, u64)> {
        self.states.sorted()
    }

    fn each_list(
        &self,
        kind: RunKind,
        each: &mut dyn FnMut(u128, &mut Vec<Posting>) -> io::Result<()>,
    ) -> io::Result<()> {
        let kind = match kind {
            RunKind::Messages => TimelineKind::Message,
            RunKind::Syncs => TimelineKind::Sync,
            RunKind::Keys => TimelineKind::Key,
            RunKind::States | RunKind::Redactions | RunKind::Marks => return Ok(()),
        };
        self.each_list_of(kind, each)
    }
}

/// Returns the index of the first of `len` entries whose sequence is at least `seq`.
fn lower_bound(gaps: &[Gap], len: u32, last: u64, seq: u64) -> u32 {
    if seq > last {
        return len;
    }
    let after = gaps.partition_point(|gap| gap.seq <= seq);
    let Some(gap) = after.checked_sub(1).map(|i| gaps[i]) else {
        return 0;
    };
    let end = gaps.get(after).map_or(len, |gap| gap.index);
    let offset = u32::try_from(seq - gap.seq).unwrap_or(u32::MAX);
    gap.index.saturating_add(offset).min(end)
}
