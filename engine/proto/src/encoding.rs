//! The choice between the two encodings of messages: JSON and protobuf.

use crate::error::{BadCommand, DecodeError};
use crate::message::{Command, ServerMessage};
use crate::{json, protobuf};

/// The encoding of messages in frames. The client chooses it by the WebSocket sub-protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// `trunkline.v1.json`: text frames, one message per line.
    #[default]
    Json,
    /// `trunkline.v1.proto`: binary frames, length-delimited protobuf.
    Proto,
}

impl Encoding {
    /// Returns the WebSocket sub-protocol that chooses this encoding.
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "trunkline.v1.json",
            Self::Proto => "trunkline.v1.proto",
        }
    }

    /// Returns the encoding that a sub-protocol chooses; `None` for an unknown one.
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        [Self::Json, Self::Proto]
            .into_iter()
            .find(|e| e.subprotocol() == name)
    }

    /// Reads the commands of one frame in order, and passes each to `each`. A frame without a
    /// command is an error too.
    ///
    /// In JSON, the lines after a bad line are still read. In protobuf, nothing after a broken
    /// length can be found.
    pub fn decode_commands<'a>(
        self,
        payload: &'a [u8],
        mut each: impl FnMut(Result<Command<'a>, BadCommand>),
    ) {
        let (mut rest, mut any) = (payload, false);
        while let Some(command) = self.next_command(&mut rest) {
            any = true;
            each(command);
        }
        if !any {
            each(Err(BadCommand::no_command()));
        }
    }

    /// Reads the next command of a frame, and moves `rest` past it. Returns `None` at the end of
    /// the frame. A caller can stop after a command, and go on with `rest` later.
    #[inline]
    pub fn next_command<'a>(self, rest: &mut &'a [u8]) -> Option<Result<Command<'a>, BadCommand>> {
        match self {
            Self::Json => json::next_command(rest),
            Self::Proto => protobuf::next_command(rest),
        }
    }

    /// Returns the bytes of the first command of `rest`, which is a frame or what
    /// [`Self::next_command`] left of it. Returns all of `rest` if it does not say where the command ends.
    pub fn first_command(self, rest: &[u8]) -> &[u8] {
        match self {
            Self::Json => json::first_command(rest),
            Self::Proto => protobuf::first_command(rest),
        }
    }

    /// Reads the server messages of one frame in order, and passes each to `each`.
    ///
    /// # Errors
    /// Fails at the first message that does not belong to this protocol version.
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

    /// Appends a command to a payload.
    pub fn encode_command(self, command: &Command<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Json => json::encode_command(command, out),
            Self::Proto => protobuf::encode_command(command, out),
        }
    }

    /// Appends a server message to a payload.
    pub fn encode_server(self, message: &ServerMessage<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Json => json::encode_server(message, out),
            Self::Proto => protobuf::encode_server(message, out),
        }
    }

    /// Returns the bytes that separate two messages of one payload.
    pub const fn separator(self) -> &'static [u8] {
        match self {
            Self::Json => b"\n",
            Self::Proto => b"",
        }
    }
}
