//! The protocol: commands decoded, server messages encoded, frames unmasked.

use std::hint::black_box;

use anyhow::ensure;
use trunkline_proto::Encoding;
use trunkline_proto::connection::{Connection, Role};
use trunkline_proto::frame::{Opcode, write_frame};
use trunkline_proto::message::{
    Command, CommandBody, Event, Message, Push, Reply, ReplyBody, Send, SendReply, ServerMessage,
};

use crate::TEXT;

/// The frames of one piece of input.
const FRAMES: u64 = 64;

/// Decodes a command of the message path per message.
pub(crate) fn decode_json(messages: u64) -> anyhow::Result<()> {
    decode(Encoding::Json, messages)
}

/// Decodes a command of the message path per message.
pub(crate) fn decode_proto(messages: u64) -> anyhow::Result<()> {
    decode(Encoding::Proto, messages)
}

fn decode(encoding: Encoding, messages: u64) -> anyhow::Result<()> {
    let text = "x".repeat(TEXT);
    let command = Command {
        id: 1_007,
        body: CommandBody::Send(Send {
            user: Some("bob".into()),
            text: Some(text.as_str().into()),
            ..Send::default()
        }),
    };
    let mut payload = Vec::new();
    encoding.encode_command(&command, &mut payload);

    #[inline(never)]
    fn counted(encoding: Encoding, payload: &[u8], messages: u64) -> u64 {
        let mut good = 0;
        for _ in 0..messages {
            encoding.decode_commands(black_box(payload), |command| {
                good += u64::from(black_box(&command).is_ok());
            });
        }
        good
    }
    ensure!(counted(encoding, &payload, messages) == messages);
    Ok(())
}

/// Encodes a reply and a push per message.
pub(crate) fn encode_json(messages: u64) -> anyhow::Result<()> {
    encode(Encoding::Json, messages)
}

/// Encodes a reply and a push per message.
pub(crate) fn encode_proto(messages: u64) -> anyhow::Result<()> {
    encode(Encoding::Proto, messages)
}

fn encode(encoding: Encoding, messages: u64) -> anyhow::Result<()> {
    let text = "x".repeat(TEXT);
    let push = ServerMessage::Push(Push {
        pos: Some("123456789".into()),
        event: Event::Message(Message {
            conversation: "u:alice:bob".into(),
            seq: 42,
            from: "alice".into(),
            device: "phone".into(),
            time: 1_767_225_600_000,
            text: Some(text.as_str().into()),
            ..Message::default()
        }),
    });
    let reply = ServerMessage::Reply(Reply {
        id: 1_007,
        body: ReplyBody::Send(SendReply {
            conversation: "u:alice:bob".into(),
            seq: 42,
            pos: "123456789".into(),
            time: 1_767_225_600_000,
            duplicate: false,
        }),
    });

    #[inline(never)]
    fn counted(
        encoding: Encoding,
        said: &[ServerMessage<'_>],
        messages: u64,
        out: &mut Vec<u8>,
    ) -> u64 {
        let mut bytes = 0;
        for _ in 0..messages {
            for message in black_box(said) {
                out.clear();
                encoding.encode_server(message, out);
                bytes += out.len() as u64;
            }
        }
        bytes
    }
    let mut out = Vec::with_capacity(1 << 10);
    let bytes = counted(encoding, &[push, reply], messages, &mut out);
    ensure!(bytes > messages * TEXT as u64);
    Ok(())
}

/// Receives a masked frame of 160 bytes per message, in pieces of 64 frames.
pub(crate) fn unmask(messages: u64) -> anyhow::Result<()> {
    let mut piece = Vec::new();
    for _ in 0..FRAMES {
        write_frame(&mut piece, Opcode::Text, &[b'x'; 160], Some([1, 2, 3, 4]));
    }

    #[inline(never)]
    fn counted(connection: &mut Connection, piece: &mut [u8]) -> u64 {
        let mut input = piece;
        let mut events = 0;
        while let Ok(Some(event)) = connection.receive(&mut input, 1 << 20) {
            black_box(event);
            events += 1;
        }
        events
    }
    let mut connection = Connection::new(Role::Server);
    let mut events = 0;
    for _ in 0..messages / FRAMES {
        events += counted(&mut connection, &mut piece.clone());
    }
    ensure!(events == messages, "{events} of {messages} frames");
    Ok(())
}
