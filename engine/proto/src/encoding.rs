//! The two encodings behind one interface.

use crate::error::ErrorCode;
use crate::message::{Command, ServerMessage};
use crate::{json, protobuf};

/// How messages are written into frames; chosen by WebSocket sub-protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// `trunkline.v1.json`: text frames, one message per line.
    #[default]
    Json,
    /// `trunkline.v1.proto`: binary frames, length-delimited protobuf.
    Proto,
}

/// A command that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadCommand {
    /// Its id where one could be read, else 0.
    pub id: u32,
    /// [`ErrorCode::BadRequest`] or [`ErrorCode::UnknownCommand`].
    pub code: ErrorCode,
    /// What is wrong, for people.
    pub message: String,
}

/// A server message that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("not a server message of this protocol version: {0}")]
pub struct DecodeError(pub(crate) String);

impl Encoding {
    /// The WebSocket sub-protocol that chooses this encoding.
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "trunkline.v1.json",
            Self::Proto => "trunkline.v1.proto",
        }
    }

    /// The encoding that a sub-protocol chooses.
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        [Self::Json, Self::Proto]
            .into_iter()
            .find(|e| e.subprotocol() == name)
    }

    /// Reads the commands of one frame in order, handing each to `each`.
    ///
    /// In JSON a bad line does not hide the lines after it; in protobuf nothing after a broken
    /// length can be found.
    pub fn decode_commands<'a>(
        self,
        payload: &'a [u8],
        mut each: impl FnMut(Result<Command<'a>, BadCommand>),
    ) {
        match self {
            Self::Json => json::decode_commands(payload, &mut each),
            Self::Proto => protobuf::decode_commands(payload, &mut each),
        }
    }

    /// Reads the server messages of one frame in order, handing each to `each`.
    ///
    /// # Errors
    /// At the first message that is not one of this protocol version.
    pub fn decode_server<'a>(
        self,
        payload: &'a [u8],
        mut each: impl FnMut(ServerMessage<'a>),
    ) -> Result<(), DecodeError> {
        match self {
            Self::Json => json::decode_server(payload, &mut each),
            Self::Proto => protobuf::decode_server(payload, &mut each),
        }
    }

    /// Appends a command to the payload under construction.
    pub fn encode_command(self, command: &Command<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Json => json::encode_command(command, out),
            Self::Proto => protobuf::encode_command(command, out),
        }
    }

    /// Appends a server message to the payload under construction.
    pub fn encode_server(self, message: &ServerMessage<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Json => json::encode_server(message, out),
            Self::Proto => protobuf::encode_server(message, out),
        }
    }

    /// What must stand between two messages of one payload.
    pub const fn separator(self) -> &'static [u8] {
        match self {
            Self::Json => b"\n",
            Self::Proto => b"",
        }
    }
}
