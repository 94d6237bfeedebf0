//! The buffers that connections borrow while output waits for them.

use std::cell::Cell;
use std::rc::Rc;

use super::chunks::Chunks;
use super::waiting::Waiting;
use crate::mapped::MAPPED_BYTES;

/// The number of empty buffers that a shard keeps.
const POOL: usize = 256;

/// The bytes of empty buffers that a shard keeps. A gateway of a million connections has over fifty
/// shards.
const POOL_BYTES: usize = 4 << 20;

/// The size of a buffer that a shard keeps at most, in bytes. Larger ones go back to the allocator.
const POOLED_BYTES: usize = 64 << 10;

/// The empty buffers of a shard.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    #[expect(clippy::vec_box, reason = "connections borrow and give back the boxes")]
    free: Vec<Box<Waiting>>,
    bytes: usize,
    /// The number of empty buffers that are mapped.
    mapped: usize,
    /// The number of buffers at the front of `free` that no connection borrowed since the last [`Self::rest`].
    unused: usize,
    /// The lists of output that is not copied.
    chunks: Chunks,
    /// What the lent buffers have of the heap.
    heap: Rc<Cell<usize>>,
    /// A buffer for TLS records that a socket is to take at once.
    records: Vec<u8>,
}

impl Pool {
    /// Lends a buffer.
    pub(super) fn take(&mut self) -> Box<Waiting> {
        let taken = self.free.pop();
        if let Some(waiting) = &taken {
            self.bytes -= waiting.room();
            self.mapped -= usize::from(is_mapped(waiting));
            self.unused = self.unused.min(self.free.len());
        }
        taken.unwrap_or_else(|| Box::new(Waiting::new(self.chunks.clone(), self.heap.clone())))
    }

    /// Lends the empty buffer for TLS records. Give it back with [`Self::give_records`].
    pub(super) fn take_records(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.records)
    }

    /// Takes the buffer for TLS records back.
    pub(super) fn give_records(&mut self, mut records: Vec<u8>) {
        records.clear();
        self.records = records;
    }

    /// Takes a buffer back.
    pub(super) fn give(&mut self, mut waiting: Box<Waiting>) {
        let room = waiting.room();
        if self.free.len() < POOL && room <= POOLED_BYTES && self.bytes + room <= POOL_BYTES {
            waiting.clear();
            self.bytes += room;
            self.mapped += usize::from(is_mapped(&waiting));
            self.free.push(waiting);
        }
    }

    /// Whether it keeps mapped buffers.
    pub(super) const fn is_rich(&self) -> bool {
        self.mapped > 0
    }

    /// Returns the mapped buffers to the kernel that no connection borrowed since the last call. Without this, a crowd
    /// that did not read leaves [`POOL_BYTES`] behind.
    pub(super) fn rest(&mut self) {
        let unused = std::mem::replace(&mut self.unused, self.free.len());
        let mut number = 0;
        self.free.retain(|waiting| {
            number += 1;
            let keeps = number > unused || !is_mapped(waiting);
            if !keeps {
                self.bytes -= waiting.room();
                self.mapped -= 1;
            }
            keeps
        });
        self.unused = self.unused.min(self.free.len());
    }
}

/// Whether a buffer has mapped memory, perhaps: it has as many bytes.
fn is_mapped(waiting: &Waiting) -> bool {
    waiting.room() >= MAPPED_BYTES
}

#[cfg(test)]
mod tests {
    use super::super::waiting::{FRESH_BYTES, HEAP_BYTES, HEAP_LENT, UNKNOWN_BYTES};
    use super::*;
    use trunkline_proto::Encoding;

    /// Output that gathers before the socket is tried leaves no large block on the heap.
    #[test]
    fn much_output_is_mapped_before_it_waits() {
        let mut pool = Pool::default();
        let mut waiting = pool.take();
        let mut largest = 0;
        for _ in 0..1_000 {
            waiting.tail_for(100).extend_from_slice(&[7; 100]);
            waiting.tail().extend_from_slice(&[7; UNKNOWN_BYTES]);
            let room = waiting.room();
            assert!(room <= HEAP_BYTES || room >= MAPPED_BYTES, "{room}");
            largest = largest.max(room);
        }
        assert!(largest >= MAPPED_BYTES);
    }

    /// A crowd whose output gathers before the sockets are tried has little of the heap, whatever its size.
    #[test]
    fn buffers_of_a_crowd_are_mapped_beyond_what_the_heap_has_for_them() {
        let mut pool = Pool::default();
        let mut crowd: Vec<_> = (0..5_000).map(|_| pool.take()).collect();
        for _ in 0..10 {
            for waiting in &mut crowd {
                waiting.tail_for(300).extend_from_slice(&[7; 300]);
            }
        }
        let of_heap = |room: &usize| *room < MAPPED_BYTES;
        let rooms = crowd.iter().map(|waiting| waiting.room());
        let on_heap: usize = rooms.filter(of_heap).sum();
        assert!(on_heap <= HEAP_LENT, "{on_heap}");
        assert!(pool.heap.get() <= HEAP_LENT + crowd.len() * FRESH_BYTES);
        assert!(crowd.iter().all(|waiting| waiting.len() == 3_000));
        for (n, mut waiting) in crowd.into_iter().enumerate() {
            match n % 3 {
                0 => pool.give(waiting),
                1 => waiting.settle(),
                _ => drop(waiting),
            }
        }
        assert_eq!(pool.heap.get(), 0);
        // Few buffers grow on the heap.
        let mut few = loop {
            let waiting = pool.take();
            if waiting.room() == 0 {
                break waiting;
            }
        };
        few.tail_for(900).extend_from_slice(&[7; 900]);
        assert!(few.room() < MAPPED_BYTES, "{}", few.room());
    }

    #[test]
    fn mapped_buffers_that_nobody_borrows_go_back_to_the_kernel() {
        let mut pool = Pool::default();
        let mut borrowed: Vec<_> = (0..20).map(|_| pool.take()).collect();
        for (n, waiting) in borrowed.iter_mut().enumerate() {
            let bytes = if n % 2 == 0 { 5_000 } else { 500 };
            waiting
                .tail_for(bytes)
                .extend_from_slice(&[7; 5_000][..bytes]);
        }
        for waiting in borrowed {
            pool.give(waiting);
        }
        assert!(pool.is_rich());
        pool.rest();
        assert_eq!(pool.free.len(), 20, "all were borrowed since");
        let used: Vec<_> = (0..4).map(|_| pool.take()).collect();
        used.into_iter().for_each(|waiting| pool.give(waiting));
        pool.rest();
        // Of the four that were used two are mapped, and of the others none.
        let mapped = pool.free.iter().filter(|one| one.room() >= MAPPED_BYTES);
        assert_eq!((mapped.count(), pool.free.len()), (2, 12));
        let rooms: usize = pool.free.iter().map(|waiting| waiting.room()).sum();
        assert_eq!(pool.bytes, rooms);
        pool.rest();
        assert!(!pool.is_rich(), "{} are mapped", pool.mapped);
        assert_eq!(pool.free.len(), 10);
        assert_eq!(pool.take().len(), 0);
    }

    #[test]
    fn what_comes_back_is_lent_again() {
        let mut pool = Pool::default();
        let mut waiting = pool.take();
        waiting.tail().extend_from_slice(&[7; 9_000]);
        waiting.advance(5);
        waiting.batch_for(Encoding::Json, 5);
        let room = waiting.room();
        pool.give(waiting);
        assert_eq!(pool.bytes, room);
        let again = pool.take();
        assert_eq!((again.room(), again.len(), again.end()), (room, 0, 0));
        assert!(again.next().is_empty() && again.in_batch() == 0);
        assert_eq!((pool.bytes, pool.free.len()), (0, 0));
    }

    #[test]
    fn it_keeps_no_more_than_it_may() {
        let mut pool = Pool::default();
        let give = |pool: &mut Pool, size| {
            let mut waiting = Box::new(Waiting::new(Chunks::default(), Rc::default()));
            waiting.tail_for(0).reserve_exact(size);
            pool.give(waiting);
        };
        give(&mut pool, POOLED_BYTES + 1);
        assert_eq!(pool.free.len(), 0);
        for _ in 0..POOL + 9 {
            give(&mut pool, POOLED_BYTES);
        }
        assert_eq!(pool.bytes, POOL_BYTES);
        let mut pool = Pool::default();
        for _ in 0..POOL + 9 {
            give(&mut pool, FRESH_BYTES);
        }
        assert_eq!((pool.free.len(), pool.bytes), (POOL, POOL * FRESH_BYTES));
    }
}
