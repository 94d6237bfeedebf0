//! The number of messages in a conversation that a user has not read.

use trunkline_storage::{Order, Page, Reader, TimelineId};

use super::access::{CORRUPT, View};
use super::answer::{Failure, failure};
use crate::event::Body;
use crate::ids::{Ids, UserId};
use crate::state::{self, Level, Tally};

/// The user and the messages of one count.
pub(super) struct Unread<'a> {
    pub(super) user: UserId,
    /// The user's name.
    pub(super) name: &'a str,
    /// Whether the user has deleted messages from the own view.
    pub(super) hides: bool,
    pub(super) conversation: TimelineId,
}

impl Unread<'_> {
    /// Counts the messages of others after `read` up to `last` that can still be read: those
    /// neither recalled, nor deleted by the user, nor expired.
    ///
    /// Whole stretches are counted by what the store knows of them. So this reads at most two
    /// stretches of messages, one at each end, and the counts between; more only where the user has
    /// deleted messages, and where an earlier version stored them without counts.
    ///
    /// # Errors
    /// The store could not be read.
    pub(super) fn count(
        &self,
        (store, ids): (&Reader, &Ids),
        (read, last): (u64, u64),
        page: &mut Page,
    ) -> Result<u64, Failure> {
        if read >= last {
            return Ok(0);
        }
        let mut next = read + 1;
        if last - read >= Level::Short.messages() {
            // What has expired is in no message, and perhaps in a count.
            let first = store.first_seq(self.conversation);
            match first.map_err(|error| failure(&error))? {
                0 => return Ok(0),
                first => next = next.max(first),
            }
        }
        let mut view = View::new((store, ids), self.user);
        let mut count = 0;
        while next <= last {
            let counted = self.counted((store, ids), (next, last), &mut view)?;
            let (others, end) = match counted {
                Some(counted) => counted,
                None => {
                    let stretch = Level::Short.stretch(next) + 1;
                    let end = last.min(stretch * Level::Short.messages());
                    match self.looked_at(store, (next, end), &mut view, page)? {
                        Some(others) => (others, end),
                        // A repair has left out sequences, however many: on behind them.
                        None => match self.behind(store, (end, last), page)? {
                            Some(found) => (0, found - 1),
                            None => break,
                        },
                    }
                }
            };
            (count, next) = (count + others, end + 1);
        }
        Ok(count)
    }

    /// Returns the count of the longest counted stretch that begins at `next`, and where it ends.
    fn counted(
        &self,
        (store, ids): (&Reader, &Ids),
        (next, last): (u64, u64),
        view: &mut View<'_>,
    ) -> Result<Option<(u64, u64)>, Failure> {
        for level in [Level::Long, Level::Short] {
            let end = next + level.messages() - 1;
            if !level.ends_with(next - 1) || end > last || self.deleted(view, next, end)? {
                continue;
            }
            let key = level.key(ids, self.conversation, level.stretch(next));
            if let Some(value) = store.state(key).map_err(|error| failure(&error))? {
                let tally: Tally = state::decode(&value).ok_or(CORRUPT)?;
                return Ok(Some((tally.of_others(self.user), end)));
            }
        }
        Ok(None)
    }

    /// Returns whether the user has deleted one of these messages.
    fn deleted(&self, view: &mut View<'_>, next: u64, end: u64) -> Result<bool, Failure> {
        if self.hides {
            for seq in next..=end {
                if view
                    .hides(self.conversation, seq)
                    .map_err(|error| failure(&error))?
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Returns the first message after `end`, up to `last`.
    fn behind(
        &self,
        store: &Reader,
        (end, last): (u64, u64),
        page: &mut Page,
    ) -> Result<Option<u64>, Failure> {
        if end >= last {
            return Ok(None);
        }
        store
            .range(self.conversation, end + 1..=last, 1, Order::Ascending, page)
            .map_err(|error| failure(&error))?;
        Ok(page.records().next().map(|record| record.seq))
    }

    /// Counts these messages one by one; `None` if there are none.
    fn looked_at(
        &self,
        store: &Reader,
        (mut next, end): (u64, u64),
        view: &mut View<'_>,
        page: &mut Page,
    ) -> Result<Option<u64>, Failure> {
        let (mut count, mut found) = (0, false);
        while next <= end {
            let most = Level::Short.messages() as usize;
            store
                .range(self.conversation, next..=end, most, Order::Ascending, page)
                .map_err(|error| failure(&error))?;
            let Some(last) = page.records().last().map(|record| record.seq) else {
                break;
            };
            for record in page.records() {
                let Some(body) = Body::read(record.body) else {
                    continue;
                };
                if body.user != self.name && !body.recalled {
                    count += u64::from(!self.deleted(view, record.seq, record.seq)?);
                }
            }
            (next, found) = (last + 1, true);
        }
        Ok(found.then_some(count))
    }
}
