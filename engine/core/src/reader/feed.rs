//! The events of a user: those of the own sync timeline and of the channels of large groups, in one
//! order.

use trunkline_storage::{Page, Position, ReadError, Reader, Record};

use crate::event::{Body, RecordKind};
use crate::ids::{Ids, UserId};
use crate::state::{self, Inbox};

/// The pages of all timelines with events of a user. The memory is reused by the next read.
#[derive(Default)]
pub(crate) struct Feed {
    /// The pages, the one of the user's own timeline first.
    pages: Vec<Page>,
    /// For each page, the sequence of the first message that the user sees. Events about earlier
    /// messages are not the user's.
    firsts: Vec<u64>,
    used: usize,
    /// The position up to which all timelines have been read.
    until: Position,
    limit: usize,
    /// Whether the user has deleted messages from the own view.
    pub(super) hides: bool,
}

impl Feed {
    /// Reads at most `limit` events after `since` up to `until`. Returns whether there are more. An
    /// event that is in several timelines comes once.
    ///
    /// # Errors
    /// The store could not be read, or no longer holds what came after `since`.
    pub(super) fn read(
        &mut self,
        (store, ids): (&Reader, &Ids),
        user: UserId,
        (since, until): (Position, Position),
        limit: usize,
    ) -> Result<bool, ReadError> {
        (self.used, self.until, self.limit, self.hides) = (0, until, limit, false);
        self.firsts.clear();
        let mut more = self.page(store, user, (since, until), 0)?;
        let Some(value) = store.state(ids.inbox(user))? else {
            return Ok(more);
        };
        // Of another version: an error, for nobody would be told what is missing.
        let inbox: Inbox<'_> = state::decode(&value).ok_or(ReadError::NoRecord)?;
        self.hides = inbox.hides;
        if since.0 < inbox.floor {
            return Err(ReadError::Expired {
                oldest: Position(inbox.floor),
            });
        }
        for window in &inbox.windows {
            let since = since.max(Position(window.after));
            let until = match window.until {
                0 => until,
                end => until.min(Position(end)),
            };
            if since < until {
                let channel = trunkline_storage::TimelineId(window.channel);
                more |= self.page(store, channel, (since, until), window.first)?;
            }
        }
        Ok(more | (self.used > 1 && self.merged().nth(limit).is_some()))
    }

    /// Reads one timeline into the next page.
    fn page(
        &mut self,
        store: &Reader,
        timeline: UserId,
        (since, until): (Position, Position),
        first: u64,
    ) -> Result<bool, ReadError> {
        self.firsts.push(first);
        if self.used == self.pages.len() {
            self.pages.push(Page::default());
        }
        let page = &mut self.pages[self.used];
        page.clear();
        self.used += 1;
        let more = store.sync(timeline, since, until, self.limit, page)?;
        if more && let Some(last) = page.records().last() {
            // Others may be read further than this one.
            self.until = self.until.min(last.position);
        }
        Ok(more)
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
