//! The users of this node of whom others have to learn.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use trunkline_storage::IdBuildHasher;

use super::super::{STRIPES, stripe_of};
use crate::ids::UserId;

/// The maximum number of users in a stripe. Further ones are lost: other nodes learn of them when they come or go once
/// more.
const MOST: usize = 1 << 15;

type Stripe = Mutex<HashSet<UserId, IdBuildHasher>>;

/// Users who came to this node or left it since the last look. Each is there once, however often that happened.
pub(super) struct Changed {
    stripes: Box<[CachePadded<Stripe>]>,
    /// Whether somebody was told since the last look.
    is_told: AtomicBool,
    is_lost: AtomicBool,
}

impl Default for Changed {
    fn default() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| CachePadded::default()).collect(),
            is_told: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
        }
    }
}

impl Changed {
    /// Notes a user. Returns whether to wake the one who looks.
    pub(super) fn note(&self, user: UserId) -> bool {
        let mut stripe = self.stripes[stripe_of(user)].lock();
        if stripe.len() < MOST {
            stripe.insert(user);
        } else if !stripe.contains(&user) {
            self.is_lost.store(true, Ordering::SeqCst);
        }
        drop(stripe);
        !self.is_told.swap(true, Ordering::SeqCst)
    }

    /// Returns whether there may be users.
    pub(super) fn has_some(&self) -> bool {
        self.is_told.load(Ordering::SeqCst)
    }

    /// Moves all users to the end of a list. Returns whether some were lost.
    pub(super) fn take(&self, to: &mut VecDeque<UserId>) -> bool {
        // A user who comes in behind the look wakes once more.
        if !self.is_told.swap(false, Ordering::SeqCst) {
            return false;
        }
        for stripe in &self.stripes {
            to.extend(std::mem::take(&mut *stripe.lock()));
        }
        self.is_lost.swap(false, Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use trunkline_storage::TimelineId;

    use super::*;

    #[test]
    fn each_user_once_and_one_wake_up_for_all() {
        let changed = Changed::default();
        let mut taken = VecDeque::new();
        assert!(!changed.take(&mut taken) && taken.is_empty());
        assert!(changed.note(TimelineId(7)));
        assert!(!changed.note(TimelineId(7)) && !changed.note(TimelineId(1 << 64)));
        assert!(!changed.take(&mut taken));
        assert_eq!(taken, [TimelineId(7), TimelineId(1 << 64)]);
        assert!(changed.note(TimelineId(8)), "anew");
    }

    #[test]
    fn bounded_and_the_loss_is_said_once() {
        let changed = Changed::default();
        for user in 0..=MOST {
            changed.note(TimelineId(user as u128));
        }
        changed.note(TimelineId(0));
        let mut taken = VecDeque::new();
        assert!(changed.take(&mut taken));
        assert_eq!(taken.len(), MOST);
        changed.note(TimelineId(0));
        assert!(!changed.take(&mut taken));
    }
}
