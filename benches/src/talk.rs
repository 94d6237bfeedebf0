//! A client that sends one command after another and waits for each answer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use memchr::memmem;
use serde_json::{Value, json};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use trunkline_proto::connection::{Connection, Event, Role};
use trunkline_proto::frame::{Opcode, write_frame};

use crate::crowd::MASK;

/// The most time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most members that one command adds.
const PORTION: usize = 1_000;

/// A session of the gateway.
#[derive(Debug)]
pub struct Talk {
    stream: TcpStream,
    framing: Connection,
    buffer: Vec<u8>,
    /// The part of the buffer that is not parsed yet.
    unread: std::ops::Range<usize>,
    id: u32,
    pos: String,
}

impl Talk {
    /// Connects as a user.
    ///
    /// # Errors
    /// The gateway does not take the session.
    pub fn start(server: SocketAddr, user: &str) -> anyhow::Result<Self> {
        let hello = json!({"user": user, "device": "d"});
        Self::greet(server, Ipv4Addr::LOCALHOST, &hello)
    }

    /// Connects from an address of this machine with these fields of `connect`.
    ///
    /// # Errors
    /// The gateway does not take the session.
    pub fn greet(server: SocketAddr, source: Ipv4Addr, hello: &Value) -> anyhow::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SockAddr::from(SocketAddrV4::new(source, 0)))?;
        socket.connect(&server.into())?;
        let mut stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: dHJ1bmtsaW5lIGJlbmNoIQ==\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let mut head = Vec::new();
        let mut byte = [0];
        while memmem::find(&head, b"\r\n\r\n").is_none() {
            stream.read_exact(&mut byte)?;
            head.extend_from_slice(&byte);
        }
        if !head.starts_with(b"HTTP/1.1 101") {
            bail!("no upgrade: {}", String::from_utf8_lossy(&head));
        }
        let mut talk = Self {
            stream,
            framing: Connection::new(Role::Client),
            buffer: vec![0; 64 << 10],
            unread: 0..0,
            id: 0,
            pos: String::new(),
        };
        let reply = talk.ask("connect", hello)?;
        talk.pos = reply["connect"]["pos"].as_str().unwrap_or_default().into();
        Ok(talk)
    }

    /// Returns the position in the reply to `connect`.
    #[must_use]
    pub fn pos(&self) -> &str {
        &self.pos
    }

    /// Creates a group of the user and others.
    ///
    /// # Errors
    /// The gateway refuses the group.
    pub fn make_group(&mut self, group: &str, others: &[String]) -> anyhow::Result<()> {
        let named = json!({"group": group, "name": "All", "members": [], "history": "all"});
        self.ask("group_create", &named)?;
        for portion in others.chunks(PORTION) {
            self.ask("group_add", &json!({"group": group, "members": portion}))?;
        }
        Ok(())
    }

    /// Sends a command without an id, which has no reply.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn tell(&mut self, command: &str, request: &Value) -> anyhow::Result<()> {
        self.write(&json!({command: request}))
    }

    /// Sends a command and returns its id.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn say(&mut self, command: &str, request: &Value) -> anyhow::Result<u32> {
        self.id += 1;
        self.write(&json!({"id": self.id, command: request}))?;
        Ok(self.id)
    }

    fn write(&mut self, command: &Value) -> anyhow::Result<()> {
        let mut frame = Vec::new();
        write_frame(
            &mut frame,
            Opcode::Text,
            command.to_string().as_bytes(),
            MASK,
        );
        Ok(self.stream.write_all(&frame)?)
    }

    /// Sends a command, waits for its reply and returns the reply. Skips pushes in between.
    ///
    /// # Errors
    /// The answer is an error, or none comes in time.
    pub fn ask(&mut self, command: &str, request: &Value) -> anyhow::Result<Value> {
        let said = self.answer(command, request)?;
        if let Some(error) = said.get("error") {
            bail!("{command}: {} ({})", error["message"], error["code"]);
        }
        Ok(said)
    }

    /// Sends a command, waits for its answer and returns the answer, which may be an error of the
    /// gateway. Skips pushes in between.
    ///
    /// # Errors
    /// No answer comes in time, or the gateway ends the session.
    pub fn answer(&mut self, command: &str, request: &Value) -> anyhow::Result<Value> {
        let id = self.say(command, request)?;
        loop {
            let said = self.hear()?;
            if said["id"] == id {
                return Ok(said);
            }
        }
    }

    /// Returns the connection of the session. Drops what was read and is not parsed yet.
    #[must_use]
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Skips messages of the gateway until none comes for this time.
    ///
    /// # Errors
    /// The gateway ends the session.
    pub fn pass_over(&mut self, quiet: Duration) -> anyhow::Result<()> {
        self.stream.set_read_timeout(Some(quiet))?;
        let over = loop {
            let Err(error) = self.hear() else {
                continue;
            };
            let kind = error.root_cause().downcast_ref().map(io::Error::kind);
            break match kind {
                Some(ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
                _ => Err(error),
            };
        };
        self.stream.set_read_timeout(Some(PATIENCE))?;
        over
    }

    /// Waits for the next message of the gateway and returns it.
    ///
    /// # Errors
    /// No message comes in time, or the gateway ends the session.
    pub fn hear(&mut self) -> anyhow::Result<Value> {
        let start = Instant::now();
        loop {
            if start.elapsed() > PATIENCE {
                // The input had only pings.
                bail!("the gateway said nothing for {PATIENCE:?}");
            }
            let mut input = &mut self.buffer[self.unread.clone()];
            let before = input.len();
            let event = self.framing.receive(&mut input, 1 << 20)?;
            let said = match event {
                Some(Event::Message(_, payload)) => Some(serde_json::from_slice(&payload)?),
                Some(Event::Ping(payload)) => {
                    let mut pong = Vec::new();
                    write_frame(&mut pong, Opcode::Pong, &payload, MASK);
                    self.stream.write_all(&pong)?;
                    None
                }
                Some(Event::Close(code, reason)) => bail!("closed: {code:?} {reason}"),
                Some(Event::Pong(_)) | None => None,
            };
            self.unread.start += before - input.len();
            if let Some(said) = said {
                return Ok(said);
            }
            if self.unread.is_empty() {
                let read = self.stream.read(&mut self.buffer).context("no answer")?;
                if read == 0 {
                    bail!("the gateway ended the session");
                }
                self.unread = 0..read;
            }
        }
    }
}
