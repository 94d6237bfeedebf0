//! The bytes of ephemeral pushes, which shards share.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The bytes of the large ephemeral pushes that wait for connections. A push counts once, however many shards have
/// it. All shards write it: few pushes are large.
#[derive(Debug, Default)]
pub struct PushBytes(AtomicU64);

impl PushBytes {
    /// Counts a push that no shard has had.
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts a push less, which no shard has any more.
    pub(crate) fn remove(&self, bytes: usize) {
        self.0.fetch_sub(bytes as u64, Relaxed);
    }

    /// Returns the bytes.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
