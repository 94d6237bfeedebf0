//! A set of keys (JWKS, RFC 7517).
//!
//! Keys for other purposes are skipped, as RFC 7517 §5 asks, and a warning names them. A key for tokens
//! that is not valid makes the whole file an error. Without that key, the gateway would refuse all tokens
//! that are signed with it.

use std::collections::HashMap;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Key, Problem, numbers};
use crate::auth::TokenAlgorithm;
use crate::files;

/// The number of keys of a set at most. A service has a few at a time.
const MOST_KEYS: usize = 1_000;

/// The number of keys that a message names at most. It counts the others.
const MOST_NAMED: usize = 10;

/// The number of characters of a key's name in a message at most.
const LONGEST_NAME: usize = 64;

/// The private members of a JWK (RFC 7518 §6.2.2, §6.3.2, RFC 8037 §2).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "priv"];

/// The content of a file. Each key is read on its own, because keys of other kinds do not matter.
#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

/// The use of one member of a set for this gateway.
enum Member {
    /// A key for tokens, with its name.
    Key(String, Key),
    /// A key for another purpose, with a text that says which.
    Other(Problem),
}

/// Reads a set. Returns its keys by name, and warnings.
///
/// # Errors
/// The file is not a set of keys, a key in it is not valid, or it has no key for tokens.
pub(super) fn read(bytes: &[u8]) -> Result<(HashMap<String, Key>, Vec<Problem>), Problem> {
    if let Some(problem) = files::byte_order_mark(bytes) {
        return Err(problem);
    }
    let jwks: Jwks = serde_json::from_slice(bytes).map_err(|error| {
        // Without the text of the error, which may quote the file.
        format!(
            "the file is not a set of keys, which is JSON such as {{\"keys\":[{{\"kid\":\"1\",\"kty\":\"OKP\",…}}]}} \
             (line {}, column {})",
            error.line(),
            error.column()
        )
    })?;
    if jwks.keys.len() > MOST_KEYS {
        return Err(format!("more than {MOST_KEYS} keys"));
    }
    let mut keys = HashMap::new();
    let mut skipped = Vec::new();
    for (i, value) in jwks.keys.iter().enumerate() {
        let name = || name(i, value);
        match member(value).map_err(|problem| format!("{}: {problem}", name()))? {
            Member::Key(kid, key) => {
                if keys.insert(kid, key).is_some() {
                    return Err(format!("{}: another key has the same \"kid\"", name()));
                }
            }
            Member::Other(problem) => skipped.push(format!("{}: {problem}", name())),
        }
    }
    let problems = listed(&skipped);
    if keys.is_empty() {
        return Err(format!(
            "the file has no key that tokens could be checked with{problems}"
        ));
    }
    let warning = format!("keys of this file are skipped{problems}");
    let warnings = if skipped.is_empty() {
        Vec::new()
    } else {
        vec![warning]
    };
    Ok((keys, warnings))
}

/// Returns a colon, some of the problems, and the number of the others.
fn listed(problems: &[Problem]) -> String {
    let named = problems.iter().take(MOST_NAMED).cloned();
    let mut list = named.collect::<Vec<_>>().join("; ");
    if problems.len() > MOST_NAMED {
        list += &format!("; and {} more", problems.len() - MOST_NAMED);
    }
    if list.is_empty() {
        list
    } else {
        format!(": {list}")
    }
}

/// Returns a name for a key of a set: its place, counted from 1, and its "kid" if it has one.
fn name(i: usize, value: &Value) -> String {
    let place = i + 1;
    match value.get("kid").and_then(Value::as_str) {
        Some(kid) => {
            let kid: String = kid.chars().take(LONGEST_NAME).collect();
            format!("key {place} (\"kid\" {kid:?})")
        }
        None => format!("key {place}"),
    }
}

/// Reads a member of a set.
fn member(value: &Value) -> Result<Member, Problem> {
    let jwk = value.as_object().ok_or("not a key, which is an object")?;
    let kty = text(jwk, "kty")?.ok_or("no \"kty\"")?;
    if kty != "oct"
        && let Some(private) = PRIVATE.iter().find(|name| jwk.contains_key(**name))
    {
        return Err(format!(
            "a private key (\"{private}\"): keep it where tokens are made, and put the public key \
             into the set"
        ));
    }
    let algorithm = match purpose(jwk, kty)? {
        Ok(algorithm) => algorithm,
        Err(other) => return Ok(Member::Other(other)),
    };
    let Some(kid) = text(jwk, "kid")? else {
        return Ok(Member::Other(
            "no \"kid\": tokens could not name the key".into(),
        ));
    };
    Ok(Member::Key(kid.to_owned(), key(jwk, algorithm)?))
}

/// Returns the algorithm of the tokens that a key signs, or the text that says why the key is for
/// another purpose.
fn purpose(
    jwk: &Map<String, Value>,
    kty: &str,
) -> Result<Result<TokenAlgorithm, Problem>, Problem> {
    let (algorithm, curve) = match kty {
        "RSA" => (TokenAlgorithm::RS256, None),
        "EC" => (TokenAlgorithm::ES256, Some("P-256")),
        "OKP" => (TokenAlgorithm::EdDSA, Some("Ed25519")),
        "oct" => (TokenAlgorithm::HS256, None),
        _ => {
            return Ok(Err(
                "a kind of key that the gateway does not know (\"kty\")".into(),
            ));
        }
    };
    if text(jwk, "use")?.is_some_and(|purpose| purpose != "sig") {
        return Ok(Err("not for signatures (\"use\")".into()));
    }
    if let Some(operations) = jwk.get("key_ops") {
        let operations = operations.as_array().ok_or("\"key_ops\" is not a list")?;
        if !operations.iter().any(|operation| operation == "verify") {
            return Ok(Err("not to verify with (\"key_ops\")".into()));
        }
    }
    if let Some(curve) = curve
        && text(jwk, "crv")?.ok_or("no \"crv\"")? != curve
    {
        return Ok(Err(format!("on another curve (\"crv\") than {curve}")));
    }
    if text(jwk, "alg")?.is_some_and(|alg| alg != algorithm.name()) {
        return Ok(Err(format!(
            "for another algorithm (\"alg\") than {}, the one for keys of this kind",
            algorithm.name()
        )));
    }
    Ok(Ok(algorithm))
}

/// Makes the key of the numbers in a JWK.
fn key(jwk: &Map<String, Value>, algorithm: TokenAlgorithm) -> Result<Key, Problem> {
    match algorithm {
        TokenAlgorithm::HS256 => numbers::secret(&number(jwk, "k")?),
        TokenAlgorithm::RS256 => numbers::rsa(&number(jwk, "n")?, &number(jwk, "e")?),
        TokenAlgorithm::EdDSA => numbers::edwards(&number(jwk, "x")?),
        TokenAlgorithm::ES256 => {
            let mut point = vec![4];
            for name in ["x", "y"] {
                let coordinate = number(jwk, name)?;
                if coordinate.len() != numbers::COORDINATE {
                    return Err(format!(
                        "the key is not valid: \"{name}\" of an EC key on P-256 has {} bytes, and \
                         this one has {}",
                        numbers::COORDINATE,
                        coordinate.len()
                    ));
                }
                point.extend(coordinate);
            }
            numbers::ecdsa(&point)
        }
    }
}

/// Returns the text of a member, if the member is there.
fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Problem> {
    let value = jwk.get(name).filter(|value| !value.is_null());
    value
        .map(|value| value.as_str().ok_or(format!("\"{name}\" is not text")))
        .transpose()
}

/// Returns the number of a member, which is written in base64url (RFC 7518 §2).
fn number(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, Problem> {
    let text = text(jwk, name)?.ok_or(format!(
        "the numbers of the key cannot be read: no \"{name}\""
    ))?;
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(text);
    decoded.map_err(|_| {
        format!("the numbers of the key cannot be read: \"{name}\" is not base64url without =")
    })
}
