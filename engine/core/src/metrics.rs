//! Counters, each written by one thread and read by any.
//!
//! As each counter has one writing thread, counting is a plain load and store.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that one thread changes and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds a number.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Adds one.
    pub fn one(&self) {
        self.add(1);
    }

    /// Replaces the number.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// Returns the number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What the sequencer counts.
#[derive(Debug, Default)]
pub struct SequencerMetrics {
    /// Messages stored.
    pub messages: Counter,
    /// Receipts stored.
    pub receipts: Counter,
    /// Members whose marks they moved.
    pub receipt_marks: Counter,
    /// Acknowledgements that they are made of.
    pub receipt_acks: Counter,
    /// Acknowledgements that wait to become receipts.
    pub receipts_held: Counter,
    /// Sends answered from an earlier one with the same idempotency key.
    pub duplicates: Counter,
    /// Commands answered with an error.
    pub failed: Counter,
    /// Conversations held in memory.
    pub conversations: Counter,
    /// Users of whom was stored when they were last seen.
    pub last_seen: Counter,
    /// Leaps of the system clock.
    pub clock_leaps: Counter,
    /// Seconds that the store's time is behind the system clock.
    pub clock_behind: Counter,
    /// Times a shard's mailbox was full and the sequencer waited.
    pub mailbox_waits: Counter,
}
