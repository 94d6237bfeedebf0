//! The webhook `presence`: users who came or left.
//!
//! It keeps which users it took for online last, so a change is told once. All of it is in memory: after a
//! start, users who come are told as online, and nobody is told of those who do not come back.
//!
//! In a cluster each node keeps that, and the one that leads tells. One that begins to lead tells changes of the last seconds
//! too, which the one before may have told.

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
use super::cluster::HookCluster;
use super::hook::Hook;
use super::queue::Queue;
use super::{Told, WAITING_HOOKS, form, is_over, share};

/// The maximum number of requests that are made in one turn.
const PER_TURN: usize = 256;

/// The shortest time between two looks for what is over.
const CLEAR: Duration = Duration::from_secs(1);

/// The time for which a node that does not lead keeps changes: in that time another one leads after the death of the
/// leader.
const TAKE_OVER: Duration = Duration::from_secs(5);

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
    /// The users who were told as online.
    online: HashSet<UserId, IdBuildHasher>,
    /// The users who have left, and when their grace time is over.
    settling: HashMap<UserId, Names, IdBuildHasher>,
    settled: BTreeSet<(Instant, UserId)>,
    queue: Queue<Change>,
    give_up: Duration,
    cluster: Option<Arc<dyn HookCluster>>,
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
    /// The cluster; `None` for a gateway that works alone.
    pub(super) cluster: Option<Arc<dyn HookCluster>>,
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
            cluster: parts.cluster,
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
        if self
            .cluster
            .as_ref()
            .is_some_and(|cluster| !cluster.leads())
        {
            return self.rest(now);
        }
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

    /// Forgets what another node tells. Returns when it wants to be called again.
    fn rest(&mut self, now: Instant) -> Option<Instant> {
        let now_ms = self.hub.clock.steady();
        self.queue
            .drop_over(now, |change| is_over(change.steady, now_ms, TAKE_OVER));
        self.metrics.webhooks.set_waiting(Told::Presence, 0);
        self.settled.first().map(|(at, _)| *at)
    }

    /// Looks at the users whose grace time is over.
    fn settle(&mut self, now: Instant) {
        while let Some(&(at, user)) = self.settled.first()
            && at <= now
        {
            self.settled.pop_first();
            if let Some(names) = self.settling.remove(&user) {
                self.look(names, now);
            }
        }
    }

    /// Compares a user's state with what was told last.
    fn look(&mut self, names: Names, now: Instant) {
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
            if self.settling.insert(user, names).is_none() {
                self.settled.insert((now + rest, user));
            }
        } else if is_told {
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
