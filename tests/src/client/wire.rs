//! Turns bytes into messages of the gateway, and commands into bytes.

use std::io::{ErrorKind, Read};

use serde_json::Value;
use trunkline_proto::Encoding;
use trunkline_proto::connection::{Connection, Event, Role};
use trunkline_proto::frame::{Opcode, write_frame};

use super::{Client, End, MASK};

/// The most bytes of a message; more than any gateway of these tests sends.
const MAX_MESSAGE: usize = 64 << 20;

/// Whether an error is an end without notice: of TCP, or of TLS without `close_notify`.
fn is_end(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof)
}

impl Client {
    /// Writes commands as one frame.
    pub(super) fn framed(&self, commands: &[Value]) -> Vec<u8> {
        let mut payload = Vec::new();
        for command in commands {
            let text = command.to_string();
            match self.encoding {
                Encoding::Json => {
                    payload.extend_from_slice(text.as_bytes());
                    payload.push(b'\n');
                }
                Encoding::Proto => {
                    Encoding::Json.decode_commands(text.as_bytes(), |command| {
                        let command = command.expect("a command of this version");
                        Encoding::Proto.encode_command(&command, &mut payload);
                    });
                }
            }
        }
        let opcode = match self.encoding {
            Encoding::Json => Opcode::Text,
            Encoding::Proto => Opcode::Binary,
        };
        let mut frame = Vec::new();
        write_frame(&mut frame, opcode, &payload, Some(MASK));
        frame
    }

    /// Reads from the stream once.
    pub(super) fn listen(&mut self, awaited: &str) {
        if let Some(end) = &self.end {
            panic!("waiting for {awaited}, but the connection has ended: {end:?}");
        }
        let mut piece = [0; 64 << 10];
        match self.stream.read(&mut piece) {
            Ok(0) => self.end = Some(End::Dropped),
            Ok(read) => self.take(&mut piece[..read]),
            Err(error) if is_end(error.kind()) => {
                self.end = Some(End::Dropped);
            }
            Err(error) => panic!("nothing comes from the gateway: {error}"),
        }
    }

    /// Takes bytes that were read, and keeps the messages in them.
    pub(super) fn take(&mut self, mut input: &mut [u8]) {
        let mut framing = std::mem::replace(&mut self.framing, Connection::new(Role::Client));
        while let Some(event) = framing
            .receive(&mut input, MAX_MESSAGE)
            .expect("good frames")
        {
            match event {
                Event::Message(_, payload) => self.messages(&payload),
                Event::Ping(payload) => {
                    self.pings += 1;
                    if self.answers_pings {
                        self.write_frame(Opcode::Pong, &payload);
                    }
                }
                Event::Pong(payload) => self.pongs.push_back(payload.into_owned()),
                Event::Close(code, reason) => {
                    self.end = Some(End::Close(code.map_or(1005, |code| code.0), reason));
                }
            }
        }
        self.framing = framing;
    }

    fn messages(&mut self, payload: &[u8]) {
        // docs/protocol.md: no frame is longer than what the client was told.
        if let Some(most) = self.opening["limits"]["message_bytes"].as_u64() {
            let bytes = payload.len() as u64;
            assert!(bytes <= most, "a frame of {bytes} bytes, not {most}");
        }
        if self.keeps_payloads {
            self.payloads.push(payload.to_vec());
        }
        let mut messages: Vec<Value> = Vec::new();
        match self.encoding {
            Encoding::Json => {
                let lines = payload.split(|&byte| byte == b'\n');
                messages.extend(lines.map(|line| {
                    serde_json::from_slice(line)
                        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(line)))
                }));
            }
            Encoding::Proto => {
                let read = Encoding::Proto.decode_server(payload, |message| {
                    messages.push(serde_json::to_value(&message).expect("all have a JSON form"));
                });
                read.expect("messages of this version");
            }
        }
        self.frames.push(messages.len());
        for mut message in messages {
            if message["push"]["caught_up"].is_object() {
                self.caught_up
                    .push_back(message["push"]["caught_up"].take());
                continue;
            }
            if message["push"].is_object() {
                self.pushes.push_back(message["push"].take());
                continue;
            }
            match message["id"].as_u64() {
                Some(id) => {
                    let id = u32::try_from(id).expect("ids are 32 bits");
                    let twice = self.replies.insert(id, message);
                    assert_eq!(twice, None, "two replies to one command");
                }
                None => self.strays.push_back(message),
            }
        }
    }
}
