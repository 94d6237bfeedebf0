//! A user's own settings of a conversation, under an id of both.

use serde::{Deserialize, Serialize};

use super::Form;

/// A user's own settings of a conversation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The time until which the user mutes the conversation, in milliseconds since 1970 UTC; 0 if it is
    /// not muted.
    pub(crate) muted_until: u64,
    /// Whether the user keeps the conversation at the top of the list.
    pub(crate) pinned: bool,
    /// Whether the user has put the conversation away.
    pub(crate) archived: bool,
}

impl Form<'_> for Settings {
    const TAG: u8 = 52;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{decode, encode};

    #[test]
    fn read_back() {
        let settings = Settings {
            muted_until: u64::MAX,
            pinned: false,
            archived: true,
        };
        assert_eq!(decode(&encode(&settings)), Some(settings));
        assert_eq!(decode::<Settings>(&[51, 0, 0, 0]), None);
    }
}
