//! The conversations in which messages name media that this gateway keeps.

use serde::{Deserialize, Serialize};

use trunkline_storage::TimelineId;

use super::Form;
use super::buckets::{Entry, Spread};
use crate::ids::Ids;

/// The most entries of one file: up to 44 bytes each.
const MOST: usize = 256;

/// The most entries that are in one value. More of them are in buckets, so that a message that names the file
/// rewrites a few entries only.
pub(crate) const FEW_SHARES: usize = 8;

/// The most entries that one user makes in a list. So nobody who learns an id can fill the list alone.
const MOST_BY_ONE: usize = 64;

/// The members of a conversation, by the ids of users and groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    /// The sender and this user.
    User(u128),
    /// The members of this group.
    Group(u128),
}

/// One entry: somebody named the media in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Share {
    /// The sender of the message.
    pub(crate) by: u128,
    pub(crate) with: Place,
    /// The number of messages; 0 in an entry of an earlier version, which stays.
    pub(crate) messages: u32,
}

impl Share {
    /// Returns the key of those of its messages that expire. `media` is the key of the media.
    pub(crate) fn passing(&self, ids: &Ids, media: TimelineId) -> TimelineId {
        let (Place::User(with) | Place::Group(with)) = self.with;
        ids.passing(media, TimelineId(self.by), TimelineId(with))
    }

    /// Returns whether another entry is of the same sender and conversation.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        (self.by, self.with) == (other.by, other.with)
    }
}

/// The messages of a [`Share`] that expire, under a key of its own. A share without such messages has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Passing {
    /// The number of messages.
    pub(crate) messages: u32,
    /// The steady time at which the last of them expires, in milliseconds. It stays if that message goes
    /// before.
    pub(crate) until: u64,
}

impl Form<'_> for Passing {
    const TAG: u8 = 72;
}

impl Passing {
    /// Returns whether all messages of a share have expired.
    pub(crate) fn is_over(self, share: &Share, now: u64) -> bool {
        // A share of an earlier version counts no messages, and stays.
        share.messages > 0 && self.messages >= share.messages && self.until <= now
    }
}

/// The head of the entries of one file that are in buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SharesHead {
    /// How they are spread over the buckets. The key of the head is the key of the set.
    pub(crate) spread: Spread,
    /// The order of the next entry.
    pub(crate) next: u64,
}

impl Form<'_> for SharesHead {
    const TAG: u8 = 70;
}

/// An entry in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptShare {
    pub(crate) share: Share,
    /// The place of the entry among all of the file, which are in the order of their first messages.
    pub(crate) order: u64,
}

impl KeptShare {
    /// Returns the hash of the bucket of an entry. The ids are keyed hashes themselves.
    pub(crate) fn hash_of(share: &Share) -> u64 {
        let (Place::User(with) | Place::Group(with)) = share.with;
        (share.by ^ with.rotate_left(64)) as u64
    }
}

impl Entry for KeptShare {
    const TAG: u8 = 71;

    fn hash(&self, _: &Ids) -> u64 {
        Self::hash_of(&self.share)
    }
}

/// Returns whether there is room for one more entry of a sender, beside these.
pub(crate) fn has_room<'a>(entries: impl Iterator<Item = &'a Share>, by: u128) -> bool {
    let (mut all, mut own) = (0, 0);
    for share in entries {
        all += 1;
        own += usize::from(share.by == by);
    }
    all < MOST && own < MOST_BY_ONE
}

/// An entry of an earlier version.
#[derive(Deserialize)]
struct ShareBefore {
    by: u128,
    with: Place,
}

/// The conversations in which messages name one file, in the order of the first such message of each sender.
/// An earlier version kept all of them in this form, however many.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shares(pub(crate) Vec<Share>);

impl<'a> Form<'a> for Shares {
    const TAG: u8 = 63;

    fn earlier(tag: u8, rest: &'a [u8]) -> Option<Self> {
        if tag != 28 {
            return None;
        }
        let list: Vec<ShareBefore> = postcard::from_bytes(rest).ok()?;
        let share = |before: ShareBefore| Share {
            by: before.by,
            with: before.with,
            messages: 0,
        };
        Some(Self(list.into_iter().map(share).collect()))
    }
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    /// The entry was there before, and stays as it is.
    Already,
    /// The entry is new, or counts one more message.
    New,
    /// There is no room.
    Full,
}

impl Shares {
    fn place(&self, share: Share) -> Option<usize> {
        self.0.iter().position(|other| other.is_of(&share))
    }

    /// Adds an entry of one message, unless there is no room.
    pub(crate) fn add(&mut self, share: Share) -> Added {
        if let Some(at) = self.place(share) {
            let messages = &mut self.0[at].messages;
            if *messages == 0 {
                return Added::Already;
            }
            *messages = messages.saturating_add(1);
            return Added::New;
        }
        if !has_room(self.0.iter(), share.by) {
            return Added::Full;
        }
        self.0.push(share);
        Added::New
    }

    /// Takes one message out of its entry, and removes an entry without messages. Returns whether that
    /// changed the list.
    pub(crate) fn remove(&mut self, share: Share) -> bool {
        let Some(at) = self.place(share) else {
            return false;
        };
        match self.0[at].messages {
            0 => return false,
            1 => drop(self.0.remove(at)),
            _ => self.0[at].messages -= 1,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::{decode, encode};
    use super::*;

    #[test]
    fn a_list_has_each_entry_once_and_room_for_several_users() {
        let mut shares = Shares::default();
        let share = |by: u128, with: u128| Share {
            by,
            with: Place::Group(with),
            messages: 1,
        };
        assert_eq!(shares.add(share(1, 1)), Added::New);
        assert_eq!(shares.add(share(1, 1)), Added::New, "a second message");
        let user = Share {
            by: 1,
            with: Place::User(1),
            messages: 1,
        };
        assert_eq!(shares.add(user), Added::New);
        for with in 2..MOST_BY_ONE as u128 {
            assert_eq!(shares.add(share(1, with)), Added::New);
        }
        assert_eq!(shares.add(share(1, 0)), Added::Full);
        assert_eq!(shares.add(share(1, 1)), Added::New);
        for by in 2..5 {
            for with in 0..MOST_BY_ONE as u128 {
                assert_eq!(shares.add(share(by, with)), Added::New);
            }
        }
        assert_eq!(
            (shares.0.len(), shares.add(share(9, 1))),
            (MOST, Added::Full)
        );
        assert_eq!(decode(&encode(&shares)), Some(shares));
    }

    #[test]
    fn an_entry_goes_with_the_last_of_its_messages() {
        let share = |with| Share {
            by: 1,
            with: Place::User(with),
            messages: 1,
        };
        let mut shares = Shares::default();
        for with in [2, 3, 2] {
            assert_eq!(shares.add(share(with)), Added::New);
        }
        assert!(shares.remove(share(2)) && shares.place(share(2)).is_some());
        assert!(shares.remove(share(2)) && shares.place(share(2)).is_none());
        assert!(!shares.remove(share(2)));
        assert_eq!(shares.0, [share(3)]);
    }

    #[test]
    fn an_entry_of_an_earlier_version_stays() {
        let before = vec![(1_u128, Place::User(2))];
        let bytes = postcard::to_extend(&before, vec![28]).unwrap();
        let mut shares: Shares = decode(&bytes).unwrap();
        let share = Share {
            by: 1,
            with: Place::User(2),
            messages: 1,
        };
        assert_eq!(shares.add(share), Added::Already);
        assert!(!shares.remove(share));
        assert_eq!(shares.0.len(), 1);
    }
}
