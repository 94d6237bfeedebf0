//! Ephemeral events of a shard: presence, publications, typing events and signals. The store has
//! none of them.
//!
//! [`Ephemeral`] has tables of what connections listen to, only for the connections that listen to
//! something. The events come out of the shard's lane. A turn tells only a part of them, so that
//! messages do not wait; later turns tell the rest.

mod begun;
mod commands;
mod listeners;
mod listening;
mod presence;
mod requests;
mod seen;
mod tell;
mod topics;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use trunkline_core::hub::{Delivered, EphemeralEvent, Hub, LaneContent, PushFrames};
use trunkline_core::ids::{Ids, UserId};
use trunkline_core::store::IdBuildHasher;

use super::Shard;
use super::parts::Parts;
use super::turn::Turn;
use crate::limits::Limits;
use crate::metrics::{Limit, ShardMetrics};
use crate::shared::SharedPush;
use begun::Begun;
use listening::Listenings;
use presence::{PresenceWalk, Watching};
use topics::{Lost, NextSubscriber, Subscriptions, TopicNews, TopicWalk};

/// Pushes of a turn, counting listeners that need none. A push may be a system call of some
/// microseconds, and messages wait for the end of a turn. With a few more, their latency would show
/// it; with many fewer, the turns themselves would cost too much.
const TELLINGS: usize = 16;

type Map<T> = HashMap<UserId, T, IdBuildHasher>;

/// The ephemeral state of a shard: what its connections listen to, and events that they have not
/// been told yet.
pub(crate) struct Ephemeral {
    hub: Arc<Hub>,
    shard: usize,
    ids: Ids,
    limits: Arc<Limits>,
    metrics: Arc<ShardMetrics>,
    /// Events that the shard took out of its lane and has not told yet.
    taken: LaneContent,
    /// Topics of which the lane lost publications. Told after the events above.
    lost: Vec<Lost>,
    /// Blocks that changed, as in the lane. Watchers learn of them before anything else.
    blocks: BTreeMap<(UserId, UserId), bool>,
    /// The news that subscribers are being told.
    walk: Option<TopicWalk>,
    listening: Listenings,
    begun: Begun,
    watching: Watching,
    subscriptions: Subscriptions,
}

/// The next event to tell.
enum News {
    /// News of a topic, for its subscribers.
    Topic(TopicWalk),
    /// An event for all connections of some users.
    Users {
        users: Arc<[UserId]>,
        frames: Arc<PushFrames>,
        /// A connection with other output waiting does not get the event.
        trifle: bool,
    },
}

impl Ephemeral {
    /// Makes the state of a shard whose connections listen to nothing.
    pub(super) fn new(parts: &Parts) -> Self {
        let (hub, shard) = (&parts.hub, parts.index);
        Self {
            hub: Arc::clone(hub),
            shard,
            ids: parts.ids,
            limits: Arc::clone(&parts.limits),
            metrics: Arc::clone(&parts.metrics),
            taken: LaneContent::default(),
            lost: Vec::new(),
            blocks: BTreeMap::new(),
            walk: None,
            listening: Listenings::default(),
            begun: Begun::default(),
            watching: Watching::new(Arc::clone(hub), shard),
            subscriptions: Subscriptions::new(Arc::clone(hub), shard),
        }
    }

    /// Whether a turn has something to tell, or may have. The shard asks before it sleeps.
    pub(super) fn has_work(&self) -> bool {
        self.has_more() || self.hub.lanes.is_filled(self.shard)
    }

    /// Whether something is left of what the shard took out of its lane.
    fn has_more(&self) -> bool {
        let taken = !self.taken.events.is_empty() || !self.lost.is_empty();
        taken || self.walk.is_some() || self.watching.has_more() || !self.blocks.is_empty()
    }

    /// Takes the content of the lane, once everything that was taken before is told.
    fn take_lane(&mut self) {
        if self.has_more() {
            return;
        }
        self.hub.lanes.take(self.shard, &mut self.taken);
        self.blocks = std::mem::take(&mut self.taken.blocks);
        self.watching.changed(self.taken.changed.drain());
        let lost = self.taken.lost.drain();
        self.lost
            .extend(lost.map(|(topic, pos)| Lost { topic, pos }));
    }

    /// Ends everything that a connection listens to.
    pub(super) fn stop_listening(&mut self, slot: u32) {
        let Some(listening) = self.listening.remove(slot) else {
            return;
        };
        let (watches, topics) = listening.into_keys();
        for (user, key) in watches {
            self.begun.forget(slot, user);
            self.watching.unwatch(user, key);
        }
        for (topic, key) in topics {
            self.subscriptions.unsubscribe(topic, key);
        }
    }

    /// Returns the next event to tell.
    fn next_news(&mut self) -> Option<News> {
        if let Some(walk) = self.walk.take() {
            return Some(News::Topic(walk));
        }
        let news = match self.taken.events.pop_front() {
            None => TopicNews::Lost(self.lost.pop()?),
            Some(EphemeralEvent::Publication(publication)) => TopicNews::Publication(publication),
            Some(EphemeralEvent::ToUsers {
                users,
                frames,
                trifle,
            }) => {
                return Some(News::Users {
                    users,
                    frames,
                    trifle,
                });
            }
        };
        Some(News::Topic(TopicWalk::new(news)))
    }

    /// Returns the next subscriber that has to be told news. See [`Subscriptions::next_subscriber`].
    fn next_subscriber(
        &mut self,
        walk: &mut TopicWalk,
        left: &mut usize,
    ) -> Option<NextSubscriber> {
        self.subscriptions.next_subscriber(walk, left)
    }

    /// Lets a later turn go on with news, if subscribers are left to be told.
    fn put_off(&mut self, walk: TopicWalk) {
        if !walk.is_done() {
            self.walk = Some(walk);
        }
    }

    /// Begins or continues to tell watchers of the next user who has changed.
    fn next_presence(&mut self, turn: &mut Turn) -> Option<PresenceWalk> {
        self.watching.next_walk(turn)
    }

    /// Returns the next change of a block, as in the lane.
    fn next_block(&mut self) -> Option<((UserId, UserId), bool)> {
        self.blocks.pop_first()
    }

    /// Notes that a user blocks the user of a connection from now on, or no longer. Returns what the
    /// connection is told.
    fn block_changed(&mut self, slot: u32, blocker: UserId, begins: bool) -> Option<SharedPush> {
        let key = self.listening.watch(slot, blocker)?;
        self.watching.block_changed(blocker, key, begins)
    }

    /// Returns the slot of the next watcher that has to be told. See [`Watching::next_watcher`].
    fn next_watcher(&mut self, walk: &mut PresenceWalk, left: &mut usize) -> Option<u32> {
        self.watching.next_watcher(walk, left)
    }

    /// Passes an event to all connections of these users.
    fn pass(&self, users: &[UserId], frames: PushFrames, trifle: bool) -> Delivered {
        let passed = self.hub.pass(users, frames, trifle);
        self.count_refused(passed.refused);
        passed
    }

    /// Counts the shards that had no room for an event.
    fn count_refused(&self, shards: u64) {
        for _ in 0..shards {
            self.metrics.limited(Limit::Ephemeral);
        }
    }
}

impl Shard {
    /// Tells as many ephemeral events as a turn has time for.
    pub(super) fn tell_ephemeral(&mut self) {
        let core = &mut self.core;
        core.ephemeral.take_lane();
        core.ephemeral.watching.settle(core.turn.now());
        // Presence and the other events have half each, and presence leaves its rest to the others.
        let mut left = TELLINGS / 2;
        core.tell_blocks(&mut self.conns, &mut left);
        core.tell_presence(&mut self.conns, &mut left);
        left += TELLINGS / 2;
        core.tell_events(&mut self.conns, &mut left);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use trunkline_core::directory::Directory;
    use trunkline_core::exchange::{Mailbox, Wake};
    use trunkline_core::hub::{HubLimits, Publication};
    use trunkline_core::store::Position;

    use super::*;

    #[derive(Debug)]
    struct NoWake;

    impl Wake for NoWake {
        fn wake(&self) {}
    }

    /// A hub with one shard.
    pub(super) struct HubOfTests {
        pub(super) hub: Arc<Hub>,
        pub(super) directory: Arc<Directory>,
    }

    impl HubOfTests {
        /// Takes the publications in the lane of the shard.
        pub(super) fn taken(&self) -> Vec<Arc<Publication>> {
            let mut content = LaneContent::default();
            self.hub.lanes.take(0, &mut content);
            let publication = |event| match event {
                EphemeralEvent::Publication(publication) => Some(publication),
                EphemeralEvent::ToUsers { .. } => None,
            };
            content.events.drain(..).filter_map(publication).collect()
        }
    }

    /// Makes a hub with one shard. A user stays online for 10 s after the last session.
    pub(super) fn hub() -> HubOfTests {
        let limits = HubLimits {
            presence_grace: Duration::from_secs(10),
            last_seen_cache: 1_000,
            last_seen_interval: Duration::from_secs(5),
            last_seen_rate: 1_000,
            topics: 100,
            topic_history: 10,
            topic_bytes: 1 << 20,
            topics_bytes: 1 << 20,
        };
        let directory = Arc::new(Directory::new(Position::ZERO));
        let mailbox = Arc::new(Mailbox::new(Box::new(NoWake)));
        let hub = Hub::new(&limits, 1_000, Arc::clone(&directory), vec![mailbox]);
        HubOfTests {
            hub: Arc::new(hub),
            directory,
        }
    }
}
