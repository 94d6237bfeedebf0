//! Indexes that grow at their end: the replies to a message.

use trunkline_storage::TimelineId;

use super::batch::{Changes, OpenBatch};
use super::refused::Refused;
use crate::state::{self, Series};

/// Adds a sequence to the series under `key`. It is greater than all that the series has.
///
/// # Errors
/// The store could not be read.
pub(super) fn add(
    batch: &OpenBatch,
    key: TimelineId,
    seq: u64,
    changes: &mut Changes,
) -> Result<(), Refused> {
    let mut series: Series = batch.decoded(key)?.unwrap_or_default();
    let number = series.pieces;
    if let Some(full) = series.add(seq) {
        changes.push((batch.ids().bucket(key, number), state::encode(&full)));
    }
    changes.push((key, state::encode(&series)));
    Ok(())
}
