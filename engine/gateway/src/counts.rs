//! Counts connections of each address, or sessions of each user, over all shards.
//!
//! A count changes only when a connection or session begins or ends, and only if there is a limit.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

const STRIPES: usize = 64;

/// The number of entries for which a stripe always keeps room.
const ROOM: usize = 32;

/// A count for each key, with a limit.
///
/// A key with the count 0 has no entry, so there are never more entries than connections. Clients choose
/// some of the keys, so the hash is keyed with a random number.
pub(crate) struct Counts<K> {
    most: u32,
    hash: RandomState,
    stripes: Box<[CachePadded<Stripe<K>>]>,
}

type Stripe<K> = Mutex<HashMap<K, u32>>;

impl<K: Copy + Eq + Hash> Counts<K> {
    /// Makes counts of at most `most` for each key. Returns `None` for 0, which means no limit.
    pub(crate) fn new(most: u32) -> Option<Self> {
        (most > 0).then(|| Self {
            most,
            hash: RandomState::new(),
            stripes: (0..STRIPES).map(|_| CachePadded::default()).collect(),
        })
    }

    fn stripe(&self, key: K) -> &Stripe<K> {
        &self.stripes[self.hash.hash_one(key) as usize % STRIPES]
    }

    /// Counts one more. Returns `false`, and counts nothing, where the limit is reached.
    pub(crate) fn enter(&self, key: K) -> bool {
        self.enter_beside(key, 0)
    }

    /// Counts one more of a key that other nodes of a cluster count too: `elsewhere` is their number. Returns `false`, and
    /// counts nothing, where the limit is reached.
    pub(crate) fn enter_beside(&self, key: K, elsewhere: u32) -> bool {
        let most = self.most.saturating_sub(elsewhere);
        if most == 0 {
            // A key without a count has no entry.
            return false;
        }
        let mut stripe = self.stripe(key).lock();
        let count = stripe.entry(key).or_default();
        // A new entry is below the limit.
        let room = *count < most;
        *count += u32::from(room);
        room
    }

    /// Takes a successful [`Counts::enter`] back.
    pub(crate) fn leave(&self, key: K) {
        let mut stripe = self.stripe(key).lock();
        if let Some(count) = stripe.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                stripe.remove(&key);
                // The memory of a crowd goes back after it.
                let (left, room) = (stripe.len(), stripe.capacity());
                if room > ROOM && left < room / 8 {
                    stripe.shrink_to(2 * left);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_room_and_gets_it_back() {
        let counts = Counts::new(2).unwrap();
        for key in [1, 2] {
            assert!(counts.enter(key) && counts.enter(key));
            assert!(!counts.enter(key) && !counts.enter(key));
        }
        counts.leave(1);
        assert!(counts.enter(1) && !counts.enter(1) && !counts.enter(2));
        for key in [1, 1, 2, 2] {
            counts.leave(key);
        }
        assert!(counts.stripes.iter().all(|stripe| stripe.lock().is_empty()));
        assert!(Counts::<u64>::new(0).is_none());
    }

    #[test]
    fn what_is_elsewhere_takes_room() {
        let counts = Counts::new(3).unwrap();
        assert!(!counts.enter_beside(1, 3) && !counts.enter_beside(1, 4));
        assert!(counts.stripes.iter().all(|stripe| stripe.lock().is_empty()));
        assert!(counts.enter_beside(1, 2) && !counts.enter_beside(1, 2));
        // Who has left another node makes room here.
        assert!(counts.enter_beside(1, 1) && !counts.enter_beside(1, 1));
        assert!(counts.enter(1) && !counts.enter(1));
    }

    #[test]
    fn a_crowd_leaves_no_memory_behind() {
        let counts = Counts::new(2).unwrap();
        for key in 0..100_000u64 {
            counts.enter(key);
        }
        for key in 0..99_990 {
            counts.leave(key);
        }
        let room: usize = counts.stripes.iter().map(|one| one.lock().capacity()).sum();
        assert!(room <= 2 * ROOM * STRIPES, "{room}");
        assert!(counts.enter(99_999) && !counts.enter(99_999));
    }

    #[test]
    fn threads_share_the_room() {
        let counts = Counts::new(100).unwrap();
        let entered: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1_000).filter(|_| counts.enter(7u64)).count()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(entered, 100);
    }
}
