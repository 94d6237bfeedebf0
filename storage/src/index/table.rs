//! A hash table of timelines. Its growth never stops the writer for long.
//!
//! The table consists of many small open-addressed tables, and each grows on its own. So the
//! longest pause is the copying of one small table. Nothing is ever removed.

use super::arena::List;
use crate::TimelineId;

/// The number of small tables, as a power of two.
const SHARD_BITS: u32 = 11;
/// The first capacity of a small table, in slots.
const FIRST: usize = 8;

/// The index's data of a timeline.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TimelineSlot {
    pub(super) id: u128,
    /// The last sequence of a message timeline, or the last position of a sync timeline.
    pub(super) last: u64,
    /// The positions of the entries; empty only in a free slot.
    pub(super) list: List,
}

#[derive(Default)]
pub(super) struct Table {
    /// The small tables; empty before the first timeline.
    shards: Vec<Shard>,
}

#[derive(Default)]
struct Shard {
    slots: Vec<TimelineSlot>,
    used: usize,
}

/// Returns the small table of an id: its upper bits, so that tables follow each other in the order of
/// ids.
const fn shard(id: TimelineId) -> usize {
    (id.0 >> (u128::BITS - SHARD_BITS)) as usize
}

/// Returns the hash of an id. Ids are already keyed hashes; this only prevents clusters of
/// hand-made ids, as in tests.
fn hash(id: TimelineId) -> u64 {
    let folded = id.0 as u64 ^ ((id.0 >> 64) as u64).rotate_left(32);
    folded.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Table {
    /// Reads the slot where a timeline probably is, without a decision on it. So the processor
    /// continues with the next timeline while it waits for memory.
    pub(super) fn touch(&self, id: TimelineId) -> u64 {
        let shard = self.shards.get(shard(id));
        let slot = shard.and_then(|shard| shard.slots.get(shard.home(hash(id))));
        slot.map_or(0, |slot| slot.last)
    }

    pub(super) fn find(&self, id: TimelineId) -> Option<&TimelineSlot> {
        let shard = self.shards.get(shard(id))?;
        if shard.slots.is_empty() {
            return None;
        }
        let slot = &shard.slots[shard.place(hash(id), id)];
        (slot.list.len > 0).then_some(slot)
    }

    /// Returns the slot of a timeline. If there is none, returns a free slot, which the caller must
    /// fill.
    pub(super) fn slot(&mut self, id: TimelineId) -> &mut TimelineSlot {
        if self.shards.is_empty() {
            self.shards.resize_with(1 << SHARD_BITS, Shard::default);
        }
        let shard = &mut self.shards[shard(id)];
        if shard.used * 5 >= shard.slots.len() * 4 {
            shard.grow();
        }
        let place = shard.place(hash(id), id);
        let slot = &mut shard.slots[place];
        if slot.list.len == 0 {
            slot.id = id.0;
            shard.used += 1;
        }
        slot
    }

    /// Gives the slot of each timeline to `each`, by ascending id, until `each` fails.
    pub(super) fn each_sorted<E>(
        &self,
        mut each: impl FnMut(&TimelineSlot) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut sorted: Vec<&TimelineSlot> = Vec::new();
        for shard in &self.shards {
            sorted.clear();
            sorted.extend(shard.slots.iter().filter(|slot| slot.list.len > 0));
            sorted.sort_unstable_by_key(|slot| slot.id);
            for slot in &sorted {
                each(slot)?;
            }
        }
        Ok(())
    }

    /// Returns the memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        let slots: usize = self.shards.iter().map(|shard| shard.slots.len()).sum();
        slots * size_of::<TimelineSlot>() + self.shards.len() * size_of::<Shard>()
    }
}

impl Shard {
    /// Returns the slot of a timeline if no other timeline is in its way.
    fn home(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.slots.len() as u128) >> u64::BITS) as usize
    }

    /// Returns the slot where a timeline is, or where it belongs. A table always has a free slot,
    /// so the search ends.
    fn place(&self, hash: u64, id: TimelineId) -> usize {
        let len = self.slots.len();
        let mut at = self.home(hash);
        while self.slots[at].list.len != 0 && self.slots[at].id != id.0 {
            at = if at + 1 == len { 0 } else { at + 1 };
        }
        at
    }

    /// Grows the table by half.
    fn grow(&mut self) {
        let capacity = (self.slots.len() * 3 / 2).max(FIRST);
        let old = std::mem::replace(&mut self.slots, vec![TimelineSlot::default(); capacity]);
        for slot in old.into_iter().filter(|slot| slot.list.len > 0) {
            let id = TimelineId(slot.id);
            let place = self.place(hash(id), id);
            self.slots[place] = slot;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreKey;
    use crate::index::arena::Arena;

    #[test]
    fn what_is_put_in_is_found_and_nothing_else() {
        let mut arena = Arena::default();
        for ids in [
            (0..3000).map(TimelineId).collect::<Vec<_>>(),
            (0..3000).map(|i| TimelineId(i << 64)).collect(),
            (0..3000u64)
                .map(|i| StoreKey::from_bytes([1; 16]).id(0, &[&i.to_le_bytes()]))
                .collect(),
        ] {
            let mut table = Table::default();
            for (i, &id) in ids.iter().enumerate() {
                assert!(table.find(id).is_none());
                let slot = table.slot(id);
                slot.last = i as u64;
                arena.push(&mut slot.list, 7);
            }
            for (i, &id) in ids.iter().enumerate() {
                assert_eq!(table.find(id).map(|slot| slot.last), Some(i as u64));
                assert_eq!(table.slot(id).last, i as u64);
            }
            assert!(table.find(TimelineId(u128::MAX)).is_none());
            let mut sorted = Vec::new();
            let all = table.each_sorted(|slot| {
                sorted.push(TimelineId(slot.id));
                Ok::<(), ()>(())
            });
            let mut expected = ids.clone();
            expected.sort_unstable();
            assert_eq!((all, sorted), (Ok(()), expected));
        }
    }

    #[test]
    fn a_timeline_takes_64_bytes_at_most() {
        let mut arena = Arena::default();
        let mut table = Table::default();
        let mut most: f64 = 0.0;
        for i in 0..300_000u64 {
            let slot = table.slot(StoreKey::from_bytes([1; 16]).id(0, &[&i.to_le_bytes()]));
            arena.push(&mut slot.list, 1);
            if i > 100_000 && i % 1000 == 0 {
                most = most.max(table.bytes() as f64 / (i + 1) as f64);
            }
        }
        assert!(most <= 64.0, "{most} bytes");
    }
}
