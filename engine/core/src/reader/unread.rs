//! The number of messages in a conversation that a user has not read.

use std::ops::RangeInclusive;

use trunkline_storage::{Order, Page, TimelineId};

use super::failure::CORRUPT;
use super::reading::Reading;
use super::view::View;
use crate::event::Body;
use crate::exchange::Failure;
use crate::ids::UserId;
use crate::state::{self, Level, Tally};

/// Counts the unread messages of one user in one conversation.
pub(super) struct Unread<'a> {
    pub(super) reading: &'a Reading,
    pub(super) user: UserId,
    /// The user's name.
    pub(super) name: &'a str,
    /// Whether the user has deleted messages from the own view.
    pub(super) hides: bool,
    pub(super) conversation: TimelineId,
}

/// A stretch of messages that the store has a count of.
struct Counted {
    /// The number of messages that other users sent.
    others: u64,
    /// The last sequence of the stretch.
    end: u64,
}

impl Unread<'_> {
    /// Counts the messages of others after `read` up to `last` that can still be read: those
    /// neither recalled, nor deleted by the user, nor expired.
    ///
    /// The store has counts of whole stretches. So this reads at most two stretches of messages, one
    /// at each end, and the counts between. It reads more only where the user has deleted messages,
    /// or where an earlier version stored messages without counts.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) async fn count(
        &self,
        read: u64,
        last: u64,
        page: &mut Page,
    ) -> Result<u64, Failure> {
        if read >= last {
            return Ok(0);
        }
        let mut next = read + 1;
        if last - read >= Level::Short.messages() {
            // A count may include messages that have expired.
            match self.reading.first_seq(self.conversation)? {
                0 => return Ok(0),
                first => next = next.max(first),
            }
        }
        let mut view = View::new(self.reading, self.user);
        let mut count = 0;
        while next <= last {
            let (others, end) = match self.counted(next..=last, &mut view)? {
                Some(Counted { others, end }) => (others, end),
                None => {
                    let stretch = Level::Short.stretch(next) + 1;
                    let end = last.min(stretch * Level::Short.messages());
                    match self.looked_at(next..=end, &mut view, page).await? {
                        Some(others) => (others, end),
                        // A repair has left out sequences. Counting goes on behind them.
                        None => match self.behind(end, last, page)? {
                            Some(found) => (0, found - 1),
                            None => break,
                        },
                    }
                }
            };
            (count, next) = (count + others, end + 1);
            self.pause_if_due(page).await;
        }
        Ok(count)
    }

    /// Returns the count of the longest counted stretch that begins at the first sequence of `seqs`
    /// and ends within them.
    fn counted(
        &self,
        seqs: RangeInclusive<u64>,
        view: &mut View<'_>,
    ) -> Result<Option<Counted>, Failure> {
        let (next, last) = seqs.into_inner();
        for level in [Level::Long, Level::Short] {
            let end = next + level.messages() - 1;
            if !level.ends_with(next - 1) || end > last || self.deleted(view, next..=end)? {
                continue;
            }
            let ids = self.reading.ids();
            let key = level.key(ids, self.conversation, level.stretch(next));
            if let Some(value) = self.reading.bytes(key)? {
                let tally: Tally = state::decode(&value).ok_or(CORRUPT)?;
                let others = tally.of_others(self.user);
                return Ok(Some(Counted { others, end }));
            }
        }
        Ok(None)
    }

    /// Returns whether the user has deleted one of these messages.
    fn deleted(&self, view: &mut View<'_>, seqs: RangeInclusive<u64>) -> Result<bool, Failure> {
        if self.hides {
            for seq in seqs {
                if view.hides(self.conversation, seq)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Returns the sequence of the first message after `end`, up to `last`.
    fn behind(&self, end: u64, last: u64, page: &mut Page) -> Result<Option<u64>, Failure> {
        if end >= last {
            return Ok(None);
        }
        self.read(end + 1..=last, 1, page)?;
        Ok(page.records().next().map(|record| record.seq))
    }

    /// Counts these messages one by one; `None` if there are none.
    async fn looked_at(
        &self,
        seqs: RangeInclusive<u64>,
        view: &mut View<'_>,
        page: &mut Page,
    ) -> Result<Option<u64>, Failure> {
        let (mut next, end) = seqs.into_inner();
        let (mut count, mut found) = (0, false);
        while next <= end {
            self.read(next..=end, Level::Short.messages() as usize, page)?;
            let Some(last) = page.records().last().map(|record| record.seq) else {
                break;
            };
            for record in page.records() {
                let Some(body) = Body::read(record.body) else {
                    continue;
                };
                let is_gone = body.recalled || self.reading.is_due(&body, record.time);
                if body.user != self.name && !is_gone {
                    count += u64::from(!self.deleted(view, record.seq..=record.seq)?);
                }
            }
            (next, found) = (last + 1, true);
            self.pause_if_due(page).await;
        }
        Ok(found.then_some(count))
    }

    /// Ends the slice of the look-up if it is over, and frees the memory of the page.
    async fn pause_if_due(&self, page: &mut Page) {
        if self.reading.is_slice_over() {
            page.release();
            self.reading.pause_if_due().await;
        }
    }

    /// Reads at most `limit` of these messages, the oldest first.
    fn read(
        &self,
        seqs: RangeInclusive<u64>,
        limit: usize,
        page: &mut Page,
    ) -> Result<(), Failure> {
        let order = Order::Ascending;
        self.reading
            .messages(self.conversation, seqs, limit, order, page)
    }
}
