//! The protobuf form. The reader uses the types generated from `trunkline.proto`; the writer does
//! not.

use std::borrow::Cow;

use prost::Message as _;

use crate::error::{BadCommand, ErrorCode};
use crate::message as m;
use crate::text::Str;

mod command;
mod event;
mod explain;
mod fields;
mod reply;
mod server;
mod terms;
mod usual;
mod write;

pub(crate) use server::decode_server;

/// The types generated from `trunkline.proto`, checked in as the generator wrote them.
///
/// `TRUNKLINE_GENERATE=1 cargo test -p trunkline-proto --test it generated` writes them anew.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
#[rustfmt::skip]
pub mod wire;

/// Reads the next length-delimited command of a binary frame, and moves `rest` past it.
pub(crate) fn next_command<'a>(rest: &mut &'a [u8]) -> Option<Result<m::Command<'a>, BadCommand>> {
    if rest.is_empty() {
        return None;
    }
    let Some(bytes) = split_message(rest) else {
        // If the length is broken, the start of the next command is unknown.
        *rest = &[];
        let text = "the length before a command runs past the end of the frame";
        return Some(Err(bad(0, text)));
    };
    if let Some(command) = usual::read(bytes) {
        return Some(Ok(command));
    }
    Some(match wire::Command::decode(bytes) {
        Ok(command) => command::from_wire(command),
        Err(_) => Err(bad(readable_id(bytes), &explain::explain(bytes))),
    })
}

/// Returns the bytes of the first command.
pub(crate) fn first_command(mut rest: &[u8]) -> &[u8] {
    split_message(&mut rest).unwrap_or(rest)
}

/// Returns the bytes of the next length-delimited message, and moves `payload` past it.
fn split_message<'a>(payload: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = prost::decode_length_delimiter(&mut *payload).ok()?;
    let (bytes, rest) = payload.split_at_checked(len)?;
    *payload = rest;
    Some(bytes)
}

/// Returns the id of a command that cannot be read as a whole; 0 if the id does not stand before
/// the broken part.
fn readable_id(mut bytes: &[u8]) -> u32 {
    use prost::encoding::{self, DecodeContext, WireType};
    const ID: u32 = 1;
    let mut id = 0;
    while let Ok((tag, wire_type)) = encoding::decode_key(&mut bytes) {
        let read = if (tag, wire_type) == (ID, WireType::Varint) {
            encoding::uint32::merge(wire_type, &mut id, &mut bytes, DecodeContext::default())
        } else {
            encoding::skip_field(wire_type, tag, &mut bytes, DecodeContext::default())
        };
        if read.is_err() {
            break;
        }
    }
    id
}

fn bad(id: u32, message: &str) -> BadCommand {
    // A message may quote what the client said.
    const MAX_MESSAGE: usize = 200;
    BadCommand {
        id,
        code: ErrorCode::BadRequest,
        message: message[..message.floor_char_boundary(MAX_MESSAGE)].to_owned(),
    }
}

/// Appends a command with its length before it.
pub(crate) fn encode_command(command: &m::Command<'_>, out: &mut Vec<u8>) {
    write::append(command, out);
}

/// Appends a server message with its length before it.
pub(crate) fn encode_server(message: &m::ServerMessage<'_>, out: &mut Vec<u8>) {
    write::append(message, out);
}

fn media_from_wire<'a>(media: wire::Media) -> m::Media<'a> {
    m::Media {
        mime: media.r#type.into(),
        data: media.data.map(|d| Cow::Owned(d.to_vec())),
        url: text(media.url),
        size: media.size,
    }
}

fn text<'a>(text: Option<String>) -> Option<Str<'a>> {
    text.map(Str::from)
}

fn texts<'a>(texts: Vec<String>) -> Vec<Str<'a>> {
    texts.into_iter().map(Str::from).collect()
}

/// Reads a value that may be absent. In JSON null is absence too.
fn meta<'a>(text: Option<String>) -> Result<Option<m::Json<'a>>, m::NotJson> {
    let value = text.as_deref().map(json).transpose()?;
    Ok(value.filter(|value| value.as_str() != "null"))
}

fn json<'a>(text: &str) -> Result<m::Json<'a>, m::NotJson> {
    m::Json::parse(text).map(m::Json::into_owned)
}
