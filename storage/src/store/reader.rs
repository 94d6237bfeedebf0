//! Readers: positioned reads of visible records.

pub(crate) mod compare;
mod erase;
mod follow;
mod next;
mod redacted;
mod states;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::error::ReadError;
use crate::index::Index;
use crate::log::frame::FrameKind;
use crate::log::read_ahead::ReadAhead;
use crate::log::record::{self, RecordRef};
use crate::log::segment::Segment;
use crate::log::window::{self, Window};
use crate::run::Runs;
use crate::store::shared::Shared;
use crate::{Epochs, Health, Losses, Order, Page, Position, Stats, StoreKey, TimelineId};

/// Reads the visible records of a store. With [`Durability::Sync`](crate::Durability::Sync) every
/// visible record is on the disk.
///
/// A reader is cheap to clone and safe to share. Reads block on the disk, so keep them off threads
/// that must not wait. [`head`](Self::head), [`health`](Self::health) and [`stats`](Self::stats) do
/// no I/O.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
    frames: states::Frames,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let frames = states::Frames::default();
        Reader { shared, frames }
    }

    /// Returns the state of the store that this reader reads.
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Returns the key with which the store makes timeline ids.
    #[must_use]
    pub fn key(&self) -> StoreKey {
        self.shared.key
    }

    /// Returns the epochs, which turn positions into text and check texts that come back.
    #[must_use]
    pub fn epochs(&self) -> &Epochs {
        &self.shared.epochs
    }

    /// Returns what repairs have given up in this store.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.shared.losses
    }

    /// Returns the position of the last visible record; [`Position::ZERO`] if there is none.
    #[must_use]
    pub fn head(&self) -> Position {
        Position(self.shared.head.load(Ordering::Acquire))
    }

    /// Returns the time of the last record that the opening found, in milliseconds since the Unix epoch; 0 if there was
    /// none. A caller can let its clock go on from there. An earlier record may have a later time, if a clock was
    /// wrong. Where all records are in runs, it is the greatest time in the newest run.
    #[must_use]
    pub fn opened_at(&self) -> u64 {
        self.shared.opened_at
    }

    /// Returns the last visible sequence of a message timeline; 0 if the timeline has no entry,
    /// `u64::MAX` if the disk does not return it ([`try_last_seq`](Self::try_last_seq) returns the
    /// error). Reads the disk for a timeline that is only in runs.
    #[must_use]
    pub fn last_seq(&self, timeline: TimelineId) -> u64 {
        // Not 0, because a caller that counts on from there would use sequences again.
        self.try_last_seq(timeline).unwrap_or(u64::MAX)
    }

    /// Returns the last visible sequence of a message timeline; 0 if the timeline has no entry.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] or [`ReadError::Io`] if the disk does not return what was written.
    pub fn try_last_seq(&self, timeline: TimelineId) -> Result<u64, ReadError> {
        self.shared.last_seq(timeline)
    }

    /// Returns the smallest sequence that the next record of a message timeline may take. It
    /// follows [`try_last_seq`](Self::try_last_seq), with a gap where a repair may have given up
    /// records of the timeline ([`Losses`](crate::Losses)).
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] or [`ReadError::Io`] if the disk does not return what was written.
    pub fn next_seq(&self, timeline: TimelineId) -> Result<u64, ReadError> {
        Ok(self.shared.last_used(timeline)?.saturating_add(1))
    }

    /// Returns the first sequence of a message timeline that can still be read; 0 if there is none.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] or [`ReadError::Io`] if the disk does not return what was written.
    pub fn first_seq(&self, timeline: TimelineId) -> Result<u64, ReadError> {
        let (view, in_memory) = self.look_up(|index| index.first_seq(timeline));
        let in_runs = view.runs.first_seq(timeline)?;
        Ok(in_runs.or(in_memory).unwrap_or(0))
    }

    /// Fills `page` with the entries `seqs` of a message timeline, at most `limit` of them and at
    /// most what the page holds. Expired entries are left out, and an unknown timeline is empty.
    ///
    /// `order` says which end the read keeps when there are more ([`Page::more`]). The page is in
    /// ascending order in both cases.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] or [`ReadError::Io`] if the disk does not return what was written.
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
        let (view, memory_cut) =
            self.look_up(|index| index.range(timeline, &seqs, limit, order, &mut positions));
        let in_runs = |page: &mut Page, left: usize| {
            let mut take = taker(page, left);
            view.runs.range(timeline, &seqs, order, &mut take)
        };
        let filled = match order {
            Order::Ascending => in_runs(page, limit).and_then(|cut| match cut {
                true => Ok(()),
                false => self.fill_up(&view, &positions, memory_cut, limit, page),
            }),
            Order::Descending => {
                // The byte limit of the page must cut the older end too.
                positions.reverse();
                self.fill_up(&view, &positions, memory_cut, limit, page)
                    .and_then(|()| match page.more() {
                        true => Ok(()),
                        false => in_runs(page, limit - positions.len()).map(|_| ()),
                    })
            }
        };
        page.positions = positions;
        filled?;
        // In the order of reading: a page that is full after it loses what was read last.
        self.redact(&view, page)?;
        if order == Order::Descending {
            page.reverse();
        }
        Ok(())
    }

    /// Fills `page` with the entry `seq` of a message timeline. Returns `false` if there is none.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] or [`ReadError::Io`] if the disk does not return what was written.
    pub fn get(&self, timeline: TimelineId, seq: u64, page: &mut Page) -> Result<bool, ReadError> {
        page.clear();
        let (view, position) = self.look_up(|index| index.get(timeline, seq));
        match position {
            Some(position) => self.fill(&view, &[position], page)?,
            None => {
                let mut take = taker(page, 1);
                view.runs
                    .range(timeline, &(seq..=seq), Order::Ascending, &mut take)?;
            }
        }
        self.redact(&view, page)?;
        Ok(!page.is_empty())
    }

    /// Fills `page` with the oldest `limit` records after position `after`, up to and including
    /// `until`, that name `timeline` in their fan-out; with fewer if the page is full. An `until`
    /// behind the head means the head.
    ///
    /// Returns whether there are more. Go on from the position of the last record.
    ///
    /// # Errors
    /// [`ReadError::Future`] if `after` is behind the head, [`ReadError::Expired`] if records after
    /// it have expired, [`ReadError::Corrupt`] or [`ReadError::Io`] if the disk does not return
    /// what was written.
    pub fn sync(
        &self,
        timeline: TimelineId,
        after: Position,
        until: Position,
        limit: usize,
        page: &mut Page,
    ) -> Result<bool, ReadError> {
        page.clear();
        if after > self.head() {
            return Err(ReadError::Future);
        }
        let limit = limit.min(page.max_records());
        let mut positions = std::mem::take(&mut page.positions);
        let (view, memory_cut) =
            self.look_up(|index| index.sync(timeline, after, until, limit, &mut positions));
        // The head is before the floor if all records have expired and none came since.
        let oldest = Position(view.runs.sync_floor()).min(self.head());
        if after < oldest {
            page.positions = positions;
            return Err(ReadError::Expired { oldest });
        }
        let mut take = taker(page, limit);
        let in_runs = view.runs.sync(timeline, after.0, until.0, &mut take);
        drop(take);
        let filled = in_runs.and_then(|cut| match cut {
            true => Ok(()),
            false => self.fill_up(&view, &positions, memory_cut, limit, page),
        });
        page.positions = positions;
        filled?;
        self.redact(&view, page)?;
        Ok(page.more())
    }

    /// Returns where the last visible record with this [key](crate::Draft::key) is; `None` if there
    /// is none.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] or [`ReadError::Io`] if the disk does not return what was written.
    #[inline]
    pub fn find(&self, key: TimelineId) -> Result<Option<RecordRef>, ReadError> {
        let (view, position) = self.look_up(|index| index.find(key));
        let Some(position) = position else {
            return view.runs.find(key);
        };
        let segment = view.segment_of(position).ok_or(ReadError::NoRecord)?;
        let mut window = Window::default();
        let (kind, payload) = self.read_frame(segment, position, &mut window)?;
        match (kind, record::decode_payload(position, payload)) {
            (FrameKind::Record | FrameKind::Redacted, Some(record)) => Ok(Some(RecordRef {
                timeline: record.timeline,
                seq: record.seq,
                position: record.position,
            })),
            _ => Err(self.corrupt(segment, position)),
        }
    }

    /// Returns whether the store takes appends, and if not, why.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.condition.health()
    }

    /// Returns why the store cannot make the next segment, if so. Once the current segment is full,
    /// the store will refuse appends. It keeps trying.
    #[must_use]
    pub fn trouble_ahead(&self) -> Option<String> {
        self.shared.condition.ahead()
    }

    /// Returns and removes the messages for the operator: problems that the store noticed and
    /// solved. The store keeps the latest 64.
    #[must_use]
    pub fn take_notices(&self) -> Vec<String> {
        self.shared.condition.take_notices()
    }

    /// Returns how many bytes the file system still has for the store.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn free_bytes(&self) -> std::io::Result<u64> {
        self.shared.backend.free_bytes()
    }

    /// Returns why the last attempt to make or merge runs failed, if it did. The store tries again
    /// after a second, and whenever a segment is full.
    #[must_use]
    pub fn run_failure(&self) -> Option<String> {
        self.shared.run_failure.lock().clone()
    }

    /// Returns a snapshot of the counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let index = self.shared.index.read();
        let segments = self.shared.segments.read().clone();
        let waiting = segments.iter().take(index.waiting());
        let (runs, run_bytes) = index.runs().size();
        let (kept_segments, kept_bytes) = index.runs().kept().size();
        Stats {
            segments: segments.len(),
            segment_bytes: segments.iter().map(|segment| segment.size).sum(),
            kept_segments,
            kept_bytes,
            index_bytes: index.bytes(),
            waiting_segments: index.waiting(),
            waiting_bytes: waiting.map(|segment| segment.size).sum(),
            runs,
            run_bytes,
            pending_redactions: index.redactions().unfinished(),
            durable: Position(self.shared.durable()),
            head: self.head(),
            ..self.shared.counters.counted()
        }
    }

    /// Holds the files that a reader uses at this moment, like a reader in the middle of a read.
    #[cfg(test)]
    pub(crate) fn files(&self) -> impl Sized + use<> {
        self.look_up(|_| ()).0
    }

    /// Looks something up in the index. Returns the answer and a view of the files that the answer
    /// refers to: they stay readable while the view is held, also after a merge replaces them.
    fn look_up<T>(&self, look: impl FnOnce(&Index) -> T) -> (View, T) {
        let index = self.shared.index.read();
        let found = look(&index);
        let view = View {
            segments: self.shared.segments.read().clone(),
            runs: index.runs().clone(),
        };
        (view, found)
    }

    /// Reads the records at `positions`, found by a look-up that was `cut` or not, into `page`
    /// until it has `limit` records or is full.
    fn fill_up(
        &self,
        view: &View,
        positions: &[u64],
        cut: bool,
        limit: usize,
        page: &mut Page,
    ) -> Result<(), ReadError> {
        let left = positions.len().min(limit - page.len());
        self.fill(view, &positions[..left], page)?;
        if cut || left < positions.len() {
            page.set_more();
        }
        Ok(())
    }

    /// Reads the records at `positions` into `page` until it is full.
    fn fill(&self, view: &View, positions: &[u64], page: &mut Page) -> Result<(), ReadError> {
        let mut window = std::mem::take(&mut page.window);
        let result = self.fill_through(view, &mut window, positions, page);
        window.release();
        page.window = window;
        result
    }

    fn fill_through(
        &self,
        view: &View,
        window: &mut Window,
        positions: &[u64],
        page: &mut Page,
    ) -> Result<(), ReadError> {
        let mut current: Option<&Arc<Segment>> = None;
        let mut ahead = ReadAhead::default();
        let mut clock = Instant::now();
        for (i, &position) in positions.iter().enumerate() {
            let next = &positions[i + 1..];
            window.expect(position, next.first().copied());
            let segment = match current {
                Some(segment) if (segment.base..segment.end()).contains(&position) => segment,
                _ => {
                    window.forget();
                    view.segment_of(position).ok_or(ReadError::NoRecord)?
                }
            };
            let (kind, payload) = self.read_frame(segment, position, window)?;
            let fits = match (kind, record::decode_payload(position, payload)) {
                (FrameKind::Record, Some(_)) => page.push(position, payload),
                (FrameKind::Redacted, Some(record)) => page.push_redacted(&record),
                _ => return Err(self.corrupt(segment, position)),
            };
            if !fits {
                page.set_more();
                break;
            }
            current = Some(segment);
            let before = std::mem::replace(&mut clock, Instant::now());
            for &position in next.iter().take(ahead.after(clock - before)) {
                if let Some(segment) = view.segment_of(position) {
                    let offset = segment.offset(position);
                    segment.file.prefetch(offset, window::SHORT as u64);
                }
            }
        }
        Ok(())
    }

    /// Returns kind and payload of the frame at `position` of `segment`, after checking them.
    fn read_frame<'w>(
        &self,
        segment: &Segment,
        position: u64,
        window: &'w mut Window,
    ) -> Result<(FrameKind, &'w [u8]), ReadError> {
        if position < segment.first() {
            return Err(ReadError::NoRecord);
        }
        let io = |source| ReadError::Io {
            file: self.shared.backend.path(&segment.name),
            source,
        };
        if window.frame(segment, position).map_err(io)?.is_none() {
            // It may be overwritten at this moment.
            let runs = self.shared.runs();
            let _rewriting = runs.segments().map(|files| files.rewriting.lock());
            window.forget();
            let again = window.frame(segment, position).map_err(io)?;
            again.ok_or_else(|| self.corrupt(segment, position))?;
        }
        let frame = window.checked(segment, position);
        let (header, payload) = frame.ok_or_else(|| self.corrupt(segment, position))?;
        Ok((header.kind, payload))
    }

    fn corrupt(&self, segment: &Segment, position: u64) -> ReadError {
        ReadError::Corrupt {
            file: self.shared.backend.path(&segment.name),
            offset: segment.offset(position),
        }
    }
}

/// The files that the index referred to at one moment.
struct View {
    segments: Arc<Vec<Arc<Segment>>>,
    runs: Arc<Runs>,
}

impl View {
    /// Returns the segment that holds `position`.
    fn segment_of(&self, position: u64) -> Option<&Arc<Segment>> {
        let segments = &self.segments;
        let after = segments.partition_point(|segment| segment.base <= position);
        segments
            .get(after.checked_sub(1)?)
            .filter(|segment| position < segment.end())
    }
}

/// Returns a function that adds records to `page`, at most `left`.
fn taker(page: &mut Page, left: usize) -> impl FnMut(u64, &[u8]) -> Result<bool, ReadError> {
    let mut left = left;
    move |position, payload| {
        let fits = left > 0 && page.push(position, payload);
        left = left.saturating_sub(1);
        if !fits {
            page.set_more();
        }
        Ok(fits)
    }
}
