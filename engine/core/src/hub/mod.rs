//! What shards tell each other without the store: who is online, what is published, typed and
//! signalled.
//!
//! Nothing here is durable and nobody waits for it. What it knows is spread over stripes with a
//! lock each, held for a few steps; what is to be told goes to the lanes of the shards concerned,
//! which take from them what a turn has time for.

mod frames;
mod lane;
mod limits;
mod presence;
mod topics;
mod unsaved;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{self, Clock};
use crate::directory::Directory;
use crate::exchange::Mailbox;
use crate::ids::{DeviceMark, UserId};
use presence::Presence;

pub use frames::PushFrames;
pub use lane::{Lanes, Passed, Taken};
pub use limits::HubLimits;
pub use presence::UserState;
pub use topics::{Publication, Since, TopicId, Topics};
pub use unsaved::Unsaved;

/// Stripes of each map.
pub const STRIPES: usize = 64;

/// The stripe of an id; the maps use its low half.
const fn stripe_of(id: trunkline_storage::TimelineId) -> usize {
    (id.0 >> 64) as usize % STRIPES
}

/// What sessions tell each other without the store.
pub struct Hub {
    /// The ways to the shards.
    pub lanes: Lanes,
    /// The topics.
    pub topics: Topics,
    /// The time that clients are told.
    pub clock: Clock,
    /// Who has left, until the store knows it.
    pub unsaved: Unsaved,
    presence: Presence,
    directory: Arc<Directory>,
    grace: Duration,
}

impl Hub {
    /// For the shards that these mailboxes belong to, with so many connections at most.
    pub fn new(
        (limits, connections): (&HubLimits, usize),
        directory: Arc<Directory>,
        mailboxes: Vec<Arc<Mailbox>>,
    ) -> Self {
        Self {
            lanes: Lanes::new(mailboxes),
            topics: Topics::new(limits),
            clock: Clock::new(clock::system()),
            // As many as can leave at once; none, where the store is not to know.
            unsaved: Unsaved::new(if limits.last_seen_rate > 0 {
                connections
            } else {
                0
            }),
            presence: Presence::new(limits.last_seen_cache),
            directory,
            grace: limits.presence_grace,
        }
    }

    /// A session of a user has entered the directory.
    pub fn arrived(&self, user: UserId) {
        self.lanes.changed(self.presence.watchers(user), user);
    }

    /// A session of a user ends: takes it out of the directory. Whether there was room for it
    /// among those of whom the store is to know it.
    pub fn leave(&self, user: UserId, shard: usize, device: DeviceMark) -> bool {
        let now = self.clock.now();
        // Before it is gone: whoever sees that must also see since when.
        self.presence.note_left(user, now);
        let noted = self.unsaved.note(user, now);
        self.directory.leave(user, shard, device);
        self.lanes.changed(self.presence.watchers(user), user);
        noted
    }

    /// Whether a user has no connection.
    pub fn is_gone(&self, user: UserId) -> bool {
        self.directory.shards(user) == 0
    }

    /// From now on `shard` is told when the user's state may have changed. The state has to be
    /// read after this: what changes behind it is told.
    pub fn watch(&self, user: UserId, shard: usize) {
        self.presence.watch(user, shard);
    }

    /// Takes back [`Hub::watch`].
    pub fn unwatch(&self, user: UserId, shard: usize) {
        self.presence.unwatch(user, shard);
    }

    /// How a user is now, of whom it may be known from elsewhere when they left.
    pub fn state(&self, user: UserId, known: Option<u64>) -> UserState {
        // In the reverse order of `leave`.
        let devices = self.directory.devices(user);
        let left = self.presence.left(user);
        let left = left.or_else(|| self.unsaved.left(user)).max(known);
        UserState::new(devices, left, self.clock.now(), self.grace)
    }
}
