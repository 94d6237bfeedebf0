//! The messages that edits are about, as they are now.

use std::collections::HashMap;

use trunkline_proto::message::Event;
use trunkline_storage::{Page, Record, TimelineId};

use super::reading::Reading;
use crate::event::{Body, Placed};
use crate::exchange::Failure;
use crate::fit::PAGE_BYTES;
use crate::owned;

/// Looks up the messages of the edits of one page.
///
/// The record of an edit does not say what the message became: that would stay in the files after
/// the next edit. So the event of an edit shows the message as it is now. Of several edits of a
/// message only the last is an event: otherwise a sender who edits a long message a thousand times
/// with little text makes everybody read the long text a thousand times.
pub(super) struct Edited<'a> {
    reading: &'a Reading,
    page: Page,
    /// The number of edits of each message that was read.
    revisions: HashMap<(TimelineId, u64), u64>,
    /// The bytes of the messages that were read.
    bytes: usize,
}

impl<'a> Edited<'a> {
    pub(super) fn new(reading: &'a Reading) -> Self {
        Self {
            reading,
            page: Page::with_bytes(0),
            revisions: HashMap::new(),
            bytes: 0,
        }
    }

    /// Returns whether a page with these messages takes no further ones.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= PAGE_BYTES
    }

    /// Returns the event of an edit. `None` if a later edit or a recall replaced what it wrote, or if
    /// the message has expired.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn event(
        &mut self,
        record: &Record<'_>,
    ) -> Result<Option<Placed<'static>>, Failure> {
        let Some(edit) = Body::read(record.body) else {
            return Ok(None);
        };
        let (own, place) = (edit.extras().revision, (record.timeline, edit.seq));
        // A message is read for the last of its edits on a page, and once for all others.
        let known = self.revisions.get(&place);
        if known.is_some_and(|revision| *revision != own) {
            return Ok(None);
        }
        let (reading, page) = (self.reading, &mut self.page);
        reading.message(record.timeline, edit.seq, page)?;
        let Some(message) = page.records().next() else {
            return Ok(None);
        };
        self.bytes += message.body.len();
        let body = Body::read(message.body);
        let revision = body.as_ref().map_or(0, |body| body.extras().revision);
        self.revisions.insert(place, revision);
        let body = body.filter(|body| !body.recalled && !reading.is_due(body, message.time));
        let Some(body) = body.filter(|_| revision == own) else {
            return Ok(None);
        };
        Ok(Some(Placed {
            event: Event::Edit(owned::message(body.message(&message))),
            position: record.position,
        }))
    }
}
