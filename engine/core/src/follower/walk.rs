//! A walk through the records of a batch.

use std::iter::Peekable;

use trunkline_storage::{Batch, Position, Record, Records};

/// A walk through the records of a batch, in the order of the log.
pub(super) struct Walk<'b> {
    records: Peekable<Records<'b>>,
    /// The last record that was reached.
    last: Option<Record<'b>>,
    /// The position up to which the store had all records before the batch.
    before: Position,
}

impl<'b> Walk<'b> {
    /// Begins before the first record. The store had all records before the position `before` already.
    pub(super) fn new(batch: &'b Batch, before: Position) -> Self {
        Self {
            records: batch.records().peekable(),
            last: None,
            before,
        }
    }

    /// Goes on by one record, unless the next one is behind `position`. Returns it.
    pub(super) fn next_until(&mut self, position: Position) -> Option<Record<'b>> {
        let next = self.records.next_if(|record| record.position <= position)?;
        self.last = Some(next);
        Some(next)
    }

    /// Returns the last record if it is the one at `position`, and `Some(None)` if the store had that record before. `None`
    /// if no record begins there, or the walk is beyond it.
    #[allow(
        clippy::option_option,
        reason = "the outer one says that the position does not fit"
    )]
    pub(super) fn at(&self, position: Position) -> Option<Option<Record<'b>>> {
        if position < self.before {
            return Some(None);
        }
        let last = self.last.filter(|record| record.position == position);
        last.map(Some)
    }
}
