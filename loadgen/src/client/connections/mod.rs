//! The connections of a thread: opening, reading, writing and closing them.
//!
//! This module knows sockets and TLS, and lends the bytes to a driver. It knows neither messages nor
//! reconnects: each method returns what happened, and the client acts on it.

mod conn;
mod open;
mod socket;
mod spread;
mod tls;

use std::collections::VecDeque;
use std::time::Duration;

use compact_str::CompactString;
use mio::Registry;

use super::READ;
use crate::clock::Nanos;
use crate::driver::text::TextDriver;
use crate::driver::{Broken, Driver, Event, Line};
use crate::scenario::network::Network;

use conn::Conn;
pub(super) use conn::ConnectionState;
pub(super) use socket::Progress;
pub(super) use spread::Spread;
pub(crate) use spread::{Destination, TARGETS_MAX, TargetTally};
use tls::Sealing;

/// Sessions closed per turn, so that reading never starves.
const CLOSES: u32 = 256;

/// The source addresses of a thread's connections, and how they are opened.
#[derive(Debug, Clone)]
pub(super) struct Route {
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
pub(super) struct Connections<D: Driver> {
    route: Route,
    spread: Spread,
    driver: D,
    registry: Registry,
    conns: Vec<Option<Conn<D>>>,
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
    /// The position from which to continue; `None` if it is unknown, or if there is none.
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

impl<D: Driver> Connections<D> {
    /// Makes a set without connections for this many devices, which go to these targets.
    pub(super) fn new(
        route: Route,
        driver: D,
        registry: Registry,
        devices: usize,
        spread: Spread,
    ) -> Self {
        Self {
            conns: (0..devices).map(|_| None).collect(),
            sealing: spread.has_tls().then(|| Sealing::new(devices)),
            spread,
            route,
            driver,
            registry,
            alive: 0,
            connecting: 0,
            begun: VecDeque::new(),
            dirty: Vec::new(),
            unread: Vec::new(),
        }
    }

    /// Returns the place in the list of targets of the one to which a device connects.
    pub(super) fn target_of(&self, device: u32) -> usize {
        self.spread.place(device)
    }

    /// Notes that a send of a device was acknowledged.
    pub(super) fn acknowledged(&mut self, device: u32) {
        self.spread.acknowledged(device);
    }

    /// Returns the use of each target, once the connections are not needed any more.
    pub(super) fn into_tallies(self) -> Vec<TargetTally> {
        self.spread.into_tallies()
    }

    /// Returns the number of devices, with or without a connection.
    pub(super) fn devices(&self) -> u32 {
        self.conns.len() as u32
    }

    /// Returns the driver.
    pub(super) fn driver(&self) -> &D {
        &self.driver
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

    fn conn(&mut self, device: u32) -> Option<&mut Conn<D>> {
        self.conns[device as usize].as_mut()
    }

    /// Returns what the driver keeps for a device's connection.
    pub(super) fn session(&mut self, device: u32) -> Option<&mut D::Session> {
        self.conn(device).map(|conn| &mut conn.session)
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
    /// The server refuses the connection or breaks the protocol.
    pub(super) fn event<'b>(
        &mut self,
        now: Nanos,
        device: u32,
        input: &mut &'b mut [u8],
    ) -> Result<Option<Event<D::Said<'b>>>, Broken> {
        self.answer(device, |driver, line| driver.receive(now, line, input))
            .unwrap_or(Ok(None))
    }

    /// Lets the driver append to what a device's connection is to write. Returns what `append`
    /// returns; `None` without a connection.
    pub(super) fn write<T>(
        &mut self,
        device: u32,
        append: impl FnOnce(&mut D, Line<'_, D::Opening, D::Session>) -> T,
    ) -> Option<T> {
        let conn = self.conns[device as usize].as_mut()?;
        let appended = append(&mut self.driver, conn.line());
        self.mark_dirty(device);
        Some(appended)
    }

    /// Lets the driver look at a device's connection, and append an answer to what it is to write.
    /// Returns what `look` returns; `None` without a connection.
    pub(super) fn answer<T>(
        &mut self,
        device: u32,
        look: impl FnOnce(&mut D, Line<'_, D::Opening, D::Session>) -> T,
    ) -> Option<T> {
        let conn = self.conns[device as usize].as_mut()?;
        let before = conn.out.len();
        let looked = look(&mut self.driver, conn.line());
        if conn.out.len() != before {
            self.mark_dirty(device);
        }
        Some(looked)
    }

    /// Returns whether a device's session takes another message now.
    pub(super) fn has_room(&self, device: u32) -> bool
    where
        D: TextDriver,
    {
        let conn = self.conns[device as usize].as_ref();
        conn.is_some_and(|conn| self.driver.has_room(&conn.session))
    }

    fn mark_dirty(&mut self, device: u32) {
        if let Some(conn) = &mut self.conns[device as usize]
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(device);
        }
    }

    /// Returns the number of devices with something to write.
    pub(super) fn dirty(&self) -> usize {
        self.dirty.len()
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
            position: D::position(conn.session),
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
        self.write(device, D::close);
        if let Some(conn) = self.conn(device) {
            conn.state = state;
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
