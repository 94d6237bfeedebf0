//! What a shard is to be told that is stored nowhere: beside its mailbox, so that it takes no
//! room from what is.
//!
//! A lane is bounded. Publications, signals and the like are refused when it is full; changed
//! users are a set, of those that the shard watches, and so are topics of which a publication was
//! refused, of those that it has subscribers to.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use trunkline_storage::IdBuildHasher;

use super::{Publication, PushFrames, TopicId};
use crate::directory::ShardSet;
use crate::exchange::Mailbox;
use crate::ids::UserId;

/// Most things in a lane, and most bytes of them.
const ITEMS: usize = 4_096;
const BYTES: usize = 16 << 20;

/// Something to be told to connections of a shard.
#[derive(Debug, Clone)]
pub enum Passed {
    /// To all connections of these users.
    ToUsers {
        /// The ids of the users.
        users: Arc<[UserId]>,
        /// The push, as frames of each encoding.
        frames: Arc<PushFrames>,
        /// Not worth any room: dropped for whoever has more to read.
        trifle: bool,
    },
    /// To those who have subscribed to its topic.
    Publication(Arc<Publication>),
}

impl Passed {
    fn bytes(&self) -> usize {
        match self {
            Self::ToUsers { users, frames, .. } => size_of_val(&**users) + frames.size(),
            Self::Publication(publication) => publication.frames.size(),
        }
    }
}

/// What a shard takes out of its lane.
#[derive(Debug, Default)]
pub struct Taken {
    /// What is to be told, in its order.
    pub passed: VecDeque<Passed>,
    /// Topics of which publications found no room behind these, and the number of the last.
    pub lost: HashMap<TopicId, u64, IdBuildHasher>,
    /// Users whose state may have changed.
    pub changed: HashSet<UserId, IdBuildHasher>,
}

#[derive(Default)]
struct Lane {
    /// There may be something.
    filled: AtomicBool,
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    taken: Taken,
    bytes: usize,
}

/// The lanes of all shards.
pub struct Lanes {
    lanes: Box<[CachePadded<Lane>]>,
    mailboxes: Vec<Arc<Mailbox>>,
}

impl Lanes {
    pub(super) fn new(mailboxes: Vec<Arc<Mailbox>>) -> Self {
        Self {
            lanes: mailboxes.iter().map(|_| CachePadded::default()).collect(),
            mailboxes,
        }
    }

    /// Puts something into the lanes of these shards, without waking them; how many had no room.
    pub(super) fn put(&self, shards: ShardSet, passed: &Passed) -> u64 {
        let mut refused = 0;
        for shard in each(shards) {
            let lane = &self.lanes[shard];
            let mut content = lane.content.lock();
            if content.taken.passed.len() >= ITEMS || content.bytes >= BYTES {
                refused += 1;
                // There may be no other that would show what is missing.
                if let Passed::Publication(publication) = passed {
                    let (topic, seq) = (publication.topic, publication.seq);
                    content.taken.lost.insert(topic, seq);
                }
                continue;
            }
            content.bytes += passed.bytes();
            content.taken.passed.push_back(passed.clone());
            drop(content);
            lane.filled.store(true, Ordering::SeqCst);
        }
        refused
    }

    /// Wakes these shards.
    pub(super) fn wake(&self, shards: ShardSet) {
        for shard in each(shards) {
            self.mailboxes[shard].wake();
        }
    }

    /// Tells something to these shards; how many had no room for it.
    pub fn pass(&self, shards: ShardSet, passed: &Passed) -> u64 {
        let refused = self.put(shards, passed);
        self.wake(shards);
        refused
    }

    /// Tells these shards that a user's state may have changed.
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

    /// Whether there may be something in a shard's lane. A shard asks before it sleeps, after it
    /// has told its mailbox so: whoever fills the lane then wakes it.
    pub fn is_filled(&self, shard: usize) -> bool {
        self.lanes[shard].filled.load(Ordering::SeqCst)
    }

    /// Takes all that is in a shard's lane, in exchange for `empty`.
    pub fn take(&self, shard: usize, empty: &mut Taken) {
        let lane = &self.lanes[shard];
        if !lane.filled.swap(false, Ordering::SeqCst) {
            return;
        }
        let mut content = lane.content.lock();
        std::mem::swap(&mut content.taken, empty);
        content.bytes = 0;
    }
}

fn each(mut shards: ShardSet) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let shard = (shards != 0).then(|| shards.trailing_zeros() as usize)?;
        shards &= shards - 1;
        Some(shard)
    })
}

#[cfg(test)]
impl Lanes {
    /// Lanes of shards that never sleep.
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

    fn typing(text: &str) -> Passed {
        let event = Event::Typing(TypingUser {
            conversation: text.into(),
            user: "alice".into(),
        });
        Passed::ToUsers {
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
            let mut taken = Taken::default();
            lanes.take(shard, &mut taken);
            assert!(!lanes.is_filled(shard));
            (filled, taken.passed.len(), taken.changed.len())
        });
        assert_eq!(counts, [(true, 1, 0), (true, 0, 1), (true, 1, 1)]);
    }

    #[test]
    fn what_subscribers_miss_is_known_though_nothing_follows() {
        let lanes = Lanes::of_nobody(2);
        let publication = |topic, seq| {
            let Passed::ToUsers { frames, .. } = typing("u:a:b") else {
                panic!("it is for users");
            };
            let frames = Arc::into_inner(frames).unwrap();
            let topic = TimelineId(topic);
            Passed::Publication(Arc::new(Publication { topic, seq, frames }))
        };
        for seq in 1..=ITEMS as u64 {
            assert_eq!(lanes.pass(1, &publication(7, seq)), 0);
        }
        let mut taken = Taken::default();
        for (topic, seq) in [(7, 5_000), (8, 1), (7, 5_001)] {
            assert_eq!(lanes.pass(0b11, &publication(topic, seq)), 1);
        }
        assert_eq!(lanes.pass(1, &typing("u:a:b")), 1);
        lanes.take(0, &mut taken);
        let mut lost: Vec<_> = taken.lost.drain().collect();
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
        let mut taken = Taken::default();
        lanes.take(0, &mut taken);
        assert_eq!(taken.passed.len(), ITEMS);
        assert_eq!(lanes.pass(1, &small), 0);
        // Two encodings of each.
        let large = typing(&"x".repeat(BYTES / 4));
        let passed = (0..9).filter(|_| lanes.pass(0b10, &large) == 0).count();
        assert_eq!(passed, 2);
    }
}
