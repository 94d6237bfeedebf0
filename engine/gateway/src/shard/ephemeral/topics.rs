//! The topics that connections of a shard are subscribed to.

use std::collections::HashMap;
use std::sync::Arc;

use trunkline_core::hub::{Begun, Hub, Publication, Since, TooManyTopics, TopicId};
use trunkline_core::store::IdBuildHasher;

use super::listeners::Listeners;
use crate::shared::SharedPush;

/// Connections that are subscribed to a topic, each with the position of the last publication that it
/// has been told or must not be told.
type Subscribers = Listeners<Since>;

/// The topics that connections of a shard are subscribed to.
///
/// The hub knows of each topic in `topics` that this shard is subscribed to it.
pub(super) struct Subscriptions {
    hub: Arc<Hub>,
    shard: usize,
    topics: HashMap<TopicId, Subscribers, IdBuildHasher>,
    /// The name of each topic, where tokens decide who may subscribe. Empty otherwise.
    names: HashMap<TopicId, Box<str>, IdBuildHasher>,
}

/// Publications of a topic that found no room in the shard's lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lost {
    /// The topic.
    pub(super) topic: TopicId,
    /// The position of the last lost publication.
    pub(super) pos: Since,
}

/// News of a topic for its subscribers.
#[derive(Debug)]
pub(super) enum TopicNews {
    /// A publication.
    Publication(Arc<Publication>),
    /// Publications are lost.
    Lost(Lost),
}

/// The way through the subscribers of one topic that has news.
#[derive(Debug)]
pub(super) struct TopicWalk {
    news: TopicNews,
    /// The push for the subscribers. `None` where publications are lost.
    push: Option<SharedPush>,
    /// The key of the next subscriber.
    next: u32,
    done: bool,
}

/// A subscriber that has to be told news.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NextSubscriber {
    /// The slot of the subscriber.
    pub(super) slot: u32,
    /// The subscriber has missed publications.
    pub(super) missed: bool,
}

impl TopicWalk {
    /// Begins at the first subscriber.
    pub(super) fn new(news: TopicNews) -> Self {
        let push = match &news {
            TopicNews::Publication(publication) => {
                Some(SharedPush::new(Arc::clone(&publication.frames)))
            }
            TopicNews::Lost(_) => None,
        };
        Self {
            news,
            push,
            next: 0,
            done: false,
        }
    }

    /// Whether all subscribers are told.
    pub(super) const fn is_done(&self) -> bool {
        self.done
    }

    /// The push for the subscribers. `None` where publications are lost.
    pub(super) const fn push(&mut self) -> Option<&mut SharedPush> {
        self.push.as_mut()
    }

    fn topic(&self) -> TopicId {
        match &self.news {
            TopicNews::Publication(publication) => publication.topic,
            TopicNews::Lost(lost) => lost.topic,
        }
    }

    /// The position of the last publication that the news are about.
    fn pos(&self) -> Since {
        match &self.news {
            TopicNews::Publication(publication) => publication.pos,
            TopicNews::Lost(lost) => lost.pos,
        }
    }
}

/// A subscription of a connection.
#[derive(Debug)]
pub(super) struct Subscribed {
    /// The position and the missed publications.
    pub(super) begun: Begun,
    /// The key of the connection among the subscribers.
    pub(super) key: u32,
}

impl Subscriptions {
    /// Makes the state of a shard without subscriptions.
    pub(super) fn new(hub: Arc<Hub>, shard: usize) -> Self {
        Self {
            hub,
            shard,
            topics: HashMap::default(),
            names: HashMap::default(),
        }
    }

    /// Subscribes a connection to a topic, from a position on if there is one. `known` is the
    /// connection's key if it is subscribed already.
    ///
    /// # Errors
    /// The gateway has as many topics as it may have.
    pub(super) fn subscribe(
        &mut self,
        slot: u32,
        known: Option<u32>,
        topic: TopicId,
        since: Option<Since>,
    ) -> Result<Subscribed, TooManyTopics> {
        let new = known.is_none();
        let begun = self.hub.topics.subscribe(topic, self.shard, since, new)?;
        let subscribers = self.topics.entry(topic).or_default();
        let known = known.and_then(|key| Some((key, subscribers.get_mut(key)?)));
        let key = match known {
            None => subscribers.add(slot, begun.pos),
            Some((key, subscriber)) => {
                if begun.missed.is_some() {
                    // The publications on their way come with the reply, and must not come twice.
                    subscriber.note = begun.pos;
                }
                key
            }
        };
        Ok(Subscribed { begun, key })
    }

    /// Keeps the name of a topic, for the check of later tokens.
    pub(super) fn keep_name(&mut self, topic: TopicId, name: &str) {
        self.names.entry(topic).or_insert_with(|| name.into());
    }

    /// The name of a topic, if it is kept. Otherwise an empty string.
    pub(super) fn name(&self, topic: TopicId) -> &str {
        self.names.get(&topic).map_or("", |name| name)
    }

    /// Ends a subscription. `key` is the connection's key among the subscribers.
    pub(super) fn unsubscribe(&mut self, topic: TopicId, key: u32) {
        let Some(subscribers) = self.topics.get_mut(&topic) else {
            return;
        };
        subscribers.remove(key);
        let last = subscribers.is_empty();
        if last {
            self.topics.remove(&topic);
            self.names.remove(&topic);
        }
        self.hub.topics.unsubscribe(topic, self.shard, last);
    }

    /// Returns the next subscriber that has to be told news. Takes one off `left` for each subscriber
    /// it looks at. Returns `None` at the end of the walk, and where nothing is left.
    pub(super) fn next_subscriber(
        &mut self,
        walk: &mut TopicWalk,
        left: &mut usize,
    ) -> Option<NextSubscriber> {
        let pos = walk.pos();
        let subscribers = self.topics.get_mut(&walk.topic());
        let Some(subscribers) = subscribers else {
            walk.done = true;
            return None;
        };
        loop {
            if walk.next >= subscribers.end() {
                walk.done = true;
                return None;
            }
            if *left == 0 {
                return None;
            }
            *left -= 1;
            let subscriber = subscribers.get_mut(walk.next);
            walk.next += 1;
            // A later subscriber has the news behind it, or got them when it subscribed.
            let is_known = |told: Since| told.epoch == pos.epoch && told.seq >= pos.seq;
            let Some(subscriber) = subscriber.filter(|subscriber| !is_known(subscriber.note))
            else {
                continue;
            };
            // The lane had no room for the publications between, or another node counts them now.
            let told = subscriber.note;
            let missed = told.epoch != pos.epoch
                || told.seq + 1 < pos.seq
                || matches!(walk.news, TopicNews::Lost(_));
            subscriber.note = pos;
            let slot = subscriber.slot;
            return Some(NextSubscriber { slot, missed });
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_core::hub::NewPublication;
    use trunkline_core::store::TimelineId;
    use trunkline_proto::message::Json;

    use super::super::tests::{HubOfTests, hub};
    use super::*;

    const NEWS: TopicId = TimelineId(7);

    fn world() -> (HubOfTests, Subscriptions) {
        let hub = hub();
        let subscriptions = Subscriptions::new(Arc::clone(&hub.hub), 0);
        (hub, subscriptions)
    }

    fn lost(seq: u64) -> TopicWalk {
        let pos = Since { epoch: 1, seq };
        TopicWalk::new(TopicNews::Lost(Lost { topic: NEWS, pos }))
    }

    fn told(subscriptions: &mut Subscriptions, walk: &mut TopicWalk, mut left: usize) -> Vec<u32> {
        let next = || Some(subscriptions.next_subscriber(walk, &mut left)?.slot);
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_walk_goes_on_where_it_stopped_and_tells_each_subscriber_once() {
        let (_hub, mut all) = world();
        for slot in 0..5 {
            all.subscribe(slot, None, NEWS, None).unwrap();
        }
        let mut walk = lost(3);
        assert_eq!(told(&mut all, &mut walk, 2), [0, 1]);
        assert!(!walk.is_done());
        assert_eq!(told(&mut all, &mut walk, 9), [2, 3, 4]);
        assert!(walk.is_done() && walk.push().is_none());
        assert_eq!(told(&mut all, &mut lost(3), 9), [0; 0], "told already");
        let mut walk = lost(4);
        let first = all.next_subscriber(&mut walk, &mut 1);
        let (slot, missed) = (0, true);
        assert_eq!(first, Some(NextSubscriber { slot, missed }));
    }

    #[test]
    fn a_subscriber_misses_nothing_that_comes_in_order() {
        let (hub, mut all) = world();
        all.subscribe(3, None, NEWS, None).unwrap();
        let publish = |text: &'static str| {
            let data = Json::parse(text).unwrap();
            let new = NewPublication {
                topic: "news",
                from: "alice",
                data: &data,
            };
            let published = hub.hub.publish(NEWS, new).expect("room");
            published.expect("no other node");
        };
        publish("1");
        publish("2");
        let since = all.subscribe(4, None, NEWS, None).unwrap().begun.pos;
        let publications = hub.taken();
        let [first, second] = <[Arc<Publication>; 2]>::try_from(publications).unwrap();
        let mut walk = TopicWalk::new(TopicNews::Publication(first));
        let slot = 3;
        let told = all.next_subscriber(&mut walk, &mut 9);
        assert_eq!(
            told,
            Some(NextSubscriber {
                slot,
                missed: false
            })
        );
        assert_eq!(all.next_subscriber(&mut walk, &mut 9), None, "4 came later");
        let mut walk = TopicWalk::new(TopicNews::Publication(second));
        let told = all.next_subscriber(&mut walk, &mut 9);
        assert_eq!(
            told,
            Some(NextSubscriber {
                slot,
                missed: false
            })
        );
        // A subscription from a position on gets what is kept with the reply, and not again.
        publish("3");
        let key = all.subscribe(4, None, NEWS, None).unwrap().key;
        let again = all.subscribe(4, Some(key), NEWS, Some(since)).unwrap();
        assert_eq!(again.begun.missed.map(|missed| missed.len()), Some(1));
        assert_eq!(again.key, key);
    }

    #[test]
    fn a_topic_goes_with_its_last_subscriber() {
        let (hub, mut all) = world();
        let one = all.subscribe(3, None, NEWS, None).unwrap();
        let two = all.subscribe(4, None, NEWS, None).unwrap();
        all.keep_name(NEWS, "news");
        all.unsubscribe(NEWS, one.key);
        assert_eq!(all.name(NEWS), "news");
        all.unsubscribe(NEWS, two.key);
        assert_eq!((all.name(NEWS), all.topics.len()), ("", 0));
        assert_eq!(told(&mut all, &mut lost(9), 9), [0; 0]);
        drop(hub);
    }
}
