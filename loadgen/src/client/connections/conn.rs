//! One connection and how far it is.

use compact_str::CompactString;
use mio::net::TcpStream;
use trunkline_proto::connection::Connection as Framing;

use super::catch_up::CatchUp;
use crate::clock::Nanos;

/// How far a connection is.
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
    /// Whether the session of the connection is not open yet.
    pub(super) fn is_opening(self) -> bool {
        matches!(
            self,
            Self::Connecting | Self::Upgrading | Self::Authenticating
        )
    }
}

/// One connection. A run holds up to millions: what only few need at a time is behind a pointer,
/// and an idle connection owns no buffer.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stream: TcpStream,
    pub(super) framing: Framing,
    pub(super) state: ConnectionState,
    /// There until the session is open.
    pub(super) opening: Option<Box<Opening>>,
    /// Bytes that the socket has not taken yet.
    pub(super) out: Vec<u8>,
    /// The connection stands in the list of those to be flushed.
    pub(super) dirty: bool,
    /// The socket took less than all: it says when it takes more.
    pub(super) blocked: bool,
    /// The gateway's end is closed: there is nothing behind what can be read now.
    pub(super) ended: bool,
    /// The position of the last push, as the gateway calls it; short ones need no allocation.
    pub(super) position: CompactString,
    /// The fetching of missed events, while it goes on.
    pub(super) catching_up: Option<CatchUp>,
}

// Debug builds of mio remember the selector of each socket.
const _: () = assert!(cfg!(debug_assertions) || size_of::<Option<Conn>>() <= 88);

/// What a connection needs until its session is open.
#[derive(Debug)]
pub(super) struct Opening {
    /// The Sec-WebSocket-Key of the upgrade.
    pub(super) key: [u8; 16],
    /// What came of the answer to the upgrade so far.
    pub(super) head: Vec<u8>,
    /// When the connection was begun.
    pub(super) begun: Nanos,
    /// When its present state began.
    pub(super) since: Nanos,
}
