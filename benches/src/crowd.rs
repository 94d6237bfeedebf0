//! Very many connections on one thread, opened as fast as the server takes them.
//!
//! A connection is a session of the gateway, or a bare TCP connection to the server of [`crate::raw`].
//! The same code opens both, so that their costs can be compared.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use memchr::memmem;
use mio::event::Event as Readiness;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use trunkline_proto::connection::{Connection, Event, Role};
use trunkline_proto::frame::{Opcode, write_frame};

use crate::frames::Frames;

/// The masking key. It is fixed, because the work is the same for any key.
pub const MASK: Option<[u8; 4]> = Some([0x12, 0x34, 0x56, 0x78]);

/// The number of source addresses. Each has some 28,000 ports.
const SOURCES: usize = 16;

/// The pause after which a member that was turned away tries again.
const AGAIN: Duration = Duration::from_millis(200);

/// The most time that opening may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The kind of a crowd's members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    /// A member is a TCP connection without messages.
    Raw,
    /// A member is a session. It sends `connect` as the user with this name and the member's
    /// number, from the position of its last session.
    Sessions(&'static str),
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) stream: TcpStream,
    pub(crate) framing: Connection,
    pub(crate) out: Vec<u8>,
    state: MemberState,
    head: Vec<u8>,
    frames: Frames,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum MemberState {
    Connecting,
    Upgrading,
    Greeting,
    In,
}

/// Connections of one kind to one server.
#[derive(Debug)]
pub struct Crowd {
    server: SocketAddr,
    kind: MemberKind,
    pub(crate) poll: Poll,
    pub(crate) members: Vec<Option<Member>>,
    /// The position of each member, as the server reported it.
    positions: Vec<String>,
    events: Events,
    buffer: Vec<u8>,
    /// The number of members that have begun to connect and are not in yet.
    opening: usize,
    inside: usize,
    again: VecDeque<(Instant, usize)>,
    turned_away: u64,
}

impl Crowd {
    /// Makes a crowd of `size` members, none of them connected.
    ///
    /// # Errors
    /// The kernel gives no event loop.
    pub fn new(server: SocketAddr, kind: MemberKind, size: usize) -> io::Result<Self> {
        Ok(Self {
            server,
            kind,
            poll: Poll::new()?,
            members: (0..size).map(|_| None).collect(),
            positions: vec![String::new(); size],
            events: Events::with_capacity(1_024),
            buffer: vec![0; 64 << 10],
            opening: 0,
            inside: 0,
            again: VecDeque::new(),
            turned_away: 0,
        })
    }

    /// Returns how many times members were turned away so far. Each tries again a little later.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.turned_away
    }

    /// Returns whether no member is in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inside == 0
    }

    /// Connects all members, `at_once` of them at a time. Returns the time that it took.
    ///
    /// # Errors
    /// The server refuses, says something else, or takes longer than a minute.
    pub fn open(&mut self, at_once: usize) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let mut next = 0;
        while self.inside < self.members.len() {
            if start.elapsed() > PATIENCE {
                let all = self.members.len();
                bail!("{} of {all} are in after {PATIENCE:?}", self.inside);
            }
            while self.opening < at_once && next < self.members.len() {
                self.begin(next).context("cannot connect")?;
                next += 1;
            }
            while let Some(&(at, member)) = self.again.front()
                && at <= Instant::now()
            {
                self.again.pop_front();
                self.begin(member).context("cannot connect")?;
            }
            self.turn(Duration::from_millis(20))?;
        }
        Ok(start.elapsed())
    }

    /// Resets all connections without a Close frame, as if the network were gone.
    ///
    /// # Errors
    /// The kernel refuses to close a connection.
    pub fn close(&mut self) -> io::Result<()> {
        for member in self.members.iter_mut().filter_map(Option::take) {
            let mut stream = member.stream;
            self.poll.registry().deregister(&mut stream)?;
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        }
        (self.inside, self.opening) = (0, 0);
        self.again.clear();
        Ok(())
    }

    /// Sends a message on every member that is in.
    ///
    /// # Errors
    /// A connection does not take the message.
    pub fn say(&mut self, command: &str) -> io::Result<()> {
        let mut frame = Vec::new();
        write_frame(&mut frame, Opcode::Text, command.as_bytes(), MASK);
        for member in self.members.iter_mut().flatten() {
            member.stream.write_all(&frame)?;
        }
        Ok(())
    }

    /// Waits for input and reads it. Returns how many frames of messages began. Answers
    /// pings.
    ///
    /// # Errors
    /// The server ends a connection that is in, or says something else than was expected.
    pub fn turn(&mut self, time: Duration) -> anyhow::Result<u64> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        self.poll.poll(&mut events, Some(time))?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut frames = 0;
        for event in &events {
            frames += self.ready(event, &mut buffer)?;
        }
        (self.events, self.buffer) = (events, buffer);
        Ok(frames)
    }

    fn begin(&mut self, at: usize) -> io::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        // The port is chosen at connect, with the target known (ip(7)).
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        let source = Ipv4Addr::new(127, 0, 0, 2 + (at % SOURCES) as u8);
        socket.bind(&SockAddr::from(SocketAddrV4::new(source, 0)))?;
        match socket.connect(&self.server.into()) {
            Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => {
                return Err(error);
            }
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(at), both)?;
        self.opening += 1;
        self.members[at] = Some(Member {
            stream,
            framing: Connection::new(Role::Client),
            out: Vec::new(),
            state: MemberState::Connecting,
            head: Vec::new(),
            frames: Frames::default(),
        });
        Ok(())
    }

    fn ready(&mut self, event: &Readiness, buffer: &mut [u8]) -> anyhow::Result<u64> {
        let Token(at) = event.token();
        let Some(Some(member)) = self.members.get_mut(at) else {
            return Ok(0);
        };
        if member.state == MemberState::Connecting && event.is_writable() {
            self.connected(at)?;
        }
        let mut frames = 0;
        if !event.is_readable() && !event.is_error() {
            return Ok(0);
        }
        while let Some(member) = &mut self.members[at] {
            let read = match member.stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Ok(read) if read > 0 => read,
                _ if member.state == MemberState::In => bail!("the server ended a connection"),
                _ => {
                    self.turn_away(at)?;
                    break;
                }
            };
            frames += self.input(at, &mut buffer[..read])?;
            if read < buffer.len() {
                break;
            }
        }
        Ok(frames)
    }

    fn connected(&mut self, at: usize) -> anyhow::Result<()> {
        let Some(member) = &mut self.members[at] else {
            return Ok(());
        };
        if let Some(error) = member.stream.take_error()? {
            return Err(error).context("a connection was refused");
        }
        if self.kind == MemberKind::Raw {
            self.enter(at);
            return Ok(());
        }
        member.state = MemberState::Upgrading;
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dHJ1bmtsaW5lIGJlbmNoIQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            self.server
        );
        Ok(member.stream.write_all(request.as_bytes())?)
    }

    fn enter(&mut self, at: usize) {
        if let Some(member) = &mut self.members[at] {
            member.state = MemberState::In;
            member.head = Vec::new();
            (self.opening, self.inside) = (self.opening - 1, self.inside + 1);
        }
    }

    fn turn_away(&mut self, at: usize) -> anyhow::Result<()> {
        if let Some(mut member) = self.members[at].take() {
            self.poll.registry().deregister(&mut member.stream)?;
        }
        self.turned_away += 1;
        self.opening -= 1;
        self.again.push_back((Instant::now() + AGAIN, at));
        Ok(())
    }

    fn input(&mut self, at: usize, mut input: &mut [u8]) -> anyhow::Result<u64> {
        let Some(member) = &mut self.members[at] else {
            return Ok(0);
        };
        match member.state {
            MemberState::Connecting | MemberState::Upgrading => {
                member.head.extend_from_slice(input);
                let Some(end) = memmem::find(&member.head, b"\r\n\r\n") else {
                    return Ok(0);
                };
                if member.head.starts_with(b"HTTP/1.1 503") {
                    self.turn_away(at)?;
                    return Ok(0);
                }
                if !member.head.starts_with(b"HTTP/1.1 101") || member.head.len() > end + 4 {
                    bail!("no upgrade: {}", String::from_utf8_lossy(&member.head));
                }
                member.state = MemberState::Greeting;
                let hello = self.hello(at);
                if let Some(member) = &mut self.members[at] {
                    member.stream.write_all(&hello)?;
                }
                Ok(0)
            }
            MemberState::Greeting => {
                match member.framing.receive(&mut input, 1 << 20)? {
                    None => return Ok(0),
                    Some(Event::Message(_, payload)) => {
                        let text = std::str::from_utf8(&payload)?;
                        if text.contains(r#""disconnect""#) {
                            self.turn_away(at)?;
                            return Ok(0);
                        }
                        let pos = text.split_once(r#""pos":""#).and_then(|(_, rest)| {
                            let (pos, _) = rest.split_once('"')?;
                            Some(pos.to_owned())
                        });
                        self.positions[at] = pos.with_context(|| text.to_owned())?;
                    }
                    Some(Event::Ping(payload)) => {
                        let mut pong = Vec::new();
                        write_frame(&mut pong, Opcode::Pong, &payload, MASK);
                        member.stream.write_all(&pong)?;
                        return self.input(at, input);
                    }
                    Some(other) => bail!("instead of a session: {other:?}"),
                }
                self.enter(at);
                self.input(at, input)
            }
            MemberState::In => {
                let counted = member.frames.take(input);
                if counted.pings > 0 {
                    let mut pong = Vec::new();
                    write_frame(&mut pong, Opcode::Pong, b"", MASK);
                    member.stream.write_all(&pong)?;
                }
                Ok(counted.messages)
            }
        }
    }

    /// Returns the `connect` command of a member as a frame.
    fn hello(&self, at: usize) -> Vec<u8> {
        let MemberKind::Sessions(name) = self.kind else {
            return Vec::new();
        };
        let since = match self.positions[at].as_str() {
            "" => String::new(),
            pos => format!(r#","since":"{pos}""#),
        };
        let hello = format!(r#"{{"id":1,"connect":{{"user":"{name}{at}","device":"d"{since}}}}}"#);
        let mut frame = Vec::new();
        write_frame(&mut frame, Opcode::Text, hello.as_bytes(), MASK);
        frame
    }
}
