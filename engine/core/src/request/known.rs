//! The ids of the 1:1 conversations that commands of a shard named of late.
//!
//! An id is a keyed hash of names, and a message needs those of its recipient and its conversation.
//! Nearly always the message before it on the same connection needed the same two.

use std::cell::RefCell;

use trunkline_storage::TimelineId;

use crate::ids::UserId;

/// The number of conversations.
const PLACES: usize = 256;

/// The most bytes of a name that is kept. Longer names are rare.
const NAME: usize = 23;

/// The ids of a 1:1 conversation, as seen by one of its members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct DirectIds {
    /// The id of the other member.
    pub(super) other: UserId,
    /// The id of the conversation.
    pub(super) conversation: TimelineId,
}

/// The ids of up to 256 conversations, each in a place that follows from its members. A later one takes
/// the place of an earlier one.
#[derive(Debug, Default)]
pub struct Known(RefCell<Box<[Entry]>>);

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// The member whose command named the conversation. The id covers the namespace too.
    caller: UserId,
    ids: DirectIds,
    length: u8,
    name: [u8; NAME],
}

impl Known {
    /// Returns the ids of the conversation of `caller` with the user `other` of the same namespace. Asks
    /// `make` for them unless they are known.
    #[allow(
        clippy::inline_always,
        reason = "a call takes more than the look-up, and each message needs it once"
    )]
    #[inline(always)]
    pub(super) fn ids(
        &self,
        caller: UserId,
        other: &str,
        make: impl FnOnce() -> DirectIds,
    ) -> DirectIds {
        let name = other.as_bytes();
        if name.len() > NAME {
            return make();
        }
        let mut entries = self.0.borrow_mut();
        if entries.is_empty() {
            *entries = vec![Entry::default(); PLACES].into();
        }
        let entry = &mut entries[place(caller, name)];
        if entry.caller != caller || &entry.name[..usize::from(entry.length)] != name {
            let mut kept = [0; NAME];
            kept[..name.len()].copy_from_slice(name);
            *entry = Entry {
                caller,
                ids: make(),
                length: name.len() as u8,
                name: kept,
            };
        }
        entry.ids
    }
}

/// Returns the place of a conversation. The ends of names differ most.
fn place(caller: UserId, name: &[u8]) -> usize {
    let end = name.iter().rev().take(4);
    let end = end.fold(0, |hash: usize, byte| {
        hash.wrapping_mul(31).wrapping_add(usize::from(*byte))
    });
    (caller.0 as usize).wrapping_add(end) % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(n: u128) -> DirectIds {
        DirectIds {
            other: TimelineId(n),
            conversation: TimelineId(n + 1),
        }
    }

    #[test]
    fn the_ids_of_a_conversation_are_made_once() {
        let known = Known::default();
        let [alice, carol] = [TimelineId(1), TimelineId(1 + PLACES as u128)];
        let never = || panic!("it is known");
        assert_eq!(known.ids(alice, "bob", || ids(7)), ids(7));
        assert_eq!(known.ids(alice, "bob", never), ids(7));
        // Another peer, also one whose name begins alike.
        assert_eq!(known.ids(alice, "bo", || ids(8)), ids(8));
        assert_eq!(known.ids(alice, "bob", never), ids(7));
        // Another caller in the same place.
        assert_eq!(known.ids(carol, "bob", || ids(9)), ids(9));
        assert_eq!(known.ids(alice, "bob", || ids(7)), ids(7));
    }

    #[test]
    fn long_names_and_the_empty_one_are_made_each_time() {
        let known = Known::default();
        for name in ["x".repeat(NAME + 1), "x".repeat(64)] {
            for n in 0..3 {
                assert_eq!(known.ids(TimelineId(1), &name, || ids(n)), ids(n));
            }
        }
        let longest = "x".repeat(NAME);
        assert_eq!(known.ids(TimelineId(1), &longest, || ids(1)), ids(1));
        assert_eq!(known.ids(TimelineId(1), &longest, || ids(2)), ids(1));
    }
}
