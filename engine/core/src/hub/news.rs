//! News of users who came or went, for a thread that tells back ends of presence.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::request::Names;

/// The maximum number of users that wait for the thread to take them. Further ones are lost: the thread
/// learns of them when they come or go once more.
pub const MOST_NEWS: usize = 65_536;

/// Sessions that began or ended since the last look, each with the names of its user.
#[derive(Debug, Default)]
pub struct News {
    waiting: Mutex<Vec<Names>>,
    lost: AtomicU64,
}

impl News {
    /// Notes that a session of a user has begun or ended.
    pub(super) fn note(&self, names: &Names) {
        let mut waiting = self.waiting.lock();
        if waiting.len() < MOST_NEWS {
            waiting.push(names.clone());
        } else {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Puts what waits into `to`, which is empty, and leaves the memory of `to` for what comes next.
    pub fn take(&self, to: &mut Vec<Names>) {
        debug_assert!(to.is_empty(), "a caller has told of what it took before");
        std::mem::swap(&mut *self.waiting.lock(), to);
    }

    /// Returns how often a user was lost because too many waited.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_taken_at_once() {
        let news = News::default();
        let alice = Names::new("alice", "phone", "acme");
        for _ in 0..MOST_NEWS + 3 {
            news.note(&alice);
        }
        let mut taken = Vec::new();
        news.take(&mut taken);
        assert_eq!((taken.len(), news.lost()), (MOST_NEWS, 3));
        assert_eq!((taken[0].user(), taken[0].namespace()), ("alice", "acme"));
        taken.clear();
        news.note(&alice);
        news.take(&mut taken);
        assert_eq!(taken.len(), 1);
    }
}
