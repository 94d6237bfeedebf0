//! The webhook `offline`: messages whose recipients had no device connected.
//!
//! It follows the log from a position of its own, so commits know nothing of it. What it finds waits in
//! a queue; what a recipient has beyond a share is left to the log until there is room, and so is what a sender has
//! beyond a share of what the back end refuses. Position and queue are in one file, which is written anew at most
//! once a second: what is told between two writes is told again after a crash, with the same id.

mod restart;

use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_core::ids::UserId;
use trunkline_core::reader::{Among, Followed, Look, Missed, MissedMessages, Place, Sight};
use trunkline_core::store::Position;

use super::super::failed::Failed;
use super::super::{BackMetrics, id_of};
use super::cluster::{OfCluster, Turn};
use super::held::{Held, Refused};
use super::hook::{Hook, Said};
use super::later::{Later, share as places};
use super::queue::Queue;
use super::state::{State, StateFile, Unreadable};
use super::{Told, WAITING_HOOKS, form, is_over, share};

/// The shortest time between two writes of the file.
const SAVE: Duration = Duration::from_secs(1);

/// The time after which the store is read again that could not be read.
const UNREADABLE: Duration = Duration::from_secs(5);

/// The maximum number of messages that are read in one turn.
const PER_TURN: usize = 256;

/// The maximum number of senders who leave messages to the log at a time.
const HELD_AT_ONCE: usize = 8;

/// A message that waits to be told.
#[derive(Debug)]
struct Entry {
    missed: Missed,
    /// A look at the log after this position finds it again; `None` if no position is known.
    before: Option<Position>,
}

impl Entry {
    fn new(place: Place, missed: Missed) -> Self {
        Self {
            missed,
            before: Some(place.before),
        }
    }
}

/// Where it is kept how far the webhook is.
pub(super) enum KeptAt {
    /// In a file of the data folder.
    File(StateFile),
    /// By the cluster.
    Cluster(OfCluster),
}

/// Tells a back end of missed messages.
pub(super) struct Offline {
    hook: Hook,
    missed: MissedMessages,
    queue: Queue<Entry>,
    /// Recipients whose further messages are left to the log.
    later: Later,
    /// Senders whose further messages are left to the log.
    held: Held,
    /// The position up to which the log was followed.
    followed: Position,
    /// The head of the log when the thread started.
    started: Position,
    /// The log is not followed before this time.
    not_before: Instant,
    /// What was left to the log is not looked for before this time.
    later_not_before: Instant,
    give_up: Duration,
    /// The time in which clients come back.
    grace: Duration,
    place: KeptAt,
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
    pub(super) place: KeptAt,
    pub(super) give_up: Duration,
    /// The time in which clients come back after a start.
    pub(super) grace: Duration,
    pub(super) metrics: Arc<BackMetrics>,
}

impl Offline {
    /// Goes on from what the file has. Without a file it begins at the head of the log. In a cluster it begins once the
    /// node leads, and at the head that the log had at the start if the cluster keeps nothing.
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
            held: Held::default(),
            followed: head,
            started: head,
            not_before: now,
            later_not_before: now,
            give_up: parts.give_up,
            grace: parts.grace,
            place: parts.place,
            is_changed: true,
            saved: now,
            unsaved: Said::default(),
            unread: Said::default(),
            undecodable: Said::default(),
            metrics: parts.metrics,
        };
        if let KeptAt::File(file) = &offline.place {
            let state = file.read()?;
            offline.begin(state, now);
        }
        Ok(offline)
    }

    /// Begins at a state. Without one it begins at the head that the log had at the start, because a leader stores messages
    /// before it begins to tell.
    fn begin(&mut self, state: Option<State>, now: Instant) {
        let head = self.missed.head();
        (self.queue, self.later, self.held) = <_>::default();
        self.followed = self.started;
        (self.not_before, self.later_not_before) = (now, now);
        let took_over = state.is_some() && matches!(self.place, KeptAt::Cluster(_));
        if let Some(state) = state {
            self.go_on(state, now);
        }
        let is_behind = self.followed < head || self.later.len() > 0 || self.held.len() > 0;
        if is_behind || took_over {
            // Nobody has come back yet who was connected when these messages were stored, or to the node that led.
            self.not_before = now + self.grace;
            self.later_not_before = self.not_before;
        }
        // Before the first message: a crash must not forget where it began.
        self.save(now);
    }

    /// Returns whether this node tells. In a cluster it begins, or ends, once it leads or does not lead any more.
    fn tells(&mut self, now: Instant) -> bool {
        let KeptAt::Cluster(cluster) = &mut self.place else {
            return true;
        };
        match cluster.turn(self.queue.told(), now) {
            Turn::Tells => true,
            Turn::Begins(state) => {
                self.begin(state, now);
                true
            }
            Turn::Ends => {
                let metrics = &self.metrics.webhooks;
                metrics.set_waiting(Told::Offline, 0);
                metrics.set_more(0, 0);
                metrics.set_log(0, 0);
                false
            }
            Turn::Rests => false,
        }
    }

    /// Does what is due. Returns when it wants to be called again.
    pub(super) fn turn(&mut self, now: Instant) -> Option<Instant> {
        if !self.tells(now) {
            return None;
        }
        let goes_on = self.follow(now) | self.read_on(now) | self.resume(now) | self.try_some(now);
        if now.saturating_duration_since(self.saved) >= SAVE {
            self.saved = now;
            self.drop_over(now);
            self.hold_some(now);
            self.show();
            if self.is_changed {
                self.save(now);
            }
        }
        let metrics = &self.metrics.webhooks;
        metrics.set_waiting(Told::Offline, self.queue.len());
        metrics.set_more(self.later.len(), self.held.len());
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
        if most == 0 || self.later.is_full() || self.followed >= head {
            return false;
        }
        let look = Look {
            after: self.followed,
            until: head,
            most,
            among: Among::All,
        };
        let (missed, queue, later) = (&self.missed, &mut self.queue, &mut self.later);
        let held = &self.held;
        let followed = missed.follow(look, &mut |place, one| {
            let user = missed.user(&one.namespace, &one.user);
            if later.has(user) || held.has(one.from, place.at) {
                return;
            }
            match queue.len_of(user) < places(queue.len()) {
                true => queue.push(user, Entry::new(place, one), now),
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
        let held = &self.held;
        let Some(wanted) = later.wanted(|user| queue.len_of(user), queue.len(), self.followed)
        else {
            return false;
        };
        let mut open = wanted.users.clone();
        let look = wanted.look(self.followed, most);
        let looked = missed.follow(look, &mut |place, one| {
            let user = missed.user(&one.namespace, &one.user);
            if !open.contains(&user) || held.has(one.from, place.at) {
                return;
            }
            let has_room = queue.len_of(user) < places(queue.len());
            if later.takes(user, place, has_room) {
                queue.push(user, Entry::new(place, one), now);
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

    /// Looks in a piece of the log for messages of senders who left them to it. Returns whether there may be more.
    fn resume(&mut self, now: Instant) -> bool {
        let most = self.room(self.later_not_before, now);
        if most == 0 {
            return false;
        }
        let (missed, queue, held) = (&self.missed, &mut self.queue, &self.held);
        let Some(look) = held.look(self.followed, most) else {
            return false;
        };
        let mut found = 0;
        let looked = missed.follow(look, &mut |place, one| {
            if held.takes(one.from, place.at) {
                found += 1;
                let user = missed.user(&one.namespace, &one.user);
                queue.push(user, Entry::new(place, one), now);
            }
        });
        self.held.looked(looked.reached, found, self.followed);
        self.is_changed = true;
        let is_read = self.note(&looked, now);
        if !is_read {
            self.later_not_before = now + UNREADABLE;
        }
        is_read
    }

    /// Lets senders of whom the back end refuses many messages leave some to the log, and chooses those whose
    /// messages come back.
    fn hold_some(&mut self, now: Instant) {
        for _ in 0..HELD_AT_ONCE {
            let refused = self.refused();
            self.held.choose(&refused, now);
            let Some(sender) = refused.largest() else {
                return;
            };
            if !self.hold(sender, now) {
                return;
            }
        }
    }

    /// Counts what waits behind heads that the back end refused.
    fn refused(&self) -> Refused {
        let mut refused = Refused::default();
        for line in self.queue.lines().filter(|line| line.tries.is_refused) {
            if let Some(head) = line.entries.front() {
                refused.add(head.missed.from, line.entries.len());
            }
        }
        refused
    }

    /// Leaves the newer half of a sender's refused messages to the log, and what the sender sent since.
    /// Returns whether there was room for that.
    fn hold(&mut self, sender: UserId, now: Instant) -> bool {
        let lines = self.queue.lines().filter(|line| line.tries.is_refused);
        let heads = lines.filter_map(|line| line.entries.front());
        let of_sender = heads.filter(|head| head.missed.from == sender);
        let mut places: Vec<Position> = of_sender.filter_map(|head| head.before).collect();
        places.sort_unstable();
        let Some(&middle) = places.get(places.len() / 2) else {
            return false;
        };
        let Some(after) = self.held.leave(sender, middle, (now, share())) else {
            return false;
        };
        self.queue.remove(now, |entry| {
            entry.missed.from == sender && entry.before.is_some_and(|before| before >= after)
        });
        self.later.wake();
        self.is_changed = true;
        true
    }

    /// Counts messages that cannot be decoded, and says so once in a while.
    fn note_undecodable(&mut self, count: u64, now: Instant) {
        self.metrics.webhooks.undecodable(count);
        if let Some(times) = self.undecodable.count(now) {
            tracing::error!(
                times,
                "messages that cannot be decoded are left out of the webhook offline: check the store with trunkline store verify"
            );
        }
    }

    /// Notes what could not be read of a piece of the log. Returns whether all of it could.
    fn note(&mut self, followed: &Followed, now: Instant) -> bool {
        if followed.undecodable > 0 {
            self.note_undecodable(followed.undecodable, now);
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
            let Some((user, Entry { missed, .. })) = self.queue.next(now) else {
                return false;
            };
            match (self.missed.show(missed), self.missed.id(missed)) {
                (Ok(Sight::Shown(shown)), Some(id)) => {
                    let body = form::offline(missed, &shown);
                    self.queue.begin(user);
                    self.hook.tell(user, id_of(id), body, now);
                }
                (Ok(Sight::Damaged), _) => {
                    self.note_undecodable(1, now);
                    self.finish(user, now);
                }
                (Ok(_), _) => {
                    self.metrics.webhooks.unseen();
                    self.finish(user, now);
                }
                (Err(error), _) => {
                    self.cannot_read(&error, now);
                    self.put_off(user, false, now);
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
            Err(why) => self.put_off(user, why.is_answer(), now),
        }
    }

    /// Removes the head of a recipient.
    fn finish(&mut self, user: UserId, now: Instant) {
        self.queue.finish(user, now);
        self.later.wake();
        self.is_changed = true;
    }

    /// Tries the head of a recipient again later, or gives it up.
    fn put_off(&mut self, user: UserId, is_refused: bool, now: Instant) {
        self.is_changed = true;
        let now_ms = self.missed.steady();
        let is_over = |entry: &Entry| is_over(entry.missed.time, now_ms, self.give_up);
        if self.queue.head(user).is_some_and(is_over) {
            self.hook.gave_up(now);
            self.finish(user, now);
        } else {
            self.queue.fail(user, (now, share()), is_refused);
        }
    }

    /// Gives up what is over without another try while the back end does not answer: it is tried seldom
    /// then, and what waits would keep the log from being followed.
    fn drop_over(&mut self, now: Instant) {
        if !self.hook.rests() {
            return;
        }
        let (now_ms, give_up) = (self.missed.steady(), self.give_up);
        let is_over = |entry: &Entry| is_over(entry.missed.time, now_ms, give_up);
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
        let oldest = heads.map(|head| head.missed.sent).min();
        let behind = self.missed.head().0.saturating_sub(self.followed.0);
        let metrics = &self.metrics.webhooks;
        metrics.set_log(oldest.unwrap_or(0), behind);
    }
}
