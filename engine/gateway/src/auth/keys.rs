//! Files of keys: a public key as PEM, a secret, or a set of keys (RFC 7517).
//!
//! The gateway checks a key when it reads the file, not when the first token comes. `numbers` checks the
//! numbers of each kind of key, `pem` reads the file of a public key, `set` reads a set of keys.

mod numbers;
mod pem;
mod set;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use jsonwebtoken::{Algorithm, DecodingKey, crypto};

use super::refusal::Refusal;
use crate::auth::{KeyFile, TokenAlgorithm};
use crate::files;

/// An error in a file of keys. Its text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("{}: {source}: name a file that this process may read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The file has no key for tokens, or something that must not be in it.
    #[error("{}: {problem}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// What is wrong, and what to do. Quotes nothing of the file except names of keys.
        problem: String,
    },
}

/// A key, and the algorithm of its signatures.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) algorithm: TokenAlgorithm,
    key: DecodingKey,
}

/// The keys of a gateway, which check the signatures of tokens.
#[derive(Debug)]
pub(super) enum Keys {
    /// One key for all tokens, whatever key they name.
    One(Box<Key>),
    /// Several keys, by the name in a token's `kid`.
    Set(HashMap<String, Key>),
}

/// The keys of a file, and warnings about it.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) keys: Keys,
    /// Warnings: sentences that name the file.
    pub(super) warnings: Vec<String>,
}

type Problem = String;

impl Keys {
    /// Returns the key for a token. `kid` is the name of the key in the token, if there is one.
    ///
    /// # Errors
    /// There is no key with this name, or the token has to name one.
    pub(super) fn find(&self, kid: Option<&str>) -> Result<&Key, Refusal> {
        match self {
            Self::One(key) => Ok(key),
            Self::Set(keys) => keys
                .get(kid.ok_or(Refusal::NO_KEY)?)
                .ok_or(Refusal::UNKNOWN_KEY),
        }
    }

    /// Whether there is a public key.
    pub(super) fn has_public(&self) -> bool {
        let is_public = |key: &Key| key.algorithm != TokenAlgorithm::HS256;
        match self {
            Self::One(key) => is_public(key),
            Self::Set(keys) => keys.values().any(is_public),
        }
    }

    /// The number of keys.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Set(keys) => keys.len(),
        }
    }
}

impl Key {
    /// Whether `signature` is this key's signature of `bytes`.
    ///
    /// # Errors
    /// The signature is not base64url.
    pub(super) fn signed(&self, bytes: &[u8], signature: &str) -> Result<bool, Refusal> {
        let algorithm = match self.algorithm {
            TokenAlgorithm::HS256 => Algorithm::HS256,
            TokenAlgorithm::RS256 => Algorithm::RS256,
            TokenAlgorithm::ES256 => Algorithm::ES256,
            TokenAlgorithm::EdDSA => Algorithm::EdDSA,
        };
        crypto::verify(signature, bytes, &self.key, algorithm).map_err(|_| Refusal::MALFORMED)
    }
}

#[cfg(test)]
impl Keys {
    pub(super) fn of_secret(secret: &[u8]) -> Self {
        Self::One(Box::new(Key::of_secret(secret).expect("a good secret")))
    }

    pub(super) fn of_set(json: &str) -> Result<Self, Problem> {
        set::read(json.as_bytes()).map(|(keys, _)| Self::Set(keys))
    }
}

#[cfg(test)]
impl Key {
    pub(super) fn of_secret(bytes: &[u8]) -> Result<Self, Problem> {
        numbers::secret(bytes)
    }
}

/// Reads the keys of a file.
///
/// # Errors
/// The file cannot be used.
pub(super) fn read(source: &KeyFile) -> Result<Read, KeyError> {
    let (KeyFile::Key { file, .. } | KeyFile::Jwks(file)) = source;
    let bytes = files::read(file).map_err(|source| KeyError::Unreadable {
        file: file.clone(),
        source,
    })?;
    let read = if bytes.len() > files::LONGEST {
        Err("the file is too long: a file of keys is shorter than 1 MiB".into())
    } else {
        match source {
            KeyFile::Key { algorithm, .. } => {
                one(&bytes, *algorithm).map(|(key, warnings)| (Keys::One(Box::new(key)), warnings))
            }
            KeyFile::Jwks(_) => {
                set::read(&bytes).map(|(keys, warnings)| (Keys::Set(keys), warnings))
            }
        }
    };
    match read {
        Ok((keys, warnings)) => Ok(Read {
            keys,
            warnings: warnings
                .into_iter()
                .map(|warning| format!("{}: {warning}", file.display()))
                .collect(),
        }),
        Err(problem) => Err(KeyError::Unusable {
            file: file.clone(),
            problem,
        }),
    }
}

/// Reads a file with one key. Returns the key, and warnings about the file.
fn one(bytes: &[u8], wanted: Option<TokenAlgorithm>) -> Result<(Key, Vec<Problem>), Problem> {
    let is_secret = wanted == Some(TokenAlgorithm::HS256);
    // A secret may have any bytes, also those of a mark. Only text begins with a mark.
    if let Some(problem) = files::byte_order_mark(bytes)
        && (!is_secret || is_marked_text(bytes))
    {
        return Err(problem);
    }
    let (key, warnings) = if contains(bytes, b"-----BEGIN ") {
        pem::public(bytes)?
    } else if is_secret {
        return secret(bytes).map(|key| (key, Vec::new()));
    } else {
        return Err(
            "no public key as PEM in it: if the file is a secret that signs tokens, set \
             jwt_algorithm = \"HS256\""
                .into(),
        );
    };
    match wanted {
        Some(TokenAlgorithm::HS256) => Err(
            "this is a public key as PEM, which anybody may know, and jwt_algorithm = \"HS256\" \
             takes a secret: leave jwt_algorithm out"
                .into(),
        ),
        Some(wanted) if wanted != key.algorithm => Err(format!(
            "the key is for {}, and jwt_algorithm says {}",
            key.algorithm.name(),
            wanted.name()
        )),
        _ => Ok((key, warnings)),
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|found| found == word)
}

fn is_text(bytes: &[u8]) -> bool {
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t');
    bytes.iter().all(is_text)
}

/// Whether text follows the byte order mark that these bytes begin with.
fn is_marked_text(bytes: &[u8]) -> bool {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => is_text(rest),
        // All bytes of an ASCII character except one are zero.
        bytes => {
            let rest = bytes.get(2..).unwrap_or_default();
            let letters: Vec<u8> = rest.iter().copied().filter(|byte| *byte != 0).collect();
            is_text(&letters) && letters.len() * 2 <= rest.len()
        }
    }
}

/// Reads a secret. Refuses bytes that look like something else.
fn secret(bytes: &[u8]) -> Result<Key, Problem> {
    if is_text(bytes) && bytes.ends_with(b"\n") {
        return Err(
            "the secret ends with a line break, which the signer of tokens may not count as part \
             of it: write the secret without one (printf %s SECRET > FILE)"
                .into(),
        );
    }
    let trimmed = bytes.trim_ascii();
    let is_json = trimmed.first() == Some(&b'{') && trimmed.last() == Some(&b'}');
    let is_der = files::element(bytes, 0x30).is_some_and(|(_, behind)| behind.is_empty());
    if is_json || is_der || bytes.starts_with(b"ssh-") {
        return Err(
            "this looks like a public key, which anybody may know, and not like a secret: name a \
             set of keys (JWKS) with jwks, and write another key as PEM"
                .into(),
        );
    }
    numbers::secret(bytes)
}
