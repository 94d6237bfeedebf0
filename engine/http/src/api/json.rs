//! Commands and replies as the bodies of requests and answers.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use serde::de::IgnoredAny;
use trunkline_proto::Encoding;
use trunkline_proto::message::{Command, Push, Reply, ReplyBody, ServerMessage};

use super::outstanding::Permit;
use super::unread::Waits;
use crate::problem::Problem;

/// Returns the text of a command as a client of the protocol sends it, on one line. `body` is the
/// command's object.
///
/// # Errors
/// The body is not one JSON object.
pub(crate) fn command_text(name: &str, body: &[u8]) -> Result<Vec<u8>, Problem> {
    // What follows the object could otherwise become a part of the command.
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(body) {
        return Err(Problem::bad(format!("the body is not JSON: {error}")));
    }
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'{') {
        return Err(Problem::bad("the body has to be a JSON object"));
    }
    let mut text = Vec::with_capacity(body.len() + name.len() + 16);
    text.extend_from_slice(b"{\"id\":1,\"");
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"\":");
    // In JSON, a line break is only ever between tokens.
    text.extend(body.iter().map(|byte| match byte {
        b'\n' | b'\r' => b' ',
        byte => *byte,
    }));
    text.push(b'}');
    Ok(text)
}

/// Reads a command.
///
/// # Errors
/// A field is missing or has another type, or the JSON is not interoperable.
pub(crate) fn command(text: &[u8]) -> Result<Command<'_>, Problem> {
    let mut rest = text;
    match Encoding::Json.next_command(&mut rest) {
        Some(Ok(command)) => Ok(command),
        Some(Err(bad)) => Err(Problem::new(bad.code, bad.message)),
        None => Err(Problem::bad("the body has to be a JSON object")),
    }
}

/// Returns the object of a reply. `name` is the name of the command.
pub(crate) fn reply(name: &str, body: ReplyBody<'_>) -> Vec<u8> {
    let message = ServerMessage::Reply(Reply { id: 0, body });
    // {"name":OBJECT}
    inner(&message, name.len() + 4)
}

/// Returns the object of a push, with its position.
pub(super) fn push(push: Push<'_>) -> Vec<u8> {
    // {"push":OBJECT}
    inner(&ServerMessage::Push(push), "push".len() + 4)
}

/// Returns the object within a message that begins with `head` other bytes.
fn inner(message: &ServerMessage<'_>, head: usize) -> Vec<u8> {
    let mut text = Vec::new();
    Encoding::Json.encode_server(message, &mut text);
    text.drain(..head.min(text.len()));
    text.pop();
    text
}

/// A body that counts, with its request, until its bytes have left.
struct Kept {
    body: Vec<u8>,
    _permit: Permit,
    _waits: Waits,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// Returns an answer with a body of JSON. The request counts for its user until the client has taken it.
pub(super) fn response_of((permit, waits): (Permit, Waits), body: Vec<u8>) -> Response {
    let kept = Kept {
        body,
        _permit: permit,
        _waits: waits,
    };
    response(Bytes::from_owner(kept))
}

/// Returns an answer with a body of JSON.
pub(crate) fn response(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    let fresh = HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, fresh);
    response
}

#[cfg(test)]
mod tests {
    use trunkline_proto::message::{CommandBody, Done, Event, Gap, SendReply};

    use super::*;

    #[test]
    fn a_body_is_one_object_and_no_more() {
        let text = command_text("send", b" {\"user\":\"bob\",\r\n\"text\":\"a\\nb\"}\n").unwrap();
        let read = command(&text).unwrap().body;
        assert!(matches!(read, CommandBody::Send(send) if send.text.as_deref() == Some("a\nb")));
        for bad in [
            "",
            "[]",
            "7",
            "{",
            "{}}",
            "{},\"ack\":{}",
            "{}},\"x\":{\"y\":1",
            "{\"text\":\"a\nb\"}",
            "{} {}",
        ] {
            assert!(command_text("send", bad.as_bytes()).is_err(), "{bad}");
        }
        let text = command_text("send", b"{\"user\":\"bob\",\"text\":7}").unwrap();
        let problem = command(&text).unwrap_err();
        assert_eq!(problem.error().code, 107);
        assert!(problem.error().message.starts_with("send.text"));
    }

    #[test]
    fn replies_and_pushes_are_objects() {
        let sent = SendReply {
            conversation: "u:a:b".into(),
            seq: 1,
            pos: "0".into(),
            time: 7,
            duplicate: false,
        };
        assert_eq!(
            reply("send", ReplyBody::Send(sent)),
            br#"{"conversation":"u:a:b","seq":1,"pos":"0","time":7,"duplicate":false}"#
        );
        let empty = ReplyBody::GroupLeave(Done {});
        assert_eq!(reply("group_leave", empty), b"{}");
        let gap = Push {
            pos: Some("8".into()),
            event: Event::Gap(Gap { pos: "9".into() }),
        };
        assert_eq!(push(gap), br#"{"pos":"8","gap":{"pos":"9"}}"#);
    }
}
