//! Converts the words of the protocol to protobuf enums, and back.

use super::wire;
use crate::message as m;

/// Implements both conversions between enums with the same variants. The zero of protobuf, which
/// means "not set", and the numbers of later versions have no word.
macro_rules! same {
    ($name:ident: $($variant:ident),+) => {
        impl From<m::$name> for wire::$name {
            fn from(word: m::$name) -> Self {
                match word {
                    $(m::$name::$variant => Self::$variant,)+
                }
            }
        }

        impl m::$name {
            pub(super) fn from_wire(number: i32) -> Option<Self> {
                match wire::$name::try_from(number) {
                    $(Ok(wire::$name::$variant) => Some(Self::$variant),)+
                    #[allow(unreachable_patterns, reason = "not all have a zero for \"not said\"")]
                    _ => None,
                }
            }
        }
    };
}

same!(ReceiptState: Read, Delivered, Unread);
same!(Visibility: All, Joined);
same!(Role: Member, Owner, Admin);
same!(Senders: All, Admins);
same!(Joining: Invite, Open);
same!(ChangeKind: Created, Added, Removed, Left, Renamed, Role, Set, Joined, Pinned, Unpinned);
