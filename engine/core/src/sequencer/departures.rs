//! Storing of last-seen times: a few in each turn, so that messages do not wait for it.
//!
//! A round starts every [`HubLimits::last_seen_interval`] and stores the users who left since the
//! last one, at a limited rate per second. The end of the process stores all. A round leaves out
//! users who are back: they will leave again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_storage::{Draft, StateEntry};

use super::Sequencer;
use crate::clock::Clock;
use crate::event::LAST_SEEN;
use crate::hub::{Hub, HubLimits, STRIPES};
use crate::ids::UserId;
use crate::state::{self, LastSeen};

/// The number of users in one record. A look-up of one user in the log reads one record.
const RECORD: usize = 128;

/// The number of users that one turn looks at.
const TURN: usize = 4 * RECORD;

/// The pause before another attempt after the store refused a record.
const RETRY: Duration = Duration::from_secs(1);

/// The state of storing the hub's [`Unsaved`](crate::hub::Unsaved) last-seen times.
pub struct Departures {
    hub: Arc<Hub>,
    every: Duration,
    /// The maximum number of users stored per second; 0 stores none.
    rate: u32,
    /// The remaining users of the current stripe, and the number of that stripe. Between two rounds
    /// it is past the last stripe.
    list: Vec<(UserId, u64)>,
    stripe: usize,
    /// The stripes whose users are all in records that are not committed yet.
    in_records: Vec<usize>,
    /// Whether the store refused the latest record.
    refused: bool,
    round_began: Instant,
    next: Instant,
}

impl Departures {
    /// Returns the state for storing the last-seen times of a hub.
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

    /// Returns the clock that stamps the last-seen times.
    pub(super) fn clock(&self) -> &Clock {
        &self.hub.clock
    }

    /// Returns how long there is nothing to do.
    pub(super) fn rest(&self) -> Duration {
        if self.rate == 0 {
            return Duration::MAX;
        }
        self.next.saturating_duration_since(Instant::now())
    }

    /// Returns the next user of this round; `None` when the round is over.
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

    /// Notes that the batch was given up. Another round stores all users of this one.
    pub(super) fn given_up(&mut self) {
        self.in_records.clear();
        self.list.clear();
        self.stripe = STRIPES;
        self.next = Instant::now() + RETRY;
    }

    /// Notes that the batch is committed or given up.
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
    /// Puts last-seen times into records, if some are due.
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

    /// Stores all remaining last-seen times, at the end of the process.
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

    /// Puts the next users of the round into records. Returns how many users it looked at, and
    /// whether the store took them. Refused users come first in the next call.
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

    /// Appends a record with the last-seen times of these users. Returns whether the store took it.
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
