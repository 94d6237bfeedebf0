//! A token's form and signature (RFC 7515).

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use trunkline_proto::object::Object;

use super::keys::Keys;
use super::refusal::Refusal;

/// What the head of a token says of its signature.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    kid: Option<Cow<'a, str>>,
    /// Extensions that whoever does not know them must not pass over (RFC 7515 §4.1.11). None is
    /// known here.
    crit: Option<IgnoredAny>,
}

/// The claims of a token whose signature is one of these keys', as they were signed.
///
/// # Errors
/// It is no token, or its signature is not good.
pub(super) fn payload(token: &str, keys: &Keys) -> Result<Vec<u8>, Refusal> {
    let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::MALFORMED)?;
    let (head, payload) = signed.split_once('.').ok_or(Refusal::MALFORMED)?;
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part);
    let (Ok(head), Ok(payload)) = (decode(head), decode(payload)) else {
        return Err(Refusal::MALFORMED);
    };
    let Object(head): Object<Head<'_>> =
        serde_json::from_slice(&head).map_err(|_| Refusal::MALFORMED)?;
    if head.crit.is_some() {
        return Err(Refusal::MALFORMED);
    }
    let key = keys.find(head.kid.as_deref())?;
    // What the key is for decides, not what the token says: who could choose would choose `none`, or
    // take a public key for a secret.
    if head.alg != key.algorithm.name() {
        return Err(Refusal::ALGORITHM);
    }
    if key.signed(signed.as_bytes(), signature)? {
        Ok(payload)
    } else {
        Err(Refusal::SIGNATURE)
    }
}
