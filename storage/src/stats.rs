//! Counters of a store, and its health.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Position;

/// The number of buckets in a [`Stats`] histogram.
pub const BUCKETS: usize = 24;

/// The health of a store: whether it takes appends, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// The store takes appends.
    Ok,
    /// No space is left, by device, quota or file size limit. The store refuses appends until there
    /// is space.
    Full {
        /// The free space, and the space that the store needs.
        reason: String,
    },
    /// The store cannot get a resource other than space, such as a file descriptor. It refuses
    /// appends and keeps trying.
    Short {
        /// The failed action and its cause.
        reason: String,
    },
    /// Somebody removed or replaced the folder, its lock or files in it. The store refuses appends
    /// until they are back.
    Lost {
        /// The missing thing, and what to do.
        reason: String,
    },
    /// A sync failed. The store refuses appends until the process is restarted.
    Poisoned {
        /// The first failure.
        reason: String,
    },
}

/// A snapshot of a store's counters, each counted since it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// The number of committed batches.
    pub commits: u64,
    /// The number of committed records.
    pub records: u64,
    /// The bytes written to the log, including frames and marks.
    pub bytes: u64,
    /// The number of calls of `fdatasync` for the log.
    pub syncs: u64,
    /// The commits by their number of records. Bucket `i` counts commits of fewer than 2^`i`
    /// records that no lower bucket counts; the last bucket counts all others.
    pub batch_records: [u64; BUCKETS],
    /// The commits by the duration of the call of [`commit`](crate::Writer::commit). Bucket `i`
    /// counts commits shorter than 2^`i` µs that no lower bucket counts; the last bucket counts all
    /// others.
    pub commit_micros: [u64; BUCKETS],
    /// The total duration of all commits in µs.
    pub commit_micros_sum: u64,
    /// The number of segment files that hold records and are not in runs.
    pub segments: usize,
    /// The size of these segment files in bytes.
    pub segment_bytes: u64,
    /// The number of earlier segment files, whose records runs name.
    pub kept_segments: u64,
    /// The size of these segment files in bytes.
    pub kept_bytes: u64,
    /// The memory of the index in bytes.
    pub index_bytes: usize,
    /// The number of full segments that wait to become runs; 0 without [`Options::runs`].
    ///
    /// [`Options::runs`]: crate::Options::runs
    pub waiting_segments: usize,
    /// The size of the full segments that wait to become runs, in bytes.
    pub waiting_bytes: u64,
    /// The number of appends that waited until a segment became runs.
    pub waits: u64,
    /// The bytes written to make and merge runs. The sum with [`bytes`](Self::bytes) is all that
    /// the store wrote for its records.
    pub merge_bytes: u64,
    /// The bytes of the runs that are to be merged by now, the merge under way included; 0 without
    /// [`Options::runs`]. Merging writes about as many bytes.
    ///
    /// [`Options::runs`]: crate::Options::runs
    pub merge_due_bytes: u64,
    /// The number of run files.
    pub runs: usize,
    /// The size of all run files in bytes.
    pub run_bytes: u64,
    /// The number of redactions whose old bodies are still on the disk.
    pub pending_redactions: usize,
    /// The number of failed attempts to make or merge runs
    /// ([`Reader::run_failure`](crate::Reader::run_failure)). Each attempt is repeated.
    pub run_failures: u64,
    /// The position before which all data is on the disk, at every durability level.
    pub durable: Position,
    /// The position of the last visible record.
    pub head: Position,
}

#[derive(Default)]
pub(crate) struct Counters {
    commits: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    syncs: AtomicU64,
    run_failures: AtomicU64,
    waits: AtomicU64,
    merge_bytes: AtomicU64,
    merge_due_bytes: AtomicU64,
    batch_records: [AtomicU64; BUCKETS],
    commit_micros: [AtomicU64; BUCKETS],
    commit_micros_sum: AtomicU64,
}

impl Counters {
    pub(crate) fn committed(&self, records: usize, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.commits.fetch_add(1, Relaxed);
        self.records.fetch_add(records as u64, Relaxed);
        self.batch_records[bucket(records as u64)].fetch_add(1, Relaxed);
        self.commit_micros[bucket(micros)].fetch_add(1, Relaxed);
        self.commit_micros_sum.fetch_add(micros, Relaxed);
    }

    pub(crate) fn wrote(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn run_failed(&self) {
        self.run_failures.fetch_add(1, Relaxed);
    }

    pub(crate) fn waited(&self) {
        self.waits.fetch_add(1, Relaxed);
    }

    pub(crate) fn merged(&self, bytes: u64) {
        self.merge_bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn merges_due(&self, bytes: u64) {
        self.merge_due_bytes.store(bytes, Relaxed);
    }

    pub(crate) fn synced(&self) {
        self.syncs.fetch_add(1, Relaxed);
    }

    /// Returns the counts. Fields that are measured at a moment are 0.
    pub(crate) fn counted(&self) -> Stats {
        let load =
            |buckets: &[AtomicU64; BUCKETS]| std::array::from_fn(|i| buckets[i].load(Relaxed));
        Stats {
            commits: self.commits.load(Relaxed),
            records: self.records.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
            batch_records: load(&self.batch_records),
            commit_micros: load(&self.commit_micros),
            commit_micros_sum: self.commit_micros_sum.load(Relaxed),
            segments: 0,
            segment_bytes: 0,
            kept_segments: 0,
            kept_bytes: 0,
            index_bytes: 0,
            waiting_segments: 0,
            waiting_bytes: 0,
            waits: self.waits.load(Relaxed),
            merge_bytes: self.merge_bytes.load(Relaxed),
            merge_due_bytes: self.merge_due_bytes.load(Relaxed),
            runs: 0,
            run_bytes: 0,
            pending_redactions: 0,
            run_failures: self.run_failures.load(Relaxed),
            durable: Position::ZERO,
            head: Position::ZERO,
        }
    }
}

/// Returns the bucket whose upper bound is the first power of two above `value`.
fn bucket(value: u64) -> usize {
    ((u64::BITS - value.leading_zeros()) as usize).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_powers_of_two() {
        for (value, expected) in [
            (0, 0),
            (1, 1),
            (2, 2),
            (3, 2),
            (4, 3),
            (1000, 10),
            (1024, 11),
            (u64::MAX, BUCKETS - 1),
        ] {
            assert_eq!(bucket(value), expected, "{value}");
        }
    }
}
