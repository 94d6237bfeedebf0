//! The limits of the kernel: a TCP server without a protocol, and an echo client for it.
//!
//! The server has one thread and one epoll (mio), and makes one `recv` and one `send` for each
//! input. It accepts as fast as it can, and echoes its input. If the first byte is [`FAN_OUT`], it
//! sends one frame to all other connections.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};
use trunkline_proto::frame::{Opcode, write_frame};

use crate::metering::Load;

/// The first byte of a fan-out request. Four bytes follow, lowest first: the payload length of the
/// frame that all other connections get.
pub const FAN_OUT: u8 = 0xfa;

/// Connections that may wait to be accepted, as many as the gateway's shards let.
const BACKLOG: i32 = 4_096;

const LISTENER: Token = Token(usize::MAX);

/// Opens a listener on a free port.
///
/// # Errors
/// No port is free.
pub fn listen() -> io::Result<TcpListener> {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Accepts a waiting connection; `None` if none waits.
///
/// # Errors
/// The kernel refuses, for example for want of descriptors.
pub fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    match listener.accept() {
        Ok((stream, _)) => {
            stream.set_nodelay(true)?;
            Ok(Some(stream))
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Prints the address that a server listens on, in the form of the gateway's `ready` line.
///
/// # Errors
/// Standard output is closed.
pub fn say_ready(address: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "ready ws=ws://{address}/")?;
    out.flush()
}

/// Prints why a server ends.
pub fn fail(name: &str, error: &io::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "{name}: {error}");
    ExitCode::FAILURE
}

/// Serves until the process is killed. The first line that it prints has the address.
pub fn run() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail("raw", &error),
    }
}

fn serve() -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = listen()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    say_ready(listener.local_addr()?)?;
    let mut conns: Slab<TcpStream> = Slab::new();
    let mut events = Events::with_capacity(1_024);
    let mut buffer = vec![0; 64 << 10];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let Token(at) = event.token();
            if event.token() == LISTENER {
                while let Some(mut stream) = accept(&listener)? {
                    let entry = conns.vacant_entry();
                    let token = Token(entry.key());
                    poll.registry()
                        .register(&mut stream, token, Interest::READABLE)?;
                    entry.insert(stream);
                }
            } else if !serve_one(&mut conns, at, &mut buffer)
                && let Some(mut gone) = conns.try_remove(at)
            {
                poll.registry().deregister(&mut gone)?;
            }
        }
    }
}

/// Serves the input of one connection. Returns whether the connection is still open.
fn serve_one(conns: &mut Slab<TcpStream>, at: usize, buffer: &mut [u8]) -> bool {
    loop {
        let Some(conn) = conns.get_mut(at) else {
            return false;
        };
        let read = match conn.read(buffer) {
            Ok(0) => return false,
            Ok(read) => read,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        if buffer[0] == FAN_OUT {
            for request in buffer[..read].as_chunks::<5>().0 {
                let [_, bytes @ ..] = *request;
                fan_out(conns, at, u32::from_le_bytes(bytes) as usize);
            }
        } else if !matches!(conn.write(&buffer[..read]), Ok(sent) if sent == read) {
            return false;
        }
        if read < buffer.len() {
            return true;
        }
    }
}

/// Sends one frame to all connections but `from`, with one `send` each.
fn fan_out(conns: &mut Slab<TcpStream>, from: usize, bytes: usize) {
    let mut frame = Vec::new();
    write_frame(&mut frame, Opcode::Text, &vec![b'x'; bytes], None);
    for (at, conn) in conns {
        if at != from {
            // Few frames are under way at a time, so a socket that does not take one has failed.
            let _ = conn.write(&frame);
        }
    }
}

/// Connections to the server that echo, each with a number of messages in flight.
#[derive(Debug)]
pub struct Echo {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    conns: Vec<TcpStream>,
    /// The bytes of a message.
    bytes: usize,
    /// The bytes that came back.
    echoed: u64,
}

impl Echo {
    /// Opens `connections`, and sends the first `window` messages of `bytes` on each.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub fn start(
        server: SocketAddr,
        (connections, window): (usize, usize),
        bytes: usize,
    ) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let mut conns = Vec::new();
        let first = vec![0; bytes * window];
        for at in 0..connections {
            let stream = std::net::TcpStream::connect(server).context("cannot connect")?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(at), Interest::READABLE)?;
            stream.write_all(&first)?;
            conns.push(stream);
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(256),
            buffer: vec![0; 64 << 10],
            conns,
            bytes,
            echoed: 0,
        })
    }
}

impl Load for Echo {
    fn turn(&mut self) -> anyhow::Result<()> {
        let longest = Duration::from_millis(50);
        self.poll.poll(&mut self.events, Some(longest))?;
        for event in &self.events {
            let conn = &mut self.conns[event.token().0];
            loop {
                let read = match conn.read(&mut self.buffer) {
                    Ok(0) => bail!("the raw server closed a connection"),
                    Ok(read) => read,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                };
                self.echoed += read as u64;
                conn.write_all(&self.buffer[..read])?;
                if read < self.buffer.len() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn done(&self) -> u64 {
        self.echoed / self.bytes as u64
    }
}
