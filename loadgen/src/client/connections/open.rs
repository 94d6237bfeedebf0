//! Opening a connection: TCP, the upgrade, the session.

use std::io;

use mio::{Interest, Token};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use trunkline_proto::connection::{Connection as Framing, Role};
use trunkline_proto::handshake;

use super::conn::{Conn, Opening};
use super::{Begun, ConnectionState, Connections};
use crate::clock::Nanos;
use crate::random::mix;

/// Longest answer to an upgrade that is taken.
const HEAD_MAX: usize = 64 << 10;

/// The state of the gateway's answer to the upgrade.
#[derive(Debug)]
pub(in crate::client) enum UpgradeAnswer {
    /// The answer has no end yet.
    Incomplete,
    /// The connection is a WebSocket; the bytes behind the answer are frames.
    Accepted(Vec<u8>),
    /// The answer is longer than the limit. Holds its length in bytes.
    Endless(usize),
    /// The gateway refused.
    Refused {
        why: String,
        /// The seconds of a Retry-After header.
        retry_after: Option<u64>,
    },
}

/// The times at which the steps of an opened session began.
#[derive(Debug, Clone, Copy)]
pub(in crate::client) struct Opened {
    /// The connection.
    pub(in crate::client) begun: Nanos,
    /// The `connect` command.
    pub(in crate::client) asked: Nanos,
}

impl Connections {
    /// Begins a device's connection.
    ///
    /// # Errors
    /// No socket can be made, or the target cannot be reached.
    pub(in crate::client) fn begin(&mut self, now: Nanos, device: u32) -> io::Result<()> {
        if let Some(sealing) = &mut self.sealing {
            sealing.begin(device).map_err(io::Error::other)?;
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
        self.connecting += 1;
        self.alive += 1;
        self.begun.push_back(Begun { at: now, device });
        self.conns[device as usize] = Some(Conn {
            stream,
            framing: Framing::new(Role::Client),
            state: ConnectionState::Connecting,
            opening: Some(Box::new(Opening {
                key,
                head: Vec::new(),
                begun: now,
                since: now,
            })),
            out: Vec::new(),
            dirty: false,
            blocked: false,
            ended: false,
            position: Default::default(),
            catching_up: None,
        });
        Ok(())
    }

    fn open_socket(&self, device: u32) -> io::Result<mio::net::TcpStream> {
        let target = self.route.target;
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

    /// Asks for the upgrade after the TCP handshake. Returns when the handshake began.
    pub(in crate::client) fn upgrade(&mut self, now: Nanos, device: u32) -> Option<Nanos> {
        let route = &self.route;
        let conn = self.conns[device as usize].as_mut()?;
        let opening = conn.opening.as_mut()?;
        let began = std::mem::replace(&mut opening.since, now);
        conn.state = ConnectionState::Upgrading;
        let key = handshake::key_from(opening.key);
        handshake::write_request(
            &mut conn.out,
            &route.host,
            &route.path,
            &key,
            route.encoding,
        );
        self.mark_dirty(device);
        Some(began)
    }

    /// Takes a piece of the answer to the upgrade.
    pub(in crate::client) fn answer(&mut self, device: u32, input: &[u8]) -> UpgradeAnswer {
        let encoding = self.route.encoding;
        let opening = self.conn(device).and_then(|conn| conn.opening.as_mut());
        let Some(opening) = opening else {
            return UpgradeAnswer::Incomplete;
        };
        opening.head.extend_from_slice(input);
        let key = handshake::key_from(opening.key);
        match handshake::parse_response(&opening.head, &key, encoding) {
            Ok(None) if opening.head.len() > HEAD_MAX => UpgradeAnswer::Endless(opening.head.len()),
            Ok(None) => UpgradeAnswer::Incomplete,
            Ok(Some(size)) => {
                let mut head = std::mem::take(&mut opening.head);
                head.drain(..size);
                UpgradeAnswer::Accepted(head)
            }
            Err(why) => {
                let said = String::from_utf8_lossy(&opening.head);
                let body = said.rsplit("\r\n\r\n").next().unwrap_or_default().trim();
                UpgradeAnswer::Refused {
                    why: format!("{why}: {body}"),
                    retry_after: retry_after(&said),
                }
            }
        }
    }

    /// Notes that the upgrade is done and that `connect` is sent now. Returns when the upgrade
    /// began.
    pub(in crate::client) fn authenticate(&mut self, now: Nanos, device: u32) -> Option<Nanos> {
        let conn = self.conn(device)?;
        let opening = conn.opening.as_mut()?;
        conn.state = ConnectionState::Authenticating;
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
        Some(Opened {
            begun: opening.begun,
            asked: opening.since,
        })
    }
}

/// Returns the seconds of a Retry-After header.
fn retry_after(head: &str) -> Option<u64> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_found_whatever_its_case() {
        for (head, seconds) in [
            ("HTTP/1.1 503 x\r\nRetry-After: 12\r\n\r\n", Some(12)),
            (
                "HTTP/1.1 503 x\r\nContent-Length: 3\r\nretry-after:7\r\n\r\nno!",
                Some(7),
            ),
            ("HTTP/1.1 503 x\r\nRetry-After: soon\r\n\r\n", None),
            ("HTTP/1.1 503 x\r\n\r\n", None),
        ] {
            assert_eq!(retry_after(head), seconds, "{head}");
        }
    }
}
