//! Wakes the event loop of a shard from other threads.

use mio::{Poll, Waker};
use trunkline_core::exchange::Wake;

use super::WAKE;

/// Wakes the event loop of a shard. A wake is one system call.
#[derive(Debug)]
pub struct ShardWaker(Waker);

impl ShardWaker {
    /// Makes the waker of an event loop.
    ///
    /// # Errors
    /// The kernel gives no descriptor.
    pub fn new(poll: &Poll) -> std::io::Result<Self> {
        Waker::new(poll.registry(), WAKE).map(Self)
    }
}

impl Wake for ShardWaker {
    fn wake(&self) {
        // Only a closed eventfd fails: the shard is gone then.
        let _ = self.0.wake();
    }
}
