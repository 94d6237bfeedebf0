//! The allowances of the connections of one shard.
//!
//! Only connections that have sent something of late have an entry. The table forgets the others part by
//! part, so that no turn of the shard has to look through all of it. Each part has a young and an old map.
//! A connection that sends something moves to the young map. When it is the part's turn, the young map
//! becomes the old one, and entries of the old one that are full again are dropped.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use trunkline_core::store::IdBuildHasher;

use super::{Allowance, Rules, Sent, Short};
use crate::timer::Tick;

/// The number of parts. One has its turn at each tick, so each has one in 3.2 seconds.
const PARTS: usize = 32;

/// The slot of a connection, as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot(u32);

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The golden ratio spreads neighbours over the table.
        state.write_u64(u64::from(self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
}

type Map = HashMap<Slot, Allowance, IdBuildHasher>;

/// The amounts that the connections of a shard may still send, by slot. Every call has to pass the same
/// [`Rules`].
#[derive(Debug, Default)]
pub(crate) struct Allowances {
    /// [`PARTS`] of them once anything was paid for.
    parts: Vec<Part>,
    /// The part whose turn is next.
    next: usize,
    /// The time of the last turn.
    turned: Tick,
}

/// The slots with the same remainder of a division by [`PARTS`].
#[derive(Debug, Default)]
struct Part {
    young: Map,
    old: Map,
}

impl Allowances {
    /// Pays for something that a connection sent at `now`.
    ///
    /// # Errors
    /// Nothing is left of a rate.
    pub(crate) fn pay(
        &mut self,
        rules: &Rules,
        slot: u32,
        now: Tick,
        sent: Sent,
    ) -> Result<(), Short> {
        if self.parts.is_empty() {
            self.parts.resize_with(PARTS, Part::default);
        }
        let Part { young, old } = &mut self.parts[slot as usize % PARTS];
        let slot = Slot(slot);
        let allowance = young.entry(slot).or_insert_with(|| {
            old.remove(&slot)
                .unwrap_or_else(|| Allowance::new(rules, now))
        });
        allowance.pay(rules, now, sent)
    }

    /// Forgets a connection that is gone.
    pub(crate) fn remove(&mut self, slot: u32) {
        if let Some(part) = self.parts.get_mut(slot as usize % PARTS) {
            part.young.remove(&Slot(slot));
            part.old.remove(&Slot(slot));
        }
    }

    /// Gives the next part its turn, at most once a tick: forgets connections that have sent nothing since
    /// the part's last turn and have a full allowance again. Returns whether any connection is left.
    pub(crate) fn forget(&mut self, rules: &Rules, now: Tick) -> bool {
        if now != self.turned
            && let Some(part) = self.parts.get_mut(self.next)
        {
            self.turned = now;
            self.next = (self.next + 1) % PARTS;
            let mut kept = std::mem::take(&mut part.old);
            kept.retain(|_, allowance| !allowance.is_full(rules, now));
            part.old = std::mem::take(&mut part.young);
            part.old.extend(kept);
        }
        let is_empty = |part: &Part| part.young.is_empty() && part.old.is_empty();
        !self.parts.iter().all(is_empty)
    }

    /// The number of connections with an entry.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let len = |part: &Part| part.young.len() + part.old.len();
        self.parts.iter().map(len).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::Rates;

    /// A command a second, of which ten add up.
    fn rules() -> Rules {
        let rates = Rates {
            commands: 1,
            ..Rates::default()
        };
        Rules::new(&rates, Duration::from_secs(10)).unwrap()
    }

    #[test]
    fn idle_connections_are_forgotten_once_that_changes_nothing() {
        let (rules, mut table) = (rules(), Allowances::default());
        // One sends a command, the other one all that it may, and then nothing for 9 seconds.
        assert_eq!(table.pay(&rules, 1, 0, Sent::Command), Ok(()));
        for _ in 0..10 {
            assert_eq!(table.pay(&rules, 2, 0, Sent::Command), Ok(()));
        }
        assert!(table.pay(&rules, 2, 0, Sent::Command).is_err());
        for now in 1..90 {
            assert!(table.forget(&rules, now), "{now}");
        }
        let granted = (0..20).filter(|_| table.pay(&rules, 2, 90, Sent::Command).is_ok());
        assert_eq!(granted.count(), 9);
        for now in 91..180 {
            assert!(table.forget(&rules, now), "{now}");
        }
        assert_eq!(table.len(), 1, "the first one is full");
        // After 10 seconds the other one is as full as a new one.
        for now in 180..400 {
            table.forget(&rules, now);
        }
        assert!(!table.forget(&rules, 400));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn no_turn_looks_through_all_of_a_large_table() {
        let (rules, mut table) = (rules(), Allowances::default());
        for slot in 0..32_000 {
            assert_eq!(table.pay(&rules, slot, 0, Sent::Command), Ok(()));
        }
        for now in 1..=32 {
            table.forget(&rules, now);
            table.forget(&rules, now);
            let old: usize = table.parts.iter().map(|part| part.old.len()).sum();
            assert_eq!(old, now as usize * 1_000);
        }
    }

    #[test]
    fn a_later_connection_in_the_same_slot_begins_anew() {
        let (rules, mut table) = (rules(), Allowances::default());
        for now in [0, 10] {
            while table.pay(&rules, 1, now, Sent::Command).is_ok() {}
            table.forget(&rules, now);
            table.remove(1);
            assert_eq!(table.pay(&rules, 1, now, Sent::Command), Ok(()));
        }
    }

    #[test]
    fn memory_goes_back() {
        let (rules, mut table) = (rules(), Allowances::default());
        for slot in 0..10_000 {
            assert_eq!(table.pay(&rules, slot, 0, Sent::Command), Ok(()));
        }
        for now in 1..200 {
            table.forget(&rules, now);
        }
        let room = |part: &Part| part.young.capacity() + part.old.capacity();
        assert_eq!(table.parts.iter().map(room).sum::<usize>(), 0);
    }
}
