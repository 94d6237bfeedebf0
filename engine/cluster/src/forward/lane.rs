//! Numbered items on their way to one other node.

use std::collections::VecDeque;
use std::time::Duration;

/// The time without a receipt after which items go again.
pub const RESEND: Duration = Duration::from_millis(300);

/// The most items without a receipt.
pub const WINDOW: usize = 64;

/// The sending end of a lane: items with consecutive numbers from 1, each of which is sent again until the other side
/// has confirmed it. Without a receipt only the first item goes again, and the others wait for its receipt: the other side
/// may not be there, or have no room.
///
/// Between two calls: the items are those with the numbers `first..first + items.len()`, none of them is confirmed, all
/// before them are, and there are at most [`WINDOW`].
#[derive(Debug, Clone)]
pub struct Lane<T> {
    first: u64,
    /// The items, with the time at which each was sent last; `None` if it is to be sent.
    items: VecDeque<(T, Option<Duration>)>,
    /// Whether only the first item goes again, until it is confirmed.
    is_probing: bool,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self {
            first: 1,
            items: VecDeque::new(),
            is_probing: false,
        }
    }
}

impl<T> Lane<T> {
    /// Returns whether there is room for another item.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.items.len() < WINDOW
    }

    /// Adds an item, to be sent. Returns its number.
    ///
    /// # Errors
    /// There is no room: the item comes back.
    pub fn push(&mut self, item: T) -> Result<u64, T> {
        if !self.has_room() {
            return Err(item);
        }
        self.items.push_back((item, None));
        Ok(self.first + self.items.len() as u64 - 1)
    }

    /// Notes that the other side has all items up to a number. Numbers that were never given confirm nothing.
    pub fn confirm(&mut self, number: u64) {
        if number >= self.first + self.items.len() as u64 {
            return;
        }
        let before = self.first;
        while self.first <= number && self.items.pop_front().is_some() {
            self.first += 1;
        }
        if self.is_probing && self.first > before {
            self.is_probing = false;
            self.items.iter_mut().for_each(|(_, sent)| *sent = None);
        }
    }

    /// Returns the next item to send, with its number. If the first item was sent [`RESEND`] ago or earlier, it goes
    /// again, and once it is confirmed all others do.
    pub fn poll(&mut self, now: Duration) -> Option<(u64, &T)> {
        let is_late =
            |&(_, sent): &(T, Option<Duration>)| sent.is_some_and(|at| at + RESEND <= now);
        if self.items.front().is_some_and(is_late) {
            self.is_probing = true;
            self.items[0].1 = None;
        }
        let at = self.unsent()?;
        let (item, sent) = &mut self.items[at];
        *sent = Some(now);
        Some((self.first + at as u64, item))
    }

    /// Returns when [`poll`](Self::poll) has something again: at once if it is zero, never if it is `None`.
    #[must_use]
    pub fn wake(&self) -> Option<Duration> {
        let (_, first) = self.items.front()?;
        if self.unsent().is_some() {
            return Some(Duration::ZERO);
        }
        first.map(|at| at + RESEND)
    }

    /// Returns where the next item to send is.
    fn unsent(&self) -> Option<usize> {
        let most = if self.is_probing { 1 } else { self.items.len() };
        let mut items = self.items.iter().take(most);
        items.position(|(_, sent)| sent.is_none())
    }

    /// Returns the number of the last item that is not confirmed; `None` if there is none.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        let len = self.items.len() as u64;
        (len > 0).then(|| self.first + len - 1)
    }

    /// Returns the items that are not confirmed, with their numbers.
    pub fn items(&self) -> impl Iterator<Item = (u64, &T)> {
        (self.first..).zip(self.items.iter().map(|(item, _)| item))
    }
}
