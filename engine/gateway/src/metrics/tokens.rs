//! The counters of tokens.

use trunkline_core::metrics::Counter;

use crate::auth::Reason;

/// The counters of one shard.
#[derive(Debug, Default)]
pub struct TokenMetrics {
    /// Tokens that opened or renewed a session.
    pub accepted: Counter,
    /// Refused tokens, in the order of [`Reason::ALL`].
    pub refused: [Counter; Reason::ALL.len()],
}

impl TokenMetrics {
    /// Counts a token that was refused.
    pub fn refused(&self, reason: Reason) {
        self.refused[reason as usize].one();
    }
}

/// The counters of the thread that reads the keys for all shards.
#[derive(Debug, Default)]
pub struct KeyMetrics {
    /// The number of times that the keys were read again.
    pub reloaded: Counter,
    /// The number of times that the keys were read again and could not be used.
    pub reload_failed: Counter,
}
