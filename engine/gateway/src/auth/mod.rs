//! Who a client is, by its token: a JSON Web Token (RFC 7519), signed with a key of the files that
//! the configuration names.
//!
//! A token's signature is looked at first, with the algorithm that the key is for; nothing that it
//! says counts before. Reading the files again changes which tokens open or renew sessions, and ends
//! none. What a session may do with its rights is in `shard::tokens`.

mod claims;
mod keys;
mod refusal;
mod rights;
mod setup;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;

use parking_lot::RwLock;

use self::claims::Expected;
use self::keys::Keys;
use crate::limits::TokenLimits;

pub use self::claims::Grant;
pub use self::keys::KeyError;
pub use self::refusal::{Reason, Refusal};
pub use self::rights::{Act, Rights};
pub use self::setup::{Auth, KeyFile, TokenAlgorithm, Tokens};

/// Checks the tokens of all shards.
#[derive(Debug)]
pub struct Authority {
    /// Longest token, in bytes.
    longest: usize,
    /// Most topic patterns of a token.
    patterns: usize,
    /// Locked to take or to replace the reference, never while anything is done with it.
    in_force: RwLock<Arc<InForce>>,
}

/// What tokens are held against.
#[derive(Debug)]
struct InForce {
    keys: Keys,
    expected: Expected,
}

impl InForce {
    /// Reads the keys, and logs what is odd about their file.
    fn read(tokens: &Tokens, patterns: usize) -> Result<Self, KeyError> {
        let keys::Read { keys, warnings } = keys::read(&tokens.keys)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        Ok(Self {
            keys,
            expected: Expected {
                audience: tokens.audience.clone(),
                issuer: tokens.issuer.clone(),
                leeway_ms: u64::try_from(tokens.leeway.as_millis()).unwrap_or(u64::MAX),
                patterns,
            },
        })
    }
}

impl Authority {
    /// Reads the keys.
    ///
    /// # Errors
    /// A file cannot be used; the text names it and says what would mend it.
    pub fn load(tokens: &Tokens, limits: TokenLimits) -> Result<Self, KeyError> {
        let patterns = limits.topics;
        Ok(Self {
            in_force: RwLock::new(Arc::new(InForce::read(tokens, patterns)?)),
            patterns,
            longest: limits.bytes,
        })
    }

    /// Reads the keys again, for tokens that come from now on; how many there are.
    ///
    /// # Errors
    /// A file cannot be used: the keys that were read before stay.
    pub fn reload(&self, tokens: &Tokens) -> Result<usize, KeyError> {
        let fresh = InForce::read(tokens, self.patterns)?;
        let count = fresh.keys.count();
        *self.in_force.write() = Arc::new(fresh);
        Ok(count)
    }

    /// What a token grants at a time in milliseconds since 1970 UTC.
    ///
    /// Takes as long as checking one signature does, and as reading at most `token_bytes`: some
    /// microseconds for a secret, tens of them for a public key.
    ///
    /// # Errors
    /// The token is not good, or not now.
    pub fn check(&self, token: &str, now_ms: u64) -> Result<Grant, Refusal> {
        if token.len() > self.longest {
            return Err(Refusal::TOO_LONG);
        }
        let in_force = Arc::clone(&self.in_force.read());
        let payload = token::payload(token, &in_force.keys)?;
        claims::read(&payload, &in_force.expected, now_ms)
    }

    /// Whether checking a token takes long, beside all else of opening a session: it may be signed
    /// with a private key.
    pub(crate) fn takes_long(&self) -> bool {
        self.in_force.read().keys.has_public()
    }

    /// How much other clocks may differ: sessions end so long after their tokens.
    pub fn leeway_ms(&self) -> u64 {
        self.in_force.read().expected.leeway_ms
    }
}

/// Whether the files can be used, and what is odd about them: sentences that name the file.
///
/// # Errors
/// One of them cannot; the text names it and says what would mend it.
pub fn check(tokens: &Tokens) -> Result<Vec<String>, KeyError> {
    keys::read(&tokens.keys).map(|read| read.warnings)
}
