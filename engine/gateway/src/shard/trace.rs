//! Log lines about single connections: a refused token at level debug, the end of a connection at
//! level trace.
//!
//! A line holds nothing that a client sends: no text, no token, no signature, and no close reason
//! of the client.

use trunkline_proto::CloseCode;
use trunkline_proto::handshake::Rejection;

use super::connection::{Conn, Phase};
use super::source::Source;
use crate::auth::Refusal;

/// The session's names, empty without a session, and the client's address.
struct Client<'a> {
    address: String,
    user: &'a str,
    device: &'a str,
    namespace: &'a str,
}

impl<'a> Client<'a> {
    fn of(conn: &'a Conn) -> Self {
        let names = conn.session().map(|session| &session.names);
        // A peer that is gone has no address any more.
        let peer = conn.peer_addr().ok();
        let source = conn.source();
        let is_direct = peer.is_some_and(|peer| Source::of(peer.ip()) == source);
        Self {
            address: match peer {
                Some(peer) if is_direct || source.is_unnamed() => peer.to_string(),
                // The peer is the proxy of the client, or is gone.
                _ => source.to_string(),
            },
            user: names.map_or("", |names| names.user()),
            device: names.map_or("", |names| names.device()),
            namespace: names.map_or("", |names| names.namespace()),
        }
    }
}

/// The fields of a line about the end of a connection. Fields without a value are left out.
#[derive(Debug, Default)]
struct End<'a> {
    /// Who closed the connection: `gateway` or `client`.
    by: Option<&'a str>,
    /// The WebSocket close code.
    code: Option<u16>,
    /// The HTTP status.
    status: Option<u16>,
    /// The gateway's reason.
    reason: Option<&'a str>,
    /// How far a connection had come that ended without a close.
    phase: Option<&'a str>,
}

impl End<'_> {
    fn log(&self, shard: usize, conn: &Conn, what: &str) {
        if tracing::enabled!(tracing::Level::TRACE) {
            let client = Client::of(conn);
            tracing::trace!(
                shard,
                address = client.address,
                user = client.user,
                device = client.device,
                namespace = client.namespace,
                by = self.by,
                code = self.code,
                status = self.status,
                reason = self.reason,
                phase = self.phase,
                "{what}"
            );
        }
    }
}

/// Logs that a token is refused. The line has the names of the session: what the token says does not
/// count.
pub(super) fn token_refused(shard: usize, conn: &Conn, refusal: &Refusal) {
    if tracing::enabled!(tracing::Level::DEBUG) {
        let client = Client::of(conn);
        tracing::debug!(
            shard,
            address = client.address,
            user = client.user,
            namespace = client.namespace,
            reason = refusal.reason.name(),
            "token refused: {}",
            refusal.message
        );
    }
}

/// Logs that the gateway closes a connection, with the gateway's reason.
pub(super) fn closed_here(shard: usize, conn: &Conn, code: CloseCode, reason: &str) {
    let end = End {
        by: Some("gateway"),
        code: Some(code.0),
        reason: Some(reason),
        ..End::default()
    };
    end.log(shard, conn, "connection closed");
}

/// Logs that a client closes its connection. The line leaves out the client's reason.
pub(super) fn closed_there(shard: usize, conn: &Conn, code: CloseCode) {
    let end = End {
        by: Some("client"),
        code: Some(code.0),
        reason: Some(""),
        ..End::default()
    };
    end.log(shard, conn, "connection closed");
}

/// Logs that an upgrade is refused with an HTTP response.
pub(super) fn rejected(shard: usize, conn: &Conn, rejection: &Rejection) {
    let end = End {
        status: Some(rejection.status),
        reason: Some(rejection.message),
        ..End::default()
    };
    end.log(shard, conn, "upgrade refused");
}

/// Logs that a connection is gone without a close. A connection that was closed has its line already.
pub(super) fn gone(shard: usize, conn: &Conn) {
    let phase = match conn.phase() {
        Phase::Closing => return,
        Phase::Preamble | Phase::Handshake(_) => "before the upgrade",
        Phase::Upgraded => "before connect",
        Phase::Echo => "echo",
        Phase::Open(_) => "with a session",
    };
    let end = End {
        phase: Some(phase),
        ..End::default()
    };
    end.log(shard, conn, "connection ended without a close");
}
