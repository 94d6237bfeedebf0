//! Very many HTTP connections that wait: long polls, or streams of events. One thread holds them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use memchr::memmem;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// The number of source addresses. Each has some 28,000 ports.
const SOURCES: usize = 16;

/// The maximum number of connections that have no answer to their first request yet, or none that is due.
const AT_ONCE: usize = 256;

/// The seconds that a poll waits.
const LONGEST: usize = 60;

/// The time between two looks at whether the connections are to end.
const LOOK: Duration = Duration::from_millis(50);

/// What the connections wait for.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Each waits for events after this position, for a minute. Then it asks again. The first waits are
    /// from one second to a minute, so that as many end in each second as after a long time.
    Polls(String),
    /// Each gets events as a stream.
    Streams,
}

/// Connections that wait until this is dropped.
pub(crate) struct Held {
    over: Arc<AtomicBool>,
    failed: Arc<AtomicU64>,
    /// The answers of polls and the comments of streams that came.
    ends: Arc<AtomicU64>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Held {
    /// Begins to open connections for the clients with these numbers. The metrics of the gateway say how many
    /// wait.
    pub(crate) fn open(server: SocketAddr, kind: Kind, numbers: Range<usize>) -> Self {
        let (over, failed) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let ends = Arc::<AtomicU64>::default();
        let mut keeper = Keeper {
            server,
            kind,
            over: Arc::clone(&over),
            failed: Arc::clone(&failed),
            ends: Arc::clone(&ends),
            first: numbers.start,
            conns: numbers.map(|_| None).collect(),
            opening: 0,
        };
        Self {
            over,
            failed,
            ends,
            thread: Some(std::thread::spawn(move || keeper.run())),
        }
    }

    /// Returns how many polls ended and how many comments and first events came.
    pub(crate) fn ends(&self) -> u64 {
        self.ends.load(Relaxed)
    }

    /// Ends the connections.
    ///
    /// # Errors
    /// The gateway refused some, or ended some that had no answer.
    pub(crate) fn close(mut self) -> anyhow::Result<()> {
        self.over.store(true, SeqCst);
        let joined = self.thread.take().map(JoinHandle::join);
        match joined {
            Some(Ok(ran)) => ran?,
            _ => bail!("the thread of the waiting connections panicked"),
        }
        match self.failed.load(SeqCst) {
            0 => Ok(()),
            failed => bail!("{failed} connections that should wait were refused or ended"),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
    }
}

/// One connection.
struct Conn {
    stream: TcpStream,
    is_open: bool,
    /// What came of the answer so far.
    answer: Vec<u8>,
}

/// The thread's state.
struct Keeper {
    server: SocketAddr,
    kind: Kind,
    over: Arc<AtomicBool>,
    failed: Arc<AtomicU64>,
    ends: Arc<AtomicU64>,
    /// The number of the first client.
    first: usize,
    conns: Vec<Option<Conn>>,
    /// The connections that are being made.
    opening: usize,
}

impl Keeper {
    fn run(&mut self) -> anyhow::Result<()> {
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(1_024);
        let mut buffer = vec![0; 16 << 10];
        let mut next = 0;
        while !self.over.load(SeqCst) {
            while self.opening < AT_ONCE && next < self.conns.len() {
                self.begin(&poll, next).context("cannot connect")?;
                next += 1;
            }
            poll.poll(&mut events, Some(LOOK))?;
            for event in &events {
                self.ready(&poll, event, &mut buffer)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, poll: &Poll, at: usize) -> anyhow::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        // The port is chosen at connect, with the target known (ip(7)).
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        let source = Ipv4Addr::new(127, 0, 1, 2 + (at % SOURCES) as u8);
        socket.bind(&SockAddr::from(SocketAddrV4::new(source, 0)))?;
        match socket.connect(&self.server.into()) {
            Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => {
                return Err(error.into());
            }
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(at), both)?;
        self.opening += 1;
        self.conns[at] = Some(Conn {
            stream,
            is_open: false,
            answer: Vec::new(),
        });
        Ok(())
    }

    fn request(&self, at: usize, is_first: bool) -> String {
        let server = self.server;
        let number = self.first + at;
        let (path, user) = match &self.kind {
            Kind::Polls(pos) => {
                let wait = if is_first {
                    1 + number % LONGEST
                } else {
                    LONGEST
                };
                (
                    format!("/api/v1/rtm.receive?lastPos={pos}&wait={wait}s"),
                    "poll",
                )
            }
            Kind::Streams => ("/api/v1/events".to_owned(), "stream"),
        };
        format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nX-Trunkline-User: {user}{number}\r\n\r\n")
    }

    fn ready(&mut self, poll: &Poll, event: &Event, buffer: &mut [u8]) -> anyhow::Result<()> {
        let Token(at) = event.token();
        let is_first = self.conns[at].as_ref().is_some_and(|conn| !conn.is_open);
        let request = self.request(at, is_first);
        let Some(conn) = &mut self.conns[at] else {
            return Ok(());
        };
        if !conn.is_open && event.is_writable() {
            if let Some(error) = conn.stream.take_error()? {
                return Err(error).context("a connection was refused");
            }
            conn.is_open = true;
            self.opening -= 1;
            conn.stream.write_all(request.as_bytes())?;
        }
        loop {
            match conn.stream.read(buffer) {
                Ok(0) => return self.ended(poll, at),
                Ok(read) => conn.answer.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return self.ended(poll, at),
            }
        }
        match self.kind {
            Kind::Streams if is_good(&conn.answer) => {
                self.ends.fetch_add(1, Relaxed);
                conn.answer.truncate(GOOD.len());
            }
            Kind::Polls(_) if is_whole(&conn.answer) => {
                if !is_good(&conn.answer) {
                    self.failed.fetch_add(1, SeqCst);
                }
                self.ends.fetch_add(1, Relaxed);
                conn.answer.clear();
                conn.stream.write_all(request.as_bytes())?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Makes a connection anew that the gateway has ended.
    fn ended(&mut self, poll: &Poll, at: usize) -> anyhow::Result<()> {
        if let Some(mut conn) = self.conns[at].take() {
            poll.registry().deregister(&mut conn.stream)?;
            self.opening -= usize::from(!conn.is_open);
            // Between an answer and the next request a connection may end.
            if !conn.answer.is_empty() || !conn.is_open {
                self.failed.fetch_add(1, SeqCst);
            }
        }
        self.begin(poll, at)
    }
}

/// The beginning of a good answer.
const GOOD: &[u8] = b"HTTP/1.1 200";

fn is_good(answer: &[u8]) -> bool {
    answer.starts_with(GOOD)
}

/// Returns whether an answer with a length is complete.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = memmem::find(answer, b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let length = head
        .split_once("content-length:")
        .and_then(|(_, rest)| rest.lines().next()?.trim().parse::<usize>().ok());
    answer.len() >= end + 4 + length.unwrap_or(0)
}
