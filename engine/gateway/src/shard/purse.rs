//! Work that no account has paid for yet, and what is known of the accounts.

use std::collections::HashMap;

use trunkline_core::cost::Cost;

use super::rate::Beyond;
use crate::metrics::Throttle;
use crate::rate::{Account, Settled};
use crate::timer::{TICKS_PER_SECOND, Tick};

/// The cost of the work that a connection gets before the accounts pay for it: they have locks, and
/// most messages must not take them.
const PIECE: Cost = Cost::micros(500);

/// A table that has held more connections than this gives its memory back once it is empty.
const KEPT: usize = 4_096;

/// The work for one connection that no account has paid for yet, and the debt of the accounts.
#[derive(Debug)]
pub(crate) struct Purse {
    /// The work that no account has paid for yet.
    spent: Cost,
    /// The tick at which the debt is paid, in the bits of [`Self::TICKS`]; 0 without a debt. The other
    /// bit is set if serving this connection bound nobody at the last payment.
    until: Tick,
}

impl Purse {
    /// The bits of a tick. A gateway that runs for six years has fewer.
    const TICKS: Tick = Tick::MAX >> 1;

    /// Makes the purse of a connection for which some work is done already.
    pub(super) const fn new(spent: Cost) -> Self {
        Self { spent, until: 0 }
    }

    /// Adds work. Returns whether the accounts are to pay now.
    #[inline]
    pub(super) fn spend(&mut self, cost: Cost) -> bool {
        self.spent += cost;
        self.spent >= PIECE
    }

    /// The work that no account has paid for yet.
    pub(super) const fn spent(&self) -> Cost {
        self.spent
    }

    /// Forgets the work: nobody pays for it.
    pub(super) const fn forget(&mut self) {
        self.spent = Cost::NONE;
    }

    /// Lets the connection wait until a tick, because its address is in debt.
    pub(super) const fn wait_until(&mut self, tick: Tick) {
        self.until = tick & Self::TICKS;
    }

    /// Whether the accounts had a debt when they were last asked.
    #[inline]
    pub(super) const fn had_debt(&self) -> bool {
        self.until & Self::TICKS != 0
    }

    /// Whether the accounts are in debt at `now`.
    #[inline]
    pub(super) const fn owes(&self, now: Tick) -> bool {
        self.until & Self::TICKS > now
    }

    /// The ticks until the debt is paid; 0 without a debt.
    pub(super) const fn remains(&self, now: Tick) -> Tick {
        self.paid_at().saturating_sub(now)
    }

    /// The tick at which the debt is paid.
    const fn paid_at(&self) -> Tick {
        self.until & Self::TICKS
    }

    /// Whether serving this connection may bind others: whether its user, address or namespace lived
    /// within the budget at the last payment. Once in a second the answer is yes, because the
    /// accounts have changed meanwhile.
    #[inline]
    pub(super) const fn may_bind_others(&self, now: Tick) -> bool {
        self.until <= Self::TICKS || now.is_multiple_of(TICKS_PER_SECOND)
    }

    /// The tick at which to ask the accounts again: when the debt is paid, or after `most` ticks if
    /// that is earlier. The slot of the connection adds up to 0.3 s, so that the connections of one
    /// client, which often have neighbouring slots, do not all go on in the same tick.
    pub(super) fn ask_again(&self, slot: u32, now: Tick, most: Tick) -> Tick {
        /// The number of ticks over which the ends of pauses are spread.
        const SPREAD: Tick = 4;
        self.paid_at().min(now + most) + slot % SPREAD
    }
}

/// What the last payment of the accounts left, for the connections of a shard by slot.
///
/// A connection is in the table after its accounts have paid for the first time. Idle connections
/// are not.
#[derive(Debug, Default)]
pub(crate) struct Payments(HashMap<u32, Paid>);

/// What the last payment of the accounts of one connection left.
#[derive(Debug)]
struct Paid {
    /// The account of the connection. `None` where connections have no budget.
    own: Option<Account>,
    /// The tick of the payment.
    at: Tick,
    /// The budget that the debt is of.
    of: Throttle,
}

impl Payments {
    /// Lets the accounts of a connection pay for the work in its purse. `pay` books the cost, also on
    /// the account of the connection.
    pub(super) fn settle(
        &mut self,
        slot: u32,
        purse: &mut Purse,
        now: Tick,
        pay: impl FnOnce(&mut Option<Account>, Cost) -> Settled,
    ) -> Settled {
        let spent = std::mem::take(&mut purse.spent);
        let paid = self.0.entry(slot).or_insert(Paid {
            own: None,
            at: now,
            of: Throttle::Address,
        });
        let settled = pay(&mut paid.own, spent);
        paid.at = now;
        purse.until = 0;
        if let Some(debt) = settled.debt {
            paid.of = debt.of;
            purse.until = now.saturating_add(debt.ticks).min(Purse::TICKS);
        }
        if !settled.binds_others {
            purse.until |= !Purse::TICKS;
        }
        settled
    }

    /// Whether the accounts of a connection have not paid in this tick.
    pub(super) fn may_pay(&self, slot: u32, now: Tick) -> bool {
        self.0.get(&slot).is_none_or(|paid| paid.at != now)
    }

    /// Returns the refusal of a command because of the debt; `None` without a debt.
    #[inline]
    pub(super) fn refusal(&self, slot: u32, purse: &Purse, now: Tick) -> Option<Beyond> {
        purse.owes(now).then(|| {
            let of = self.0.get(&slot).map_or(Throttle::Address, |paid| paid.of);
            Beyond {
                limit: of.name(),
                retry: purse.paid_at() - now,
            }
        })
    }

    /// Forgets a connection that is gone.
    pub(super) fn remove(&mut self, slot: u32) {
        if self.0.remove(&slot).is_some() && self.0.is_empty() && self.0.capacity() > KEPT {
            self.0 = HashMap::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Debt;

    fn settled(debt: Option<Debt>, binds_others: bool) -> Settled {
        Settled {
            is_light: debt.is_none(),
            is_slow: false,
            binds_others,
            debt,
        }
    }

    #[test]
    fn work_is_paid_for_in_pieces() {
        let mut purse = Purse::new(Cost::micros(100));
        assert!(!purse.spend(Cost::micros(399)));
        assert!(purse.spend(Cost::micros(1)));
        let mut payments = Payments::default();
        let mut booked = Cost::NONE;
        payments.settle(3, &mut purse, 7, |_, cost| {
            booked = cost;
            settled(None, true)
        });
        assert_eq!((booked, purse.spent()), (PIECE, Cost::NONE));
        purse.spend(Cost::MAX);
        purse.forget();
        assert!(!purse.spend(Cost::NONE));
    }

    #[test]
    fn a_debt_refuses_until_it_is_paid() {
        let (mut purse, mut payments) = (Purse::new(Cost::NONE), Payments::default());
        assert!(purse.may_bind_others(7) && !purse.had_debt());
        assert_eq!(payments.refusal(3, &purse, 7), None);
        let debt = Debt {
            of: Throttle::User,
            ticks: 25,
        };
        payments.settle(3, &mut purse, 7, |_, _| settled(Some(debt), false));
        assert!(!purse.may_bind_others(7) && !purse.may_bind_others(19));
        assert!(purse.may_bind_others(20));
        assert!(!payments.may_pay(3, 7) && payments.may_pay(3, 20) && payments.may_pay(4, 7));
        let refusal = |limit, retry| Some(Beyond { limit, retry });
        assert_eq!(payments.refusal(3, &purse, 7), refusal("user_cost", 25));
        assert_eq!(payments.refusal(3, &purse, 31), refusal("user_cost", 1));
        assert_eq!(purse.ask_again(4, 7, 10), 17);
        assert_eq!(
            [4, 5, 6, 7, 8].map(|slot| purse.ask_again(slot, 30, 10)),
            [32, 33, 34, 35, 32]
        );
        // The time is over, but nobody has asked the accounts.
        assert!(!purse.owes(32) && purse.had_debt());
        payments.settle(3, &mut purse, 32, |_, _| settled(None, true));
        assert!(!purse.had_debt() && purse.may_bind_others(32));
        payments.remove(3);
        assert!(payments.0.is_empty());
    }
}
