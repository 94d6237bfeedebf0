//! One connection and its state.

use compact_str::CompactString;
use mio::net::TcpStream;
use trunkline_proto::connection::Connection as Framing;

use super::catch_up::CatchUp;
use crate::clock::Nanos;

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum ConnectionState {
    /// The TCP handshake is under way.
    Connecting,
    /// The HTTP upgrade is under way.
    Upgrading,
    /// The `connect` command has no answer yet.
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
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stream: TcpStream,
    pub(super) framing: Framing,
    pub(super) state: ConnectionState,
    /// The data for opening the session; `None` once the session is open.
    pub(super) opening: Option<Box<Opening>>,
    /// Bytes that the socket has not taken yet.
    pub(super) out: Vec<u8>,
    /// Whether the connection is in the list of connections to flush.
    pub(super) dirty: bool,
    /// Whether the socket took only a part of the bytes. An event reports when it takes more.
    pub(super) blocked: bool,
    /// Whether the gateway closed its end. No bytes follow those that can be read now.
    pub(super) ended: bool,
    /// The position of the last push, as the gateway calls it; short ones need no allocation.
    pub(super) position: CompactString,
    /// The fetching of missed events; `None` if there is none.
    pub(super) catching_up: Option<CatchUp>,
}

// Debug builds of mio remember the selector of each socket.
const _: () = assert!(cfg!(debug_assertions) || size_of::<Option<Conn>>() <= 88);

/// The data of a connection whose session is not open yet.
#[derive(Debug)]
pub(super) struct Opening {
    /// The Sec-WebSocket-Key of the upgrade.
    pub(super) key: [u8; 16],
    /// The bytes of the answer to the upgrade so far.
    pub(super) head: Vec<u8>,
    /// The time at which the connection was begun.
    pub(super) begun: Nanos,
    /// The time at which the present state began.
    pub(super) since: Nanos,
}
