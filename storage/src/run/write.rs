//! Writes run files.

use std::io;
use std::sync::Arc;

use crc32c::crc32c;

use super::RunId;
use super::block::{self, BlockBuilder, Key};
use super::filter::{self, LINE};
use super::footer::{BLOCK_REFERENCE, FOOTER, MAGIC, RunForm};
use super::postings::{Posting, PostingsBuilder};
use crate::backend::{Backend, BackendFile};

/// The bytes that are written at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Writes a run file.
pub(crate) struct RunWriter<'a> {
    backend: &'a dyn Backend,
    id: RunId,
    store_id: [u8; 16],
    file: Arc<dyn BackendFile>,
    salt: u64,
    /// The size of a block in bytes.
    block: usize,
    data: BlockBuilder,
    postings: PostingsBuilder,
    index: BlockBuilder,
    root: BlockBuilder,
    /// The hashes of the timelines or keys.
    hashes: Vec<u64>,
    last: Option<u128>,
    entries: u64,
    pending: Vec<u8>,
    written: u64,
}

impl<'a> RunWriter<'a> {
    pub(crate) fn create(
        backend: &'a dyn Backend,
        id: RunId,
        store_id: [u8; 16],
        block: usize,
    ) -> io::Result<Self> {
        let mut salt = [0; 8];
        backend.fill_random(&mut salt)?;
        Ok(RunWriter {
            backend,
            id,
            store_id,
            file: backend.create(&temporary(&id))?,
            salt: u64::from_le_bytes(salt),
            block,
            data: BlockBuilder::default(),
            postings: PostingsBuilder::new(id.coding()),
            index: BlockBuilder::default(),
            root: BlockBuilder::default(),
            hashes: Vec::new(),
            last: None,
            entries: 0,
            pending: Vec::new(),
            written: 0,
        })
    }

    /// Adds an entry to a file of values. Its key must follow all keys before it.
    pub(crate) fn add(&mut self, key: Key, value: &[u8]) -> io::Result<()> {
        if !self.data.is_empty() && self.data.size_with(value.len()) > self.block {
            self.end_block()?;
        }
        self.note(key.0);
        self.data.add(key, value);
        Ok(())
    }

    /// Adds a list of postings to a file of positions. Its entries must follow all entries before
    /// them.
    pub(crate) fn add_list(&mut self, id: u128, list: &[Posting]) -> io::Result<()> {
        for &posting in list {
            if !self.postings.is_empty() && !self.postings.has_room(self.block) {
                self.end_block()?;
            }
            self.note(id);
            self.postings.add(id, posting);
        }
        Ok(())
    }

    /// Notes another entry of an id.
    fn note(&mut self, id: u128) {
        if self.last != Some(id) {
            self.hashes.push(filter::hash(id));
            self.last = Some(id);
        }
        self.entries += 1;
    }

    fn end_block(&mut self) -> io::Result<()> {
        let (salt, written, pending) = (self.salt, self.written, &mut self.pending);
        let (last, place) = match self.id.form {
            RunForm::Values => (
                self.data.last(),
                finish(&mut self.data, salt, written, pending),
            ),
            RunForm::Positions => {
                let last = self.postings.last();
                let add = |seed, into: &mut Vec<u8>| self.postings.finish(seed, into);
                (last, finish_with(add, salt, written, pending))
            }
        };
        if !self.index.is_empty() && self.index.size_with(BLOCK_REFERENCE) > self.block {
            self.end_index();
        }
        self.index.add(last, &place);
        if self.pending.len() >= CHUNK_BYTES {
            self.write()?;
            // A commit that syncs meanwhile waits for what a disk has to write.
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn end_index(&mut self) {
        let last = self.index.last();
        let place = finish(&mut self.index, self.salt, self.written, &mut self.pending);
        self.root.add(last, &place);
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.pending, self.written)?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Completes the file and makes its content durable, but not its name. Returns its size in
    /// bytes. Returns 0, and leaves no file, if there is no entry.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        if self.entries == 0 {
            return Ok(0);
        }
        self.end_block()?;
        self.end_index();
        let root = finish(&mut self.root, self.salt, self.written, &mut self.pending);
        let filter_at = self.written + self.pending.len() as u64;
        let filter = filter::build(&self.hashes, block::seed(self.salt, filter_at));
        self.pending.extend_from_slice(&filter);
        let mut footer = [0; FOOTER];
        footer[..8].copy_from_slice(&MAGIC);
        footer[8..12].copy_from_slice(&self.id.form.version().to_le_bytes());
        footer[12..16].copy_from_slice(&(self.id.kind as u32).to_le_bytes());
        footer[16..32].copy_from_slice(&self.store_id);
        footer[32..40].copy_from_slice(&self.salt.to_le_bytes());
        footer[40..48].copy_from_slice(&self.id.from.to_le_bytes());
        footer[48..56].copy_from_slice(&self.id.to.to_le_bytes());
        footer[56..68].copy_from_slice(&root);
        footer[68..72].copy_from_slice(&((filter.len() / LINE) as u32).to_le_bytes());
        footer[72..80].copy_from_slice(&filter_at.to_le_bytes());
        footer[80..88].copy_from_slice(&self.entries.to_le_bytes());
        footer[88..96].copy_from_slice(&self.id.last_time.to_le_bytes());
        footer[96] = self.id.level;
        let crc = crc32c(&footer[..FOOTER - 4]);
        footer[FOOTER - 4..].copy_from_slice(&crc.to_le_bytes());
        self.pending.extend_from_slice(&footer);
        self.write()?;
        self.file.sync_data()?;
        self.backend.rename(&temporary(&self.id), &self.id.name())?;
        Ok(self.written)
    }
}

/// Returns the name of a run file that is being written.
pub(crate) fn temporary(id: &RunId) -> String {
    format!("{}.tmp", id.name())
}

/// Appends a finished block to `pending`, which goes to the offset `written`. Returns where the
/// block is.
fn finish(
    block: &mut BlockBuilder,
    salt: u64,
    written: u64,
    pending: &mut Vec<u8>,
) -> [u8; BLOCK_REFERENCE] {
    let add = |seed, into: &mut Vec<u8>| block.finish(seed, into);
    finish_with(add, salt, written, pending)
}

/// Appends a finished block, which `add` adds with a seed, like [`finish`].
fn finish_with(
    add: impl FnOnce(u32, &mut Vec<u8>),
    salt: u64,
    written: u64,
    pending: &mut Vec<u8>,
) -> [u8; BLOCK_REFERENCE] {
    let (offset, before) = (written + pending.len() as u64, pending.len());
    add(block::seed(salt, offset), pending);
    let mut place = [0; BLOCK_REFERENCE];
    place[..8].copy_from_slice(&offset.to_le_bytes());
    place[8..].copy_from_slice(&((pending.len() - before) as u32).to_le_bytes());
    place
}
