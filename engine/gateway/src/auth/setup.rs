//! Who clients are: as they say, or as tokens say, and which tokens are good.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The algorithms that tokens may be signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum TokenAlgorithm {
    /// HMAC with SHA-256: who can check tokens can make them.
    HS256,
    /// RSA (PKCS#1 v1.5) with SHA-256.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

impl TokenAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 4] = [Self::HS256, Self::RS256, Self::ES256, Self::EdDSA];

    /// Its name in tokens (RFC 7518 §3.1, RFC 8037 §3.1).
    pub const fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
        }
    }
}

/// Where the keys are that tokens are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFile {
    /// One key: a public one as PEM, or a secret as it is.
    Key {
        /// The file.
        file: PathBuf,
        /// What tokens have to be signed with; `None`: what the public key is for.
        algorithm: Option<TokenAlgorithm>,
    },
    /// A set of keys (RFC 7517), of which tokens name one.
    Jwks(PathBuf),
}

/// Which tokens are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The keys that they are signed with.
    pub keys: KeyFile,
    /// The audience that they have to be for; `None`: they must name none.
    pub audience: Option<String>,
    /// The issuer that they have to be of; `None`: any.
    pub issuer: Option<String>,
    /// How much other clocks may differ from this one.
    pub leeway: Duration,
}

/// Who clients are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// Whoever they say: development mode.
    Development,
    /// Whoever their token says.
    Tokens(Tokens),
}

impl Auth {
    /// Clients name themselves.
    pub const fn is_development(&self) -> bool {
        matches!(self, Self::Development)
    }

    /// Which tokens are good, where tokens say who clients are.
    pub const fn tokens(&self) -> Option<&Tokens> {
        match self {
            Self::Development => None,
            Self::Tokens(tokens) => Some(tokens),
        }
    }
}
