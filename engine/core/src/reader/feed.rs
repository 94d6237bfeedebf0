//! The events of a user, merged from the user's sync timeline and the channels of large groups.

use trunkline_storage::{Page, Position, ReadError, Record, TimelineId};

use super::reading::Reading;
use super::sets::Windows;
use crate::event::{Body, RecordKind};
use crate::ids::UserId;

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

/// The pages of all timelines with events of a user. The next read reuses their memory.
#[derive(Default)]
pub(super) struct Feed {
    /// The pages, the one of the user's own timeline first.
    pages: Vec<Page>,
    /// For each page, the sequence of the first message that the user sees. Events about earlier
    /// messages are not the user's.
    firsts: Vec<u64>,
    used: usize,
    /// The position up to which all timelines have been read.
    until: Position,
    limit: usize,
    hides: bool,
}

/// The part of one timeline that belongs to a user.
struct Window {
    timeline: TimelineId,
    since: Position,
    until: Position,
    /// The sequence of the first message that the user sees.
    first: u64,
}

impl Feed {
    /// Reads the events of a span. Returns whether there are more. An event that is in several
    /// timelines comes once.
    ///
    /// # Errors
    /// The store could not be read, or no longer holds what came after `span.since`.
    pub(super) fn read(&mut self, reading: &Reading, span: Span) -> Result<bool, ReadError> {
        (self.used, self.until, self.limit, self.hides) = (0, span.until, span.limit, false);
        self.firsts.clear();
        let own = Window {
            timeline: span.user,
            since: span.since,
            until: span.until,
            first: 0,
        };
        let mut more = self.page(reading, &own)?;
        let windows = Windows::read(reading, span.user)?;
        self.hides = windows.hides;
        if span.since.0 < windows.floor {
            return Err(ReadError::Expired {
                oldest: Position(windows.floor),
            });
        }
        for group in &windows.list {
            let window = Window {
                timeline: TimelineId(group.channel),
                since: span.since.max(Position(group.after)),
                until: match group.until {
                    0 => span.until,
                    end => span.until.min(Position(end)),
                },
                first: group.first,
            };
            if window.since < window.until {
                more |= self.page(reading, &window)?;
            }
        }
        Ok(more | (self.used > 1 && self.merged().nth(span.limit).is_some()))
    }

    /// Gives large buffers back.
    pub(super) fn release(&mut self) {
        self.pages.truncate(1);
        self.pages.iter_mut().for_each(Page::release);
        self.pages.shrink_to_fit();
        self.firsts = Vec::new();
        self.used = 0;
    }

    /// Reads one timeline into the next page. Returns whether it has more events.
    fn page(&mut self, reading: &Reading, window: &Window) -> Result<bool, ReadError> {
        let &Window {
            timeline,
            since,
            until,
            first,
        } = window;
        self.firsts.push(first);
        if self.used == self.pages.len() {
            self.pages.push(Page::default());
        }
        let page = &mut self.pages[self.used];
        page.clear();
        self.used += 1;
        let store = reading.store();
        let more = store.sync(timeline, since, until, self.limit, page)?;
        if more && let Some(last) = page.records().last() {
            // Other timelines may be read further than this one.
            self.until = self.until.min(last.position);
        }
        Ok(more)
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
        let mut heads: Vec<_> = self.pages[..self.used]
            .iter()
            .map(|page| page.records().peekable())
            .collect();
        let until = self.until;
        std::iter::from_fn(move || {
            let next = heads
                .iter_mut()
                .filter_map(|head| head.peek().map(|record| record.position))
                .min()?;
            let (mut found, mut seen) = (None, false);
            for (head, first) in heads.iter_mut().zip(&self.firsts) {
                if let Some(record) = head.next_if(|record| record.position == next) {
                    seen |= is_seen(&record, *first);
                    found = Some(record);
                }
            }
            found.filter(|_| next <= until).map(|record| (record, seen))
        })
    }
}

/// Returns whether an event is only about messages from `first` on.
fn is_seen(record: &Record<'_>, first: u64) -> bool {
    if first <= 1
        || !matches!(
            RecordKind::of(record),
            Some(RecordKind::Recall | RecordKind::Reaction)
        )
    {
        return true;
    }
    Body::read(record.body).is_none_or(|body| body.seq >= first)
}
