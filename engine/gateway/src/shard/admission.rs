//! The admission of new connections to a shard, up to their session.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::parts::Shared;
use super::source::Source;
use crate::metrics::{Limit, ShardMetrics, Throttle};
use crate::timer::Tick;

/// The reason to turn a new connection away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The gateway or the shard has its largest number of connections.
    Full,
    /// The shard has its largest number of connections without a session.
    Opening,
    /// The client's address has its largest number of connections.
    Address,
    /// The client's address owes the work of this number of ticks, and many connections wait for
    /// their session.
    Debt(Tick),
}

impl Refusal {
    /// Counts the limit that refuses.
    pub(super) fn count(self, metrics: &ShardMetrics) {
        match self {
            Self::Full => metrics.limited(Limit::Connections),
            Self::Opening => metrics.limited(Limit::Opening),
            Self::Address => metrics.limited(Limit::AddressConnections),
            Self::Debt(_) => metrics.throttled(Throttle::Address),
        }
    }
}

/// The largest numbers of connections that a shard admits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Connections of the shard.
    pub(super) connections: usize,
    /// Connections of the shard without a session.
    pub(super) opening: usize,
    /// Connections without a session that a turn reads.
    pub(super) per_turn: usize,
}

/// Counts the connections of a shard that have no session yet, and decides which new connections
/// come in and how many of those without a session a turn reads.
///
/// `opening` is the number of admitted connections whose phase is an opening one.
pub(crate) struct Admission {
    shared: Shared,
    room: Room,
    opening: usize,
    /// The number of connections without a session that this turn may still read.
    left: usize,
    /// Connections without a session that have input which no turn has read.
    waiting: VecDeque<u32>,
    /// The number of those at the front of `waiting` that an earlier turn has left there.
    deferred: usize,
}

impl Admission {
    /// Makes the admission of a shard without connections.
    pub(super) fn new(room: Room, shared: Shared) -> Self {
        Self {
            shared,
            room,
            opening: 0,
            left: 0,
            waiting: VecDeque::new(),
            deferred: 0,
        }
    }

    /// Counts a new connection in, as one without a session. `connections` is the number that the
    /// shard has. Take the count back with [`Self::leave`].
    ///
    /// # Errors
    /// A limit is reached; nothing is counted then.
    pub(super) fn enter(&mut self, source: Source, connections: usize) -> Result<(), Refusal> {
        if self.opening >= self.room.opening {
            return Err(Refusal::Opening);
        }
        let shared = &self.shared;
        let total = shared.total.fetch_add(1, Ordering::Relaxed);
        if total >= shared.max_total || connections >= self.room.connections {
            shared.total.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::Full);
        }
        if let Err(refusal) = self.name(source) {
            self.shared.total.fetch_sub(1, Ordering::Relaxed);
            return Err(refusal);
        }
        self.opening += 1;
        Ok(())
    }

    /// Counts a connection for its address. Call it for a connection that has entered unnamed, once
    /// its client is known.
    ///
    /// # Errors
    /// The limit of the address is reached; nothing is counted then.
    pub(super) fn name(&self, source: Source) -> Result<(), Refusal> {
        let addresses = self.shared.addresses.as_ref();
        let addresses = addresses.filter(|_| !source.is_unnamed());
        if addresses.is_some_and(|addresses| !addresses.enter(source)) {
            return Err(Refusal::Address);
        }
        Ok(())
    }

    /// Counts a connection out. `opening`: it has no session and is not closing.
    pub(super) fn leave(&mut self, source: Source, opening: bool) {
        self.shared.total.fetch_sub(1, Ordering::Relaxed);
        if let Some(addresses) = &self.shared.addresses
            && !source.is_unnamed()
        {
            addresses.leave(source);
        }
        self.opening -= usize::from(opening);
    }

    /// Counts a connection that enters or leaves the phases without a session.
    pub(super) fn change(&mut self, was_opening: bool, is_opening: bool) {
        self.opening += usize::from(is_opening);
        self.opening -= usize::from(was_opening);
    }

    /// The number of connections without a session.
    pub(super) const fn opening(&self) -> usize {
        self.opening
    }

    /// Whether so many connections have no session that those of an address in debt are turned away:
    /// an eighth of the largest number.
    pub(super) const fn is_crowded(&self) -> bool {
        self.opening >= self.room.opening.div_ceil(8)
    }

    /// Lets a new turn read its share of connections without a session.
    pub(super) const fn begin_turn(&mut self) {
        self.left = self.room.per_turn;
    }

    /// Takes one connection off the turn's share; `false` where nothing is left of it.
    pub(super) const fn take_one(&mut self) -> bool {
        let any = self.left > 0;
        self.left = self.left.saturating_sub(1);
        any
    }

    /// Takes a connection off the turn's share that costs as much as `cost` plain ones, of which
    /// [`Self::take_one`] took one already.
    pub(super) const fn costs(&mut self, cost: usize) {
        self.left = self.left.saturating_sub(cost - 1);
    }

    /// Lets a connection without a session wait for a turn with a share left. `unread` is the
    /// connection's flag; a connection that has it set waits already.
    pub(super) fn wait(&mut self, slot: u32, unread: &mut bool) {
        if !std::mem::replace(unread, true) {
            self.waiting.push_back(slot);
        }
    }

    /// Whether connections without a session wait to be read.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes the connection that has waited longest; `None` where none waits or nothing is left of
    /// the turn's share.
    pub(super) fn next_waiting(&mut self) -> Option<u32> {
        if self.left == 0 {
            return None;
        }
        self.deferred = self.deferred.saturating_sub(1);
        self.waiting.pop_front()
    }

    /// Returns the number of connections that this turn leaves to a later one, without those that
    /// an earlier turn has left already.
    pub(super) fn newly_deferred(&mut self) -> usize {
        let before = std::mem::replace(&mut self.deferred, self.waiting.len());
        self.waiting.len() - before
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;
    use std::time::Instant;

    use super::super::rate::Charges;
    use super::*;
    use crate::counts::Counts;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

    fn shared(max_total: usize, per_address: u32) -> Shared {
        Shared {
            total: Arc::default(),
            max_total,
            addresses: Counts::new(per_address).map(Arc::new),
            user_sessions: None,
            pushes: Arc::default(),
            charges: Charges::default(),
            budgets: None,
            began: Instant::now(),
        }
    }

    fn admission(shared: &Shared) -> Admission {
        let room = Room {
            connections: 4,
            opening: 3,
            per_turn: 10,
        };
        Admission::new(room, shared.clone())
    }

    #[test]
    fn each_limit_turns_away_and_what_is_turned_away_is_not_counted() {
        let shared = shared(5, 2);
        let mut first = admission(&shared);
        let mut second = admission(&shared);
        let (here, there) = (Source::of(HERE), Source::of(THERE));
        first.enter(here, 0).unwrap();
        first.enter(here, 1).unwrap();
        // The address is counted on all shards.
        assert_eq!(second.enter(here, 0), Err(Refusal::Address));
        first.enter(there, 2).unwrap();
        assert_eq!(first.enter(there, 3), Err(Refusal::Opening));
        first.change(true, false);
        assert_eq!(first.enter(there, 4), Err(Refusal::Full), "the shard");
        first.enter(there, 3).unwrap();
        second.change(false, false);
        let other = Source::of(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3)));
        second.enter(other, 0).unwrap();
        assert_eq!(second.enter(other, 1), Err(Refusal::Full), "the gateway");
        assert_eq!((first.opening(), second.opening()), (3, 1));
        assert!(first.is_crowded() && second.is_crowded());
        assert_eq!(shared.total.load(Ordering::Relaxed), 5);
        // A connection that leaves makes room for another of its address.
        first.leave(here, true);
        first.leave(there, false);
        assert_eq!(first.opening(), 2);
        assert_eq!(shared.total.load(Ordering::Relaxed), 3);
        second.enter(here, 1).unwrap();
        assert_eq!(second.enter(here, 2), Err(Refusal::Address));
    }

    #[test]
    fn addresses_do_not_count_where_they_are_not_limited() {
        let shared = shared(5, 0);
        let mut admission = admission(&shared);
        let here = Source::of(HERE);
        admission.enter(here, 0).unwrap();
        assert_eq!(admission.enter(here, 1), Ok(()));
        admission.leave(here, true);
        admission.leave(here, true);
        assert_eq!(admission.opening(), 0);
    }

    #[test]
    fn connections_of_a_proxy_count_for_its_clients() {
        let shared = shared(5, 1);
        let mut admission = admission(&shared);
        let (here, there) = (Source::of(HERE), Source::of(THERE));
        for connections in 0..3 {
            admission.enter(Source::UNNAMED, connections).unwrap();
        }
        assert_eq!(admission.name(here), Ok(()));
        assert_eq!(admission.name(there), Ok(()));
        assert_eq!(admission.name(here), Err(Refusal::Address));
        // The third one leaves without a name.
        admission.leave(Source::UNNAMED, true);
        admission.leave(here, true);
        assert_eq!(admission.name(here), Ok(()));
        assert_eq!(admission.name(there), Err(Refusal::Address));
        assert_eq!(shared.total.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_turn_reads_its_share_and_the_others_wait_in_their_order() {
        let mut admission = admission(&shared(5, 0));
        assert!(!admission.take_one(), "no turn has begun");
        let mut flags = [false; 3];
        for (slot, flag) in flags.iter_mut().enumerate() {
            admission.wait(slot as u32, flag);
            admission.wait(slot as u32, flag);
        }
        assert_eq!((flags, admission.next_waiting()), ([true; 3], None));
        admission.begin_turn();
        assert_eq!(admission.next_waiting(), Some(0));
        assert!(admission.take_one());
        // One of 8 and one of 1 make 9: one is left.
        admission.costs(8);
        assert!(admission.take_one());
        assert_eq!(admission.next_waiting(), Some(1));
        assert!(admission.take_one());
        assert!(!admission.take_one());
        assert_eq!(
            (admission.next_waiting(), admission.has_waiting()),
            (None, true)
        );
        // Each is counted as deferred once.
        assert_eq!([(); 2].map(|()| admission.newly_deferred()), [1, 0]);
        admission.wait(3, &mut false);
        admission.costs(8);
        admission.begin_turn();
        assert_eq!(admission.next_waiting(), Some(2));
        assert_eq!(admission.newly_deferred(), 1);
        assert_eq!(admission.next_waiting(), Some(3));
        assert_eq!(admission.newly_deferred(), 0);
        assert!(!admission.has_waiting());
    }
}
