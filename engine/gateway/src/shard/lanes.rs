//! The two slow lanes of a shard: one for sessions, and one for connections without a session.
//!
//! The pieces of work of the second one are short. In a lane with sessions newcomers would rest for
//! the long pieces of others, beyond the time that a hand-shake has.

use std::time::{Duration, Instant};

use trunkline_core::cost::Cost;
use trunkline_core::ids::UserId;

use super::lane::Lane;
use super::source::Source;

/// Whose connection it is in a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Party {
    /// A session of this user.
    User(UserId),
    /// A connection without a session from this address.
    Address(Source),
}

/// The slow lanes. A connection is in one of them at most.
#[derive(Debug)]
pub(super) struct Lanes {
    sessions: Lane<UserId>,
    newcomers: Lane<Source>,
}

impl Lanes {
    /// Makes empty lanes that are open from `now` on.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sessions: Lane::new(now),
            newcomers: Lane::new(now),
        }
    }

    /// Takes in a connection. From now on it can wait here. `owes`: work was done for it already, which
    /// counts as let through with its next read.
    pub(super) fn admit(&mut self, slot: u32, party: Party, owes: Cost) {
        match party {
            Party::User(user) => self.sessions.admit(slot, user, owes),
            Party::Address(address) => self.newcomers.admit(slot, address, owes),
        }
    }

    /// Lets a connection go. Returns whether it was waiting to be read.
    pub(super) fn release(&mut self, slot: u32) -> bool {
        self.sessions.release(slot) || self.newcomers.release(slot)
    }

    /// Lets a connection wait in its lane, behind those of its party that wait already.
    pub(super) fn enter(&mut self, slot: u32) {
        // The other lane does not know it.
        self.sessions.enter(slot);
        self.newcomers.enter(slot);
    }

    /// Takes a connection of the party whose turn it is in an open lane.
    pub(super) fn next(&mut self, now: Instant) -> Option<u32> {
        let newcomer = self.newcomers.next(now);
        newcomer.or_else(|| self.sessions.next(now))
    }

    /// Counts input that the lane of a party let through. `cost` includes what the input will
    /// probably cost elsewhere.
    pub(super) fn pass(&mut self, party: Party, cost: Cost) {
        match party {
            Party::User(_) => self.sessions.pass(cost),
            Party::Address(_) => self.newcomers.pass(cost),
        }
    }

    /// Closes the lanes for what they let through in this turn.
    pub(super) fn end_turn(&mut self, now: Instant) {
        self.sessions.end_turn(now);
        self.newcomers.end_turn(now);
    }

    /// Closes the lane of a party after work for one of its connections. `sliced`: long work was done
    /// in pieces.
    pub(super) fn note(&mut self, party: Party, now: Instant, cost: Cost, sliced: bool) {
        match party {
            Party::User(_) => self.sessions.note(now, cost, sliced),
            Party::Address(_) => self.newcomers.note(now, cost, sliced),
        }
    }

    /// Whether connections wait in the lanes. Some of them may not wait any more.
    pub(super) fn has_waiting(&self) -> bool {
        self.sessions.has_waiting() || self.newcomers.has_waiting()
    }

    /// The time from `now` until a connection of the lanes is read; `None` if none waits.
    pub(super) fn opens_in(&self, now: Instant) -> Option<Duration> {
        let sessions = self.sessions.opens_in(now);
        sessions
            .into_iter()
            .chain(self.newcomers.opens_in(now))
            .min()
    }
}

#[cfg(test)]
mod tests {
    use trunkline_core::store::TimelineId;

    use super::*;

    #[test]
    fn newcomers_do_not_rest_for_the_work_of_sessions() {
        let now = Instant::now();
        let mut lanes = Lanes::new(now);
        let hugo = Party::User(TimelineId(7));
        let here = Party::Address(Source::of([10, 0, 0, 1].into()));
        for (slot, party) in [(1, hugo), (2, hugo), (3, here), (4, here)] {
            lanes.admit(slot, party, Cost::NONE);
            lanes.enter(slot);
        }
        assert!(lanes.has_waiting());
        assert_eq!([lanes.next(now), lanes.next(now)], [Some(3), Some(4)]);
        assert_eq!(lanes.next(now), Some(1));
        lanes.note(hugo, now, Cost::micros(5_000), false);
        lanes.pass(here, Cost::micros(30));
        lanes.end_turn(now);
        lanes.enter(3);
        assert_eq!(lanes.next(now), None);
        let soon = now + lanes.opens_in(now).unwrap();
        assert_eq!(soon, now + Duration::from_micros(600));
        assert_eq!([lanes.next(soon), lanes.next(soon)], [Some(3), None]);
        assert!(lanes.release(2) && !lanes.release(2) && !lanes.release(3));
    }
}
