//! The webhook `presence`: users who came or left.
//!
//! It keeps which users it took for online last, so a change is told once. All of it is in memory: after a
//! start, users who come are told as online, and nobody is told of those who do not come back.
//!
//! In a cluster each node tells of its own users, whose names it knows: of those who come to it and were at no other node, and
//! of those who leave it last. Nodes hear of each other's users a moment later, so two of them may tell of a user who
//! came to both, or left both, at nearly the same time.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_core::hub::{Hub, News};
use trunkline_core::ids::{Ids, UserId};
use trunkline_core::request::Names;
use trunkline_core::store::IdBuildHasher;
use trunkline_proto::message::UserPresence;

use super::super::failed::Failed;
use super::super::{BackMetrics, random_id};
use super::hook::Hook;
use super::queue::Queue;
use super::{Told, WAITING_HOOKS, form, is_over, share};

/// The maximum number of requests that are made in one turn.
const PER_TURN: usize = 256;

/// The shortest time between two looks for what is over.
const CLEAR: Duration = Duration::from_secs(1);

/// The shortest time after which a node of a cluster looks whether a user who left it is at another one.
const HEARD: Duration = Duration::from_secs(1);

/// The time, in milliseconds, within which two nodes may both take themselves for the one that a user left last.
const TOGETHER: u64 = 1_000;

/// A change of a user's presence.
#[derive(Debug)]
struct Change {
    id: String,
    namespace: Box<str>,
    presence: UserPresence<'static>,
    /// When it was, in milliseconds since 1970 UTC, as clients see it.
    time: u64,
    /// The same as steady time, by which it is given up.
    steady: u64,
}

/// Tells a back end of users who came or left.
pub(super) struct Presence {
    hook: Hook,
    hub: Arc<Hub>,
    news: Arc<News>,
    ids: Ids,
    /// The memory for news.
    taken: Vec<Names>,
    /// The news that were lost so far.
    lost: u64,
    /// The users who were told as online; in a cluster those who are at this node.
    online: HashSet<UserId, IdBuildHasher>,
    /// The users who have left, when, in milliseconds since 1970 UTC, and when their grace time is over.
    settling: HashMap<UserId, (Names, u64), IdBuildHasher>,
    settled: BTreeSet<(Instant, UserId)>,
    queue: Queue<Change>,
    give_up: Duration,
    is_node: bool,
    /// When it was last looked for what is over.
    cleared: Instant,
    metrics: Arc<BackMetrics>,
}

/// The parts of [`Presence`].
pub(super) struct PresenceParts {
    pub(super) hook: Hook,
    pub(super) hub: Arc<Hub>,
    pub(super) ids: Ids,
    pub(super) give_up: Duration,
    /// Whether the gateway is a node of a cluster.
    pub(super) is_node: bool,
    pub(super) metrics: Arc<BackMetrics>,
}

impl Presence {
    pub(super) fn new(parts: PresenceParts) -> Self {
        Self {
            hook: parts.hook,
            news: parts.hub.news(),
            hub: parts.hub,
            ids: parts.ids,
            taken: Vec::new(),
            lost: 0,
            online: HashSet::default(),
            settling: HashMap::default(),
            settled: BTreeSet::new(),
            queue: Queue::default(),
            give_up: parts.give_up,
            is_node: parts.is_node,
            cleared: Instant::now(),
            metrics: parts.metrics,
        }
    }

    /// Does what is due. Returns when it wants to be called again.
    pub(super) fn turn(&mut self, now: Instant) -> Option<Instant> {
        let mut taken = std::mem::take(&mut self.taken);
        self.news.take(&mut taken);
        for names in taken.drain(..) {
            self.look(names, now);
        }
        self.taken = taken;
        self.settle(now);
        let lost = self.news.lost();
        self.metrics.webhooks.full(lost - self.lost);
        self.lost = lost;
        self.drop_over(now);
        let goes_on = self.try_some(now);
        let metrics = &self.metrics.webhooks;
        metrics.set_waiting(Told::Presence, self.queue.len());
        let settled = self.settled.first().map(|(at, _)| *at);
        match goes_on {
            true => Some(now),
            false => {
                let (due, told) = (self.queue.next_due(), self.queue.told());
                let due = self.hook.next(due, told, now);
                due.into_iter().chain(settled).min()
            }
        }
    }

    /// Looks at the users whose grace time is over.
    fn settle(&mut self, now: Instant) {
        while let Some(&(at, user)) = self.settled.first()
            && at <= now
        {
            self.settled.pop_first();
            match self.settling.remove(&user) {
                Some((names, left)) if self.is_node => self.look_again(names, left, now),
                Some((names, _)) => self.look(names, now),
                None => {}
            }
        }
    }

    /// Compares a user's state with what was told last.
    fn look(&mut self, names: Names, now: Instant) {
        if self.is_node {
            return self.look_among_nodes(names, now);
        }
        let user = self.ids.user(names.namespace(), names.user());
        let state = self.hub.state(user, None);
        let is_told = self.online.contains(&user);
        if state.devices > 0 {
            if !is_told {
                self.online.insert(user);
                self.change(user, &names, now);
            }
        } else if is_told && let Some(rest) = state.settles_in {
            // A user who comes back and leaves meanwhile gets another grace time then.
            self.settle_later(user, names, self.hub.clock.now(), now + rest);
        } else if is_told {
            self.online.remove(&user);
            self.change(user, &names, now);
        }
    }

    fn settle_later(&mut self, user: UserId, names: Names, left: u64, at: Instant) {
        if self.settling.insert(user, (names, left)).is_none() {
            self.settled.insert((at, user));
        }
    }

    /// Looks at a user who has come to this node, or left it.
    fn look_among_nodes(&mut self, names: Names, now: Instant) {
        let user = self.ids.user(names.namespace(), names.user());
        let state = self.hub.state(user, None);
        if self.hub.here(user).devices.is_empty() {
            if self.online.contains(&user) {
                let rest = state.settles_in.unwrap_or_default().max(HEARD);
                self.settle_later(user, names, self.hub.clock.now(), now + rest);
            }
        } else if self.online.insert(user) {
            // Another node has told of one who was there a moment ago.
            let was_online = self.hub.is_elsewhere(user) || state.settles_in.is_some();
            if !was_online {
                self.change(user, &names, now);
            }
        }
    }

    /// Looks at a user who left this node at `left`, and whose grace time is over.
    fn look_again(&mut self, names: Names, left: u64, now: Instant) {
        let user = self.ids.user(names.namespace(), names.user());
        if !self.hub.here(user).devices.is_empty() {
            return;
        }
        let state = self.hub.state(user, None);
        // A node that the user left later tells.
        let is_last = state.left.is_none_or(|last| last <= left + TOGETHER);
        if state.devices > 0 || !is_last {
            self.online.remove(&user);
        } else if let Some(rest) = state.settles_in {
            self.settle_later(user, names, left, now + rest);
        } else {
            self.online.remove(&user);
            self.change(user, &names, now);
        }
    }

    /// Lets the back end be told of a user's present state.
    fn change(&mut self, user: UserId, names: &Names, now: Instant) {
        let time = self.hub.clock.now();
        let state = self.hub.state(user, None);
        let change = random_id().map(|id| Change {
            id,
            namespace: names.namespace().into(),
            presence: state.shown_as(names.user(), time),
            time,
            steady: self.hub.clock.steady(),
        });
        match change {
            Ok(change) if self.queue.len() < WAITING_HOOKS || self.queue.has(user) => {
                self.queue.replace(user, change, now);
            }
            _ => self.metrics.webhooks.full(1),
        }
    }

    /// Tries what is due. Returns whether more of it may be tried at once.
    fn try_some(&mut self, now: Instant) -> bool {
        for _ in 0..PER_TURN {
            if !self.hook.is_open(self.queue.told(), now) {
                return false;
            }
            let Some((user, change)) = self.queue.next(now) else {
                return false;
            };
            let body = form::presence(&change.namespace, &change.presence, change.time);
            let id = change.id.clone();
            self.queue.begin(user);
            self.hook.tell(user, id, body, now);
        }
        true
    }

    /// Gives up what is over without another try, while the back end does not answer.
    fn drop_over(&mut self, now: Instant) {
        if now.saturating_duration_since(self.cleared) < CLEAR || !self.hook.rests() {
            return;
        }
        self.cleared = now;
        let (now_ms, give_up) = (self.hub.clock.steady(), self.give_up);
        let is_over = |change: &Change| is_over(change.steady, now_ms, give_up);
        for _ in 0..self.queue.drop_over(now, is_over) {
            self.hook.gave_up(now);
        }
    }

    /// Takes the result of a try.
    pub(super) fn take(&mut self, user: UserId, result: &Result<(), Failed>, now: Instant) {
        self.hook.take(result, now);
        let (now_ms, give_up) = (self.hub.clock.steady(), self.give_up);
        let is_over = |change: &Change| is_over(change.steady, now_ms, give_up);
        match result {
            Ok(()) => drop(self.queue.finish(user, now)),
            Err(_) if self.queue.head(user).is_some_and(is_over) => {
                self.hook.gave_up(now);
                drop(self.queue.finish(user, now));
            }
            Err(_) => self.queue.fail(user, (now, share()), false),
        }
    }
}
