//! Counters. One thread writes each counter, and any thread reads it.
//!
//! A counter with one writer needs no atomic addition: counting is a load and a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

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

/// The number of buckets of [`Times`].
pub const TIME_BUCKETS: usize = 25;

/// A histogram of times in microseconds. One thread writes it, and any thread reads it.
#[derive(Debug, Default)]
pub struct Times {
    /// Bucket N counts the times below 2^N µs that no earlier bucket counts. The last one counts all
    /// longer times.
    buckets: [Counter; TIME_BUCKETS],
    /// The sum of all times.
    micros: Counter,
}

impl Times {
    /// Counts a time in microseconds.
    #[inline]
    pub fn note(&self, micros: u32) {
        let bucket = (u32::BITS - micros.leading_zeros()) as usize;
        self.buckets[bucket.min(TIME_BUCKETS - 1)].one();
        self.micros.add(micros.into());
    }

    /// Returns the counts: bucket N counts the times from 2^(N-1) to 2^N µs, the last one all longer
    /// times.
    pub fn counts(&self) -> [u64; TIME_BUCKETS] {
        std::array::from_fn(|bucket| self.buckets[bucket].get())
    }

    /// Returns the sum of all times in microseconds.
    pub fn sum(&self) -> u64 {
        self.micros.get()
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
    /// The bytes of the commands that wait for the sequencer, also of those that wait for the turn of their user.
    pub waiting_bytes: Arc<AtomicUsize>,
    /// The number of commands that waited for the turn of their user.
    pub turns: Counter,
    /// The number of commands that failed.
    pub failed: Counter,
    /// The number of conversations in memory.
    pub conversations: Counter,
    /// The number of stored last-seen times.
    pub last_seen: Counter,
    /// The number of expired messages whose content stays on the disk, because they cannot be read.
    pub expired_unreadable: Counter,
    /// The number of leaps of the system clock.
    pub clock_leaps: Counter,
    /// The difference by which the store's time is behind the system clock, in seconds.
    pub clock_behind: Counter,
    /// The number of times that the sequencer waited for room in a shard's mailbox.
    pub mailbox_waits: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_counts_in_the_first_bucket_that_it_is_below() {
        let times = Times::default();
        for micros in [0, 1, 2, 3, 1_000, 1_024, u32::MAX] {
            times.note(micros);
        }
        let mut expected = [0; TIME_BUCKETS];
        for (bucket, count) in [(0, 1), (1, 1), (2, 2), (10, 1), (11, 1), (24, 1)] {
            expected[bucket] = count;
        }
        assert_eq!(times.counts(), expected);
        assert_eq!(times.sum(), 2_030 + u64::from(u32::MAX));
    }
}
