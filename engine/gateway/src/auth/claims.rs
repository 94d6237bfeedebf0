//! The claims of a token (RFC 7519 §4). The signature of the token has been checked.

use std::borrow::Cow;

use compact_str::CompactString;
use serde::Deserialize;
use serde::de::IgnoredAny;
use trunkline_core::exchange::TokenMark;
use trunkline_proto::names::is_name;
use trunkline_proto::object::Object;

use super::refusal::Refusal;
use super::revoked::id_mark;
use super::rights::{Rights, is_pattern};

/// The requirements for the claims of a token.
#[derive(Debug)]
pub(super) struct Expected {
    /// The audience that a token has to name. `None`: it must not name one.
    pub(super) audience: Option<String>,
    /// The issuer that a token has to name. `None`: any issuer, or none.
    pub(super) issuer: Option<String>,
    /// The largest difference between the clocks, in milliseconds.
    pub(super) leeway_ms: u64,
    /// The number of topic patterns at most.
    pub(super) patterns: usize,
}

/// The rights that a token grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The name of the user.
    pub user: CompactString,
    /// The namespace of the user; empty without one.
    pub namespace: CompactString,
    /// The only device for which the token is. `None`: any device.
    pub device: Option<CompactString>,
    /// When the token expires, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
    /// When the token was issued, and its id.
    pub token: TokenMark,
    /// The topics that the session may use.
    pub rights: Rights,
}

impl Grant {
    /// Returns when the token was issued, and its id.
    pub(crate) const fn mark(&self) -> TokenMark {
        self.token
    }
}

/// The claims that the gateway reads. It ignores all others.
#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    sub: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ns: Option<Cow<'a, str>>,
    #[serde(borrow)]
    device: Option<Cow<'a, str>>,
    exp: Option<f64>,
    nbf: Option<f64>,
    #[serde(borrow)]
    iat: Option<Loose<'a>>,
    #[serde(borrow)]
    jti: Option<Loose<'a>>,
    #[serde(borrow)]
    aud: Option<OneOrMore<'a>>,
    #[serde(borrow)]
    iss: Option<Cow<'a, str>>,
    #[serde(borrow)]
    topics: Option<Object<Topics<'a>>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore<'a> {
    One(#[serde(borrow)] Cow<'a, str>),
    More(#[serde(borrow)] Vec<Cow<'a, str>>),
}

/// A claim that no token is refused for: in another form it counts as missing.
#[derive(Deserialize)]
#[serde(untagged)]
enum Loose<'a> {
    Number(f64),
    Text(#[serde(borrow)] Cow<'a, str>),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Topics<'a> {
    #[serde(borrow, default)]
    subscribe: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    publish: Vec<Cow<'a, str>>,
}

/// Reads claims. `now_ms` is the time in milliseconds since 1970 UTC.
///
/// # Errors
/// A claim is missing or has another form, or the token is not for this gateway or not for this time.
pub(super) fn read(payload: &[u8], expected: &Expected, now_ms: u64) -> Result<Grant, Refusal> {
    let Object(claims): Object<Claims<'_>> = serde_json::from_slice(payload).map_err(|_| {
        Refusal::claims(
            "the token's claims cannot be read: they are one object, in which \"sub\", \"ns\", \
             \"device\" and \"iss\" are text, \"exp\" and \"nbf\" numbers, and \"topics\" has lists of text",
        )
    })?;
    let expires_ms = expiry(claims.exp, claims.nbf, expected.leeway_ms, now_ms)?;
    // RFC 7519 §4.1.3: a gateway that the token does not name must not accept it. A gateway without an
    // audience of its own accepts no token that names one.
    let is_for_us = match (&claims.aud, expected.audience.as_deref()) {
        (None, None) => true,
        (None, Some(_)) => return Err(Refusal::NO_AUDIENCE),
        (Some(_), None) => return Err(Refusal::SOME_AUDIENCE),
        (Some(OneOrMore::One(audience)), Some(expected)) => audience == expected,
        (Some(OneOrMore::More(audiences)), Some(expected)) => {
            audiences.iter().any(|audience| audience == expected)
        }
    };
    if !is_for_us {
        return Err(Refusal::AUDIENCE);
    }
    if expected.issuer.is_some() && claims.iss.as_deref() != expected.issuer.as_deref() {
        return Err(Refusal::ISSUER);
    }
    const NAMES: Refusal = Refusal::claims(
        "the token needs a \"sub\", which names the user; \"sub\", \"ns\" and \"device\" are 1 to 64 \
         bytes of [A-Za-z0-9._@-]",
    );
    let name = |name: Option<Cow<'_, str>>| match name {
        Some(name) if !is_name(&name) => Err(NAMES),
        name => Ok(name.map(CompactString::from)),
    };
    Ok(Grant {
        user: name(claims.sub)?.ok_or(NAMES)?,
        namespace: name(claims.ns)?.unwrap_or_default(),
        device: name(claims.device)?,
        expires_ms,
        token: token(
            claims.iat.as_ref(),
            claims.jti.as_ref(),
            now_ms.saturating_add(expected.leeway_ms.saturating_add(IAT_UNIT_MS)),
        ),
        rights: rights(claims.topics.map(|topics| topics.0), expected.patterns)?,
    })
}

/// The unit of `iat` in milliseconds. A token is issued within the second that it names, which may be rounded up.
const IAT_UNIT_MS: u64 = 1_000;

/// Returns the identity of a token that was issued at `iat` and has the id `jti`. A token that says that it was issued
/// after `latest_ms` does not say when: no revocation of its user would ever reach it.
fn token(iat: Option<&Loose<'_>>, jti: Option<&Loose<'_>>, latest_ms: u64) -> TokenMark {
    // Without a fraction: the token counts as issued at the beginning of its second.
    let issued_s = match iat {
        Some(Loose::Number(iat)) if millis(*iat) <= latest_ms => millis(*iat) / 1_000,
        _ => 0,
    };
    let id = match jti {
        Some(Loose::Text(id)) => id_mark(id),
        _ => 0,
    };
    TokenMark::new(u32::try_from(issued_s).unwrap_or(u32::MAX), id)
}

/// Returns when a token expires, in milliseconds since 1970 UTC, at most [`LATEST_MS`].
///
/// # Errors
/// The token does not say when it expires, or is not valid now.
fn expiry(exp: Option<f64>, nbf: Option<f64>, leeway_ms: u64, now_ms: u64) -> Result<u64, Refusal> {
    const NO_EXPIRY: Refusal =
        Refusal::claims("the token does not say when it expires (\"exp\"), in seconds since 1970");
    const NEVER_VALID: Refusal =
        Refusal::claims("the token is never valid: \"exp\" is not later than \"nbf\"");
    let expires_ms = millis(exp.ok_or(NO_EXPIRY)?);
    if now_ms >= expires_ms.saturating_add(leeway_ms) {
        return Err(Refusal::EXPIRED);
    }
    let Some(begins_ms) = nbf.map(millis) else {
        return Ok(expires_ms);
    };
    if now_ms.saturating_add(leeway_ms) < begins_ms {
        return Err(Refusal::NOT_YET);
    }
    // The leeway at both ends must not make a token valid that has no time in which it is.
    if expires_ms <= begins_ms {
        return Err(NEVER_VALID);
    }
    Ok(expires_ms)
}

/// The latest time of a token, in milliseconds since 1970 UTC: the largest integer that every reader
/// of JSON reads exactly (RFC 7493 §2.2).
pub(super) const LATEST_MS: u64 = (1 << 53) - 1;

/// Converts a time of a token into milliseconds since 1970 UTC. Returns 0 for an earlier time, and
/// [`LATEST_MS`] for a later one. The number of seconds may have a fraction and any sign (RFC 7519 §2).
fn millis(seconds: f64) -> u64 {
    // A cast of a float takes the nearest value of its type.
    ((seconds * 1_000.0).round() as u64).min(LATEST_MS)
}

fn rights(topics: Option<Topics<'_>>, most: usize) -> Result<Rights, Refusal> {
    let Some(topics) = topics else {
        return Ok(Rights::default());
    };
    if topics.subscribe.len() + topics.publish.len() > most {
        return Err(Refusal::claims(
            "the token has more topic patterns than this gateway allows: token_topics",
        ));
    }
    let mut all = topics.subscribe.iter().chain(&topics.publish);
    if !all.all(|pattern| is_pattern(pattern)) {
        return Err(Refusal::claims(
            "the token's \"topics\" are names of topics, or the beginning of a name and a *: 1 to \
             64 bytes",
        ));
    }
    let [subscribe, publish] = [&topics.subscribe, &topics.publish].map(|list| list.iter());
    Ok(Rights::new(
        subscribe.map(AsRef::as_ref),
        publish.map(AsRef::as_ref),
    ))
}
