//! The budgets of cost: of connections, users, addresses and namespaces.

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use parking_lot::Mutex;
use trunkline_core::cost::Cost;
use trunkline_core::ids::UserId;

use super::account::{Account, Budget, Standing};
use super::accounts::Accounts;
use super::top::Top;
use crate::limits::CostLimits;
use crate::metrics::Throttle;
use crate::timer::{TICK, Tick};

/// The ticks between two lines of the log about clients in debt: a minute.
const REPORT: Tick = 600;
const _: () = assert!(TICK.as_millis() * REPORT as u128 == 60_000);

/// How many times shorter than for users the time is for which addresses save: a storm of connections
/// from one address comes at once.
const ADDRESS_BURST: u32 = 5;

/// Those who pay for the work of one connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holders<'a, A> {
    /// The user of the session; `None` without a session.
    pub(crate) user: Option<UserId>,
    /// The name of the user; empty without a session.
    pub(crate) name: &'a str,
    /// The namespace of the user; empty without one.
    pub(crate) namespace: &'a str,
    /// The address of the connection.
    pub(crate) address: A,
}

/// A debt that binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Debt {
    /// The budget that is spent.
    pub(crate) of: Throttle,
    /// The ticks until it is paid.
    pub(crate) ticks: Tick,
}

/// The budgets of a gateway, the same for all its shards. `A` is an address.
pub(crate) struct Budgets<A> {
    connection: Option<Budget>,
    /// The users, also where only connections have a budget: it binds beside other users.
    users: Option<Accounts<UserId>>,
    /// Whether users have a budget.
    users_pay: bool,
    addresses: Option<Accounts<A>>,
    /// By the hash of the name.
    namespaces: Option<Accounts<u64>>,
    hash: RandomState,
    top: Mutex<Tops<A>>,
    /// The tick from which on the next line of the log may be written.
    report_at: AtomicU32,
}

/// The users and addresses that cost most since the last line of the log.
struct Tops<A> {
    since: Tick,
    users: Top<UserId>,
    addresses: Top<A>,
}

/// How a new connection begins, by the account of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Welcome {
    /// The ticks for which it has to wait, because the address is in debt; 0 without a debt.
    pub(crate) wait: Tick,
    /// Whether the slow lane reads it: the address has spent much of its savings while the gateway
    /// serves another one that has not.
    pub(crate) is_slow: bool,
}

/// How a connection stands after all who pay for it have paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Whether all who paid live within their budgets.
    pub(crate) is_light: bool,
    /// Whether the user, the address or the namespace lives within its budget, and has for a while, so
    /// that serving it binds others.
    pub(crate) binds_others: bool,
    /// Whether the slow lane reads the connection: its own account, its user or its namespace has spent
    /// much of its savings while the gateway serves another one that has not, or its address is in
    /// debt. Without a session: its address has spent much.
    pub(crate) is_slow: bool,
    /// The longest debt that binds; `None` without one.
    pub(crate) debt: Option<Debt>,
}

impl Settled {
    fn note(&mut self, of: Throttle, standing: Standing) {
        self.is_light &= standing.is_light();
        self.binds_others |= standing == Standing::Light && of != Throttle::Connection;
        if let Standing::Debt(ticks) = standing
            && self.debt.is_none_or(|debt| debt.ticks < ticks)
        {
            self.debt = Some(Debt { of, ticks });
        }
    }
}

impl<A: Copy + Eq + Hash + fmt::Display> Budgets<A> {
    /// Makes the budgets that these limits ask for. Returns `None` without any.
    pub(crate) fn new(limits: &CostLimits) -> Option<Self> {
        let budget = |per_second| Budget::new(per_second, limits.burst);
        let connection = budget(limits.connection);
        let user = budget(limits.user);
        let address = Budget::new(limits.address, limits.burst / ADDRESS_BURST);
        let namespace = budget(limits.namespace);
        let any = connection.or(user).or(address).or(namespace);
        any.map(|_| Self {
            connection,
            users: user.or(connection).map(Accounts::new),
            users_pay: user.is_some(),
            addresses: address.map(Accounts::new),
            namespaces: namespace.map(Accounts::new),
            hash: RandomState::new(),
            top: Mutex::new(Tops {
                since: 0,
                users: Top::default(),
                addresses: Top::default(),
            }),
            report_at: AtomicU32::new(0),
        })
    }

    /// Notes that the gateway serves a connection. Returns whether that binds others: whether its
    /// user, its address or its namespace lives within its budget.
    pub(crate) fn serve(&self, holders: &Holders<'_, A>, now: Tick) -> bool {
        let users = self.users.as_ref().zip(holders.user);
        let user = users.is_some_and(|(users, user)| users.serve(user, now));
        let addresses = self.addresses.as_ref();
        let address = addresses.is_some_and(|addresses| addresses.serve(holders.address, now));
        let namespaces = self.namespaces.as_ref().zip(self.namespace(holders));
        let namespace = namespaces.is_some_and(|(of, namespace)| of.serve(namespace, now));
        user || address || namespace
    }

    /// Books work on the accounts of all who pay for a connection. `own` is the account of the
    /// connection itself.
    pub(crate) fn settle(
        &self,
        own: &mut Option<Account>,
        holders: &Holders<'_, A>,
        now: Tick,
        cost: Cost,
    ) -> Settled {
        let mut settled = Settled {
            is_light: true,
            binds_others: false,
            is_slow: false,
            debt: None,
        };
        if let Some(budget) = &self.connection {
            let own = own.get_or_insert_with(|| Account::full(budget, now));
            let mut standing = own.book(budget, now, cost);
            let users = self.users.as_ref();
            let binds = standing != Standing::Light
                && users.is_some_and(|users| users.serves_another(holders.user, now));
            if let (Standing::Debt(_), false) = (standing, binds) {
                own.forgive();
                standing = Standing::Within;
            }
            settled.is_slow |= binds;
            settled.note(Throttle::Connection, standing);
        }
        if let (Some(users), Some(user)) = (&self.users, holders.user) {
            let standing = users.book(user, now, cost);
            settled.binds_others |= standing == Standing::Light;
            if self.users_pay {
                settled.is_slow |= users.waits_for_another(user, standing, now);
                settled.note(Throttle::User, standing);
            }
        }
        if let Some(addresses) = &self.addresses {
            let standing = addresses.book(holders.address, now, cost);
            // Many clients may share an address: sessions are slow once it is in debt.
            settled.is_slow |= match holders.user {
                Some(_) => matches!(standing, Standing::Debt(_)),
                None => addresses.waits_for_another(holders.address, standing, now),
            };
            settled.note(Throttle::Address, standing);
        }
        if let (Some(namespaces), Some(namespace)) = (&self.namespaces, self.namespace(holders)) {
            let standing = namespaces.book(namespace, now, cost);
            settled.is_slow |= namespaces.waits_for_another(namespace, standing, now);
            settled.note(Throttle::Namespace, standing);
        }
        if !settled.is_light {
            self.count(holders, now, cost);
        }
        if settled.debt.is_some() {
            self.report(now);
        }
        settled
    }

    /// Books work for a request, which no connection of a shard brought. Returns the longest debt that
    /// binds; `None` without one.
    pub(crate) fn settle_request(
        &self,
        holders: &Holders<'_, A>,
        now: Tick,
        cost: Cost,
    ) -> Option<Debt> {
        if holders.user.is_some() {
            self.serve(holders, now);
        }
        // A request has no account of its own: this one is full, and forgotten.
        self.settle(&mut None, holders, now, cost).debt
    }

    /// Books work for a user whose connection is gone.
    pub(crate) fn book_user(&self, user: UserId, now: Tick, cost: Cost) {
        if let Some(users) = &self.users {
            users.book(user, now, cost);
        }
    }

    /// Books work on the account of an address. Returns the ticks for which a new connection of the
    /// address has to wait; 0 without a debt.
    pub(crate) fn wait_of(&self, address: A, now: Tick, cost: Cost) -> Tick {
        let addresses = self.addresses.as_ref();
        match addresses.map(|addresses| addresses.book(address, now, cost)) {
            Some(Standing::Debt(ticks)) => ticks,
            _ => 0,
        }
    }

    /// Whether the gateway served somebody else in the last second who lives within the budget: another
    /// user, or another address where users have no budgets.
    pub(crate) fn serves_another(&self, than: &Holders<'_, A>, now: Tick) -> bool {
        match (&self.users, &self.addresses) {
            (Some(users), _) => users.serves_another(than.user, now),
            (None, Some(addresses)) => addresses.serves_another(Some(than.address), now),
            (None, None) => false,
        }
    }

    /// Forgets some of the accounts that are full. Returns whether any account is left.
    pub(crate) fn forget(&self, now: Tick) -> bool {
        let users = self.users.as_ref().is_some_and(|of| of.forget(now));
        let addresses = self.addresses.as_ref().is_some_and(|of| of.forget(now));
        let namespaces = self.namespaces.as_ref().is_some_and(|of| of.forget(now));
        users || addresses || namespaces
    }

    /// Returns how a new connection from an address begins.
    pub(crate) fn welcome(&self, address: A, now: Tick) -> Welcome {
        let Some(addresses) = &self.addresses else {
            return Welcome {
                wait: 0,
                is_slow: false,
            };
        };
        let standing = addresses.book(address, now, Cost::NONE);
        Welcome {
            wait: match standing {
                Standing::Debt(ticks) => ticks,
                _ => 0,
            },
            is_slow: addresses.waits_for_another(address, standing, now),
        }
    }

    /// Returns the holder of the namespace's account; `None` without a session.
    fn namespace(&self, holders: &Holders<'_, A>) -> Option<u64> {
        holders.user.map(|_| self.hash.hash_one(holders.namespace))
    }

    /// Counts the cost of those who are not within their budgets, for the log.
    fn count(&self, holders: &Holders<'_, A>, now: Tick, cost: Cost) {
        let mut top = self.top.lock();
        if now.saturating_sub(top.since) > 2 * REPORT {
            *top = Tops {
                since: now,
                users: Top::default(),
                addresses: Top::default(),
            };
        }
        if let Some(user) = holders.user {
            top.users.add(user, cost, || match holders.namespace {
                "" => holders.name.to_owned(),
                namespace => format!("{} of {namespace}", holders.name),
            });
        }
        let address = holders.address;
        top.addresses.add(address, cost, || address.to_string());
    }

    /// Writes who costs most to the log, at most once a minute.
    fn report(&self, now: Tick) {
        let at = self.report_at.load(Relaxed);
        let next = now + REPORT;
        let is_due = now >= at;
        if !is_due
            || self
                .report_at
                .compare_exchange(at, next, Relaxed, Relaxed)
                .is_err()
        {
            return;
        }
        let (users, addresses) = {
            let mut top = self.top.lock();
            let time = TICK * (now.saturating_sub(top.since) + 1);
            top.since = now;
            (top.users.take(time), top.addresses.take(time))
        };
        tracing::warn!(
            users,
            addresses,
            "clients wait because their work costs more than their budgets: see trunkline_throttled_total"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use trunkline_core::store::TimelineId;

    use super::*;

    const DEAR: Cost = Cost::micros(200_000);

    /// Makes budgets of 20 ms of a core in each second for some of the holders.
    fn budgets(of: &[Throttle]) -> Budgets<u64> {
        let some = |throttle| Duration::from_millis(if of.contains(&throttle) { 20 } else { 0 });
        let limits = CostLimits {
            connection: some(Throttle::Connection),
            user: some(Throttle::User),
            address: some(Throttle::Address),
            namespace: some(Throttle::Namespace),
            burst: Duration::from_secs(4),
        };
        Budgets::new(&limits).unwrap()
    }

    fn holders(user: u128, namespace: &str, address: u64) -> Holders<'_, u64> {
        Holders {
            user: (user > 0).then_some(TimelineId(user)),
            name: "somebody",
            namespace,
            address,
        }
    }

    #[test]
    fn a_connection_waits_for_itself_and_only_beside_another_user() {
        let budgets = budgets(&[Throttle::Connection]);
        let hugo = holders(1, "", 1);
        let (mut own, mut other) = (None, None);
        assert!(budgets.serve(&hugo, 1));
        // Serving a user does not bind the same user.
        assert_eq!(budgets.settle(&mut own, &hugo, 1, DEAR).debt, None);
        assert!(budgets.serve(&holders(2, "", 1), 1));
        let debt = budgets.settle(&mut own, &hugo, 1, DEAR).debt.unwrap();
        assert_eq!((debt.of, debt.ticks), (Throttle::Connection, 100));
        assert_eq!(budgets.settle(&mut other, &hugo, 1, Cost::NONE).debt, None);
        // A connection without a session has an account too.
        let nobody = holders(0, "", 1);
        let debt = budgets.settle(&mut other, &nobody, 1, DEAR).debt;
        assert_eq!(debt.map(|debt| debt.ticks), Some(60));
    }

    #[test]
    fn each_budget_binds_beside_others_of_its_kind_and_the_longest_debt_counts() {
        let budgets = budgets(&[Throttle::User, Throttle::Address, Throttle::Namespace]);
        let heavy = holders(1, "large", 1);
        let debt_beside = |light: &Holders<'_, u64>, now| {
            assert!(budgets.serve(light, now));
            let debt = budgets.settle(&mut None, &heavy, now, DEAR).debt;
            debt.map(|debt| debt.of)
        };
        assert_eq!(
            debt_beside(&holders(0, "", 2), 100),
            Some(Throttle::Address)
        );
        let user = debt_beside(&holders(2, "large", 1), 200);
        assert_eq!(user, Some(Throttle::User));
        // The user's debt is larger: it was not forgiven.
        let namespace = debt_beside(&holders(3, "small", 1), 300);
        assert_eq!(namespace, Some(Throttle::User));
        assert_eq!(
            debt_beside(&holders(1, "small", 1), 400),
            Some(Throttle::Namespace)
        );
    }

    #[test]
    fn users_bind_others_although_their_common_address_is_heavy() {
        let budgets = budgets(&[Throttle::User, Throttle::Address]);
        let (hugo, lucy) = (holders(1, "", 1), holders(2, "", 1));
        let settled = budgets.settle(&mut None, &hugo, 1, DEAR);
        assert!(!settled.binds_others && settled.debt.is_none());
        let settled = budgets.settle(&mut None, &lucy, 1, Cost::NONE);
        assert!(settled.binds_others);
        assert!(!budgets.serves_another(&hugo, 1));
        assert!(budgets.serve(&lucy, 1) && !budgets.serve(&hugo, 1));
        assert!(budgets.serves_another(&hugo, 1) && !budgets.serves_another(&lucy, 1));
        let debt = budgets.settle(&mut None, &hugo, 1, DEAR).debt;
        assert_eq!(debt.map(|debt| debt.of), Some(Throttle::User));
    }

    #[test]
    fn newcomers_of_an_address_that_spends_much_are_slow_beside_another_one() {
        let budgets = budgets(&[Throttle::Address]);
        let welcome = |wait, is_slow| Welcome { wait, is_slow };
        let newcomer = holders(0, "", 1);
        assert_eq!(budgets.welcome(1, 1), welcome(0, false));
        // It has spent a part of its savings of 16 ms, and then more than them.
        budgets.settle(&mut None, &newcomer, 1, Cost::micros(8_000));
        assert_eq!(budgets.welcome(1, 1), welcome(0, false), "it is alone");
        assert!(!budgets.serves_another(&newcomer, 1));
        assert!(budgets.serve(&holders(2, "", 2), 1));
        assert!(budgets.serves_another(&newcomer, 1));
        assert_eq!(budgets.welcome(1, 1), welcome(0, true));
        assert_eq!(budgets.welcome(2, 1), welcome(0, false));
        let settled = |holders: &Holders<'_, u64>| {
            let settled = budgets.settle(&mut None, holders, 1, Cost::NONE);
            (settled.is_slow, settled.debt.is_some())
        };
        assert_eq!(settled(&newcomer), (true, false));
        assert_eq!(settled(&holders(1, "", 1)), (false, false), "a session");
        budgets.settle(&mut None, &newcomer, 1, Cost::micros(12_000));
        assert_eq!(budgets.welcome(1, 1), welcome(2, true));
        assert_eq!(settled(&holders(1, "", 1)), (true, true));
    }

    #[test]
    fn the_log_names_those_in_debt_and_no_light_ones() {
        let budgets = budgets(&[Throttle::User]);
        budgets.settle(&mut None, &holders(2, "", 2), 1, Cost::micros(1));
        budgets.settle(&mut None, &holders(1, "acme", 1), 1, DEAR);
        let mut top = budgets.top.lock();
        let second = Duration::from_secs(1);
        assert_eq!(top.users.take(second), "somebody of acme 200 ms/s");
        assert_eq!(top.addresses.take(second), "1 200 ms/s");
    }

    #[test]
    fn without_a_budget_there_are_none() {
        let limits = CostLimits::default();
        assert!(Budgets::<u64>::new(&limits).is_none());
    }
}
