//! The contacts that a user has chosen.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The maximum number of contacts of one user.
pub(crate) const MAX_CONTACTS: usize = 1_000;

/// A user's contacts, under an id of the user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contacts<'a> {
    /// The names of the contacts, in bytewise order.
    #[serde(borrow)]
    pub(crate) users: BTreeSet<&'a str>,
}

impl<'a> Contacts<'a> {
    /// Adds the names in `add`, then removes those in `remove`. Returns whether the set changed.
    pub(crate) fn change(&mut self, add: &[&'a str], remove: &[&'a str]) -> bool {
        let before = self.users.clone();
        self.users.extend(add);
        for user in remove {
            self.users.remove(user);
        }
        self.users != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state;

    #[test]
    fn they_come_and_go_and_are_read_back() {
        let mut contacts = Contacts::default();
        assert!(!contacts.change(&[], &["bob"]));
        assert!(contacts.change(&["carol", "bob", "carol"], &[]));
        assert!(!contacts.change(&["bob"], &["dave"]));
        // Who is named in both is none in the end.
        assert!(contacts.change(&["dave"], &["dave", "carol"]));
        let bytes = state::encode(&contacts);
        assert_eq!(state::decode(&bytes), Some(contacts.clone()));
        assert_eq!(contacts.users.into_iter().collect::<Vec<_>>(), ["bob"]);
    }
}
