//! Topics: their positions, what was published of late, which shards hold subscribers.
//!
//! Publications of a topic get their number, and go into the lanes of shards, under the lock of
//! the topic's stripe: every shard has them in the order of their numbers.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use trunkline_proto::message::{self as m, Event};
use trunkline_storage::{IdBuildHasher, TimelineId};

use super::{HubLimits, Lanes, Passed, PushFrames, STRIPES, stripe_of};
use crate::directory::ShardSet;

/// A topic of a namespace.
pub type TopicId = TimelineId;

/// Epoch and number as clients see them: sixteen hexadecimal digits each, and a dash.
const POS: usize = 33;
const BLANK: &[u8; POS] = &[b'0'; POS];

/// A position of a topic: the number of its last publication, and the life of the topic that
/// counts them. A topic that was forgotten, also by a restart, begins another life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    epoch: u64,
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

/// Something that was published.
#[derive(Debug)]
pub struct Publication {
    /// The topic.
    pub topic: TopicId,
    /// Its number in the topic.
    pub seq: u64,
    /// The push, as frames of each encoding.
    pub frames: PushFrames,
}

/// There are as many topics as there may be, and subscribers to all of them in this part.
#[derive(Debug)]
pub struct TooManyTopics;

/// What a subscription begins with.
#[derive(Debug)]
pub struct Begun {
    /// Publications behind it will be told.
    pub pos: Since,
    /// What was missed, where all of that is known.
    pub missed: Option<Vec<Arc<Publication>>>,
}

/// All topics.
pub struct Topics {
    stripes: Box<[CachePadded<Mutex<Map>>]>,
    count: AtomicUsize,
    /// Those of them that nobody is subscribed to.
    idle: AtomicUsize,
    most: usize,
    /// Publications kept of a topic, their bytes, and those of all topics.
    history: usize,
    topic_bytes: usize,
    all_bytes: usize,
    bytes: AtomicUsize,
    /// The next topic's epoch. The first is random, so that another process has others, whatever
    /// its clock says.
    epochs: AtomicU64,
    /// Counts publications and subscriptions, to know the topic that was not used for longest.
    uses: AtomicU64,
}

type Map = HashMap<TopicId, Topic, IdBuildHasher>;

struct Topic {
    pos: Since,
    /// The last publications: without a hole, up to `pos`.
    kept: VecDeque<Arc<Publication>>,
    bytes: usize,
    shards: ShardSet,
    used: u64,
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
            epochs: AtomicU64::new(RandomState::new().hash_one(0)),
            uses: AtomicU64::new(0),
        }
    }

    fn stripe(&self, topic: TopicId) -> &Mutex<Map> {
        &self.stripes[stripe_of(topic)]
    }

    /// The topic, which begins to exist where it did not.
    fn topic<'m>(&self, map: &'m mut Map, id: TopicId) -> Result<&'m mut Topic, TooManyTopics> {
        if !map.contains_key(&id) {
            if self.count.fetch_add(1, Ordering::Relaxed) >= self.most && !self.make_room(map) {
                self.count.fetch_sub(1, Ordering::Relaxed);
                return Err(TooManyTopics);
            }
            let pos = Since {
                epoch: self.epochs.fetch_add(1, Ordering::Relaxed),
                seq: 0,
            };
            let fresh = Topic {
                pos,
                kept: VecDeque::new(),
                bytes: 0,
                shards: 0,
                used: 0,
            };
            map.insert(id, fresh);
            self.idle.fetch_add(1, Ordering::Relaxed);
        }
        let topic = map.get_mut(&id).ok_or(TooManyTopics)?;
        topic.used = self.uses.fetch_add(1, Ordering::Relaxed);
        Ok(topic)
    }

    /// Forgets a topic without subscribers: of this stripe, whose lock is held, or of another one
    /// whose lock nobody holds.
    fn make_room(&self, map: &mut Map) -> bool {
        let other = |stripe: &Mutex<Map>| {
            let map = stripe.try_lock();
            map.is_some_and(|mut map| self.forget_oldest(&mut map))
        };
        self.idle.load(Ordering::Relaxed) > 0
            && (self.forget_oldest(map) || self.stripes.iter().any(|stripe| other(stripe)))
    }

    /// Forgets the topic of a stripe that was not used for longest, of those without subscribers.
    fn forget_oldest(&self, map: &mut Map) -> bool {
        let idle = map.iter().filter(|(_, topic)| topic.shards == 0);
        let Some(id) = idle.min_by_key(|(_, topic)| topic.used).map(|(id, _)| *id) else {
            return false;
        };
        self.forget(map, id);
        true
    }

    /// Forgets a topic without subscribers.
    fn forget(&self, map: &mut Map, id: TopicId) {
        if let Some(mut topic) = map.remove(&id) {
            self.count.fetch_sub(1, Ordering::Relaxed);
            self.idle.fetch_sub(1, Ordering::Relaxed);
            topic.keep_only(0, &self.bytes);
        }
    }

    /// Begins to tell a shard of a topic.
    ///
    /// # Errors
    /// There are too many topics.
    pub fn subscribe(
        &self,
        id: TopicId,
        shard: usize,
        since: Option<Since>,
    ) -> Result<Begun, TooManyTopics> {
        let mut map = self.stripe(id).lock();
        let topic = self.topic(&mut map, id)?;
        if topic.shards == 0 {
            self.idle.fetch_sub(1, Ordering::Relaxed);
        }
        topic.shards |= 1 << shard;
        Ok(Begun {
            pos: topic.pos,
            missed: since.and_then(|since| topic.behind(since)),
        })
    }

    /// A shard has no subscriber to a topic any more.
    pub fn unsubscribe(&self, id: TopicId, shard: usize) {
        let mut map = self.stripe(id).lock();
        let Some(topic) = map.get_mut(&id).filter(|topic| topic.shards != 0) else {
            return;
        };
        topic.shards &= !(1 << shard);
        if topic.shards == 0 {
            self.idle.fetch_add(1, Ordering::Relaxed);
            // Without publications that are kept, nothing of it is worth keeping.
            if self.history == 0 {
                self.forget(&mut map, id);
            }
        }
    }

    /// Where a topic is that is subscribed to.
    pub fn pos(&self, id: TopicId) -> Option<Since> {
        self.stripe(id).lock().get(&id).map(|topic| topic.pos)
    }

    /// Publishes; the position, and how many shards had no room for it.
    ///
    /// # Errors
    /// There are too many topics.
    pub fn publish(
        &self,
        id: TopicId,
        (name, from): (&str, &str),
        data: &m::Json<'_>,
        lanes: &Lanes,
    ) -> Result<(Since, u64), TooManyTopics> {
        // Written before the lock is taken, but for the number.
        let mut frames = PushFrames::new(Event::Publication(m::Publication {
            topic: name.into(),
            data: data.borrow(),
            from: from.into(),
            pos: std::str::from_utf8(BLANK).unwrap_or_default().into(),
        }));
        let mut map = self.stripe(id).lock();
        let topic = self.topic(&mut map, id)?;
        topic.pos.seq += 1;
        let (pos, shards) = (topic.pos, topic.shards);
        frames.fill_in(BLANK, pos.text().as_bytes());
        let publication = Arc::new(Publication {
            topic: id,
            seq: pos.seq,
            frames,
        });
        self.keep(topic, &publication);
        let refused = lanes.put(shards, &Passed::Publication(publication));
        if shards == 0 && self.history == 0 {
            self.forget(&mut map, id);
        }
        drop(map);
        lanes.wake(shards);
        Ok((pos, refused))
    }

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
    /// Forgets all but the last so many publications.
    fn keep_only(&mut self, most: usize, all: &AtomicUsize) {
        while self.kept.len() > most
            && let Some(oldest) = self.kept.pop_front()
        {
            self.bytes -= oldest.frames.size();
            all.fetch_sub(oldest.frames.size(), Ordering::Relaxed);
        }
    }

    /// What was published behind a position, where all of that is kept.
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
