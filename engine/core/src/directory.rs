//! The directory: the shards that hold sessions of each user.
//!
//! Shards write, and the sequencer reads. The order of their steps makes sure that a client that
//! connects misses no event and gets none twice:
//!
//! - The sequencer raises `head` to the last position of a batch, and *then* looks users up.
//! - A shard enters a session, and *then* reads `head` as the position from which the session is
//!   live.
//!
//! There are two cases for a batch B and a new session:
//!
//! 1. The look-up misses the session. It held the lock before the shard did, so the shard reads a
//!    `head` at B or later. The session catches up on B from the store.
//! 2. The look-up finds the session, and B goes to its shard. The shard drops B if the session is
//!    live from B or later.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use smallvec::SmallVec;
use trunkline_storage::Position;

use crate::ids::{DeviceMark, UserId};
use crate::per_user::{Half, PerUser, Thing};

/// A set of shards: bit N for shard N.
pub type ShardSet = u128;

/// The maximum number of shards of one gateway: the bits of a [`ShardSet`], without the one that the
/// client API over HTTP has.
pub const MAX_SHARDS: usize = ShardSet::BITS as usize - 1;

/// The number of stripes, each with a lock of its own.
const STRIPES: usize = 64;

/// The maximum number of users to look up before other threads get the lock of the stripe.
const AT_ONCE: usize = 64;

/// One session of a user: its shard and its device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seat {
    shard: u8,
    device: DeviceMark,
}

impl Thing for Seat {
    const SEVERAL: Self = Self {
        shard: u8::MAX,
        device: DeviceMark([0; 4]),
    };
}

/// The sessions of some of the users, under one lock.
type Stripe = Mutex<PerUser<Half, Seat>>;
// No shard has the number of the marker, and a session takes 5 bytes.
const _: () = assert!(MAX_SHARDS < u8::MAX as usize && size_of::<Seat>() == 5);

/// The sessions of all users, by the shards that hold them.
///
/// An entry has half of the id of its user, because there are as many entries as sessions. Two users
/// with the same half and the same stripe share their entry: among two million users, with a probability
/// of one in six hundred million. Each of them then seems to have the devices of both, and events of one go
/// to the shards of both, which compare the whole ids.
pub struct Directory {
    head: AtomicU64,
    stripes: Box<[CachePadded<Stripe>]>,
}

impl Directory {
    /// Returns an empty directory over a store whose last record is at `head`.
    pub fn new(head: Position) -> Self {
        Self {
            head: AtomicU64::new(head.0),
            stripes: (0..STRIPES).map(|_| CachePadded::default()).collect(),
        }
    }

    /// Returns the number of the stripe that holds a user.
    pub fn place(user: UserId) -> usize {
        // The maps use the low half of the id.
        (user.0 >> 64) as usize % STRIPES
    }

    /// Returns the stripe that holds a user.
    fn stripe(&self, user: UserId) -> &Stripe {
        &self.stripes[Self::place(user)]
    }

    /// Adds a session of `user` on a device, held by `shard`. Returns the position after which the
    /// session receives events live.
    pub fn enter(&self, user: UserId, shard: usize, device: DeviceMark) -> Position {
        let shard = shard as u8;
        self.stripe(user).lock().add(user, Seat { shard, device });
        self.head()
    }

    /// Removes the session that one [`Directory::enter`] added.
    pub fn leave(&self, user: UserId, shard: usize, device: DeviceMark) {
        let shard = shard as u8;
        self.stripe(user)
            .lock()
            .remove(user, Seat { shard, device });
    }

    /// Raises the head to `position`: records up to it are being published. The sequencer calls
    /// this before it looks up the first recipient of a batch.
    pub fn raise_head(&self, position: Position) {
        self.head.store(position.0, Ordering::SeqCst);
    }

    /// Returns the last published position.
    pub fn head(&self) -> Position {
        Position(self.head.load(Ordering::SeqCst))
    }

    /// Returns the number of devices of `user` with a session. Several sessions of one device count
    /// once, and seats of [`DeviceMark::NONE`] do not count.
    pub fn devices(&self, user: UserId) -> u32 {
        let stripe = self.stripe(user).lock();
        let seats = stripe.get(user);
        let devices = seats.iter().map(|seat| seat.device);
        let devices = devices.filter(|device| *device != DeviceMark::NONE);
        if seats.len() < 2 {
            return devices.count() as u32;
        }
        let mut devices: SmallVec<[DeviceMark; 32]> = devices.collect();
        drop(stripe);
        devices.sort_unstable();
        devices.dedup();
        devices.len() as u32
    }

    /// Returns the devices of `user` with a session, each once, in order.
    pub fn device_marks(&self, user: UserId) -> SmallVec<[DeviceMark; 4]> {
        let stripe = self.stripe(user).lock();
        let devices = stripe.get(user).iter().map(|seat| seat.device);
        let devices = devices.filter(|device| *device != DeviceMark::NONE);
        let mut devices: SmallVec<[DeviceMark; 4]> = devices.collect();
        drop(stripe);
        devices.sort_unstable();
        devices.dedup();
        devices
    }

    /// Returns the shards that hold connections of `user`.
    #[inline]
    pub fn shards(&self, user: UserId) -> ShardSet {
        set(self.stripe(user).lock().get(user))
    }

    /// Calls `found` with the shards of each user that has a connection. Neighbours in `users` with
    /// the same [`place`](Self::place) take its lock once, and hold it for a short time.
    pub fn shards_of(&self, users: &[UserId], mut found: impl FnMut(UserId, ShardSet)) {
        for users in users.chunk_by(|one, next| Self::place(*one) == Self::place(*next)) {
            for users in users.chunks(AT_ONCE) {
                let stripe = self.stripe(users[0]).lock();
                for &user in users {
                    let seats = stripe.get(user);
                    if !seats.is_empty() {
                        found(user, set(seats));
                    }
                }
            }
        }
    }
}

/// Returns the shards of some sessions.
fn set(seats: &[Seat]) -> ShardSet {
    seats.iter().fold(0, |set, seat| set | 1 << seat.shard)
}

#[cfg(test)]
mod tests {
    use trunkline_storage::TimelineId;

    use super::*;

    #[test]
    fn many_are_looked_up_as_one_is() {
        let directory = Directory::new(Position(0));
        // Of every stripe some, of one more than are looked up at once, each in two orders.
        let mut users: Vec<_> = (0..3_000)
            .map(|n| TimelineId(((n % 64) << 64) | n))
            .chain((0..200).map(|n| TimelineId((5 << 64) | (10_000 + n))))
            .collect();
        for (n, &user) in users.iter().enumerate() {
            for shard in 0..n % 3 {
                directory.enter(user, shard * 7, DeviceMark([0; 4]));
            }
        }
        for sorted in [false, true] {
            if sorted {
                users.sort_by_key(|user| Directory::place(*user));
            }
            let mut found = Vec::new();
            directory.shards_of(&users, |user, shards| found.push((user, shards)));
            let expected: Vec<_> = users
                .iter()
                .map(|&user| (user, directory.shards(user)))
                .filter(|(_, shards)| *shards != 0)
                .collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn sessions_come_and_go() {
        let directory = Directory::new(Position(7));
        let user = TimelineId(9);
        let is = |shards, devices| {
            assert_eq!(directory.shards(user), shards);
            assert_eq!(directory.devices(user), devices);
        };
        let device = |n| DeviceMark([n; 4]);
        is(0, 0);
        assert_eq!(directory.enter(user, 3, device(1)), Position(7));
        directory.raise_head(Position(8));
        assert_eq!(directory.enter(user, 127, device(2)), Position(8));
        directory.enter(user, 3, device(3));
        is(1 << 3 | 1 << 127, 3);
        directory.leave(user, 3, device(1));
        is(1 << 3 | 1 << 127, 2);
        directory.leave(user, 3, device(3));
        is(1 << 127, 1);
        directory.leave(user, 3, device(3));
        directory.leave(user, 127, device(2));
        is(0, 0);
    }

    #[test]
    fn sessions_of_one_device_are_one_device() {
        let directory = Directory::new(Position(0));
        let user = TimelineId(9);
        let device = |n| DeviceMark([n, 0, 0, 1]);
        for shard in [0, 0, 5] {
            directory.enter(user, shard, device(7));
        }
        assert_eq!(directory.devices(user), 1);
        directory.enter(user, 5, device(8));
        assert_eq!(directory.devices(user), 2);
        directory.leave(user, 0, device(7));
        directory.leave(user, 5, device(7));
        assert_eq!(
            (directory.devices(user), directory.shards(user)),
            (2, 1 | 1 << 5)
        );
        directory.leave(user, 0, device(7));
        assert_eq!(
            (directory.devices(user), directory.shards(user)),
            (1, 1 << 5)
        );
    }

    #[test]
    fn a_seat_that_is_no_device_gets_events_and_is_not_online() {
        let directory = Directory::new(Position::ZERO);
        let user = TimelineId(7);
        directory.enter(user, 3, DeviceMark::NONE);
        assert_eq!((directory.shards(user), directory.devices(user)), (8, 0));
        directory.enter(user, 3, DeviceMark::NONE);
        directory.enter(user, 0, DeviceMark([1; 4]));
        assert_eq!((directory.shards(user), directory.devices(user)), (9, 1));
        for _ in 0..2 {
            directory.leave(user, 3, DeviceMark::NONE);
        }
        assert_eq!((directory.shards(user), directory.devices(user)), (1, 1));
    }
}
