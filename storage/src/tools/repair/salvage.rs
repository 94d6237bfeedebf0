//! Finds what can still be read of a damaged run file.
//!
//! The index gives the places of the blocks. Where the index is not readable, the search goes by
//! the form of a block: its end tells its length, and its checksum proves it. The checksum needs
//! the salt, which is in the footer. Without the footer, the checksum of the first block reveals
//! the salt, and the next block proves it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::salt;
use crate::backend::{Backend, BackendFile};
use crate::run::block::{self, Block, Key};
use crate::run::footer::{BLOCK_REFERENCE, Footer, u32_at, u64_at};
use crate::run::write::{RunWriter, temporary};
use crate::run::{RunForm, RunId, RunKind};

/// The bytes in which the search for a block begins. The search ends after `FAR` bytes.
const NEAR: u64 = 64 << 10;
const FAR: u64 = 64 << 20;
/// The smallest block: an entry without a value, its offset, their number and the checksum.
const MIN_BLOCK: usize = 36;

/// Records that are known to have existed, with their positions; 0 stands for an unknown position.
pub(crate) type Stubs = BTreeMap<Key, u64>;

/// The undamaged content of a run file.
pub(crate) struct Salvage {
    file: Option<Arc<dyn BackendFile>>,
    salt: u64,
    /// The offsets and sizes of the whole data blocks.
    blocks: Vec<(u64, u32)>,
    lost: Vec<Lost>,
    /// The number of entries in the whole blocks.
    pub(crate) entries: u64,
    /// The number of entries that the file had, if it is known.
    pub(crate) had: Option<u64>,
    /// The bytes of damaged blocks.
    pub(crate) lost_bytes: u64,
    /// The offset of the first damaged block.
    pub(crate) first_lost: Option<u64>,
}

/// Consecutive lost blocks, with what is known of their entries.
struct Lost {
    /// The key of the last entry before the lost blocks. `until` is the key of the first entry
    /// after them.
    after: Option<Key>,
    until: Option<Key>,
    /// The key of the last lost entry, if the index names it.
    last: Option<Key>,
}

/// The index of a damaged file: offsets of blocks, their sizes, and the last key of those with
/// data.
type BlockPlaces = BTreeMap<u64, (u32, Option<Key>)>;

impl Salvage {
    /// Returns the salvage of a missing file: nothing.
    pub(crate) fn nothing() -> Salvage {
        Salvage {
            file: None,
            salt: 0,
            blocks: Vec::new(),
            lost: vec![Lost {
                after: None,
                until: None,
                last: None,
            }],
            entries: 0,
            had: None,
            lost_bytes: 0,
            first_lost: None,
        }
    }

    /// Searches a run file of this size for whole blocks.
    pub(crate) fn read(
        file: Arc<dyn BackendFile>,
        size: u64,
        store_id: [u8; 16],
    ) -> io::Result<Salvage> {
        let footer = Footer::read(&*file, size, store_id)?;
        let mut found = Salvage {
            lost: Vec::new(),
            file: Some(file),
            had: footer.as_ref().map(|footer| footer.entries),
            ..Salvage::nothing()
        };
        let salt = match &footer {
            Some(footer) => Some(footer.salt),
            None => found.derive_salt(size)?,
        };
        match salt {
            Some(salt) => {
                found.salt = salt;
                let places = match &footer {
                    Some(footer) => found.places(footer)?,
                    None => BlockPlaces::new(),
                };
                let end = footer.map(|footer| footer.root_at);
                found.walk(end, size, &places)?;
            }
            None => found.lose(0, size, None, None),
        }
        Ok(found)
    }

    /// Returns whether an entry with this key may be among the lost ones.
    pub(crate) fn lacks(&self, key: Key) -> bool {
        self.lost.iter().any(|lost| {
            lost.after.is_none_or(|after| after < key) && lost.until.is_none_or(|until| key < until)
        })
    }

    /// Returns whether no entry is lost. The repair makes all other content of a run anew.
    pub(crate) fn is_complete(&self) -> bool {
        self.lost.is_empty()
    }

    /// Returns the keys of lost entries that the index names.
    pub(crate) fn known_keys(&self) -> impl Iterator<Item = Key> {
        self.lost.iter().filter_map(|lost| lost.last)
    }

    /// Passes every entry that is left to `each`, in order.
    pub(crate) fn each(
        &self,
        each: &mut dyn FnMut(Key, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        for &(offset, size) in &self.blocks {
            let Some(block) = self.block(offset, size)? else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            for i in 0..block.len() {
                each(block.key(i), block.value(i))?;
            }
        }
        Ok(())
    }

    /// Writes the run `id` from what is left, with `stubs` in their places. Returns whether there
    /// is any entry. Without one, there is no file.
    pub(crate) fn write(
        &self,
        backend: &dyn Backend,
        id: RunId,
        store_id: [u8; 16],
        block: usize,
        stubs: &Stubs,
    ) -> io::Result<bool> {
        let mut writer = RunWriter::create(backend, id, store_id, block)?;
        let mut stubs = stubs.iter().peekable();
        self.each(&mut |key, value| {
            while let Some((&stub, position)) = stubs.next_if(|(stub, _)| **stub <= key) {
                if stub < key {
                    writer.add(stub, &position.to_le_bytes())?;
                }
            }
            writer.add(key, value)
        })?;
        for (&stub, position) in stubs {
            writer.add(stub, &position.to_le_bytes())?;
        }
        let any = writer.finish()? > 0;
        if !any {
            backend.remove(&temporary(&id))?;
        }
        Ok(any)
    }

    /// Returns the content of the index, as far as it is readable.
    fn places(&self, footer: &Footer) -> io::Result<BlockPlaces> {
        let mut places = BlockPlaces::new();
        let length = self.length()?;
        // Every block has entries and ends within the file. An index that says otherwise is
        // damaged.
        let fits =
            |offset: u64, size: u32| size > 0 && offset.saturating_add(u64::from(size)) <= length;
        let place = |value: &[u8]| {
            let named = value.len() == BLOCK_REFERENCE;
            let named = named.then(|| (u64_at(value, 0), u32_at(value, 8)));
            named.filter(|&(offset, size)| fits(offset, size))
        };
        let Some(root) = self.block(footer.root_at, footer.root_len)? else {
            return Ok(places);
        };
        for i in 0..root.len() {
            let Some((offset, size)) = place(root.value(i)) else {
                continue;
            };
            places.insert(offset, (size, None));
            let Some(index) = self.block(offset, size)? else {
                continue;
            };
            for i in 0..index.len() {
                if let Some((offset, size)) = place(index.value(i)) {
                    places.insert(offset, (size, Some(index.key(i))));
                }
            }
        }
        Ok(places)
    }

    /// Goes from block to block, up to the root at `end`, or to where that must be.
    fn walk(&mut self, end: Option<u64>, size: u64, places: &BlockPlaces) -> io::Result<()> {
        let limit = end.unwrap_or(size).min(size);
        let (mut at, mut last, mut index_blocks) = (0, None::<Key>, 0);
        while at < limit {
            if let Some(&(size, named)) = places.get(&at) {
                let end = at + u64::from(size);
                match (named, self.block(at, size)?) {
                    (None, _) => {}
                    (Some(_), Some(block)) => last = Some(self.keep(at, size, &block)),
                    (Some(key), None) => {
                        self.lose(at, end, last, Some(key));
                        last = Some(key);
                    }
                }
                at = end;
                continue;
            }
            let next = places.range(at..).next().map_or(limit, |(&next, _)| next);
            let Some((size, block)) = self.find(at, next)? else {
                self.lose(at, next, last, None);
                at = next;
                continue;
            };
            // The first entry of an index block is the last one of a block before it.
            if last.is_none_or(|last| last < block.key(0)) {
                last = Some(self.keep(at, size, &block));
                index_blocks = 0;
            } else {
                index_blocks += 1;
            }
            at += u64::from(size);
            // The root of the index follows the last index block.
            if end.is_none() && index_blocks == 2 {
                return Ok(());
            }
        }
        Ok(())
    }

    fn keep(&mut self, at: u64, size: u32, block: &Block) -> Key {
        if let Some(lost) = self.lost.last_mut().filter(|lost| lost.until.is_none()) {
            lost.until = Some(block.key(0));
        }
        self.blocks.push((at, size));
        self.entries += block.len() as u64;
        block.key(block.len() - 1)
    }

    fn lose(&mut self, from: u64, to: u64, after: Option<Key>, last: Option<Key>) {
        self.lost_bytes += to - from;
        self.first_lost.get_or_insert(from);
        // No data is lost behind the last block.
        let until = last.map(|last| (last.0, last.1.saturating_add(1)));
        self.lost.push(Lost { after, until, last });
    }

    fn bytes(&self, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len as usize];
        if let Some(file) = &self.file {
            file.read_at(&mut bytes, offset)?;
        }
        Ok(bytes)
    }

    /// Returns the length of the file in bytes.
    fn length(&self) -> io::Result<u64> {
        self.file.as_ref().map_or(Ok(0), |file| file.len())
    }

    /// Returns the block at `offset`, if it is whole. A block that ends behind the file is not whole,
    /// and is not read: its size may say gigabytes.
    fn block(&self, offset: u64, size: u32) -> io::Result<Option<Block>> {
        if offset.saturating_add(u64::from(size)) > self.length()? {
            return Ok(None);
        }
        let bytes = self.bytes(offset, u64::from(size))?;
        Ok(Block::decode(bytes, block::seed(self.salt, offset)))
    }

    /// Returns the block that begins at `at` and ends at `end` or before, with its size.
    fn find(&self, at: u64, end: u64) -> io::Result<Option<(u32, Block)>> {
        let seed = block::seed(self.salt, at);
        let mut len = NEAR.min(end - at);
        loop {
            let bytes = self.bytes(at, len)?;
            let mut ends = ends(&bytes);
            let block = ends.find_map(|end| {
                let block = Block::decode(bytes[..end].to_vec(), seed)?;
                Some((end as u32, block))
            });
            if block.is_some() || len == end - at || len >= FAR {
                return Ok(block);
            }
            len = (len * 8).min(end - at);
        }
    }

    /// Returns the salt that the checksum of the first block reveals and the checksum of the next
    /// block proves.
    fn derive_salt(&mut self, size: u64) -> io::Result<Option<u64>> {
        let bytes = self.bytes(0, FAR.min(size))?;
        for end in ends(&bytes) {
            let (content, crc) = bytes[..end].split_at(end - 4);
            let seed = salt::seed_of(u32_at(crc, 0), content);
            self.salt = salt::with_checksum(salt::seed_of(seed, &0u64.to_le_bytes()));
            let next = end as u64;
            if self.find(next, size.min(next + NEAR))?.is_some() {
                return Ok(Some(self.salt));
            }
        }
        Ok(None)
    }
}

/// Returns the places where a block that begins with `bytes` can end. A block ends with its number
/// of entries, and before that it has that many offsets, of which the first is 0.
fn ends(bytes: &[u8]) -> impl Iterator<Item = usize> {
    (MIN_BLOCK..=bytes.len()).filter(|&end| {
        let count = u32_at(bytes, end - 8) as usize;
        let list = count
            .checked_mul(4)
            .and_then(|offsets| (end - 8).checked_sub(offsets));
        count > 0 && list.is_some_and(|list| list >= 24 && u32_at(bytes, list) == 0)
    })
}

/// Returns whether the entries of a run are references to records.
pub(crate) fn has_references(run: RunId) -> bool {
    run.form == RunForm::Values && matches!(run.kind, RunKind::Syncs | RunKind::Keys)
}
