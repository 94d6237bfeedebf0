//! Blocks of postings: the positions of records by timeline or key, sorted and coded small.
//!
//! A block has a table of ids, and for each id a list. A list has for each record its number and its
//! position. In lists of sync timelines and keys the position is the number.

use crc32c::crc32c_append;

use super::block::Key;
use crate::log::frame::ALIGN;

/// The bytes of an id.
const ID: usize = 16;
/// The bytes in a block before the ids: the length of the common prefix, and the number of ids.
const HEADER: usize = 3;
/// The bytes of the end of a list in the table.
const END: usize = 2;
/// The most bytes that an entry adds to a list: two numbers of up to ten bytes.
const MAX_ENTRY: usize = 20;
/// The most bytes of lists in a block: their ends have two bytes.
const MAX_LISTS: usize = u16::MAX as usize;

/// The place of a record in its timeline and in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Posting {
    /// The number of the record in its timeline.
    pub(crate) number: u64,
    /// The position of the record.
    pub(crate) position: u64,
}

/// How lists of a file are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coding {
    /// Whether each entry has a number beside its position.
    pub(crate) numbered: bool,
    /// The position from which the first position of a list counts.
    pub(crate) base: u64,
}

/// A block that was read and whose checksum is valid.
pub(crate) struct Postings {
    bytes: Vec<u8>,
    prefix: usize,
    count: usize,
}

impl Postings {
    /// Decodes the block in `bytes`. Returns `None` if the block is damaged.
    pub(crate) fn decode(mut bytes: Vec<u8>, seed: u32) -> Option<Postings> {
        let crc = bytes.split_off(bytes.len().checked_sub(4)?);
        if crc32c_append(seed, &bytes).to_le_bytes() != crc[..] {
            return None;
        }
        let (header, _) = bytes.split_first_chunk::<HEADER>()?;
        let prefix = usize::from(header[0]);
        let count = usize::from(u16::from_le_bytes([header[1], header[2]]));
        let block = Postings {
            bytes,
            prefix,
            count,
        };
        if prefix > ID || count == 0 || block.lists() > block.bytes.len() {
            return None;
        }
        let len = block.bytes.len() - block.lists();
        let ascending = (1..=count).all(|i| block.end(i - 1) <= block.end(i));
        (ascending && block.end(count) == len).then_some(block)
    }

    /// Returns the memory in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.capacity() + size_of::<Postings>()
    }

    /// Returns the number of ids.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    fn suffix(&self) -> usize {
        ID - self.prefix
    }

    fn suffixes(&self) -> usize {
        HEADER + self.prefix
    }

    fn ends(&self) -> usize {
        self.suffixes() + self.count * self.suffix()
    }

    fn lists(&self) -> usize {
        self.ends() + self.count * END
    }

    /// Returns the end of the first `i` lists, counted from the beginning of all lists.
    fn end(&self, i: usize) -> usize {
        let Some(before) = i.checked_sub(1) else {
            return 0;
        };
        let at = self.ends() + before * END;
        usize::from(u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]))
    }

    pub(crate) fn id(&self, i: usize) -> u128 {
        let (prefix, suffix) = (self.prefix, self.suffix());
        let mut id = [0; ID];
        id[..prefix].copy_from_slice(&self.bytes[HEADER..HEADER + prefix]);
        let from = self.suffixes() + i * suffix;
        id[prefix..].copy_from_slice(&self.bytes[from..from + suffix]);
        u128::from_be_bytes(id)
    }

    /// Returns the index of the first id that is not before `id`.
    pub(crate) fn lower_bound(&self, id: u128) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if self.id(middle) < id {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Fills `into` with list `i`. Returns `None` if the list is not one that was written.
    pub(crate) fn list(&self, i: usize, coding: Coding, into: &mut Vec<Posting>) -> Option<()> {
        into.clear();
        let lists = self.lists();
        let mut rest = &self.bytes[lists + self.end(i)..lists + self.end(i + 1)];
        let (mut number, mut step) = (0u64, 0u64);
        while !rest.is_empty() {
            if coding.numbered {
                number = number.checked_add(take(&mut rest)?)?;
                step = step.checked_add_signed(unzigzag(take(&mut rest)?))?;
            } else {
                step = step.checked_add(take(&mut rest)?)?;
            }
            let position = step.checked_mul(ALIGN as u64)?.checked_add(coding.base)?;
            if !coding.numbered {
                number = position;
            }
            into.push(Posting { number, position });
        }
        (!into.is_empty()).then_some(())
    }
}

/// Builds a block from sorted postings.
pub(crate) struct PostingsBuilder {
    coding: Coding,
    /// The ids, and the end of each one's list.
    ids: Vec<(u128, u16)>,
    lists: Vec<u8>,
    last: Posting,
}

impl PostingsBuilder {
    pub(crate) fn new(coding: Coding) -> Self {
        let none = Posting {
            number: 0,
            position: coding.base,
        };
        PostingsBuilder {
            coding,
            ids: Vec::new(),
            lists: Vec::new(),
            last: none,
        }
    }

    /// Adds an entry. It must follow all entries before it.
    pub(crate) fn add(&mut self, id: u128, posting: Posting) {
        let base = self.coding.base;
        if self.ids.last().is_none_or(|last| last.0 != id) {
            self.ids.push((id, 0));
            self.last = Posting {
                number: 0,
                position: base,
            };
        }
        let step = |position: u64| (position - base) / ALIGN as u64;
        let (from, to) = (step(self.last.position), step(posting.position));
        if self.coding.numbered {
            put(&mut self.lists, posting.number - self.last.number);
            put(&mut self.lists, zigzag(to.wrapping_sub(from).cast_signed()));
        } else {
            put(&mut self.lists, to - from);
        }
        self.last = posting;
        if let Some(last) = self.ids.last_mut() {
            last.1 = self.lists.len() as u16;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns whether a block of about `block` bytes has room for another entry.
    pub(crate) fn has_room(&self, block: usize) -> bool {
        let size = HEADER + (self.ids.len() + 1) * (ID + END) + self.lists.len() + MAX_ENTRY + 4;
        size <= block && self.lists.len() + MAX_ENTRY <= MAX_LISTS
    }

    /// Returns the key of the last entry.
    pub(crate) fn last(&self) -> Key {
        let id = self.ids.last().map_or(0, |last| last.0);
        (id, self.last.number)
    }

    /// Appends the finished block to `into`, and begins another block.
    pub(crate) fn finish(&mut self, seed: u32, into: &mut Vec<u8>) {
        let start = into.len();
        let (first, last) = match (self.ids.first(), self.ids.last()) {
            (Some(first), Some(last)) => (first.0, last.0),
            _ => return,
        };
        let prefix = (first ^ last).leading_zeros() as usize / 8;
        into.push(prefix as u8);
        into.extend_from_slice(&(self.ids.len() as u16).to_le_bytes());
        into.extend_from_slice(&first.to_be_bytes()[..prefix]);
        for (id, _) in &self.ids {
            into.extend_from_slice(&id.to_be_bytes()[prefix..]);
        }
        for (_, end) in &self.ids {
            into.extend_from_slice(&end.to_le_bytes());
        }
        into.extend_from_slice(&self.lists);
        let crc = crc32c_append(seed, &into[start..]);
        into.extend_from_slice(&crc.to_le_bytes());
        self.ids.clear();
        self.lists.clear();
    }
}

/// Returns a small number for a number that is near zero.
fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// Appends a number, seven bits to a byte, the lowest first. The last byte has its upper bit clear.
fn put(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, left) = rest.split_first()?;
        *rest = left;
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODINGS: [Coding; 2] = [
        Coding {
            numbered: false,
            base: 4096,
        },
        Coding {
            numbered: true,
            base: 4096,
        },
    ];

    fn posting(coding: Coding, number: u64, position: u64) -> Posting {
        Posting {
            number: if coding.numbered { number } else { position },
            position,
        }
    }

    /// Returns lists by id. Positions ascend, except in the last list of numbered ones.
    fn lists(coding: Coding) -> Vec<(u128, Vec<Posting>)> {
        let ids = [7 << 64, 7 << 64 | 9, (7 << 64) + (1 << 40)];
        let mut lists: Vec<_> = ids
            .map(|id| {
                let entries = [(1, 4096), (2, 8192), (900, 1 << 40)];
                let entries = entries.map(|(n, at)| posting(coding, n, at));
                (id, entries.to_vec())
            })
            .into();
        if coding.numbered {
            let back = [(3, 1 << 30), (u64::MAX >> 1, 4104)];
            lists[2].1 = back.map(|(n, at)| posting(coding, n, at)).to_vec();
        }
        lists
    }

    fn bytes(coding: Coding) -> Vec<u8> {
        let mut builder = PostingsBuilder::new(coding);
        for (id, list) in lists(coding) {
            for entry in list {
                assert!(builder.has_room(1 << 14));
                builder.add(id, entry);
            }
        }
        let mut bytes = Vec::new();
        builder.finish(9, &mut bytes);
        assert!(builder.is_empty());
        bytes
    }

    #[test]
    fn lists_read_back() {
        for coding in CODINGS {
            let block = Postings::decode(bytes(coding), 9).unwrap();
            let mut list = Vec::new();
            assert_eq!(block.len(), 3);
            for (i, (id, expected)) in lists(coding).into_iter().enumerate() {
                assert_eq!(block.id(i), id);
                block.list(i, coding, &mut list).unwrap();
                assert_eq!(list, expected);
                let found = [id - 1, id, id + 1].map(|id| block.lower_bound(id));
                assert_eq!(found, [i, i, i + 1]);
            }
        }
    }

    #[test]
    fn a_list_of_close_positions_is_small() {
        let coding = CODINGS[0];
        let mut builder = PostingsBuilder::new(coding);
        for i in 0..1000 {
            builder.add(5, posting(coding, 0, 4096 + 512 * i));
        }
        let mut bytes = Vec::new();
        builder.finish(9, &mut bytes);
        assert!(bytes.len() < 1030, "{} bytes", bytes.len());
    }

    #[test]
    fn a_block_ends_before_it_is_too_long() {
        let coding = CODINGS[1];
        let mut builder = PostingsBuilder::new(coding);
        let mut id = 0;
        while builder.has_room(256) {
            id += u128::MAX / 100;
            builder.add(id, posting(coding, 1, 4096));
        }
        let mut bytes = Vec::new();
        builder.finish(9, &mut bytes);
        assert!((200..=256).contains(&bytes.len()), "{} bytes", bytes.len());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        for coding in CODINGS {
            let whole = bytes(coding);
            for bit in 0..whole.len() * 8 {
                let mut bytes = whole.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(Postings::decode(bytes, 9).is_none(), "bit {bit}");
            }
            for len in 0..whole.len() {
                assert!(Postings::decode(whole[..len].to_vec(), 9).is_none());
            }
            assert!(Postings::decode(whole, 8).is_none(), "another place");
        }
    }

    /// A block whose checksum is right may be forged.
    #[test]
    fn nonsense_is_refused() {
        let coding = CODINGS[1];
        let whole = bytes(coding);
        let mut list = Vec::new();
        for at in 0..whole.len() - 4 {
            for value in [0, 1, 0x7F, 0x80, 0xFF] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let end = bytes.len() - 4;
                let crc = crc32c_append(9, &bytes[..end]);
                bytes[end..].copy_from_slice(&crc.to_le_bytes());
                if let Some(block) = Postings::decode(bytes, 9) {
                    for i in 0..block.len() {
                        let _ = (block.id(i), block.list(i, coding, &mut list));
                    }
                }
            }
        }
    }
}
