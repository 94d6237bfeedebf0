//! A closed-loop WebSocket client: every connection keeps a number of messages in flight.
//!
//! The client knows little more than RFC 6455: it sends templates, and counts substrings. So it can drive
//! any chat server with JSON in text frames with the same work, and NATS with an equal amount.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use memchr::memmem;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use trunkline_proto::connection::{Connection, Event, Role};
use trunkline_proto::frame::{Opcode, write_frame};

use crate::metering::Load;
use crate::nats;

/// The masking key. It is fixed, because the work is the same for any key.
const MASK: Option<[u8; 4]> = Some([0x12, 0x34, 0x56, 0x78]);

/// The time in which all connections must become ready.
const READY: Duration = Duration::from_secs(30);

/// The number of digits of the time in a message's text.
pub const DIGITS: usize = 19;

/// The load on a server. In the templates `{id}` is the connection's number, `{peer}` that of its
/// partner, `{n}` counts the messages of the connection, `{any}` is a number below [`Plan::others`]
/// that jumps about, `{time}` is the time for [`Blast::time_pushes`] in [`DIGITS`] digits.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The address of the server.
    pub server: SocketAddr,
    /// The path of the upgrade request.
    pub path: String,
    /// The first message after the upgrade, which the server answers with a frame. Empty: no
    /// message.
    pub hello: String,
    /// The message that is sent again and again.
    pub message: String,
    /// How the end of a message is recognised, so that the next one is sent.
    pub counts: Counts,
    /// The number of connections. It is even, because they chat in pairs.
    pub connections: usize,
    /// The number of messages in flight on each connection.
    pub window: usize,
    /// The numbers that `{any}` stands for are 0 to this, exclusive. At least 1.
    pub others: u64,
    /// The time for which messages are counted, after a tenth of it to warm up.
    pub duration: Duration,
}

/// The way to recognise acknowledgements and pushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// By a substring of a text frame.
    Frames {
        /// The substring of a frame that acknowledges a message, after which the next one is sent.
        ack: &'static str,
        /// The substring of a frame that pushes a message.
        push: &'static str,
    },
    /// NATS, which acknowledges nothing. The receiver of a message sends the next one, and a
    /// received message counts as acknowledged.
    Nats,
}

/// The answers of Trunkline, and of servers with the same JSON.
pub const CHAT: Counts = Counts::Frames {
    ack: r#""send""#,
    push: r#""push""#,
};

/// The rates that were measured.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    /// Acknowledged messages per second.
    pub acks: f64,
    /// Pushed messages per second.
    pub pushes: f64,
}

struct Conn {
    stream: TcpStream,
    framing: Connection,
    nats: nats::Stream,
    head: Vec<u8>,
    state: ConnectionState,
    sent: u64,
    out: Vec<u8>,
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum ConnectionState {
    Upgrading,
    Greeting,
    Ready,
}

/// The connections of a plan, all of them ready and each with its messages in flight.
pub struct Blast<'p> {
    plan: &'p Plan,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    conns: Vec<Conn>,
    scratch: String,
    ready: usize,
    acks: u64,
    pushes: u64,
    began: Instant,
    /// The nanoseconds from `began` to the input that is dealt with; 0 unless pushes are timed.
    now: u64,
    times: Option<Histogram<u64>>,
}

impl std::fmt::Debug for Blast<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blast")
            .field("plan", self.plan)
            .finish_non_exhaustive()
    }
}

/// Opens the connections of a plan, warms up, and counts.
///
/// # Errors
/// The server does not take the connections, closes one, or answers none in time.
pub fn run(plan: &Plan) -> anyhow::Result<Counted> {
    let mut blast = Blast::start(plan)?;
    blast.warm(plan.duration / 10)?;
    blast.count(plan.duration)
}

impl<'p> Blast<'p> {
    /// Opens the connections, and sends the first messages of each.
    ///
    /// # Errors
    /// The server does not take the connections, closes one, or does not answer in time.
    pub fn start(plan: &'p Plan) -> anyhow::Result<Self> {
        let mut blast = Blast {
            plan,
            poll: Poll::new()?,
            events: Events::with_capacity(256),
            buffer: vec![0; 64 << 10],
            conns: Vec::new(),
            scratch: String::new(),
            ready: 0,
            acks: 0,
            pushes: 0,
            began: Instant::now(),
            now: 0,
            times: None,
        };
        for id in 0..plan.connections {
            blast.connect(id).context("cannot connect")?;
        }
        let deadline = Instant::now() + READY;
        while blast.ready < plan.connections {
            if Instant::now() >= deadline {
                bail!(
                    "{} of {} connections ready in time",
                    blast.ready,
                    plan.connections
                );
            }
            blast.turn()?;
        }
        for id in 0..plan.connections {
            for _ in 0..plan.window {
                blast.emit(id);
            }
            blast.flush(id)?;
        }
        Ok(blast)
    }
}

impl Blast<'_> {
    /// Continues for a while without counting.
    ///
    /// # Errors
    /// The server closes a connection.
    pub fn warm(&mut self, time: Duration) -> anyhow::Result<()> {
        let start = Instant::now();
        while start.elapsed() < time {
            self.turn_once()?;
        }
        Ok(())
    }

    /// Continues for a while and counts.
    ///
    /// # Errors
    /// The server closes a connection, or acknowledges nothing.
    pub fn count(&mut self, time: Duration) -> anyhow::Result<Counted> {
        let (acks, pushes) = (self.acks, self.pushes);
        let start = Instant::now();
        while start.elapsed() < time {
            self.turn_once()?;
        }
        let seconds = start.elapsed().as_secs_f64();
        if self.acks == acks {
            bail!("no message was acknowledged in {seconds:.1} s");
        }
        Ok(Counted {
            acks: (self.acks - acks) as f64 / seconds,
            pushes: (self.pushes - pushes) as f64 / seconds,
        })
    }

    /// Times pushes from now on. The text of a message must begin with `{time}`, and a push must have
    /// it as `"text":"…"`. Returns the times of pushes since the last call, in nanoseconds from the
    /// send to the read of the push; nothing the first time.
    ///
    /// # Errors
    /// There is no memory for the times.
    pub fn time_pushes(&mut self) -> anyhow::Result<Option<Histogram<u64>>> {
        // Holds values up to a minute, with an error of a thousandth.
        let times = Histogram::new_with_max(60_000_000_000, 3)?;
        Ok(self.times.replace(times))
    }

    fn connect(&mut self, id: usize) -> anyhow::Result<()> {
        let stream = std::net::TcpStream::connect(self.plan.server)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        self.poll
            .registry()
            .register(&mut stream, Token(id), Interest::READABLE)?;
        let path = self.fill(&self.plan.path.clone(), id, 0).to_owned();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dHJ1bmtsaW5lIGJlbmNoIQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            self.plan.server
        );
        self.conns.push(Conn {
            stream,
            framing: Connection::new(Role::Client),
            nats: nats::Stream::default(),
            head: Vec::new(),
            state: ConnectionState::Upgrading,
            sent: 0,
            out: request.into_bytes(),
        });
        self.flush(id)
    }

    /// Fills in the variables of a template.
    fn fill(&mut self, template: &str, id: usize, n: u64) -> &str {
        self.scratch.clear();
        let mut rest = template;
        while let Some(at) = rest.find('{') {
            self.scratch.push_str(&rest[..at]);
            rest = &rest[at..];
            // Weyl's sequence: all numbers come equally often, in a scattered order.
            let any = (id as u64 + n).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
            let value = [
                ("{id}", id as u64),
                ("{peer}", (id ^ 1) as u64),
                ("{n}", n),
                ("{any}", any % self.plan.others),
            ];
            if rest.starts_with("{time}") {
                use std::fmt::Write;
                // Writing to a String does not fail.
                let _ = write!(self.scratch, "{:0DIGITS$}", self.now);
                rest = &rest["{time}".len()..];
                continue;
            }
            match value.iter().find(|(name, _)| rest.starts_with(name)) {
                Some((name, value)) => {
                    use std::fmt::Write;
                    // Writing to a String does not fail.
                    let _ = write!(self.scratch, "{value}");
                    rest = &rest[name.len()..];
                }
                None => {
                    self.scratch.push('{');
                    rest = &rest[1..];
                }
            }
        }
        self.scratch.push_str(rest);
        &self.scratch
    }

    fn emit(&mut self, id: usize) {
        self.conns[id].sent += 1;
        let (plan, n) = (self.plan, self.conns[id].sent);
        self.fill(&plan.message, id, n);
        self.frame(id);
    }

    /// Puts the filled-in template into a frame.
    fn frame(&mut self, id: usize) {
        let opcode = match self.plan.counts {
            Counts::Frames { .. } => Opcode::Text,
            Counts::Nats => Opcode::Binary,
        };
        let payload = self.scratch.as_bytes();
        write_frame(&mut self.conns[id].out, opcode, payload, MASK);
    }

    fn flush(&mut self, id: usize) -> anyhow::Result<()> {
        let conn = &mut self.conns[id];
        let mut sent = 0;
        while sent < conn.out.len() {
            match conn.stream.write(&conn.out[sent..]) {
                Ok(n) => sent += n,
                // The window is small compared with a socket's buffer, so the next answer finds
                // room.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("a connection failed"),
            }
        }
        conn.out.drain(..sent);
        Ok(())
    }

    fn turn_once(&mut self) -> anyhow::Result<()> {
        self.poll
            .poll(&mut self.events, Some(Duration::from_millis(50)))?;
        // Taken out of `self`, which the calls below borrow.
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let mut buffer = std::mem::take(&mut self.buffer);
        for event in &events {
            let Token(id) = event.token();
            if self.times.is_some() {
                self.now = self.began.elapsed().as_nanos() as u64;
            }
            loop {
                let read = match self.conns[id].stream.read(&mut buffer) {
                    Ok(0) => bail!("the server closed connection {id}"),
                    Ok(read) => read,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error).context("a connection failed"),
                };
                self.input(id, &mut buffer[..read])?;
                if read < buffer.len() {
                    break;
                }
            }
            self.flush(id)?;
        }
        (self.events, self.buffer) = (events, buffer);
        Ok(())
    }

    fn input(&mut self, id: usize, input: &mut [u8]) -> anyhow::Result<()> {
        if self.conns[id].state != ConnectionState::Upgrading {
            return self.frames(id, input);
        }
        let conn = &mut self.conns[id];
        conn.head.extend_from_slice(input);
        let Some(end) = memmem::find(&conn.head, b"\r\n\r\n") else {
            return Ok(());
        };
        if !conn.head.starts_with(b"HTTP/1.1 101") {
            bail!("no upgrade: {}", String::from_utf8_lossy(&conn.head));
        }
        let mut rest = conn.head.split_off(end + 4);
        if self.plan.hello.is_empty() {
            conn.state = ConnectionState::Ready;
            self.ready += 1;
        } else {
            conn.state = ConnectionState::Greeting;
            let plan = self.plan;
            self.fill(&plan.hello, id, 0);
            self.frame(id);
        }
        self.frames(id, &mut rest)
    }

    fn frames(&mut self, id: usize, mut input: &mut [u8]) -> anyhow::Result<()> {
        loop {
            let conn = &mut self.conns[id];
            match conn.framing.receive(&mut input, 1 << 20)? {
                None => return Ok(()),
                Some(Event::Ping(payload)) => {
                    write_frame(&mut conn.out, Opcode::Pong, &payload, MASK);
                }
                Some(Event::Pong(_)) => {}
                Some(Event::Close(code, reason)) => bail!("closed: {code:?} {reason}"),
                Some(Event::Message(_, payload)) => match self.plan.counts {
                    Counts::Nats => {
                        let said = conn.nats.take(&payload)?;
                        self.nats(id, &said);
                    }
                    Counts::Frames { .. } if conn.state == ConnectionState::Greeting => {
                        conn.state = ConnectionState::Ready;
                        self.ready += 1;
                    }
                    Counts::Frames { ack, push } => {
                        if memmem::find(&payload, push.as_bytes()).is_some() {
                            self.pushes += 1;
                            if let Some(times) = &mut self.times
                                && let Some(sent) = time_of(&payload)
                            {
                                times.saturating_record(self.now.saturating_sub(sent));
                            }
                        } else if memmem::find(&payload, ack.as_bytes()).is_some() {
                            self.acks += 1;
                            self.emit(id);
                        }
                    }
                },
            }
        }
    }

    fn nats(&mut self, id: usize, said: &nats::Said) {
        let conn = &mut self.conns[id];
        if said.pongs > 0 && conn.state == ConnectionState::Greeting {
            conn.state = ConnectionState::Ready;
            self.ready += 1;
        }
        for _ in 0..said.pings {
            write_frame(&mut conn.out, Opcode::Binary, b"PONG\r\n", MASK);
        }
        for _ in 0..said.messages {
            self.acks += 1;
            self.pushes += 1;
            self.emit(id);
        }
    }
}

impl Load for Blast<'_> {
    fn turn(&mut self) -> anyhow::Result<()> {
        self.turn_once()
    }

    fn done(&self) -> u64 {
        self.acks
    }
}

/// Returns the time in the text of a pushed message; `None` for a text that begins with something
/// else, or a message from before pushes were timed.
fn time_of(push: &[u8]) -> Option<u64> {
    let at = memmem::find(push, br#""text":""#)?;
    let digits = push[at + 8..].get(..DIGITS)?;
    let time = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (time > 0).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_push() {
        let push = |text: &str| time_of(format!(r#"{{"push":{{"text":"{text}"}}}}"#).as_bytes());
        assert_eq!(push("0000000000000012345xxx"), Some(12_345));
        assert_eq!(push("0000000000000000000xxx"), None);
        assert_eq!(push("xxx"), None);
        assert_eq!(time_of(b"{}"), None);
    }
}
