//! One connection of an attacker.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use memchr::memmem;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use trunkline_benches::crowd::MASK;
use trunkline_proto::connection::{Connection, Event, Role};
use trunkline_proto::frame::{Opcode, write_frame};

use crate::attack::{Entry, Manner};
use crate::crew::tally::Tally;

/// The pause before a connection is opened again that the gateway ended.
const AGAIN: Duration = Duration::from_millis(5);

/// The most reads of a connection before the next connection has its turn.
const READS: usize = 16;

/// The most bytes of a message of the gateway.
const MESSAGE: usize = 1 << 24;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Connecting,
    Upgrading,
    Greeting,
    In,
}

/// A connection that is open or on its way to be.
#[derive(Debug)]
struct Line {
    stream: TcpStream,
    progress: Progress,
    head: Vec<u8>,
    framing: Connection,
    /// The part of `out` that was written.
    written: usize,
}

/// One of the connections of an attacker: it is opened again each time it ends.
#[derive(Debug)]
pub(crate) struct Seat {
    server: SocketAddr,
    source: Ipv4Addr,
    manner: Manner,
    token: Token,
    /// What opens a session: a frame.
    hello: Vec<u8>,
    line: Option<Line>,
    opens_at: Instant,
    /// What is to be written.
    pub(crate) out: Vec<u8>,
    /// The number of commands that wait for an answer.
    pub(crate) in_flight: usize,
    /// The number of steps over all lives of the connection.
    pub(crate) steps: u64,
    /// The number of steps since the connection was opened.
    pub(crate) since_open: u64,
    /// When the next step may be.
    pub(crate) next_step: Instant,
    /// Whether the attacker has nothing more to write on this connection.
    pub(crate) rests: bool,
    /// Whether the socket may have more input, of which the kernel tells no more.
    pub(crate) has_more: bool,
}

/// What a [`Seat`] is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The address of the gateway.
    pub(crate) server: SocketAddr,
    /// The address that the attacker connects from.
    pub(crate) source: Ipv4Addr,
    /// How the attacker connects.
    pub(crate) manner: Manner,
    /// The token of the connection's events.
    pub(crate) token: Token,
}

impl Seat {
    /// Makes a connection that is not open yet. `hello` is the payload that opens its session.
    pub(crate) fn new(place: Place, hello: &[u8]) -> Self {
        let Place {
            server,
            source,
            manner,
            token,
        } = place;
        let opcode = match manner.protobuf {
            true => Opcode::Binary,
            false => Opcode::Text,
        };
        let mut frame = Vec::new();
        write_frame(&mut frame, opcode, hello, MASK);
        Self {
            server,
            source,
            manner,
            token,
            hello: frame,
            line: None,
            opens_at: Instant::now(),
            out: Vec::new(),
            in_flight: 0,
            steps: 0,
            since_open: 0,
            next_step: Instant::now(),
            rests: false,
            has_more: false,
        }
    }

    /// Returns whether the connection has got as far as the attack wants it.
    pub(crate) fn is_in(&self) -> bool {
        self.line
            .as_ref()
            .is_some_and(|line| line.progress == Progress::In)
    }

    /// Returns whether the connection is to be opened now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.line.is_none() && now >= self.opens_at
    }

    /// Begins to open the connection.
    ///
    /// # Errors
    /// The kernel has no socket left.
    pub(crate) fn open(&mut self, registry: &Registry, tally: &mut Tally) -> io::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        // The port is chosen at connect, with the target known (ip(7)).
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(&SockAddr::from(SocketAddrV4::new(self.source, 0)))?;
        match socket.connect(&self.server.into()) {
            Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => {
                self.opens_at = Instant::now() + AGAIN;
                return Ok(());
            }
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        let both = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, self.token, both)?;
        tally.opened += 1;
        self.out.clear();
        (self.in_flight, self.since_open) = (0, 0);
        (self.rests, self.has_more) = (false, false);
        self.line = Some(Line {
            stream,
            progress: Progress::Connecting,
            head: Vec::new(),
            framing: Connection::new(Role::Client),
            written: 0,
        });
        Ok(())
    }

    /// Ends the connection. The next one goes to this server.
    pub(crate) fn move_to(&mut self, server: SocketAddr) {
        self.leave();
        self.server = server;
    }

    /// Ends the connection by a reset. It is opened again at once.
    pub(crate) fn leave(&mut self) {
        if let Some(line) = self.line.take() {
            // The connection may be gone already.
            let _ = SockRef::from(&line.stream).set_linger(Some(Duration::ZERO));
        }
        self.opens_at = Instant::now();
    }

    fn ended(&mut self, tally: &mut Tally) {
        tally.ended += 1;
        self.line = None;
        self.opens_at = Instant::now() + AGAIN;
    }

    /// Writes and reads what the socket takes and has.
    pub(crate) fn ready(&mut self, buffer: &mut [u8], tally: &mut Tally) {
        self.has_more = false;
        if self.progress().is_none() || !self.flush(tally) {
            return;
        }
        for _ in 0..READS {
            if self.is_in() && !self.manner.reads {
                return;
            }
            let Some(line) = &mut self.line else { return };
            match line.stream.read(buffer) {
                Ok(read @ 1..) => {
                    tally.bytes += read as u64;
                    if !self.input(&mut buffer[..read], tally) {
                        return self.ended(tally);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // Pongs.
                    self.flush(tally);
                    return;
                }
                _ => return self.ended(tally),
            }
        }
        self.has_more = true;
    }

    fn progress(&mut self) -> Option<Progress> {
        let line = self.line.as_mut()?;
        if line.progress != Progress::Connecting || line.stream.peer_addr().is_err() {
            return Some(line.progress);
        }
        line.progress = match self.manner.entry {
            Entry::Tcp => Progress::In,
            Entry::Upgrade | Entry::Session => Progress::Upgrading,
        };
        if line.progress == Progress::Upgrading {
            let request = upgrade(self.server, self.manner.protobuf);
            self.out.extend_from_slice(request.as_bytes());
        }
        Some(line.progress)
    }

    /// Writes what waits. Returns whether the connection is still there.
    pub(crate) fn flush(&mut self, tally: &mut Tally) -> bool {
        let Some(line) = &mut self.line else {
            return false;
        };
        if line.progress == Progress::Connecting {
            return true;
        }
        while line.written < self.out.len() {
            match line.stream.write(&self.out[line.written..]) {
                Ok(sent) => line.written += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => {
                    self.ended(tally);
                    return false;
                }
            }
        }
        line.written = 0;
        self.out.clear();
        true
    }

    /// Takes input. Returns whether the gateway leaves the connection open.
    fn input(&mut self, mut input: &mut [u8], tally: &mut Tally) -> bool {
        let Some(line) = &mut self.line else {
            return false;
        };
        if line.progress == Progress::Upgrading {
            line.head.extend_from_slice(input);
            let Some(end) = memmem::find(&line.head, b"\r\n\r\n") else {
                return true;
            };
            if !line.head.starts_with(b"HTTP/1.1 101") || line.head.len() > end + 4 {
                return false;
            }
            line.head = Vec::new();
            line.progress = match self.manner.entry {
                Entry::Session => Progress::Greeting,
                _ => Progress::In,
            };
            if line.progress == Progress::Greeting {
                self.out.extend_from_slice(&self.hello);
            }
            return self.flush(tally) || self.line.is_some();
        }
        if self.manner.entry == Entry::Tcp {
            return true;
        }
        loop {
            match line.framing.receive(&mut input, MESSAGE) {
                Ok(None) => return true,
                Ok(Some(Event::Message(_, payload))) => {
                    let is_answer = match self.manner.protobuf {
                        true => {
                            tally.answers += 1;
                            true
                        }
                        false => tally.message(&payload),
                    };
                    if line.progress == Progress::Greeting {
                        line.progress = Progress::In;
                    } else if is_answer {
                        self.in_flight = self.in_flight.saturating_sub(1);
                    }
                }
                Ok(Some(Event::Ping(payload))) => {
                    write_frame(&mut self.out, Opcode::Pong, &payload, MASK);
                }
                Ok(Some(Event::Pong(_))) => {}
                Ok(Some(Event::Close(..))) | Err(_) => return false,
            }
        }
    }
}

fn upgrade(server: SocketAddr, protobuf: bool) -> String {
    let encoding = match protobuf {
        true => "trunkline.v1.proto",
        false => "trunkline.v1.json",
    };
    format!(
        "GET /v1/ws HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dHJ1bmtsaW5lIGJlbmNoIQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {encoding}\r\n\r\n"
    )
}
