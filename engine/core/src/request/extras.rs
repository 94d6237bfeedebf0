//! Checks the fields of a message that few messages have.

use trunkline_proto::message::{Json, SendExtras};
use trunkline_proto::names::is_name;
use trunkline_proto::{ErrorCode, Str};

use super::Failure;
use crate::event::{Extras, milliseconds};

/// The maximum length of `kind` in bytes.
const MAX_KIND_BYTES: usize = 32;

/// The maximum length of the text of `meta` in bytes.
const MAX_META_BYTES: usize = 4 << 10;

/// The shortest time after which a message expires, in milliseconds.
const MIN_TTL: u64 = 1_000;

/// The maximum number of names in `mentions`.
const MAX_MENTIONS: usize = 50;

/// Checks the extras of a message, and returns them in stored form; `None` if there are none.
pub(super) fn checked(extras: &SendExtras<'_>) -> Result<Option<Vec<u8>>, Failure> {
    if extras.reply_to == Some(0) {
        let text = "reply_to is the sequence of a message, from 1";
        return Err((ErrorCode::BadRequest, text));
    }
    if let Some(kind) = extras.kind.as_deref() {
        if !(1..=MAX_KIND_BYTES).contains(&kind.len()) {
            return Err((ErrorCode::BadRequest, "a kind has 1 to 32 bytes"));
        }
        if kind.chars().any(char::is_control) {
            let text = "a kind holds no control characters";
            return Err((ErrorCode::BadRequest, text));
        }
    }
    check_meta(extras.meta.as_ref())?;
    if let Some(ttl) = extras.ttl.as_deref()
        && milliseconds(ttl).is_none_or(|ttl| ttl < MIN_TTL)
    {
        let text = "ttl is a whole number with ms, s, m, h or d: from 1s to 365d";
        return Err((ErrorCode::BadRequest, text));
    }
    if extras.mentions.len() > MAX_MENTIONS {
        let text = "a message mentions at most 50 members: name fewer, or \"*\" for all";
        return Err((ErrorCode::LimitExceeded, text));
    }
    let is_right = |name: &Str<'_>| is_name(name) || **name == *Extras::ALL;
    if !extras.mentions.iter().all(is_right) {
        let text = "mentions are names of members, or \"*\" for all of them";
        return Err((ErrorCode::BadRequest, text));
    }
    Ok(Extras::of(extras).stored())
}

/// Checks the length of the sender's own value.
pub(super) fn check_meta(meta: Option<&Json<'_>>) -> Result<(), Failure> {
    match meta.map(|meta| meta.as_str().len()) {
        Some(bytes) if bytes > MAX_META_BYTES => Err((
            ErrorCode::LimitExceeded,
            "meta is longer than 4,096 bytes: make it shorter",
        )),
        _ => Ok(()),
    }
}
