//! A relay between the gateways of a run and their NATS servers, which can be cut.
//!
//! While a gateway is cut off, no byte passes to it or from it, and no connection ends: that is what a
//! partition of a network looks like. What waits in the sockets passes when the cut is mended, as what TCP
//! sends again does. A run without partitions has no relay.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use crate::exit::{Failure, Outcome};

/// The token of the waker; listeners and connections have smaller ones.
const WAKER: Token = Token(usize::MAX);

/// Bytes of one direction of a connection that are read and not yet written, at most.
const ROOM: usize = 64 << 10;

/// The most connections at one time. A gateway has a few to one server.
const LINKS_MAX: usize = 512;

/// The most pieces of one direction that are passed on before it is another connection's turn.
const PIECES: usize = 16;

/// The directions in which a gateway is cut off from the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Everything passes.
    Nothing,
    /// What the gateway sends does not pass.
    Out,
    /// What the servers send does not pass.
    In,
    /// Nothing passes.
    Both,
}

impl Cut {
    /// Returns a bit for each direction that is cut: 1 from the gateway, 2 from the servers.
    const fn bits(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Out => 1,
            Self::In => 2,
            Self::Both => 3,
        }
    }
}

/// A relay with a port for each gateway and server. Dropping it ends its thread.
#[derive(Debug)]
pub(super) struct Relay {
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
    /// The addresses in the place of the servers', for each gateway.
    addresses: Vec<Vec<SocketAddr>>,
}

#[derive(Debug)]
struct Shared {
    /// The directions that are cut of each gateway: the bits of [`Cut`].
    cut: Vec<AtomicU8>,
    over: AtomicBool,
}

impl Relay {
    /// Starts a relay for this many gateways.
    ///
    /// # Errors
    /// No port is free, or no thread can be started.
    pub(super) fn start(nodes: usize, servers: &[SocketAddr]) -> Outcome<Self> {
        let failed = |why: io::Error| {
            Failure::aborted(format!("cannot start the relay to the NATS servers: {why}"))
        };
        let shared = Arc::new(Shared {
            cut: (0..nodes).map(|_| AtomicU8::new(0)).collect(),
            over: AtomicBool::new(false),
        });
        let poll = Poll::new().map_err(failed)?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(failed)?;
        let mut switch = Switch {
            poll,
            doors: Vec::new(),
            links: Vec::new(),
            again: Vec::new(),
            shared: Arc::clone(&shared),
        };
        let mut addresses = Vec::new();
        for node in 0..nodes {
            let own = servers.iter().map(|server| switch.open(node, *server));
            addresses.push(own.collect::<io::Result<Vec<_>>>().map_err(failed)?);
        }
        let thread = std::thread::Builder::new().name("relay".into());
        let thread = thread.spawn(move || switch.run()).map_err(failed)?;
        Ok(Self {
            shared,
            waker,
            thread: Some(thread),
            addresses,
        })
    }

    /// Returns the addresses for a gateway in the place of the servers'.
    pub(super) fn addresses(&self, node: usize) -> &[SocketAddr] {
        &self.addresses[node]
    }

    /// Cuts a gateway off, or mends the cut.
    pub(super) fn cut(&self, node: usize, cut: Cut) {
        self.shared.cut[node].store(cut.bits(), Ordering::SeqCst);
        // Without the wake-up, what waits passes with the next byte that comes.
        let _ = self.waker.wake();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        if self.waker.wake().is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// A port of the relay.
#[derive(Debug)]
struct Door {
    listener: TcpListener,
    node: usize,
    server: SocketAddr,
}

/// A connection of a gateway, and the one to a server that belongs to it.
#[derive(Debug)]
struct Link {
    node: usize,
    /// The gateway's end, and the server's.
    ends: [TcpStream; 2],
    /// Bytes from each end that the other one has not taken yet.
    waiting: [Vec<u8>; 2],
}

/// What became of a direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pumped {
    /// Nothing more passes until a socket is ready.
    Blocked,
    /// More can pass at once.
    More,
    /// The connection is over.
    Over,
}

/// The thread of a relay.
#[derive(Debug)]
struct Switch {
    poll: Poll,
    doors: Vec<Door>,
    links: Vec<Option<Link>>,
    /// Connections in which more can pass at once.
    again: Vec<usize>,
    shared: Arc<Shared>,
}

impl Switch {
    /// Opens a port for a gateway's connections to a server. Returns its address.
    fn open(&mut self, node: usize, server: SocketAddr) -> io::Result<SocketAddr> {
        let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let token = Token(self.doors.len());
        self.poll
            .registry()
            .register(&mut listener, token, Interest::READABLE)?;
        let address = listener.local_addr()?;
        self.doors.push(Door {
            listener,
            node,
            server,
        });
        Ok(address)
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(256);
        loop {
            let soon = (!self.again.is_empty()).then_some(std::time::Duration::ZERO);
            match self.poll.poll(&mut events, soon) {
                Err(why) if why.kind() != ErrorKind::Interrupted => return,
                _ => {}
            }
            if self.shared.over.load(Ordering::SeqCst) {
                return;
            }
            for link in std::mem::take(&mut self.again) {
                self.pump(link);
            }
            for event in &events {
                match event.token() {
                    WAKER => self.look_at_all(),
                    Token(door) if door < self.doors.len() => self.accept(door),
                    Token(other) => self.pump((other - self.doors.len()) / 2),
                }
            }
        }
    }

    /// Returns the bits of the directions that are cut of a gateway.
    fn cut(&self, node: usize) -> u8 {
        self.shared.cut[node].load(Ordering::SeqCst)
    }

    /// Passes on everything that waits: a cut was mended.
    fn look_at_all(&mut self) {
        for link in 0..self.links.len() {
            self.pump(link);
        }
        for door in 0..self.doors.len() {
            self.accept(door);
        }
    }

    /// Takes the connections that wait at a port, unless its gateway is cut off.
    fn accept(&mut self, door: usize) {
        let Door { node, server, .. } = self.doors[door];
        if self.cut(node) != 0 {
            return;
        }
        for _ in 0..LINKS_MAX {
            let Ok((stream, _)) = self.doors[door].listener.accept() else {
                return;
            };
            // A connection that cannot be passed on ends at once, as if the server were not there.
            if let Ok(other) = TcpStream::connect(server) {
                let _ = self.link(node, [stream, other]);
            }
        }
    }

    fn link(&mut self, node: usize, mut ends: [TcpStream; 2]) -> io::Result<()> {
        let free = self.links.iter().position(Option::is_none);
        let place = free.unwrap_or(self.links.len());
        if place >= LINKS_MAX {
            return Err(ErrorKind::QuotaExceeded.into());
        }
        let first = self.doors.len() + 2 * place;
        for (end, stream) in ends.iter_mut().enumerate() {
            let _ = stream.set_nodelay(true);
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(stream, Token(first + end), both)?;
        }
        let link = Link {
            node,
            ends,
            waiting: [Vec::new(), Vec::new()],
        };
        match self.links.get_mut(place) {
            Some(free) => *free = Some(link),
            None => self.links.push(Some(link)),
        }
        self.pump(place);
        Ok(())
    }

    /// Passes on what waits in a connection, in both directions, unless its gateway is cut off.
    fn pump(&mut self, place: usize) {
        let Some(node) = self
            .links
            .get(place)
            .and_then(Option::as_ref)
            .map(|it| it.node)
        else {
            return;
        };
        let cut = self.cut(node);
        let Some(link) = self.links[place].as_mut() else {
            return;
        };
        let found = [0, 1].map(|from| match cut & (1 << from) {
            0 => link.pump(from),
            _ => Pumped::Blocked,
        });
        if found.contains(&Pumped::Over) {
            for end in &link.ends {
                let _ = end.shutdown(Shutdown::Both);
            }
            self.links[place] = None;
        } else if found.contains(&Pumped::More) && !self.again.contains(&place) {
            self.again.push(place);
        }
    }
}

impl Link {
    /// Passes bytes on from one end to the other.
    fn pump(&mut self, from: usize) -> Pumped {
        let [one, other] = &mut self.ends;
        let (source, sink) = match from {
            0 => (one, other),
            _ => (other, one),
        };
        let waiting = &mut self.waiting[from];
        for _ in 0..PIECES {
            while !waiting.is_empty() {
                match sink.write(waiting) {
                    Ok(written) => drop(waiting.drain(..written)),
                    Err(why) if blocks(&why) => return Pumped::Blocked,
                    Err(_) => return Pumped::Over,
                }
            }
            waiting.resize(ROOM, 0);
            let read = source.read(waiting);
            waiting.truncate(*read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Pumped::Over,
                Ok(_) => {}
                Err(why) if blocks(&why) => return Pumped::Blocked,
                Err(_) => return Pumped::Over,
            }
        }
        Pumped::More
    }
}

/// Returns whether a socket is only not ready, or not connected yet.
fn blocks(why: &io::Error) -> bool {
    use ErrorKind::{Interrupted, NotConnected, WouldBlock};
    matches!(why.kind(), Interrupted | NotConnected | WouldBlock)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener as Listener, TcpStream as Stream};
    use std::time::Duration;

    use super::*;

    /// Returns a relay for two gateways, with a connection of each as both ends have it.
    fn rig() -> (Relay, [(Stream, Stream); 2]) {
        let server = Listener::bind("127.0.0.1:0").unwrap();
        let relay = Relay::start(2, &[server.local_addr().unwrap()]).unwrap();
        let pairs = [0, 1].map(|node| {
            let gateway = Stream::connect(relay.addresses(node)[0]).unwrap();
            let (server, _) = server.accept().unwrap();
            for end in [&gateway, &server] {
                end.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            }
            (gateway, server)
        });
        (relay, pairs)
    }

    fn read(stream: &mut Stream, bytes: usize) -> Vec<u8> {
        let mut all = vec![0; bytes];
        stream.read_exact(&mut all).unwrap();
        all
    }

    #[test]
    fn bytes_pass_in_both_directions_and_ends_too() {
        let (_relay, [(mut gateway, mut server), _]) = rig();
        let long: Vec<u8> = (0..3_000_000_u32).map(|it| it as u8).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| gateway.write_all(&long).unwrap());
            assert_eq!(read(&mut server, long.len()), long);
        });
        server.write_all(b"back").unwrap();
        assert_eq!(read(&mut gateway, 4), b"back");
        drop(server);
        assert_eq!(gateway.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn a_cut_holds_bytes_back_and_ends_no_connection() {
        let (relay, [(mut gateway, mut server), (mut other, mut its)]) = rig();
        relay.cut(0, Cut::Both);
        gateway.write_all(b"late").unwrap();
        server.write_all(b"late too").unwrap();
        // Bytes of the other gateway, which pass later, came through: those of the first would have too.
        for _ in 0..2 {
            other.write_all(b"in time").unwrap();
            assert_eq!(read(&mut its, 7), b"in time");
        }
        for end in [&mut gateway, &mut server] {
            end.set_nonblocking(true).unwrap();
            let found = end.read(&mut [0; 8]).unwrap_err();
            assert_eq!(found.kind(), ErrorKind::WouldBlock);
            end.set_nonblocking(false).unwrap();
        }
        relay.cut(0, Cut::Nothing);
        assert_eq!(read(&mut server, 4), b"late");
        assert_eq!(read(&mut gateway, 8), b"late too");
        // In one direction.
        relay.cut(0, Cut::Out);
        gateway.write_all(b"held").unwrap();
        server.write_all(b"passes").unwrap();
        assert_eq!(read(&mut gateway, 6), b"passes");
        server.set_nonblocking(true).unwrap();
        let found = server.read(&mut [0; 8]).unwrap_err();
        assert_eq!(found.kind(), ErrorKind::WouldBlock);
        server.set_nonblocking(false).unwrap();
        relay.cut(0, Cut::In);
        assert_eq!(read(&mut server, 4), b"held");
    }

    #[test]
    fn a_server_that_is_not_there_ends_the_connection() {
        let server = Listener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        drop(server);
        let relay = Relay::start(1, &[address]).unwrap();
        let mut gateway = Stream::connect(relay.addresses(0)[0]).unwrap();
        gateway
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        // A reset or an end: either tells the gateway.
        assert!(matches!(gateway.read(&mut [0; 8]), Ok(0) | Err(_)));
    }
}
