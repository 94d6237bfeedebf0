//! Where records are, for callers that pass a damaged one.

use crate::error::ReadError;
use crate::store::reader::Reader;
use crate::{Position, TimelineId};

impl Reader {
    /// Returns the position of the first record after position `after` that names `timeline` in its
    /// fan-out; `None` if there is none. Reads the index and no record: a caller of
    /// [`sync`](Self::sync) can pass a record that the disk does not return. The record may be one that
    /// a repair gave up, which `sync` leaves out.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] or [`ReadError::Io`] if the disk does not return the index.
    pub fn next_sync(
        &self,
        timeline: TimelineId,
        after: Position,
    ) -> Result<Option<Position>, ReadError> {
        let (head, mut in_memory) = (self.head(), Vec::new());
        let (view, _) = self.look_up(|index| index.sync(timeline, after, head, 1, &mut in_memory));
        let in_runs = view.runs.next_sync(timeline, after.0)?;
        let found = in_runs.or_else(|| in_memory.first().copied());
        Ok(found.map(Position))
    }
}
