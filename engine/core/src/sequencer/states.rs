//! The values of the store as the batch under construction leaves them.

use std::collections::HashMap;

use trunkline_storage::{IdBuildHasher, ReadError, Reader, TimelineId};

/// The values that a command's record changes.
pub(super) type Changes = Vec<(TimelineId, Vec<u8>)>;

pub(super) struct States {
    store: Reader,
    /// The values that records of the batch under construction set. The store does not show them
    /// yet.
    pending: HashMap<TimelineId, Vec<u8>, IdBuildHasher>,
}

impl States {
    pub(super) fn new(store: Reader) -> Self {
        Self {
            store,
            pending: HashMap::default(),
        }
    }

    /// Returns the value under a key; `None` if there is none.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn get(&self, key: TimelineId) -> Result<Option<Vec<u8>>, ReadError> {
        match self.pending.get(&key) {
            Some(value) => Ok((!value.is_empty()).then(|| value.clone())),
            None => self.store.state(key),
        }
    }

    /// Returns the reader of the store, without the batch under construction.
    pub(super) fn store(&self) -> &Reader {
        &self.store
    }

    /// Takes over the values that a record in the batch changes.
    pub(super) fn enter(&mut self, changes: &mut Changes) {
        self.pending.extend(changes.drain(..));
    }

    /// Forgets the values of the batch after it was committed or given up.
    pub(super) fn clear(&mut self) {
        // A large batch must not keep its room for ever.
        if self.pending.capacity() > 1 << 16 {
            self.pending = HashMap::default();
        }
        self.pending.clear();
    }
}
