//! The allowances of the connections of one shard.
//!
//! Only connections that have sent something of late have an entry. The table forgets the others without
//! a search of all: it has a young and an old map. A connection that sends something moves to the young
//! map. After each second the young map becomes the old one, and entries of the old one that are full
//! again are dropped.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use trunkline_core::store::IdBuildHasher;

use super::{Allowance, Rules, Sent, Short};
use crate::timer::{TICKS_PER_SECOND, Tick};

/// The ticks after which the young map becomes the old one: a second.
const PERIOD: Tick = TICKS_PER_SECOND;

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
    young: Map,
    old: Map,
    turned: Tick,
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
        let (slot, old) = (Slot(slot), &mut self.old);
        let allowance = self.young.entry(slot).or_insert_with(|| {
            old.remove(&slot)
                .unwrap_or_else(|| Allowance::new(rules, now))
        });
        allowance.pay(rules, now, sent)
    }

    /// Forgets a connection that is gone.
    pub(crate) fn remove(&mut self, slot: u32) {
        self.young.remove(&Slot(slot));
        self.old.remove(&Slot(slot));
    }

    /// Forgets connections that have sent nothing for a second and have a full allowance again. Returns
    /// whether any connection is left.
    pub(crate) fn forget(&mut self, rules: &Rules, now: Tick) -> bool {
        if now.saturating_sub(self.turned) >= PERIOD {
            self.turned = now;
            let mut kept = std::mem::take(&mut self.old);
            kept.retain(|_, allowance| !allowance.is_full(rules, now));
            self.old = std::mem::take(&mut self.young);
            self.old.extend(kept);
        }
        !self.young.is_empty() || !self.old.is_empty()
    }

    /// The number of connections with an entry.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
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
        assert_eq!(table.len(), 1);
        let granted = (0..20).filter(|_| table.pay(&rules, 2, 90, Sent::Command).is_ok());
        assert_eq!(granted.count(), 9);
        // After 10 seconds it is as full as a new one.
        for now in 91..220 {
            table.forget(&rules, now);
        }
        assert!(!table.forget(&rules, 220));
        assert_eq!(table.len(), 0);
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
        for now in [10, 20, 30] {
            table.forget(&rules, now);
        }
        assert_eq!(table.young.capacity() + table.old.capacity(), 0);
    }
}
