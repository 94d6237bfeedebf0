//! Values of the store as the batch under construction leaves them.

use std::collections::HashMap;

use trunkline_storage::{IdBuildHasher, ReadError, Reader, TimelineId};

/// The values that a command's record changes.
pub(super) type Changes = Vec<(TimelineId, Vec<u8>)>;

pub(super) struct States {
    store: Reader,
    /// What records of the batch under construction set; the store does not show it yet.
    pending: HashMap<TimelineId, Vec<u8>, IdBuildHasher>,
}

impl States {
    pub(super) fn new(store: Reader) -> Self {
        Self {
            store,
            pending: HashMap::default(),
        }
    }

    /// The value under a key, `None` where there is none.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn get(&self, key: TimelineId) -> Result<Option<Vec<u8>>, ReadError> {
        match self.pending.get(&key) {
            Some(value) => Ok((!value.is_empty()).then(|| value.clone())),
            None => self.store.state(key),
        }
    }

    /// What is in the store already.
    pub(super) fn store(&self) -> &Reader {
        &self.store
    }

    /// Takes over what a record in the batch changes.
    pub(super) fn enter(&mut self, changes: &mut Changes) {
        self.pending.extend(changes.drain(..));
    }

    /// The batch is committed, or never will be.
    pub(super) fn clear(&mut self) {
        // A large batch must not keep its room for ever.
        if self.pending.capacity() > 1 << 16 {
            self.pending = HashMap::default();
        }
        self.pending.clear();
    }
}
