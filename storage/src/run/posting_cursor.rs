//! A cursor over the postings of a run file, in both directions.

use std::sync::Arc;

use super::block::{Block, Key};
use super::file::RunFile;
use super::postings::{Posting, Postings};
use crate::error::ReadError;

/// A place between the postings of a run. It holds the list of one timeline decoded.
pub(crate) struct PostingCursor<'a> {
    run: &'a RunFile,
    /// The index of the block in the root, and in the index block.
    at: [usize; 2],
    /// Whether blocks go into the cache.
    keep: bool,
    index: Arc<Block>,
    block: Arc<Postings>,
    /// The index of the list in the block.
    list: usize,
    id: u128,
    postings: Vec<Posting>,
    /// The number of postings of the list that are before the cursor.
    before: usize,
}

impl<'a> PostingCursor<'a> {
    /// Makes a cursor at the first posting that is not before `key`.
    pub(super) fn at(run: &'a RunFile, key: Key, keep: bool) -> Result<Self, ReadError> {
        let top = run.root.lower_bound(key).min(run.root.len() - 1);
        let index = run.index_block(top, keep)?;
        let middle = index.lower_bound(key).min(index.len() - 1);
        let block = run.postings(&index, middle, keep)?;
        let list = block.lower_bound(key.0).min(block.len() - 1);
        let mut cursor = PostingCursor {
            run,
            at: [top, middle],
            keep,
            index,
            block,
            list,
            id: 0,
            postings: Vec::new(),
            before: 0,
        };
        cursor.load()?;
        cursor.before = match cursor.id.cmp(&key.0) {
            std::cmp::Ordering::Less => cursor.postings.len(),
            std::cmp::Ordering::Equal => cursor.postings.partition_point(|p| p.number < key.1),
            std::cmp::Ordering::Greater => 0,
        };
        Ok(cursor)
    }

    /// Decodes the list at the cursor.
    fn load(&mut self) -> Result<(), ReadError> {
        self.id = self.block.id(self.list);
        let coding = self.run.id.coding();
        let decoded = self.block.list(self.list, coding, &mut self.postings);
        decoded.ok_or_else(|| self.run.corrupt(0))
    }

    /// Goes to the next list. Returns whether there is one.
    fn next_list(&mut self) -> Result<bool, ReadError> {
        if self.list + 1 < self.block.len() {
            self.list += 1;
        } else {
            if self.at[1] + 1 < self.index.len() {
                self.at[1] += 1;
            } else if self.at[0] + 1 < self.run.root.len() {
                self.at[0] += 1;
                self.index = self.run.index_block(self.at[0], self.keep)?;
                self.at[1] = 0;
            } else {
                return Ok(false);
            }
            self.block = self.run.postings(&self.index, self.at[1], self.keep)?;
            self.list = 0;
        }
        self.load()?;
        self.before = 0;
        Ok(true)
    }

    /// Goes to the list before. Returns whether there is one.
    fn last_list(&mut self) -> Result<bool, ReadError> {
        if let Some(list) = self.list.checked_sub(1) {
            self.list = list;
        } else {
            if self.at[1] > 0 {
                self.at[1] -= 1;
            } else if self.at[0] > 0 {
                self.at[0] -= 1;
                self.index = self.run.index_block(self.at[0], self.keep)?;
                self.at[1] = self.index.len() - 1;
            } else {
                return Ok(false);
            }
            self.block = self.run.postings(&self.index, self.at[1], self.keep)?;
            self.list = self.block.len() - 1;
        }
        self.load()?;
        self.before = self.postings.len();
        Ok(true)
    }

    /// Returns the posting after the cursor, with its position; `None` at the end.
    pub(crate) fn entry(&mut self) -> Result<Option<(Key, u64)>, ReadError> {
        if self.before == self.postings.len() && !self.next_list()? {
            return Ok(None);
        }
        let posting = self.postings[self.before];
        Ok(Some(((self.id, posting.number), posting.position)))
    }

    /// Moves past the posting that [`entry`](Self::entry) returned.
    pub(crate) fn advance(&mut self) {
        self.before += 1;
    }

    /// Moves back past the posting before the cursor, and returns it; `None` at the beginning.
    pub(crate) fn back(&mut self) -> Result<Option<(Key, u64)>, ReadError> {
        if self.before == 0 && !self.last_list()? {
            return Ok(None);
        }
        self.before -= 1;
        let posting = self.postings[self.before];
        Ok(Some(((self.id, posting.number), posting.position)))
    }

    /// Returns the postings of the same id after the one that [`entry`](Self::entry) returned,
    /// nearest first, as far as the cursor has them in memory.
    pub(crate) fn following(&self) -> impl Iterator<Item = Posting> {
        let after = self.postings.get(self.before + 1..).unwrap_or_default();
        after.iter().copied()
    }

    /// Returns the postings of the same id before the cursor, nearest first, as far as the cursor
    /// has them in memory.
    pub(crate) fn preceding(&self) -> impl Iterator<Item = Posting> {
        self.postings[..self.before].iter().rev().copied()
    }

    /// Returns the id after the cursor; `None` at the end.
    pub(crate) fn id(&mut self) -> Result<Option<u128>, ReadError> {
        Ok(self.entry()?.map(|(key, _)| key.0))
    }

    /// Appends the postings from the cursor to the end of the list of the present id to `into`, and
    /// moves past them. The next list can have the same id.
    pub(crate) fn take(&mut self, into: &mut Vec<Posting>) {
        into.extend_from_slice(&self.postings[self.before..]);
        self.before = self.postings.len();
    }
}
