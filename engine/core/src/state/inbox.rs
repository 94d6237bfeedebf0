//! A user's inbox: the user's conversations, and the channels from which the user catches up.
//!
//! The inbox itself holds the newest conversations; older ones are in chunks that never change. So
//! a new conversation rewrites a few hundred bytes, however many conversations a user has.

use serde::{Deserialize, Serialize};

use super::Form;

/// The number of conversations that the inbox itself holds. One more turns them into a chunk.
pub(crate) const OPEN_PLACES: usize = 16;

/// The maximum number of closed windows: channels of groups that the user left and may still catch
/// up from.
const MAX_CLOSED: usize = 64;

/// The inbox of a user, under an id of the user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inbox<'a> {
    /// The number of chunks with older conversations. The oldest has number 0.
    pub(crate) chunks: u32,
    /// The newest conversations, in the order in which they began.
    #[serde(borrow)]
    pub(crate) places: Vec<InboxEntry<'a>>,
    /// The parts of channels that belong to the user's events.
    pub(crate) windows: Vec<Window>,
    /// The position up to which closed windows are forgotten. Catching up cannot start before it.
    pub(crate) floor: u64,
    /// Whether the user has deleted messages from the own view.
    pub(crate) hides: bool,
}

/// Older conversations of a user, under an id of user and number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InboxChunk<'a> {
    #[serde(borrow)]
    pub(crate) places: Vec<InboxEntry<'a>>,
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

#[derive(Deserialize)]
struct Before<'a> {
    chunks: u32,
    #[serde(borrow)]
    places: Vec<InboxEntry<'a>>,
    windows: Vec<WindowBefore>,
    floor: u64,
    hides: bool,
}

#[derive(Deserialize)]
struct WindowBefore {
    channel: u128,
    after: u64,
    until: u64,
}

impl<'a> Form<'a> for Inbox<'a> {
    const TAG: u8 = 18;

    fn earlier(tag: u8, rest: &'a [u8]) -> Option<Self> {
        let inbox: Before<'a> = (tag == 6)
            .then(|| postcard::from_bytes(rest).ok())
            .flatten()?;
        let windows = inbox.windows.into_iter().map(|window| Window {
            channel: window.channel,
            after: window.after,
            until: window.until,
            first: 0,
        });
        Some(Self {
            chunks: inbox.chunks,
            places: inbox.places,
            windows: windows.collect(),
            floor: inbox.floor,
            hides: inbox.hides,
        })
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

    /// Opens a window: events in `channel` after the position `after` belong to the user, unless
    /// they are about messages before `first`.
    pub(crate) fn open(&mut self, channel: u128, after: u64, first: u64) {
        if !self
            .windows
            .iter()
            .any(|w| w.channel == channel && w.until == 0)
        {
            self.windows.push(Window {
                channel,
                after,
                until: 0,
                first,
            });
        }
    }

    /// Closes the window of `channel`: events after the position `until` no longer belong to the
    /// user.
    pub(crate) fn close(&mut self, channel: u128, until: u64) {
        self.windows.retain_mut(|window| {
            if window.channel == channel && window.until == 0 {
                window.until = until;
            }
            window.until == 0 || window.after < window.until
        });
        let closed = self.windows.iter().filter(|w| w.until != 0);
        let mut over = closed.count().saturating_sub(MAX_CLOSED);
        let floor = &mut self.floor;
        self.windows.retain(|window| {
            let forget = window.until != 0 && over > 0;
            if forget {
                over -= 1;
                *floor = (*floor).max(window.until);
            }
            !forget
        });
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
    fn windows_open_once_and_the_oldest_closed_become_a_floor() {
        let mut inbox = Inbox::default();
        inbox.open(7, 100, 3);
        inbox.open(7, 200, 9);
        let window = |after, until| Window {
            channel: 7,
            after,
            until,
            first: 3,
        };
        assert_eq!(inbox.windows, [window(100, 0)], "it is open already");
        inbox.close(7, 150);
        inbox.close(7, 999);
        assert_eq!(inbox.windows, [window(100, 150)], "it is closed already");
        inbox.open(7, 160, 3);
        inbox.close(7, 160);
        assert_eq!(inbox.windows, [window(100, 150)], "nothing can be in it");
        for n in 0..200 {
            inbox.open(7, 1000 + 10 * n, 3);
            inbox.close(7, 1005 + 10 * n);
        }
        inbox.open(8, 5000, 3);
        assert_eq!(inbox.windows.len(), MAX_CLOSED + 1);
        assert_eq!(inbox.floor, 1005 + 10 * (200 - MAX_CLOSED as u64 - 1));
        assert_eq!(inbox.windows[0].after, inbox.floor + 5, "the next is kept");
    }
    #[test]
    fn an_inbox_of_an_earlier_version_is_read() {
        let windows = [(7_u128, 100_u64, 0_u64)];
        let before = (
            2_u32,
            [InboxEntry::Group("eng")].as_slice(),
            &windows[..],
            9_u64,
            true,
        );
        let bytes = postcard::to_extend(&before, vec![6]).unwrap();
        let inbox: Inbox<'_> = decode(&bytes).expect("an inbox");
        let window = Window {
            channel: 7,
            after: 100,
            until: 0,
            first: 0,
        };
        assert_eq!((inbox.chunks, inbox.floor, inbox.hides), (2, 9, true));
        assert_eq!(
            (inbox.windows, inbox.places),
            (vec![window], vec![InboxEntry::Group("eng")])
        );
    }
}
