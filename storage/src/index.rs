//! Where the records of a timeline are: the part of the index that is in memory.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use crate::record::Record;
use crate::{IdBuildHasher, Order, Position, TimelineId};

/// Positions by timeline. Message timelines are ordered by sequence, sync timelines by position.
#[derive(Default)]
pub(crate) struct Index {
    messages: HashMap<TimelineId, Messages, IdBuildHasher>,
    syncs: HashMap<TimelineId, Vec<u64>, IdBuildHasher>,
}

/// The entries of one message timeline.
///
/// Sequences are consecutive but for the few that a failed commit burned, so the positions are
/// stored without their sequences, and the gaps aside.
#[derive(Default)]
struct Messages {
    first: u64,
    last: u64,
    positions: Vec<u64>,
    #[expect(
        clippy::box_collection,
        reason = "8 bytes, not 24, in the many timelines without"
    )]
    gaps: Option<Box<Vec<Gap>>>,
}

/// From entry `index` on, sequences count up from `seq`.
struct Gap {
    index: usize,
    seq: u64,
}

impl Index {
    /// Adds a record that is newer than all before it.
    pub(crate) fn insert(&mut self, record: &Record<'_>) {
        let position = record.position.0;
        if record.seq != 0 {
            self.messages
                .entry(record.timeline)
                .or_default()
                .push(record.seq, position);
        }
        for id in record.fanout {
            let positions = self.syncs.entry(id).or_default();
            // A list that names a timeline twice still makes one entry.
            if positions.last() != Some(&position) {
                positions.push(position);
            }
        }
    }

    /// The last sequence of a message timeline; 0 if there is none.
    pub(crate) fn last_seq(&self, timeline: TimelineId) -> u64 {
        self.messages
            .get(&timeline)
            .map_or(0, |messages| messages.last)
    }

    pub(crate) fn get(&self, timeline: TimelineId, seq: u64) -> Option<u64> {
        let messages = self.messages.get(&timeline)?;
        let at = messages.lower_bound(seq);
        if at == messages.lower_bound(seq.checked_add(1)?) {
            return None;
        }
        messages.positions.get(at).copied()
    }

    /// Puts the positions of `seqs`, ascending, into `into`, at most `limit` of them, from the
    /// end that `order` starts at. Says whether the limit cut some off.
    pub(crate) fn range(
        &self,
        timeline: TimelineId,
        seqs: RangeInclusive<u64>,
        limit: usize,
        order: Order,
        into: &mut Vec<u64>,
    ) -> bool {
        let Some(messages) = self.messages.get(&timeline) else {
            return false;
        };
        if seqs.is_empty() {
            return false;
        }
        let from = messages.lower_bound(*seqs.start());
        let to = seqs
            .end()
            .checked_add(1)
            .map_or(messages.positions.len(), |end| messages.lower_bound(end));
        let found = &messages.positions[from..to];
        let kept = match order {
            Order::Ascending => &found[..limit.min(found.len())],
            Order::Descending => &found[found.len().saturating_sub(limit)..],
        };
        into.extend_from_slice(kept);
        kept.len() < found.len()
    }

    /// Puts the positions in `(after, until]` of a sync timeline into `into`, the oldest `limit`
    /// of them. Says whether there are more.
    pub(crate) fn sync(
        &self,
        timeline: TimelineId,
        after: Position,
        until: Position,
        limit: usize,
        into: &mut Vec<u64>,
    ) -> bool {
        let Some(positions) = self.syncs.get(&timeline) else {
            return false;
        };
        let from = positions.partition_point(|&position| position <= after.0);
        let found = &positions[from..];
        let found = &found[..found.partition_point(|&position| position <= until.0)];
        let kept = &found[..limit.min(found.len())];
        into.extend_from_slice(kept);
        kept.len() < found.len()
    }
}

impl Messages {
    fn push(&mut self, seq: u64, position: u64) {
        if self.positions.is_empty() {
            self.first = seq;
        } else if seq != self.last + 1 {
            let gap = Gap {
                index: self.positions.len(),
                seq,
            };
            self.gaps.get_or_insert_default().push(gap);
        }
        self.last = seq;
        self.positions.push(position);
    }

    /// Index of the first entry whose sequence is at least `seq`.
    fn lower_bound(&self, seq: u64) -> usize {
        if seq > self.last {
            return self.positions.len();
        }
        let gaps = self.gaps.as_deref().map_or(&[][..], Vec::as_slice);
        let after = gaps.partition_point(|gap| gap.seq <= seq);
        let (index, first) = match after.checked_sub(1) {
            Some(i) => (gaps[i].index, gaps[i].seq),
            None => (0, self.first),
        };
        let end = gaps
            .get(after)
            .map_or(self.positions.len(), |gap| gap.index);
        let offset = usize::try_from(seq.saturating_sub(first)).unwrap_or(usize::MAX);
        index.saturating_add(offset).min(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(seqs: &[u64]) -> Index {
        let mut messages = Messages::default();
        for &seq in seqs {
            messages.push(seq, seq * 8);
        }
        let mut index = Index::default();
        index.messages.insert(TimelineId(1), messages);
        index
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
        for seqs in cases {
            let index = timeline(seqs);
            let edges = (0..25).chain([u64::MAX / 8, u64::MAX]);
            for (from, to) in edges
                .clone()
                .flat_map(|from| edges.clone().map(move |to| (from, to)))
            {
                let expected: Vec<u64> = seqs
                    .iter()
                    .filter(|&&s| s >= from && s <= to)
                    .map(|s| s * 8)
                    .collect();
                for limit in [0, 1, 2, 100] {
                    let mut found = Vec::new();
                    let more = index.range(
                        TimelineId(1),
                        from..=to,
                        limit,
                        Order::Ascending,
                        &mut found,
                    );
                    assert_eq!(
                        found,
                        expected[..limit.min(expected.len())],
                        "{seqs:?} {from}..={to}"
                    );
                    assert_eq!(more, limit < expected.len());
                    found.clear();
                    index.range(
                        TimelineId(1),
                        from..=to,
                        limit,
                        Order::Descending,
                        &mut found,
                    );
                    assert_eq!(found, expected[expected.len().saturating_sub(limit)..]);
                }
            }
            for seq in (0..25).chain([u64::MAX / 8, u64::MAX]) {
                let expected = seqs.contains(&seq).then_some(seq.wrapping_mul(8));
                assert_eq!(index.get(TimelineId(1), seq), expected, "{seqs:?} {seq}");
            }
        }
    }

    #[test]
    fn a_timeline_named_twice_gets_one_entry() {
        let mut payload = vec![0; crate::record::FIELDS];
        payload[32] = 2;
        payload.extend_from_slice(&[9; 32]);
        let record = crate::record::decode_payload(64, &payload).unwrap();
        let mut index = Index::default();
        index.insert(&record);
        let id = record.fanout.last().unwrap();
        let mut found = Vec::new();
        assert!(!index.sync(id, Position(0), Position(64), 10, &mut found));
        assert_eq!(found, [64]);
    }

    #[test]
    fn sync_excludes_after_and_includes_until() {
        let mut index = Index::default();
        index.syncs.insert(TimelineId(2), vec![8, 16, 24, 32]);
        let cases = [
            (0, 32, 10, &[8, 16, 24, 32][..], false),
            (8, 24, 10, &[16, 24], false),
            (8, 32, 2, &[16, 24], true),
            (32, 32, 10, &[], false),
            (24, 8, 10, &[], false),
            (0, u64::MAX, 0, &[], true),
        ];
        for (after, until, limit, expected, more) in cases {
            let mut found = Vec::new();
            let said = index.sync(
                TimelineId(2),
                Position(after),
                Position(until),
                limit,
                &mut found,
            );
            assert_eq!(
                (found.as_slice(), said),
                (expected, more),
                "({after}, {until}]"
            );
        }
    }
}
