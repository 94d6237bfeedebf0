//! The state that shards share without the store: presence, topics, typing and signals.
//!
//! Nothing here is durable, and no shard waits for it. The data is spread over stripes, each with a
//! lock that is held for a few steps. Ephemeral events go into the lanes of the shards concerned.
//! Each turn a shard takes as many as it has time for.

mod blocks;
mod frames;
mod lane;
mod limits;
mod news;
mod nodes;
mod presence;
pub mod price;
mod topics;
mod unsaved;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::clock::{self, Clock};
use crate::cost::Cost;
use crate::directory::Directory;
use crate::exchange::Mailbox;
use crate::ids::{DeviceMark, UserId};
use crate::request::Names;
use presence::Presence;

pub use blocks::{BlockChange, BlockFilter};
pub use frames::PushFrames;
pub use lane::{EphemeralEvent, LaneContent, Lanes};
pub use limits::HubLimits;
pub use news::{MOST_NEWS, News};
pub use nodes::{Devices, EventElsewhere, Living, NodeNumber, Nodes, Stretch, UserAtNode};
pub use presence::UserState;
pub use topics::{
    Begun, NewPublication, Publication, Published, Since, TooManyTopics, TopicId, TopicState,
    Topics,
};
pub use unsaved::Unsaved;

/// The number of stripes in each map.
pub const STRIPES: usize = 64;

/// Returns the stripe of an id. The maps themselves use the low half of the id.
const fn stripe_of(id: trunkline_storage::TimelineId) -> usize {
    (id.0 >> 64) as usize % STRIPES
}

/// The result of passing an event to the connections of some users.
#[derive(Debug, Clone, Copy)]
pub struct Delivered {
    /// Whether one of the users has a connection.
    pub any: bool,
    /// The number of shards, and of other nodes, without room for the event.
    pub refused: u64,
    /// The cost of the event, with that of telling it.
    pub cost: Cost,
}

/// The ephemeral state of a gateway: presence, topics and the lanes to the shards.
pub struct Hub {
    /// The queues of ephemeral events, one for each shard.
    pub lanes: Lanes,
    /// The topics of all namespaces.
    pub topics: Topics,
    /// The time that clients are told.
    pub clock: Arc<Clock>,
    /// The last-seen times that the store does not have yet.
    pub unsaved: Unsaved,
    /// Says which users certainly do not block another one.
    pub blocks: Arc<BlockFilter>,
    /// The number of the next command that this process forwards, as of the last time that it followed another node. No
    /// number comes twice: an answer may come late.
    pub(crate) next_forwarded: AtomicU64,
    presence: Presence,
    /// Where sessions that begin and end are noted; nowhere if nobody asks for them.
    news: OnceLock<Arc<News>>,
    directory: Arc<Directory>,
    grace: Duration,
    /// What other nodes say and are told; nothing in a gateway that works alone.
    nodes: OnceLock<Arc<Nodes>>,
}

impl Hub {
    /// Returns the hub of the shards with these mailboxes. `connections` is the maximum number of
    /// connections.
    pub fn new(
        limits: &HubLimits,
        connections: usize,
        directory: Arc<Directory>,
        mailboxes: Vec<Arc<Mailbox>>,
    ) -> Self {
        Self {
            lanes: Lanes::new(mailboxes),
            topics: Topics::new(limits),
            clock: Arc::new(Clock::new(clock::system())),
            // All connected users can leave at once. Without storing, there is nothing to note.
            unsaved: Unsaved::new(if limits.last_seen_rate > 0 {
                connections
            } else {
                0
            }),
            presence: Presence::new(limits.last_seen_cache),
            news: OnceLock::new(),
            blocks: Arc::default(),
            next_forwarded: AtomicU64::new(0),
            directory,
            grace: limits.presence_grace,
            nodes: OnceLock::new(),
        }
    }

    /// Returns where sessions are noted that begin and end from now on.
    pub fn news(&self) -> Arc<News> {
        Arc::clone(self.news.get_or_init(Arc::default))
    }

    /// Notes that a session of a user has begun or ended, if somebody asks for that. Call it after
    /// [`arrived`](Self::arrived) and [`leave`](Self::leave).
    #[inline]
    pub fn note(&self, names: &Names) {
        if let Some(news) = self.news.get() {
            news.note(names);
        }
    }

    /// Tells the watching shards, and other nodes, that a session of a user has entered the directory.
    pub fn arrived(&self, user: UserId) {
        self.lanes.changed(self.presence.watchers(user), user);
        if let Some(nodes) = self.nodes.get() {
            nodes.note(user);
        }
    }

    /// Removes an ending session of a user from the directory. Returns `false` if there was no room
    /// to note the last-seen time for the store.
    pub fn leave(&self, user: UserId, shard: usize, device: DeviceMark) -> bool {
        let now = self.clock.now();
        // The time comes first: a thread that finds the user gone must find the time too.
        self.presence.note_left(user, now);
        let noted = self.unsaved.note(user, now);
        self.directory.leave(user, shard, device);
        self.lanes.changed(self.presence.watchers(user), user);
        if let Some(nodes) = self.nodes.get() {
            nodes.note(user);
        }
        noted
    }

    /// Passes an event to all connections of these users, at all nodes. A `trifle` is dropped for a connection that
    /// has other data waiting.
    pub fn pass(&self, users: &[UserId], frames: PushFrames, trifle: bool) -> Delivered {
        let (mut shards, mut devices) = (0, 0);
        for user in users {
            let some = self.directory.shards(*user);
            if some != 0 {
                shards |= some;
                devices += self.directory.devices(*user) as usize;
            }
        }
        let (bytes, mut refused) = (frames.size(), 0);
        let frames = Arc::new(frames);
        if let Some(nodes) = self.nodes.get() {
            let recipients = nodes.recipients(users);
            devices += recipients.devices;
            refused += nodes.pass(recipients, &frames, trifle);
        }
        if shards != 0 {
            let event = EphemeralEvent::ToUsers {
                users: users.into(),
                frames,
                trifle,
            };
            refused += self.lanes.pass(shards, &event);
        }
        Delivered {
            any: devices != 0,
            refused,
            cost: price::written(bytes) + price::told(devices, bytes),
        }
    }

    /// Returns the time in which a user who left counts as online.
    pub const fn grace(&self) -> Duration {
        self.grace
    }

    /// Tells the shards that watch a user whom that user blocks, or no longer blocks. Only shards with
    /// connections of the other user learn of it.
    pub fn block_changed(&self, change: BlockChange) {
        let watching = self.presence.watchers(change.blocker);
        if watching != 0 {
            let there = self.directory.shards(change.blocked);
            self.lanes.block_changed(watching & there, change);
        }
    }

    /// Returns whether a user has no connection, at any node.
    pub fn is_gone(&self, user: UserId) -> bool {
        self.devices(user) == 0
    }

    /// Forgets when a user was last seen.
    pub(crate) fn forget(&self, user: UserId) {
        self.presence.forget(user);
        self.unsaved.forget(user);
    }

    /// Tells `shard` from now on when the user's state may have changed. Read the state after this
    /// call: the shard learns of all later changes.
    pub fn watch(&self, user: UserId, shard: usize) {
        self.presence.watch(user, shard);
    }

    /// Ends one [`Hub::watch`].
    pub fn unwatch(&self, user: UserId, shard: usize) {
        self.presence.unwatch(user, shard);
    }

    /// Returns the state of a user. `known` is a last-seen time from another source, such as the
    /// store.
    pub fn state(&self, user: UserId, known: Option<u64>) -> UserState {
        // The reverse order of `leave`.
        let devices = self.devices(user);
        let left = self.presence.left(user);
        let left = left.or_else(|| self.unsaved.left(user)).max(known);
        UserState::new(devices, left, self.clock.now(), self.grace)
    }
}
