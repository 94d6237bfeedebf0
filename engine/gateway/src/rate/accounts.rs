//! The accounts of all holders of one kind, such as users, and whom a budget binds.
//!
//! All shards share the accounts, in stripes. Each stripe has a lock, which is held for a few
//! additions: connections book their work in pieces, not each command.
//!
//! Accounts that are full again are forgotten without a search: each stripe has a young and an old
//! map. A holder that pays moves to the young map. When the young map is old enough, it becomes the
//! old one, and the old one is dropped. Where nobody pays any more, [`Accounts::forget`] looks through
//! the stripes, one at each call.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use trunkline_core::cost::Cost;

use super::account::{Account, Budget, Standing};
use crate::timer::{TICKS_PER_SECOND, Tick};

const STRIPES: usize = 64;

/// The number of accounts of a stripe's young map at most. Beyond, the young map becomes the old one
/// early. Holders that were silent meanwhile then begin with a full account, never with less.
const STRIPE_ACCOUNTS: usize = 4_096;

/// The ticks for which serving a holder within its budget binds the others: a second.
const SERVED: Tick = TICKS_PER_SECOND;

struct Stripe<K> {
    young: HashMap<K, Account>,
    old: HashMap<K, Account>,
    turned: Tick,
}

impl<K: Eq + Hash> Stripe<K> {
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Forgets the accounts that are full, and gives the memory of large empty tables back.
    fn forget(&mut self, budget: &Budget, now: Tick) {
        for map in [&mut self.young, &mut self.old] {
            map.retain(|_, account| !account.is_full(budget, now));
            if map.capacity() > 8 * map.len() {
                map.shrink_to_fit();
            }
        }
    }
}

impl<K> Default for Stripe<K> {
    fn default() -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            turned: 0,
        }
    }
}

/// The accounts of one kind of holders, which all have the same budget.
///
/// A debt binds its holder only while another holder that lives within its budget is served. Without
/// one, a debt is forgiven. Holders that spent much a moment ago bind nobody: otherwise equally heavy
/// holders would keep each other in the slow lanes, where each of them seems to need little.
pub(crate) struct Accounts<K> {
    budget: Budget,
    hash: RandomState,
    stripes: Box<[CachePadded<Mutex<Stripe<K>>>]>,
    /// The number of accounts in all stripes.
    known: AtomicUsize,
    /// The number of calls of [`Accounts::forget`].
    looks: AtomicUsize,
    served: Mutex<Served<K>>,
}

impl<K: Copy + Eq + Hash> Accounts<K> {
    /// Makes the accounts of holders that have paid nothing.
    pub(crate) fn new(budget: Budget) -> Self {
        Self {
            budget,
            hash: RandomState::new(),
            stripes: (0..STRIPES).map(|_| CachePadded::default()).collect(),
            known: AtomicUsize::new(0),
            looks: AtomicUsize::new(0),
            served: Mutex::new(Served::default()),
        }
    }

    /// Books work on an account. [`Standing::Debt`] binds its holder.
    pub(crate) fn book(&self, holder: K, now: Tick, cost: Cost) -> Standing {
        let budget = &self.budget;
        let standing = self.with(holder, now, |account| account.book(budget, now, cost));
        if !standing.is_light() {
            self.served.lock().forget(holder);
        }
        let in_debt = matches!(standing, Standing::Debt(_));
        if in_debt && !self.serves_another(Some(holder), now) {
            self.with(holder, now, Account::forgive);
            return Standing::Within;
        }
        standing
    }

    /// Notes that the gateway serves a holder. Returns whether that binds others: whether the holder
    /// lives within its budget, and has for a while.
    pub(crate) fn serve(&self, holder: K, now: Tick) -> bool {
        let budget = &self.budget;
        let account = {
            let stripe = self.stripe(holder).lock();
            let known = stripe.young.get(&holder).or(stripe.old.get(&holder));
            known.copied()
        };
        let standing = account.map(|mut account| account.book(budget, now, Cost::NONE));
        let is_light = standing.is_none_or(|standing| standing == Standing::Light);
        if is_light {
            self.served.lock().note(holder, now);
        }
        is_light
    }

    /// Whether a holder that stands like this spends much, or did so a moment ago, while another one,
    /// within its budget, was served in the last second. Who waits in a slow lane spends little only
    /// because it waits: let out at once, it would send all that has waited in one burst.
    pub(crate) fn waits_for_another(&self, holder: K, standing: Standing, now: Tick) -> bool {
        standing != Standing::Light && self.serves_another(Some(holder), now)
    }

    /// Whether the gateway served a holder within its budget in the last second, other than `but`.
    pub(crate) fn serves_another(&self, but: Option<K>, now: Tick) -> bool {
        self.served.lock().is_another(but, now)
    }

    fn stripe(&self, holder: K) -> &Mutex<Stripe<K>> {
        &self.stripes[self.hash.hash_one(holder) as usize % STRIPES]
    }

    /// Forgets the full accounts of one stripe, of another one at each call. Returns whether any account
    /// is left.
    pub(crate) fn forget(&self, now: Tick) -> bool {
        let at = self.looks.fetch_add(1, Relaxed) % STRIPES;
        let mut stripe = self.stripes[at].lock();
        let before = stripe.len();
        stripe.forget(&self.budget, now);
        let left = before - stripe.len();
        self.known.fetch_sub(left, Relaxed) > left
    }

    /// Does something to the account of a holder.
    fn with<T>(&self, holder: K, now: Tick, act: impl FnOnce(&mut Account) -> T) -> T {
        let mut stripe = self.stripe(holder).lock();
        let before = stripe.len();
        let Stripe { young, old, turned } = &mut *stripe;
        let is_old = now.saturating_sub(*turned) > self.budget.ticks_to_fill();
        if is_old || young.len() >= STRIPE_ACCOUNTS {
            // A debt is older than its map may be: it stays.
            let mut debts = std::mem::take(old);
            debts.retain(|_, account| !account.is_full(&self.budget, now));
            *old = std::mem::take(young);
            if old.len() + debts.len() <= STRIPE_ACCOUNTS {
                old.extend(debts);
            }
            *turned = now;
        }
        let account = young.entry(holder).or_insert_with(|| {
            let known = old.remove(&holder);
            known.unwrap_or_else(|| Account::full(&self.budget, now))
        });
        let done = act(account);
        let after = stripe.len();
        if before != after {
            self.known.fetch_add(after.wrapping_sub(before), Relaxed);
        }
        done
    }

    #[cfg(test)]
    fn known(&self) -> usize {
        let len = |stripe: &Stripe<K>| stripe.young.len() + stripe.old.len();
        self.stripes.iter().map(|stripe| len(&stripe.lock())).sum()
    }
}

/// The holders that were served last within their budgets, each with the tick; the newest first.
///
/// Two are enough to answer for every holder whether another one was served. There are more places
/// because a holder that spends much leaves its place.
struct Served<K>([Option<(K, Tick)>; 8]);

impl<K> Default for Served<K> {
    fn default() -> Self {
        Self([const { None }; 8])
    }
}

impl<K: Copy + Eq> Served<K> {
    fn note(&mut self, holder: K, now: Tick) {
        let known = self.0.iter().position(|place| is_of(place, holder));
        // Who is new takes the place of the oldest one.
        let last = known.unwrap_or(self.0.len() - 1);
        self.0[..=last].rotate_right(1);
        self.0[0] = Some((holder, now));
    }

    /// Forgets a holder that does not live within its budget any more.
    fn forget(&mut self, holder: K) {
        for place in self.0.iter_mut().filter(|place| is_of(place, holder)) {
            *place = None;
        }
    }

    /// Whether a holder other than `but` was served within the last second.
    fn is_another(&self, but: Option<K>, now: Tick) -> bool {
        let mut served = self.0.iter().flatten();
        served.any(|(other, at)| Some(*other) != but && now.saturating_sub(*at) <= SERVED)
    }
}

/// Whether a place is of this holder.
fn is_of<K: Eq>(place: &Option<(K, Tick)>, holder: K) -> bool {
    place.as_ref().is_some_and(|(served, _)| *served == holder)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// 20 ms of a core in each second; 80 ms can be saved.
    fn accounts() -> Accounts<u64> {
        let budget = Budget::new(Duration::from_millis(20), Duration::from_secs(4));
        Accounts::new(budget.unwrap())
    }

    const SAVED: Cost = Cost::micros(80_000);
    const TICK_PAYS: Cost = Cost::micros(2_000);

    #[test]
    fn a_debt_binds_only_beside_another_who_lives_within_the_budget() {
        let accounts = accounts();
        // Alone, and after a payment of its own, nobody is bound.
        assert_eq!(accounts.book(1, 10, SAVED + SAVED), Standing::Within);
        assert!(!accounts.serve(1, 10));
        assert_eq!(accounts.book(1, 10, SAVED), Standing::Within);
        // The forgiven debt is gone: only the new one counts.
        assert!(accounts.serve(2, 11));
        assert_eq!(
            accounts.book(1, 11, TICK_PAYS + TICK_PAYS),
            Standing::Debt(1)
        );
        // For a second.
        assert_eq!(accounts.book(1, 21, SAVED), Standing::Debt(31));
        assert_eq!(accounts.book(1, 22, Cost::NONE), Standing::Within);
        assert_eq!(
            accounts.book(1, 22, Cost::NONE),
            Standing::Within,
            "forgiven"
        );
    }

    #[test]
    fn equally_heavy_holders_do_not_bind_each_other() {
        let accounts = accounts();
        for holder in 0..10 {
            assert!(accounts.serve(holder, 0));
        }
        for holder in 0..10 {
            // Those who have not spent anything yet are light.
            let is_bound = matches!(accounts.book(holder, 0, SAVED + SAVED), Standing::Debt(_));
            assert_eq!(is_bound, holder < 9, "{holder}");
        }
        for now in 1..40 {
            for holder in 0..10 {
                assert!(!accounts.serve(holder, now));
                assert_eq!(accounts.book(holder, now, SAVED), Standing::Within);
            }
        }
        assert!(accounts.serve(10, 40));
        for holder in 0..10 {
            assert_eq!(accounts.book(holder, 40, TICK_PAYS), Standing::Within);
            assert_eq!(accounts.book(holder, 40, TICK_PAYS), Standing::Debt(1));
        }
        assert_eq!(accounts.book(10, 40, TICK_PAYS), Standing::Light);
    }

    #[test]
    fn who_spent_much_waits_beside_another_until_it_has_settled() {
        let accounts = accounts();
        accounts.book(1, 1, SAVED);
        let waits = |now| {
            let standing = accounts.book(1, now, Cost::NONE);
            accounts.waits_for_another(1, standing, now)
        };
        assert!(!waits(1), "it is alone");
        accounts.serve(2, 1);
        assert!(waits(1));
        // A tick pays 2 ms: after 37 of them its account is nearly full.
        assert!(!accounts.book(1, 36, Cost::NONE).is_light());
        for now in [38, 50] {
            accounts.serve(2, now);
            assert!(
                accounts.book(1, now, Cost::NONE).is_light() && waits(now),
                "{now}"
            );
        }
        accounts.serve(2, 60);
        assert!(!waits(60));
    }

    /// In a slow lane each of many heavy holders gets less than its budget. Its account fills, but it
    /// binds nobody, so that all of them leave the lane together.
    #[test]
    fn heavy_holders_that_wait_do_not_keep_each_other_waiting() {
        let accounts = accounts();
        accounts.serve(0, 0);
        for holder in 0..10 {
            accounts.book(holder, 0, SAVED);
        }
        let mut trickled = 0;
        for now in 1..400 {
            for holder in 0..10 {
                // A tick pays 2 ms.
                let standing = accounts.book(holder, now, Cost::micros(1_000));
                if standing == Standing::Settling {
                    assert!(!accounts.serve(holder, now));
                    // Out of the lane, it sends what has waited.
                    accounts.book(holder, now, SAVED);
                    trickled += 1;
                }
                assert!(!accounts.serves_another(None, now), "{holder} at {now}");
            }
        }
        assert!(trickled >= 10, "{trickled}");
        // Who really spends little counts after a while.
        assert!(!accounts.serve(3, 800) || accounts.serves_another(None, 800));
        accounts.book(3, 900, Cost::NONE);
        assert!(accounts.serve(3, 1_000) && accounts.serves_another(Some(4), 1_000));
    }

    #[test]
    fn the_last_holders_answer_for_all() {
        let mut served = Served::default();
        assert!(!served.is_another(Some(1), 0));
        for now in 0..3 {
            served.note(1, now);
        }
        assert!(!served.is_another(Some(1), 3) && served.is_another(Some(2), 3));
        served.note(2, 5);
        served.note(2, 6);
        assert!(served.is_another(Some(1), 16) && served.is_another(Some(2), 12));
        assert!(!served.is_another(Some(2), 13), "the other is too old");
        served.note(3, 7);
        assert!(served.is_another(Some(3), 16) && !served.is_another(Some(3), 17));
        assert!(served.is_another(Some(2), 17));
        served.forget(3);
        served.forget(9);
        assert!(!served.is_another(None, 17) && served.is_another(Some(3), 16));
        for holder in 10..30 {
            served.note(holder, 20);
        }
        for heavy in 23..30 {
            served.forget(heavy);
        }
        assert!(served.is_another(None, 20) && !served.is_another(Some(22), 20));
    }

    #[test]
    fn the_silent_are_forgotten_and_debtors_are_not() {
        let accounts = accounts();
        for holder in 0..1_000 {
            accounts.book(holder, 0, TICK_PAYS);
        }
        accounts.serve(5_000, 0);
        // More than 60 times its life.
        accounts.book(1_000, 0, Cost::micros(4_000_000));
        let mut now = 0;
        while now < 1_000 {
            now += 50;
            accounts.serve(5_000, now);
            for holder in 2_000..3_000 {
                accounts.book(holder, now, TICK_PAYS);
            }
        }
        assert_eq!(accounts.known(), 1_001);
        let paid = (4_000_000 - 80_000) / 2_000 - 1_000;
        assert_eq!(accounts.book(1_000, now, Cost::NONE), Standing::Debt(paid));
    }

    #[test]
    fn accounts_are_forgotten_although_nobody_pays_any_more() {
        let accounts = accounts();
        for holder in 0..10_000 {
            accounts.book(holder, 1, TICK_PAYS);
        }
        assert_eq!(accounts.known(), accounts.known.load(Relaxed));
        accounts.serve(20_000, 1);
        // Its debt is paid and its savings are full after 100 ticks.
        accounts.book(3, 1, SAVED + SAVED + SAVED);
        for _ in 0..STRIPES {
            assert!(accounts.forget(50));
        }
        assert_eq!((accounts.known(), accounts.known.load(Relaxed)), (1, 1));
        let room = |stripe: &Stripe<u64>| stripe.young.capacity() + stripe.old.capacity();
        let all: usize = accounts.stripes.iter().map(|one| room(&one.lock())).sum();
        assert!(all < 10, "{all}");
        let left: Vec<_> = (0..STRIPES).map(|_| accounts.forget(200)).collect();
        assert_eq!((left[0], left.last()), (left[0], Some(&false)));
        assert_eq!(accounts.known(), 0);
    }

    #[test]
    fn a_crowd_stays_bounded() {
        let accounts = accounts();
        for holder in 0..3 * (STRIPES * STRIPE_ACCOUNTS) as u64 {
            accounts.book(holder, 1, SAVED);
        }
        let most = 2 * STRIPES * STRIPE_ACCOUNTS;
        assert!(accounts.known() <= most, "{}", accounts.known());
    }
}
