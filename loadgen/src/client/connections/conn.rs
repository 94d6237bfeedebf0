//! One connection and its state.

use mio::net::TcpStream;

use crate::clock::Nanos;
use crate::driver::gateway::Trunkline;
use crate::driver::{Driver, Line};

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum ConnectionState {
    /// The TCP handshake is under way.
    Connecting,
    /// The transport is being made ready, such as by an HTTP upgrade.
    Upgrading,
    /// The session is asked for, and not open yet.
    Authenticating,
    /// The session is open.
    Open,
    /// Our Close frame is on its way, and the session will be opened again.
    Leaving,
    /// Our Close frame is on its way, and the session is over.
    Closing,
}

impl ConnectionState {
    /// Returns whether the session of the connection is not open yet.
    pub(super) fn is_opening(self) -> bool {
        matches!(
            self,
            Self::Connecting | Self::Upgrading | Self::Authenticating
        )
    }
}

/// One connection. A run holds up to millions of them. Data that few connections need at a time is
/// behind a pointer, and an idle connection owns no buffer.
pub(super) struct Conn<D: Driver> {
    pub(super) stream: TcpStream,
    /// What the driver keeps.
    pub(super) session: D::Session,
    pub(super) state: ConnectionState,
    /// The data for opening the session; `None` once the session is open.
    pub(super) opening: Option<Box<Opening<D::Opening>>>,
    /// Bytes that the socket has not taken yet.
    pub(super) out: Vec<u8>,
    /// Whether the connection is in the list of connections to flush.
    pub(super) dirty: bool,
    /// Whether the socket took only a part of the bytes. An event reports when it takes more.
    pub(super) blocked: bool,
    /// Whether the server closed its end. No bytes follow those that can be read now.
    pub(super) ended: bool,
}

// Debug builds of mio remember the selector of each socket.
const _: () = assert!(cfg!(debug_assertions) || size_of::<Option<Conn<Trunkline>>>() <= 88);

/// The data of a connection whose session is not open yet.
#[derive(Debug)]
pub(super) struct Opening<O> {
    /// What the driver needs until then.
    pub(super) driver: O,
    /// The time at which the connection was begun.
    pub(super) begun: Nanos,
    /// The time at which the present state began.
    pub(super) since: Nanos,
}

impl<D: Driver> Conn<D> {
    /// Returns the connection as its driver sees it.
    pub(super) fn line(&mut self) -> Line<'_, D::Opening, D::Session> {
        Line {
            opening: self.opening.as_mut().map(|it| &mut it.driver),
            session: &mut self.session,
            out: &mut self.out,
        }
    }
}
