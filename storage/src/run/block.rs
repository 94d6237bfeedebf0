//! Blocks: sorted entries with a checksum. Run files consist of blocks.

use std::ops::Range;

use crc32c::crc32c_append;

/// The sort key of an entry: a timeline or key, and a number within it.
pub(crate) type Key = (u128, u64);

/// The bytes of an entry before its value.
const ENTRY_FIELDS: usize = 24;

/// Returns the seed of the checksum of the block at `offset`.
pub(crate) fn seed(salt: u64, offset: u64) -> u32 {
    crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &offset.to_le_bytes())
}

/// A block that was read and whose checksum is valid.
pub(crate) struct Block {
    bytes: Vec<u8>,
    /// The offset at which the list of the entries' offsets begins.
    list: usize,
    count: usize,
}

impl Block {
    /// Decodes the block in `bytes`. Returns `None` if the block is damaged.
    pub(crate) fn decode(mut bytes: Vec<u8>, seed: u32) -> Option<Block> {
        let crc = bytes.split_off(bytes.len().checked_sub(4)?);
        if crc32c_append(seed, &bytes).to_le_bytes() != crc[..] {
            return None;
        }
        let count = word(&bytes, bytes.len().checked_sub(4)?)? as usize;
        let list = bytes.len().checked_sub(count.checked_mul(4)? + 4)?;
        let block = Block { bytes, list, count };
        let whole = |i| {
            let entry = block.entry(i);
            entry.start + ENTRY_FIELDS <= entry.end && entry.end <= list
        };
        (count > 0 && (0..count).all(whole)).then_some(block)
    }

    /// Returns the memory in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.capacity() + size_of::<Block>()
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn key(&self, i: usize) -> Key {
        let from = self.entry(i).start;
        let (mut id, mut minor) = ([0; 16], [0; 8]);
        id.copy_from_slice(&self.bytes[from..from + 16]);
        minor.copy_from_slice(&self.bytes[from + 16..from + 24]);
        (u128::from_le_bytes(id), u64::from_le_bytes(minor))
    }

    pub(crate) fn value(&self, i: usize) -> &[u8] {
        let entry = self.entry(i);
        &self.bytes[entry.start + ENTRY_FIELDS..entry.end]
    }

    /// Returns the index of the first entry that is not before `key`.
    pub(crate) fn lower_bound(&self, key: Key) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle) < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Returns the place of entry `i` in the block's bytes.
    fn entry(&self, i: usize) -> Range<usize> {
        let offset = |i: usize| word(&self.bytes, self.list + 4 * i).unwrap_or(u32::MAX) as usize;
        let end = if i + 1 < self.count {
            offset(i + 1)
        } else {
            self.list
        };
        offset(i)..end
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*bytes))
}

/// Builds a block from sorted entries.
#[derive(Default)]
pub(crate) struct BlockBuilder {
    bytes: Vec<u8>,
    offsets: Vec<u32>,
    last: Key,
}

impl BlockBuilder {
    /// Adds an entry. Its key must follow all keys before it.
    pub(crate) fn add(&mut self, key: Key, value: &[u8]) {
        self.offsets.push(self.bytes.len() as u32);
        self.bytes.extend_from_slice(&key.0.to_le_bytes());
        self.bytes.extend_from_slice(&key.1.to_le_bytes());
        self.bytes.extend_from_slice(value);
        self.last = key;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Returns the size of the block in bytes if an entry with a value of `value` bytes is added.
    pub(crate) fn size_with(&self, value: usize) -> usize {
        self.bytes.len() + ENTRY_FIELDS + value + 4 * self.offsets.len() + 12
    }

    /// Returns the key of the last entry.
    pub(crate) fn last(&self) -> Key {
        self.last
    }

    /// Appends the finished block to `into`, and begins another block.
    pub(crate) fn finish(&mut self, seed: u32, into: &mut Vec<u8>) {
        for offset in &self.offsets {
            self.bytes.extend_from_slice(&offset.to_le_bytes());
        }
        let count = self.offsets.len() as u32;
        self.bytes.extend_from_slice(&count.to_le_bytes());
        let crc = crc32c_append(seed, &self.bytes);
        into.extend_from_slice(&self.bytes);
        into.extend_from_slice(&crc.to_le_bytes());
        self.bytes.clear();
        self.offsets.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> Vec<u8> {
        let mut builder = BlockBuilder::default();
        for (key, value) in [((1, 5), &b"five"[..]), ((1, 7), b""), ((3, 0), b"zero")] {
            builder.add(key, value);
        }
        let size = builder.size_with(0) - ENTRY_FIELDS - 4;
        let mut bytes = Vec::new();
        builder.finish(9, &mut bytes);
        assert_eq!(bytes.len(), size);
        assert!(builder.is_empty());
        bytes
    }

    #[test]
    fn entries_are_found_by_key() {
        let block = Block::decode(bytes(), 9).unwrap();
        let keys: Vec<Key> = (0..block.len()).map(|i| block.key(i)).collect();
        assert_eq!(keys, [(1, 5), (1, 7), (3, 0)]);
        assert_eq!(
            (block.value(0), block.value(1), block.value(2)),
            (&b"five"[..], &b""[..], &b"zero"[..])
        );
        for (key, at) in [
            ((0, 9), 0),
            ((1, 5), 0),
            ((1, 6), 1),
            ((2, 0), 2),
            ((3, 1), 3),
        ] {
            assert_eq!(block.lower_bound(key), at, "{key:?}");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        for bit in 0..bytes().len() * 8 {
            let mut bytes = bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Block::decode(bytes, 9).is_none(), "bit {bit}");
        }
        for len in 0..bytes().len() {
            assert!(Block::decode(bytes()[..len].to_vec(), 9).is_none(), "{len}");
        }
        assert!(Block::decode(bytes(), 8).is_none(), "another place");
    }
}
