//! A connection of the fake gateway, and what it stores.

use std::io::Write;
use std::net::TcpStream;

use trunkline_proto::Encoding;
use trunkline_proto::frame::{Opcode, write_with};
use trunkline_proto::message::{Event, Message, Push, Reply, ReplyBody, Send, ServerMessage};
use trunkline_proto::names::Conversation;

/// A connection as its thread knows it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) encoding: Encoding,
    pub(crate) stream: Option<TcpStream>,
    pub(crate) user: String,
    pub(crate) device: String,
}

impl Session {
    pub(crate) fn new(encoding: Encoding, stream: Option<TcpStream>) -> Self {
        Self {
            encoding,
            stream,
            user: String::new(),
            device: String::new(),
        }
    }

    fn say(&self, message: &ServerMessage<'_>) {
        let opcode = match self.encoding {
            Encoding::Json => Opcode::Text,
            Encoding::Proto => Opcode::Binary,
        };
        let mut out = Vec::new();
        write_with(&mut out, opcode, None, |out| {
            self.encoding.encode_server(message, out);
        });
        // The client may be gone.
        let _ = self.stream.as_ref().map(|mut s| s.write_all(&out));
    }

    pub(crate) fn reply(&self, id: u32, body: ReplyBody<'_>) {
        if id != 0 {
            self.say(&ServerMessage::Reply(Reply { id, body }));
        }
    }

    pub(crate) fn push(&self, event: Event<'_>) {
        let pos = Some("p".into());
        self.say(&ServerMessage::Push(Push { pos, event }));
    }
}

/// A stored message.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) conversation: String,
    pub(crate) seq: u64,
    pub(crate) from: String,
    pub(crate) device: String,
    pub(crate) text: String,
}

impl Stored {
    pub(crate) fn new(session: &Session, to: &str, send: &Send<'_>, seq: u64) -> Self {
        Self {
            conversation: conversation(&session.user, to),
            seq,
            from: session.user.clone(),
            device: session.device.clone(),
            text: send.text.as_deref().unwrap_or_default().to_owned(),
        }
    }

    pub(crate) fn message(&self) -> Message<'_> {
        Message {
            conversation: (&*self.conversation).into(),
            seq: self.seq,
            from: (&*self.from).into(),
            device: (&*self.device).into(),
            time: 1,
            key: None,
            text: Some((&*self.text).into()),
            media: None,
        }
    }
}

/// The id of the conversation between two users.
pub(crate) fn conversation(one: &str, other: &str) -> String {
    let mut name = Vec::new();
    Conversation::between(one, other).write(&mut name);
    String::from_utf8(name).expect("names are ASCII")
}
