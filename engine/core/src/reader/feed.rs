//! The events of a user, merged from the user's sync timeline and the channels of large groups.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use trunkline_storage::{Page, Position, ReadError, Record, TimelineId};

use super::reading::Reading;
use super::windows::Windows;
use crate::event::{Body, RecordKind};
use crate::fit::PAGE_BYTES;
use crate::ids::UserId;
use crate::state;

/// The events to read: those of a user after one position up to another, oldest first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) user: UserId,
    /// The position after which events are read.
    pub(super) since: Position,
    /// The last position that is read.
    pub(super) until: Position,
    /// The maximum number of events.
    pub(super) limit: usize,
}

/// The number of events that are read of each channel at first. A channel with more of them is read
/// further where the page needs it.
const FIRST: usize = 16;

/// The bytes of records that are read of each channel at a time, or one longer record.
const CHANNEL_BYTES: usize = 16 << 10;

/// The bytes of records behind which a page ends. In a reply they take a little more.
const MAX_BYTES: usize = PAGE_BYTES - PAGE_BYTES / 8;

/// The bytes of records with their recipients behind which a page ends.
const MAX_MEMORY: usize = 2 * MAX_BYTES;

/// The bytes of a recipient of a record.
const RECIPIENT: usize = size_of::<TimelineId>();

/// The bytes of records that are read between two looks at whether the page is full.
const DROP_EACH: usize = MAX_BYTES / 4;

/// The maximum number of parts whose memory is kept for the next read.
const KEPT_PARTS: usize = 64;

/// The number of events that are read further of a channel at a time.
const FURTHER: usize = 64;

/// The maximum number of further reads for one page. The page then ends earlier.
const READS: usize = 16;

/// The pages of all timelines with events of a user. The next read reuses their memory.
///
/// A page of events needs few records of most channels, so each channel is read a little, and then
/// those further that have more events before the end of the page. So the work and the memory of a
/// page do not grow with the number of channels times the length of a page.
#[derive(Default)]
pub(super) struct Feed {
    /// The parts of timelines that were read, those of the user's own timeline first.
    parts: Vec<Part>,
    used: usize,
    /// The position up to which all timelines have been read.
    until: Position,
    limit: usize,
    hides: bool,
    /// The bytes of the records in all parts, and the number from which on records behind the end of
    /// the page are dropped.
    bytes: usize,
    drop_from: usize,
    /// Whether the page ends because it is full.
    is_full: bool,
    /// Whether the timelines are read in slices.
    is_sliced: bool,
}

/// What was read of a span.
enum PageRead {
    /// A page. `more`: there are events behind it.
    Done { more: bool },
    /// No event up to this position.
    Empty { reached: Position },
}

/// Some records of one timeline.
struct Part {
    page: Page,
    window: Window,
    /// Whether the timeline may have records behind the page, and no other part has them.
    is_cut: bool,
}

/// The part of one timeline that belongs to a user.
#[derive(Clone, Copy)]
struct Window {
    timeline: TimelineId,
    since: Position,
    until: Position,
    /// The sequence of the first message that the user sees. Events about earlier messages are not
    /// the user's.
    first: u64,
}

impl Feed {
    /// Returns a feed whose timelines are read in slices.
    pub(super) fn in_slices() -> Self {
        Self {
            is_sliced: true,
            ..Self::default()
        }
    }

    /// Reads the events of a span. Returns whether there are more. An event that is in several
    /// timelines comes once. The future waits for nothing but its turn, and only in slices.
    ///
    /// An empty span behind the head of the log has no events: a node of a cluster has not taken the log up to a
    /// position that another node gave out.
    ///
    /// # Errors
    /// The store could not be read, or no longer holds what came after `span.since`.
    pub(super) async fn read(
        &mut self,
        reading: &Reading,
        mut span: Span,
    ) -> Result<bool, ReadError> {
        loop {
            match self.read_page(reading, span).await {
                Ok(PageRead::Done { more }) => return Ok(more),
                // A page may end where the windows are divided. An empty one would end at the last event.
                Ok(PageRead::Empty { reached }) => span.since = reached,
                Err(ReadError::Future) if span.since == span.until => {
                    self.used = 0;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads the events of a span, but not beyond the windows that one read of them finds.
    async fn read_page(&mut self, reading: &Reading, span: Span) -> Result<PageRead, ReadError> {
        (self.used, self.until, self.limit, self.hides) = (0, span.until, span.limit, false);
        (self.bytes, self.drop_from, self.is_full) = (0, MAX_BYTES + DROP_EACH, false);
        let own = Window {
            timeline: span.user,
            since: span.since,
            until: span.until,
            first: 0,
        };
        self.part(reading, own, span.limit)?;
        let windows = Windows::read(reading, span.user, span.since.0)?;
        self.hides = windows.hides;
        let floor = Position(windows.floor);
        if span.since < floor {
            // The events of a user begin with the user. Others were of an erased user of this name.
            let begins =
                span.since == Position::ZERO && reading.erased_at(span.user)? == Some(floor);
            if !begins {
                return Err(ReadError::Expired { oldest: floor });
            }
            return Ok(PageRead::Empty { reached: floor });
        }
        self.until = windows.until.map_or(span.until, Position).min(span.until);
        let is_divided = self.until < span.until;
        for (first, window) in self.begins(reading, span.since, &windows.list).await? {
            // The page is full before this event and all later ones.
            if first > self.until {
                break;
            }
            let window = Window {
                until: window.until.min(self.until),
                ..window
            };
            self.part(reading, window, FIRST)?;
            self.pause_if_due(reading).await;
        }
        if self.used > 1 {
            self.read_further(reading).await?;
        }
        let is_cut = self.end_at_cuts();
        let reached = self.until;
        if is_divided && self.merged().next().is_none() {
            return Ok(PageRead::Empty { reached });
        }
        let is_long = self.used > 1 && self.merged().nth(span.limit).is_some();
        let more = is_divided || is_cut || self.is_full || is_long;
        Ok(PageRead::Done { more })
    }

    /// Returns the parts of channels that have events after `since`, each with its first one, the oldest first. Reads
    /// no event: a page needs those of few channels, and one can be long.
    async fn begins(
        &self,
        reading: &Reading,
        since: Position,
        windows: &[state::Window],
    ) -> Result<Vec<(Position, Window)>, ReadError> {
        let mut begins = Vec::with_capacity(windows.len());
        for group in windows {
            let window = Window {
                timeline: TimelineId(group.channel),
                since: since.max(Position(group.after)),
                until: match group.until {
                    0 => self.until,
                    end => self.until.min(Position(end)),
                },
                first: group.first,
            };
            if window.since < window.until
                && let Some(first) = reading.first_event(window.timeline, window.since)?
                && first <= window.until
            {
                begins.push((first, window));
            }
            self.pause_if_due(reading).await;
        }
        begins.sort_unstable_by_key(|(first, _)| *first);
        Ok(begins)
    }

    /// Reads on where the page would end too early: in the timeline that was cut first.
    async fn read_further(&mut self, reading: &Reading) -> Result<(), ReadError> {
        for _ in 0..READS {
            self.pause_if_due(reading).await;
            let Some((index, end)) = self.first_cut() else {
                break;
            };
            let (count, bytes) = self.sizes_up_to(end);
            if count >= self.limit || bytes >= MAX_BYTES || end >= self.until {
                break;
            }
            let part = &mut self.parts[index];
            part.is_cut = false;
            let window = Window {
                since: end,
                until: part.window.until.min(self.until),
                ..part.window
            };
            self.part(reading, window, FURTHER.min(self.limit))?;
        }
        Ok(())
    }

    async fn pause_if_due(&self, reading: &Reading) {
        if self.is_sliced {
            reading.pause_if_due().await;
        }
    }

    /// Returns the number and the bytes of the records up to a position.
    fn sizes_up_to(&self, end: Position) -> (usize, usize) {
        let parts = self.parts[..self.used].iter();
        let records = parts.flat_map(|part| part.page.records());
        let records = records.filter(|record| record.position <= end);
        records.fold((0, 0), |(count, bytes), record| {
            (count + 1, bytes + record.body.len())
        })
    }

    /// Lets the page end where it is full, and drops parts that lie behind its end.
    fn drop_behind(&mut self) {
        let parts = &mut self.parts[..self.used];
        let records = parts.iter().flat_map(|part| part.page.records());
        let mut sizes: Vec<_> = records
            .map(|record| {
                let bytes = record.body.len();
                (
                    record.position,
                    bytes,
                    bytes + record.fanout.len() * RECIPIENT,
                )
            })
            .collect();
        sizes.sort_unstable();
        // Records of several timelines count once.
        sizes.dedup_by_key(|(position, ..)| *position);
        let (mut bytes, mut memory) = (0, 0);
        let kept = sizes.iter().take(self.limit).take_while(|(_, size, held)| {
            bytes += size;
            memory += held;
            bytes < MAX_BYTES + size && memory < MAX_MEMORY + held
        });
        // A page that is not full yet may still get events from behind its last one.
        if let Some((end, ..)) = kept.last()
            && sizes.last().is_some_and(|(last, ..)| last > end)
        {
            self.is_full = true;
            self.until = self.until.min(*end);
        }
        self.bytes = 0;
        for (number, part) in parts.iter_mut().enumerate() {
            let first = part.page.records().next();
            if first.is_some_and(|first| first.position > self.until) {
                part.page = empty_page(number);
                part.is_cut = false;
            }
            self.bytes += part.page.bytes();
        }
        self.drop_from = self.bytes.max(MAX_BYTES) + DROP_EACH;
    }

    /// Returns the part that was cut before all others, and the position of its last record.
    fn first_cut(&self) -> Option<(usize, Position)> {
        let parts = self.parts[..self.used].iter().enumerate();
        let cut = parts.filter(|(_, part)| part.is_cut);
        cut.filter_map(|(index, part)| Some((index, part.page.records().last()?.position)))
            .min_by_key(|(_, end)| *end)
    }

    /// Lets the page end where the first timeline was cut: others may have been read further.
    /// Returns whether one was cut.
    fn end_at_cuts(&mut self) -> bool {
        let cut = self.first_cut();
        if let Some((_, end)) = cut {
            self.until = self.until.min(end);
        }
        cut.is_some()
    }

    /// Gives large buffers back.
    pub(super) fn release(&mut self) {
        self.used = 0;
        // The page of the own timeline is the only long one.
        self.parts.truncate(1);
        self.parts.shrink_to_fit();
        self.parts.iter_mut().for_each(|part| part.page.release());
    }

    /// Reads at most `limit` records of a timeline into the next part.
    fn part(&mut self, reading: &Reading, window: Window, limit: usize) -> Result<(), ReadError> {
        if self.used == self.parts.len() {
            self.parts.push(Part {
                page: empty_page(self.used),
                window,
                is_cut: false,
            });
        }
        let part = &mut self.parts[self.used];
        self.used += 1;
        part.page.clear();
        part.window = window;
        let Window {
            timeline,
            since,
            until,
            ..
        } = window;
        let store = reading.store();
        part.is_cut = store.sync(timeline, since, until, limit, &mut part.page)?;
        reading.count_page(&part.page);
        self.bytes += part.page.bytes();
        if self.bytes >= self.drop_from {
            self.drop_behind();
        }
        Ok(())
    }

    /// Gives back the memory of a read of very many channels.
    pub(super) fn trim(&mut self) {
        if self.parts.len() > KEPT_PARTS {
            self.release();
        }
    }

    /// Returns whether the user has deleted messages from the own view.
    pub(super) fn hides(&self) -> bool {
        self.hides
    }

    /// Returns the events, oldest first, each with whether the user may see it. A user does not see
    /// events about messages of a large group from before the user joined.
    pub(super) fn records(&self) -> impl Iterator<Item = (Record<'_>, bool)> {
        self.merged().take(self.limit)
    }

    fn merged(&self) -> impl Iterator<Item = (Record<'_>, bool)> {
        let parts = &self.parts[..self.used];
        let mut rests: Vec<_> = parts.iter().map(|part| part.page.records()).collect();
        let mut heads: BinaryHeap<Head<'_>> = rests
            .iter_mut()
            .enumerate()
            .filter_map(|(part, rest)| {
                let record = rest.next()?;
                Some(Head { record, part })
            })
            .collect();
        let until = self.until;
        std::iter::from_fn(move || {
            let position = heads.peek()?.record.position;
            let (mut found, mut seen) = (None, false);
            let is_it = |head: &Head<'_>| head.record.position == position;
            while heads.peek().is_some_and(is_it)
                && let Some(Head { record, part }) = heads.pop()
            {
                seen |= is_seen(&record, parts[part].window.first);
                found = Some(record);
                heads.extend(rests[part].next().map(|record| Head { record, part }));
            }
            found
                .filter(|_| position <= until)
                .map(|record| (record, seen))
        })
    }
}

/// Returns an empty page for the part with this number: a long one for the user's own timeline.
fn empty_page(number: usize) -> Page {
    match number {
        0 => Page::with_bytes(MAX_BYTES),
        _ => Page::with_bytes(CHANNEL_BYTES),
    }
}

/// The next record of a part. The oldest record is the greatest, so that a heap has it on top.
struct Head<'f> {
    record: Record<'f>,
    /// The number of the part.
    part: usize,
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.record.position.cmp(&self.record.position)
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.record.position == other.record.position
    }
}

impl Eq for Head<'_> {}

/// Returns whether an event is only about messages from `first` on.
fn is_seen(record: &Record<'_>, first: u64) -> bool {
    if first <= 1
        || !matches!(
            RecordKind::of(record),
            Some(RecordKind::Recall | RecordKind::Reaction | RecordKind::Edit | RecordKind::Group)
        )
    {
        return true;
    }
    // Only some changes of a group are about a message.
    Body::read(record.body).is_none_or(|body| body.seq == 0 || body.seq >= first)
}

#[cfg(test)]
mod tests;
