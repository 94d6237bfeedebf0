//! The last-seen times on their way into the store: a few in each turn, so that messages do not
//! wait for them.
//!
//! A round starts every [`HubLimits::last_seen_interval`]. It stores the users who left since the
//! last round, at a limited rate per second. A stop of the gateway stores all remaining users. A
//! round leaves out users who are back, because they will leave again.

use std::sync::Arc;
use std::time::Duration;

use trunkline_storage::StateEntry;

use super::batch::OpenBatch;
use crate::clock::Clock;
use crate::event::LAST_SEEN;
use crate::hub::{Hub, HubLimits, STRIPES};
use crate::ids::UserId;
use crate::metrics::SequencerMetrics;
use crate::state::{self, LastSeen};

/// The number of users in one record. A look-up of one user in the log reads one record.
const RECORD: usize = 128;

/// The number of users that one turn looks at. While commands wait, a turn looks at [`RECORD`].
const TURN: usize = 4 * RECORD;

/// The pause before another attempt after the store refused a record.
const RETRY: Duration = Duration::from_secs(1);

/// Stores the hub's [`Unsaved`](crate::hub::Unsaved) last-seen times.
pub struct Departures {
    hub: Arc<Hub>,
    metrics: Arc<SequencerMetrics>,
    /// The interval between the starts of two rounds.
    every: Duration,
    /// The maximum number of users stored per second; 0 stores none.
    rate: u32,
    /// The remaining users of the current stripe, with the times at which they left.
    list: Vec<(UserId, u64)>,
    /// The number of the current stripe; [`STRIPES`] between two rounds.
    stripe: usize,
    /// The stripes whose users are all in records that are not committed yet.
    in_records: Vec<usize>,
    /// Whether the store refused the latest record.
    refused: bool,
    /// When the round began, in the monotonic time of the clock, as all times here.
    round_began: Duration,
    /// The time of the next turn with something to do.
    next: Duration,
}

/// The result of one turn.
struct Turn {
    /// The number of users that it looked at.
    looked_at: usize,
    /// Whether the store took all records.
    taken: bool,
}

impl Departures {
    /// Returns the hub whose departures it stores.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Returns the part that stores the last-seen times of a hub. It counts the stored times in
    /// `metrics`.
    pub fn new(hub: Arc<Hub>, limits: &HubLimits, metrics: Arc<SequencerMetrics>) -> Self {
        let now = hub.clock.passed();
        Self {
            hub,
            metrics,
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

    /// Returns the time from `now` until the next turn has something to do.
    pub(super) fn rest(&self, now: Duration) -> Duration {
        if self.rate == 0 {
            return Duration::MAX;
        }
        self.next.saturating_sub(now)
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

    /// Begins a round, unless one is under way.
    pub(super) fn begin_round(&mut self, now: Duration) {
        if self.stripe == STRIPES {
            self.round_began = now;
            self.stripe = 0;
            self.list = self.hub.unsaved.begin(0);
        }
    }

    /// Forgets when a user left.
    pub(super) fn forget(&mut self, user: UserId) {
        self.list.retain(|(other, _)| *other != user);
        self.hub.forget(user);
    }

    /// Notes that the batch was given up. Another round stores all users of this one.
    pub(super) fn given_up(&mut self) {
        self.in_records.clear();
        self.list.clear();
        self.stripe = STRIPES;
        self.next = self.clock().passed() + RETRY;
    }

    /// Notes that the batch is committed or given up.
    pub(super) fn committed(&mut self) {
        if self.refused {
            // Some users of a stripe are back in the list, so no stripe is complete.
            return;
        }
        for stripe in self.in_records.drain(..) {
            self.hub.unsaved.stored(stripe);
        }
    }

    /// Puts last-seen times into records of the batch, if some are due at the time `now`. Puts fewer in
    /// if `others_wait`.
    pub(super) fn store(&mut self, batch: &mut OpenBatch, now: Duration, others_wait: bool) {
        if self.rate == 0 || now < self.next {
            return;
        }
        self.begin_round(now);
        let most = if others_wait { RECORD } else { TURN };
        let Turn { looked_at, taken } = self.turn(batch, most);
        let pace = now + Duration::from_secs(1) * looked_at as u32 / self.rate;
        self.next = if !taken {
            now + RETRY
        } else if looked_at < most {
            pace.max(self.round_began + self.every)
        } else {
            pace
        };
    }

    /// Puts the next last-seen times of the round into records, due or not. Returns whether the
    /// round is over: no user is left, or the store refused a record.
    pub(super) fn store_more(&mut self, batch: &mut OpenBatch) -> bool {
        let Turn { looked_at, taken } = self.turn(batch, TURN);
        looked_at < TURN || !taken
    }

    /// Logs a warning if the store does not have all last-seen times, at the end of the process.
    pub(super) fn warn_of_rest(&self) {
        if self.rate > 0 && !self.hub.unsaved.is_empty() {
            tracing::warn!(
                "the store did not take all last-seen times: some users keep an earlier one"
            );
        }
    }

    /// Puts the next users of the round into records, at most `most` of them. Refused users come first
    /// in the next turn.
    fn turn(&mut self, batch: &mut OpenBatch, most: usize) -> Turn {
        let mut looked_at = 0;
        self.refused = false;
        while looked_at < most {
            let mut gone = Vec::with_capacity(RECORD);
            let before = looked_at;
            while looked_at - before < RECORD
                && let Some((user, time)) = self.next_user()
            {
                looked_at += 1;
                if self.hub.is_gone(user) {
                    gone.push((user, time));
                }
            }
            if !gone.is_empty() && !self.append(batch, &gone) {
                self.list.append(&mut gone);
                self.refused = true;
                break;
            }
            if looked_at - before < RECORD {
                break;
            }
        }
        Turn {
            looked_at,
            taken: !self.refused,
        }
    }

    /// Appends a record with the last-seen times of these users. Returns whether the store took it.
    fn append(&self, batch: &mut OpenBatch, gone: &[(UserId, u64)]) -> bool {
        let value = |&(_, time): &(UserId, u64)| state::encode(&LastSeen { time });
        let values: Vec<_> = gone.iter().map(value).collect();
        let states = gone.iter().zip(&values);
        let states: Vec<_> = states
            .map(|(&(key, _), value)| StateEntry { key, value })
            .collect();
        let taken = batch.append_values(LAST_SEEN, &states).is_ok();
        if taken {
            self.metrics.last_seen.add(gone.len() as u64);
        }
        taken
    }
}

#[cfg(test)]
pub(crate) mod tests;
