//! Opening a connection: TCP, the upgrade, the session.

use std::io;

use mio::{Interest, Token};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::conn::{Conn, Opening};
use super::{Begun, ConnectionState, Connections};
use crate::clock::Nanos;
use crate::driver::Driver;
use crate::random::mix;

/// The times at which the steps of an opened session began.
#[derive(Debug, Clone, Copy)]
pub(in crate::client) struct Opened {
    /// The connection.
    pub(in crate::client) begun: Nanos,
    /// The request for the session, such as the `connect` command.
    pub(in crate::client) asked: Nanos,
}

impl<D: Driver> Connections<D> {
    /// Begins a device's connection.
    ///
    /// # Errors
    /// No socket can be made, or the target cannot be reached.
    pub(in crate::client) fn begin(&mut self, now: Nanos, device: u32) -> io::Result<()> {
        self.spread.begin(device);
        if let (Some(sealing), Some(trust)) = (&mut self.sealing, &self.spread.target(device).tls) {
            sealing.begin(trust, device).map_err(io::Error::other)?;
        }
        let stream = self.open_socket(device)?;
        let halves = [
            mix(self.route.seed ^ u64::from(device)),
            mix(u64::from(device)),
        ];
        let mut key = [0; 16];
        for (bytes, half) in key.chunks_exact_mut(8).zip(halves) {
            bytes.copy_from_slice(&half.to_be_bytes());
        }
        let (opening, session) = self.driver.begin(key);
        self.connecting += 1;
        self.alive += 1;
        self.begun.push_back(Begun { at: now, device });
        self.conns[device as usize] = Some(Conn {
            stream,
            session,
            state: ConnectionState::Connecting,
            opening: Some(Box::new(Opening {
                driver: opening,
                begun: now,
                since: now,
            })),
            out: Vec::new(),
            dirty: false,
            blocked: false,
            ended: false,
        });
        Ok(())
    }

    fn open_socket(&self, device: u32) -> io::Result<mio::net::TcpStream> {
        let target = self.spread.target(device).address;
        let socket = Socket::new(
            Domain::for_address(target),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = self.route.source {
            // The port is chosen at connect, with the target known: 28,000 per source and target
            // instead of 28,000 per source (ip(7)).
            nix::sys::socket::setsockopt(
                &socket,
                nix::sys::socket::sockopt::IpBindAddressNoPort,
                &true,
            )?;
            let n = device * self.route.threads + self.route.thread;
            let address = std::net::SocketAddrV4::new(source.address(n), 0);
            socket.bind(&SockAddr::from(address))?;
        }
        match socket.connect(&target.into()) {
            Err(why) if why.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => {
                return Err(why);
            }
            _ => {}
        }
        let mut stream = mio::net::TcpStream::from_std(socket.into());
        let both = Interest::READABLE | Interest::WRITABLE;
        self.registry
            .register(&mut stream, Token(device as usize), both)?;
        Ok(stream)
    }

    /// Returns a device whose session did not open within `timeout`, the oldest first.
    pub(in crate::client) fn overdue(&mut self, now: Nanos, timeout: Nanos) -> Option<u32> {
        while let Some(&Begun { at, device }) = self.begun.front() {
            let opening = self.conns[device as usize]
                .as_ref()
                .and_then(|conn| conn.opening.as_ref());
            let waits = opening.is_some_and(|opening| opening.begun == at);
            if waits && now < at + timeout {
                return None;
            }
            self.begun.pop_front();
            if waits {
                return Some(device);
            }
        }
        None
    }

    /// Notes that the TCP handshake is done. Returns when it began.
    pub(in crate::client) fn connected(&mut self, now: Nanos, device: u32) -> Option<Nanos> {
        self.proceed(now, device, ConnectionState::Upgrading)
    }

    /// Notes that the transport is ready and that the session is asked for now. Returns when the
    /// making of the transport began.
    pub(in crate::client) fn authenticate(&mut self, now: Nanos, device: u32) -> Option<Nanos> {
        self.proceed(now, device, ConnectionState::Authenticating)
    }

    fn proceed(&mut self, now: Nanos, device: u32, state: ConnectionState) -> Option<Nanos> {
        let conn = self.conn(device)?;
        let opening = conn.opening.as_mut()?;
        conn.state = state;
        Some(std::mem::replace(&mut opening.since, now))
    }

    /// Notes that the gateway opened the session of a device. Returns when the steps began; `None`
    /// if no session was asked for.
    pub(in crate::client) fn opened(&mut self, device: u32) -> Option<Opened> {
        let conn = self.conn(device)?;
        if conn.state != ConnectionState::Authenticating {
            return None;
        }
        conn.state = ConnectionState::Open;
        let opening = conn.opening.take()?;
        self.connecting -= 1;
        self.spread.opened(device);
        Some(Opened {
            begun: opening.begun,
            asked: opening.since,
        })
    }
}
