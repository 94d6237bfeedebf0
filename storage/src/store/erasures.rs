//! The records that the program wants to be erased, until the compactor has done it.
//!
//! Nothing of this is on the disk: a program that must be sure asks again after an opening. Erasing
//! twice changes nothing.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// The most records that wait to be erased.
const MOST: usize = 16_384;

/// The records that wait to be erased.
#[derive(Default)]
pub(crate) struct Erasures(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// The positions of the records.
    records: VecDeque<u64>,
    /// The number of records that were looked at, and how many of them are damaged.
    erased: u64,
    failed: u64,
}

impl Erasures {
    /// Adds the positions of records. Returns the number that [`erased`](Self::erased) reaches with them;
    /// `None` if there is no room for all of them.
    pub(crate) fn add(&self, positions: impl ExactSizeIterator<Item = u64>) -> Option<u64> {
        let mut waiting = self.0.lock();
        if waiting.records.len() + positions.len() > MOST {
            return None;
        }
        waiting.records.extend(positions);
        Some(waiting.erased + waiting.records.len() as u64)
    }

    pub(crate) fn erased(&self) -> u64 {
        self.0.lock().erased
    }

    pub(crate) fn failed(&self) -> u64 {
        self.0.lock().failed
    }

    /// Returns the first records, at most `limit`, up to one that is not before `end`.
    pub(crate) fn first(&self, end: u64, limit: usize) -> Vec<u64> {
        let waiting = self.0.lock();
        let due = waiting
            .records
            .iter()
            .take_while(|position| **position < end);
        due.take(limit).copied().collect()
    }

    /// Removes the first `count` records, which were looked at. `failed` of them are damaged.
    pub(crate) fn done(&self, count: usize, failed: u64) {
        let mut waiting = self.0.lock();
        waiting.records.drain(..count);
        waiting.erased += count as u64;
        waiting.failed += failed;
    }

    /// Returns whether records wait.
    pub(crate) fn has_records(&self) -> bool {
        !self.0.lock().records.is_empty()
    }
}
