//! The allowances of the connections of one shard.
//!
//! They are in pages, by slot. A page is there only while one of its connections has less than a full
//! allowance: the table looks at a few pages in each tick, and frees those that are full again.

use super::{Allowance, Rules, Sent, Short};
use crate::timer::Tick;

/// The slots of a page. Pages take 32 KiB: the allocator maps such blocks one by one, and gives each back
/// to the kernel when it is freed. Smaller ones would leave holes between others.
const PAGE: usize = (32 << 10) / size_of::<Allowance>();
/// The number of turns in which each page is looked at once, unless that takes more than [`MOST`] of them in
/// a turn.
const TURNS: usize = 32;
/// The most pages of a turn: a turn of a shard must be short.
const MOST: usize = 4;

/// The amounts that the connections of a shard may still send, by slot. Every call has to pass the same
/// [`Rules`].
#[derive(Debug, Default)]
pub(crate) struct Allowances {
    /// A page that is not there has full allowances.
    pages: Vec<Option<Box<[Allowance]>>>,
    /// The number of pages that are there.
    used: usize,
    /// The page that the next turn begins with.
    next: usize,
    /// The time of the last turn.
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
        let (page, at) = place(slot);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        let used = &mut self.used;
        let page = self.pages[page].get_or_insert_with(|| {
            *used += 1;
            vec![Allowance::new(rules, now); PAGE].into()
        });
        page[at].pay(rules, now, sent)
    }

    /// Forgets a connection that is gone: its slot has a full allowance again.
    pub(crate) fn remove(&mut self, rules: &Rules, slot: u32, now: Tick) {
        let (page, at) = place(slot);
        if let Some(Some(page)) = self.pages.get_mut(page) {
            page[at] = Allowance::new(rules, now);
        }
    }

    /// Looks at the next pages, at most once a tick, and frees those whose allowances are all full again.
    /// Returns whether any page is left.
    pub(crate) fn forget(&mut self, rules: &Rules, now: Tick) -> bool {
        if now != self.turned {
            self.turned = now;
            for _ in 0..self.pages.len().div_ceil(TURNS).min(MOST) {
                self.look_at(self.next, rules, now);
                self.next = (self.next + 1) % self.pages.len();
            }
        }
        if self.used == 0 {
            self.pages = Vec::new();
            self.next = 0;
        }
        self.used > 0
    }

    fn look_at(&mut self, page: usize, rules: &Rules, now: Tick) {
        let full = |allowance: &Allowance| allowance.is_full(rules, now);
        let page = &mut self.pages[page];
        if page.as_ref().is_some_and(|page| page.iter().all(full)) {
            *page = None;
            self.used -= 1;
        }
    }

    /// Whether the table takes no memory.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.pages.capacity() == 0
    }

    /// The number of connections with less than a full allowance.
    #[cfg(test)]
    fn len(&self, rules: &Rules, now: Tick) -> usize {
        let all = self.pages.iter().flatten().flat_map(|page| page.iter());
        all.filter(|allowance| !allowance.is_full(rules, now))
            .count()
    }
}

/// Returns the page of a slot, and its place there.
const fn place(slot: u32) -> (usize, usize) {
    (slot as usize / PAGE, slot as usize % PAGE)
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
        assert_eq!(table.len(&rules, 89), 1, "the first one is full");
        let granted = (0..20).filter(|_| table.pay(&rules, 2, 90, Sent::Command).is_ok());
        assert_eq!(granted.count(), 9);
        for now in 91..180 {
            assert!(table.forget(&rules, now), "{now}");
        }
        // After 10 seconds the other one is as full as a new one.
        for now in 180..400 {
            table.forget(&rules, now);
        }
        assert!(!table.forget(&rules, 400));
        assert!(table.is_empty());
    }

    #[test]
    fn no_turn_looks_through_all_of_a_large_table() {
        let (rules, mut table) = (rules(), Allowances::default());
        let pages = TURNS * MOST + 8;
        for page in 0..pages {
            let slot = u32::try_from(page * PAGE).unwrap();
            assert_eq!(table.pay(&rules, slot, 0, Sent::Command), Ok(()));
        }
        // All are full again.
        for now in 1_000..1_010 {
            assert!(table.forget(&rules, now));
            assert!(table.forget(&rules, now), "one turn a tick");
            assert_eq!(table.used, pages - MOST * (now as usize - 999));
        }
    }

    #[test]
    fn a_connection_that_sends_now_and_then_keeps_only_its_own_page() {
        let (rules, mut table) = (rules(), Allowances::default());
        let far = u32::try_from(40 * PAGE).unwrap();
        for slot in 0..=far {
            assert_eq!(table.pay(&rules, slot, 0, Sent::Command), Ok(()));
        }
        assert_eq!(table.used, 41);
        for now in 1..200 {
            let _ = table.pay(&rules, far, now, Sent::Command);
            assert!(table.forget(&rules, now));
        }
        assert_eq!(table.used, 1);
    }

    #[test]
    fn a_later_connection_in_the_same_slot_begins_anew() {
        let (rules, mut table) = (rules(), Allowances::default());
        for now in [0, 10] {
            while table.pay(&rules, 1, now, Sent::Command).is_ok() {}
            table.forget(&rules, now);
            table.remove(&rules, 1, now);
            assert_eq!(table.pay(&rules, 1, now, Sent::Command), Ok(()));
        }
    }
}
