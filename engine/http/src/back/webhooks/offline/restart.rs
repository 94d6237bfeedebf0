//! How what waits is written to the file, and read after a start.

use std::time::{Duration, Instant};

use trunkline_core::clock::system_ms;
use trunkline_core::store::Position;

use super::super::held::Place;
use super::super::queue::{Tries, longest_pause};
use super::super::state::{HeldSender, State, Waiting};
use super::{Entry, KeptAt, Offline};

impl Offline {
    /// Goes on from what the file has.
    pub(super) fn go_on(&mut self, mut state: State, now: Instant) {
        let is_same = state.history == Some(self.missed.history());
        let known = self.missed.position(&state.position);
        let waiting = state.waiting.len();
        match known {
            Some(position) => self.followed = position,
            // The disk was full at the last start, or a repair gave something up.
            None if is_same => {
                self.near(&mut state, now);
                self.followed = Position(state.raw);
                tracing::warn!(
                    waiting,
                    "the store has lost a part of its log since it was followed for webhooks, or its disk was full: \
                     some messages may be told again"
                );
            }
            None => tracing::warn!(
                waiting,
                "the store is not the one that was followed for webhooks, or it was restored from a backup: going on \
                 at its end"
            ),
        }
        let has_places = known.is_some() || is_same;
        let now_ms = system_ms();
        // The clock may have been set since.
        let due = |due_ms: u64, longest: Duration| {
            now + Duration::from_millis(due_ms.saturating_sub(now_ms)).min(longest)
        };
        if has_places {
            for (user, raw) in state.later {
                self.later.leave(user, Position(raw));
            }
            for held in state.held {
                let place = Place {
                    after: Position(held.after),
                    failures: held.failures,
                    due: due(held.due_ms, longest_pause(u32::MAX)),
                };
                self.held.keep(held.sender, place);
            }
        }
        for waiting in state.waiting {
            let missed = waiting.missed;
            let user = self.missed.user(&missed.namespace, &missed.user);
            let tries = Tries {
                failures: waiting.failures,
                is_refused: waiting.is_refused,
                due: due(waiting.due_ms, longest_pause(waiting.failures)),
            };
            let before = waiting.before.filter(|_| has_places).map(Position);
            self.queue.push_kept(user, Entry { missed, before }, tries);
        }
    }

    /// Replaces the positions of a file by those near them from which nothing is left out.
    fn near(&mut self, state: &mut State, now: Instant) {
        let later = state.later.iter_mut().map(|(_, raw)| raw);
        let held = state.held.iter_mut().map(|held| &mut held.after);
        let waiting = state.waiting.iter_mut();
        let waiting = waiting.filter_map(|waiting| waiting.before.as_mut());
        let mut all: Vec<&mut u64> = later
            .chain(held)
            .chain(waiting)
            .chain([&mut state.raw])
            .collect();
        all.sort_unstable();
        let mut positions: Vec<Position> = all.iter().map(|raw| Position(**raw)).collect();
        if let Err(error) = self.missed.near(&mut positions) {
            // The log is followed from there once it can be read.
            self.cannot_read(&error, now);
        }
        let head = self.missed.head();
        for (raw, near) in all.into_iter().zip(positions) {
            *raw = near.min(head).0;
        }
    }

    /// Writes how far this is, unless another node tells.
    pub(in super::super) fn save(&mut self, now: Instant) {
        let written = match &self.place {
            KeptAt::Cluster(cluster) if !cluster.tells() => return,
            KeptAt::Cluster(_) => self.save_in_cluster(now),
            KeptAt::File(file) => file
                .write(&self.state(now))
                .map_err(|error| error.to_string()),
        };
        match written {
            Ok(()) => self.is_changed = false,
            Err(error) => {
                if let Some(times) = self.unsaved.count(now) {
                    tracing::error!(
                        error,
                        times,
                        "cannot write what waits for webhooks: what is told now is told again after a crash, or by the next node that leads"
                    );
                }
            }
        }
    }

    /// Lets the cluster keep how far this is: for each recipient for whom something waits, a position behind which it
    /// lies.
    fn save_in_cluster(&mut self, now: Instant) -> Result<(), String> {
        let mut state = self.state(now);
        state.waiting.clear();
        for line in self.queue.lines() {
            let before = line.entries.front().and_then(|head| head.before);
            state
                .later
                .extend(before.map(|before| (line.user, before.0)));
        }
        // Of a recipient with both, the first one is before the other.
        state.later.sort_unstable();
        state.later.dedup_by_key(|(user, _)| *user);
        let places = { state.later.iter().map(|(_, after)| *after) }
            .chain(state.held.iter().map(|held| held.after));
        let least = places.min().unwrap_or(state.raw).min(state.raw);
        let least = State {
            position: self.missed.token(Position(least)),
            raw: least,
            history: state.history,
            ..State::default()
        };
        match &mut self.place {
            KeptAt::Cluster(cluster) => cluster.write(&state, &least),
            KeptAt::File(_) => Ok(()),
        }
    }

    /// Returns how far this is.
    fn state(&self, now: Instant) -> State {
        let now_ms = system_ms();
        let due_ms = |due: Instant| {
            let pause = due.saturating_duration_since(now).as_millis();
            now_ms + u64::try_from(pause).unwrap_or(0)
        };
        let mut waiting = Vec::with_capacity(self.queue.len());
        for line in self.queue.lines() {
            let tries = line.tries;
            let mut head = (tries.failures, tries.is_refused, due_ms(tries.due));
            for Entry { missed, before } in line.entries {
                let (failures, is_refused, due_ms) = std::mem::take(&mut head);
                waiting.push(Waiting {
                    missed: missed.clone(),
                    before: before.map(|before| before.0),
                    failures,
                    is_refused,
                    due_ms,
                });
            }
        }
        let held = self.held.all().map(|(sender, place)| HeldSender {
            sender,
            after: place.after.0,
            failures: place.failures,
            due_ms: due_ms(place.due),
        });
        let later = self.later.all();
        State {
            position: self.missed.token(self.followed),
            raw: self.followed.0,
            history: Some(self.missed.history()),
            later: later.map(|(user, after)| (user, after.0)).collect(),
            held: held.collect(),
            waiting,
        }
    }
}
