//! Comparing the log with that of another store of the same log.

use std::sync::Arc;

use super::Reader;
use super::follow::places_after;
use crate::error::ReadError;
use crate::log::frame::FrameKind;
use crate::log::record::{self, Record};
use crate::log::segment::Segment;
use crate::log::window::Window;
use crate::store::shared::Visible;

/// The bytes of the log that are read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// A comparison of records in ascending order with those of a store.
pub(crate) struct Comparison {
    reader: Reader,
    visible: Visible,
    /// The segment that was read last.
    segment: Option<Arc<Segment>>,
    window: Window,
}

impl Comparison {
    /// Returns one with the records that are visible now.
    pub(crate) fn new(reader: Reader) -> Self {
        Self {
            visible: reader.shared().visible(),
            reader,
            segment: None,
            window: Window::with_len(CHUNK_BYTES),
        }
    }

    /// Returns whether the store has this record at its position, as far as the store can tell. What each store changes by
    /// itself says nothing: bodies that are overwritten, old values, records that have expired or that a repair gave up.
    ///
    /// # Errors
    /// The disk does not return what was written.
    pub(crate) fn has(&mut self, record: &Record<'_>) -> Result<bool, ReadError> {
        let position = record.position.0;
        let kept = self.visible.runs.kept();
        if kept.given_up_until(position).is_some() || !self.find_segment(record)? {
            return Ok(true);
        }
        let Some(segment) = &self.segment else {
            return Ok(true);
        };
        let found = self.reader.read_frame(segment, position, &mut self.window);
        let (kind, payload) = match found {
            Ok(found) => found,
            // Where the other log has a record, this one has the middle of another.
            Err(ReadError::Corrupt { .. } | ReadError::NoRecord) => return Ok(false),
            Err(error) => return Err(error),
        };
        let own = match kind {
            FrameKind::Record | FrameKind::Redacted => record::decode_payload(position, payload),
            _ => None,
        };
        Ok(own.is_some_and(|own| {
            let is_overwritten = kind == FrameKind::Redacted;
            let expected = Record {
                body: if is_overwritten {
                    own.body
                } else {
                    record.body
                },
                states: own.states,
                redacts: own.redacts,
                ..*record
            };
            own == expected
        }))
    }

    /// Finds the segment of a record. Returns whether the store still has it.
    fn find_segment(&mut self, record: &Record<'_>) -> Result<bool, ReadError> {
        let position = record.position.0;
        let is_in = |segment: &Segment| segment.base <= position && position < segment.end();
        if self.segment.as_ref().is_some_and(|segment| is_in(segment)) {
            return Ok(true);
        }
        self.window.forget();
        self.segment = None;
        // The first place that ends behind a position may begin behind it, too.
        if let Some(place) = places_after(&self.visible, record.position)
            .into_iter()
            .next()
        {
            let segment = place.open(&self.visible)?;
            self.segment = is_in(&segment).then_some(segment);
        }
        Ok(self.segment.is_some())
    }
}
