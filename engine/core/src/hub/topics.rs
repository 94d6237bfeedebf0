//! Topics: their positions, their latest publications, and the shards with subscribers.
//!
//! A publication gets its number, and enters the lanes of shards, under the lock of the topic's
//! stripe. So every shard has the publications in the order of their numbers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use trunkline_proto::message::{self as m, Event};
use trunkline_storage::{IdBuildHasher, TimelineId};

use super::{EphemeralEvent, HubLimits, Lanes, NodeNumber, Nodes, PushFrames, STRIPES, stripe_of};
use crate::directory::ShardSet;

mod copies;

pub use copies::TopicState;

/// The id of a topic in a namespace.
pub type TopicId = TimelineId;

/// The length of a topic's position as clients see it: epoch and number as sixteen hexadecimal
/// digits each, and a dash.
const POS: usize = 33;

/// The text that stands in new frames for the position.
const BLANK: &[u8; POS] = &[b'0'; POS];

/// A position in a topic: the number of a publication, and the epoch that counts it. A topic whose
/// publications were forgotten, also by a restart, begins a new epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// The epoch.
    pub epoch: u64,
    /// The number of the publication, counted from 1.
    pub seq: u64,
}

impl Since {
    /// Returns the position as clients get it.
    pub fn text(self) -> String {
        format!("{:016x}-{:016x}", self.epoch, self.seq)
    }

    /// Reads back a position that a client kept.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |digits: &str| {
            let plain = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
            plain.then(|| u64::from_str_radix(digits, 16).ok())?
        };
        let (epoch, seq) = text.split_once('-')?;
        Some(Self {
            epoch: number(epoch)?,
            seq: number(seq)?,
        })
    }
}

/// One publication in a topic.
#[derive(Debug)]
pub struct Publication {
    /// The topic of the publication.
    pub topic: TopicId,
    /// The position of the publication in its topic. The numbers count from 1.
    pub pos: Since,
    /// The push, as frames of each encoding.
    pub frames: Arc<PushFrames>,
}

impl PushFrames {
    /// Returns the frames of a publication without its position.
    pub fn publication(new: NewPublication<'_>) -> Self {
        Self::new(Event::Publication(m::Publication {
            topic: new.topic.into(),
            data: new.data.borrow(),
            from: new.from.into(),
            pos: std::str::from_utf8(BLANK).unwrap_or_default().into(),
        }))
    }
}

/// The content of a new publication.
#[derive(Debug, Clone, Copy)]
pub struct NewPublication<'a> {
    /// The name of the topic.
    pub topic: &'a str,
    /// The name of the user who publishes.
    pub from: &'a str,
    /// The data for the subscribers.
    pub data: &'a m::Json<'a>,
}

/// The result of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The position of the publication in its topic.
    pub pos: Since,
    /// The number of shards without room for the publication.
    pub refused: u64,
    /// The number of subscribers who get the publication.
    pub subscribers: u32,
    /// The bytes of the push, in both encodings together.
    pub bytes: usize,
}

/// The error for a new topic when the limit of topics is reached, and no topic without subscribers
/// could be removed.
#[derive(Debug)]
pub struct TooManyTopics;

/// The start of a subscription.
#[derive(Debug)]
pub struct Begun {
    /// The position after which the subscriber receives all publications.
    pub pos: Since,
    /// The publications that the subscriber missed; `None` if some of them are no longer kept.
    pub missed: Option<Vec<Arc<Publication>>>,
}

/// All topics of all namespaces.
pub struct Topics {
    stripes: Box<[CachePadded<Mutex<Stripe>>]>,
    count: AtomicUsize,
    /// The number of topics without subscribers.
    idle: AtomicUsize,
    /// The maximum number of topics.
    most: usize,
    /// The maximum number of publications that one topic keeps.
    history: usize,
    /// The maximum bytes of publications that one topic keeps.
    topic_bytes: usize,
    /// The maximum bytes of publications that all topics keep.
    all_bytes: usize,
    /// The bytes of the publications that all topics keep now.
    bytes: AtomicUsize,
    /// The age of a new topic. It changes whenever a topic with publications is forgotten, so an age
    /// proves that no publication since then is missing. The first age is random, so that ages of
    /// another process differ, whatever its clock says.
    age: AtomicU64,
    /// The count of publications and subscriptions. It tells which topic was unused for longest.
    uses: AtomicU64,
}

/// A part of the topics, under a lock of its own.
///
/// `idle` has exactly the topics without subscribers, by their last use.
#[derive(Default)]
struct Stripe {
    topics: HashMap<TopicId, Topic, IdBuildHasher>,
    idle: BTreeMap<u64, TopicId>,
}

/// One topic.
struct Topic {
    /// The position of the last publication.
    pos: Since,
    /// The latest publications, without a gap, up to `pos`.
    kept: VecDeque<Arc<Publication>>,
    /// The bytes of the kept publications.
    bytes: usize,
    /// The shards with subscribers.
    shards: ShardSet,
    /// The subscribers of all shards.
    subscribers: u32,
    /// The count of uses at the last one.
    used: u64,
    /// The node that numbers the publications, if it is another one: this node has a copy of the topic.
    of: Option<NodeNumber>,
    /// Whether the copy may lack publications.
    is_doubted: bool,
}

impl Topics {
    pub(super) fn new(limits: &HubLimits) -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| CachePadded::default()).collect(),
            count: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            most: limits.topics,
            history: limits.topic_history,
            topic_bytes: limits.topic_bytes,
            all_bytes: limits.topics_bytes,
            bytes: AtomicUsize::new(0),
            age: AtomicU64::new(RandomState::new().hash_one(0)),
            uses: AtomicU64::new(0),
        }
    }

    fn stripe(&self, topic: TopicId) -> &Mutex<Stripe> {
        &self.stripes[stripe_of(topic)]
    }

    /// Returns the epoch of a new topic: another one for each age, and for each topic.
    fn epoch_of(&self, id: TopicId) -> u64 {
        /// An odd factor: different ages stay different.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let age = self.age.load(Ordering::Relaxed);
        age.wrapping_mul(SPREAD) ^ (id.0 >> 64) as u64 ^ id.0 as u64
    }

    /// Returns a topic. Makes it if it does not exist.
    fn topic<'m>(
        &self,
        stripe: &'m mut Stripe,
        id: TopicId,
    ) -> Result<&'m mut Topic, TooManyTopics> {
        let used = self.uses.fetch_add(1, Ordering::Relaxed);
        if !stripe.topics.contains_key(&id) {
            if self.count.fetch_add(1, Ordering::Relaxed) >= self.most && !self.make_room(stripe) {
                self.count.fetch_sub(1, Ordering::Relaxed);
                return Err(TooManyTopics);
            }
            let pos = Since {
                epoch: self.epoch_of(id),
                seq: 0,
            };
            let fresh = Topic {
                pos,
                kept: VecDeque::new(),
                bytes: 0,
                shards: 0,
                subscribers: 0,
                used,
                of: None,
                is_doubted: false,
            };
            stripe.topics.insert(id, fresh);
            self.idle.fetch_add(1, Ordering::Relaxed);
        }
        let topic = stripe.topics.get_mut(&id).ok_or(TooManyTopics)?;
        if topic.shards == 0 {
            stripe.idle.remove(&topic.used);
            stripe.idle.insert(used, id);
        }
        topic.used = used;
        Ok(topic)
    }

    /// Forgets a topic without subscribers, from this stripe, whose lock the caller holds, or from
    /// another stripe whose lock is free. Returns whether there was one.
    fn make_room(&self, stripe: &mut Stripe) -> bool {
        let other = |stripe: &Mutex<Stripe>| {
            let stripe = stripe.try_lock();
            stripe.is_some_and(|mut stripe| self.forget_oldest(&mut stripe))
        };
        self.idle.load(Ordering::Relaxed) > 0
            && (self.forget_oldest(stripe) || self.stripes.iter().any(|stripe| other(stripe)))
    }

    /// Forgets the topic without subscribers that was unused for longest in a stripe. Returns
    /// whether there was one.
    fn forget_oldest(&self, stripe: &mut Stripe) -> bool {
        let oldest = stripe.idle.first_key_value().map(|(_, id)| *id);
        if let Some(id) = oldest {
            self.forget(stripe, id);
        }
        oldest.is_some()
    }

    /// Forgets a topic without subscribers.
    fn forget(&self, stripe: &mut Stripe, id: TopicId) {
        if let Some(mut topic) = stripe.topics.remove(&id) {
            stripe.idle.remove(&topic.used);
            self.count.fetch_sub(1, Ordering::Relaxed);
            self.idle.fetch_sub(1, Ordering::Relaxed);
            topic.keep_only(0, &self.bytes);
            if topic.pos.seq > 0 {
                // The lock of the stripe is held, so a thread that makes this topic again sees the new age.
                self.age.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Subscribes a shard to a topic. `new`: the shard has one more subscriber.
    ///
    /// # Errors
    /// The limit of topics is reached.
    pub fn subscribe(
        &self,
        id: TopicId,
        shard: usize,
        since: Option<Since>,
        new: bool,
    ) -> Result<Begun, TooManyTopics> {
        let mut stripe = self.stripe(id).lock();
        let topic = self.topic(&mut stripe, id)?;
        let (fresh, used) = (topic.shards == 0, topic.used);
        topic.shards |= 1 << shard;
        topic.subscribers += u32::from(new);
        let begun = Begun {
            pos: topic.pos,
            missed: since.and_then(|since| topic.behind(since)),
        };
        if fresh {
            stripe.idle.remove(&used);
            self.idle.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(begun)
    }

    /// Ends the subscription of one subscriber of a shard. `last`: the shard has none any more. A topic without subscribers stays only if it
    /// keeps publications for later ones.
    pub fn unsubscribe(&self, id: TopicId, shard: usize, last: bool) {
        let mut stripe = self.stripe(id).lock();
        let topic = stripe.topics.get_mut(&id);
        let Some(topic) = topic.filter(|topic| topic.shards != 0) else {
            return;
        };
        topic.subscribers = topic.subscribers.saturating_sub(1);
        if !last {
            return;
        }
        topic.shards &= !(1 << shard);
        if topic.shards == 0 {
            let (used, is_new) = (topic.used, topic.pos.seq == 0);
            stripe.idle.insert(used, id);
            self.idle.fetch_add(1, Ordering::Relaxed);
            if self.history == 0 || is_new {
                self.forget(&mut stripe, id);
            }
        }
    }

    /// Returns the position of a topic that has subscribers.
    pub fn pos(&self, id: TopicId) -> Option<Since> {
        self.stripe(id)
            .lock()
            .topics
            .get(&id)
            .map(|topic| topic.pos)
    }

    /// Publishes to a topic whose publications this node numbers. `frames` are those of
    /// [`PushFrames::publication`]. `nodes` are told of it.
    ///
    /// # Errors
    /// The limit of topics is reached.
    pub(super) fn publish(
        &self,
        id: TopicId,
        mut frames: PushFrames,
        lanes: &Lanes,
        nodes: Option<&Nodes>,
    ) -> Result<Published, TooManyTopics> {
        // The frames are ready before the lock is taken. Only the number is filled in later.
        let mut stripe = self.stripe(id).lock();
        let topic = self.topic(&mut stripe, id)?;
        self.take_over(topic, id);
        topic.pos.seq += 1;
        let (pos, shards, subscribers) = (topic.pos, topic.shards, topic.subscribers);
        let bytes = frames.size();
        frames.fill_in(BLANK, pos.text().as_bytes());
        let publication = Arc::new(Publication {
            topic: id,
            pos,
            frames: Arc::new(frames),
        });
        self.keep(topic, &publication);
        // Under the lock: other nodes have the publications in the order of their numbers too.
        if let Some(nodes) = nodes {
            nodes.publish(&publication);
        }
        let refused = lanes.put(shards, &EphemeralEvent::Publication(publication));
        if shards == 0 && self.history == 0 {
            self.forget(&mut stripe, id);
        }
        drop(stripe);
        lanes.wake(shards);
        Ok(Published {
            pos,
            refused,
            subscribers,
            bytes,
        })
    }

    /// Keeps a publication for later subscribers, and forgets older ones that have no room.
    fn keep(&self, topic: &mut Topic, publication: &Arc<Publication>) {
        let size = publication.frames.size();
        let fits = |topic: &Topic| {
            topic.bytes + size <= self.topic_bytes
                && self.bytes.load(Ordering::Relaxed) + size <= self.all_bytes
        };
        topic.keep_only(self.history.saturating_sub(1), &self.bytes);
        while !topic.kept.is_empty() && !fits(topic) {
            topic.keep_only(topic.kept.len() - 1, &self.bytes);
        }
        if self.history > 0 && fits(topic) {
            topic.bytes += size;
            self.bytes.fetch_add(size, Ordering::Relaxed);
            topic.kept.push_back(Arc::clone(publication));
        }
    }
}

impl Topic {
    /// Forgets all but the latest `most` publications.
    fn keep_only(&mut self, most: usize, all: &AtomicUsize) {
        while self.kept.len() > most
            && let Some(oldest) = self.kept.pop_front()
        {
            self.bytes -= oldest.frames.size();
            all.fetch_sub(oldest.frames.size(), Ordering::Relaxed);
        }
    }

    /// Returns the publications after a position; `None` if some of them are no longer kept.
    fn behind(&self, since: Since) -> Option<Vec<Arc<Publication>>> {
        let missed = self.pos.seq.checked_sub(since.seq)?;
        let missed = usize::try_from(missed).ok()?;
        let known = since.epoch == self.pos.epoch && missed <= self.kept.len();
        known.then(|| {
            let first = self.kept.len() - missed;
            self.kept.range(first..).cloned().collect()
        })
    }
}

#[cfg(test)]
mod tests;
