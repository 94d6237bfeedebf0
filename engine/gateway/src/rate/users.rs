//! The allowances of users, whose connections may be on several shards.
//!
//! All shards share one map in stripes. Each stripe has a lock, which is held for a few additions, and
//! only if there is a limit.
//!
//! The map forgets users whose buckets are full again. That needs no search: each stripe has a young and
//! an old map. A user who sends something moves to the young map. When the young map is old enough, it
//! becomes the old one, and the old one is dropped.

use std::collections::HashMap;

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use trunkline_core::ids::UserId;
use trunkline_core::store::IdBuildHasher;

use super::{Allowance, Rules, Sent, Short};
use crate::timer::Tick;

const STRIPES: usize = 64;

/// The number of users of a stripe's young map at most. Beyond, the young map becomes the old one early.
/// Users who were silent meanwhile then begin with a full allowance, never with less.
const STRIPE_USERS: usize = 16_384;

type Users = HashMap<UserId, Allowance, IdBuildHasher>;

#[derive(Default)]
struct Stripe {
    young: Users,
    old: Users,
    turned: Tick,
}

/// The amounts that all connections of each user together may still send.
pub(crate) struct UserRates {
    rules: Rules,
    /// The number of ticks after which an unused entry is as full as a new one.
    life: Tick,
    stripes: Box<[CachePadded<Mutex<Stripe>>]>,
}

impl UserRates {
    /// Makes the rates of users. `frame` is the number of bytes of a frame at most.
    pub(crate) fn new(rules: Rules, frame: u32) -> Self {
        Self {
            life: rules.ticks_to_forget(frame),
            rules,
            stripes: (0..STRIPES).map(|_| CachePadded::default()).collect(),
        }
    }

    /// Pays for something that a user sent on any connection.
    ///
    /// # Errors
    /// Nothing is left of a rate.
    pub(crate) fn pay(&self, user: UserId, now: Tick, sent: Sent) -> Result<(), Short> {
        let rules = &self.rules;
        // The maps use the low half of the id.
        let mut stripe = self.stripes[(user.0 >> 64) as usize % STRIPES].lock();
        let Stripe { young, old, turned } = &mut *stripe;
        if now.saturating_sub(*turned) > self.life || young.len() >= STRIPE_USERS {
            *old = std::mem::take(young);
            *turned = now;
        }
        let allowance = young.entry(user).or_insert_with(|| {
            old.remove(&user)
                .unwrap_or_else(|| Allowance::new(rules, now))
        });
        allowance.pay(rules, now, sent)
    }

    /// Forgets users whose allowances are full again, without waiting for a lock. Returns whether any
    /// user may be left.
    pub(crate) fn forget(&self, now: Tick) -> bool {
        let mut left = false;
        for stripe in &self.stripes {
            let Some(mut stripe) = stripe.try_lock() else {
                left = true;
                continue;
            };
            if now.saturating_sub(stripe.turned) > self.life {
                stripe.old = std::mem::take(&mut stripe.young);
                stripe.turned = now;
            }
            left |= !stripe.young.is_empty() || !stripe.old.is_empty();
        }
        left
    }

    #[cfg(test)]
    fn known(&self) -> usize {
        let len = |stripe: &Stripe| stripe.young.len() + stripe.old.len();
        self.stripes.iter().map(|stripe| len(&stripe.lock())).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use trunkline_core::store::TimelineId;

    use super::*;
    use crate::limits::Rates;

    fn users(commands: u32) -> UserRates {
        let rates = Rates {
            commands,
            ..Rates::default()
        };
        let rules = Rules::new(&rates, Duration::from_secs(2)).unwrap();
        UserRates::new(rules, 1 << 20)
    }

    #[test]
    fn users_do_not_share_and_connections_do() {
        let rates = users(1);
        let [alice, bob] = [1, 2].map(TimelineId);
        for user in [alice, bob] {
            assert_eq!(rates.pay(user, 5, Sent::Command), Ok(()));
            assert_eq!(rates.pay(user, 5, Sent::Command), Ok(()));
            assert!(rates.pay(user, 5, Sent::Command).is_err());
        }
    }

    #[test]
    fn the_silent_are_forgotten_once_that_changes_nothing() {
        let rates = users(1);
        let [alice, bob] = [1, 2].map(TimelineId);
        for _ in 0..2 {
            assert_eq!(rates.pay(alice, 0, Sent::Command), Ok(()));
        }
        // Whatever others do meanwhile, she gets what the time is worth and no more.
        let mut granted = 0;
        for now in 1..=100 {
            let _ = rates.pay(bob, now, Sent::Command);
            granted += u32::from(rates.pay(alice, now, Sent::Command).is_ok());
        }
        assert_eq!(granted, 10);
        assert_eq!(rates.known(), 2);
        // Twice the life later bob alone is known: both are in one stripe.
        for now in [1_000, 2_000] {
            assert_eq!(rates.pay(bob, now, Sent::Command), Ok(()));
        }
        assert_eq!(rates.known(), 1);
        // And nobody, if nobody sends anything.
        assert!(rates.forget(2_010), "it is not full yet");
        let life = rates.life;
        assert!(rates.forget(2_001 + life) && !rates.forget(2_002 + 2 * life));
        assert_eq!(rates.known(), 0);
    }

    #[test]
    fn a_crowd_stays_bounded() {
        let rates = users(1);
        for user in 0..3 * STRIPE_USERS as u128 {
            assert_eq!(rates.pay(TimelineId(user), 1, Sent::Command), Ok(()));
            assert_eq!(rates.pay(TimelineId(user), 1, Sent::Command), Ok(()));
        }
        assert!(rates.known() <= 2 * STRIPE_USERS, "{}", rates.known());
        // The last user is still known.
        let last = TimelineId(3 * STRIPE_USERS as u128 - 1);
        assert!(rates.pay(last, 1, Sent::Command).is_err());
    }
}
