//! The bytes that the connections of a shard hold, and which connections to end when they are too
//! many.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::shared::SharedBytes;

/// Counts the bytes that connections hold: output that they have not taken, and input that is not
/// a complete request or message yet.
///
/// `held` is the sum over all connections, without the frames that they share; `holders` has exactly
/// those that hold more than 0.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: usize,
    held: usize,
    holders: BTreeSet<u32>,
    shared: SharedBytes,
}

impl Memory {
    /// Makes the count of a shard whose connections may hold `limit` bytes together. `shared` counts the frames
    /// that connections share.
    pub(super) fn new(limit: usize, shared: SharedBytes) -> Self {
        Self {
            limit,
            held: 0,
            holders: BTreeSet::new(),
            shared,
        }
    }

    /// Counts the frames that connections share.
    pub(super) const fn shared(&self) -> &SharedBytes {
        &self.shared
    }

    /// Counts that a connection holds `now` bytes. `counted` is the number that the connection was
    /// last counted with, and is set.
    pub(super) fn count(&mut self, slot: u32, counted: &mut u32, now: usize) {
        let now = u32::try_from(now).unwrap_or(u32::MAX);
        if now == *counted {
            return;
        }
        if *counted == 0 {
            self.holders.insert(slot);
        } else if now == 0 {
            self.holders.remove(&slot);
        }
        self.held = self.held - *counted as usize + now as usize;
        *counted = now;
    }

    /// The bytes that all connections hold together, shared frames counted once.
    pub(super) fn held(&self) -> usize {
        self.held + self.shared.get()
    }

    /// Whether connections hold more than half of the limit: those that do not read get no live
    /// pushes then.
    pub(super) fn is_scarce(&self) -> bool {
        self.held() > self.limit / 2
    }

    /// Whether connections hold more than three quarters of the limit: those that wait for their
    /// flush get no live pushes either.
    pub(super) fn is_tight(&self) -> bool {
        self.held() > self.limit / 4 * 3
    }

    /// The connections to end because all together hold more than the limit, those that hold most
    /// first; `held_by` says what a connection holds, with its shared frames. Without them a quarter of the limit is free,
    /// which has to fill again before the next search.
    pub(super) fn excess(&self, held_by: impl Fn(u32) -> usize) -> Vec<u32> {
        if self.held() <= self.limit {
            return Vec::new();
        }
        let mut holders: Vec<_> = self
            .holders
            .iter()
            .map(|slot| (held_by(*slot), *slot))
            .collect();
        holders.sort_unstable_by_key(|holder| Reverse(*holder));
        let mut left = self.held();
        let enough = self.limit / 4 * 3;
        let too_many = holders.into_iter().take_while(|(held, _)| {
            let ends = left > enough;
            left = left.saturating_sub(*held);
            ends
        });
        too_many.map(|(_, slot)| slot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_follows_each_connection() {
        let mut memory = Memory::new(100, SharedBytes::default());
        let (mut one, mut two) = (0, 0);
        memory.count(1, &mut one, 30);
        memory.count(2, &mut two, 20);
        assert_eq!((memory.held(), memory.is_scarce()), (50, false));
        memory.count(2, &mut two, 21);
        assert_eq!((memory.held(), memory.is_scarce(), two), (51, true, 21));
        memory.count(1, &mut one, 0);
        assert_eq!(memory.holders, BTreeSet::from([2]));
        memory.count(2, &mut two, 0);
        assert_eq!((memory.held(), memory.holders.len()), (0, 0));
        memory.count(1, &mut one, usize::MAX);
        assert_eq!(one, u32::MAX);
        memory.count(1, &mut one, 0);
        assert_eq!(memory.held(), 0);
        let frame = memory.shared().share(&[7; 60]);
        assert_eq!((memory.held(), memory.is_scarce()), (60, true));
        assert!(!memory.is_tight());
        let more = memory.shared().share(&[7; 16]);
        assert!(memory.is_tight());
        drop(more);
        drop(frame);
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn those_that_hold_most_go_until_a_quarter_is_free() {
        let mut memory = Memory::new(100, SharedBytes::default());
        let mut held = [10, 40, 5, 30, 15];
        for (slot, held) in held.iter_mut().enumerate() {
            let now = *held as usize;
            *held = 0;
            memory.count(slot as u32, held, now);
        }
        let excess =
            |memory: &Memory, held: [u32; 5]| memory.excess(|slot| held[slot as usize] as usize);
        assert!(excess(&memory, held).is_empty(), "100 of 100");
        memory.count(2, &mut held[2], 6);
        assert_eq!(excess(&memory, held), [1], "101 less 40 is below 75");
        memory.count(0, &mut held[0], 50);
        assert_eq!(excess(&memory, held), [0, 1], "141 less 50 is not");
    }
}
