//! The values that the store keeps under keys, beside messages: the members of a group, the marks
//! of a member, the conversations of a user.
//!
//! The sequencer writes each value in the record that causes the change; readers decode it. A value
//! is one byte that says its type, followed by a struct in postcard's form. An empty value means
//! that there is none.

mod advance;
mod buckets;
mod closed;
mod contacts;
mod created;
mod direct;
mod erasure;
mod group;
mod hidden;
mod inbox;
mod last_seen;
mod media;
mod profile;
mod reactions;
mod series;
mod settings;
mod tally;
mod ttls;

use serde::{Deserialize, Serialize};

pub(crate) use advance::Advance;
pub(crate) use buckets::{Bucket, Entry as BucketEntry, Spread};
pub(crate) use closed::{Closed, NODE, Node, PIECE, Reach};
pub(crate) use contacts::{Contact, Contacts, MAX_CONTACTS};
pub(crate) use created::Created;
pub(crate) use direct::{Acked, Direct, Marks};
pub(crate) use erasure::{Erased, Erasing, Erasings, FirstSeen};
pub(crate) use group::{Entry, Head, Member, ROSTER_CHUNK, Role, Roster};
pub(crate) use hidden::Hidden;
pub(crate) use inbox::{Inbox, InboxChunk, InboxEntry, Window};
pub(crate) use last_seen::LastSeen;
pub(crate) use media::{
    Added, FEW_SHARES, KeptShare, Passing, Place, Share, Shares, SharesHead, has_room,
};
pub(crate) use profile::{MAX_PINS, Pin, Pins, Profile};
pub(crate) use reactions::{
    Full, Reacted, ReactionCount, ReactionHead, Reactions, Room, SMALL_REACTIONS,
};
pub(crate) use series::{Piece, Series};
pub(crate) use settings::Settings;
pub(crate) use tally::{Level, STRETCH, Tally};
pub(crate) use ttls::{DUE_SPAN, Ttls};

/// A type of value that the store keeps under a key.
pub(crate) trait Form<'a>: Sized {
    /// The first byte of the value. It is part of the disk format: a struct of another shape gets
    /// another byte.
    const TAG: u8;

    /// Reads a value of an earlier shape. `_tag` is its first byte, `_rest` what follows.
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
impl Form<'_> for LastSeen {
    const TAG: u8 = 14;
}

/// Returns the bytes of a value, its tag first.
pub(crate) fn encode<'a, T: Form<'a> + Serialize>(value: &T) -> Vec<u8> {
    // Most values fit, so that the vector need not grow byte by byte.
    let mut bytes = Vec::with_capacity(64);
    bytes.push(T::TAG);
    // A vector takes everything, and none of the values holds a type that cannot be written.
    postcard::to_extend(value, bytes).unwrap_or_default()
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
