//! The last-seen times that wait to be stored.
//!
//! One generation collects new times while the sequencer stores the other, so no session waits for
//! the store. A user who comes and goes often is stored once per round.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use trunkline_storage::IdBuildHasher;

use super::{STRIPES, stripe_of};
use crate::ids::UserId;

/// The times when users left, in milliseconds since 1970 UTC.
type Times = HashMap<UserId, u64, IdBuildHasher>;

/// The last-seen times that the store does not have yet, by user.
pub struct Unsaved {
    stripes: Box<[CachePadded<Mutex<Stripe>>]>,
    /// The number of users in all stripes. A user in both generations counts twice.
    users: AtomicUsize,
    /// The maximum number of users.
    most: usize,
}

/// The times of some users, in two generations.
#[derive(Default)]
struct Stripe {
    /// The times that came since the last [`Unsaved::begin`].
    gathered: Times,
    /// The times that the sequencer is storing.
    storing: Arc<Times>,
}

impl Unsaved {
    /// Returns an empty collection with room for `most` users.
    pub(super) fn new(most: usize) -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| CachePadded::default()).collect(),
            users: AtomicUsize::new(0),
            most,
        }
    }

    /// Notes that a user left at `now`. Returns `false` without noting it if there is no room; the
    /// store then keeps the earlier time. A collection that was made with room for 0 users notes
    /// nothing and returns `true`.
    pub(super) fn note(&self, user: UserId, now: u64) -> bool {
        let mut stripe = self.stripes[stripe_of(user)].lock();
        if let Some(time) = stripe.gathered.get_mut(&user) {
            *time = now;
            return true;
        }
        if self.users.load(Ordering::Relaxed) >= self.most {
            return self.most == 0;
        }
        self.users.fetch_add(1, Ordering::Relaxed);
        stripe.gathered.insert(user, now);
        true
    }

    /// Returns when a user left, if that time waits to be stored.
    pub fn left(&self, user: UserId) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        let stripe = self.stripes[stripe_of(user)].lock();
        let found = stripe.gathered.get(&user);
        found.or_else(|| stripe.storing.get(&user)).copied()
    }

    /// Forgets when a user left.
    pub(super) fn forget(&self, user: UserId) {
        let mut stripe = self.stripes[stripe_of(user)].lock();
        let gathered = stripe.gathered.remove(&user).is_some();
        let storing = stripe.storing.contains_key(&user);
        if storing {
            Arc::make_mut(&mut stripe.storing).remove(&user);
        }
        let forgotten = usize::from(gathered) + usize::from(storing);
        self.users.fetch_sub(forgotten, Ordering::Relaxed);
    }

    /// Forgets when a user left, unless that was after `time`: the store has it.
    pub(super) fn stored_until(&self, user: UserId, time: u64) {
        if self.left(user).is_some_and(|left| left <= time) {
            self.forget(user);
        }
    }

    /// Forgets the users of one of the [`STRIPES`] whom the sequencer is not storing and who are not to be kept.
    pub(super) fn keep_only(&self, stripe: usize, keep: impl Fn(UserId) -> bool) {
        let mut stripe = self.stripes[stripe].lock();
        let before = stripe.gathered.len();
        stripe.gathered.retain(|user, _| keep(*user));
        let forgotten = before - stripe.gathered.len();
        self.users.fetch_sub(forgotten, Ordering::Relaxed);
    }

    /// Returns whether the store knows of every departure.
    pub fn is_empty(&self) -> bool {
        self.users.load(Ordering::Relaxed) == 0
    }

    /// Returns the users of one of the [`STRIPES`] to store now, with their times.
    /// [`left`](Self::left) finds them until [`stored`](Self::stored); a new call before that
    /// returns the same ones.
    pub fn begin(&self, stripe: usize) -> Vec<(UserId, u64)> {
        let storing = {
            let stripe = &mut *self.stripes[stripe].lock();
            if stripe.storing.is_empty() && !stripe.gathered.is_empty() {
                stripe.storing = Arc::new(std::mem::take(&mut stripe.gathered));
            }
            Arc::clone(&stripe.storing)
        };
        storing.iter().map(|(&user, &time)| (user, time)).collect()
    }

    /// Notes that the store has all times that [`begin`](Self::begin) returned for this stripe.
    pub fn stored(&self, stripe: usize) {
        let storing = std::mem::take(&mut self.stripes[stripe].lock().storing);
        self.users.fetch_sub(storing.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use trunkline_storage::TimelineId;

    use super::*;

    #[test]
    fn found_until_they_are_stored() {
        let unsaved = Unsaved::new(100);
        let user = TimelineId(7);
        assert!(unsaved.is_empty() && unsaved.left(user).is_none());
        assert!(unsaved.note(user, 1) && unsaved.note(user, 2));
        assert_eq!(unsaved.begin(0), [(user, 2)]);
        let other = TimelineId(9);
        assert!(unsaved.note(other, 1));
        unsaved.forget(other);
        assert_eq!(unsaved.left(other), None);
        // What comes meanwhile is of the next time.
        assert!(unsaved.note(user, 3) && unsaved.note(TimelineId(8), 4));
        assert_eq!(unsaved.begin(0), [(user, 2)]);
        assert_eq!(unsaved.left(user), Some(3));
        unsaved.stored(0);
        let mut next = unsaved.begin(0);
        next.sort_unstable();
        assert_eq!(next, [(user, 3), (TimelineId(8), 4)]);
        assert_eq!(unsaved.left(user), Some(3));
        assert_eq!(unsaved.begin(1), []);
        unsaved.stored(0);
        assert!(unsaved.is_empty() && unsaved.left(user).is_none());
    }

    #[test]
    fn bounded() {
        let unsaved = Unsaved::new(3);
        let users: Vec<_> = (0..4).map(|n| TimelineId(n << 64)).collect();
        let noted: Vec<_> = users.iter().map(|user| unsaved.note(*user, 1)).collect();
        assert_eq!(noted, [true, true, true, false]);
        // Entries that are in the table stay in it.
        assert!(unsaved.note(users[0], 2));
        assert_eq!(
            (unsaved.left(users[0]), unsaved.left(users[3])),
            (Some(2), None)
        );
        assert_eq!(unsaved.begin(0).len(), 1);
        assert!(!unsaved.note(users[3], 2), "until it is stored");
        unsaved.stored(0);
        assert!(unsaved.note(users[3], 3));
        // Where the store is not to know, nothing is lost.
        let none = Unsaved::new(0);
        assert!(none.note(users[0], 1) && none.is_empty());
    }
}
