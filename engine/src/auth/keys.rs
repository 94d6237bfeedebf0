//! Keys as files: one as PEM, a secret, or a set (RFC 7517).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{SubjectPublicKeyInfoDer, alg_id};
use serde::Deserialize;

use super::refusal::Refusal;
use crate::config::{KeyFile, TokenAlgorithm};

/// What is as long as that is no file of keys.
const LONGEST: u64 = 1 << 20;

/// Most keys of a set. Whoever makes them has a few at a time.
const MOST_KEYS: usize = 1_000;

/// Shortest secret: as long as the hash (RFC 7518 §3.2).
const SHORTEST_SECRET: usize = 32;

/// Sizes of RSA keys, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

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
    /// There is nothing in it that tokens could be checked with.
    #[error("{}: {problem}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// Why, and what would mend it. Nothing of what is in the file.
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

    /// A key that can be used for what it is.
    fn new(key: DecodingKey, algorithm: TokenAlgorithm) -> Result<Self, Problem> {
        // The public numbers: a key that has none is none.
        let public = Jwk::from_decoding_key(&key, None).map_err(|_| "it is no good key");
        match public?.algorithm {
            AlgorithmParameters::RSA(_) if !RSA_BITS.contains(&rsa_bits(&key)) => {
                Err("an RSA key has 2,048 to 8,192 bits".into())
            }
            AlgorithmParameters::EllipticCurve(numbers) if numbers.curve != EllipticCurve::P256 => {
                Err("an EC key is on P-256".into())
            }
            AlgorithmParameters::OctetKey(_) => match key.try_get_as_bytes() {
                Ok(secret) if secret.len() >= SHORTEST_SECRET => Ok(Self { algorithm, key }),
                _ => Err(format!(
                    "a secret has at least {SHORTEST_SECRET} bytes, none of which can be guessed: \
                     make one with openssl rand -out FILE {SHORTEST_SECRET}"
                )),
            },
            _ => Ok(Self { algorithm, key }),
        }
    }
}

#[cfg(test)]
impl Keys {
    pub(super) fn of_secret(secret: &[u8]) -> Self {
        Self::One(Box::new(Key::of_secret(secret).expect("a good secret")))
    }

    pub(super) fn of_set(json: &str) -> Result<Self, Problem> {
        set(json.as_bytes(), Path::new("keys.json")).map(Self::Set)
    }
}

#[cfg(test)]
impl Key {
    pub(super) fn of_secret(bytes: &[u8]) -> Result<Self, Problem> {
        secret(bytes)
    }
}

fn rsa_bits(key: &DecodingKey) -> usize {
    // Leading zeros do not count.
    let bits = |n: &[u8]| {
        let zeros = n.iter().take_while(|byte| **byte == 0).count();
        let n = &n[zeros..];
        n.first()
            .map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize)
    };
    match key.kind() {
        jsonwebtoken::DecodingKeyKind::RsaModulusExponent { n, .. } => bits(n),
        jsonwebtoken::DecodingKeyKind::SecretOrDer(der) => {
            // RFC 8017 §A.1.1: a sequence of modulus and exponent.
            let numbers = element(der, 0x30).map(|(inside, _)| inside);
            let modulus = numbers.and_then(|numbers| element(numbers, 0x02));
            modulus.map_or(0, |(modulus, _)| bits(modulus))
        }
    }
}

/// Reads the keys of a file.
///
/// # Errors
/// It cannot be used.
pub(super) fn read(source: &KeyFile) -> Result<Keys, KeyError> {
    let (KeyFile::Key { file, .. } | KeyFile::Jwks(file)) = source;
    let bytes = read_bytes(file)?;
    let keys = match source {
        KeyFile::Key { algorithm, .. } => one(&bytes, *algorithm).map(Box::new).map(Keys::One),
        KeyFile::Jwks(file) => set(&bytes, file).map(Keys::Set),
    };
    keys.map_err(|problem| KeyError::Unusable {
        file: file.clone(),
        problem,
    })
}

fn read_bytes(file: &Path) -> Result<Vec<u8>, KeyError> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes));
    read.map_err(|source| KeyError::Unreadable {
        file: file.to_owned(),
        source,
    })?;
    if bytes.len() as u64 == LONGEST {
        return Err(KeyError::Unusable {
            file: file.to_owned(),
            problem: "no file of keys: they are shorter than 1 MiB".into(),
        });
    }
    Ok(bytes)
}

/// The key of a file that is one.
fn one(bytes: &[u8], wanted: Option<TokenAlgorithm>) -> Result<Key, Problem> {
    let key = if contains(bytes, b"-----BEGIN ") {
        public(bytes)?
    } else if wanted == Some(TokenAlgorithm::HS256) {
        return secret(bytes);
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
        _ => Ok(key),
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|found| found == word)
}

/// A secret as it is, unless it looks like something that is none.
fn secret(bytes: &[u8]) -> Result<Key, Problem> {
    let is_text = bytes
        .iter()
        .all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t'));
    if is_text && bytes.ends_with(b"\n") {
        return Err(
            "the secret ends with a line break, which what signs tokens may not count as part of \
             it: write it without (printf %s SECRET > FILE)"
                .into(),
        );
    }
    let trimmed = bytes.trim_ascii();
    let is_json = trimmed.first() == Some(&b'{') && trimmed.last() == Some(&b'}');
    let is_der = element(bytes, 0x30).is_some_and(|(_, behind)| behind.is_empty());
    if is_json || is_der || bytes.starts_with(b"ssh-") {
        return Err(
            "this looks like a public key, which anybody may know, and not like a secret: a set \
             of keys (JWKS) goes into jwks, another one has to be PEM"
                .into(),
        );
    }
    Key::new(DecodingKey::from_secret(bytes), TokenAlgorithm::HS256)
}

/// The public key of a PEM file.
fn public(pem: &[u8]) -> Result<Key, Problem> {
    const HOW: &str = "openssl pkey -in FILE -pubout";
    if contains(pem, b"PRIVATE KEY-----") {
        return Err(format!(
            "a private key is in it: keep that where tokens are made, and give the gateway the \
             public one ({HOW})"
        ));
    }
    let info = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| {
        "no public key in it: PEM with BEGIN PUBLIC KEY; of a certificate, take openssl x509 -in \
         FILE -noout -pubkey"
    })?;
    // RFC 5280 §4.1: a sequence of what the key is for, and its bits.
    let parts = element(&info, 0x30).map(|(inside, _)| inside);
    let parts = parts.and_then(|inside| {
        let (algorithm, behind) = element(inside, 0x30)?;
        let (bits, _) = element(behind, 0x03)?;
        // The first byte says how many bits of the last are not used.
        Some((algorithm, bits.strip_prefix(&[0])?))
    });
    let (algorithm, bits) = parts.ok_or("the public key cannot be read")?;
    if algorithm == alg_id::RSA_ENCRYPTION.as_ref() {
        Key::new(DecodingKey::from_rsa_der(bits), TokenAlgorithm::RS256)
    } else if algorithm == alg_id::ECDSA_P256.as_ref() {
        Key::new(DecodingKey::from_ec_der(bits), TokenAlgorithm::ES256)
    } else if algorithm == alg_id::ED25519.as_ref() {
        Key::new(DecodingKey::from_ed_der(bits), TokenAlgorithm::EdDSA)
    } else {
        Err("a key of another kind: take RSA, EC on P-256, or Ed25519".into())
    }
}

/// The contents of an element of DER with this tag at the front, and what stands behind it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => rest.split_first().map(|(&len, rest)| (len.into(), rest))?,
        0x82 => {
            let (len, rest) = rest.split_first_chunk()?;
            (u16::from_be_bytes(*len).into(), rest)
        }
        _ => return None,
    };
    if found == tag {
        rest.split_at_checked(len)
    } else {
        None
    }
}

/// A set as it stands in a file: each key for itself, since those of other kinds do not matter.
#[derive(Deserialize)]
struct Jwks {
    keys: Vec<serde_json::Value>,
}

fn set(bytes: &[u8], file: &Path) -> Result<HashMap<String, Key>, Problem> {
    let jwks: Jwks = serde_json::from_slice(bytes).map_err(|error| {
        // Without the text of the error, which may hold what is in the file.
        format!(
            "no set of keys: JSON such as {{\"keys\":[{{\"kid\":\"1\",\"kty\":\"OKP\",…}}]}} \
             (line {}, column {})",
            error.line(),
            error.column()
        )
    })?;
    if jwks.keys.len() > MOST_KEYS {
        return Err(format!("more than {MOST_KEYS} keys"));
    }
    let mut keys = HashMap::new();
    let mut passed_over = Vec::new();
    for (i, value) in jwks.keys.into_iter().enumerate() {
        match member(value) {
            Ok((kid, key)) => {
                if keys.insert(kid, key).is_some() {
                    return Err(format!("key {}: another one has its \"kid\"", i + 1));
                }
            }
            Err(problem) => passed_over.push(format!("key {}: {problem}", i + 1)),
        }
    }
    let problems = passed_over.join("; ");
    if keys.is_empty() {
        return Err(format!(
            "no key in it that tokens could be checked with: {problems}"
        ));
    }
    if !problems.is_empty() {
        tracing::warn!(file = %file.display(), %problems, "keys are passed over");
    }
    Ok(keys)
}

/// A key of a set, with its name.
fn member(value: serde_json::Value) -> Result<(String, Key), Problem> {
    let jwk: Jwk = serde_json::from_value(value).map_err(|_| "not a key that is known here")?;
    let kid = jwk.common.key_id.clone().ok_or("no \"kid\"")?;
    if !matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    ) {
        return Err("not for signatures (\"use\")".into());
    }
    let operations = jwk.common.key_operations.as_ref();
    if operations.is_some_and(|all| !all.contains(&KeyOperations::Verify)) {
        return Err("not to verify with (\"key_ops\")".into());
    }
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (TokenAlgorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(_) => (TokenAlgorithm::ES256, KeyAlgorithm::ES256),
        AlgorithmParameters::OctetKeyPair(_) => (TokenAlgorithm::EdDSA, KeyAlgorithm::EdDSA),
        AlgorithmParameters::OctetKey(_) => (TokenAlgorithm::HS256, KeyAlgorithm::HS256),
        _ => return Err("of a kind that is not known here (\"kty\")".into()),
    };
    if jwk.common.key_algorithm.is_some_and(|alg| alg != named) {
        return Err(format!(
            "for another algorithm (\"alg\") than {}, which keys of its kind are used for here",
            algorithm.name()
        ));
    }
    let key = DecodingKey::from_jwk(&jwk).map_err(|_| "its numbers cannot be read")?;
    Ok((kid, Key::new(key, algorithm)?))
}
