//! The webhook `offline`: messages whose recipients had no device connected.
//!
//! It follows the log from a position of its own, so commits know nothing of it. What it finds waits in
//! a queue; what a recipient has beyond a share is left to the log until there is room. Position and queue are in one file, which is written anew at most once a second: what is told
//! between two writes is told again after a crash, with the same id.

use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_core::clock::system_ms;
use trunkline_core::ids::UserId;
use trunkline_core::reader::{Followed, Look, Missed, MissedMessages};
use trunkline_core::store::Position;

use super::super::failed::Failed;
use super::super::{BackMetrics, id_of};
use super::hook::{Hook, Said};
use super::later::{Later, share as places};
use super::queue::{Queue, longest_pause};
use super::state::{State, StateFile, Unreadable, Waiting};
use super::{Told, WAITING_HOOKS, form, is_over, share};

/// The shortest time between two writes of the file.
const SAVE: Duration = Duration::from_secs(1);

/// The time after which the store is read again that could not be read.
const UNREADABLE: Duration = Duration::from_secs(5);

/// The maximum number of messages that are read in one turn.
const PER_TURN: usize = 256;

/// Tells a back end of missed messages.
pub(super) struct Offline {
    hook: Hook,
    missed: MissedMessages,
    queue: Queue<Missed>,
    /// Recipients whose further messages are left to the log.
    later: Later,
    /// The position up to which the log was followed.
    followed: Position,
    /// The log is not followed before this time.
    not_before: Instant,
    /// What was left to the log is not looked for before this time.
    later_not_before: Instant,
    give_up: Duration,
    file: StateFile,
    /// Whether something has changed since the file was written.
    is_changed: bool,
    /// When it was last looked whether to write the file.
    saved: Instant,
    unsaved: Said,
    unread: Said,
    undecodable: Said,
    metrics: Arc<BackMetrics>,
}

/// The parts of [`Offline`].
pub(super) struct OfflineParts {
    pub(super) hook: Hook,
    pub(super) missed: MissedMessages,
    pub(super) file: StateFile,
    pub(super) give_up: Duration,
    /// The time in which clients come back after a start.
    pub(super) grace: Duration,
    pub(super) metrics: Arc<BackMetrics>,
}

impl Offline {
    /// Goes on from what the file has. Without a file it begins at the head of the log.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn new(parts: OfflineParts) -> Result<Self, Unreadable> {
        let now = Instant::now();
        let head = parts.missed.head();
        let mut offline = Self {
            hook: parts.hook,
            missed: parts.missed,
            queue: Queue::default(),
            later: Later::default(),
            followed: head,
            not_before: now,
            later_not_before: now,
            give_up: parts.give_up,
            file: parts.file,
            is_changed: true,
            saved: now,
            unsaved: Said::default(),
            unread: Said::default(),
            undecodable: Said::default(),
            metrics: parts.metrics,
        };
        if let Some(state) = offline.file.read()? {
            offline.go_on(state, now);
        }
        if offline.followed < head || offline.later.len() > 0 {
            // Nobody has come back yet who was connected when these messages were stored.
            offline.not_before = now + parts.grace;
            offline.later_not_before = offline.not_before;
        }
        // Before the first message: a crash must not forget where it began.
        offline.save(now);
        Ok(offline)
    }

    fn go_on(&mut self, mut state: State, now: Instant) {
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
        if known.is_some() || is_same {
            for (user, raw) in state.later {
                self.later.leave(user, Position(raw));
            }
        }
        let now_ms = system_ms();
        for Waiting {
            missed,
            failures,
            due_ms,
        } in state.waiting
        {
            let user = self.missed.user(&missed.namespace, &missed.user);
            // The clock may have been set since.
            let pause = Duration::from_millis(due_ms.saturating_sub(now_ms));
            let due = now + pause.min(longest_pause(failures));
            self.queue.push_kept(user, missed, (failures, due));
        }
    }

    /// Replaces the positions of a file by those near them from which nothing is left out.
    fn near(&mut self, state: &mut State, now: Instant) {
        let later = state.later.iter_mut().map(|(_, raw)| raw);
        let mut all: Vec<&mut u64> = later.chain([&mut state.raw]).collect();
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

    /// Does what is due. Returns when it wants to be called again.
    pub(super) fn turn(&mut self, now: Instant) -> Option<Instant> {
        let goes_on = self.follow(now) | self.read_on(now) | self.try_some(now);
        if now.saturating_duration_since(self.saved) >= SAVE {
            self.saved = now;
            self.drop_over(now);
            self.show();
            if self.is_changed {
                self.save(now);
            }
        }
        let metrics = &self.metrics.webhooks;
        metrics.set_waiting(Told::Offline, self.queue.len());
        metrics.set_later(self.later.len());
        match goes_on {
            true => Some(now),
            false => self
                .hook
                .next(self.queue.next_due(), self.queue.told(), now),
        }
    }

    /// Returns the number of messages that may be looked for now, and not before this time.
    fn room(&self, not_before: Instant, now: Instant) -> usize {
        match now < not_before {
            true => 0,
            false => WAITING_HOOKS.saturating_sub(self.queue.len()),
        }
    }

    /// Looks for missed messages in a piece of the log. Returns whether there is more, and room for it.
    fn follow(&mut self, now: Instant) -> bool {
        let (most, head) = (self.room(self.not_before, now), self.missed.head());
        if most == 0 || self.later.len() >= WAITING_HOOKS || self.followed >= head {
            return false;
        }
        let look = Look {
            after: self.followed,
            until: head,
            most,
            only: None,
        };
        let (missed, queue, later) = (&self.missed, &mut self.queue, &mut self.later);
        let followed = missed.follow(look, &mut |place, one| {
            let user = missed.user(&one.namespace, &one.user);
            if later.has(user) {
                return;
            }
            match queue.len_of(user) < places(queue.len()) {
                true => queue.push(user, one, now),
                false => later.leave(user, place.before),
            }
        });
        let has_more = followed.reached != self.followed;
        self.is_changed |= has_more;
        self.followed = followed.reached;
        let is_read = self.note(&followed, now);
        if !is_read {
            self.not_before = now + UNREADABLE;
        }
        is_read && has_more && self.queue.len() < WAITING_HOOKS
    }

    /// Looks in a piece of the log for messages that were left to it, of recipients who have room again.
    /// Returns whether there may be more.
    fn read_on(&mut self, now: Instant) -> bool {
        let most = self.room(self.later_not_before, now);
        if most == 0 {
            return false;
        }
        let (missed, queue, later) = (&self.missed, &mut self.queue, &mut self.later);
        let Some(wanted) = later.wanted(|user| queue.len_of(user), queue.len()) else {
            return false;
        };
        let mut open = wanted.users.clone();
        let look = wanted.look(self.followed, most);
        let looked = missed.follow(look, &mut |place, one| {
            let user = missed.user(&one.namespace, &one.user);
            if !open.contains(&user) {
                return;
            }
            let has_room = queue.len_of(user) < places(queue.len());
            if later.takes(user, place, has_room) {
                queue.push(user, one, now);
            } else if !has_room {
                open.remove(&user);
            }
        });
        later.looked(open.into_iter(), looked.reached, self.followed);
        self.is_changed = true;
        let is_read = self.note(&looked, now);
        if !is_read {
            // All others go on.
            self.later_not_before = now + UNREADABLE;
        }
        is_read
    }

    /// Notes what could not be read of a piece of the log. Returns whether all of it could.
    fn note(&mut self, followed: &Followed, now: Instant) -> bool {
        if followed.undecodable > 0 {
            self.metrics.webhooks.undecodable(followed.undecodable);
            if let Some(times) = self.undecodable.count(now) {
                tracing::error!(
                    times,
                    "messages that cannot be decoded are left out of the webhook offline: check the store with trunkline store verify"
                );
            }
        }
        if let Some(error) = &followed.failed {
            self.cannot_read(error, now);
        }
        followed.failed.is_none()
    }

    fn cannot_read(&mut self, error: &str, now: Instant) {
        if let Some(times) = self.unread.count(now) {
            tracing::error!(
                error,
                times,
                "the store cannot be read for the webhook offline: trying again; check it with trunkline store verify"
            );
        }
    }

    /// Tries what is due. Returns whether more of it may be tried at once.
    fn try_some(&mut self, now: Instant) -> bool {
        for _ in 0..PER_TURN {
            if !self.hook.is_open(self.queue.told(), now) {
                return false;
            }
            let Some((user, missed)) = self.queue.next(now) else {
                return false;
            };
            match (self.missed.show(missed), self.missed.id(missed)) {
                (Ok(Some(shown)), Some(id)) => {
                    let body = form::offline(missed, &shown);
                    self.queue.begin(user);
                    self.hook.tell(user, id_of(id), body, now);
                }
                (Ok(_), _) => {
                    self.metrics.webhooks.unseen();
                    self.finish(user, now);
                }
                (Err(error), _) => {
                    self.cannot_read(&error, now);
                    self.put_off(user, now);
                }
            }
        }
        true
    }

    /// Takes the result of a try.
    pub(super) fn take(&mut self, user: UserId, result: &Result<(), Failed>, now: Instant) {
        self.hook.take(result, now);
        match result {
            Ok(()) => self.finish(user, now),
            Err(_) => self.put_off(user, now),
        }
    }

    /// Removes the head of a recipient.
    fn finish(&mut self, user: UserId, now: Instant) {
        self.queue.finish(user, now);
        self.later.wake();
        self.is_changed = true;
    }

    /// Tries the head of a recipient again later, or gives it up.
    fn put_off(&mut self, user: UserId, now: Instant) {
        self.is_changed = true;
        let now_ms = self.missed.now();
        let is_over = |missed: &Missed| is_over(missed.sent, now_ms, self.give_up);
        if self.queue.head(user).is_some_and(is_over) {
            self.hook.gave_up(now);
            self.finish(user, now);
        } else {
            self.queue.fail(user, now, share());
        }
    }

    /// Gives up what is over without another try while the back end does not answer: it is tried seldom
    /// then, and what waits would keep the log from being followed.
    fn drop_over(&mut self, now: Instant) {
        if !self.hook.rests() {
            return;
        }
        let (now_ms, give_up) = (self.missed.now(), self.give_up);
        let is_over = |missed: &Missed| is_over(missed.sent, now_ms, give_up);
        let count = self.queue.drop_over(now, is_over);
        self.is_changed |= count > 0;
        self.later.wake();
        for _ in 0..count {
            self.hook.gave_up(now);
        }
    }

    /// Returns how many tries have no result yet.
    pub(super) const fn told(&self) -> usize {
        self.queue.told()
    }

    /// Sets the metrics of what waits.
    fn show(&self) {
        // The head of a line is its oldest entry.
        let heads = self.queue.lines().filter_map(|line| line.entries.front());
        let oldest = heads.map(|missed| missed.sent).min();
        let behind = self.missed.head().0.saturating_sub(self.followed.0);
        let metrics = &self.metrics.webhooks;
        metrics.set_log(oldest.unwrap_or(0), behind);
    }

    /// Writes the file.
    pub(super) fn save(&mut self, now: Instant) {
        let now_ms = system_ms();
        let mut waiting = Vec::with_capacity(self.queue.len());
        for line in self.queue.lines() {
            let pause = line.due.saturating_duration_since(now).as_millis();
            let mut head = (line.failures, now_ms + u64::try_from(pause).unwrap_or(0));
            for missed in line.entries {
                let (failures, due_ms) = std::mem::take(&mut head);
                waiting.push(Waiting {
                    missed: missed.clone(),
                    failures,
                    due_ms,
                });
            }
        }
        let state = State {
            position: self.missed.token(self.followed),
            raw: self.followed.0,
            history: Some(self.missed.history()),
            later: self
                .later
                .all()
                .map(|(user, after)| (user, after.0))
                .collect(),
            waiting,
        };
        match self.file.write(&state) {
            Ok(()) => self.is_changed = false,
            Err(error) => {
                if let Some(times) = self.unsaved.count(now) {
                    tracing::error!(%error, times, "cannot write what waits for webhooks into the data folder: what is told now is told again after a crash");
                }
            }
        }
    }
}
