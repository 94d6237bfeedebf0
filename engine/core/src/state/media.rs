//! The conversations in which messages name media that this gateway keeps.

use serde::{Deserialize, Serialize};

use super::Form;

/// The most entries of one list: up to 39 bytes each.
const MOST: usize = 256;

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
}

/// All conversations in which messages name one file, in the order of the first such message of each
/// sender.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shares(pub(crate) Vec<Share>);

impl Form<'_> for Shares {
    const TAG: u8 = 28;
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    /// The entry was there before.
    Already,
    /// The entry is new.
    New,
    /// There is no room.
    Full,
}

impl Shares {
    /// Adds an entry, unless it is there or there is no room.
    pub(crate) fn add(&mut self, share: Share) -> Added {
        if self.0.contains(&share) {
            return Added::Already;
        }
        let own = self.0.iter().filter(|other| other.by == share.by).count();
        if self.0.len() >= MOST || own >= MOST_BY_ONE {
            return Added::Full;
        }
        self.0.push(share);
        Added::New
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
        };
        assert_eq!(shares.add(share(1, 1)), Added::New);
        assert_eq!(shares.add(share(1, 1)), Added::Already);
        let user = Share {
            by: 1,
            with: Place::User(1),
        };
        assert_eq!(shares.add(user), Added::New);
        for with in 2..MOST_BY_ONE as u128 {
            assert_eq!(shares.add(share(1, with)), Added::New);
        }
        assert_eq!(shares.add(share(1, 0)), Added::Full);
        assert_eq!(shares.add(share(1, 1)), Added::Already);
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
}
