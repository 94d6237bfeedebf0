//! The order in which the members of one level of a fair queue are served.

use std::collections::VecDeque;

use slab::Slab;

use crate::cost::Cost;

/// The cost that newcomers may take, as a multiple of the cost that the others take, while both wait.
pub(super) const AHEAD: u64 = 8;

/// The least cost of an entry. So entries that cost nothing also use up a turn.
const LEAST: Cost = Cost::nanos(100);

/// The capacity of a list of members above which unused memory is freed.
const KEPT: usize = 1 << 10;

/// The part of a member that decides when it is served.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// The nanoseconds that the member may still take in its turn. A debt is below 0: an entry may
    /// cost more than what is left.
    credit: i64,
    /// The nanoseconds that a turn adds; at least 1.
    quantum: i64,
    /// The number of waiting entries.
    pub(super) entries: usize,
    /// The bytes of the waiting entries.
    pub(super) bytes: usize,
}

impl Share {
    /// Returns the share of a newcomer. Each turn serves it for `quantum`.
    pub(super) fn new(quantum: Cost) -> Self {
        let quantum = i64::from(quantum.as_nanos()).max(1);
        Self {
            credit: quantum,
            quantum,
            entries: 0,
            bytes: 0,
        }
    }

    /// Takes a cost from what is left of the turn.
    pub(super) fn pay(&mut self, cost: Cost) {
        self.credit = self.credit.saturating_sub(cost.as_nanos().into());
    }

    /// Counts an entry in.
    pub(super) fn enter(&mut self, bytes: usize) {
        self.entries += 1;
        self.bytes += bytes;
    }

    /// Counts an entry out.
    pub(super) fn leave(&mut self, bytes: usize) {
        self.entries -= 1;
        self.bytes -= bytes;
    }
}

/// A member of a round: a namespace, or a user of a namespace.
pub(super) trait Member {
    /// Returns the member's share.
    fn share(&mut self) -> &mut Share;
}

/// The next step of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Serve this member.
    Serve(usize),
    /// Forget this member. Its turn has come again, and nothing of it waits.
    Forget(usize),
}

/// The members of one level in the order in which they are served, by their place in a slab.
///
/// Deficit round robin, as in RFC 8290, section 4: a newcomer is served before the others, until it
/// has used up one turn or has no entry. Then it takes turns with the others. One rule is added, so
/// that newcomers without end cannot starve the others: while others wait, newcomers take at most
/// [`AHEAD`] times the cost of the others.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The newcomers.
    fresh: VecDeque<usize>,
    /// The members that take turns.
    turns: VecDeque<usize>,
    /// The nanoseconds that newcomers have taken more than others, in proportion.
    ahead: u64,
}

impl Round {
    /// Adds a newcomer.
    pub(super) fn add(&mut self, member: usize) {
        self.fresh.push_back(member);
    }

    /// Returns whether newcomers go before the others now.
    fn is_fresh_first(&self, quantum: u64) -> bool {
        !self.fresh.is_empty() && (self.turns.is_empty() || self.ahead < AHEAD * quantum)
    }

    /// Returns what to do next; `None` without members. `quantum` is a turn of weight 1.
    ///
    /// A member in debt misses turns until the debt is paid, so a call may take as many steps as its
    /// members have quanta of debt.
    pub(super) fn next<M: Member>(&mut self, members: &mut Slab<M>, quantum: Cost) -> Option<Step> {
        let quantum = u64::from(quantum.as_nanos());
        loop {
            if self.turns.is_empty() {
                self.ahead = 0;
            }
            let is_fresh = self.is_fresh_first(quantum);
            let list = if is_fresh {
                &mut self.fresh
            } else {
                &mut self.turns
            };
            let member = *list.front()?;
            let share = members[member].share();
            if share.entries > 0 && share.credit > 0 {
                return Some(Step::Serve(member));
            }
            list.pop_front();
            if share.credit <= 0 {
                share.credit += share.quantum;
                // A turn that pays a debt is a turn: newcomers do not wait for all of the debt.
                self.ahead = self.ahead.saturating_sub(quantum * AHEAD);
            } else if !is_fresh || self.turns.is_empty() {
                self.give_back();
                return Some(Step::Forget(member));
            }
            self.turns.push_back(member);
        }
    }

    /// Lets the member of the last [`Step::Serve`] pay for its entry, and ends its turn if the turn is
    /// used up. Alone, a member makes no debt.
    pub(super) fn served(&mut self, member: usize, share: &mut Share, cost: Cost) {
        let cost = cost.max(LEAST);
        let nanos = u64::from(cost.as_nanos());
        // A member is in one of the lists only.
        let is_fresh = self.fresh.front() == Some(&member);
        self.ahead = if is_fresh {
            let quantum = share.quantum.unsigned_abs();
            self.ahead.saturating_add(nanos.min(quantum))
        } else {
            self.ahead.saturating_sub(nanos * AHEAD)
        };
        share.pay(cost);
        if share.credit > 0 {
            return;
        }
        if is_fresh {
            self.fresh.pop_front();
        } else {
            self.turns.pop_front();
        }
        if self.fresh.is_empty() && self.turns.is_empty() {
            // There is nobody to pay a debt to.
            share.credit = 0;
        }
        share.credit += share.quantum;
        self.turns.push_back(member);
    }

    /// Returns all members.
    pub(super) fn members(self) -> impl Iterator<Item = usize> {
        self.fresh.into_iter().chain(self.turns)
    }

    /// Forgets all members.
    pub(super) fn clear(&mut self) {
        self.fresh.clear();
        self.turns.clear();
        self.ahead = 0;
    }

    /// Frees memory when few members are left.
    fn give_back(&mut self) {
        for list in [&mut self.fresh, &mut self.turns] {
            if list.capacity() > KEPT && list.len() < list.capacity() / 8 {
                list.shrink_to(2 * list.len());
            }
        }
    }
}
