//! Idempotency keys: which sends were stored already.
//!
//! A message's key is in its record, and the store finds it for as long as the window says. Here
//! are only those that the store does not show yet.

use std::collections::HashMap;

use trunkline_storage::{IdBuildHasher, Place, ReadError, Reader, TimelineId};

pub(super) struct Keys {
    store: Reader,
    /// Of the batch under construction.
    pending: HashMap<TimelineId, Place, IdBuildHasher>,
}

impl Keys {
    pub(super) fn new(store: Reader) -> Self {
        Self {
            store,
            pending: HashMap::default(),
        }
    }

    /// Where the send with this key is stored, or is about to be.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn find(&self, key: TimelineId) -> Result<Option<Place>, ReadError> {
        match self.pending.get(&key) {
            Some(place) => Ok(Some(*place)),
            None => self.store.find(key),
        }
    }

    /// Remembers a send of the batch under construction.
    pub(super) fn insert(&mut self, key: TimelineId, place: Place) {
        self.pending.insert(key, place);
    }

    /// The batch is committed, or never will be.
    pub(super) fn clear(&mut self) {
        self.pending.clear();
    }
}
