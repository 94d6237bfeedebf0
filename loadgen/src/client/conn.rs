//! One connection.

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
    /// Our Close frame is on its way.
    Closing,
}

impl State {
    /// Whether the session is still to be opened.
    pub(super) fn is_opening(self) -> bool {
        matches!(
            self,
            Self::Connecting | Self::Upgrading | Self::Authenticating
        )
    }
}

/// Fetching what live pushes left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CatchUp {
    /// Up to where the answer ends.
    Once,
    /// Beyond that: more was left out meanwhile.
    Again,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stream: TcpStream,
    pub(super) framing: Framing,
    pub(super) state: State,
    /// The Sec-WebSocket-Key of the upgrade.
    pub(super) key: [u8; 16],
    /// What came of the upgrade's answer so far.
    pub(super) head: Vec<u8>,
    pub(super) out: Vec<u8>,
    pub(super) dirty: bool,
    pub(super) blocked: bool,
    /// The gateway's end is closed: read until that shows.
    pub(super) ended: bool,
    /// The position of the last push, as the gateway calls it.
    pub(super) pos: String,
    /// What was missed is being fetched.
    pub(super) catching_up: Option<CatchUp>,
    /// When the connection was begun, and when this state was.
    pub(super) begun: Nanos,
    pub(super) since: Nanos,
}
