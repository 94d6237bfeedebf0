//! `POST /api/v1/rtm.send`: sends a message to a user or a group.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use trunkline_proto::ErrorCode;
use trunkline_proto::message::{CommandBody, Media, ReplyBody, Send};
use trunkline_proto::names::is_name;

use super::head::Head;
use super::visitor::idempotency_key;
use super::{Api, json};
use crate::door::Sent;
use crate::problem::Problem;

/// The type of media whose request names none.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// The body of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Asked {
    #[serde(rename = "sourceID")]
    source_id: Option<String>,
    #[serde(rename = "targetID")]
    target_id: Option<String>,
    text: Option<String>,
    encoded_media: Option<String>,
    media_type: Option<String>,
    #[serde(rename = "mediaURL")]
    media_url: Option<String>,
    key: Option<String>,
}

/// The body of an answer.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    #[serde(rename = "sequenceID")]
    sequence_id: String,
    conversation: &'a str,
    seq: u64,
    pos: &'a str,
    time: u64,
    duplicate: bool,
}

/// Sends a message.
pub(super) async fn handle(
    State(api): State<Arc<Api>>,
    head: Head,
    body: Body,
) -> Result<Response, Problem> {
    // Strangers do not get a body read, and a user gets some at a time.
    let known = match api.door.needs_tokens() {
        true => Some(head.enter(&api, None).await?),
        false => None,
    };
    let body = api.read(&head.headers, body).await?;
    let asked = serde_json::from_slice::<Asked>(body.bytes());
    let asked = asked.map_err(|error| Problem::bad(format!("the body is not right: {error}")));
    let named = asked
        .as_ref()
        .ok()
        .and_then(|asked| asked.source_id.as_deref());
    let entered = match known {
        Some((visitor, permit)) => visitor.named(named).map(|visitor| (visitor, permit)),
        None => head.enter(&api, named).await,
    };
    let ((visitor, _permit), asked) = Head::known(&api, entered, asked)?;
    api.pay(&visitor, body.len(), Sent::Message)?;
    head.no_query()?;
    let asked = asked?;
    let media = media(&asked)?;
    if asked.text.is_none() && media.is_none() {
        let text = "a message needs text, encodedMedia or mediaURL";
        return Err(Problem::bad(text));
    }
    let target = asked.target_id.as_deref();
    let target = target.ok_or_else(|| Problem::bad("targetID is missing: a user, or g:<group>"))?;
    if !is_name(target.strip_prefix("g:").unwrap_or(target)) {
        let text = "targetID is a user, or g:<group>: names of 1 to 64 bytes of [A-Za-z0-9._@-]";
        return Err(Problem::bad(text));
    }
    let (user, group) = match target.strip_prefix("g:") {
        Some(group) => (None, Some(group.into())),
        None => (Some(target.into()), None),
    };
    let key = key(&asked, idempotency_key(&head.headers)?)?;
    let send = Send {
        user,
        group,
        key: key.map(Into::into),
        text: asked.text.as_deref().map(Into::into),
        media,
        extras: None,
    };
    let reply = api.perform(&visitor, CommandBody::Send(send)).await?;
    let ReplyBody::Send(sent) = reply else {
        let text = "the answer belongs to another command";
        return Err(Problem::new(ErrorCode::Internal, text));
    };
    let answer = Answer {
        sequence_id: format!("{}:{}", sent.conversation, sent.seq),
        conversation: &sent.conversation,
        seq: sent.seq,
        pos: &sent.pos,
        time: sent.time,
        duplicate: sent.duplicate,
    };
    // Texts and numbers: this does not fail.
    let body = serde_json::to_vec(&answer).unwrap_or_default();
    Ok(json::response(body))
}

fn key<'k>(asked: &'k Asked, header: Option<&'k str>) -> Result<Option<&'k str>, Problem> {
    match (asked.key.as_deref(), header) {
        (Some(key), Some(header)) if key != header => Err(Problem::bad(
            "the key in the body and the header Idempotency-Key differ: send one of them",
        )),
        (key, header) => Ok(header.or(key)),
    }
}

/// Returns the media of a message.
fn media(asked: &Asked) -> Result<Option<Media<'_>>, Problem> {
    let data = match asked.encoded_media.as_deref() {
        None => None,
        Some(encoded) => {
            let decoded = STANDARD.decode(encoded).map_err(|_| {
                Problem::bad(
                    "encodedMedia is not base64: it has A to Z, a to z, 0 to 9, + and / in groups of four, the last one \
                     filled up with =, and no line breaks",
                )
            })?;
            Some(Cow::Owned(decoded))
        }
    };
    let url = asked.media_url.as_deref();
    if data.is_some() && url.is_some() {
        return Err(Problem::bad("send one of encodedMedia and mediaURL"));
    }
    if data.is_none() && url.is_none() {
        return Ok(None);
    }
    Ok(Some(Media {
        mime: asked.media_type.as_deref().unwrap_or(UNKNOWN_TYPE).into(),
        data,
        url: url.map(Into::into),
        size: None,
    }))
}
