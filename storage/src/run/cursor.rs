//! A cursor over the entries of a run file, in both directions.

use std::sync::Arc;

use super::block::{Block, Key};
use super::file::RunFile;
use crate::error::ReadError;

/// A place between the entries of a run.
pub(crate) struct Cursor<'a> {
    pub(super) run: &'a RunFile,
    /// The index of the entry in the root, in the index block, and in the data block.
    pub(super) at: [usize; 3],
    /// Whether blocks go into the cache.
    pub(super) keep: bool,
    /// The index block, which names the data block.
    pub(super) index: Arc<Block>,
    pub(super) data: Arc<Block>,
}

impl Cursor<'_> {
    /// Returns the entry after the cursor; `None` at the end.
    pub(crate) fn entry(&mut self) -> Result<Option<(Key, &[u8])>, ReadError> {
        if self.at[2] == self.data.len() {
            if self.at[1] + 1 < self.index.len() {
                self.at[1] += 1;
            } else if self.at[0] + 1 < self.run.root.len() {
                self.at[0] += 1;
                self.index = self.run.index_block(self.at[0], self.keep)?;
                self.at[1] = 0;
            } else {
                return Ok(None);
            }
            self.data = self.run.block(&self.index, self.at[1], self.keep)?;
            self.at[2] = 0;
        }
        let i = self.at[2];
        Ok(Some((self.data.key(i), self.data.value(i))))
    }

    /// Moves past the entry that [`entry`](Self::entry) returned.
    pub(crate) fn advance(&mut self) {
        self.at[2] += 1;
    }

    /// Moves back past the entry before the cursor, and returns it; `None` at the beginning.
    pub(crate) fn back(&mut self) -> Result<Option<(Key, &[u8])>, ReadError> {
        if self.at[2] == 0 {
            if self.at[1] > 0 {
                self.at[1] -= 1;
            } else if self.at[0] > 0 {
                self.at[0] -= 1;
                self.index = self.run.index_block(self.at[0], self.keep)?;
                self.at[1] = self.index.len() - 1;
            } else {
                return Ok(None);
            }
            self.data = self.run.block(&self.index, self.at[1], self.keep)?;
            self.at[2] = self.data.len();
        }
        self.at[2] -= 1;
        let i = self.at[2];
        Ok(Some((self.data.key(i), self.data.value(i))))
    }
}
