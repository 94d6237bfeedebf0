//! The reactions to one message, under an id of conversation and sequence.

use serde::{Deserialize, Serialize};

/// Reactions that one message keeps.
pub(crate) const MAX_REACTIONS: usize = 500;

/// Who reacted with what, in the order they did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reactions<'a> {
    /// User and reaction, each pair once.
    #[serde(borrow)]
    pub(crate) list: Vec<(&'a str, &'a str)>,
}

impl<'a> Reactions<'a> {
    /// Adds or removes one; whether that changed anything.
    pub(crate) fn set(&mut self, user: &'a str, reaction: &'a str, remove: bool) -> bool {
        let at = self.list.iter().position(|&one| one == (user, reaction));
        match (at, remove) {
            (Some(at), true) => {
                self.list.remove(at);
                true
            }
            (None, false) => {
                self.list.push((user, reaction));
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reaction_is_there_once_or_not() {
        let mut reactions = Reactions::default();
        assert!(reactions.set("bob", "like", false));
        assert!(!reactions.set("bob", "like", false));
        assert!(reactions.set("bob", "heart", false));
        assert!(!reactions.set("carol", "like", true));
        assert!(reactions.set("bob", "like", true));
        assert_eq!(reactions.list, [("bob", "heart")]);
    }
}
