//! The erasures of users: those under way, what the last one of a user left, and what a user who was
//! erased sees of a 1:1 conversation.

use serde::{Deserialize, Serialize};

use super::Form;

/// An erasure that has begun and not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Erasing {
    /// The namespace of the user; empty without one.
    pub(crate) namespace: String,
    /// The name of the user.
    pub(crate) user: String,
    /// When it began, in milliseconds since 1970 UTC.
    pub(crate) began: u64,
    /// The number of steps of it that are complete.
    pub(crate) phase: u8,
}

/// All erasures under way, in the order in which they began, under one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Erasings(pub(crate) Vec<Erasing>);

impl Form<'_> for Erasings {
    const TAG: u8 = 60;
}

/// The end of the last erasure of a user, under an id of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Erased {
    /// When it ended, in milliseconds since 1970 UTC.
    pub(crate) at: u64,
    /// The position behind which the events of a new user of this name begin.
    pub(crate) position: u64,
}

impl Form<'_> for Erased {
    const TAG: u8 = 61;
}

/// What a user who was erased sees of a 1:1 conversation, under an id of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FirstSeen {
    /// The sequence of the first message that a new user of this name sees.
    pub(crate) first: u64,
}

impl Form<'_> for FirstSeen {
    const TAG: u8 = 62;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state;

    #[test]
    fn read_back() {
        let erasing = Erasing {
            namespace: "acme".into(),
            user: "bob".into(),
            began: 5,
            phase: 2,
        };
        let erasings = Erasings(vec![erasing.clone(), erasing]);
        assert_eq!(state::decode(&state::encode(&erasings)), Some(erasings));
        let erased = Erased { at: 1, position: 2 };
        assert_eq!(state::decode(&state::encode(&erased)), Some(erased));
        let sight = FirstSeen { first: 9 };
        assert_eq!(state::decode(&state::encode(&sight)), Some(sight));
    }
}
