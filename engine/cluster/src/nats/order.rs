//! The order of records that come in any order.

use std::collections::BTreeMap;

use bytes::Bytes;

/// The most records that wait for earlier ones.
const AHEAD: usize = 4_096;

/// The most bytes of the records that wait for earlier ones.
const AHEAD_BYTES: usize = 8 << 20;

/// The records that can lie between the next one and one that is said to exist: more is a mistake, and would
/// have what never comes asked for without end. At 1,000 groups a second it is 34 years.
const DISTANCE: u64 = 1 << 40;

/// Puts records in the order of their sequences, each once.
///
/// Invariants: every key of `ahead` is at least `next` and at most `highest`; `bytes` is the sum of their
/// lengths; beyond the bounds only the record `next` itself is kept.
#[derive(Debug)]
pub(crate) struct Order {
    /// The sequence that comes next.
    next: u64,
    /// Records from `next` on.
    ahead: BTreeMap<u64, Bytes>,
    bytes: usize,
    /// The highest sequence that is known to exist; less than `next` if none is missing.
    highest: u64,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It is kept.
    Kept,
    /// It was there already, has been passed on, or cannot be.
    Known,
    /// There is no room for it: it has to be fetched again.
    Dropped,
}

/// Records that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    /// The first of them.
    pub(crate) from: u64,
    /// Their number, at least 1.
    pub(crate) count: u64,
}

impl Order {
    /// Returns the order of the records from a sequence on.
    pub(crate) fn new(next: u64) -> Self {
        Self {
            next,
            ahead: BTreeMap::new(),
            bytes: 0,
            highest: 0,
        }
    }

    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn highest(&self) -> u64 {
        self.highest
    }

    /// Learns that a record exists. A sequence that cannot be is passed over.
    pub(crate) fn exists(&mut self, sequence: u64) {
        if self.can_be(sequence) {
            self.highest = self.highest.max(sequence);
        }
    }

    fn can_be(&self, sequence: u64) -> bool {
        sequence.saturating_sub(self.next) <= DISTANCE
    }

    /// Takes a record. Records nearer to the next one displace those farther away.
    pub(crate) fn offer(&mut self, sequence: u64, record: Bytes) -> Offered {
        self.exists(sequence);
        if sequence < self.next || !self.can_be(sequence) || self.ahead.contains_key(&sequence) {
            return Offered::Known;
        }
        while sequence != self.next && !self.has_room(record.len()) {
            match self.ahead.last_entry() {
                Some(last) if *last.key() > sequence => {
                    self.bytes -= last.remove().len();
                }
                _ => return Offered::Dropped,
            }
        }
        self.bytes += record.len();
        self.ahead.insert(sequence, record);
        Offered::Kept
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.ahead.len() < AHEAD && self.bytes + bytes <= AHEAD_BYTES
    }

    /// Returns the next record, if it is here.
    pub(crate) fn ready(&self) -> Option<Bytes> {
        self.ahead.get(&self.next).cloned()
    }

    /// Takes the next record, if it is here.
    pub(crate) fn pop(&mut self) -> Option<(u64, Bytes)> {
        let record = self.ahead.remove(&self.next)?;
        let sequence = self.next;
        self.bytes -= record.len();
        self.next += 1;
        Some((sequence, record))
    }

    /// Returns the first sequence from the next one on whose record is not here.
    pub(crate) fn needs(&self) -> u64 {
        let here = (self.next..).zip(self.ahead.keys());
        let here = here.take_while(|(wanted, sequence)| wanted == *sequence);
        self.next + here.count() as u64
    }

    /// Returns the first stretch of records that exist and are not here.
    pub(crate) fn missing(&self) -> Option<Missing> {
        let mut from = self.next;
        // Records from the next one on follow each other mostly: there are few steps to the first hole.
        let mut ahead = self.ahead.keys();
        let end = loop {
            match ahead.next() {
                Some(sequence) if *sequence == from => from += 1,
                Some(sequence) => break *sequence,
                None => break self.highest.saturating_add(1),
            }
        };
        let count = end.saturating_sub(from);
        (count > 0).then_some(Missing { from, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes: usize) -> Bytes {
        Bytes::from(vec![0; bytes])
    }

    fn popped(order: &mut Order) -> Vec<u64> {
        std::iter::from_fn(|| order.pop().map(|(sequence, _)| sequence)).collect()
    }

    #[test]
    fn records_come_out_in_order_and_once() {
        let mut order = Order::new(3);
        for (sequence, offered) in [
            (5, Offered::Kept),
            (2, Offered::Known),
            (3, Offered::Kept),
            (5, Offered::Known),
        ] {
            assert_eq!(order.offer(sequence, record(1)), offered, "{sequence}");
        }
        let missing = |from, count| Some(Missing { from, count });
        assert_eq!(order.missing(), missing(4, 1));
        assert_eq!(popped(&mut order), [3]);
        assert_eq!(order.offer(3, record(1)), Offered::Known);
        assert_eq!(order.offer(4, record(1)), Offered::Kept);
        assert_eq!((popped(&mut order), order.missing()), (vec![4, 5], None));
        order.exists(8);
        assert_eq!((order.missing(), order.ready()), (missing(6, 3), None));
        order.exists(7);
        assert_eq!(order.missing(), missing(6, 3));
    }

    #[test]
    fn a_sequence_that_cannot_be_is_passed_over() {
        let mut order = Order::new(3);
        for sequence in [u64::MAX, 3 + DISTANCE + 1] {
            order.exists(sequence);
            assert_eq!(order.offer(sequence, record(1)), Offered::Known);
            assert_eq!((order.missing(), order.highest()), (None, 0));
        }
        order.exists(3 + DISTANCE);
        let count = DISTANCE + 1;
        assert_eq!(order.missing(), Some(Missing { from: 3, count }));
        // At the end of all numbers nothing overflows.
        let mut order = Order::new(u64::MAX - 1);
        order.exists(u64::MAX);
        assert_eq!(order.missing().map(|it| it.from), Some(u64::MAX - 1));
    }

    #[test]
    fn what_is_in_hand_is_not_needed() {
        let mut order = Order::new(3);
        assert_eq!(order.needs(), 3);
        for (sequence, needs) in [(4, 3), (6, 3), (3, 5), (5, 7)] {
            order.offer(sequence, record(1));
            assert_eq!(order.needs(), needs, "{sequence}");
        }
        order.pop();
        assert_eq!((order.next(), order.needs()), (4, 7));
    }

    #[test]
    fn what_waits_is_bounded_and_the_nearest_stay() {
        let mut order = Order::new(1);
        let (one, count) = (AHEAD_BYTES / 8, 8);
        for sequence in 11..11 + count {
            assert_eq!(order.offer(sequence, record(one)), Offered::Kept);
        }
        assert_eq!(order.offer(30, record(1)), Offered::Dropped);
        // A nearer one displaces the farthest.
        assert_eq!(order.offer(5, record(1)), Offered::Kept);
        assert!(order.ahead.contains_key(&17) && !order.ahead.contains_key(&18));
        // The next one is taken in any case.
        assert_eq!(order.offer(1, record(2 * one)), Offered::Kept);
        assert_eq!(popped(&mut order), [1]);
        assert_eq!((order.next, order.bytes), (2, 7 * one + 1));
        assert_eq!(order.missing(), Some(Missing { from: 2, count: 3 }));
        for sequence in 100..100 + AHEAD as u64 {
            order.offer(sequence, record(0));
        }
        assert_eq!(order.ahead.len(), AHEAD);
    }
}
