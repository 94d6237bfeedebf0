//! The windows of a user's inbox: which stretches of which channels belong to the user's events.

use trunkline_storage::{ReadError, TimelineId};

use super::reading::Reading;
use super::sets::{buckets, entries, steady};
use crate::ids::UserId;
use crate::state::{self, Inbox, NODE, Node, PIECE, Reach, Window};

/// The number of pieces of closed windows from which one page of events takes all windows. The page ends with
/// the last of them, and takes of later pieces the windows that began before.
const WHOLE: usize = 8;

/// The number of pieces of which a page has windows, at most: of [`WHOLE`], and of others those that were open
/// at its end, which are at most 1,000.
const MOST_PIECES: u64 = 1_000 + WHOLE as u64;

/// The parts of channels that belong to a user's events after some position.
#[derive(Default)]
pub(super) struct Windows {
    /// The open and the closed windows.
    pub(super) list: Vec<Window>,
    /// The position up to which all windows are in the list; `None` if no window is left out.
    pub(super) until: Option<u64>,
    /// The position before which the events of the user are gone.
    pub(super) floor: u64,
    /// Whether the user has deleted messages from the own view.
    pub(super) hides: bool,
}

impl Windows {
    /// Returns the number of windows of a user in which there can be events after `since`, about: a set that
    /// changes may count twice.
    ///
    /// # Errors
    /// The store could not be read, or holds an inbox of another form.
    pub(super) fn count(reading: &Reading, user: UserId, since: u64) -> Result<usize, ReadError> {
        let Some(value) = reading.stored(reading.ids().inbox(user))? else {
            return Ok(0);
        };
        let inbox: Inbox<'_> = state::decode(&value).ok_or(ReadError::NoRecord)?;
        let known = inbox.open.len() + inbox.closed.rest.len();
        let earlier = inbox.gathered.len() + inbox.kept.len();
        let pieces = match since < inbox.closed.end {
            // A page has no more of them.
            true => inbox.closed.pieces.min(MOST_PIECES) as usize,
            false => 0,
        };
        Ok(known + earlier + pieces * PIECE)
    }

    /// Reads the windows of a user in which there can be events after `since`.
    ///
    /// # Errors
    /// The store could not be read, or holds an inbox of another form. Nobody would notice missing
    /// events, so that is an error.
    pub(super) fn read(reading: &Reading, user: UserId, since: u64) -> Result<Self, ReadError> {
        let key = reading.ids().inbox(user);
        steady(|| {
            let Some(value) = reading.stored(key)? else {
                return Ok(Some(Self::default()));
            };
            let inbox: Inbox<'_> = state::decode(&value).ok_or(ReadError::NoRecord)?;
            let mut ended = Ended::new(reading, key, since);
            ended.find(&inbox)?;
            let mut list = entries(reading, key, inbox.open)?;
            let keys = (0..inbox.slots).map(|slot| reading.ids().closed_slot(key, slot));
            list.extend(buckets::<Window>(reading, &keys.collect::<Vec<_>>())?);
            list.append(&mut ended.found);
            // Windows that moved meanwhile are in neither place: an empty list may be wrong as well.
            // Pieces change only where an erasure removes them, and then no event so far is the user's.
            let is_apart = inbox.open.len() > 0 || inbox.slots > 0;
            if is_apart && reading.stored(key)?.as_ref() != Some(&value) {
                return Ok(None);
            }
            list.extend(inbox.gathered);
            list.extend(inbox.kept);
            list.extend(inbox.closed.rest);
            Ok(Some(Self {
                list,
                until: ended.until,
                floor: inbox.floor,
                hides: inbox.hides,
            }))
        })
    }
}

/// A look for the closed windows of one page of events.
///
/// A channel has one window at a time, and a user has a limited number of open windows. So of the pieces that end
/// behind the page, no more than that number of windows belong to it, however many pieces there are.
struct Ended<'r> {
    reading: &'r Reading,
    /// The key of the inbox.
    inbox: TimelineId,
    /// The position after which the page begins.
    since: u64,
    /// The windows found.
    found: Vec<Window>,
    /// The number of pieces of which all windows were taken, and the end of the last one.
    whole: usize,
    end: u64,
    /// The end of the page, once it is known.
    until: Option<u64>,
}

impl<'r> Ended<'r> {
    fn new(reading: &'r Reading, inbox: TimelineId, since: u64) -> Self {
        Self {
            reading,
            inbox,
            since,
            found: Vec::new(),
            whole: 0,
            end: 0,
            until: None,
        }
    }

    /// Finds the windows in the pieces of an inbox.
    fn find(&mut self, inbox: &Inbox<'_>) -> Result<(), ReadError> {
        if inbox.closed.end <= self.since {
            return Ok(());
        }
        for (level, number, len) in inbox.closed.last_nodes() {
            self.look_into(level, number, len)?;
        }
        Ok(())
    }

    /// Looks at the first `len` entries of a node.
    fn look_into(&mut self, level: u32, number: u64, len: usize) -> Result<(), ReadError> {
        let value = self.stored(level, number)?;
        let node: Node = match value {
            Some(value) => state::decode(&value).ok_or(ReadError::NoRecord)?,
            None => Node::default(),
        };
        for place in 0..len {
            // A repair can have lost what a node says. What lies below may be whole.
            let reach = node.reaches().get(place).filter(|reach| reach.end > 0);
            let number = number * NODE + place as u64;
            if reach.is_some_and(|reach| !self.concerns(*reach)) {
                continue;
            }
            if level > 1 {
                self.look_into(level - 1, number, NODE as usize)?;
            } else {
                self.take(number)?;
            }
        }
        Ok(())
    }

    /// Returns whether windows can be in the page that lie in these positions.
    fn concerns(&self, reach: Reach) -> bool {
        reach.end > self.since && self.until.is_none_or(|until| reach.after < until)
    }

    /// Takes the windows of a piece that belong to the page.
    fn take(&mut self, number: u64) -> Result<(), ReadError> {
        let key = self.reading.ids().closed(self.inbox, 0, number);
        let windows = buckets::<Window>(self.reading, &[key])?;
        let end = windows.iter().map(|window| window.until).max();
        let Some(end) = end.filter(|end| *end > self.since) else {
            return Ok(());
        };
        if self.until.is_none() && self.whole == WHOLE {
            self.until = Some(self.end);
        }
        let concerned = windows.into_iter().filter(|window| {
            self.concerns(Reach {
                after: window.after,
                end: window.until,
            })
        });
        let concerned: Vec<_> = concerned.collect();
        self.found.extend(concerned);
        if self.until.is_none() {
            (self.whole, self.end) = (self.whole + 1, end);
        }
        Ok(())
    }

    fn stored(&self, level: u32, number: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let key = self.reading.ids().closed(self.inbox, level, number);
        self.reading.stored(key)
    }
}

#[cfg(test)]
mod tests;
