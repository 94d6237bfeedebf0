//! One connection.

use compact_str::CompactString;
use mio::net::TcpStream;
use trunkline_proto::connection::Connection as Framing;

use crate::clock::Nanos;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// TCP handshake.
    Connecting,
    /// HTTP upgrade.
    Upgrading,
    /// `connect` command.
    Authenticating,
    /// The session is open.
    Open,
    /// Our Close frame is on its way, and the session will be opened again.
    Leaving,
    /// Our Close frame is on its way.
    Closing,
}

/// Fetching what live pushes left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CatchUp {
    /// Up to where the answer ends.
    Once,
    /// Beyond that: more was left out meanwhile.
    Again,
}

/// One connection. A run holds up to millions: what only few need at a time is behind a pointer,
/// and nothing idle owns a buffer.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stream: TcpStream,
    pub(super) framing: Framing,
    pub(super) state: State,
    /// There until the session is open.
    pub(super) opening: Option<Box<Opening>>,
    pub(super) out: Vec<u8>,
    pub(super) dirty: bool,
    pub(super) blocked: bool,
    /// The gateway's end is closed: read until that shows.
    pub(super) ended: bool,
    /// The position of the last push, as the gateway calls it; short ones need no allocation.
    pub(super) pos: CompactString,
    /// What was missed is being fetched.
    pub(super) catching_up: Option<CatchUp>,
}

// Debug builds of mio remember the selector of each socket.
const _: () = assert!(cfg!(debug_assertions) || size_of::<Option<Conn>>() <= 88);

/// What a connection needs until its session is open.
#[derive(Debug)]
pub(super) struct Opening {
    /// The Sec-WebSocket-Key of the upgrade.
    pub(super) key: [u8; 16],
    /// What came of the upgrade's answer so far.
    pub(super) head: Vec<u8>,
    /// It opens a session again.
    pub(super) again: bool,
    /// When the connection was begun, and when its present state was.
    pub(super) begun: Nanos,
    pub(super) since: Nanos,
}
