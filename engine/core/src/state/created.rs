//! The record of a group's creation with an idempotency key, under an id of the creator and the
//! key.

use serde::{Deserialize, Serialize};

use super::Form;

/// The reply to the creation of a group, kept to answer a repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Created<'a> {
    /// The name of the group's conversation.
    pub(crate) conversation: &'a str,
    /// The number of members that the group had.
    pub(crate) members: u64,
    /// A hash of the content of the command.
    pub(crate) content: u128,
}

impl<'a> Form<'a> for Created<'a> {
    const TAG: u8 = 19;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state;

    #[test]
    fn read_back() {
        let created = Created {
            conversation: "g:eng",
            members: 3,
            content: u128::MAX,
        };
        let bytes = state::encode(&created);
        assert_eq!(state::decode(&bytes), Some(created));
        assert_eq!(state::decode::<Created<'_>>(&bytes[..9]), None);
    }
}
