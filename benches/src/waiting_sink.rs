//! A server at which clients wait by HTTP, and which does as little as possible for it: one thread, fixed answers,
//! no store.
//!
//! What such clients cost others on the same machine while this server holds them, the kernel, the processors and the
//! clients do. The answers are those of a gateway, at the same times: a poll is answered when its time is over, and a
//! stream gets a comment after each silence.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use memchr::memmem;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};
use slab::Slab;
use trunkline_proto::connection::{Connection, Event, Role};
use trunkline_proto::frame::{Opcode, write_frame};

use crate::raw;
use crate::sink::UPGRADED;

const LISTENER: Token = Token(usize::MAX);

/// The time between two looks at what is due. What is due between them leaves together.
const TICK: Duration = Duration::from_millis(10);

/// The comment of a stream.
const COMMENT: &[u8] = b": ping\n\n";

/// The most bytes of a message.
const LONGEST: usize = 64 << 10;

/// The answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answers {
    /// The whole answer to a poll whose time is over.
    pub poll: String,
    /// The head of a stream, and its first event.
    pub stream: String,
    /// The body of the answer to `/metrics`, behind the numbers of open polls and streams.
    pub metrics: String,
    /// The fields of the reply to a command of a session, behind its id.
    pub reply: String,
    /// The silence after which a stream gets a comment, in seconds.
    pub ping: f64,
}

#[derive(Debug)]
enum State {
    /// The next request has not come whole.
    Asking(Vec<u8>),
    /// A poll waits.
    Polling,
    Streaming,
    Session(Connection),
    /// The connection ends when all has left.
    Leaving,
}

#[derive(Debug)]
struct Conn {
    stream: TcpStream,
    state: State,
    /// Tells this connection from earlier ones in the same place.
    number: u64,
    out: Vec<u8>,
}

struct Sink {
    answers: Answers,
    poll: Poll,
    conns: Slab<Conn>,
    began: Instant,
    /// The connections that something is due for, by the number of the tick.
    due: BTreeMap<u64, Vec<(usize, u64)>>,
    accepted: u64,
    streams: u32,
}

/// Serves until the process is killed, with the [`Answers`] in a file. The first line that it prints has the address.
pub fn run(answers: &Path) -> ExitCode {
    let served = std::fs::read(answers)
        .and_then(|text| serde_json::from_slice(&text).map_err(io::Error::from))
        .and_then(listen_and_serve);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => raw::fail("waiting sink", &error),
    }
}

fn listen_and_serve(answers: Answers) -> io::Result<()> {
    let listener = raw::listen()?;
    say_ready(listener.local_addr()?)?;
    serve(listener, answers)
}

/// Prints the address in the form of the gateway's `ready` line: it is that of each of the gateway's ports.
fn say_ready(at: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "ready ws=ws://{at}/v1/ws control=http://{at} http=http://{at}"
    )?;
    out.flush()
}

fn serve(mut listener: TcpListener, answers: Answers) -> io::Result<()> {
    let poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut sink = Sink {
        answers,
        poll,
        conns: Slab::new(),
        began: Instant::now(),
        due: BTreeMap::new(),
        accepted: 0,
        streams: 0,
    };
    let mut events = Events::with_capacity(1_024);
    let mut buffer = vec![0; LONGEST];
    loop {
        match sink.poll.poll(&mut events, sink.until_next()) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            match event.token() {
                LISTENER => sink.accept(&listener)?,
                Token(slot) => sink.ready(slot, &mut buffer),
            }
        }
        sink.tell_those_due();
    }
}

impl Sink {
    /// Returns the time until something is due, if anything is.
    fn until_next(&self) -> Option<Duration> {
        let (tick, _) = self.due.first_key_value()?;
        let at = TICK.mul_f64(*tick as f64);
        // The clock of the event loop has milliseconds: without one more it would look too early.
        Some(at.saturating_sub(self.began.elapsed()) + Duration::from_millis(1))
    }

    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        while let Some(mut stream) = raw::accept(listener)? {
            let entry = self.conns.vacant_entry();
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut stream, Token(entry.key()), both)?;
            self.accepted += 1;
            entry.insert(Conn {
                stream,
                state: State::Asking(Vec::new()),
                number: self.accepted,
                out: Vec::new(),
            });
        }
        Ok(())
    }

    /// Reads all that there is on a connection, and answers it.
    fn ready(&mut self, slot: usize, buffer: &mut [u8]) {
        loop {
            let Some(conn) = self.conns.get_mut(slot) else {
                return;
            };
            let is_there = match conn.stream.read(buffer) {
                Ok(read @ 1..) => self.came(slot, &mut buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !conn.flush() {
                        self.conns.remove(slot);
                    }
                    return;
                }
                _ => false,
            };
            if !is_there {
                self.conns.remove(slot);
                return;
            }
        }
    }

    /// Takes the input of a connection. Returns whether the connection goes on.
    fn came(&mut self, slot: usize, input: &mut [u8]) -> bool {
        let Some(conn) = self.conns.get_mut(slot) else {
            return false;
        };
        let request = match &mut conn.state {
            State::Asking(head) => {
                head.extend_from_slice(input);
                let Some(_) = memmem::find(head, b"\r\n\r\n") else {
                    return head.len() < LONGEST;
                };
                // These clients wait for an answer before they ask again.
                String::from_utf8_lossy(&std::mem::take(head)).into_owned()
            }
            State::Session(framing) => {
                let reply = &self.answers.reply;
                return answer_session(framing, input, reply, &mut conn.out) && conn.flush();
            }
            _ => return true,
        };
        let target = request.split(' ').nth(1).unwrap_or_default();
        let metrics = target.starts_with("/metrics").then(|| self.metrics());
        let Some(conn) = self.conns.get_mut(slot) else {
            return false;
        };
        let wait = if let Some(metrics) = metrics {
            conn.out.extend_from_slice(metrics.as_bytes());
            conn.state = State::Leaving;
            None
        } else if target.starts_with("/v1/ws") {
            conn.out.extend_from_slice(UPGRADED);
            conn.state = State::Session(Connection::new(Role::Server));
            None
        } else if target.starts_with("/api/v1/events") {
            conn.out.extend_from_slice(self.answers.stream.as_bytes());
            conn.state = State::Streaming;
            self.streams = self.streams.wrapping_add(1);
            Some(first_comment(self.streams, self.answers.ping))
        } else if let Some(seconds) = seconds_to_wait(target) {
            conn.state = State::Polling;
            Some(seconds)
        } else {
            conn.out.extend_from_slice(self.answers.poll.as_bytes());
            conn.state = State::Leaving;
            None
        };
        let number = conn.number;
        let is_there = conn.flush();
        if let (Some(seconds), true) = (wait, is_there) {
            self.note(slot, number, seconds);
        }
        is_there
    }

    /// Notes that the connection in a slot has an answer or a comment due in `seconds` seconds.
    fn note(&mut self, slot: usize, number: u64, seconds: f64) {
        let at = self.began.elapsed().as_secs_f64() + seconds;
        let tick = (at / TICK.as_secs_f64()).ceil() as u64;
        self.due.entry(tick).or_default().push((slot, number));
    }

    /// Answers the polls whose time is over, and sends comments.
    fn tell_those_due(&mut self) {
        let now = (self.began.elapsed().as_secs_f64() / TICK.as_secs_f64()) as u64;
        while let Some(first) = self.due.first_entry().filter(|first| *first.key() <= now) {
            for (slot, number) in first.remove() {
                let Some(conn) = self.conns.get_mut(slot) else {
                    continue;
                };
                let is_same = conn.number == number;
                let bytes = match &conn.state {
                    State::Polling if is_same => self.answers.poll.as_bytes(),
                    State::Streaming if is_same => COMMENT,
                    _ => continue,
                };
                conn.out.extend_from_slice(bytes);
                let is_stream = matches!(conn.state, State::Streaming);
                if !is_stream {
                    conn.state = State::Asking(Vec::new());
                }
                // The event loop finds out about a connection that is gone.
                conn.flush();
                if is_stream {
                    self.note(slot, number, self.answers.ping);
                }
            }
        }
    }

    /// Returns the answer to `/metrics`.
    fn metrics(&self) -> String {
        let (mut polls, mut streams, mut asking) = (0, 0, 0);
        for (_, conn) in &self.conns {
            match conn.state {
                State::Polling => polls += 1,
                State::Streaming => streams += 1,
                State::Asking(_) => asking += 1,
                State::Session(_) | State::Leaving => {}
            }
        }
        // The connection that asks is no one of those.
        let connections = polls + streams + (asking as usize).saturating_sub(1);
        let rest = &self.answers.metrics;
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n\
             trunkline_http_waiting {polls}\ntrunkline_http_streams {streams}\n\
             trunkline_http_connections {connections}\n{rest}"
        )
    }
}

impl Conn {
    /// Writes what waits. Returns whether the connection goes on.
    fn flush(&mut self) -> bool {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(sent) => drop(self.out.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        self.out = Vec::new();
        !matches!(self.state, State::Leaving)
    }
}

/// Answers the commands of a session. Returns whether the session goes on.
fn answer_session(
    framing: &mut Connection,
    mut input: &mut [u8],
    reply: &str,
    out: &mut Vec<u8>,
) -> bool {
    loop {
        match framing.receive(&mut input, LONGEST) {
            Ok(Some(Event::Message(_, payload))) => {
                let text = String::from_utf8_lossy(&payload);
                let id = number_after(&text, "\"id\":").unwrap_or(0.0);
                let rest = match text.contains("\"connect\"") {
                    true => r#""connect":{"pos":"0"}}"#,
                    false => reply,
                };
                let said = format!("{{\"id\":{id},{rest}");
                write_frame(out, Opcode::Text, said.as_bytes(), None);
            }
            Ok(Some(Event::Close(..))) | Err(_) => return false,
            Ok(Some(_)) => {}
            Ok(None) => return true,
        }
    }
}

/// Returns the seconds that a poll waits. One that reads where now is does not wait.
fn seconds_to_wait(target: &str) -> Option<f64> {
    number_after(target, "wait=")
}

fn number_after(text: &str, name: &str) -> Option<f64> {
    let (_, rest) = text.split_once(name)?;
    let end = rest.find(|sign: char| !sign.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

/// Returns the seconds until the first comment of a stream, spread over the interval as the gateway does it.
fn first_comment(number: u32, ping: f64) -> f64 {
    let part = f64::from(number.wrapping_mul(0x9e37_79b9)) / f64::from(u32::MAX);
    (ping * part).max(ping.min(1.0))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use serde_json::json;

    use super::*;
    use crate::scrape;
    use crate::talk::Talk;

    const POLL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

    fn begin() -> SocketAddr {
        let listener = raw::listen().unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Answers {
            poll: POLL.into(),
            stream: "HTTP/1.1 200 OK\r\n\r\nid: 1\n\n".into(),
            metrics: "other 1\n".into(),
            reply: r#""error":{"code":120}}"#.into(),
            ping: 0.2,
        };
        std::thread::spawn(move || serve(listener, answers));
        address
    }

    fn ask(at: SocketAddr, target: &str) -> TcpStream {
        let mut client = TcpStream::connect(at).unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: {at}\r\n\r\n");
        client.write_all(request.as_bytes()).unwrap();
        client
    }

    fn hears(client: &mut TcpStream, wanted: &str) {
        let mut heard = vec![0; wanted.len()];
        client.read_exact(&mut heard).unwrap();
        assert_eq!(String::from_utf8(heard).unwrap(), wanted);
    }

    #[test]
    fn polls_and_streams_wait_and_are_counted() {
        let at = begin();
        let mut poll = ask(at, "/api/v1/rtm.receive?lastPos=1&wait=1s");
        let mut stream = ask(at, "/api/v1/events");
        hears(
            &mut stream,
            "HTTP/1.1 200 OK\r\n\r\nid: 1\n\n: ping\n\n: ping\n\n",
        );
        let text = scrape::text(at).unwrap();
        for (name, wanted) in [
            ("trunkline_http_waiting", 1.0),
            ("trunkline_http_streams", 1.0),
            ("trunkline_http_connections", 2.0),
            ("other", 1.0),
        ] {
            let found = scrape::number(&text, name).unwrap();
            assert!((found - wanted).abs() < 1e-9, "{name} {found}");
        }
        // The connection takes another request after an answer.
        hears(&mut poll, POLL);
        poll.write_all(b"GET /api/v1/rtm.receive?wait=0s HTTP/1.1\r\n\r\n")
            .unwrap();
        hears(&mut poll, POLL);
        let mut now = ask(at, "/api/v1/rtm.receive?lastPos=now");
        let mut all = String::new();
        now.read_to_string(&mut all).unwrap();
        assert_eq!(all, POLL);
    }

    #[test]
    fn sessions_are_answered() {
        let mut talk = Talk::start(begin(), "alice").unwrap();
        for _ in 0..2 {
            let answer = talk.answer("rpc", &json!({"method": "hang"})).unwrap();
            assert_eq!(answer["error"]["code"], 120);
        }
    }
}
