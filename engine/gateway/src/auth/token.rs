//! The form and the signature of a token (RFC 7515).

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use trunkline_proto::object::Object;

use super::keys::Keys;
use super::refusal::Refusal;

/// The header of a token, which describes its signature.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    kid: Option<Cow<'a, str>>,
    /// Extensions that a reader has to understand (RFC 7515 §4.1.11). The gateway knows none, and
    /// refuses tokens with this field.
    crit: Option<IgnoredAny>,
}

/// Checks the signature of a token, and returns its claims as JSON.
///
/// # Errors
/// The token has another form, or none of the keys made its signature.
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
    // The key decides on the algorithm, not the token. An attacker would choose `none`, or use a public
    // key as a secret.
    if head.alg != key.algorithm.name() {
        return Err(Refusal::ALGORITHM);
    }
    if key.signed(signed.as_bytes(), signature)? {
        Ok(payload)
    } else {
        Err(Refusal::SIGNATURE)
    }
}
