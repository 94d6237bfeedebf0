//! Which shards hold connections of which user.
//!
//! Shards write their own bit, the sequencer reads. The order of steps makes the seam between
//! what a connecting client reads from the store and what is pushed to it live:
//!
//! - the sequencer raises `head` to the last position of a batch, *then* looks users up;
//! - a shard enters its bit, *then* reads `head` as the position the connection is live from.
//!
//! If a look-up for batch B misses the new bit, it held the stripe's lock before the shard did, so
//! the shard's later read of `head` sees B: the connection catches B up from the store. If it
//! finds the bit, B is delivered live, and the shard drops it for connections live from B or
//! later. Nothing is missed, nothing comes twice.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use trunkline_storage::Position;

use crate::ids::UserId;
use crate::per_user::PerUser;

/// A set of shards: bit N for shard N.
pub(crate) type ShardSet = u128;

/// Most shards of one gateway: the bits of a set of them.
pub const MAX_SHARDS: usize = ShardSet::BITS as usize;

const STRIPES: usize = 64;

/// Part of the users, under a lock of its own.
type Stripe = Mutex<PerUser<u8>>;
const _: () = assert!(MAX_SHARDS <= u8::MAX as usize);

pub(crate) struct Directory {
    head: AtomicU64,
    stripes: Box<[CachePadded<Stripe>]>,
}

impl Directory {
    /// An empty directory over a store whose last record is at `head`.
    pub(crate) fn new(head: Position) -> Self {
        Self {
            head: AtomicU64::new(head.0),
            stripes: (0..STRIPES).map(|_| CachePadded::default()).collect(),
        }
    }

    fn stripe(&self, user: UserId) -> &Stripe {
        // The maps use the low half of the id.
        &self.stripes[(user.0 >> 64) as usize % STRIPES]
    }

    /// Enters that `shard` holds connections of `user`; idempotent. The answer is the position
    /// that a connection made now is live from.
    pub(crate) fn enter(&self, user: UserId, shard: usize) -> Position {
        let shard = shard as u8;
        let mut stripe = self.stripe(user).lock();
        if !stripe.get(user).contains(&shard) {
            stripe.add(user, shard);
        }
        drop(stripe);
        Position(self.head.load(Ordering::SeqCst))
    }

    /// Takes back [`Directory::enter`].
    pub(crate) fn leave(&self, user: UserId, shard: usize) {
        self.stripe(user).lock().remove(user, shard as u8);
    }

    /// Announces that records up to `position` are being published. The sequencer calls this
    /// before it looks up the first recipient of a batch.
    pub(crate) fn raise_head(&self, position: Position) {
        self.head.store(position.0, Ordering::SeqCst);
    }

    /// The last position published.
    pub(crate) fn head(&self) -> Position {
        Position(self.head.load(Ordering::SeqCst))
    }

    /// The shards that hold connections of `user`.
    pub(crate) fn shards(&self, user: UserId) -> ShardSet {
        let stripe = self.stripe(user).lock();
        stripe
            .get(user)
            .iter()
            .fold(0, |set, shard| set | 1 << shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_and_go() {
        let directory = Directory::new(Position(7));
        let user = trunkline_storage::TimelineId(9);
        assert_eq!(directory.shards(user), 0);
        assert_eq!(directory.enter(user, 3), Position(7));
        directory.raise_head(Position(8));
        assert_eq!(directory.enter(user, 127), Position(8));
        assert_eq!(directory.shards(user), 1 << 3 | 1 << 127);
        directory.leave(user, 3);
        directory.leave(user, 3);
        assert_eq!(directory.shards(user), 1 << 127);
        directory.leave(user, 127);
        assert_eq!(directory.shards(user), 0);
    }
}
