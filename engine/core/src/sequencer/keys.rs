//! Idempotency keys: the sends that are stored already.
//!
//! A message's key is in its record, and the store finds it for as long as the window says. Here
//! are only those that the store does not show yet.

use std::collections::HashMap;

use trunkline_proto::ErrorCode;
use trunkline_storage::{IdBuildHasher, Page, ReadError, Reader, Record, RecordRef, TimelineId};

use super::asked::Asked;
use super::refused::Refused;
use super::{CORRUPT, Sequencer, unreadable};
use crate::event::Body;

const REUSED: Refused = Refused::new(
    ErrorCode::KeyReused,
    "this key was used for another message: nothing was stored; send with a new key",
);

pub(super) struct Keys {
    store: Reader,
    /// The keys of the batch under construction, with the places of their records.
    pending: HashMap<TimelineId, RecordRef, IdBuildHasher>,
}

impl Keys {
    pub(super) fn new(store: Reader) -> Self {
        Self {
            store,
            pending: HashMap::default(),
        }
    }

    /// Returns the place of the record with this key, in the store or in the batch under
    /// construction.
    ///
    /// # Errors
    /// The store could not be read.
    fn find(&self, key: TimelineId) -> Result<Option<RecordRef>, ReadError> {
        match self.pending.get(&key) {
            Some(place) => Ok(Some(*place)),
            None => self.store.find(key),
        }
    }

    /// Adds a send of the batch under construction.
    pub(super) fn insert(&mut self, key: TimelineId, place: RecordRef) {
        self.pending.insert(key, place);
    }

    /// Forgets the keys of the batch after it was committed or given up.
    pub(super) fn clear(&mut self) {
        self.pending.clear();
    }
}

impl Sequencer {
    /// Returns the stored message that a send with this key repeats; `None` for a first send, and
    /// if the message is no longer kept.
    ///
    /// # Errors
    /// The key belongs to another message, or the store could not be read.
    pub(super) fn repeated(
        &self,
        command: Asked<'_>,
        key: TimelineId,
    ) -> Result<Option<RecordRef>, Refused> {
        let found = self.keys.find(key).map_err(|error| unreadable(&error))?;
        let Some(place) = found else {
            return Ok(None);
        };
        if let Some(record) = self.writer.appended(place.position) {
            return same(command, &record).map(|()| Some(place));
        }
        let mut page = Page::default();
        self.keys
            .store
            .get(place.timeline, place.seq, &mut page)
            .map_err(|error| unreadable(&error))?;
        match page.records().next() {
            Some(record) => same(command, &record).map(|()| Some(place)),
            // Keys expire in files of other windows than messages: the message went first. Only
            // the key's owner knows of it, and the promised time is over.
            None => Ok(None),
        }
    }
}

/// Checks that a send repeats the send of a record. The content of a recalled message is gone: only
/// its conversation is compared.
fn same(command: Asked<'_>, record: &Record<'_>) -> Result<(), Refused> {
    if record.timeline != command.conversation {
        return Err(REUSED);
    }
    let said = Body::read(command.body).ok_or(CORRUPT)?;
    let stored = Body::read(record.body).ok_or(CORRUPT)?;
    if stored.recalled || stored.has_content_of(&said) {
        Ok(())
    } else {
        Err(REUSED)
    }
}
