//! Readers: positioned reads of what is visible.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::ReadError;
use crate::frame::{self, FrameKind};
use crate::record;
use crate::segment::Segment;
use crate::shared::Shared;
use crate::window::Window;
use crate::{Health, Order, Page, Position, Stats, StoreKey, TimelineId};

/// Reads what the writer has made visible: with [`Durability::Sync`](crate::Durability::Sync),
/// what is on disk.
///
/// Cheap to clone and safe to share. Reads block on the disk: keep them off threads that must not
/// wait; [`head`](Self::head), [`last_seq`](Self::last_seq), [`health`](Self::health) and
/// [`stats`](Self::stats) do no disk I/O.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Reader { shared }
    }

    /// The key that timeline ids are made with.
    #[must_use]
    pub fn key(&self) -> StoreKey {
        self.shared.key
    }

    /// Position of the last visible record, [`Position::ZERO`] when there is none.
    #[must_use]
    pub fn head(&self) -> Position {
        Position(self.shared.head.load(Ordering::Acquire))
    }

    /// The last visible sequence of a message timeline; 0 if it has no entry.
    #[must_use]
    pub fn last_seq(&self, timeline: TimelineId) -> u64 {
        self.shared.index.read().last_seq(timeline)
    }

    /// Fills `page` with entries of a message timeline whose sequence is in `seqs`, at most
    /// `limit` of them and at most what the page holds. `order` says which end stays when there
    /// are more ([`Page::more`]); the page is in ascending order either way. An unknown timeline
    /// is an empty one.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] or [`ReadError::Io`] for what the disk returned.
    pub fn range(
        &self,
        timeline: TimelineId,
        seqs: RangeInclusive<u64>,
        limit: usize,
        order: Order,
        page: &mut Page,
    ) -> Result<(), ReadError> {
        page.clear();
        let limit = limit.min(page.max_records());
        let mut positions = std::mem::take(&mut page.positions);
        let cut = self
            .shared
            .index
            .read()
            .range(timeline, &seqs, limit, order, &mut positions);
        if order == Order::Descending {
            // The page's byte limit, too, must cut the older end.
            positions.reverse();
        }
        let filled = self.fill(&positions, page);
        page.positions = positions;
        filled?;
        if order == Order::Descending {
            page.reverse();
        }
        if cut {
            page.set_more();
        }
        Ok(())
    }

    /// Fills `page` with the one entry `seq` of a message timeline; `false` if there is none.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] or [`ReadError::Io`] for what the disk returned.
    pub fn get(&self, timeline: TimelineId, seq: u64, page: &mut Page) -> Result<bool, ReadError> {
        page.clear();
        let Some(position) = self.shared.index.read().get(timeline, seq) else {
            return Ok(false);
        };
        self.fill(&[position], page)?;
        Ok(true)
    }

    /// Fills `page` with the records that name `timeline` in their fan-out, after position
    /// `after` and up to and including `until`: the oldest `limit` of them, or fewer if the page
    /// is full. Says whether there are more; go on from the last one's position. An `until`
    /// behind the head means the head.
    ///
    /// # Errors
    /// [`ReadError::Future`] if `after` is behind the head, [`ReadError::Expired`] if entries
    /// after it may be gone; [`ReadError::Corrupt`] or [`ReadError::Io`] for what the disk
    /// returned.
    pub fn sync(
        &self,
        timeline: TimelineId,
        after: Position,
        until: Position,
        limit: usize,
        page: &mut Page,
    ) -> Result<bool, ReadError> {
        page.clear();
        let floor = Position(self.shared.floor());
        if after < floor {
            return Err(ReadError::Expired { oldest: floor });
        }
        if after > self.head() {
            return Err(ReadError::Future);
        }
        let limit = limit.min(page.max_records());
        let mut positions = std::mem::take(&mut page.positions);
        let cut = self
            .shared
            .index
            .read()
            .sync(timeline, after, until, limit, &mut positions);
        let filled = self.fill(&positions, page);
        page.positions = positions;
        filled?;
        if cut {
            page.set_more();
        }
        Ok(page.more())
    }

    /// Fills `page` with the one record at `position`, which must be one that the store gave out:
    /// any other looks like damage.
    ///
    /// # Errors
    /// [`ReadError::Future`], [`ReadError::Expired`] or [`ReadError::NoRecord`] for a position
    /// where no record can be; [`ReadError::Corrupt`] or [`ReadError::Io`] for what the disk
    /// returned.
    pub fn at(&self, position: Position, page: &mut Page) -> Result<(), ReadError> {
        page.clear();
        if position > self.head() {
            return Err(ReadError::Future);
        }
        if position == Position::ZERO || !position.0.is_multiple_of(frame::ALIGN as u64) {
            return Err(ReadError::NoRecord);
        }
        self.fill(&[position.0], page)
    }

    /// The latest visible value under a key; `None` if there is none, or an empty one.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] or [`ReadError::Io`] for what the disk returned.
    pub fn state(&self, key: TimelineId) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(position) = self.shared.index.read().state(key) else {
            return Ok(None);
        };
        let segment = self
            .shared
            .segment_of(position)
            .ok_or_else(|| self.outside(position))?;
        let mut window = Window::default();
        let payload = self.read_payload(&segment, position, FrameKind::State, &mut window)?;
        let value = record::decode_state(payload).map(|state| state.value);
        Ok(value.filter(|value| !value.is_empty()).map(<[u8]>::to_vec))
    }

    /// Whether the store takes appends.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.shared.poisoned() {
            Some(reason) => Health::Poisoned {
                reason: reason.into(),
            },
            None if self.shared.full.load(Ordering::Acquire) => Health::Full,
            None => Health::Ok,
        }
    }

    /// A snapshot of the counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let segments = self.shared.segments.read().len();
        let index_bytes = self.shared.index.read().bytes();
        self.shared
            .counters
            .snapshot(segments, index_bytes, self.shared.durable(), self.head().0)
    }

    /// Reads the records at `positions` into `page` until it is full.
    fn fill(&self, positions: &[u64], page: &mut Page) -> Result<(), ReadError> {
        let mut window = std::mem::take(&mut page.window);
        let result = self.fill_through(&mut window, positions, page);
        window.release();
        page.window = window;
        result
    }

    fn fill_through(
        &self,
        window: &mut Window,
        positions: &[u64],
        page: &mut Page,
    ) -> Result<(), ReadError> {
        let mut current: Option<Arc<Segment>> = None;
        for &position in positions {
            let segment = match current.take() {
                Some(segment) if (segment.base..segment.end()).contains(&position) => segment,
                _ => {
                    window.forget();
                    self.shared
                        .segment_of(position)
                        .ok_or_else(|| self.outside(position))?
                }
            };
            let payload = self.read_payload(&segment, position, FrameKind::Record, window)?;
            if !page.push(position, payload) {
                page.set_more();
                break;
            }
            current = Some(segment);
        }
        Ok(())
    }

    /// The checked payload of what is at `position` of `segment`.
    fn read_payload<'w>(
        &self,
        segment: &Segment,
        position: u64,
        kind: FrameKind,
        window: &'w mut Window,
    ) -> Result<&'w [u8], ReadError> {
        if position < segment.first() {
            return Err(ReadError::NoRecord);
        }
        let file = || self.shared.backend.path(&segment.name);
        let frame = window
            .frame(segment, position)
            .map_err(|source| ReadError::Io {
                file: file(),
                source,
            })?;
        match frame {
            Some((header, payload)) if header.kind == kind && decodes(kind, payload) => Ok(payload),
            _ => Err(ReadError::Corrupt {
                file: file(),
                offset: segment.offset(position),
            }),
        }
    }

    /// Why no segment has `position`.
    fn outside(&self, position: u64) -> ReadError {
        let floor = self.shared.floor();
        if position < floor {
            ReadError::Expired {
                oldest: Position(floor),
            }
        } else {
            ReadError::NoRecord
        }
    }
}

/// Whether a payload whose checksum holds is one of its kind.
fn decodes(kind: FrameKind, payload: &[u8]) -> bool {
    match kind {
        FrameKind::Record => record::decode_payload(0, payload).is_some(),
        FrameKind::State => record::decode_state(payload).is_some(),
        FrameKind::Anchor | FrameKind::Seal => false,
    }
}
