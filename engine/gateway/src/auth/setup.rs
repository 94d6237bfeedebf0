//! The settings that decide how clients are identified: by the names that they choose, or by
//! tokens.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The algorithms of token signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum TokenAlgorithm {
    /// HMAC with SHA-256. The same secret makes and checks tokens.
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

    /// The name of the algorithm in tokens (RFC 7518 §3.1, RFC 8037 §3.1).
    pub const fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
        }
    }
}

/// The file with the keys that check tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFile {
    /// A file with one key: a public key as PEM, or the bytes of a secret.
    Key {
        /// The file.
        file: PathBuf,
        /// The algorithm that tokens have to be signed with. `None`: the one of the public key.
        algorithm: Option<TokenAlgorithm>,
    },
    /// A set of keys (RFC 7517). A token names its key.
    Jwks(PathBuf),
}

/// The requirements of the gateway for tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The keys that check the signatures.
    pub keys: KeyFile,
    /// The audience that tokens have to name. `None`: tokens must not name an audience.
    pub audience: Option<String>,
    /// The issuer that tokens have to name. `None`: any issuer, or none.
    pub issuer: Option<String>,
    /// The largest difference between the clock of the issuer and this one.
    pub leeway: Duration,
}

/// The way in which clients are identified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// Development mode: clients name themselves.
    Development,
    /// A token names each client.
    Tokens(Tokens),
    /// The back end of `connect` says who each client is.
    BackEnd,
}

impl Auth {
    /// Whether clients name themselves.
    pub const fn is_development(&self) -> bool {
        matches!(self, Self::Development)
    }

    /// Returns the requirements for tokens; `None` without keys for tokens.
    pub const fn tokens(&self) -> Option<&Tokens> {
        match self {
            Self::Development | Self::BackEnd => None,
            Self::Tokens(tokens) => Some(tokens),
        }
    }
}
