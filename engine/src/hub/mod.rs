//! What shards tell each other without the store: who is online, what is published, typed and
//! signalled.
//!
//! Nothing here is durable and nobody waits for it. What it knows is spread over stripes with a
//! lock each, held for a few steps; what is to be told goes to the lanes of the shards concerned,
//! which take from them what a turn has time for.

mod frames;
mod lane;
mod presence;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use crate::config::Limits;
use crate::directory::Directory;
use crate::ids::UserId;
use crate::sequencer::unix_ms;
use crate::shard::mailbox::Mailbox;

pub(crate) use frames::PushFrames;
pub(crate) use lane::{Lanes, Passed, Taken};
pub(crate) use presence::UserState;
pub(crate) use topics::{Publication, Since, TopicId, Topics};

use presence::Presence;

/// Stripes of each map.
const STRIPES: usize = 64;

/// The stripe of an id; the maps use its low half.
const fn stripe_of(id: trunkline_storage::TimelineId) -> usize {
    (id.0 >> 64) as usize % STRIPES
}

pub(crate) struct Hub {
    pub(crate) lanes: Lanes,
    pub(crate) topics: Topics,
    presence: Presence,
    directory: Arc<Directory>,
    grace: Duration,
}

impl Hub {
    /// For the shards that these mailboxes belong to.
    pub(crate) fn new(
        limits: &Limits,
        directory: Arc<Directory>,
        mailboxes: Vec<Arc<Mailbox>>,
    ) -> Self {
        Self {
            lanes: Lanes::new(mailboxes),
            topics: Topics::new(limits),
            presence: Presence::new(limits.last_seen_cache),
            directory,
            grace: limits.presence_grace,
        }
    }

    /// A session of a user has entered the directory.
    pub(crate) fn arrived(&self, user: UserId) {
        self.lanes.changed(self.presence.watchers(user), user);
    }

    /// A session of a user ends: takes it out of the directory.
    pub(crate) fn leave(&self, user: UserId, shard: usize) {
        // Before it is gone: whoever sees that must also see since when.
        self.presence.note_left(user, unix_ms());
        self.directory.leave(user, shard);
        self.lanes.changed(self.presence.watchers(user), user);
    }

    /// From now on `shard` is told when the user's state may have changed. The state has to be
    /// read after this: what changes behind it is told.
    pub(crate) fn watch(&self, user: UserId, shard: usize) {
        self.presence.watch(user, shard);
    }

    /// Takes back [`Hub::watch`].
    pub(crate) fn unwatch(&self, user: UserId, shard: usize) {
        self.presence.unwatch(user, shard);
    }

    /// How a user is now.
    pub(crate) fn state(&self, user: UserId) -> UserState {
        // In the reverse order of `leave`.
        let devices = self.directory.devices(user);
        let left = self.presence.left(user);
        UserState::new(devices, left, unix_ms(), self.grace)
    }
}
