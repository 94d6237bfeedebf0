//! Keys as files: one as PEM, a secret, or a set (RFC 7517).
//!
//! A key is checked when it is read, not when the first token comes: `numbers` has what a key of each
//! kind has to be, `pem` a public key's file, `set` a set of them.

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

/// Why a file of keys cannot be used, and what would mend it.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("{}: {source}: name a file that this process may read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing in it that tokens could be checked with, or something that must not be there.
    #[error("{}: {problem}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// Why, and what would mend it. Nothing of what is in the file but names of keys.
        problem: String,
    },
}

/// A key, and what signatures it is for.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) algorithm: TokenAlgorithm,
    key: DecodingKey,
}

/// The keys that tokens are checked with.
#[derive(Debug)]
pub(super) enum Keys {
    /// For all tokens, whatever key they name.
    One(Box<Key>),
    /// By the names that tokens call them.
    Set(HashMap<String, Key>),
}

/// Keys that were read, and what is odd about their file.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) keys: Keys,
    /// In sentences that name the file.
    pub(super) warnings: Vec<String>,
}

type Problem = String;

impl Keys {
    /// The key of a token that names one, or none.
    ///
    /// # Errors
    /// It is not there, or has to be named.
    pub(super) fn find(&self, kid: Option<&str>) -> Result<&Key, Refusal> {
        match self {
            Self::One(key) => Ok(key),
            Self::Set(keys) => keys
                .get(kid.ok_or(Refusal::NO_KEY)?)
                .ok_or(Refusal::UNKNOWN_KEY),
        }
    }

    /// Whether one of them is a public key.
    pub(super) fn has_public(&self) -> bool {
        let is_public = |key: &Key| key.algorithm != TokenAlgorithm::HS256;
        match self {
            Self::One(key) => is_public(key),
            Self::Set(keys) => keys.values().any(is_public),
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Set(keys) => keys.len(),
        }
    }
}

impl Key {
    /// Whether a signature, in base64url, is this key's for these bytes.
    ///
    /// # Errors
    /// It is no base64url.
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
/// It cannot be used.
pub(super) fn read(source: &KeyFile) -> Result<Read, KeyError> {
    let (KeyFile::Key { file, .. } | KeyFile::Jwks(file)) = source;
    let bytes = files::read(file).map_err(|source| KeyError::Unreadable {
        file: file.clone(),
        source,
    })?;
    let read = if bytes.len() > files::LONGEST {
        Err("no file of keys: they are shorter than 1 MiB".into())
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

/// The key of a file that is one, and what is odd about the file.
fn one(bytes: &[u8], wanted: Option<TokenAlgorithm>) -> Result<(Key, Vec<Problem>), Problem> {
    let is_secret = wanted == Some(TokenAlgorithm::HS256);
    // Bytes of a secret may be anything, those of a mark too: only text has one.
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
            "no public key as PEM in it; if it is a secret that tokens are signed with, say so: \
             jwt_algorithm = \"HS256\""
                .into(),
        );
    };
    match wanted {
        Some(TokenAlgorithm::HS256) => Err(
            "this is PEM, and anybody may know a public key: jwt_algorithm = \"HS256\" takes a \
             secret; leave it out"
                .into(),
        ),
        Some(wanted) if wanted != key.algorithm => Err(format!(
            "its key is for {}, and jwt_algorithm says {}",
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

/// Whether what begins with a byte order mark goes on as the text that an editor writes behind it.
fn is_marked_text(bytes: &[u8]) -> bool {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => is_text(rest),
        // Of each character of ASCII all bytes but one are zero.
        bytes => {
            let rest = bytes.get(2..).unwrap_or_default();
            let letters: Vec<u8> = rest.iter().copied().filter(|byte| *byte != 0).collect();
            is_text(&letters) && letters.len() * 2 <= rest.len()
        }
    }
}

/// A secret as it is, unless it looks like something that is none.
fn secret(bytes: &[u8]) -> Result<Key, Problem> {
    if is_text(bytes) && bytes.ends_with(b"\n") {
        return Err(
            "the secret ends with a line break, which what signs tokens may not count as part of \
             it: write it without (printf %s SECRET > FILE)"
                .into(),
        );
    }
    let trimmed = bytes.trim_ascii();
    let is_json = trimmed.first() == Some(&b'{') && trimmed.last() == Some(&b'}');
    let is_der = files::element(bytes, 0x30).is_some_and(|(_, behind)| behind.is_empty());
    if is_json || is_der || bytes.starts_with(b"ssh-") {
        return Err(
            "this looks like a public key, which anybody may know, and not like a secret: a set \
             of keys (JWKS) goes into jwks, another one has to be PEM"
                .into(),
        );
    }
    numbers::secret(bytes)
}
