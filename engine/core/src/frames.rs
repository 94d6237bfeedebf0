//! Server messages as WebSocket frames.

use trunkline_proto::Encoding;
use trunkline_proto::frame::{Opcode, write_with};
use trunkline_proto::message::ServerMessage;

/// Returns the type of frame that carries an encoding.
pub const fn opcode(encoding: Encoding) -> Opcode {
    match encoding {
        Encoding::Json => Opcode::Text,
        Encoding::Proto => Opcode::Binary,
    }
}

/// Appends one server message as a frame of its own.
pub fn write(out: &mut Vec<u8>, encoding: Encoding, message: &ServerMessage<'_>) {
    write_with(out, opcode(encoding), None, |out| {
        encoding.encode_server(message, out)
    });
}
