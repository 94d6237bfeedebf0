//! What a shard passes on that is stored nowhere: who is online, what is published, typed and
//! signalled.
//!
//! What connections asked for stands in tables beside them, only for those that did. What is to be
//! told comes out of the shard's lane; a turn tells so much of it that messages do not wait, and
//! goes on in the next.

mod commands;
mod listeners;
mod presence;
mod seen;
mod tell;
mod topics;

use std::collections::HashMap;

use trunkline_core::hub::{EphemeralEvent, LaneContent, TopicId};
use trunkline_core::ids::UserId;
use trunkline_core::store::IdBuildHasher;

use super::Shard;
use super::connection::Conn;
use super::core::Core;
use crate::rate::PerSecond;
use presence::Watching;
use topics::{Subscribers, TopicNews};

/// Pushes of a turn, and listeners looked at that need none. Each may be a system call of some
/// microseconds, and messages wait for a turn's end more than once: few more would be seen in their
/// latency, and many fewer in what a turn costs by itself.
const TELLINGS: usize = 16;

/// Typing notices of a connection within a second.
const TYPINGS: u16 = 10;

type Map<T> = HashMap<UserId, T, IdBuildHasher>;

/// The ephemeral state of a shard: what its connections watch and subscribe to, and events that they
/// have not been told yet.
#[derive(Default)]
pub(crate) struct Ephemeral {
    /// Events that the shard took out of its lane and has not told yet.
    taken: LaneContent,
    /// Topics of which the lane lost publications, each with the number of the last one lost. Told
    /// behind the events above.
    lost: Vec<(TopicId, u64)>,
    /// The news that subscribers are being told, and the key of the next subscriber.
    telling: Option<(TopicNews, u32)>,
    /// What each connection listens to, by slot. Connections that listen to nothing have no entry.
    listening: HashMap<u32, Box<Listening>>,
    /// The number of watches and subscriptions of all connections.
    listenings: usize,
    watching: Watching,
    topics: HashMap<TopicId, Subscribers, IdBuildHasher>,
    /// The names of the topics, if tokens decide who may subscribe to which.
    names: HashMap<TopicId, Box<str>, IdBuildHasher>,
}

/// What one connection listens to: users and topics, each with the connection's key in its list of
/// listeners, and how many typing events it may still send.
#[derive(Debug, Default)]
struct Listening {
    watches: Map<u32>,
    topics: Map<u32>,
    typings: PerSecond,
}

impl Ephemeral {
    /// Something is left for the next turn.
    pub(super) fn has_more(&self) -> bool {
        let taken = !self.taken.events.is_empty() || !self.lost.is_empty();
        taken || self.telling.is_some() || self.watching.has_more()
    }

    /// Whether connections may listen to so many things more, of so many at most.
    const fn has_room(&self, more: usize, most: usize) -> bool {
        self.listenings + more <= most
    }

    fn next_event(&mut self) -> Option<EphemeralEvent> {
        self.taken.events.pop_front()
    }

    /// The next topic of which something was lost behind all that was event.
    fn next_lost(&mut self) -> Option<TopicNews> {
        let (topic, seq) = self.lost.pop()?;
        Some(TopicNews::Lost(topic, seq))
    }
}

impl Core {
    /// Whether there is something to be told, or may be: asked before the shard sleeps.
    pub(super) fn has_ephemeral(&self) -> bool {
        self.ephemeral.has_more() || self.parts.hub.lanes.is_filled(self.parts.index)
    }

    /// A connection listens to nothing any more.
    pub(super) fn stop_listening(&mut self, slot: u32) {
        let Some(listening) = self.ephemeral.listening.remove(&slot) else {
            return;
        };
        for (user, key) in listening.watches {
            self.unlisten_user(user, key);
        }
        for (topic, key) in listening.topics {
            self.unlisten_topic(topic, key);
        }
    }
}

impl Shard {
    /// Tells what a turn has time for.
    pub(super) fn tell_ephemeral(&mut self) {
        let core = &mut self.core;
        if !core.ephemeral.has_more() {
            core.parts
                .hub
                .lanes
                .take(core.parts.index, &mut core.ephemeral.taken);
            let changed = core.ephemeral.taken.changed.drain();
            core.ephemeral.watching.changed(changed);
            core.ephemeral
                .lost
                .extend(core.ephemeral.taken.lost.drain());
        }
        core.settle();
        // Both have their share, and what one leaves is the other's.
        let mut left = TELLINGS / 2;
        core.tell_presence(&mut self.conns, &mut left);
        left += TELLINGS / 2;
        core.tell_passed(&mut self.conns, &mut left);
    }
}

impl Conn {
    /// There is a session that may be told something.
    fn is_listening(&self) -> bool {
        self.session().is_some() && !self.leaving
    }
}
