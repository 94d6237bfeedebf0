//! Lanes: the queues of ephemeral events for each shard. They are beside the mailboxes, so that
//! they take no room from stored events.
//!
//! A lane is bounded. A full lane refuses publications, signals and similar events. Two sets are
//! bounded by what the shard uses: the changed users that it watches, and the topics with refused
//! publications that it subscribes to.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use trunkline_storage::IdBuildHasher;

use super::{BlockChange, Publication, PushFrames, Since, TopicId};
use crate::directory::ShardSet;
use crate::exchange::{Mail, Mailbox};
use crate::ids::UserId;

/// The maximum number of events in a lane.
const ITEMS: usize = 4_096;

/// The number of bytes of events at which a lane takes no more.
const BYTES: usize = 16 << 20;

/// An ephemeral event for connections of a shard.
#[derive(Debug, Clone)]
pub enum EphemeralEvent {
    /// An event for all connections of some users.
    ToUsers {
        /// The ids of the users.
        users: Arc<[UserId]>,
        /// The push, as frames of each encoding.
        frames: Arc<PushFrames>,
        /// Whether to drop the event for a connection that has other data waiting.
        trifle: bool,
    },
    /// A publication for the subscribers of its topic.
    Publication(Arc<Publication>),
}

impl EphemeralEvent {
    /// Returns the memory that the event keeps, in bytes.
    fn bytes(&self) -> usize {
        match self {
            Self::ToUsers { users, frames, .. } => size_of_val(&**users) + frames.size(),
            Self::Publication(publication) => publication.frames.size(),
        }
    }
}

/// The content of a lane, which a shard takes as a whole.
#[derive(Debug, Default)]
pub struct LaneContent {
    /// The events, in order.
    pub events: VecDeque<EphemeralEvent>,
    /// The topics whose publications found no room after the events above, each with the position of
    /// the last lost one.
    pub lost: HashMap<TopicId, Since, IdBuildHasher>,
    /// Users whose state may have changed.
    pub changed: HashSet<UserId, IdBuildHasher>,
    /// The latest changes of blocks, by the user who blocks and the user who is blocked: whether the
    /// first blocks the second. The commands that the sequencer decides within a turn of the shard are
    /// the most there can be.
    pub blocks: BTreeMap<(UserId, UserId), bool>,
}

#[derive(Default)]
struct Lane {
    /// Whether the lane may have content.
    filled: AtomicBool,
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    taken: LaneContent,
    bytes: usize,
}

/// The lanes of all shards.
pub struct Lanes {
    lanes: Box<[CachePadded<Lane>]>,
    mailboxes: Vec<Arc<Mailbox>>,
}

impl Lanes {
    /// Returns empty lanes of the shards that own these mailboxes.
    pub(super) fn new(mailboxes: Vec<Arc<Mailbox>>) -> Self {
        Self {
            lanes: mailboxes.iter().map(|_| CachePadded::default()).collect(),
            mailboxes,
        }
    }

    /// Puts an event into the lanes of some shards, without waking them. Returns the number of
    /// lanes without room.
    pub(super) fn put(&self, shards: ShardSet, event: &EphemeralEvent) -> u64 {
        let mut refused = 0;
        for shard in each(shards) {
            let lane = &self.lanes[shard];
            let mut content = lane.content.lock();
            if content.taken.events.len() >= ITEMS || content.bytes >= BYTES {
                refused += 1;
                // No later publication may come that would show the gap to subscribers.
                if let EphemeralEvent::Publication(publication) = event {
                    let (topic, pos) = (publication.topic, publication.pos);
                    content.taken.lost.insert(topic, pos);
                }
                continue;
            }
            content.bytes += event.bytes();
            content.taken.events.push_back(event.clone());
            drop(content);
            lane.filled.store(true, Ordering::SeqCst);
        }
        refused
    }

    /// Tells some shards that publications after a position of a topic may be lost.
    pub(super) fn lose(&self, shards: ShardSet, topic: TopicId, pos: Since) {
        // No subscriber has been told a publication of this epoch, so each learns of the loss.
        let epoch = !pos.epoch;
        for shard in each(shards) {
            let lane = &self.lanes[shard];
            let lost = Since { epoch, ..pos };
            lane.content.lock().taken.lost.insert(topic, lost);
            lane.filled.store(true, Ordering::SeqCst);
            self.mailboxes[shard].wake();
        }
    }

    /// Puts mail into the mailbox of a shard, and waits while it is full.
    pub(super) fn mail(&self, shard: usize, mail: Mail) {
        if let Some(mailbox) = self.mailboxes.get(shard) {
            mailbox.put_waiting(mail);
        }
    }

    /// Wakes some shards.
    pub(super) fn wake(&self, shards: ShardSet) {
        for shard in each(shards) {
            self.mailboxes[shard].wake();
        }
    }

    /// Puts an event into the lanes of some shards and wakes them. Returns the number of lanes
    /// without room.
    pub fn pass(&self, shards: ShardSet, event: &EphemeralEvent) -> u64 {
        let refused = self.put(shards, event);
        self.wake(shards);
        refused
    }

    /// Tells some shards that a user's state may have changed.
    pub(super) fn changed(&self, shards: ShardSet, user: UserId) {
        for shard in each(shards) {
            let lane = &self.lanes[shard];
            let fresh = lane.content.lock().taken.changed.insert(user);
            if fresh {
                lane.filled.store(true, Ordering::SeqCst);
                self.mailboxes[shard].wake();
            }
        }
    }

    /// Tells some shards of a change of a block.
    pub(super) fn block_changed(&self, shards: ShardSet, change: BlockChange) {
        let BlockChange {
            blocker,
            blocked,
            begins,
        } = change;
        for shard in each(shards) {
            let lane = &self.lanes[shard];
            let mut content = lane.content.lock();
            content.taken.blocks.insert((blocker, blocked), begins);
            drop(content);
            lane.filled.store(true, Ordering::SeqCst);
            self.mailboxes[shard].wake();
        }
    }

    /// Returns whether a shard's lane may have content. A shard asks before it sleeps, after it
    /// marked its mailbox as sleeping: a thread that fills the lane later wakes the shard.
    #[inline]
    pub fn is_filled(&self, shard: usize) -> bool {
        self.lanes[shard].filled.load(Ordering::SeqCst)
    }

    /// Takes the whole content of a shard's lane, and leaves `empty` in its place.
    #[inline]
    pub fn take(&self, shard: usize, empty: &mut LaneContent) {
        let lane = &self.lanes[shard];
        if !lane.filled.swap(false, Ordering::SeqCst) {
            return;
        }
        let mut content = lane.content.lock();
        std::mem::swap(&mut content.taken, empty);
        content.bytes = 0;
    }
}

/// Returns the numbers of the shards in a set.
fn each(mut shards: ShardSet) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let shard = (shards != 0).then(|| shards.trailing_zeros() as usize)?;
        shards &= shards - 1;
        Some(shard)
    })
}

#[cfg(test)]
impl Lanes {
    /// Returns lanes of shards that never sleep.
    pub(super) fn of_nobody(shards: usize) -> Self {
        let mailbox = |_| Arc::new(Mailbox::new(Box::new(crate::exchange::NoSleeper)));
        Self::new((0..shards).map(mailbox).collect())
    }
}

#[cfg(test)]
mod tests {
    use trunkline_proto::message::{Event, TypingUser};
    use trunkline_storage::TimelineId;

    use super::*;

    fn typing(text: &str) -> EphemeralEvent {
        let event = Event::Typing(TypingUser {
            conversation: text.into(),
            user: "alice".into(),
            stop: false,
            expires_ms: 6_000,
        });
        EphemeralEvent::ToUsers {
            users: [TimelineId(1)].into(),
            frames: Arc::new(PushFrames::new(event)),
            trifle: true,
        }
    }

    #[test]
    fn each_shard_has_its_own() {
        let lanes = Lanes::of_nobody(3);
        assert_eq!(lanes.pass(0b101, &typing("u:a:b")), 0);
        lanes.changed(0b110, TimelineId(7));
        lanes.changed(0b100, TimelineId(7));
        let counts = [0, 1, 2].map(|shard| {
            let filled = lanes.is_filled(shard);
            let mut taken = LaneContent::default();
            lanes.take(shard, &mut taken);
            assert!(!lanes.is_filled(shard));
            (filled, taken.events.len(), taken.changed.len())
        });
        assert_eq!(counts, [(true, 1, 0), (true, 0, 1), (true, 1, 1)]);
    }

    #[test]
    fn what_subscribers_miss_is_known_though_nothing_follows() {
        let lanes = Lanes::of_nobody(2);
        let publication = |topic, seq| {
            let EphemeralEvent::ToUsers { frames, .. } = typing("u:a:b") else {
                panic!("it is for users");
            };
            let topic = TimelineId(topic);
            let pos = Since { epoch: 1, seq };
            EphemeralEvent::Publication(Arc::new(Publication { topic, pos, frames }))
        };
        for seq in 1..=ITEMS as u64 {
            assert_eq!(lanes.pass(1, &publication(7, seq)), 0);
        }
        let mut taken = LaneContent::default();
        for (topic, seq) in [(7, 5_000), (8, 1), (7, 5_001)] {
            assert_eq!(lanes.pass(0b11, &publication(topic, seq)), 1);
        }
        assert_eq!(lanes.pass(1, &typing("u:a:b")), 1);
        lanes.take(0, &mut taken);
        let mut lost: Vec<_> = taken.lost.drain().map(|(id, pos)| (id, pos.seq)).collect();
        lost.sort_unstable();
        assert_eq!(lost, [(TimelineId(7), 5_001), (TimelineId(8), 1)]);
        // It is said once, and only where it is so.
        for shard in [0, 1] {
            lanes.take(shard, &mut taken);
            assert!(taken.lost.is_empty());
        }
    }

    #[test]
    fn bounded_by_items_and_by_bytes() {
        let lanes = Lanes::of_nobody(2);
        let small = typing("u:a:b");
        for _ in 0..ITEMS {
            assert_eq!(lanes.pass(1, &small), 0);
        }
        assert_eq!(lanes.pass(0b11, &small), 1);
        let mut taken = LaneContent::default();
        lanes.take(0, &mut taken);
        assert_eq!(taken.events.len(), ITEMS);
        assert_eq!(lanes.pass(1, &small), 0);
        // Two encodings of each.
        let large = typing(&"x".repeat(BYTES / 4));
        let event = (0..9).filter(|_| lanes.pass(0b10, &large) == 0).count();
        assert_eq!(event, 2);
    }
}
