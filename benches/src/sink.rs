//! A server that does nothing: it takes connections, drops what they send, and sends bytes of no
//! meaning.
//!
//! What a load does to others on the same machine while this server takes it, the kernel and the
//! processors do.

use std::io::{self, ErrorKind, Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use trunkline_proto::frame::{Opcode, write_frame};

use crate::raw;

const LISTENER: Token = Token(usize::MAX);

/// Between two looks at the bytes that are due.
const LOOK: Duration = Duration::from_millis(2);

/// The most bytes of a frame that is sent.
const FRAME: usize = 64 << 10;

/// The response to each upgrade. It proves nothing, so only a client that does not look takes it.
pub(crate) const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                          Connection: Upgrade\r\n\r\n";

/// What a connection has been answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    Nothing,
    Upgrade,
    /// The first message, which opens a session at a gateway.
    Greeting,
}

#[derive(Debug)]
struct Conn {
    stream: TcpStream,
    answered: Answered,
    /// The end of the input so far: that of an upgrade is an empty line.
    tail: [u8; 4],
    out: Vec<u8>,
}

/// Serves until the process is killed. The first line that it prints has the address. All
/// connections together are sent `bytes` each second.
pub fn run(bytes: u64) -> ExitCode {
    match listen_and_serve(bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => raw::fail("sink", &error),
    }
}

fn listen_and_serve(bytes: u64) -> io::Result<()> {
    let listener = raw::listen()?;
    raw::say_ready(listener.local_addr()?)?;
    serve(listener, bytes)
}

fn serve(mut listener: TcpListener, bytes: u64) -> io::Result<()> {
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1_024);
    let mut buffer = vec![0; 256 << 10];
    let mut conns = Slab::new();
    let mut sender = Sender::new(bytes);
    loop {
        match poll.poll(&mut events, Some(LOOK)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            match event.token() {
                LISTENER => accept(&poll, &listener, &mut conns)?,
                Token(slot) => {
                    if let Some(conn) = conns.get_mut(slot)
                        && !ready(conn, &mut buffer)
                    {
                        conns.remove(slot);
                    }
                }
            }
        }
        sender.send(&mut conns);
    }
}

fn accept(poll: &Poll, listener: &TcpListener, conns: &mut Slab<Conn>) -> io::Result<()> {
    while let Some(mut stream) = raw::accept(listener)? {
        let entry = conns.vacant_entry();
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(&mut stream, Token(entry.key()), both)?;
        entry.insert(Conn {
            stream,
            answered: Answered::Nothing,
            tail: [0; 4],
            out: Vec::new(),
        });
    }
    Ok(())
}

/// Reads all that there is. Returns whether the connection is still there.
fn ready(conn: &mut Conn, buffer: &mut [u8]) -> bool {
    loop {
        match conn.stream.read(buffer) {
            Ok(read @ 1..) => conn.answer(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return conn.flush(),
            _ => return false,
        }
    }
}

impl Conn {
    /// Answers the upgrade and the first message.
    fn answer(&mut self, input: &[u8]) {
        match self.answered {
            Answered::Nothing => {
                let joined = [&self.tail[..], input].concat();
                self.tail.copy_from_slice(&joined[joined.len() - 4..]);
                if self.tail == *b"\r\n\r\n" {
                    self.out.extend_from_slice(UPGRADED);
                    self.answered = Answered::Upgrade;
                }
            }
            Answered::Upgrade => {
                write_frame(&mut self.out, Opcode::Text, b"{}", None);
                self.answered = Answered::Greeting;
            }
            Answered::Greeting => {}
        }
    }

    /// Writes what waits. Returns whether the connection is still there.
    fn flush(&mut self) -> bool {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(sent) => drop(self.out.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        true
    }
}

/// Sends bytes at a rate, to one connection after another.
struct Sender {
    per_second: u64,
    began: Instant,
    sent: u64,
    next: usize,
    frame: Vec<u8>,
}

impl Sender {
    fn new(per_second: u64) -> Self {
        Self {
            per_second,
            began: Instant::now(),
            sent: 0,
            next: 0,
            frame: vec![b' '; FRAME],
        }
    }

    /// Sends what is due. What finds no connection with room is forgotten.
    fn send(&mut self, conns: &mut Slab<Conn>) {
        let due = (self.began.elapsed().as_secs_f64() * self.per_second as f64) as u64;
        let slots: Vec<_> = conns.iter().map(|(slot, _)| slot).collect();
        for _ in 0..slots.len() {
            let left = due.saturating_sub(self.sent) as usize;
            if left == 0 {
                return;
            }
            self.next = (self.next + 1) % slots.len();
            let conn = conns.get_mut(slots[self.next]);
            let takes =
                |conn: &&mut Conn| conn.answered == Answered::Greeting && conn.out.is_empty();
            if let Some(conn) = conn.filter(takes) {
                let size = left.min(FRAME);
                write_frame(&mut conn.out, Opcode::Text, &self.frame[..size], None);
                self.sent += size as u64;
                // The event loop finds out about a connection that is gone.
                conn.flush();
            }
        }
        self.sent = due;
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_sink_lets_clients_in_and_sends_without_being_asked() {
        let listener = raw::listen().unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || serve(listener, 1 << 20));
        let mut client = TcpStream::connect(address).unwrap();
        for part in ["GET / HTTP/1.1\r\n\r", "\n"] {
            client.write_all(part.as_bytes()).unwrap();
        }
        let mut head = vec![0; UPGRADED.len()];
        client.read_exact(&mut head).unwrap();
        assert_eq!(head, UPGRADED);
        client.write_all(b"hello").unwrap();
        let mut greeting = [0; 4];
        client.read_exact(&mut greeting).unwrap();
        assert_eq!(greeting, *b"\x81\x02{}");
        let mut bytes = vec![0; 100_000];
        client.read_exact(&mut bytes).unwrap();
    }
}
