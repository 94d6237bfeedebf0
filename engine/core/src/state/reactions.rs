//! The reactions to one message, under an id of conversation and sequence.
//!
//! A few reactions are a list in one value. More of them are spread over buckets, by the names of
//! their users, and each different reaction has a count. So a change rewrites a few reactions,
//! however many a message has.

use serde::{Deserialize, Serialize};

use super::Form;
use super::buckets::{Entry, Spread};
use crate::ids::Ids;

/// The maximum number of reactions that are a list. Lists of an earlier version may be longer: the
/// next change spreads them over buckets.
pub(crate) const SMALL_REACTIONS: usize = 12;

/// The maximum number of reactions of one user to one message.
pub(crate) const MAX_OF_USER: usize = 20;

/// The maximum number of different reactions to one message.
pub(crate) const MAX_DIFFERENT: usize = 100;

/// The maximum number of reactions to one message. Each pair of user and reaction counts.
pub(crate) const MAX_REACTIONS: usize = 2_000;

/// The number of reactions to one message from which on only users without a reaction to it may add
/// one. This keeps room for users who have not reacted yet.
pub(crate) const MAX_BEFORE_NEWCOMERS: usize = 1_000;

const _: () = assert!(MAX_OF_USER < MAX_DIFFERENT && MAX_BEFORE_NEWCOMERS < MAX_REACTIONS);

/// A few reactions to one message, in the order in which users added them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reactions<'a> {
    /// The pairs of user name and reaction, each pair once.
    #[serde(borrow)]
    pub(crate) list: Vec<(&'a str, &'a str)>,
}

/// The head of many reactions to one message. Its key is the key of the set too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReactionHead {
    /// How the reactions are spread over buckets.
    pub(crate) spread: Spread,
    /// The number of different reactions.
    pub(crate) different: u32,
    /// The place of the next reaction in the order of all of them.
    pub(crate) next: u64,
}

impl Form<'_> for ReactionHead {
    const TAG: u8 = 25;
}

/// A reaction of a user to a message that has many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reacted {
    pub(crate) user: String,
    pub(crate) reaction: String,
    /// The place in the order in which users added reactions.
    pub(crate) order: u64,
}

impl Entry for Reacted {
    const TAG: u8 = 26;

    fn hash(&self, ids: &Ids) -> u64 {
        ids.hash_of_name(&self.user)
    }
}

/// The number of users with one reaction to a message that has many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReactionCount(pub(crate) u32);

impl Form<'_> for ReactionCount {
    const TAG: u8 = 27;
}

/// What the limits of reactions depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// The number of reactions of the user to the message.
    pub(crate) own: usize,
    /// The number of reactions to the message.
    pub(crate) all: usize,
    /// The number of different reactions to the message.
    pub(crate) different: usize,
    /// Whether somebody has this reaction already.
    pub(crate) is_known: bool,
}

impl Room {
    /// Checks that there is room for one more reaction.
    ///
    /// # Errors
    /// The limit that prevents it.
    pub(crate) fn check(self) -> Result<(), Full> {
        if self.own >= MAX_OF_USER {
            return Err(Full::OfUser);
        }
        let most = if self.own == 0 {
            MAX_REACTIONS
        } else {
            MAX_BEFORE_NEWCOMERS
        };
        if self.all >= most {
            return Err(Full::All);
        }
        if !self.is_known && self.different >= MAX_DIFFERENT {
            return Err(Full::Different);
        }
        Ok(())
    }
}

/// The limit that prevents one more reaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The user already has [`MAX_OF_USER`] reactions to the message.
    OfUser,
    /// The message already has [`MAX_DIFFERENT`] different reactions.
    Different,
    /// The message has no room for more reactions: see [`MAX_REACTIONS`] and
    /// [`MAX_BEFORE_NEWCOMERS`].
    All,
}

impl<'a> Reactions<'a> {
    /// Adds or removes one reaction. Returns whether the list changed.
    ///
    /// # Errors
    /// A limit prevents one more reaction.
    pub(crate) fn set(
        &mut self,
        user: &'a str,
        reaction: &'a str,
        remove: bool,
    ) -> Result<bool, Full> {
        let at = self.list.iter().position(|&one| one == (user, reaction));
        match (at, remove) {
            (Some(at), true) => {
                self.list.remove(at);
                Ok(true)
            }
            (None, false) => {
                self.check_room(user, reaction)?;
                self.list.push((user, reaction));
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn check_room(&self, user: &str, reaction: &str) -> Result<(), Full> {
        let different = self.different();
        let room = Room {
            own: self.list.iter().filter(|(one, _)| *one == user).count(),
            all: self.list.len(),
            different: different.len(),
            is_known: different.iter().any(|(one, _)| *one == reaction),
        };
        room.check()
    }

    /// Returns the different reactions, each with the number of its users.
    pub(crate) fn different(&self) -> Vec<(&'a str, u32)> {
        let mut different = Vec::<(&str, u32)>::new();
        for &(_, reaction) in &self.list {
            match different.iter_mut().find(|(one, _)| *one == reaction) {
                Some((_, count)) => *count += 1,
                None => different.push((reaction, 1)),
            }
        }
        different
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reaction_is_there_once_or_not() {
        let mut reactions = Reactions::default();
        assert_eq!(reactions.set("bob", "like", false), Ok(true));
        assert_eq!(reactions.set("bob", "like", false), Ok(false));
        assert_eq!(reactions.set("bob", "heart", false), Ok(true));
        assert_eq!(reactions.set("carol", "like", true), Ok(false));
        assert_eq!(reactions.set("bob", "like", true), Ok(true));
        assert_eq!(reactions.list, [("bob", "heart")]);
    }

    #[test]
    fn nobody_takes_all_the_room() {
        let words: Vec<_> = (0..MAX_DIFFERENT).map(|n| format!("word {n}")).collect();
        let users: Vec<_> = (0..MAX_REACTIONS).map(|n| format!("user {n}")).collect();
        let mut reactions = Reactions::default();
        for word in &words[..MAX_OF_USER] {
            assert_eq!(reactions.set("mallory", word, false), Ok(true));
        }
        let more = reactions.set("mallory", &words[MAX_OF_USER], false);
        assert_eq!(more, Err(Full::OfUser));
        // Several users exhaust the different reactions. All users can still join one of these.
        for (user, words) in users.iter().zip(words[MAX_OF_USER..].chunks(MAX_OF_USER)) {
            for word in words {
                assert_eq!(reactions.set(user, word, false), Ok(true));
            }
        }
        assert_eq!(
            reactions.set("bob", "one more", false),
            Err(Full::Different)
        );
        assert_eq!(reactions.set("bob", "word 99", false), Ok(true));
        // Users who have reacted leave room for users who have not.
        let (first, last) = users.split_at(100);
        'full: for word in &words {
            for user in first {
                match reactions.set(user, word, false) {
                    Err(Full::All) => break 'full,
                    other => assert_ne!(other, Err(Full::Different)),
                }
            }
        }
        assert_eq!(reactions.list.len(), MAX_BEFORE_NEWCOMERS);
        assert_eq!(reactions.set("bob", "word 98", false), Err(Full::All));
        let mut joined = 0;
        for user in last {
            match reactions.set(user, "word 0", false) {
                Ok(true) => joined += 1,
                other => assert_eq!(other, Err(Full::All)),
            }
        }
        assert_eq!(joined, MAX_REACTIONS - MAX_BEFORE_NEWCOMERS);
        // A removed reaction makes room, and setting an existing one changes nothing.
        assert_eq!(reactions.set("bob", "word 99", false), Ok(false));
        assert_eq!(reactions.set("bob", "word 99", true), Ok(true));
        assert_eq!(reactions.set("bob", "word 99", false), Ok(true));
    }
}
