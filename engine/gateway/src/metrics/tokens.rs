//! What is counted of tokens.

use trunkline_core::metrics::Counter;

use crate::auth::Reason;

/// What one shard counts.
#[derive(Debug, Default)]
pub struct TokenMetrics {
    /// Tokens that opened or renewed a session.
    pub accepted: Counter,
    /// Tokens that did not, in the order of [`Reason::ALL`].
    pub refused: [Counter; Reason::ALL.len()],
}

impl TokenMetrics {
    /// Counts a token that was refused.
    pub fn refused(&self, reason: Reason) {
        self.refused[reason as usize].one();
    }
}

/// What is counted once for all shards: by the thread that reads the files.
#[derive(Debug, Default)]
pub struct KeyMetrics {
    /// Times that the keys were read again.
    pub reloaded: Counter,
    /// Times that they could not be used.
    pub reload_failed: Counter,
}
