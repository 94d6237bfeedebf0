//! Checks tokens, which say who a client is. A token is a JSON Web Token (RFC 7519), signed with a key of
//! the files that the configuration names.
//!
//! The gateway checks the signature first, with the algorithm of the key. It believes nothing in the
//! token before that. When it reads the key files again, other tokens open or renew sessions, and open
//! sessions stay. `shard::tokens` keeps the rights of open sessions.

mod admitted;
mod claims;
mod keys;
mod refusal;
pub mod revoked;
mod rights;
mod setup;
#[cfg(test)]
mod tests;
mod token;

use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use trunkline_core::clock::system_ms;
use trunkline_core::exchange::TokenMark;
use trunkline_core::ids::UserId;

use self::claims::Expected;
use self::keys::Keys;
use self::revoked::Revocations;
use crate::limits::TokenLimits;

pub use self::claims::Grant;
pub use self::keys::KeyError;
pub use self::refusal::{Reason, Refusal};
pub use self::rights::{Act, Rights};
pub use self::setup::{Auth, KeyFile, TokenAlgorithm, Tokens};

/// Checks the tokens of all shards.
#[derive(Debug)]
pub struct Authority {
    /// The number of bytes of a token at most.
    longest: usize,
    /// The number of topic patterns of a token at most.
    patterns: usize,
    /// The lock is held only to copy or to replace the reference.
    in_force: RwLock<Arc<InForce>>,
    /// The revoked tokens. They are in the data folder, which is opened after the keys are read.
    revoked: OnceLock<Arc<Revocations>>,
}

/// The keys and rules with which tokens are checked.
#[derive(Debug)]
struct InForce {
    keys: Keys,
    expected: Expected,
}

impl InForce {
    /// Reads the keys, and logs warnings about their file.
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
    /// A file cannot be used. The text names the file and says what to do.
    pub fn load(tokens: &Tokens, limits: TokenLimits) -> Result<Self, KeyError> {
        let patterns = limits.topics;
        Ok(Self {
            in_force: RwLock::new(Arc::new(InForce::read(tokens, patterns)?)),
            patterns,
            longest: limits.bytes,
            revoked: OnceLock::new(),
        })
    }

    /// Returns whether a token that was good has been revoked since.
    pub fn is_revoked(&self, user: UserId, token: TokenMark) -> bool {
        let revoked = self.revoked.get();
        revoked.is_some_and(|revoked| revoked.refuses(user, token, system_ms()))
    }

    /// Refuses revoked tokens from now on. Has an effect once.
    pub fn refuse_revoked(&self, revoked: Arc<Revocations>) {
        let _ = self.revoked.set(revoked);
    }

    /// Reads the keys again, for later tokens. Returns the number of keys.
    ///
    /// # Errors
    /// A file cannot be used. The keys from before stay in use.
    pub fn reload(&self, tokens: &Tokens) -> Result<usize, KeyError> {
        let fresh = InForce::read(tokens, self.patterns)?;
        let count = fresh.keys.count();
        *self.in_force.write() = Arc::new(fresh);
        Ok(count)
    }

    /// Checks a token, and returns what it grants. `now_ms` is the time in milliseconds since 1970 UTC.
    ///
    /// A check takes some microseconds with a secret, and tens of microseconds with a public key.
    ///
    /// # Errors
    /// The token is not valid, or not at this time.
    pub fn check(&self, token: &str, now_ms: u64) -> Result<Grant, Refusal> {
        if token.len() > self.longest {
            return Err(Refusal::TOO_LONG);
        }
        let in_force = Arc::clone(&self.in_force.read());
        let payload = token::payload(token, &in_force.keys)?;
        let grant = claims::read(&payload, &in_force.expected, now_ms)?;
        self.unless_revoked(grant, now_ms)
    }

    /// Returns the grant, unless an operator has revoked it.
    ///
    /// # Errors
    /// The token is revoked.
    pub(crate) fn unless_revoked(&self, grant: Grant, now_ms: u64) -> Result<Grant, Refusal> {
        match self.revoked.get() {
            Some(revoked) if revoked.refuse(&grant, now_ms) => Err(Refusal::REVOKED),
            _ => Ok(grant),
        }
    }

    /// Whether the check of a token takes long, compared with the rest of opening a session. It does if
    /// there is a public key.
    pub(crate) fn takes_long(&self) -> bool {
        self.in_force.read().keys.has_public()
    }

    /// The largest difference between the clocks, in milliseconds. A session ends this long after its
    /// token.
    pub fn leeway_ms(&self) -> u64 {
        self.in_force.read().expected.leeway_ms
    }
}

/// Checks the files of keys. Returns warnings: sentences that name the file.
///
/// # Errors
/// A file cannot be used. The text names the file and says what to do.
pub fn check(tokens: &Tokens) -> Result<Vec<String>, KeyError> {
    keys::read(&tokens.keys).map(|read| read.warnings)
}
