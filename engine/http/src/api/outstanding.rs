//! How many requests of each user have no answer yet.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use trunkline_core::ids::UserId;
use trunkline_core::store::IdBuildHasher;

use crate::door::Beyond;

type Counts = Arc<Mutex<HashMap<UserId, u32, IdBuildHasher>>>;

/// The time after which a user with too many requests may try again, in milliseconds.
const RETRY_MS: u64 = 1_000;

/// The requests of each user that have no answer yet, with those that wait for events.
pub(super) struct Outstanding {
    most: u32,
    counts: Counts,
}

/// One request. It counts until this is dropped.
pub(super) struct Permit {
    user: UserId,
    counts: Counts,
}

impl Outstanding {
    /// Makes counts of at most `most` requests for each user. 0: no limit.
    pub(super) fn new(most: u32) -> Self {
        Self {
            most,
            counts: Counts::default(),
        }
    }

    /// Counts a request of a user.
    ///
    /// # Errors
    /// The user has as many as one may have.
    pub(super) fn enter(&self, user: UserId) -> Result<Permit, Beyond> {
        let mut counts = self.counts.lock();
        let count = counts.entry(user).or_default();
        if self.most > 0 && *count >= self.most {
            return Err(Beyond {
                limit: "http_requests_per_user",
                retry_ms: RETRY_MS,
            });
        }
        *count += 1;
        let counts = Arc::clone(&self.counts);
        Ok(Permit { user, counts })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_core::store::TimelineId;

    use super::*;

    #[test]
    fn requests_count_until_they_are_answered() {
        let outstanding = Outstanding::new(2);
        let (alice, bob) = (TimelineId(1), TimelineId(2));
        let first = outstanding.enter(alice).unwrap();
        let second = outstanding.enter(alice).unwrap();
        assert!(outstanding.enter(alice).is_err());
        let _other = outstanding.enter(bob).unwrap();
        drop(first);
        let _third = outstanding.enter(alice).unwrap();
        assert!(outstanding.enter(alice).is_err());
        drop(second);
        assert_eq!(outstanding.counts.lock().len(), 2);
    }
}
