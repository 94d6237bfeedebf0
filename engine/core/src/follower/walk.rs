//! A walk through the records of a batch.

use std::iter::Peekable;

use trunkline_storage::{Batch, Position, Record, Records};

/// A walk through the records of a batch, in the order of the log.
pub(super) struct Walk<'b> {
    records: Peekable<Records<'b>>,
    /// The last record that was reached.
    last: Option<Record<'b>>,
}

impl<'b> Walk<'b> {
    /// Begins before the first record.
    pub(super) fn new(batch: &'b Batch) -> Self {
        Self {
            records: batch.records().peekable(),
            last: None,
        }
    }

    /// Goes on by one record, unless the next one is behind `position`. Returns it.
    pub(super) fn next_until(&mut self, position: Position) -> Option<Record<'b>> {
        let next = self.records.next_if(|record| record.position <= position)?;
        self.last = Some(next);
        Some(next)
    }

    /// Returns the last record, if it is the one at `position`.
    pub(super) fn at(&self, position: Position) -> Option<Record<'b>> {
        self.last.filter(|record| record.position == position)
    }
}
