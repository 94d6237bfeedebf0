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

/// How a connection stands after all who pay for it have paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Whether all who paid live within their budgets.
    pub(crate) is_light: bool,
    /// Whether the user, the address or the namespace lives within its budget, so that serving it
    /// binds others.
    pub(crate) binds_others: bool,
    /// The longest debt that binds; `None` without one.
    pub(crate) debt: Option<Debt>,
}

impl Settled {
    fn note(&mut self, of: Throttle, standing: Standing) {
        self.is_light &= standing == Standing::Light;
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
        let address = budget(limits.address);
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
            debt: None,
        };
        if let Some(budget) = &self.connection {
            let own = own.get_or_insert_with(|| Account::full(budget, now));
            let mut standing = own.book(budget, now, cost);
            let users = self.users.as_ref();
            if let Standing::Debt(_) = standing
                && !users.is_some_and(|users| users.serves_another(holders.user, now))
            {
                own.forgive();
                standing = Standing::Within;
            }
            settled.note(Throttle::Connection, standing);
        }
        if let (Some(users), Some(user)) = (&self.users, holders.user) {
            let standing = users.book(user, now, cost);
            settled.binds_others |= standing == Standing::Light;
            if self.users_pay {
                settled.note(Throttle::User, standing);
            }
        }
        if let Some(addresses) = &self.addresses {
            let standing = addresses.book(holders.address, now, cost);
            settled.note(Throttle::Address, standing);
        }
        if let (Some(namespaces), Some(namespace)) = (&self.namespaces, self.namespace(holders)) {
            let standing = namespaces.book(namespace, now, cost);
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

    /// Books work for a user whose connection is gone.
    pub(crate) fn book_user(&self, user: UserId, now: Tick, cost: Cost) {
        if let Some(users) = &self.users {
            users.book(user, now, cost);
        }
    }

    /// Returns the ticks for which a new connection of an address has to wait; 0 without a debt.
    pub(crate) fn wait_of(&self, address: A, now: Tick) -> Tick {
        let addresses = self.addresses.as_ref();
        match addresses.map(|addresses| addresses.book(address, now, Cost::NONE)) {
            Some(Standing::Debt(ticks)) => ticks,
            _ => 0,
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
