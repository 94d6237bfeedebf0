//! The position of the latest value under each key, in a map that grows without long pauses.
//!
//! The map consists of many small maps, each of which grows on its own. A single map of a million
//! entries would copy all of them at once, for tens of milliseconds, under the lock that readers
//! need.

use std::collections::HashMap;

use crate::{IdBuildHasher, TimelineId};

/// The number of small maps, as a power of two. The upper bits of an id choose the map; the maps
/// use its low half.
const SHARD_BITS: u32 = 10;

#[derive(Default)]
pub(super) struct Keys {
    /// The small maps; empty before the first key.
    shards: Vec<HashMap<TimelineId, u64, IdBuildHasher>>,
}

const fn shard(key: TimelineId) -> usize {
    (key.0 >> (u128::BITS - SHARD_BITS)) as usize
}

impl Keys {
    pub(super) fn set(&mut self, key: TimelineId, position: u64) {
        if self.shards.is_empty() {
            self.shards.resize_with(1 << SHARD_BITS, HashMap::default);
        }
        self.shards[shard(key)].insert(key, position);
    }

    pub(super) fn get(&self, key: TimelineId) -> Option<u64> {
        self.shards.get(shard(key))?.get(&key).copied()
    }

    /// Returns all keys with their positions, by ascending key.
    pub(super) fn sorted(&self) -> Vec<(TimelineId, u64)> {
        let mut sorted = Vec::new();
        for shard in &self.shards {
            let from = sorted.len();
            sorted.extend(shard.iter().map(|(&key, &position)| (key, position)));
            sorted[from..].sort_unstable();
        }
        sorted
    }

    /// Returns the memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        let entries: usize = self.shards.iter().map(HashMap::capacity).sum();
        entries * size_of::<(TimelineId, u64)>() + size_of_val(&*self.shards)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreKey;

    #[test]
    fn found_under_its_key_and_growing_in_small_steps() {
        let mut keys = Keys::default();
        assert_eq!((keys.get(TimelineId(7)), keys.bytes()), (None, 0));
        let id = |n: u64| StoreKey::from_bytes([1; 16]).id(0, &[&n.to_le_bytes()]);
        for n in 0..200_000 {
            keys.set(id(n), n);
        }
        // The number of entries that the growth of one map copies.
        let largest = keys.shards.iter().map(HashMap::capacity).max().unwrap();
        assert!(largest < 1_000, "{largest} at once");
        for n in (0..200_000).step_by(7) {
            assert_eq!(keys.get(id(n)), Some(n));
        }
        keys.set(id(3), 9);
        assert_eq!(keys.get(id(3)), Some(9));
        assert_eq!(keys.get(id(200_000)), None);
        let sorted = keys.sorted();
        assert_eq!(sorted.len(), 200_000);
        assert!(sorted.is_sorted_by(|a, b| a.0 < b.0));
    }
}
