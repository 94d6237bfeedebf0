//! A group's picture, rules and pinned messages: each under a key of its own, because they change at
//! other times than the head of the group.

use serde::{Deserialize, Serialize};

use super::Form;

/// The maximum number of pinned messages of a group.
pub(crate) const MAX_PINS: usize = 50;

/// The picture and the rules of a group. A group of an earlier version has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Profile<'a> {
    /// The URL of the picture; empty if there is none.
    pub(crate) picture: &'a str,
    /// Whether only owners and admins send messages.
    pub(crate) admins_send: bool,
    /// Whether anybody may join.
    pub(crate) open: bool,
}

impl<'a> Form<'a> for Profile<'a> {
    const TAG: u8 = 50;
}

/// A pinned message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pin {
    /// The sequence of the message.
    pub(crate) seq: u64,
    /// When the message was pinned, in milliseconds since 1970 UTC.
    pub(crate) time: u64,
}

/// The pinned messages of a group, in the order in which they were pinned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pins(pub(crate) Vec<Pin>);

impl Form<'_> for Pins {
    const TAG: u8 = 51;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{decode, encode};

    #[test]
    fn read_back_in_little_room() {
        let profile = Profile {
            picture: "https://example.org/p.png",
            admins_send: true,
            open: false,
        };
        assert_eq!(decode(&encode(&profile)), Some(profile));
        let pin = |seq| Pin {
            seq,
            time: 1_767_225_600_000,
        };
        let pins = Pins((1..=MAX_PINS as u64).map(pin).collect());
        let bytes = encode(&pins);
        assert!(bytes.len() < 10 * MAX_PINS, "{}", bytes.len());
        assert_eq!(decode(&bytes), Some(pins));
    }
}
