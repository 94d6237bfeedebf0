//! Reads server messages through the generated types.

use prost::Message as _;

use super::{event, reply, wire};
use crate::error::DecodeError;
use crate::message as m;

/// Reads the length-delimited server messages of a binary frame.
pub(crate) fn decode_server<'a>(
    mut payload: &'a [u8],
    each: &mut dyn FnMut(m::ServerMessage<'a>),
) -> Result<(), DecodeError> {
    use wire::server_message::Message as S;
    while !payload.is_empty() {
        let message = wire::ServerMessage::decode_length_delimited(&mut payload)
            .map_err(|e| DecodeError(e.to_string()))?;
        each(match message.message {
            Some(S::Reply(reply)) => m::ServerMessage::Reply(reply::read(reply)?),
            Some(S::Push(push)) => m::ServerMessage::Push(event::push(push)?),
            None => return Err(missing("reply or push")),
        });
    }
    Ok(())
}

pub(super) fn missing(what: &str) -> DecodeError {
    DecodeError(format!("no known {what}"))
}
