//! How long stored messages are, as clients see them.

use trunkline_proto::json::text_bytes;

use super::{Body, Extras};

/// The bytes of JSON around a message without its names and content. A page of `conversations` has
/// the most.
pub(crate) const AROUND_MESSAGE: usize = 700;

/// The bytes of JSON around each name of a list.
pub(crate) const AROUND_NAME: usize = 3;

/// The bytes of JSON of a field with a number: the longest name with the longest number.
const NUMBER: usize = 34;

/// The bytes of JSON around a field with a text or a list: the longest name, quotes and separators.
const AROUND_FIELD: usize = 14;

/// Returns the bytes that a stored message takes in JSON, at most, without its reactions.
pub(crate) fn message_bytes(body: &Body<'_>) -> usize {
    let written = |text: Option<&str>| text.map_or(0, text_bytes);
    let names = 2 * body.conversation.len() + body.user.len() + body.device.len();
    let texts = written(body.text) + written(body.key) + written(body.mime) + written(body.url);
    let data = body.data.map_or(0, |data| data.len().div_ceil(3) * 4);
    let extras = body.extras.map_or(0, |_| extra_bytes(&body.extras()));
    AROUND_MESSAGE + names + texts + data + extras
}

/// Returns the bytes that extras take in JSON, at most. The gateway passes `meta` on as it is.
pub(crate) fn extra_bytes(extras: &Extras<'_>) -> usize {
    let reply = extras.reply_to.map_or(0, |_| NUMBER);
    let edited = extras.edited.map_or(0, |_| NUMBER);
    // When it expires, and that it has.
    let ttl = if extras.ttl > 0 { 2 * NUMBER } else { 0 };
    let kind = extras
        .kind
        .map_or(0, |kind| AROUND_FIELD + text_bytes(kind));
    let meta = extras.meta.map_or(0, |meta| AROUND_FIELD + meta.len());
    let mentions: usize = { extras.mentions.iter() }
        .map(|name| name.len() + AROUND_NAME)
        .sum();
    let mentions = if mentions > 0 {
        AROUND_FIELD + mentions
    } else {
        0
    };
    reply + edited + ttl + kind + meta + mentions
}
