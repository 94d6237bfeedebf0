//! The last-seen time of a user.

use serde::{Deserialize, Serialize};

/// The time when a user's last connection ended, under the user's own id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastSeen {
    /// The time in milliseconds since 1970 UTC.
    pub(crate) time: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state;

    #[test]
    fn read_back_and_short() {
        let seen = LastSeen {
            time: 1_795_425_525_906,
        };
        let bytes = state::encode(&seen);
        assert_eq!(bytes.len(), 7);
        assert_eq!(state::decode(&bytes), Some(seen));
    }
}
