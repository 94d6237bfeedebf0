//! The contacts that a user has chosen.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Form;
use super::buckets::{Entry, Spread};
use crate::ids::Ids;

/// The maximum number of contacts of one user.
pub(crate) const MAX_CONTACTS: usize = 1_000;

/// The head of a user's contacts, under an id of the user, which is the key of the set too. A user
/// without contacts has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contacts {
    /// How the contacts are spread over buckets.
    pub(crate) users: Spread,
    /// The contacts that an earlier version kept in this value itself. The next change moves them to
    /// buckets.
    #[serde(skip)]
    pub(crate) gathered: Vec<Contact>,
}

/// One contact: the name of the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contact(pub(crate) String);

/// All contacts of a user in the form of an earlier version.
#[derive(Deserialize)]
struct Before<'a> {
    #[serde(borrow)]
    users: BTreeSet<&'a str>,
}

impl Form<'_> for Contacts {
    const TAG: u8 = 23;

    fn earlier(tag: u8, rest: &[u8]) -> Option<Self> {
        if tag != 9 {
            return None;
        }
        let before: Before<'_> = postcard::from_bytes(rest).ok()?;
        let users = before.users.into_iter();
        Some(Self {
            users: Spread::default(),
            gathered: users.map(|user| Contact(user.to_owned())).collect(),
        })
    }
}

impl Contact {
    /// Returns the hash of the contact with this name.
    pub(crate) fn hash_of(ids: &Ids, name: &str) -> u64 {
        ids.hash_of_name(name)
    }
}

impl Entry for Contact {
    const TAG: u8 = 24;

    fn hash(&self, ids: &Ids) -> u64 {
        Self::hash_of(ids, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state;

    #[test]
    fn contacts_of_an_earlier_version_are_read() {
        let names = BTreeSet::from(["bob", "carol"]);
        let before = postcard::to_extend(&names, vec![9]).unwrap();
        let contacts: Contacts = state::decode(&before).expect("contacts");
        let gathered = ["bob", "carol"].map(|name| Contact(name.to_owned()));
        assert_eq!(contacts.gathered, gathered);
        assert_eq!(contacts.users, Spread::default());
        assert_eq!(state::decode::<Contacts>(&[10, 0]), None);
    }
}
