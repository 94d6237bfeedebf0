//! One account of cost: what its holder saved, or owes, and when that was counted.

use std::time::Duration;

use trunkline_core::cost::Cost;

use crate::timer::{TICKS_PER_SECOND, Tick};

/// The time after which a holder that spent much counts as one that spends little: two seconds. Who waits
/// in a slow lane spends little only because it waits, and spends much again as soon as it is out.
const SETTLES: Tick = 2 * TICKS_PER_SECOND;

/// The time of a core that a holder gets in each second, and the most that it can save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Nanoseconds of a core that an account gets in each tick; not 0.
    per_tick: i64,
    /// Nanoseconds of a core that an account can save.
    most: i64,
}

impl Budget {
    /// Makes a budget of `per_second` of a core in each second, of which `burst` seconds add up.
    /// Returns `None` for 0, which means no budget.
    pub(crate) fn new(per_second: Duration, burst: Duration) -> Option<Self> {
        let nanos = i64::try_from(per_second.as_nanos()).unwrap_or(i64::MAX);
        let per_tick = nanos / i64::from(TICKS_PER_SECOND);
        let ticks = burst.as_millis() * u128::from(TICKS_PER_SECOND) / 1_000;
        let ticks = i64::try_from(ticks).unwrap_or(i64::MAX);
        (per_tick > 0).then(|| Self {
            per_tick,
            most: per_tick.saturating_mul(ticks).max(per_tick),
        })
    }

    /// The level from which on the holder lives within its budget.
    fn light_from(&self) -> i64 {
        let second = self.per_tick.saturating_mul(i64::from(TICKS_PER_SECOND));
        (self.most / 4 * 3).max(self.most.saturating_sub(second / 3))
    }

    /// The number of ticks after which an empty account is full.
    pub(crate) fn ticks_to_fill(&self) -> Tick {
        Tick::try_from(self.most / self.per_tick + 1).unwrap_or(Tick::MAX / 4)
    }
}

/// How an account stands after a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The account has spent no more of its savings than a third of a second of its budget, or a quarter if
    /// that is less: its holder lives within its budget.
    Light,
    /// As [`Standing::Light`], but within the last two seconds the holder was not: others do not wait
    /// for it.
    Settling,
    /// The account has less, and owes nothing.
    Within,
    /// The account owes work. It owes nothing any more after this number of ticks.
    Debt(Tick),
}

impl Standing {
    /// Whether the holder lives within its budget.
    pub(crate) const fn is_light(self) -> bool {
        matches!(self, Self::Light | Self::Settling)
    }
}

/// What one holder saved or owes. Every call has to pass the same [`Budget`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    /// Nanoseconds of a core; negative for a debt.
    level: i64,
    at: Tick,
    /// The tick in which the holder has settled; 0 if it never spent much.
    settled_at: Tick,
}

impl Account {
    /// Makes a full account.
    pub(crate) const fn full(budget: &Budget, now: Tick) -> Self {
        Self {
            level: budget.most,
            at: now,
            settled_at: 0,
        }
    }

    /// Books work that was done, and says how the account stands.
    pub(crate) fn book(&mut self, budget: &Budget, now: Tick, cost: Cost) -> Standing {
        // Another shard may have seen a later tick.
        let ticks = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        let more = budget.per_tick.saturating_mul(i64::from(ticks));
        self.level = self.level.saturating_add(more).min(budget.most);
        self.level = self.level.saturating_sub(i64::from(cost.as_nanos()));
        if self.level >= budget.light_from() {
            return match self.at < self.settled_at {
                true => Standing::Settling,
                false => Standing::Light,
            };
        }
        self.settled_at = self.at.saturating_add(SETTLES);
        if self.level < 0 {
            let ticks = self.level.unsigned_abs().div_ceil(budget.per_tick as u64);
            Standing::Debt(Tick::try_from(ticks).unwrap_or(Tick::MAX / 4))
        } else {
            Standing::Within
        }
    }

    /// Forgives a debt.
    pub(crate) fn forgive(&mut self) {
        self.level = self.level.max(0);
    }

    /// Whether the account is as full as a new one at `now`.
    pub(crate) fn is_full(&self, budget: &Budget, now: Tick) -> bool {
        let mut later = *self;
        later.book(budget, now, Cost::NONE);
        later.level == budget.most
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 20 ms in each second; 80 ms can be saved.
    fn budget() -> Budget {
        Budget::new(Duration::from_millis(20), Duration::from_secs(4)).unwrap()
    }

    #[test]
    fn savings_are_spent_and_a_debt_is_paid_by_time() {
        let budget = budget();
        let mut account = Account::full(&budget, 5);
        let mut book = |now, millis: u64| account.book(&budget, now, Cost::micros(1_000 * millis));
        // A third of a second of the budget is 6.7 ms.
        assert_eq!(book(5, 6), Standing::Light);
        assert_eq!(book(5, 1), Standing::Within);
        assert_eq!(book(5, 73), Standing::Within);
        // A tick pays 2 ms.
        assert_eq!(book(5, 5), Standing::Debt(3));
        assert_eq!(book(7, 0), Standing::Debt(1));
        assert_eq!(book(8, 0), Standing::Within);
        // An earlier tick, of another shard, gives nothing.
        assert_eq!(book(0, 2), Standing::Debt(1));
        assert_eq!(book(9_000, 0), Standing::Light);
        assert!(account.is_full(&budget, 9_000));
    }

    #[test]
    fn a_forgiven_debt_leaves_nothing_saved() {
        let budget = budget();
        let mut account = Account::full(&budget, 0);
        assert!(matches!(
            account.book(&budget, 0, Cost::MAX),
            Standing::Debt(_)
        ));
        account.forgive();
        assert_eq!(account.book(&budget, 0, Cost::NONE), Standing::Within);
        assert_eq!(account.book(&budget, 0, Cost::nanos(1)), Standing::Debt(1));
        let mut saved = Account::full(&budget, 0);
        saved.forgive();
        assert_eq!(saved, Account::full(&budget, 0));
    }

    #[test]
    fn who_spent_much_settles_for_two_seconds() {
        let budget = budget();
        let mut account = Account::full(&budget, 0);
        let mut book = |now, millis: u64| account.book(&budget, now, Cost::micros(1_000 * millis));
        assert_eq!(book(0, 8), Standing::Within);
        // A tick later the account is nearly full, and stays so for as long as little is spent.
        assert_eq!(book(1, 0), Standing::Settling);
        assert_eq!(book(19, 1), Standing::Settling);
        assert_eq!(book(20, 1), Standing::Light);
        assert_eq!(book(20, 8), Standing::Within);
        assert_eq!(book(39, 0), Standing::Settling);
        assert_eq!(book(40, 0), Standing::Light);
    }

    #[test]
    fn no_time_is_no_budget_and_no_burst_is_one_tick() {
        assert_eq!(Budget::new(Duration::ZERO, Duration::from_secs(4)), None);
        let least = Budget::new(Duration::from_secs(1), Duration::ZERO).unwrap();
        assert_eq!(least.most, 100_000_000);
        assert_eq!(least.ticks_to_fill(), 2);
        let most = Budget::new(Duration::MAX, Duration::MAX).unwrap();
        assert_eq!(
            Account::full(&most, 0).book(&most, Tick::MAX, Cost::MAX),
            Standing::Light
        );
    }

    proptest! {
        /// Over any time, an account that is asked before each payment pays no more than its savings,
        /// its budget for the time, and the payment with which it went into debt.
        #[test]
        fn no_more_than_promised(payments in prop::collection::vec((0..30u32, 0..40_000u64), 1..200)) {
            let budget = budget();
            let mut account = Account::full(&budget, 0);
            let (mut now, mut spent, mut last) = (0, 0, 0);
            for (ticks, micros) in payments {
                now += ticks;
                if !matches!(account.book(&budget, now, Cost::NONE), Standing::Debt(_)) {
                    account.book(&budget, now, Cost::micros(micros));
                    (spent, last) = (spent + micros, micros);
                }
                prop_assert!(spent - last <= 80_000 + 2_000 * u64::from(now));
            }
        }

        /// The debt is over after the time that the account names, and not a tick before.
        #[test]
        fn as_long_as_it_says(micros in 80_001..4_000_000u64) {
            let budget = budget();
            let mut account = Account::full(&budget, 0);
            let Standing::Debt(ticks) = account.book(&budget, 0, Cost::micros(micros)) else {
                panic!("more than was saved");
            };
            let before = account.book(&budget, ticks - 1, Cost::NONE);
            prop_assert_eq!(before, Standing::Debt(1));
            prop_assert_eq!(account.book(&budget, ticks, Cost::NONE), Standing::Within);
        }
    }
}
