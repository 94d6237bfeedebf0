//! The watches and subscriptions of each connection of a shard.

use std::collections::HashMap;

use trunkline_core::hub::TopicId;
use trunkline_core::ids::UserId;

use super::Map;
use crate::rate::PerSecond;
use crate::timer::Tick;

/// The number of typing events that a connection may send within a second.
const TYPINGS: u16 = 10;

/// What one connection listens to, each with the connection's key in its list of listeners.
#[derive(Debug, Default)]
pub(super) struct Listening {
    watches: Map<u32>,
    topics: Map<u32>,
    typings: PerSecond,
}

impl Listening {
    /// Takes this apart: the watched users and the topics, each with the connection's key.
    pub(super) fn into_keys(
        self,
    ) -> (
        impl Iterator<Item = (UserId, u32)>,
        impl Iterator<Item = (TopicId, u32)>,
    ) {
        (self.watches.into_iter(), self.topics.into_iter())
    }
}

/// What the connections of a shard listen to.
///
/// `count` is the number of watches and subscriptions of all connections.
#[derive(Debug, Default)]
pub(super) struct Listenings {
    /// The connections by slot. Connections that listen to nothing, and never typed, have no entry.
    by_slot: HashMap<u32, Box<Listening>>,
    count: usize,
}

impl Listenings {
    fn of(&mut self, slot: u32) -> &mut Listening {
        self.by_slot.entry(slot).or_default()
    }

    /// Whether the connections may listen to `more` things more, and to at most `most` together.
    pub(super) const fn has_room(&self, more: usize, most: usize) -> bool {
        self.count + more <= most
    }

    /// The number of users that a connection watches.
    pub(super) fn watches(&self, slot: u32) -> usize {
        let listening = self.by_slot.get(&slot);
        listening.map_or(0, |listening| listening.watches.len())
    }

    /// The number of topics that a connection is subscribed to.
    pub(super) fn subscriptions(&self, slot: u32) -> usize {
        let listening = self.by_slot.get(&slot);
        listening.map_or(0, |listening| listening.topics.len())
    }

    /// The key of a connection among the watchers of a user, if it watches the user.
    pub(super) fn watch(&self, slot: u32, user: UserId) -> Option<u32> {
        self.by_slot.get(&slot)?.watches.get(&user).copied()
    }

    /// The key of a connection among the subscribers of a topic, if it is subscribed.
    pub(super) fn subscription(&self, slot: u32, topic: TopicId) -> Option<u32> {
        self.by_slot.get(&slot)?.topics.get(&topic).copied()
    }

    /// The topics that a connection is subscribed to.
    pub(super) fn topics(&self, slot: u32) -> impl Iterator<Item = TopicId> {
        let listening = self.by_slot.get(&slot);
        let topics = listening.map(|listening| listening.topics.keys());
        topics.into_iter().flatten().copied()
    }

    /// Notes that a connection watches a user from now on.
    pub(super) fn add_watch(&mut self, slot: u32, user: UserId, key: u32) {
        let new = self.of(slot).watches.insert(user, key).is_none();
        self.count += usize::from(new);
    }

    /// Notes that a connection is subscribed to a topic from now on.
    pub(super) fn add_subscription(&mut self, slot: u32, topic: TopicId, key: u32) {
        let new = self.of(slot).topics.insert(topic, key).is_none();
        self.count += usize::from(new);
    }

    /// Notes that a connection does not watch a user any more. Returns the key it had.
    pub(super) fn remove_watch(&mut self, slot: u32, user: UserId) -> Option<u32> {
        let key = self.by_slot.get_mut(&slot)?.watches.remove(&user)?;
        self.count -= 1;
        Some(key)
    }

    /// Notes that a connection is not subscribed to a topic any more. Returns the key it had.
    pub(super) fn remove_subscription(&mut self, slot: u32, topic: TopicId) -> Option<u32> {
        let key = self.by_slot.get_mut(&slot)?.topics.remove(&topic)?;
        self.count -= 1;
        Some(key)
    }

    /// Removes everything that a connection listens to, and returns it.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Listening> {
        let listening = self.by_slot.remove(&slot)?;
        self.count -= listening.watches.len() + listening.topics.len();
        Some(*listening)
    }

    /// Counts a typing event of a connection.
    ///
    /// # Errors
    /// The connection sent too many within a second: the number of ticks until it may send again.
    pub(super) fn type_once(&mut self, slot: u32, now: Tick) -> Result<(), Tick> {
        let typings = &mut self.of(slot).typings;
        if typings.allows(now, TYPINGS) {
            return Ok(());
        }
        Err(typings.left(now))
    }
}

#[cfg(test)]
mod tests {
    use trunkline_core::store::TimelineId;

    use super::*;

    #[test]
    fn the_count_follows_each_watch_and_subscription() {
        let mut all = Listenings::default();
        let (one, two) = (TimelineId(1), TimelineId(2));
        all.add_watch(7, one, 0);
        all.add_watch(7, one, 5);
        all.add_watch(7, two, 1);
        all.add_subscription(7, one, 9);
        all.add_subscription(8, one, 10);
        assert_eq!((all.count, all.watches(7), all.subscriptions(7)), (4, 2, 1));
        assert!(all.has_room(1, 5) && !all.has_room(2, 5));
        assert_eq!(all.watch(7, one), Some(5));
        assert_eq!((all.watch(8, one), all.watch(9, one)), (None, None));
        assert_eq!(all.subscription(8, one), Some(10));
        assert_eq!(all.remove_watch(7, one), Some(5));
        assert_eq!(all.remove_watch(7, one), None);
        assert_eq!(all.remove_subscription(9, one), None);
        assert_eq!(all.count, 3);
        let (watches, topics) = all.remove(7).unwrap().into_keys();
        assert_eq!(watches.collect::<Vec<_>>(), [(two, 1)]);
        assert_eq!(topics.collect::<Vec<_>>(), [(one, 9)]);
        assert!(all.remove(7).is_none());
        assert_eq!(all.remove_subscription(8, one), Some(10));
        assert_eq!(all.count, 0);
    }

    #[test]
    fn a_connection_types_so_often_in_a_second() {
        let mut all = Listenings::default();
        for _ in 0..TYPINGS {
            assert_eq!(all.type_once(7, 20), Ok(()));
        }
        assert_eq!(all.type_once(7, 25), Err(5));
        assert_eq!(all.type_once(8, 25), Ok(()));
        assert_eq!(all.type_once(7, 30), Ok(()));
    }
}
