//! A set of keys (JWKS, RFC 7517).
//!
//! Keys that are for something else are passed over, as RFC 7517 §5 asks, and named in a warning. A key
//! that tokens would be checked with and that cannot be right is an error of the whole file: without
//! it, the tokens of whoever made it would all be refused.

use std::collections::HashMap;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Key, Problem, numbers};
use crate::auth::TokenAlgorithm;
use crate::files;

/// Most keys of a set. Whoever makes them has a few at a time.
const MOST_KEYS: usize = 1_000;

/// Most keys that a message names. The others are counted.
const MOST_NAMED: usize = 10;

/// Most characters of a key's name in a message.
const LONGEST_NAME: usize = 64;

/// The members of a JWK that are private (RFC 7518 §6.2.2, §6.3.2, RFC 8037 §2).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "priv"];

/// A set as it stands in a file: each key for itself, since those of other kinds do not matter.
#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

/// What a member of a set is to this gateway.
enum Member {
    /// A key for tokens, with its name.
    Key(String, Key),
    /// A key for something else, which it says.
    Other(Problem),
}

/// Reads a set: its keys by name, and what is odd about it.
///
/// # Errors
/// It is none, a key in it cannot be right, or there is no key for tokens in it.
pub(super) fn read(bytes: &[u8]) -> Result<(HashMap<String, Key>, Vec<Problem>), Problem> {
    if let Some(problem) = files::byte_order_mark(bytes) {
        return Err(problem);
    }
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
    for (i, value) in jwks.keys.iter().enumerate() {
        let name = || name(i, value);
        match member(value).map_err(|problem| format!("{}: {problem}", name()))? {
            Member::Key(kid, key) => {
                if keys.insert(kid, key).is_some() {
                    return Err(format!("{}: another one has its \"kid\"", name()));
                }
            }
            Member::Other(problem) => passed_over.push(format!("{}: {problem}", name())),
        }
    }
    let problems = listed(&passed_over);
    if keys.is_empty() {
        return Err(format!(
            "no key in it that tokens could be checked with{problems}"
        ));
    }
    let warning = format!("keys of it are passed over{problems}");
    let warnings = if passed_over.is_empty() {
        Vec::new()
    } else {
        vec![warning]
    };
    Ok((keys, warnings))
}

/// Some of the problems behind a colon, and how many more there are.
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

/// What to call a key of a set: by its place, counted from 1, and by its "kid" if it has one.
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

/// Takes a member of a set for what it is.
fn member(value: &Value) -> Result<Member, Problem> {
    let jwk = value.as_object().ok_or("not a key, which is an object")?;
    let kty = text(jwk, "kty")?.ok_or("no \"kty\"")?;
    if kty != "oct"
        && let Some(private) = PRIVATE.iter().find(|name| jwk.contains_key(**name))
    {
        return Err(format!(
            "a private key (\"{private}\"): keep that where tokens are made, and put the public \
             one into the set"
        ));
    }
    let algorithm = match purpose(jwk, kty)? {
        Ok(algorithm) => algorithm,
        Err(other) => return Ok(Member::Other(other)),
    };
    let Some(kid) = text(jwk, "kid")? else {
        return Ok(Member::Other(
            "no \"kid\", by which tokens could name it".into(),
        ));
    };
    Ok(Member::Key(kid.to_owned(), key(jwk, algorithm)?))
}

/// The algorithm that tokens are signed with by a key; or why it is for something else.
fn purpose(
    jwk: &Map<String, Value>,
    kty: &str,
) -> Result<Result<TokenAlgorithm, Problem>, Problem> {
    let (algorithm, curve) = match kty {
        "RSA" => (TokenAlgorithm::RS256, None),
        "EC" => (TokenAlgorithm::ES256, Some("P-256")),
        "OKP" => (TokenAlgorithm::EdDSA, Some("Ed25519")),
        "oct" => (TokenAlgorithm::HS256, None),
        _ => return Ok(Err("of a kind that is not known here (\"kty\")".into())),
    };
    if text(jwk, "use")?.is_some_and(|purpose| purpose != "sig") {
        return Ok(Err("not for signatures (\"use\")".into()));
    }
    if let Some(operations) = jwk.get("key_ops") {
        let operations = operations.as_array().ok_or("\"key_ops\" is no list")?;
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
            "for another algorithm (\"alg\") than {}, which keys of its kind are used for here",
            algorithm.name()
        )));
    }
    Ok(Ok(algorithm))
}

/// The key of these numbers.
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
                        "it is no good key: \"{name}\" of an EC key on P-256 has {} bytes, and \
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

/// A member that is text, if it is there.
fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Problem> {
    let value = jwk.get(name).filter(|value| !value.is_null());
    value
        .map(|value| value.as_str().ok_or(format!("\"{name}\" is no text")))
        .transpose()
}

/// A member that is a number in base64url (RFC 7518 §2).
fn number(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, Problem> {
    let text = text(jwk, name)?.ok_or(format!("its numbers cannot be read: no \"{name}\""))?;
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(text);
    decoded.map_err(|_| format!("its numbers cannot be read: \"{name}\" is no base64url without ="))
}
