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

use trunkline_core::hub::{Passed, Taken, TopicId};
use trunkline_core::ids::UserId;
use trunkline_core::store::IdBuildHasher;

use super::Shard;
use super::connection::Conn;
use super::core::Core;
use crate::rate::PerSecond;
use presence::Watching;
use topics::{Subscribers, Told};

/// Pushes of a turn, and listeners looked at that need none. Each may be a system call of some
/// microseconds, and messages wait for a turn's end more than once: few more would be seen in their
/// latency, and many fewer in what a turn costs by itself.
const TELLINGS: usize = 16;

/// Typing notices of a connection within a second.
const TYPINGS: u16 = 10;

type Map<T> = HashMap<UserId, T, IdBuildHasher>;

/// What a shard knows that is ephemeral.
#[derive(Default)]
pub(crate) struct Ephemeral {
    /// What was taken out of the lane and not told yet.
    taken: Taken,
    /// Topics of which the lane had no room for all, behind that.
    lost: Vec<(TopicId, u64)>,
    /// What subscribers are being told, and the key of the one who is next.
    telling: Option<(Told, u32)>,
    /// What each connection listens to, of those that do.
    ears: HashMap<u32, Box<Ears>>,
    /// Watches and subscriptions of all of them.
    listenings: usize,
    watching: Watching,
    topics: HashMap<TopicId, Subscribers, IdBuildHasher>,
    /// What these topics are called, where tokens say who may subscribe to which.
    names: HashMap<TopicId, Box<str>, IdBuildHasher>,
}

/// What a connection listens to, with its keys there.
#[derive(Debug, Default)]
struct Ears {
    watches: Map<u32>,
    topics: Map<u32>,
    typings: PerSecond,
}

impl Ephemeral {
    /// Something is left for the next turn.
    pub(super) fn has_more(&self) -> bool {
        let taken = !self.taken.passed.is_empty() || !self.lost.is_empty();
        taken || self.telling.is_some() || self.watching.has_more()
    }

    /// Whether connections may listen to so many things more, of so many at most.
    const fn has_room(&self, more: usize, most: usize) -> bool {
        self.listenings + more <= most
    }

    fn next_passed(&mut self) -> Option<Passed> {
        self.taken.passed.pop_front()
    }

    /// The next topic of which something was lost behind all that was passed.
    fn next_lost(&mut self) -> Option<Told> {
        let (topic, seq) = self.lost.pop()?;
        Some(Told::Lost(topic, seq))
    }
}

impl Core {
    /// Whether there is something to be told, or may be: asked before the shard sleeps.
    pub(super) fn has_ephemeral(&self) -> bool {
        self.ephemeral.has_more() || self.parts.hub.lanes.is_filled(self.parts.index)
    }

    /// A connection listens to nothing any more.
    pub(super) fn stop_listening(&mut self, slot: u32) {
        let Some(ears) = self.ephemeral.ears.remove(&slot) else {
            return;
        };
        for (user, key) in ears.watches {
            self.unlisten_user(user, key);
        }
        for (topic, key) in ears.topics {
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
