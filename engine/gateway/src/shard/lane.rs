//! The slow lane of a shard: the input of connections that spend much while others spend little.
//!
//! Work for clients beyond their budgets waits for its debt. Work within a budget may still come in
//! bursts. The slow lane spreads it: after each piece of work for its connections the lane stays
//! closed for several times as long as the piece takes, so that other clients meet such work rarely.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use trunkline_core::cost::Cost;

/// The part of a core, as one in so many, that the work for all connections in the lane may take.
const SHARE: u32 = 20;

/// The length of a piece of work, uncut, after which the lane is closed for just as long as its
/// [`SHARE`] asks. Longer pieces are felt more: the lane is closed for longer in proportion.
const SHORT: Duration = Duration::from_micros(80);

/// The length of the longest piece of work that is done in slices.
const LONGEST: Duration = Duration::from_millis(1);

/// The longest time for which the lane is closed after a piece of work.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// The cost of input, with what it asks of the sequencer, after which the lane is closed.
const OPENING: Cost = Cost::micros(50);

/// Connections that wait to be read, by slot, and when the lane opens for them.
#[derive(Debug)]
pub(super) struct Lane {
    waiting: VecDeque<u32>,
    opens: Instant,
    /// The cost of what the lane let through since it opened.
    passed: Cost,
}

impl Lane {
    /// Makes an empty lane that is open from `now` on.
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            waiting: VecDeque::new(),
            opens: now,
            passed: Cost::NONE,
        }
    }

    /// Lets a connection wait, behind those that wait already.
    pub(super) fn enter(&mut self, slot: u32) {
        self.waiting.push_back(slot);
    }

    /// Takes the connection that has waited longest, if the lane is open.
    pub(super) fn next(&mut self, now: Instant) -> Option<u32> {
        if now < self.opens || self.passed >= OPENING {
            return None;
        }
        super::turn::next(&mut self.waiting)
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
            self.close(now, time(passed) * SHARE);
        }
    }

    /// Closes the lane after work for one of its connections. `sliced`: long work was done in pieces of
    /// [`LONGEST`] or less.
    pub(super) fn note(&mut self, now: Instant, cost: Cost, sliced: bool) {
        let work = time(cost);
        let piece = if sliced { work.min(LONGEST) } else { work };
        let felt = piece.as_nanos() as u64 / SHORT.as_nanos() as u64;
        let rest = (work * SHARE).max(piece * SHARE * felt as u32);
        self.close(now, rest.min(LONGEST_REST));
    }

    fn close(&mut self, now: Instant, rest: Duration) {
        self.opens = self.opens.max(now + rest);
    }

    /// The time from `now` until a connection of the lane is read; `None` if none waits.
    pub(super) fn opens_in(&self, now: Instant) -> Option<Duration> {
        (!self.waiting.is_empty()).then(|| self.opens.saturating_duration_since(now))
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

    #[test]
    fn what_passes_closes_the_lane_for_twenty_times_its_cost() {
        let now = Instant::now();
        let mut lane = Lane::new(now);
        assert_eq!((lane.next(now), lane.opens_in(now)), (None, None));
        (1..=3).for_each(|slot| lane.enter(slot));
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
    }

    #[test]
    fn long_pieces_close_it_for_longer() {
        let now = Instant::now();
        let rest_after = |micros, sliced| {
            let mut lane = Lane::new(now);
            lane.enter(1);
            lane.note(now, Cost::micros(micros), sliced);
            lane.note(now, Cost::micros(1), false);
            lane.opens_in(now).unwrap()
        };
        assert_eq!(rest_after(100, false), 2 * MS);
        assert_eq!(rest_after(400, false), 40 * MS);
        assert_eq!(rest_after(1_000, false), 240 * MS);
        assert_eq!(rest_after(5_000, false), 1_000 * MS);
        assert_eq!(rest_after(5_000, true), 240 * MS);
        assert_eq!(rest_after(20_000, true), 400 * MS);
    }

    #[test]
    fn a_turn_without_the_lane_leaves_it_open() {
        let now = Instant::now();
        let mut lane = Lane::new(now);
        lane.end_turn(now + MS);
        lane.enter(7);
        assert_eq!(lane.next(now), Some(7));
    }
}
