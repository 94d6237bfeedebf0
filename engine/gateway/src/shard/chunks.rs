//! The lists of output that is not copied, of all connections of a shard.
//!
//! A connection that does not read has a list of up to some hundred frames. On the heap, the lists of a crowd would
//! lie between other small blocks, and would stay in the process as free memory: 10 MiB after 5,000 connections with
//! 72 frames each. So all lists of a shard have their entries in blocks, which go back to the kernel when they are
//! empty. One block stays: else a second large frame for one connection would map memory each time.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use slab::Slab;

use crate::mapped::{self, MAPPED_BYTES};
use crate::shared::SharedFrame;

/// The entries of a block, as a power of two.
const BITS: u32 = 11;

/// The number of entries of a block: 64 KiB.
const BLOCK: usize = 1 << BITS;

const _: () = assert!(
    BLOCK * size_of::<Entry>() >= MAPPED_BYTES,
    "the allocator maps blocks"
);

/// The number of no entry.
const NONE: u32 = u32::MAX;

/// A piece of output that is not copied.
#[derive(Debug)]
pub(super) enum Chunk {
    /// Frames of this connection.
    Own(Vec<u8>),
    /// A frame that other connections send too.
    Shared(SharedFrame),
}

impl Chunk {
    /// Returns the frames.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(frame) => frame.bytes(),
        }
    }

    /// Returns the memory of the frames in bytes. Shared frames are counted elsewhere.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Own(bytes) => mapped::memory(bytes),
            Self::Shared(_) => 0,
        }
    }

    /// Gives the bytes from `sent` on memory that goes back to the kernel with them. Returns whether nothing is
    /// sent of the chunk then.
    pub(super) fn settle(&mut self, sent: usize) -> bool {
        match self {
            Self::Own(bytes) => mapped::settle(bytes, sent),
            Self::Shared(_) => false,
        }
    }
}

/// The entries of all lists of a shard.
#[derive(Debug, Clone, Default)]
pub(super) struct Chunks(Rc<RefCell<Blocks>>);

/// The blocks that have entries.
///
/// `open` has exactly the numbers of the blocks that have room. New entries go into the first of them, so that the
/// last ones become empty.
#[derive(Debug, Default)]
struct Blocks {
    blocks: Slab<Slab<Entry>>,
    open: BTreeSet<usize>,
}

/// A chunk in a list.
#[derive(Debug)]
struct Entry {
    chunk: Chunk,
    /// The number of the next entry, or [`NONE`].
    next: u32,
}

impl Blocks {
    /// Adds the last entry of a list. Returns its number.
    fn insert(&mut self, chunk: Chunk) -> u32 {
        let number = match self.open.first() {
            Some(first) => *first,
            None => {
                let number = self.blocks.insert(Slab::with_capacity(BLOCK));
                self.open.insert(number);
                number
            }
        };
        let block = &mut self.blocks[number];
        let at = block.insert(Entry { chunk, next: NONE });
        if block.len() == BLOCK {
            self.open.remove(&number);
        }
        (number << BITS | at) as u32
    }

    /// Removes an entry. A block without entries ends, unless it is the last one.
    fn remove(&mut self, entry: u32) -> Entry {
        let (number, at) = place(entry);
        let block = &mut self.blocks[number];
        if block.len() == BLOCK {
            self.open.insert(number);
        }
        let entry = block.remove(at);
        if block.is_empty() && self.blocks.len() > 1 {
            self.blocks.remove(number);
            self.open.remove(&number);
        }
        entry
    }

    fn get_mut(&mut self, entry: u32) -> &mut Entry {
        let (number, at) = place(entry);
        &mut self.blocks[number][at]
    }
}

/// Returns the number of the block of an entry, and the place in it.
const fn place(entry: u32) -> (usize, usize) {
    ((entry >> BITS) as usize, entry as usize % BLOCK)
}

/// A list of chunks, the oldest first.
///
/// `first` and `last` are [`NONE`] exactly while `len` is 0.
#[derive(Debug)]
pub(super) struct List {
    of: Chunks,
    first: u32,
    last: u32,
    len: u32,
}

impl List {
    /// Makes an empty list.
    pub(super) const fn new(of: Chunks) -> Self {
        Self {
            of,
            first: NONE,
            last: NONE,
            len: 0,
        }
    }

    /// Returns the memory of the list in bytes, without that of its chunks.
    pub(super) const fn memory(&self) -> usize {
        self.len as usize * size_of::<Entry>()
    }

    /// Adds a chunk at the end.
    pub(super) fn push(&mut self, chunk: Chunk) {
        let mut blocks = self.of.0.borrow_mut();
        let entry = blocks.insert(chunk);
        if self.len == 0 {
            self.first = entry;
        } else {
            blocks.get_mut(self.last).next = entry;
        }
        self.last = entry;
        self.len += 1;
    }

    /// Takes the oldest chunk.
    pub(super) fn pop(&mut self) -> Option<Chunk> {
        if self.len == 0 {
            return None;
        }
        let entry = self.of.0.borrow_mut().remove(self.first);
        self.first = entry.next;
        self.len -= 1;
        if self.len == 0 {
            self.last = NONE;
        }
        Some(entry.chunk)
    }

    /// Calls `change` for each chunk, from the oldest on.
    pub(super) fn for_each(&mut self, mut change: impl FnMut(&mut Chunk)) {
        let mut blocks = self.of.0.borrow_mut();
        let mut at = self.first;
        while at != NONE {
            let entry = blocks.get_mut(at);
            change(&mut entry.chunk);
            at = entry.next;
        }
    }

    /// Removes all chunks.
    pub(super) fn clear(&mut self) {
        while self.pop().is_some() {}
    }
}

impl Drop for List {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chunk of this number.
    fn chunk(number: u32) -> Chunk {
        Chunk::Own(number.to_le_bytes().to_vec())
    }

    fn number(chunk: Option<Chunk>) -> Option<u32> {
        chunk.map(|chunk| u32::from_le_bytes(chunk.bytes().try_into().unwrap()))
    }

    impl Chunks {
        /// The number of blocks.
        fn blocks(&self) -> usize {
            self.0.borrow().blocks.len()
        }
    }

    #[test]
    fn lists_that_grow_in_turns_keep_their_order() {
        let chunks = Chunks::default();
        let mut lists = [0, 1, 2].map(|_| List::new(chunks.clone()));
        for n in 0..3_000 {
            lists[n as usize % 3].push(chunk(n));
            if n % 5 == 0 {
                let list = &mut lists[0];
                list.for_each(|chunk| assert!(chunk.memory() >= 4));
                let (first, memory) = (number(list.pop()).unwrap(), list.memory());
                list.push(chunk(first));
                assert_eq!(list.memory() - memory, size_of::<Entry>());
            }
        }
        for (n, list) in lists.iter_mut().enumerate().skip(1) {
            let all: Vec<_> = std::iter::from_fn(|| number(list.pop())).collect();
            let expected: Vec<_> = (0..1_000).map(|k| 3 * k + n as u32).collect();
            assert_eq!((all, list.memory()), (expected, 0));
        }
        let mut left: Vec<_> = std::iter::from_fn(|| number(lists[0].pop())).collect();
        left.sort_unstable();
        assert_eq!(left, (0..1_000).map(|k| 3 * k).collect::<Vec<_>>());
        assert_eq!(chunks.blocks(), 1);
    }

    /// A list that stays keeps the block that it is in, and no other.
    #[test]
    fn blocks_end_with_their_last_entry() {
        let chunks = Chunks::default();
        let mut stays = List::new(chunks.clone());
        let mut crowd: Vec<_> = (0..50).map(|_| List::new(chunks.clone())).collect();
        stays.push(chunk(1));
        for n in 0..50 * BLOCK as u32 / 10 {
            crowd[n as usize % 50].push(chunk(n));
        }
        assert_eq!(chunks.blocks(), 6);
        drop(crowd);
        assert_eq!(chunks.blocks(), 1);
        for n in 0..BLOCK as u32 {
            stays.push(chunk(n));
        }
        assert_eq!(chunks.blocks(), 2);
        stays.clear();
        assert_eq!((chunks.blocks(), stays.memory()), (1, 0));
        stays.push(chunk(7));
        assert_eq!(number(stays.pop()), Some(7));
    }
}
