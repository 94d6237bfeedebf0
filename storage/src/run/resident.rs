//! The parts of a run that stay in memory while it is in force, if the cache lends the memory.
//!
//! The filter answers most look-ups. The index saves the other look-ups all reads but one.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use super::block::{self, Block};
use super::cache::{Loan, Share};
use super::file::RunFile;
use super::filter::{self, LINE, Line};
use super::footer::{BLOCK_REFERENCE, RunKind, u32_at};
use crate::backend;
use crate::error::ReadError;

/// The number of look-ups after which a part that is not in memory asks for memory again.
const PATIENCE: u32 = 1024;
/// The number of lines of a filter that are read at once.
const PORTION: usize = 4096;

/// A part of a run that is in memory once the cache lends the memory. It asks again after a while,
/// because a merged run opens while the runs that it replaces still hold their memory.
pub(super) struct Resident<T> {
    kept: OnceLock<(T, Loan)>,
    /// The number of look-ups that did not find the part in memory.
    asked: AtomicU32,
}

impl<T> Default for Resident<T> {
    fn default() -> Self {
        Resident {
            kept: OnceLock::new(),
            asked: AtomicU32::new(0),
        }
    }
}

impl<T> Resident<T> {
    fn get(&self, fetch: impl FnOnce() -> Option<(T, Loan)>) -> Option<&T> {
        if let Some((kept, _)) = self.kept.get() {
            return Some(kept);
        }
        if !self.asked.fetch_add(1, Relaxed).is_multiple_of(PATIENCE) {
            return None;
        }
        let fetched = fetch()?;
        Some(&self.kept.get_or_init(|| fetched).0)
    }
}

impl RunFile {
    /// Loads the parts for which the cache lends memory.
    pub(super) fn settle_in(&self) {
        self.resident_filter();
        self.resident_index();
    }

    fn resident_filter(&self) -> Option<&[Line]> {
        let share = match self.id.kind {
            RunKind::Keys => Share::Keys,
            RunKind::Messages => Share::Messages,
            _ => return None,
        };
        let fetch = || {
            let loan = self.cache.lend(self.lines * LINE, share)?;
            Some((self.read_filter()?, loan))
        };
        self.filter.get(fetch).map(Vec::as_slice)
    }

    /// Reads the filter. Returns `None` if it is damaged; the look-up that needs the damaged line
    /// reports that.
    fn read_filter(&self) -> Option<Vec<Line>> {
        let seed = block::seed(self.salt, self.filter_at);
        let mut filter = Vec::with_capacity(self.lines);
        let mut portion = vec![0; PORTION * LINE];
        while filter.len() < self.lines {
            let lines = PORTION.min(self.lines - filter.len());
            let bytes = &mut portion[..lines * LINE];
            let at = self.filter_at + (filter.len() * LINE) as u64;
            backend::read_exact_at(&*self.file, bytes, at).ok()?;
            filter.extend(bytes.as_chunks().0.iter().copied().map(Line));
        }
        filter
            .iter()
            .all(|line| line.is_whole(seed))
            .then_some(filter)
    }

    /// Returns whether the run may have entries of a timeline or key.
    pub(crate) fn may_have(&self, id: u128) -> Result<bool, ReadError> {
        let hash = filter::hash(id);
        let line = filter::line_of(hash, self.lines);
        match self.resident_filter() {
            Some(filter) => Ok(filter[line].admits(hash)),
            None => Ok(self.filter_line(line)?.admits(hash)),
        }
    }

    /// Reads a line of the filter.
    pub(super) fn filter_line(&self, line: usize) -> Result<Line, ReadError> {
        let at = self.filter_at + (line * LINE) as u64;
        let mut line = Line([0; LINE]);
        backend::read_exact_at(&*self.file, &mut line.0, at).map_err(|source| self.io(source))?;
        match line.is_whole(block::seed(self.salt, self.filter_at)) {
            true => Ok(line),
            false => Err(self.corrupt(at)),
        }
    }

    /// Reads the memory that [`may_have`](Self::may_have) will read, so that it is in the
    /// processor's cache. Calls for many runs in a row wait for memory together. Returns a value
    /// made from it.
    pub(super) fn touch(&self, hash: u64) -> u8 {
        let line = filter::line_of(hash, self.lines);
        let kept = self.filter.kept.get();
        kept.map_or(0, |(filter, _)| filter[line].0[0])
    }

    fn resident_index(&self) -> Option<&[Arc<Block>]> {
        // The index is kept for the kinds that histories and syncs read.
        if !matches!(self.id.kind, RunKind::Messages | RunKind::Syncs) {
            return None;
        }
        let fetch = || {
            let places = (0..self.root.len()).map(|i| self.root.value(i));
            // Another size is damage, which the read of the block reports.
            let sizes = places.filter(|place| place.len() == BLOCK_REFERENCE);
            let bytes = sizes.map(|place| u32_at(place, 8) as usize).sum();
            let loan = self.cache.lend(bytes, Share::Index)?;
            let blocks = (0..self.root.len()).map(|i| self.block(&self.root, i, false));
            // A look-up that needs the damaged part reports the damage.
            Some((blocks.collect::<Result<_, _>>().ok()?, loan))
        };
        self.index.get(fetch).map(Vec::as_slice)
    }

    /// Returns block `i` of the index. Keeps it in the cache if `keep` is set.
    pub(super) fn index_block(&self, i: usize, keep: bool) -> Result<Arc<Block>, ReadError> {
        match self.resident_index() {
            Some(index) => Ok(index[i].clone()),
            None => self.block(&self.root, i, keep),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cache::BlockCache;
    use super::super::footer::RunId;
    use super::super::write::RunWriter;
    use super::*;
    use crate::backend::Backend;
    use crate::backend::sim::SimDisk;

    fn run(disk: &SimDisk, number: u64, cache: &Arc<BlockCache>) -> RunFile {
        let id = RunId {
            kind: RunKind::Messages,
            form: super::super::footer::RunForm::Values,
            level: 0,
            number,
            from: 0,
            to: 8192,
            last_time: 5,
        };
        let mut writer = RunWriter::create(disk, id, [1; 16], 256).unwrap();
        for i in 0..1_000 {
            writer.add((i, 1), b"value").unwrap();
        }
        writer.finish().unwrap();
        RunFile::open(disk, id, [1; 16], cache.clone()).unwrap()
    }

    /// Overwrites the filter and the index of a run on the disk. Copies in memory stay valid.
    fn damage(disk: &SimDisk, run: &RunFile) {
        let file = disk.open(&run.id.name()).unwrap();
        let zeros = vec![0; run.lines * LINE];
        file.write_all_at(&zeros, run.filter_at).unwrap();
        for i in 0..run.root.len() {
            let place = run.root.value(i);
            let at = super::super::footer::u64_at(place, 0);
            file.write_all_at(&vec![0; u32_at(place, 8) as usize], at)
                .unwrap();
        }
    }

    fn works(run: &RunFile) -> bool {
        let found = run.may_have(7).and_then(|_| run.get((7, 1)));
        found.is_ok_and(|value| value.as_deref() == Some(b"value"))
    }

    #[test]
    fn what_is_in_memory_is_not_read_again() {
        for (bytes, lasts) in [(1 << 20, true), (100, false)] {
            let disk = SimDisk::new(1);
            let run = run(&disk, 1, &Arc::new(BlockCache::new(bytes)));
            damage(&disk, &run);
            assert_eq!(works(&run), lasts, "a cache of {bytes} bytes");
        }
    }

    #[test]
    fn what_others_gave_back_is_asked_for_again() {
        let disk = SimDisk::new(1);
        let root = run(&disk, 1, &Arc::new(BlockCache::new(0))).root;
        let index: u32 = (0..root.len()).map(|i| u32_at(root.value(i), 8)).sum();
        // An eighth of it is one index and a half.
        let cache = Arc::new(BlockCache::new(index as usize * 12));
        let first = run(&disk, 2, &cache);
        let second = run(&disk, 3, &cache);
        assert!(first.index.kept.get().is_some() && second.index.kept.get().is_none());
        drop(first);
        for _ in 0..PATIENCE {
            assert!(works(&second));
        }
        assert!(second.index.kept.get().is_some());
    }
}
