//! The slow lanes of a shard: the input of connections that spend much while others spend little. New
//! connections from an address that spends much have a lane of their own.
//!
//! Work for clients beyond their budgets waits for its debt. Work within a budget may still come in
//! bursts. The slow lane spreads it: after each piece of work for its connections the lane stays
//! closed for several times as long as the piece takes, so that other clients meet such work rarely.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use trunkline_core::cost::Cost;

/// The divisor of a party's share of a core: a party alone in the lane gets a twentieth.
const SHARE: u32 = 20;

/// The divisor of the largest share of a core: all parties of the lane get a quarter together.
const LARGEST_SHARE: u32 = 4;

/// The length of a piece of work after which the lane is closed for just as long as its
/// [`SHARE`] asks. Longer pieces are felt more: the lane is closed for longer in proportion.
const SHORT: Duration = Duration::from_micros(50);

/// The length of the longest piece of work that is done in slices.
const LONGEST: Duration = Duration::from_millis(2);

/// The longest time for which the lane is closed after a piece of work.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// The cost of input, with what it asks of the sequencer, after which the lane is closed.
const OPENING: Cost = Cost::micros(50);

/// The connections of the lane, by slot, and when the lane opens for those that wait to be read. Parties
/// take turns, whatever the number of their connections. A party, `P`, is a user, or an address.
#[derive(Debug)]
pub(super) struct Lane<P> {
    members: HashMap<u32, Member<P>>,
    /// The slots that wait, of each party in the order in which they came. A slot that does not wait any
    /// more may be left in it.
    waiting: HashMap<P, VecDeque<u32>>,
    /// The parties with slots that wait, in the order of their turns.
    round: VecDeque<P>,
    opens: Instant,
    /// The cost of what the lane let through since it opened.
    passed: Cost,
}

/// A connection of the lane.
#[derive(Debug, Clone, Copy)]
struct Member<P> {
    party: P,
    waits: bool,
    /// The cost of earlier work for the connection, for which the lane is closed after its next read.
    owes: Cost,
}

impl<P: Copy + Eq + Hash> Lane<P> {
    /// Makes an empty lane that is open from `now` on.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            members: HashMap::new(),
            waiting: HashMap::new(),
            round: VecDeque::new(),
            opens: now,
            passed: Cost::NONE,
        }
    }

    /// Takes in a connection of a party. From now on it can wait here. `owes`: work was done for it already,
    /// which counts as let through with its next read.
    pub(super) fn admit(&mut self, slot: u32, party: P, owes: Cost) {
        let waits = false;
        self.members.insert(slot, Member { party, waits, owes });
    }

    /// Lets a connection go. Returns whether it was waiting to be read.
    pub(super) fn release(&mut self, slot: u32) -> bool {
        let gone = self.members.remove(&slot);
        if self.members.is_empty() {
            self.waiting = HashMap::new();
            self.round = VecDeque::new();
            self.members = HashMap::new();
        }
        gone.is_some_and(|member| member.waits)
    }

    /// Lets a connection of the lane wait, behind those of its party that wait already.
    pub(super) fn enter(&mut self, slot: u32) {
        let Some(member) = self.members.get_mut(&slot).filter(|member| !member.waits) else {
            return;
        };
        member.waits = true;
        let slots = self.waiting.entry(member.party).or_insert_with(|| {
            self.round.push_back(member.party);
            VecDeque::new()
        });
        slots.push_back(slot);
    }

    /// Takes a connection of the party whose turn it is, if the lane is open.
    pub(super) fn next(&mut self, now: Instant) -> Option<u32> {
        if now < self.opens || self.passed >= OPENING {
            return None;
        }
        while let Some(party) = self.round.pop_front() {
            let Some(slots) = self.waiting.get_mut(&party) else {
                continue;
            };
            let next = slots.pop_front();
            if slots.is_empty() {
                self.waiting.remove(&party);
            } else {
                self.round.push_back(party);
            }
            let member = next.and_then(|slot| self.members.get_mut(&slot));
            if let Some(member) = member.filter(|member| member.party == party && member.waits) {
                member.waits = false;
                self.passed += std::mem::replace(&mut member.owes, Cost::NONE);
                return next;
            }
        }
        None
    }

    /// Counts input that the lane let through. `cost` includes what the input will probably cost
    /// elsewhere.
    pub(super) fn pass(&mut self, cost: Cost) {
        self.passed += cost;
    }

    /// Closes the lane for what it let through in this turn.
    pub(super) fn end_turn(&mut self, now: Instant) {
        let passed = std::mem::replace(&mut self.passed, Cost::NONE);
        if passed > Cost::NONE {
            self.close(now, time(passed), SHARE);
        }
    }

    /// Closes the lane after work for one of its connections. `sliced`: long work was done in pieces of
    /// [`LONGEST`] or less.
    pub(super) fn note(&mut self, now: Instant, cost: Cost, sliced: bool) {
        let work = time(cost);
        let piece = if sliced { work.min(LONGEST) } else { work };
        let felt = piece.as_nanos() as u64 / SHORT.as_nanos() as u64;
        self.close(now, work, SHARE);
        self.close(now, piece, SHARE * felt as u32);
    }

    /// Closes the lane for `times` as long as the work took, shared by the parties that wait: each of
    /// them gets as much as it would get alone, up to the largest share of all.
    fn close(&mut self, now: Instant, work: Duration, times: u32) {
        let parties = self.round.len().max(1) as u32;
        let rest = (work * times / parties).max(work * LARGEST_SHARE);
        self.opens = self.opens.max(now + rest.min(LONGEST_REST));
    }

    /// Whether connections wait in the lane. Some of them may not wait any more.
    pub(super) fn has_waiting(&self) -> bool {
        !self.round.is_empty()
    }

    /// The time from `now` until a connection of the lane is read; `None` if none waits.
    pub(super) fn opens_in(&self, now: Instant) -> Option<Duration> {
        (!self.round.is_empty()).then(|| self.opens.saturating_duration_since(now))
    }
}

/// Returns the time that work of this cost takes.
const fn time(cost: Cost) -> Duration {
    Duration::from_nanos(cost.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Returns an open lane with waiting connections, each with its user.
    fn lane(now: Instant, connections: &[(u32, u128)]) -> Lane<u128> {
        let mut lane = Lane::new(now);
        for &(slot, user) in connections {
            lane.admit(slot, user, Cost::NONE);
            lane.enter(slot);
        }
        lane
    }

    #[test]
    fn what_passes_closes_the_lane_for_twenty_times_its_cost() {
        let now = Instant::now();
        let mut lane = lane(now, &[]);
        assert_eq!((lane.next(now), lane.opens_in(now)), (None, None));
        for slot in 1..=3 {
            lane.admit(slot, 9, Cost::NONE);
            lane.enter(slot);
            lane.enter(slot);
        }
        assert_eq!(lane.opens_in(now), Some(Duration::ZERO));
        assert_eq!(lane.next(now), Some(1));
        lane.pass(Cost::micros(20));
        assert_eq!(lane.next(now), Some(2), "there was room");
        lane.pass(Cost::micros(80));
        assert_eq!(lane.next(now), None);
        lane.end_turn(now);
        assert_eq!(lane.opens_in(now), Some(2 * MS));
        assert_eq!(lane.next(now + MS), None);
        assert_eq!(lane.next(now + 2 * MS), Some(3));
        assert_eq!(lane.opens_in(now), None);
        lane.pass(Cost::MAX);
        lane.end_turn(now);
        lane.enter(1);
        assert_eq!(lane.opens_in(now), Some(LONGEST_REST));
    }

    #[test]
    fn users_take_turns() {
        let now = Instant::now();
        let mut lane = lane(now, &[(1, 7), (2, 7), (3, 7), (4, 8), (5, 9)]);
        let order: Vec<_> = std::iter::from_fn(|| lane.next(now)).collect();
        assert_eq!(order, [1, 4, 5, 2, 3]);
    }

    #[test]
    fn who_leaves_the_lane_does_not_wait_in_it() {
        let now = Instant::now();
        let mut lane = lane(now, &[(1, 7), (2, 7), (3, 8)]);
        assert!(lane.release(1) && !lane.release(1));
        // Another connection has the slot now, and does not wait.
        lane.admit(1, 7, Cost::NONE);
        assert_eq!(lane.next(now), Some(3));
        assert_eq!(lane.next(now), Some(2));
        assert_eq!(lane.next(now), None);
        assert!(!lane.release(2) && !lane.release(3) && !lane.release(1));
        lane.enter(4);
        assert_eq!(lane.opens_in(now), None, "it is no member");
    }

    #[test]
    fn long_pieces_close_it_for_longer() {
        let now = Instant::now();
        let rest_after = |micros, sliced| {
            let mut lane = lane(now, &[(1, 7)]);
            lane.note(now, Cost::micros(micros), sliced);
            lane.note(now, Cost::micros(1), false);
            lane.opens_in(now).unwrap()
        };
        assert_eq!(rest_after(90, false), 18 * MS / 10);
        assert_eq!(rest_after(400, false), 64 * MS);
        assert_eq!(rest_after(1_000, false), 400 * MS);
        assert_eq!(rest_after(5_000, false), LONGEST_REST);
        assert_eq!(rest_after(1_500, true), 900 * MS);
        assert_eq!(rest_after(30_000, true), 1_000 * MS);
    }

    #[test]
    fn each_of_the_parties_that_wait_gets_its_share() {
        let now = Instant::now();
        let rest_beside = |parties: u128| {
            let waiting: Vec<_> = (0..parties).map(|party| (party as u32, party)).collect();
            let mut lane = lane(now, &waiting);
            lane.note(now, Cost::micros(100), false);
            lane.opens_in(now).unwrap()
        };
        // A piece of 100 µs is felt twice.
        assert_eq!(rest_beside(1), 4 * MS);
        assert_eq!(rest_beside(5), 4 * MS / 5);
        assert_eq!(rest_beside(100), 4 * MS / 10, "a quarter of a core");
    }

    #[test]
    fn work_before_the_lane_closes_it_after_the_next_read() {
        let now = Instant::now();
        let mut lane = Lane::new(now);
        for slot in [1, 2] {
            lane.admit(slot, 7, Cost::micros(80));
            lane.enter(slot);
        }
        assert_eq!([lane.next(now), lane.next(now)], [Some(1), None]);
        lane.pass(Cost::micros(20));
        lane.end_turn(now);
        assert_eq!(lane.opens_in(now), Some(2 * MS));
        // Its second read owes nothing any more.
        lane.enter(1);
        assert!(lane.release(2));
        assert_eq!(lane.next(now + 2 * MS), Some(1));
        lane.pass(Cost::micros(20));
        lane.end_turn(now + 2 * MS);
        lane.enter(1);
        assert_eq!(lane.opens_in(now + 2 * MS), Some(MS * 4 / 10));
    }

    #[test]
    fn a_turn_without_the_lane_leaves_it_open() {
        let now = Instant::now();
        let mut lane = Lane::new(now);
        lane.end_turn(now + MS);
        lane.admit(7, 1, Cost::NONE);
        lane.enter(7);
        assert_eq!(lane.next(now), Some(7));
    }
}
