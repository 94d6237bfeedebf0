//! The JSON form: one object per message. The command or event is the name of one of its keys.

use serde::Serialize;

use crate::error::{BadCommand, DecodeError, ErrorCode};
use crate::json_text::string;
use crate::message::{Command, ServerMessage};

mod command;
mod direct;
mod explain;
mod server;
mod usual;

/// Returns how many bytes a text takes in JSON, without the quotes. It never takes fewer bytes than
/// in protobuf.
pub fn text_bytes(text: &str) -> usize {
    string::escaped_len(text)
}

/// Reads the next command of a text frame, from the next line that is not empty, and moves `rest`
/// past that line.
pub(crate) fn next_command<'a>(rest: &mut &'a [u8]) -> Option<Result<Command<'a>, BadCommand>> {
    while !rest.is_empty() {
        if let Some((command, behind)) = usual::read(rest) {
            *rest = behind;
            return Some(Ok(command));
        }
        *rest = after_empty_lines(rest);
        let end = memchr::memchr(b'\n', rest);
        let line = &rest[..end.unwrap_or(rest.len())];
        *rest = end.map_or(&[], |end| &rest[end + 1..]);
        if !line.iter().all(u8::is_ascii_whitespace) {
            return Some(command::read(line));
        }
    }
    None
}

/// Returns the bytes up to the end of the first command.
pub(crate) fn first_command(rest: &[u8]) -> &[u8] {
    let blank = rest.len() - after_empty_lines(rest).len();
    let end = memchr::memchr(b'\n', &rest[blank..]);
    end.map_or(rest, |end| &rest[..blank + end])
}

/// Returns what follows the lines that hold only white space. All of them are skipped in one go:
/// a frame may hold a million.
fn after_empty_lines(text: &[u8]) -> &[u8] {
    let blank = text.iter().position(|b| !b.is_ascii_whitespace());
    let blank = &text[..blank.unwrap_or(text.len())];
    let last = blank.iter().rposition(|&b| b == b'\n');
    &text[last.map_or(0, |last| last + 1)..]
}

fn bad(id: u32, mut message: String) -> BadCommand {
    // A message may quote what the client said.
    const MAX_MESSAGE: usize = 200;
    message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    BadCommand {
        id,
        code: ErrorCode::BadRequest,
        message,
    }
}

/// Appends a command as one object.
pub(crate) fn encode_command(command: &Command<'_>, out: &mut Vec<u8>) {
    write(command, out);
}

/// Appends a server message as one object.
pub(crate) fn encode_server(message: &ServerMessage<'_>, out: &mut Vec<u8>) {
    if !direct::encode(message, out) {
        write(message, out);
    }
}

fn write(value: &impl Serialize, out: &mut Vec<u8>) {
    // Writing to memory does not fail, and none of our types has a fallible form.
    let written = serde_json::to_writer(out, value);
    debug_assert!(written.is_ok());
}

/// Reads the server messages of a text frame, one per line.
pub(crate) fn decode_server<'a>(
    payload: &'a [u8],
    each: &mut dyn FnMut(ServerMessage<'a>),
) -> Result<(), DecodeError> {
    for line in payload.split(|&b| b == b'\n') {
        if !line.is_empty() {
            each(serde_json::from_slice(line).map_err(|e| DecodeError(e.to_string()))?);
        }
    }
    Ok(())
}
