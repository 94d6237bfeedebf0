//! Reading the log in its order, from a position on.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::error::ReadError;
use crate::log::frame::FrameKind;
use crate::log::record;
use crate::log::segment::Segment;
use crate::log::window::Window;
use crate::store::reader::Reader;
use crate::store::shared::Visible;
use crate::{Position, Record};

/// The bytes of the log that are read at once.
const CHUNK_BYTES: usize = 64 << 10;

impl Reader {
    /// Gives the visible records after position `after` to `each`, in the order of the log, until
    /// `each` breaks off or there are no more. Returns the position of the last record that `each`
    /// got; `after` if it got none.
    ///
    /// `each` gets no expired records, and none that a repair gave up. It gets the body of a redacted record as it was written, until
    /// that body is overwritten; from then on it gets an empty one. [`get`](Self::get) returns the
    /// latest body.
    ///
    /// # Errors
    /// [`ReadError::Future`] if `after` is behind the head, [`ReadError::Corrupt`] or
    /// [`ReadError::Io`] if the disk does not return what was written. `each` may have got records
    /// before the error.
    pub fn follow(
        &self,
        after: Position,
        each: &mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<Position, ReadError> {
        let visible = self.shared().visible();
        if after.0 > visible.head {
            return Err(ReadError::Future);
        }
        let (mut reached, mut window) = (after, Window::with_len(CHUNK_BYTES));
        for place in places_after(&visible, after) {
            if reached.0 >= visible.head {
                break;
            }
            let segment = place.open(&visible)?;
            window.forget();
            let mut position = segment.first().max(reached.0);
            while position <= visible.head && position < segment.end() {
                if let Some(end) = visible.runs.kept().given_up_until(position) {
                    position = end;
                    continue;
                }
                self.read_frame(&segment, position, &mut window)?;
                let frame = window.checked(&segment, position);
                let (header, payload) = frame.ok_or_else(|| self.corrupt(&segment, position))?;
                if header.kind == FrameKind::Seal {
                    break;
                }
                let is_record = matches!(header.kind, FrameKind::Record | FrameKind::Redacted);
                if is_record && position > reached.0 {
                    let decoded = record::decode_payload(position, payload);
                    let mut record = decoded.ok_or_else(|| self.corrupt(&segment, position))?;
                    if header.kind == FrameKind::Redacted {
                        record.body = &[];
                    }
                    reached = record.position;
                    if each(&record).is_break() {
                        return Ok(reached);
                    }
                }
                position += header.len() as u64;
            }
        }
        Ok(reached)
    }

    /// Replaces each of these positions, which are in ascending order, by one from which [`follow`](Self::follow)
    /// gives all records behind it. A position may lie inside a record: the log may have lost its end there, and have
    /// grown again. Records at or before a position may come again. Reads each segment at most once, and stops in it
    /// where it is damaged.
    ///
    /// # Errors
    /// [`ReadError::Io`] if the disk does not return what was written. The first positions may be replaced then.
    pub fn near(&self, positions: &mut [Position]) -> Result<(), ReadError> {
        let visible = self.shared().visible();
        let mut places = places_after(&visible, Position::ZERO)
            .into_iter()
            .peekable();
        let first = places.peek().map_or(visible.head, Place::base);
        let before = positions.partition_point(|position| position.0 < first);
        let (before, mut rest) = positions.split_at_mut(before);
        before.fill(Position::ZERO);
        while let Some(place) = places.next() {
            let end = places.peek().map_or(visible.head, Place::base);
            let count = rest.partition_point(|position| position.0 < end.min(visible.head));
            let (inside, later) = std::mem::take(&mut rest).split_at_mut(count);
            rest = later;
            if !inside.is_empty() {
                self.near_in(&*place.open(&visible)?, &visible, inside)?;
            }
        }
        rest.fill(Position(visible.head));
        Ok(())
    }

    /// Replaces the positions in one segment.
    fn near_in(
        &self,
        segment: &Segment,
        visible: &Visible,
        positions: &mut [Position],
    ) -> Result<(), ReadError> {
        let mut window = Window::with_len(CHUNK_BYTES);
        let (mut before, mut at) = (segment.base, segment.first());
        let mut positions = positions.iter_mut().peekable();
        while at < segment.end() && positions.peek().is_some() {
            let next = match visible.runs.kept().given_up_until(at) {
                Some(end) => end,
                None => {
                    self.read_frame(segment, at, &mut window)?;
                    match window.checked(segment, at) {
                        Some((header, _)) if header.kind != FrameKind::Seal => {
                            at + header.len() as u64
                        }
                        _ => break,
                    }
                }
            };
            while let Some(position) = positions.next_if(|position| position.0 < next) {
                // Inside a record, the one before is read again, because this one was not read to its end.
                position.0 = if position.0 == at { at } else { before };
            }
            (before, at) = (at, next);
        }
        for position in positions {
            position.0 = if position.0 == at { at } else { before };
        }
        Ok(())
    }
}

/// A segment with visible records. One that is kept for runs is opened when it is read, so that a
/// reader far behind does not hold all of them open.
pub(super) enum Place {
    Open(Arc<Segment>),
    Kept(u64),
}

impl Place {
    fn base(&self) -> u64 {
        match self {
            Self::Open(segment) => segment.base,
            Self::Kept(base) => *base,
        }
    }

    pub(super) fn open(self, visible: &Visible) -> Result<Arc<Segment>, ReadError> {
        match (self, visible.runs.segments()) {
            (Self::Open(segment), _) => Ok(segment),
            (Self::Kept(base), Some(files)) => files.get(base),
            // Only runs keep segments.
            (Self::Kept(_), None) => Err(ReadError::NoRecord),
        }
    }
}

/// Returns the segments that may have records after a position, in the order of the log.
pub(super) fn places_after(visible: &Visible, after: Position) -> Vec<Place> {
    let kept = visible.runs.kept().segments();
    let kept = kept.filter(|(base, size)| base + size > after.0);
    let mut all: Vec<_> = kept.map(|(base, _)| Place::Kept(base)).collect();
    for segment in visible.segments.iter() {
        // A segment is among the kept ones at the moment in which runs take its place.
        let is_new = all.iter().all(|place| place.base() != segment.base);
        if is_new && segment.end() > after.0 {
            all.push(Place::Open(Arc::clone(segment)));
        }
    }
    all.sort_by_key(Place::base);
    all
}
