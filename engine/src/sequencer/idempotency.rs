//! Idempotency keys: which sends were stored already.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use trunkline_storage::{IdBuildHasher, Position, TimelineId};

/// Hashes idempotency keys, for as long as the process lives.
///
/// 128 bits of two hashes with secret keys of their own: nobody can make two keys meet.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyHasher([RandomState; 2]);

impl KeyHasher {
    /// What makes two sends of one user the same send.
    pub(crate) fn id(&self, namespace: &str, user: &str, key: &str) -> TimelineId {
        let [high, low] = &self.0;
        let parts = (namespace, user, key);
        TimelineId(u128::from(high.hash_one(parts)) << 64 | u128::from(low.hash_one(parts)))
    }
}

/// How long and how many keys are remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// A key is known at least so long, unless there are too many, in milliseconds.
    pub(crate) life: u64,
    /// Most keys held; the oldest half goes first.
    pub(crate) keys: usize,
}

/// The keys of the window in two generations: the older one is dropped whole.
#[derive(Debug)]
pub(crate) struct Keys {
    window: Window,
    /// When the younger generation began, in milliseconds.
    began: u64,
    young: HashMap<TimelineId, Position, IdBuildHasher>,
    old: HashMap<TimelineId, Position, IdBuildHasher>,
}

impl Keys {
    pub(crate) fn new(window: Window) -> Self {
        Self {
            window,
            began: 0,
            young: HashMap::default(),
            old: HashMap::default(),
        }
    }

    /// Where the send with this key is stored, if it is.
    pub(crate) fn find(&self, key: TimelineId) -> Option<Position> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    /// Remembers a send stored at `time`.
    pub(crate) fn insert(&mut self, key: TimelineId, position: Position, time: u64) {
        let full = self.young.len() >= (self.window.keys / 2).max(1);
        if full || time.saturating_sub(self.began) >= self.window.life {
            self.old = std::mem::take(&mut self.young);
            self.began = time;
        }
        self.young.insert(key, position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_live_for_the_window_and_are_bounded() {
        let mut keys = Keys::new(Window { life: 100, keys: 8 });
        keys.insert(TimelineId(1), Position(8), 1_000);
        keys.insert(TimelineId(2), Position(16), 1_099);
        keys.insert(TimelineId(3), Position(24), 1_150);
        for key in 1..=3 {
            assert_eq!(
                keys.find(TimelineId(key)),
                Some(Position(key as u64 * 8)),
                "{key}"
            );
        }
        keys.insert(TimelineId(4), Position(32), 1_250);
        assert_eq!(keys.find(TimelineId(1)), None, "out of the window");
        assert_eq!(keys.find(TimelineId(3)), Some(Position(24)));
        for key in 100..200 {
            keys.insert(TimelineId(key), Position(key as u64), 1_251);
        }
        assert!(keys.young.len() + keys.old.len() <= 8);
        assert_eq!(keys.find(TimelineId(199)), Some(Position(199)));
    }
}
