//! The number of messages of each author in a stretch of a conversation, under an id of
//! conversation and stretch.
//!
//! With tallies the gateway counts unread messages without reading them: the messages of a stretch,
//! less the user's own. The sequencer counts a stretch when it stores the last message of the
//! stretch, and again when a sender recalls one of its messages. Readers read the messages
//! themselves where no tally exists.

use serde::{Deserialize, Serialize};
use trunkline_storage::TimelineId;

use super::Form;
use crate::ids::{Ids, UserId};

/// The two lengths of counted stretches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Short,
    /// A stretch made of many short stretches. Its tally is the sum of theirs.
    Long,
}

/// The number of messages in a short stretch, and of short stretches in a long one.
pub(crate) const STRETCH: u64 = 256;
const LONG: u64 = 64 * STRETCH;

/// The maximum number of authors in the tally of a long stretch. With more authors only the short
/// stretches have tallies.
const MOST_AUTHORS: usize = 1_024;

/// The number of authors from which on the tally of a long stretch is removed when one of its messages goes.
/// Otherwise the store would write up to 8 KB for each such message. Readers then add the short stretches.
const MANY_AUTHORS: usize = 64;

/// The first bytes of a user's id, which is a keyed hash. They suffice to distinguish the authors
/// of a conversation.
type Author = [u8; 6];

/// The number of messages of each author in one stretch, without the recalled ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    rows: Vec<(Author, u32)>,
}

impl Form<'_> for Tally {
    const TAG: u8 = 20;
}

impl Level {
    pub(crate) const ALL: [Self; 2] = [Self::Short, Self::Long];

    /// Returns the number of messages in a stretch of this level.
    pub(crate) const fn messages(self) -> u64 {
        match self {
            Self::Short => STRETCH,
            Self::Long => LONG,
        }
    }

    /// Returns the number of the stretch that holds the message `seq`.
    pub(crate) const fn stretch(self, seq: u64) -> u64 {
        seq.saturating_sub(1) / self.messages()
    }

    /// Returns the key under which the store keeps the tally of a stretch.
    pub(crate) fn key(self, ids: &Ids, conversation: TimelineId, stretch: u64) -> TimelineId {
        ids.tally(conversation, stretch << 1 | self as u64)
    }

    /// Returns whether the message `seq` is the last of its stretch.
    pub(crate) const fn ends_with(self, seq: u64) -> bool {
        seq.is_multiple_of(self.messages())
    }
}

impl Tally {
    /// Adds `messages` messages of an author.
    pub(crate) fn add(&mut self, user: UserId, messages: u32) {
        if messages > 0 {
            self.add_row(author(user), messages);
        }
    }

    fn add_row(&mut self, author: Author, messages: u32) {
        match self.rows.iter_mut().find(|row| row.0 == author) {
            Some(row) => row.1 += messages,
            None => self.rows.push((author, messages)),
        }
    }

    /// Subtracts one message of an author. Returns whether the tally had one.
    pub(crate) fn take(&mut self, user: UserId) -> bool {
        let author = author(user);
        let row = self.rows.iter_mut().find(|row| row.0 == author);
        row.is_some_and(|row| {
            let counted = row.1 > 0;
            row.1 = row.1.saturating_sub(1);
            counted
        })
    }

    /// Returns whether the tally of a stretch of this level is too long to be written again for each message
    /// that goes.
    pub(crate) fn is_long(&self, level: Level) -> bool {
        level == Level::Long && self.rows.len() >= MANY_AUTHORS
    }

    /// Returns the number of messages by all authors except `user`.
    pub(crate) fn of_others(&self, user: UserId) -> u64 {
        let author = author(user);
        let others = self.rows.iter().filter(|row| row.0 != author);
        others.map(|row| u64::from(row.1)).sum()
    }

    /// Returns the sum of two tallies; `None` if it has too many authors.
    pub(crate) fn with(mut self, other: &Self) -> Option<Self> {
        for &(author, messages) in &other.rows {
            self.add_row(author, messages);
        }
        (self.rows.len() <= MOST_AUTHORS).then_some(self)
    }
}

fn author(user: UserId) -> Author {
    let [a, b, c, d, e, f, ..] = user.0.to_le_bytes();
    [a, b, c, d, e, f]
}

#[cfg(test)]
mod tests {
    use trunkline_storage::TimelineId;

    use super::*;
    use crate::state;

    #[test]
    fn others_are_counted() {
        let [alice, bob, carol] = [1, 2, 3].map(TimelineId);
        let mut tally = Tally::default();
        tally.add(alice, 3);
        tally.add(bob, 2);
        tally.add(alice, 1);
        tally.add(carol, 0);
        assert_eq!(
            [alice, bob, carol].map(|user| tally.of_others(user)),
            [2, 4, 6]
        );
        assert!(tally.take(alice) && !tally.take(carol));
        assert_eq!(tally.of_others(bob), 3);
        let bytes = state::encode(&tally);
        assert_eq!(bytes.len(), 2 + 2 * 7);
        assert_eq!(state::decode(&bytes), Some(tally.clone()));
        let both = tally.clone().with(&tally).expect("few authors");
        assert_eq!(both.of_others(carol), 10);
        let mut many = Tally::default();
        (0..=MOST_AUTHORS as u128).for_each(|n| many.add(TimelineId(n), 1));
        assert_eq!(tally.with(&many), None);
    }

    #[test]
    fn stretches_follow_each_other() {
        for level in Level::ALL {
            let size = level.messages();
            for (seq, stretch) in [(1, 0), (size, 0), (size + 1, 1), (2 * size, 1)] {
                assert_eq!(level.stretch(seq), stretch, "{level:?} {seq}");
                assert_eq!(level.ends_with(seq), seq.is_multiple_of(size));
            }
        }
    }
}
