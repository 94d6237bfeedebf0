//! The shards that watch each user, and the time when each user left.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use trunkline_proto::message::UserPresence;
use trunkline_storage::IdBuildHasher;

use super::{STRIPES, stripe_of};
use crate::directory::ShardSet;
use crate::ids::UserId;
use crate::per_user::{Half, Key};

/// The time when each user left, in milliseconds since 1970 UTC. Half of an id is enough: ids are keyed
/// hashes, and the stripe has another part of it.
type Times = HashMap<Half, u64, IdBuildHasher>;

/// The presence of one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserState {
    /// The number of devices that are connected now.
    pub devices: u32,
    /// When a connection last ended, in milliseconds since 1970.
    pub left: Option<u64>,
    /// The rest of the grace time after the last session ended. Others see the user online until it
    /// is over. `None` if no grace time is running.
    pub settles_in: Option<Duration>,
}

impl UserState {
    /// The state that a user who is blocked sees: that of a user who never connected.
    pub const HIDDEN: Self = Self {
        devices: 0,
        left: None,
        settles_in: None,
    };

    /// Returns the state of a user with `devices` connected devices. `left` and `now` are in
    /// milliseconds since 1970 UTC.
    pub(super) fn new(devices: u32, left: Option<u64>, now: u64, grace: Duration) -> Self {
        // A clock that was set back ends the grace time.
        let since = left.and_then(|left| now.checked_sub(left));
        let left_for = since.map(Duration::from_millis);
        Self {
            devices,
            left,
            settles_in: left_for
                .and_then(|since| grace.checked_sub(since))
                .filter(|rest| !rest.is_zero()),
        }
    }

    /// Returns whether the hub knows nothing of this user. The store may have a last-seen time
    /// then.
    pub const fn is_unknown(&self) -> bool {
        self.devices == 0 && self.left.is_none()
    }

    /// Returns the number of devices to show to others: at least one while the grace time is
    /// running.
    pub const fn shown(&self) -> u32 {
        if self.devices == 0 && self.settles_in.is_some() {
            1
        } else {
            self.devices
        }
    }

    /// Returns the state as clients see it, with the name of the user.
    pub fn shown_as(self, name: &str, now: u64) -> UserPresence<'static> {
        let devices = self.shown();
        let online = devices > 0;
        UserPresence {
            user: name.to_owned().into(),
            online,
            devices,
            last_seen: if online { Some(now) } else { self.left },
        }
    }

    /// Returns whether a client that last saw `told` devices needs an update.
    pub const fn is_news(&self, told: u32) -> bool {
        self.devices > told || (self.devices < told && self.settles_in.is_none())
    }
}

/// The shards that watch each user, and the times when users left.
pub(super) struct Presence {
    stripes: Box<[CachePadded<Mutex<Stripe>>]>,
    /// The number of watched users. If it is 0, no look-up is needed.
    watched: AtomicUsize,
    /// The number of users that the younger half of a stripe remembers.
    remembered: usize,
}

/// The presence of some users, under one lock.
#[derive(Default)]
struct Stripe {
    /// The shards that watch each user.
    watchers: HashMap<UserId, ShardSet, IdBuildHasher>,
    /// The time when a user's last connection ended, in two halves. When the younger half is full,
    /// it replaces the older one.
    left: Times,
    left_before: Times,
}

impl Presence {
    /// Returns an empty collection that remembers the times of `remembered` users, or slightly
    /// more.
    pub(super) fn new(remembered: usize) -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| CachePadded::default()).collect(),
            watched: AtomicUsize::new(0),
            remembered: remembered.div_ceil(2 * STRIPES),
        }
    }

    fn stripe(&self, user: UserId) -> &Mutex<Stripe> {
        &self.stripes[stripe_of(user)]
    }

    /// Returns the shards that watch a user.
    pub(super) fn watchers(&self, user: UserId) -> ShardSet {
        if self.watched.load(Ordering::SeqCst) == 0 {
            return 0;
        }
        let stripe = self.stripe(user).lock();
        stripe.watchers.get(&user).copied().unwrap_or_default()
    }

    /// Adds a shard to those that watch a user.
    pub(super) fn watch(&self, user: UserId, shard: usize) {
        let mut stripe = self.stripe(user).lock();
        let shards = stripe.watchers.entry(user).or_default();
        if *shards == 0 {
            self.watched.fetch_add(1, Ordering::SeqCst);
        }
        *shards |= 1 << shard;
    }

    /// Removes a shard from those that watch a user.
    pub(super) fn unwatch(&self, user: UserId, shard: usize) {
        let mut stripe = self.stripe(user).lock();
        let Some(shards) = stripe.watchers.get_mut(&user) else {
            return;
        };
        *shards &= !(1 << shard);
        if *shards == 0 {
            stripe.watchers.remove(&user);
            self.watched.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Notes that the last connection of a user ended at `now`, in milliseconds since 1970 UTC.
    pub(super) fn note_left(&self, user: UserId, now: u64) {
        let mut stripe = self.stripe(user).lock();
        let key = Half::of(user);
        if stripe.left.len() >= self.remembered && !stripe.left.contains_key(&key) {
            stripe.left_before = std::mem::take(&mut stripe.left);
        }
        stripe.left.insert(key, now);
    }

    /// Forgets when a user's last connection ended.
    pub(super) fn forget(&self, user: UserId) {
        let mut stripe = self.stripe(user).lock();
        let key = Half::of(user);
        stripe.left.remove(&key);
        stripe.left_before.remove(&key);
    }

    /// Returns when a user's last connection ended, if the hub remembers it.
    pub(super) fn left(&self, user: UserId) -> Option<u64> {
        let stripe = self.stripe(user).lock();
        let key = Half::of(user);
        let found = stripe.left.get(&key);
        found.or_else(|| stripe.left_before.get(&key)).copied()
    }
}

#[cfg(test)]
mod tests {
    use trunkline_storage::TimelineId;

    use super::*;

    #[test]
    fn a_state_settles() {
        let grace = Duration::from_secs(10);
        let state = |devices, left, now| UserState::new(devices, left, now, grace);
        // Never seen, or forgotten.
        let unknown = state(0, None, 50_000);
        assert_eq!((unknown.shown(), unknown.is_news(0)), (0, false));
        // The user has just left: watchers get no push, and a query still shows a device.
        let gone = state(0, Some(45_000), 50_000);
        assert_eq!(gone.settles_in, Some(Duration::from_secs(5)));
        assert_eq!(
            (gone.shown(), gone.is_news(1), gone.is_news(0)),
            (1, false, false)
        );
        // Really gone.
        let gone = state(0, Some(40_000), 50_000);
        assert_eq!(
            (gone.shown(), gone.is_news(1), gone.is_news(0)),
            (0, true, false)
        );
        // More devices are pushed at once, fewer devices after the grace.
        let two = state(2, Some(45_000), 50_000);
        assert_eq!(
            (two.shown(), two.is_news(1), two.is_news(3)),
            (2, true, false)
        );
        assert!(state(2, Some(1), 50_000).is_news(3));
        // A clock that was set back delays nothing.
        assert_eq!(state(0, Some(90_000), 50_000).settles_in, None);
        let none = UserState::new(0, Some(50_000), 50_000, Duration::ZERO);
        assert!(none.is_news(1));
    }

    #[test]
    fn shards_watch() {
        let presence = Presence::new(100);
        let user = TimelineId(7);
        assert_eq!(presence.watchers(user), 0);
        presence.watch(user, 3);
        presence.watch(user, 3);
        presence.watch(user, 127);
        assert_eq!(presence.watchers(user), 1 << 3 | 1 << 127);
        assert_eq!(presence.watchers(TimelineId(8)), 0);
        presence.unwatch(user, 3);
        presence.unwatch(user, 3);
        presence.unwatch(user, 127);
        presence.unwatch(user, 127);
        assert_eq!(presence.watchers(user), 0);
        assert_eq!(presence.watched.load(Ordering::SeqCst), 0);
        assert!(presence.stripe(user).lock().watchers.is_empty());
    }

    #[test]
    fn those_of_late_are_remembered() {
        let presence = Presence::new(4 * STRIPES);
        // All in one stripe, which remembers four.
        for user in 0..1_000u64 {
            presence.note_left(TimelineId(user.into()), user);
            presence.note_left(TimelineId(user.into()), user + 1);
            for late in user.saturating_sub(1)..=user {
                assert_eq!(presence.left(TimelineId(late.into())), Some(late + 1));
            }
        }
        assert_eq!(presence.left(TimelineId(900)), None);
        let stripe = presence.stripe(TimelineId(0)).lock();
        assert!(stripe.left.len() + stripe.left_before.len() <= 4);
    }
}
