//! The positions that devices have reached in their user's events.

use trunkline_storage::{Position, TimelineId};

use super::batch::OpenBatch;
use crate::position;

/// Stores the positions that devices have reached, each under its key. Two connections of a device
/// may report theirs in any order, so the furthest position counts.
///
/// A position that the store does not take is lost: the device then receives some events again.
pub(super) fn keep(batch: &mut OpenBatch, positions: &[(TimelineId, Position)]) {
    for &(key, reached) in positions {
        let Ok(value) = batch.value(key) else {
            continue;
        };
        let epochs = batch.store().epochs();
        if position::kept(epochs, value.as_deref()) < Some(reached) {
            let value = position::keep(epochs, reached);
            // A refused position is lost, as the doc comment says.
            let _ = batch.set(key, &value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;
    use crate::told::Told;

    #[test]
    fn the_furthest_position_counts() {
        let mut batch = Fixture::new().batch;
        let key = TimelineId(5);
        for (reached, kept) in [(100, 100), (90, 100), (100, 100), (120, 120)] {
            keep(&mut batch, &[(key, Position(reached))]);
            let value = batch.value(key).unwrap();
            let found = position::kept(batch.store().epochs(), value.as_deref());
            assert_eq!(found, Some(Position(kept)), "after {reached}");
        }
        batch.commit(Told::default()).unwrap();
        keep(&mut batch, &[(key, Position(110))]);
        assert!(batch.is_empty(), "an earlier position stores nothing");
    }
}
