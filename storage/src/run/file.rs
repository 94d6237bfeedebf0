//! An open run file: look-ups by key, and the check of all its entries.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::block::{self, Block, Key};
use super::cache::{BlockCache, Cached};
use super::cursor::Cursor;
use super::filter::Line;
use super::footer::{BLOCK_REFERENCE, FOOTER, Footer, RunForm, RunId, u32_at, u64_at};
use super::posting_cursor::PostingCursor;
use super::postings::Postings;
use super::resident::Resident;
use crate::backend::{self, Backend, BackendFile};
use crate::error::{OpenError, ReadError};

/// An open run file.
pub(crate) struct RunFile {
    pub(crate) id: RunId,
    pub(crate) bytes: u64,
    path: PathBuf,
    pub(crate) file: Arc<dyn BackendFile>,
    pub(crate) salt: u64,
    pub(crate) root: Block,
    pub(crate) cache: Arc<BlockCache>,
    pub(crate) filter_at: u64,
    pub(crate) lines: usize,
    pub(super) filter: Resident<Vec<Line>>,
    pub(super) index: Resident<Vec<Arc<Block>>>,
    pub(crate) entries: u64,
}

impl RunFile {
    /// Returns whether the file was removed from its folder.
    pub(crate) fn is_removed(&self) -> bool {
        self.file.is_removed()
    }

    /// Opens a run file. Reads its footer and the root of its index.
    pub(crate) fn open(
        backend: &dyn Backend,
        id: RunId,
        store_id: [u8; 16],
        cache: Arc<BlockCache>,
    ) -> Result<RunFile, OpenError> {
        let path = backend.path(&id.name());
        let io = |source| OpenError::Io {
            file: path.clone(),
            action: "read",
            source,
        };
        let corrupt = |offset, reason: &str| OpenError::Corrupt {
            file: path.clone(),
            offset,
            reason: reason.into(),
        };
        let file = backend
            .open(&id.name())
            .map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => corrupt(0, "the file is missing"),
                _ => io(source),
            })?;
        let bytes = file.len().map_err(io)?;
        let footer_at = bytes.saturating_sub(FOOTER as u64);
        let footer = Footer::read(&*file, bytes, store_id).map_err(io)?;
        let footer =
            footer.ok_or_else(|| corrupt(footer_at, "the footer is not what was written"))?;
        if footer.id(id.number) != id || footer.filter_end() != footer_at {
            return Err(corrupt(
                footer_at,
                "the file is not the one that was written",
            ));
        }
        let (salt, root_at) = (footer.salt, footer.root_at);
        let root_end = root_at.saturating_add(footer.root_len.into());
        if root_end > footer.filter_at {
            return Err(corrupt(root_at, "the index is longer than its place"));
        }
        let mut root = vec![0; footer.root_len as usize];
        backend::read_exact_at(&*file, &mut root, root_at).map_err(io)?;
        let root = Block::decode(root, block::seed(salt, root_at))
            .ok_or_else(|| corrupt(root_at, "the index is not what was written"))?;
        let run = RunFile {
            id,
            bytes,
            path: path.clone(),
            salt,
            root,
            filter: Resident::default(),
            index: Resident::default(),
            file,
            cache,
            filter_at: footer.filter_at,
            lines: footer.lines,
            entries: footer.entries,
        };
        run.settle_in();
        Ok(run)
    }

    /// Returns the run that a file of this size describes, under this number. Returns `None` if its
    /// footer is not readable.
    pub(crate) fn identify(
        file: &dyn BackendFile,
        size: u64,
        number: u64,
        store_id: [u8; 16],
    ) -> io::Result<Option<RunId>> {
        let footer = Footer::read(file, size, store_id)?;
        Ok(footer.map(|footer| footer.id(number)))
    }

    /// Returns the position of the last record in a run of messages.
    pub(crate) fn last_position(&self) -> Result<u64, ReadError> {
        let mut last = 0;
        let mut cursor = self.scan()?;
        while let Some((_, value)) = cursor.entry()? {
            if value.len() >= 8 {
                last = last.max(u64_at(value, 0));
            }
            cursor.advance();
        }
        Ok(last)
    }

    /// Returns the number of entries.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// Returns a cursor at the first posting that is not before `key`, in a file of positions.
    pub(crate) fn seek_posting(&self, key: Key) -> Result<PostingCursor<'_>, ReadError> {
        PostingCursor::at(self, key, true)
    }

    /// Returns a cursor at the first posting, to read all without filling the cache.
    pub(crate) fn scan_postings(&self) -> Result<PostingCursor<'_>, ReadError> {
        PostingCursor::at(self, (0, 0), false)
    }

    /// Returns the position of the record with this key, in a file of positions; `None` if there is
    /// none.
    pub(crate) fn position_of(&self, key: Key) -> Result<Option<u64>, ReadError> {
        let mut cursor = self.seek_posting(key)?;
        Ok(match cursor.entry()? {
            Some((found, position)) if found == key => Some(position),
            _ => None,
        })
    }

    /// Returns the key of the last entry before `key`, and the position of its record, in a run of
    /// messages. The position is 0 if a repair removed the record and does not know it.
    pub(crate) fn before(&self, key: Key) -> Result<Option<(Key, u64)>, ReadError> {
        if self.id.form == RunForm::Positions {
            return self.seek_posting(key)?.back();
        }
        let mut cursor = self.seek(key)?;
        let position = |value: &[u8]| value.first_chunk().map_or(0, |at| u64::from_le_bytes(*at));
        Ok(cursor.back()?.map(|(key, value)| (key, position(value))))
    }

    /// Returns a cursor at the first entry that is not before `key`, in a file of values.
    pub(crate) fn seek(&self, key: Key) -> Result<Cursor<'_>, ReadError> {
        self.seek_with(key, true)
    }

    /// Returns a cursor at the first entry, to read all entries without filling the cache.
    pub(crate) fn scan(&self) -> Result<Cursor<'_>, ReadError> {
        self.seek_with((0, 0), false)
    }

    fn seek_with(&self, key: Key, keep: bool) -> Result<Cursor<'_>, ReadError> {
        let top = self.root.lower_bound(key).min(self.root.len() - 1);
        let index = self.index_block(top, keep)?;
        let middle = index.lower_bound(key).min(index.len() - 1);
        let data = self.block(&index, middle, keep)?;
        Ok(Cursor {
            at: [top, middle, data.lower_bound(key)],
            keep,
            run: self,
            index,
            data,
        })
    }

    /// Returns the value of the entry with this key; `None` if there is none.
    pub(crate) fn get(&self, key: Key) -> Result<Option<Vec<u8>>, ReadError> {
        let mut cursor = self.seek(key)?;
        Ok(match cursor.entry()? {
            Some((found, value)) if found == key => Some(value.to_vec()),
            _ => None,
        })
    }

    /// Reads the whole file, and reports the bytes read to `progress` now and then. Checks that
    /// every entry is whole, in order, and admitted by the filter. Returns the number of entries.
    pub(crate) fn check(&self, progress: &mut dyn FnMut(u64)) -> Result<u64, ReadError> {
        let (mut entries, mut last) = (0, None::<Key>);
        let mut each = |key: Key| {
            let follows = last.is_none_or(|last| last < key);
            let known = last.is_some_and(|last| last.0 == key.0);
            if !follows || !(known || self.may_have(key.0)?) {
                return Err(self.corrupt(0));
            }
            last = Some(key);
            entries += 1;
            if entries % 4096 == 0 {
                progress((self.bytes as f64 * entries as f64 / self.entries as f64) as u64);
            }
            Ok(())
        };
        match self.id.form {
            RunForm::Values => {
                let mut cursor = self.scan()?;
                while let Some((key, _)) = cursor.entry()? {
                    each(key)?;
                    cursor.advance();
                }
            }
            RunForm::Positions => {
                let mut cursor = self.scan_postings()?;
                while let Some((key, _)) = cursor.entry()? {
                    each(key)?;
                    cursor.advance();
                }
            }
        }
        if entries != self.entries {
            return Err(self.corrupt(0));
        }
        // Checks the other lines of the filter too: look-ups of absent timelines read them.
        for line in 0..self.lines {
            self.filter_line(line)?;
        }
        Ok(entries)
    }

    /// Returns the error that reports damage of this file at `offset`.
    pub(crate) fn corrupt(&self, offset: u64) -> ReadError {
        ReadError::Corrupt {
            file: self.path.clone(),
            offset,
        }
    }

    pub(crate) fn io(&self, source: io::Error) -> ReadError {
        ReadError::Io {
            file: self.path.clone(),
            source,
        }
    }

    /// Returns the block that entry `i` of an index block names. Keeps it in the cache if `keep` is
    /// set.
    pub(crate) fn block(
        &self,
        index: &Block,
        i: usize,
        keep: bool,
    ) -> Result<Arc<Block>, ReadError> {
        let place = self.place(index, i)?;
        if let Some(Cached::Values(block)) = self.cached(place, keep) {
            return Ok(block);
        }
        let (bytes, seed) = self.read(place)?;
        let block = Block::decode(bytes, seed).ok_or_else(|| self.corrupt(place.offset))?;
        let block = Arc::new(block);
        self.keep(place, keep, || Cached::Values(block.clone()));
        Ok(block)
    }

    /// Returns the block of postings that entry `i` of an index block names, like
    /// [`block`](Self::block).
    pub(super) fn postings(
        &self,
        index: &Block,
        i: usize,
        keep: bool,
    ) -> Result<Arc<Postings>, ReadError> {
        let place = self.place(index, i)?;
        if let Some(Cached::Postings(block)) = self.cached(place, keep) {
            return Ok(block);
        }
        let (bytes, seed) = self.read(place)?;
        let block = Postings::decode(bytes, seed).ok_or_else(|| self.corrupt(place.offset))?;
        let block = Arc::new(block);
        self.keep(place, keep, || Cached::Postings(block.clone()));
        Ok(block)
    }

    /// Returns the place of the block that entry `i` of an index block names.
    fn place(&self, index: &Block, i: usize) -> Result<BlockPlace, ReadError> {
        let place = index.value(i);
        if place.len() != BLOCK_REFERENCE {
            return Err(self.corrupt(0));
        }
        let (offset, len) = (u64_at(place, 0), u32_at(place, 8));
        // Checked before memory is allocated for the block.
        if offset.saturating_add(len.into()) > self.filter_at {
            return Err(self.corrupt(offset));
        }
        Ok(BlockPlace { offset, len })
    }

    fn cached(&self, place: BlockPlace, keep: bool) -> Option<Cached> {
        keep.then(|| self.cache.get((self.id.number, place.offset)))?
    }

    fn keep(&self, place: BlockPlace, keep: bool, block: impl FnOnce() -> Cached) {
        if keep {
            self.cache.put((self.id.number, place.offset), block());
        }
    }

    /// Reads a block. Returns its bytes, and the seed of its checksum.
    fn read(&self, place: BlockPlace) -> Result<(Vec<u8>, u32), ReadError> {
        let mut bytes = vec![0; place.len as usize];
        backend::read_exact_at(&*self.file, &mut bytes, place.offset)
            .map_err(|source| self.io(source))?;
        Ok((bytes, block::seed(self.salt, place.offset)))
    }
}

/// The place of a block in its file.
#[derive(Clone, Copy)]
struct BlockPlace {
    offset: u64,
    len: u32,
}

#[cfg(test)]
mod tests {
    use super::super::footer::RunKind;
    use super::super::write::RunWriter;
    use super::*;
    use crate::backend::sim::SimDisk;
    use crc32c::crc32c;

    const ID: RunId = RunId {
        kind: RunKind::Messages,
        form: RunForm::Values,
        level: 0,
        number: 7,
        from: 0,
        to: 8192,
        last_time: 5,
    };

    /// Returns key `i`. Every tenth id has many entries, and every third number is left out.
    fn keys() -> Vec<Key> {
        (0..900u64)
            .filter(|i| i % 3 != 2)
            .map(|i| (u128::from(i / 10 * 2), i))
            .collect()
    }

    fn cache() -> Arc<BlockCache> {
        Arc::new(BlockCache::new(2000))
    }

    fn run(disk: &SimDisk) -> RunFile {
        let mut writer = RunWriter::create(disk, ID, [1; 16], 256).unwrap();
        for key in keys() {
            writer
                .add(key, &vec![key.1 as u8; (key.1 % 90) as usize])
                .unwrap();
        }
        writer.finish().unwrap();
        RunFile::open(disk, ID, [1; 16], cache()).unwrap()
    }

    #[test]
    fn cursors_go_both_ways_from_any_place() {
        let disk = SimDisk::new(1);
        let run = run(&disk);
        assert!(run.root.len() > 2, "the index has three levels");
        let keys = keys();
        for from in [(0, 0), (0, 5), (7, 0), (60, 305), (178, 898), (200, 0)] {
            let place = keys.partition_point(|&key| key < from);
            let mut cursor = run.seek(from).unwrap();
            for &key in &keys[place..] {
                let (found, value) = cursor.entry().unwrap().unwrap();
                assert_eq!((found, value.len()), (key, (key.1 % 90) as usize));
                cursor.advance();
            }
            assert!(cursor.entry().unwrap().is_none());
            let mut cursor = run.seek(from).unwrap();
            for &key in keys[..place].iter().rev() {
                assert_eq!(cursor.back().unwrap().map(|entry| entry.0), Some(key));
            }
            assert!(cursor.back().unwrap().is_none());
        }
        for id in 0..180 {
            let has = id % 2 == 0;
            assert!(run.may_have(id).unwrap() || !has);
        }
        assert_eq!(run.get((60, 301)).unwrap().map(|v| v.len()), Some(31));
        assert_eq!(run.get((60, 302)).unwrap(), None);
    }

    #[test]
    fn a_file_that_was_written_as_another_is_refused() {
        let disk = SimDisk::new(1);
        drop(run(&disk));
        let change = |change: fn(&mut RunId)| {
            let mut id = ID;
            change(&mut id);
            id
        };
        for other in [
            change(|id| id.kind = RunKind::Syncs),
            change(|id| id.level = 1),
            change(|id| id.from = 4096),
            change(|id| id.to = 4096),
            change(|id| id.last_time = 6),
        ] {
            let opened = RunFile::open(&disk, other, [1; 16], cache());
            assert!(
                matches!(opened, Err(OpenError::Corrupt { .. })),
                "{other:?}"
            );
        }
    }

    /// A footer whose checksum is right may be forged: no length in it takes memory beyond the file.
    #[test]
    fn lengths_beyond_the_file_are_refused() {
        let disk = SimDisk::new(1);
        let size = run(&disk).bytes;
        // The length of the index, its offset, and the offset of the filter.
        for (at, value) in [(64, &[0xff; 4][..]), (56, &[0xff; 8]), (72, &[0xff; 8])] {
            let disk = disk.fork(0);
            let file = disk.open(&ID.name()).unwrap();
            let mut footer = [0; FOOTER];
            let footer_at = size - FOOTER as u64;
            backend::read_exact_at(&*file, &mut footer, footer_at).unwrap();
            footer[at..at + value.len()].copy_from_slice(value);
            let crc = crc32c(&footer[..FOOTER - 4]).to_le_bytes();
            footer[FOOTER - 4..].copy_from_slice(&crc);
            file.write_all_at(&footer, footer_at).unwrap();
            let opened = RunFile::open(&disk, ID, [1; 16], cache());
            assert!(matches!(opened, Err(OpenError::Corrupt { .. })), "{at}");
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed_when_it_is_read() {
        let disk = SimDisk::new(1);
        let bits = run(&disk).bytes as usize * 8;
        for bit in (0..bits).step_by(149).chain(bits - FOOTER * 8..bits) {
            let disk = disk.fork(0);
            disk.flip(&ID.name(), bit);
            let Ok(run) = RunFile::open(&disk, ID, [1; 16], cache()) else {
                continue;
            };
            let filter = (0..200).find_map(|id| run.may_have(id).err());
            let mut cursor = run.seek((0, 0));
            let mut read = 0;
            let data = loop {
                let entry = match &mut cursor {
                    Ok(cursor) => cursor.entry().map(|entry| entry.is_some()),
                    Err(_) => break true,
                };
                match entry {
                    Ok(true) => read += 1,
                    Ok(false) => break false,
                    Err(_) => break true,
                }
                if let Ok(cursor) = &mut cursor {
                    cursor.advance();
                }
            };
            assert!(data || filter.is_some(), "bit {bit} of {bits}");
            assert!(data || read == keys().len());
        }
    }
}
