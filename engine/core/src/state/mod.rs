//! What the store keeps under a key beside messages: who is in a group, how far a member has
//! read, where a user takes part.
//!
//! The sequencer writes these values, each in the very record that causes it; readers decode them.
//! A value is a byte that says which of them it is, and a struct in postcard's form; an empty value
//! is none.

mod advance;
mod contacts;
mod created;
mod direct;
mod group;
mod hidden;
mod inbox;
mod last_seen;
mod reactions;
mod tally;

use serde::{Deserialize, Serialize};

pub(crate) use advance::Advance;
pub(crate) use contacts::{Contacts, MAX_CONTACTS};
pub(crate) use created::Created;
pub(crate) use direct::{Direct, Marks};
pub(crate) use group::{Entry, Head, Member, ROSTER_CHUNK, Role, Roster};
pub(crate) use hidden::Hidden;
pub(crate) use inbox::{Inbox, InboxChunk, InboxEntry};
pub(crate) use last_seen::LastSeen;
pub(crate) use reactions::{Full, Reactions};
pub(crate) use tally::{Level, STRETCH, Tally};

/// A value of the store.
pub(crate) trait Form<'a>: Sized {
    /// Its first byte. Part of the disk format: a struct of another shape gets another.
    const TAG: u8;

    /// Reads a value of an earlier shape: its first byte, and the rest.
    fn earlier(_tag: u8, _rest: &'a [u8]) -> Option<Self> {
        None
    }
}

impl Form<'_> for Direct {
    const TAG: u8 = 10;
}
impl Form<'_> for Advance {
    const TAG: u8 = 14;
}
impl<'a> Form<'a> for InboxChunk<'a> {
    const TAG: u8 = 7;
}
impl<'a> Form<'a> for Reactions<'a> {
    const TAG: u8 = 8;
}
impl<'a> Form<'a> for Contacts<'a> {
    const TAG: u8 = 9;
}
impl Form<'_> for LastSeen {
    const TAG: u8 = 14;
}

/// A value's bytes.
pub(crate) fn encode<'a, T: Form<'a> + Serialize>(value: &T) -> Vec<u8> {
    // A vector takes everything, and none of the values holds a type that cannot be written.
    postcard::to_extend(value, vec![T::TAG]).unwrap_or_default()
}

/// Reads what [`encode`] wrote, in this version or an earlier one; `None` for anything else.
pub(crate) fn decode<'a, T: Form<'a> + Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    let (&tag, rest) = bytes.split_first()?;
    if tag == T::TAG {
        postcard::from_bytes(rest).ok()
    } else {
        T::earlier(tag, rest)
    }
}
