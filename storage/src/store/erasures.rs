//! What the program wants to be erased, until the compactor has done it.
//!
//! Nothing of this is on the disk: a program that must be sure asks again after an opening. Erasing
//! twice changes nothing.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::Position;

/// The most records that wait to be erased.
const MOST: usize = 16_384;

/// Content of one record to be overwritten with zeros: see [`Reader::erase`](crate::Reader::erase).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erase {
    /// The position of the record.
    pub position: Position,
    /// Whether the body goes. The record then reads with an empty body. Redact records that have a
    /// sequence: readers of this one find nothing in its place.
    pub body: bool,
    /// Whether the body of the redaction goes that the record makes. Only a redaction that a later one
    /// replaces may lose its body.
    pub redaction: bool,
    /// Whether the values go that the record sets, except those that are the latest under their keys.
    pub states: bool,
}

/// The records that wait to be erased, and the purges of old values.
#[derive(Default)]
pub(crate) struct Erasures(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    records: VecDeque<Erase>,
    /// The number of records that were erased.
    erased: u64,
    /// The number of the last purge that was asked for, and of the last one that is done.
    purge: u64,
    purged: u64,
}

impl Erasures {
    /// Adds records. Returns the number that [`erased`](Self::erased) reaches with them; `None` if there
    /// is no room for all of them.
    pub(crate) fn add(&self, erases: &[Erase]) -> Option<u64> {
        let mut waiting = self.0.lock();
        if waiting.records.len() + erases.len() > MOST {
            return None;
        }
        waiting.records.extend(erases);
        Some(waiting.erased + waiting.records.len() as u64)
    }

    pub(crate) fn erased(&self) -> u64 {
        self.0.lock().erased
    }

    /// Returns the first records, at most `limit`, up to one that is not before `end`.
    pub(crate) fn first(&self, end: u64, limit: usize) -> Vec<Erase> {
        let waiting = self.0.lock();
        let due = waiting
            .records
            .iter()
            .take_while(|erase| erase.position.0 < end);
        due.take(limit).copied().collect()
    }

    /// Removes the first `count` records, which are erased.
    pub(crate) fn done(&self, count: usize) {
        let mut waiting = self.0.lock();
        waiting.records.drain(..count);
        waiting.erased += count as u64;
    }

    /// Returns whether records wait.
    pub(crate) fn has_records(&self) -> bool {
        !self.0.lock().records.is_empty()
    }

    /// Asks for a purge. Returns its number.
    pub(crate) fn purge(&self) -> u64 {
        let mut waiting = self.0.lock();
        waiting.purge += 1;
        waiting.purge
    }

    /// Returns the number of the purge that is to be made; `None` if there is none.
    pub(crate) fn wanted_purge(&self) -> Option<u64> {
        let waiting = self.0.lock();
        (waiting.purge > waiting.purged).then_some(waiting.purge)
    }

    /// Notes that this purge and all before are done.
    pub(crate) fn purge_done(&self, number: u64) {
        self.0.lock().purged = number;
    }

    /// Returns the number of the last purge that is done.
    pub(crate) fn purged(&self) -> u64 {
        self.0.lock().purged
    }
}
