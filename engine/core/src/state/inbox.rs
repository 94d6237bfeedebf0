//! A user's inbox: the user's conversations, and the channels from which the user catches up.
//!
//! The inbox itself holds the newest conversations; older ones are in chunks that never change. The
//! channels of groups in which the user is a member are spread over buckets. So a new conversation
//! or group rewrites a few hundred bytes, however many of them a user has.

use serde::{Deserialize, Serialize};

use super::buckets::{Entry, Spread};
use super::closed::Closed;
use super::{Form, decode};
use crate::ids::Ids;

/// The number of conversations that the inbox itself holds. One more turns them into a chunk.
pub(crate) const OPEN_PLACES: usize = 8;

/// The number of slots in which an earlier version kept closed windows, and the number of windows in each.
const SLOTS: u64 = 8;
const SLOT: u64 = 8;

/// The inbox of a user, under an id of the user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inbox<'a> {
    /// The number of chunks with older conversations. The oldest has number 0.
    pub(crate) chunks: u32,
    /// The newest conversations, in the order in which they began.
    #[serde(borrow)]
    pub(crate) places: Vec<InboxEntry<'a>>,
    /// The closed windows: channels of groups that the user is no longer in, and may still catch up from.
    pub(crate) closed: Closed,
    /// The position up to which the events of the user are gone. Catching up cannot start before it.
    pub(crate) floor: u64,
    /// Whether the user has deleted messages from the own view.
    pub(crate) hides: bool,
    /// How the open windows are spread over buckets. The key of the inbox is the key of the set.
    pub(crate) open: Spread,
    /// The open windows that an earlier version kept in the inbox itself. The next change moves them to
    /// buckets.
    #[serde(skip)]
    pub(crate) gathered: Vec<Window>,
    /// The closed windows that an earlier version kept in the inbox itself, in the order of their ends, and
    /// the number of slots in which it kept the ones before. The next change moves them all to `closed`.
    #[serde(skip)]
    pub(crate) kept: Vec<Window>,
    #[serde(skip)]
    pub(crate) slots: u64,
}

/// Older conversations of a user, under an id of user and number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InboxChunk<'a> {
    #[serde(borrow)]
    pub(crate) places: Vec<InboxEntry<'a>>,
}

impl<'a> InboxChunk<'a> {
    /// Reads a stored chunk for a list; `None` if it has another form. One that is missing is empty: a repair of the
    /// store gave up the record that made it, and the inbox still counts it.
    pub(crate) fn read(value: Option<&'a [u8]>) -> Option<Self> {
        value.map_or_else(|| Some(Self::default()), decode)
    }
}

/// A conversation in the inbox of one of its members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum InboxEntry<'a> {
    /// The 1:1 conversation with the user of this name.
    Direct(&'a str),
    /// The group of this name.
    Group(&'a str),
}

/// A range of a channel's positions. The events in it belong to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    /// The id of the channel.
    pub(crate) channel: u128,
    /// The position after which the range begins.
    pub(crate) after: u64,
    /// The position of the last event in the range; 0 while the user is a member.
    pub(crate) until: u64,
    /// The sequence of the first message that the user sees. Events about earlier messages do not
    /// belong to the user.
    pub(crate) first: u64,
}

impl Entry for Window {
    const TAG: u8 = 22;

    fn hash(&self, _: &Ids) -> u64 {
        Self::hash_of(self.channel)
    }
}

impl Window {
    /// Returns the hash of the window of a channel. The id of a channel is a keyed hash already.
    pub(crate) fn hash_of(channel: u128) -> u64 {
        channel as u64
    }
}

/// An inbox of an earlier version. Its windows are in it, open and closed ones mixed.
#[derive(Deserialize)]
struct Before<'a, W> {
    chunks: u32,
    #[serde(borrow)]
    places: Vec<InboxEntry<'a>>,
    windows: Vec<W>,
    floor: u64,
    hides: bool,
}

#[derive(Deserialize)]
struct WindowBefore {
    channel: u128,
    after: u64,
    until: u64,
}

impl From<WindowBefore> for Window {
    fn from(window: WindowBefore) -> Self {
        Self {
            channel: window.channel,
            after: window.after,
            until: window.until,
            first: 0,
        }
    }
}

impl<'a, W: Into<Window>> Before<'a, W> {
    fn into_inbox(self) -> Inbox<'a> {
        let windows = self.windows.into_iter().map(Into::into);
        let (gathered, mut kept): (_, Vec<Window>) = windows.partition(|window| window.until == 0);
        kept.sort_by_key(|window| window.until);
        Inbox {
            chunks: self.chunks,
            places: self.places,
            floor: self.floor,
            hides: self.hides,
            gathered,
            kept,
            ..Inbox::default()
        }
    }
}

/// An inbox of an earlier version, whose closed windows are in a few slots. More became a floor.
#[derive(Deserialize)]
struct Slotted<'a> {
    chunks: u32,
    #[serde(borrow)]
    places: Vec<InboxEntry<'a>>,
    ended: u64,
    closed: Vec<Window>,
    floor: u64,
    hides: bool,
    open: Spread,
}

impl<'a> Slotted<'a> {
    fn into_inbox(self) -> Inbox<'a> {
        Inbox {
            chunks: self.chunks,
            places: self.places,
            floor: self.floor,
            hides: self.hides,
            open: self.open,
            kept: self.closed,
            slots: (self.ended / SLOT).min(SLOTS),
            ..Inbox::default()
        }
    }
}

impl<'a> Form<'a> for Inbox<'a> {
    const TAG: u8 = 28;

    fn earlier(tag: u8, rest: &'a [u8]) -> Option<Self> {
        match tag {
            21 => {
                let inbox: Slotted<'a> = postcard::from_bytes(rest).ok()?;
                Some(inbox.into_inbox())
            }
            6 => {
                let inbox: Before<'a, WindowBefore> = postcard::from_bytes(rest).ok()?;
                Some(inbox.into_inbox())
            }
            18 => {
                let inbox: Before<'a, Window> = postcard::from_bytes(rest).ok()?;
                Some(inbox.into_inbox())
            }
            _ => None,
        }
    }
}

impl<'a> Inbox<'a> {
    /// Adds a conversation, unless it is among the newest. If the inbox is full, returns its
    /// conversations as the chunk to store, with the number that `chunks` had before the call.
    pub(crate) fn enter(&mut self, place: InboxEntry<'a>) -> Option<InboxChunk<'a>> {
        if self.places.contains(&place) {
            return None;
        }
        let full = (self.places.len() >= OPEN_PLACES).then(|| {
            self.chunks += 1;
            InboxChunk {
                places: std::mem::take(&mut self.places),
            }
        });
        self.places.push(place);
        full
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{decode, encode};

    #[test]
    fn conversations_move_into_chunks_and_none_is_lost() {
        let names: Vec<_> = (0..100).map(|n| format!("user-{n}")).collect();
        let (mut inbox, mut chunks) = (Inbox::default(), Vec::new());
        for name in &names {
            let before = inbox.chunks;
            if let Some(chunk) = inbox.enter(InboxEntry::Direct(name)) {
                assert_eq!((before as usize, before + 1), (chunks.len(), inbox.chunks));
                chunks.push(chunk);
            }
            assert_eq!(inbox.enter(InboxEntry::Direct(name)), None, "already there");
            assert!(inbox.places.len() <= OPEN_PLACES);
        }
        let old = chunks.iter().flat_map(|chunk| &chunk.places);
        let all: Vec<_> = old.chain(&inbox.places).copied().collect();
        let expect: Vec<_> = names.iter().map(|name| InboxEntry::Direct(name)).collect();
        assert_eq!(all, expect);
        let bytes = encode(&inbox);
        assert_eq!(decode(&bytes), Some(inbox));
    }

    #[test]
    fn an_inbox_of_an_earlier_version_is_read() {
        let places = [InboxEntry::Group("eng")];
        let window = |channel, until, first| Window {
            channel,
            after: 100,
            until,
            first,
        };
        let without_first = [(7_u128, 100_u64, 0_u64), (8, 100, 140)];
        let before = (
            2_u32,
            places.as_slice(),
            without_first.as_slice(),
            9_u64,
            true,
        );
        let oldest = postcard::to_extend(&before, vec![6]).unwrap();
        let windows = [window(7, 0, 3), window(8, 140, 4)];
        let before = (2_u32, places.as_slice(), windows.as_slice(), 9_u64, true);
        let older = postcard::to_extend(&before, vec![18]).unwrap();
        for (bytes, open, closed) in [
            (oldest, window(7, 0, 0), window(8, 140, 0)),
            (older, window(7, 0, 3), window(8, 140, 4)),
        ] {
            let inbox: Inbox<'_> = decode(&bytes).expect("an inbox");
            assert_eq!((inbox.chunks, inbox.floor, inbox.hides), (2, 9, true));
            assert_eq!((inbox.gathered, inbox.kept), (vec![open], vec![closed]));
            assert_eq!(inbox.places, places);
        }
    }

    #[test]
    fn an_inbox_with_slots_of_closed_windows_is_read() {
        let places = [InboxEntry::Group("eng")];
        let window = Window {
            channel: 7,
            after: 100,
            until: 140,
            first: 3,
        };
        for (ended, slots) in [(3_u64, 0), (20, 2), (100, 8)] {
            let before = (2_u32, &places[..], ended, &[window][..]);
            let rest = (9_u64, true, Spread::in_one(5));
            let before = postcard::to_extend(&before, vec![21]).unwrap();
            let bytes = postcard::to_extend(&rest, before).unwrap();
            let inbox: Inbox<'_> = decode(&bytes).expect("an inbox");
            assert_eq!((inbox.slots, &inbox.kept[..]), (slots, &[window][..]));
            assert_eq!((inbox.open.len(), inbox.floor), (5, 9));
            assert_eq!((inbox.gathered.len(), inbox.closed), (0, Closed::default()));
        }
    }
}
