//! What is counted of tokens.

use super::Counter;
use crate::auth::Reason;

/// What one shard counts.
#[derive(Debug, Default)]
pub(crate) struct TokenMetrics {
    /// Tokens that opened or renewed a session.
    pub(crate) accepted: Counter,
    /// Tokens that did not, in the order of [`Reason::ALL`].
    pub(crate) refused: [Counter; Reason::ALL.len()],
}

impl TokenMetrics {
    pub(crate) fn refused(&self, reason: Reason) {
        self.refused[reason as usize].one();
    }
}

/// What is counted once for all shards: by the thread that reads the files.
#[derive(Debug, Default)]
pub(crate) struct KeyMetrics {
    /// Times that the keys were read again.
    pub(crate) reloaded: Counter,
    /// Times that they could not be used.
    pub(crate) reload_failed: Counter,
}
