//! Counters. One thread writes each counter, and any thread reads it.
//!
//! A counter with one writer needs no atomic addition: counting is a load and a store.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Adds one.
    pub fn one(&self) {
        self.add(1);
    }

    /// Sets the number.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// Returns the number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The counters of the sequencer.
#[derive(Debug, Default)]
pub struct SequencerMetrics {
    /// The number of stored messages.
    pub messages: Counter,
    /// The number of stored receipts.
    pub receipts: Counter,
    /// The number of members whose marks receipts moved. A member counts once in each receipt.
    pub receipt_marks: Counter,
    /// The number of acknowledgements that became receipts.
    pub receipt_acks: Counter,
    /// The number of acknowledgements that wait to become receipts.
    pub receipts_held: Counter,
    /// The number of sends that repeated an earlier send with the same idempotency key.
    pub duplicates: Counter,
    /// The number of commands that wait for the turn of their user.
    pub waiting: Counter,
    /// The number of commands that waited for the turn of their user.
    pub turns: Counter,
    /// The number of commands that failed.
    pub failed: Counter,
    /// The number of conversations in memory.
    pub conversations: Counter,
    /// The number of stored last-seen times.
    pub last_seen: Counter,
    /// The number of leaps of the system clock.
    pub clock_leaps: Counter,
    /// The difference by which the store's time is behind the system clock, in seconds.
    pub clock_behind: Counter,
    /// The number of times that the sequencer waited for room in a shard's mailbox.
    pub mailbox_waits: Counter,
}
