//! Who has left and when, for the store: a few at a time, so that messages do not wait for it.
//!
//! Every [`HubLimits::last_seen_interval`] whoever has left since is stored; so many of them in a
//! second at most, and at the end all. Users who are back by then are left out: they will leave
//! again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_storage::{Draft, StateEntry};

use super::Sequencer;
use crate::clock::Clock;
use crate::event::LAST_SEEN;
use crate::hub::{Hub, HubLimits, STRIPES};
use crate::ids::UserId;
use crate::state::{self, LastSeen};

/// Users of one record. Whoever looks a user up in the log reads one of these.
const RECORD: usize = 128;

/// Users that a turn looks at.
const TURN: usize = 4 * RECORD;

/// How long those wait whom the store did not take.
const RETRY: Duration = Duration::from_secs(1);

/// What is being stored of the hub's [`Unsaved`](crate::hub::Unsaved).
pub struct Departures {
    hub: Arc<Hub>,
    every: Duration,
    /// Users in a second; 0: none, ever.
    rate: u32,
    /// Those of a stripe who are left, and the stripe; past the last one between two rounds.
    list: Vec<(UserId, u64)>,
    stripe: usize,
    /// Stripes of which all are in records that are not committed yet.
    in_records: Vec<usize>,
    /// The store did not take the last of them.
    refused: bool,
    round_began: Instant,
    next: Instant,
}

impl Departures {
    /// What is stored of the departures that the hub has.
    pub fn new(hub: Arc<Hub>, limits: &HubLimits) -> Self {
        let now = Instant::now();
        Self {
            hub,
            every: limits.last_seen_interval,
            rate: limits.last_seen_rate,
            list: Vec::new(),
            stripe: STRIPES,
            in_records: Vec::new(),
            refused: false,
            round_began: now,
            next: now + limits.last_seen_interval,
        }
    }

    /// The clock of those who leave.
    pub(super) fn clock(&self) -> &Clock {
        &self.hub.clock
    }

    /// How long there is nothing to do.
    pub(super) fn rest(&self) -> Duration {
        if self.rate == 0 {
            return Duration::MAX;
        }
        self.next.saturating_duration_since(Instant::now())
    }

    /// The next of this round; none when it is over.
    fn next_user(&mut self) -> Option<(UserId, u64)> {
        loop {
            if let Some(next) = self.list.pop() {
                return Some(next);
            }
            if self.stripe == STRIPES {
                return None;
            }
            self.in_records.push(self.stripe);
            self.stripe += 1;
            if self.stripe < STRIPES {
                self.list = self.hub.unsaved.begin(self.stripe);
            }
        }
    }

    fn begin_round(&mut self, now: Instant) {
        if self.stripe == STRIPES {
            self.round_began = now;
            self.stripe = 0;
            self.list = self.hub.unsaved.begin(0);
        }
    }

    /// What was put into records was given up: all of the round are stored in another one.
    pub(super) fn given_up(&mut self) {
        self.in_records.clear();
        self.list.clear();
        self.stripe = STRIPES;
        self.next = Instant::now() + RETRY;
    }

    /// What was put into records is committed, or never will be.
    pub(super) fn committed(&mut self) {
        if self.refused {
            // Some of a stripe may have to be put into others.
            return;
        }
        for stripe in self.in_records.drain(..) {
            self.hub.unsaved.stored(stripe);
        }
    }
}

impl Sequencer {
    /// Puts those who have left into records, if it is time for some of them.
    pub(super) fn store_departures(&mut self) {
        let now = Instant::now();
        let departures = &mut self.departures;
        if departures.rate == 0 || now < departures.next {
            return;
        }
        departures.begin_round(now);
        let (looked_at, taken) = self.store_some();
        let departures = &mut self.departures;
        departures.refused = !taken;
        let pace = now + Duration::from_secs(1) * looked_at as u32 / departures.rate;
        departures.next = if !taken {
            now + RETRY
        } else if looked_at < TURN {
            pace.max(departures.round_began + departures.every)
        } else {
            pace
        };
    }

    /// Stores all who have left, however many they are: nobody waits any more.
    pub(super) fn store_all_departures(&mut self) {
        // Another round for those who came behind the one that is under way.
        for _ in 0..2 {
            self.departures.begin_round(Instant::now());
            loop {
                let (looked_at, taken) = self.store_some();
                self.departures.refused = !taken;
                let over = looked_at < TURN || !taken;
                if self.is_full() || over {
                    self.commit();
                }
                if over {
                    break;
                }
            }
        }
        let left = &self.departures.hub.unsaved;
        if self.departures.rate > 0 && !left.is_empty() {
            tracing::warn!("the store does not know of all when they were last seen");
        }
    }

    /// Puts the next of the round into records; how many it looked at, and whether the store took
    /// them. Those it did not take are the next again.
    fn store_some(&mut self) -> (usize, bool) {
        let mut looked_at = 0;
        while looked_at < TURN {
            let mut gone = Vec::with_capacity(RECORD);
            let before = looked_at;
            while looked_at - before < RECORD
                && let Some((user, time)) = self.departures.next_user()
            {
                looked_at += 1;
                if self.departures.hub.is_gone(user) {
                    gone.push((user, time));
                }
            }
            if !gone.is_empty() && !self.store_last_seen(&gone) {
                self.departures.list.append(&mut gone);
                return (looked_at, false);
            }
            if looked_at - before < RECORD {
                break;
            }
        }
        (looked_at, true)
    }

    /// Appends a record that these users were last seen then; whether the store took it.
    fn store_last_seen(&mut self, gone: &[(UserId, u64)]) -> bool {
        let value = |&(_, time): &(UserId, u64)| state::encode(&LastSeen { time });
        let values: Vec<_> = gone.iter().map(value).collect();
        let states = gone.iter().zip(&values);
        let states: Vec<_> = states
            .map(|(&(key, _), value)| StateEntry { key, value })
            .collect();
        let draft = Draft {
            kind: LAST_SEEN,
            time: self.stamp(),
            states: &states,
            ..Draft::default()
        };
        let taken = self.writer.append_next(&draft).is_ok();
        if taken {
            self.metrics.last_seen.add(gone.len() as u64);
        }
        taken
    }
}

#[cfg(test)]
pub(super) mod tests;
