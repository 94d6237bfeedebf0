//! A cache of blocks that were read and checked, limited by bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use super::block::Block;
use super::postings::Postings;

/// The place of a block: the number of its run, and its offset in the file.
type BlockKey = (u64, u64);

/// Caches the blocks of all runs of a store. A block that was used since its last turn for removal
/// gets another round. Blocks of removed runs are not used again, so they leave the cache.
pub(crate) struct BlockCache {
    limit: usize,
    /// The bytes lent for data that is read all the time, by [`Share`].
    lent: [AtomicUsize; 3],
    kept: Mutex<Kept>,
}

/// The purposes for which the cache lends memory.
#[derive(Debug, Clone, Copy)]
pub(super) enum Share {
    /// Filters that every send with a key reads: half of the cache.
    Keys,
    /// Filters that are read when a conversation is loaded: a quarter of the cache.
    Messages,
    /// Indexes: an eighth of the cache.
    Index,
}

#[derive(Default)]
struct Kept {
    blocks: HashMap<BlockKey, CacheSlot>,
    line: VecDeque<BlockKey>,
    bytes: usize,
}

struct CacheSlot {
    block: Cached,
    used: bool,
}

/// A block that the cache can keep.
#[derive(Clone)]
pub(super) enum Cached {
    Values(Arc<Block>),
    Postings(Arc<Postings>),
}

impl Cached {
    fn bytes(&self) -> usize {
        match self {
            Cached::Values(block) => block.bytes(),
            Cached::Postings(block) => block.bytes(),
        }
    }
}

impl BlockCache {
    /// Makes a cache of at most `limit` bytes of blocks.
    pub(crate) fn new(limit: usize) -> Self {
        BlockCache {
            limit,
            lent: Default::default(),
            kept: Mutex::default(),
        }
    }

    /// Lends `bytes` for data that must not come and go like blocks. Returns `None` if the share
    /// has too little left.
    pub(super) fn lend(self: &Arc<Self>, bytes: usize, share: Share) -> Option<Loan> {
        let most = match share {
            Share::Keys => self.limit / 2,
            Share::Messages => self.limit / 4,
            Share::Index => self.limit / 8,
        };
        let more = |lent: usize| lent.checked_add(bytes).filter(|&all| all <= most);
        let lent = self.lent[share as usize].fetch_update(Relaxed, Relaxed, more);
        lent.is_ok().then(|| Loan {
            cache: self.clone(),
            bytes,
            share,
        })
    }

    /// Returns how many bytes the blocks may take.
    fn room(&self) -> usize {
        let lent: usize = self.lent.iter().map(|lent| lent.load(Relaxed)).sum();
        self.limit.saturating_sub(lent)
    }

    pub(super) fn get(&self, place: BlockKey) -> Option<Cached> {
        let mut kept = self.kept.lock();
        let slot = kept.blocks.get_mut(&place)?;
        slot.used = true;
        Some(slot.block.clone())
    }

    pub(super) fn put(&self, place: BlockKey, block: Cached) {
        // One large record must not drive out all others.
        if block.bytes() > self.limit / 4 {
            return;
        }
        let bytes = block.bytes();
        let slot = CacheSlot { block, used: false };
        let mut kept = self.kept.lock();
        match kept.blocks.insert(place, slot) {
            // Another reader was faster.
            Some(old) => kept.bytes -= old.block.bytes(),
            None => kept.line.push_back(place),
        }
        kept.bytes += bytes;
        let room = self.room();
        while kept.bytes > room {
            kept.shrink();
        }
    }
}

/// Memory lent by the cache. Dropping the loan returns it.
pub(super) struct Loan {
    cache: Arc<BlockCache>,
    bytes: usize,
    share: Share,
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.cache.lent[self.share as usize].fetch_sub(self.bytes, Relaxed);
    }
}

impl Kept {
    /// Removes the block that is first in line, or moves it to the end if it was used.
    fn shrink(&mut self) {
        let Some(place) = self.line.pop_front() else {
            return;
        };
        match self.blocks.get_mut(&place) {
            Some(slot) if slot.used => {
                slot.used = false;
                self.line.push_back(place);
            }
            _ => {
                if let Some(slot) = self.blocks.remove(&place) {
                    self.bytes -= slot.block.bytes();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::block::BlockBuilder;
    use super::*;

    fn block(len: usize) -> Cached {
        let mut builder = BlockBuilder::default();
        builder.add((1, 1), &vec![0; len]);
        let mut bytes = Vec::new();
        builder.finish(0, &mut bytes);
        Cached::Values(Arc::new(Block::decode(bytes, 0).unwrap()))
    }

    #[test]
    fn shares_of_it_are_lent_and_blocks_make_room() {
        let small = block(100);
        let cache = Arc::new(BlockCache::new(small.bytes() * 10));
        for offset in 0..10 {
            cache.put((1, offset), small.clone());
        }
        let lend = |blocks, share| cache.lend(small.bytes() * blocks, share);
        let loan = lend(4, Share::Keys).unwrap();
        assert!(lend(2, Share::Keys).is_none());
        assert!(lend(3, Share::Messages).is_none());
        let other = lend(2, Share::Messages).unwrap();
        cache.put((1, 10), small.clone());
        assert_eq!(cache.kept.lock().bytes, small.bytes() * 4);
        drop(loan);
        assert!(lend(5, Share::Keys).is_some());
        assert!(lend(1, Share::Messages).is_none());
        drop(other);
        assert!(lend(2, Share::Messages).is_some());
    }

    #[test]
    fn what_is_used_again_stays_within_the_limit() {
        let small = block(100);
        let cache = BlockCache::new(small.bytes() * 10);
        for offset in 0..100 {
            cache.put((1, offset), small.clone());
            assert!(cache.get((1, 0)).is_some(), "used all the time");
            let kept = cache.kept.lock();
            assert!(kept.bytes <= cache.limit);
            assert_eq!(kept.bytes, kept.blocks.len() * small.bytes());
            assert_eq!(kept.line.len(), kept.blocks.len());
        }
        assert!(cache.get((1, 99)).is_some());
        assert!(cache.get((1, 50)).is_none());
        assert!(cache.get((2, 99)).is_none());
        cache.put((1, 99), small.clone());
        assert_eq!(cache.kept.lock().bytes, small.bytes() * 10);
        cache.put((1, 200), block(small.bytes() * 5));
        assert!(cache.get((1, 200)).is_none(), "too large");
    }
}
