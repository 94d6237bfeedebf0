//! A client that sends one command after another, waits for each answer, and counts bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use trunkline_proto::Encoding;
use trunkline_proto::frame::{Opcode, parse_header, write_frame};
use trunkline_proto::handshake;
use trunkline_proto::message::{
    Command, CommandBody, Connect, GroupCreate, ReplyBody, Send, ServerMessage,
};

/// The most time that an answer may take. A gateway under valgrind is slow.
const PATIENCE: Duration = Duration::from_secs(60);

const MASK: Option<[u8; 4]> = Some([0x12, 0x34, 0x56, 0x78]);

/// The key of every upgrade: any is as good.
const KEY: &str = "dHJ1bmtsaW5lIGdhdGUhIQ==";

/// The first id. All ids have four digits, so that no message is longer than another.
const FIRST_ID: u32 = 1_000;

/// A session of the gateway.
pub(crate) struct Client {
    stream: TcpStream,
    encoding: Encoding,
    id: u32,
    buffer: Vec<u8>,
    /// The bytes that this client has written and read.
    pub(crate) bytes: u64,
}

impl Client {
    /// Connects as a user.
    ///
    /// # Errors
    /// The gateway does not take the session.
    pub(crate) fn start(
        gateway: SocketAddr,
        user: &str,
        encoding: Encoding,
    ) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(gateway)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self {
            stream,
            encoding,
            id: FIRST_ID,
            buffer: Vec::new(),
            bytes: 0,
        };
        let mut request = Vec::new();
        handshake::write_request(&mut request, "localhost", "/v1/ws", KEY, encoding);
        client.write(&request)?;
        let read = loop {
            client.read()?;
            if let Some(read) = handshake::parse_response(&client.buffer, KEY, encoding)? {
                break read;
            }
        };
        client.buffer.drain(..read);
        client.ask(CommandBody::Connect(Connect {
            user: Some(user.into()),
            device: Some("phone".into()),
            ..Connect::default()
        }))?;
        Ok(client)
    }

    /// Creates a group of this user and others.
    ///
    /// # Errors
    /// The gateway refuses the group.
    pub(crate) fn make_group(&mut self, group: &str, members: &[String]) -> anyhow::Result<()> {
        self.ask(CommandBody::GroupCreate(GroupCreate {
            group: group.into(),
            members: members.iter().map(|user| user.as_str().into()).collect(),
            ..GroupCreate::default()
        }))
    }

    /// Sends a text to a user, or to a group, and waits for the answer.
    ///
    /// # Errors
    /// The gateway refuses it, or no answer comes.
    pub(crate) fn send(&mut self, to: To<'_>, text: &str) -> anyhow::Result<()> {
        self.ask(to.message(text))
    }

    /// Sends a text several times in one frame, and waits for all answers.
    ///
    /// # Errors
    /// The gateway refuses it, or no answer comes.
    pub(crate) fn send_often(&mut self, to: To<'_>, text: &str, often: u64) -> anyhow::Result<()> {
        let mut payload = Vec::new();
        for number in 0..often {
            if number > 0 {
                payload.push(b'\n');
            }
            self.id += 1;
            let command = Command {
                id: self.id,
                body: to.message(text),
            };
            self.encoding.encode_command(&command, &mut payload);
        }
        self.tell(&payload)?;
        for _ in 0..often {
            while !matches!(self.hear()?, Heard::Reply(_)) {}
        }
        Ok(())
    }

    /// Sends a command and waits for its answer. Skips pushes in between.
    fn ask(&mut self, body: CommandBody<'_>) -> anyhow::Result<()> {
        self.id += 1;
        let mut payload = Vec::new();
        let command = Command { id: self.id, body };
        self.encoding.encode_command(&command, &mut payload);
        self.tell(&payload)?;
        loop {
            let Heard::Reply(id) = self.hear()? else {
                continue;
            };
            ensure!(id == self.id, "a reply to {id} and not to {}", self.id);
            return Ok(());
        }
    }

    /// Sends commands in a frame.
    fn tell(&mut self, payload: &[u8]) -> anyhow::Result<()> {
        ensure!(self.id < 10_000, "a client has 9,000 commands");
        let opcode = match self.encoding {
            Encoding::Json => Opcode::Text,
            Encoding::Proto => Opcode::Binary,
        };
        let mut frame = Vec::new();
        write_frame(&mut frame, opcode, payload, MASK);
        self.write(&frame)
    }

    /// Waits for the next push.
    ///
    /// # Errors
    /// No push comes, or something else.
    pub(crate) fn push(&mut self) -> anyhow::Result<()> {
        match self.hear()? {
            Heard::Push => Ok(()),
            Heard::Reply(id) => bail!("a reply to {id} in place of a push"),
        }
    }

    /// Waits for the next message of the gateway.
    fn hear(&mut self) -> anyhow::Result<Heard> {
        loop {
            if let Some((header, start)) = parse_header(&self.buffer)? {
                let end = start + header.len as usize;
                if self.buffer.len() >= end {
                    let heard = self.understand(header.opcode, start..end)?;
                    self.buffer.drain(..end);
                    match heard {
                        Some(heard) => return Ok(heard),
                        None => continue,
                    }
                }
            }
            self.read()?;
        }
    }

    fn understand(
        &self,
        opcode: Opcode,
        payload: std::ops::Range<usize>,
    ) -> anyhow::Result<Option<Heard>> {
        match opcode {
            Opcode::Text | Opcode::Binary => {}
            // The gateway asks whether a silent client is there; it waits long for the answer.
            Opcode::Ping => return Ok(None),
            _ => bail!("the gateway ended the session"),
        }
        let (mut heard, mut wrong) = (None, None);
        let payload = &self.buffer[payload];
        self.encoding
            .decode_server(payload, |message| match message {
                ServerMessage::Push(_) => heard = Some(Heard::Push),
                ServerMessage::Reply(reply) => match reply.body {
                    ReplyBody::Error(error) => wrong = Some(format!("{error:?}")),
                    _ => heard = Some(Heard::Reply(reply.id)),
                },
            })?;
        match wrong {
            Some(wrong) => bail!("{wrong}"),
            None => Ok(heard),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.bytes += bytes.len() as u64;
        Ok(self.stream.write_all(bytes)?)
    }

    fn read(&mut self) -> anyhow::Result<()> {
        let mut piece = [0; 4 << 10];
        let read = self.stream.read(&mut piece).context("no answer in time")?;
        ensure!(read > 0, "the gateway ended the connection");
        self.bytes += read as u64;
        self.buffer.extend_from_slice(&piece[..read]);
        Ok(())
    }
}

/// The recipient of a message.
#[derive(Clone, Copy)]
pub(crate) enum To<'a> {
    User(&'a str),
    Group(&'a str),
}

impl<'a> To<'a> {
    fn message(self, text: &'a str) -> CommandBody<'a> {
        let (user, group) = match self {
            To::User(user) => (Some(user.into()), None),
            To::Group(group) => (None, Some(group.into())),
        };
        CommandBody::Send(Send {
            user,
            group,
            text: Some(text.into()),
            ..Send::default()
        })
    }
}

/// A message of the gateway.
enum Heard {
    Reply(u32),
    Push,
}
