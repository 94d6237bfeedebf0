//! The connections of a thread: opening, reading, writing and closing them.
//!
//! This module knows sockets, TLS, the upgrade and frames. It knows neither messages nor
//! reconnects: each method returns what happened, and the client acts on it.

mod catch_up;
mod conn;
mod open;
mod socket;
mod tls;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use compact_str::CompactString;
use mio::Registry;
use trunkline_proto::connection::Event;
use trunkline_proto::frame::{Opcode, write_close, write_frame, write_with};
use trunkline_proto::message::{Command, CommandBody};
use trunkline_proto::{CloseCode, Encoding};

use super::READ;
use crate::clock::Nanos;
use crate::scenario::network::Network;
use crate::tls::Trust;

use catch_up::CatchUp;
use conn::Conn;
pub(super) use conn::ConnectionState;
pub(super) use open::UpgradeAnswer;
pub(super) use socket::Progress;
use tls::Sealing;

/// The longest message in bytes that is accepted from a gateway. The longest real message is a page
/// of history.
const MAX_MESSAGE: usize = 16 << 20;

/// Sessions closed per turn, so that reading never starves.
const CLOSES: u32 = 256;

/// The target of a thread's connections, their source addresses and their encoding.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) target: SocketAddr,
    /// The Host header of the upgrade.
    pub(super) host: String,
    /// The path of the upgrade.
    pub(super) path: String,
    pub(super) encoding: Encoding,
    /// The addresses to connect from; the kernel chooses without.
    pub(super) source: Option<Network>,
    /// The number of the thread. Each thread has its own source addresses.
    pub(super) thread: u32,
    /// The number of threads.
    pub(super) threads: u32,
    /// The maximum number of connections being opened at one time.
    pub(super) connecting_max: usize,
    pub(super) seed: u64,
}

/// The connections of a thread, by device.
pub(super) struct Connections {
    route: Route,
    registry: Registry,
    conns: Vec<Option<Conn>>,
    sealing: Option<Sealing>,
    /// Connections there are.
    alive: usize,
    /// Connections whose sessions are not open yet; `connecting <= alive`.
    connecting: usize,
    /// Connections in the order they were begun, until the first whose time is not over.
    begun: VecDeque<Begun>,
    /// Devices with something to flush.
    dirty: Vec<u32>,
    /// Devices that have more to read than one turn takes.
    unread: Vec<u32>,
    mask: u32,
}

/// An attempt to connect a device, with the time at which it began.
#[derive(Debug, Clone, Copy)]
struct Begun {
    at: Nanos,
    device: u32,
}

/// A connection that is over.
#[derive(Debug)]
pub(super) struct Ended {
    /// The last state of the connection.
    pub(super) state: ConnectionState,
    /// The position from which to continue; `None` while missed events are being fetched.
    pub(super) position: Option<CompactString>,
}

/// The result of one turn of closing all sessions.
#[derive(Debug, Clone, Copy)]
pub(super) struct CloseTurn {
    /// Sessions that are being closed now.
    pub(super) sessions: u64,
    /// The device with which the next turn begins; `None` if all sessions are closed or being
    /// closed.
    pub(super) next: Option<u32>,
}

impl Connections {
    /// Makes a set without connections for this many devices. With `trust`, connections use TLS.
    pub(super) fn new(
        route: Route,
        registry: Registry,
        devices: usize,
        trust: Option<Trust>,
    ) -> Self {
        Self {
            conns: (0..devices).map(|_| None).collect(),
            sealing: trust.map(|trust| Sealing::new(trust, devices)),
            mask: route.seed as u32 | 1,
            route,
            registry,
            alive: 0,
            connecting: 0,
            begun: VecDeque::new(),
            dirty: Vec::new(),
            unread: Vec::new(),
        }
    }

    /// Returns the number of devices, with or without a connection.
    pub(super) fn devices(&self) -> u32 {
        self.conns.len() as u32
    }

    /// Returns the encoding of messages.
    pub(super) fn encoding(&self) -> Encoding {
        self.route.encoding
    }

    /// Returns the number of connections.
    pub(super) fn alive(&self) -> usize {
        self.alive
    }

    /// Returns the number of connections whose sessions are not open yet.
    pub(super) fn connecting(&self) -> usize {
        self.connecting
    }

    /// Returns whether the limit of connections being opened is reached.
    pub(super) fn is_full(&self) -> bool {
        self.connecting >= self.route.connecting_max
    }

    /// Returns whether a device has an open session.
    pub(super) fn is_open(&self, device: u32) -> bool {
        self.state(device) == Some(ConnectionState::Open)
    }

    /// Returns the state of a device's connection; `None` without a connection.
    pub(super) fn state(&self, device: u32) -> Option<ConnectionState> {
        Some(self.conns[device as usize].as_ref()?.state)
    }

    fn conn(&mut self, device: u32) -> Option<&mut Conn> {
        self.conns[device as usize].as_mut()
    }

    /// Returns the next masking key. RFC 6455 §5.3 asks for unpredictable ones, to protect proxies;
    /// a load generator needs distinct ones.
    fn next_mask(&mut self) -> Option<[u8; 4]> {
        self.mask = self
            .mask
            .wrapping_mul(747_796_405)
            .wrapping_add(2_891_336_453);
        Some(self.mask.to_be_bytes())
    }

    /// Returns whether some connections have more to read than one turn took.
    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Takes the devices that have more to read than one turn took.
    pub(super) fn take_unread(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.unread)
    }

    /// Takes the next event out of the bytes that were read; `None` if the rest is incomplete.
    ///
    /// # Errors
    /// The gateway broke the framing: what is wrong.
    pub(super) fn event<'b>(
        &mut self,
        device: u32,
        input: &mut &'b mut [u8],
    ) -> Result<Option<Event<'b>>, String> {
        let Some(conn) = self.conn(device) else {
            return Ok(None);
        };
        let event = conn.framing.receive(input, MAX_MESSAGE);
        event.map_err(|why| format!("a broken frame: {why}"))
    }

    /// Answers a ping.
    pub(super) fn pong(&mut self, device: u32, payload: &[u8]) {
        let mask = self.next_mask();
        if let Some(conn) = self.conn(device) {
            write_frame(&mut conn.out, Opcode::Pong, payload, mask);
            self.mark_dirty(device);
        }
    }

    /// Appends a command to what a device's connection is to write.
    pub(super) fn command(&mut self, device: u32, id: u32, body: CommandBody<'_>) {
        let mask = self.next_mask();
        let encoding = self.route.encoding;
        let Some(conn) = self.conn(device) else {
            return;
        };
        let opcode = match encoding {
            Encoding::Json => Opcode::Text,
            Encoding::Proto => Opcode::Binary,
        };
        let command = Command { id, body };
        write_with(&mut conn.out, opcode, mask, |out| {
            encoding.encode_command(&command, out)
        });
        self.mark_dirty(device);
    }

    fn mark_dirty(&mut self, device: u32) {
        if let Some(conn) = &mut self.conns[device as usize]
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(device);
        }
    }

    /// Takes the devices with something to write.
    pub(super) fn take_dirty(&mut self) -> Vec<u32> {
        let dirty = std::mem::take(&mut self.dirty);
        for &device in &dirty {
            if let Some(conn) = self.conn(device) {
                conn.dirty = false;
            }
        }
        dirty
    }

    /// Stores the position of the last push. The first one is the position of the session's
    /// opening.
    ///
    /// The positions in answers to `send` do not count. The gateway may leave out pushes, but never
    /// answers. So a client that asked from the position of an answer would miss left-out pushes
    /// before it.
    pub(super) fn note_position(&mut self, device: u32, position: &str) {
        if let Some(conn) = self.conn(device) {
            conn.position.clear();
            conn.position.push_str(position);
        }
    }

    /// Notes that the gateway left out live pushes. Returns the position from which to fetch them;
    /// `None` while a page is under way.
    pub(super) fn note_gap(&mut self, device: u32) -> Option<CompactString> {
        let conn = self.conn(device)?;
        CatchUp::gap(&mut conn.catching_up).then(|| conn.position.clone())
    }

    /// Notes that a page of missed events came. Returns whether to ask for the next page.
    pub(super) fn note_page(&mut self, device: u32, more: bool) -> bool {
        let conn = self.conn(device);
        conn.is_some_and(|conn| CatchUp::page(&mut conn.catching_up, more))
    }

    /// The missed events cannot be fetched.
    pub(super) fn give_up_catching_up(&mut self, device: u32) {
        if let Some(conn) = self.conn(device) {
            conn.catching_up = None;
        }
    }

    /// Takes a connection out of its place; dropping it closes the socket.
    pub(super) fn take(&mut self, device: u32) -> Option<Ended> {
        let conn = self.conns[device as usize].take()?;
        self.alive -= 1;
        self.connecting -= usize::from(conn.state.is_opening());
        if let Some(sealing) = &mut self.sealing {
            sealing.end(device);
        }
        Some(Ended {
            state: conn.state,
            position: match conn.catching_up {
                Some(_) => None,
                None => Some(conn.position),
            },
        })
    }

    /// Makes the end of a connection abrupt: the peer gets a reset at once, and no port stays in
    /// use (socket(7), SO_LINGER). The caller still has to take the connection.
    pub(super) fn reset(&mut self, device: u32) {
        if let Some(conn) = self.conn(device) {
            let socket = socket2::SockRef::from(&conn.stream);
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
    }

    /// Ends an open session with a Close frame, to open it again.
    pub(super) fn leave(&mut self, device: u32) {
        self.close_with(device, ConnectionState::Leaving);
    }

    /// Ends an open session with a Close frame, for good.
    pub(super) fn close(&mut self, device: u32) {
        self.close_with(device, ConnectionState::Closing);
    }

    fn close_with(&mut self, device: u32, state: ConnectionState) {
        let mask = self.next_mask();
        if let Some(conn) = self.conn(device) {
            write_close(&mut conn.out, CloseCode::NORMAL, "", mask);
            conn.state = state;
            self.mark_dirty(device);
        }
    }

    /// Ends sessions with Close frames and other connections at once, a turn's worth of devices from
    /// `from` on.
    pub(super) fn close_some(&mut self, from: u32) -> CloseTurn {
        let end = (from + CLOSES).min(self.devices());
        let mut sessions = 0;
        for device in from..end {
            if self.is_open(device) {
                self.close(device);
                sessions += 1;
            } else {
                self.take(device);
            }
        }
        CloseTurn {
            sessions,
            next: (end < self.devices()).then_some(end),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
