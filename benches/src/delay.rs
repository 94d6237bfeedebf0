//! A line between a client and a server that delays every byte by the same time.
//!
//! With latencies of milliseconds, the time that a client needs to wake up is a small part of
//! them, so they can be compared with the latencies of a capture.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

/// The token of the listener; of the ends of connection n, 2 n and 2 n + 1.
const LISTENER: Token = Token(usize::MAX);

/// The time between two looks at whether the line should end.
const LOOK: Duration = Duration::from_millis(20);

/// A running line; dropping it cuts it.
#[derive(Debug)]
pub struct Delay {
    /// The address for clients.
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Delay {
    /// Starts a line to a server, with a delay of `time` each way.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(server: SocketAddr, time: Duration) -> anyhow::Result<Self> {
        let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = listener.local_addr()?;
        let poll = Poll::new()?;
        let registry = poll.registry();
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut line = Line {
            poll,
            listener,
            server,
            time,
            ends: Vec::new(),
            under_way: VecDeque::new(),
            stop: Arc::clone(&stop),
        };
        let run = move || {
            // The ends of the line see that it broke.
            if let Err(why) = line.run() {
                tell(&why);
            }
        };
        let thread = std::thread::Builder::new()
            .name("delay".into())
            .spawn(run)?;
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }
}

#[allow(clippy::print_stderr, reason = "the output of a benchmark")]
fn tell(why: &anyhow::Error) {
    eprintln!("the delay line broke: {why:#}");
}

impl Drop for Delay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The thread has printed the reason of a failure.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Line {
    poll: Poll,
    listener: TcpListener,
    server: SocketAddr,
    time: Duration,
    ends: Vec<TcpStream>,
    /// The bytes under way: when they are due, at which end. An empty piece stands for the end of
    /// the stream.
    under_way: VecDeque<(Instant, usize, Vec<u8>)>,
    stop: Arc<AtomicBool>,
}

impl Line {
    fn run(&mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1_024);
        let mut buffer = vec![0; 64 << 10];
        while !self.stop.load(Ordering::Relaxed) {
            let next = self.under_way.front().map(|it| it.0);
            let wait = next.map(|at| at.saturating_duration_since(Instant::now()));
            self.poll
                .poll(&mut events, Some(wait.unwrap_or(LOOK).min(LOOK)))?;
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    Token(end) => self.read(end, &mut buffer)?,
                }
            }
            self.hand_on()?;
        }
        Ok(())
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            let client = match self.listener.accept() {
                Ok((client, _)) => client,
                Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(why) => return Err(why).context("cannot accept"),
            };
            let server = std::net::TcpStream::connect(self.server)?;
            server.set_nonblocking(true)?;
            for mut end in [client, TcpStream::from_std(server)] {
                end.set_nodelay(true)?;
                let token = Token(self.ends.len());
                let registry = self.poll.registry();
                registry.register(&mut end, token, Interest::READABLE)?;
                self.ends.push(end);
            }
        }
    }

    fn read(&mut self, end: usize, buffer: &mut [u8]) -> anyhow::Result<()> {
        let due = Instant::now() + self.time;
        loop {
            let bytes = match self.ends[end].read(buffer) {
                Ok(bytes) => bytes,
                Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(()),
                // A cut connection ends like any other.
                Err(_) => 0,
            };
            self.under_way
                .push_back((due, end ^ 1, buffer[..bytes].to_owned()));
            if bytes < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Passes on the bytes whose delay is over.
    fn hand_on(&mut self) -> anyhow::Result<()> {
        while let Some((due, end, bytes)) = self.under_way.front() {
            if *due > Instant::now() {
                return Ok(());
            }
            let end = &mut self.ends[*end];
            if bytes.is_empty() {
                // The other end may have cut the connection meanwhile.
                let _ = end.shutdown(Shutdown::Write);
            } else {
                match end.write(bytes) {
                    Ok(written) if written == bytes.len() => {}
                    Err(why) if why.kind() == ErrorKind::BrokenPipe => {}
                    Err(why) if why.kind() == ErrorKind::ConnectionReset => {}
                    other => bail!("a connection that reads too slowly: {other:?}"),
                }
            }
            self.under_way.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_later_and_in_order() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let time = Duration::from_millis(20);
        let line = Delay::start(listener.local_addr().unwrap(), time).unwrap();
        let mut client = std::net::TcpStream::connect(line.address).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let sent = Instant::now();
        client.write_all(b"one").unwrap();
        client.write_all(b"two").unwrap();
        let mut said = [0; 6];
        server.read_exact(&mut said).unwrap();
        assert!(sent.elapsed() >= time);
        assert_eq!(&said, b"onetwo");
        server.write_all(b"back").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut said = [0; 4];
        client.read_exact(&mut said).unwrap();
        assert_eq!((&said, server.read(&mut [0]).unwrap()), (b"back", 0));
    }
}
