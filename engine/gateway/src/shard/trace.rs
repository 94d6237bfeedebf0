//! What the log says of single connections: at level debug which tokens are refused, at level trace how
//! each connection ends. Never what a client sends: no text, no token, no signature, no reason of its own.

use std::net::SocketAddr;

use super::connection::{Conn, Phase};
use super::core::Core;
use crate::auth::Refusal;

/// Who a connection is, as far as the gateway knows.
struct Who<'a> {
    address: Option<SocketAddr>,
    user: &'a str,
    device: &'a str,
    namespace: &'a str,
}

impl<'a> Who<'a> {
    fn of(conn: &'a Conn) -> Self {
        let names = conn.session().map(|session| &session.names);
        Self {
            // A peer that is gone has none any more.
            address: conn.stream.peer_addr().ok(),
            user: names.map_or("", |names| names.user()),
            device: names.map_or("", |names| names.device()),
            namespace: names.map_or("", |names| names.namespace()),
        }
    }

    fn address(&self) -> String {
        let address = self.address.as_ref();
        address.map_or_else(|| "unknown".to_owned(), ToString::to_string)
    }
}

impl Core {
    /// A token is refused. Who the client says it is does not count: only what its session says.
    pub(super) fn trace_refusal(&self, conn: &Conn, refusal: &Refusal) {
        if tracing::enabled!(tracing::Level::DEBUG) {
            let who = Who::of(conn);
            tracing::debug!(
                shard = self.parts.index,
                address = who.address(),
                user = who.user,
                namespace = who.namespace,
                reason = refusal.reason.name(),
                "token refused: {}",
                refusal.message
            );
        }
    }

    /// A connection is closed with a code, by the gateway or by the client. The reason is the
    /// gateway's: what a client writes there is its own.
    pub(super) fn trace_close(&self, conn: &Conn, by: &str, code: u16, reason: &str) {
        if tracing::enabled!(tracing::Level::TRACE) {
            let who = Who::of(conn);
            tracing::trace!(
                shard = self.parts.index,
                address = who.address(),
                user = who.user,
                device = who.device,
                namespace = who.namespace,
                by,
                code,
                reason,
                "connection closed"
            );
        }
    }

    /// An upgrade is refused with an HTTP status.
    pub(super) fn trace_rejection(&self, conn: &Conn, status: u16, reason: &str) {
        if tracing::enabled!(tracing::Level::TRACE) {
            let address = Who::of(conn).address();
            let shard = self.parts.index;
            tracing::trace!(shard, address, status, reason, "upgrade refused");
        }
    }

    /// A connection is gone. Of one that was closed the log has the close already.
    pub(super) fn trace_end(&self, conn: &Conn) {
        if tracing::enabled!(tracing::Level::TRACE) {
            let phase = match conn.phase {
                Phase::Closing => return,
                Phase::Handshake(_) => "before the upgrade",
                Phase::Upgraded => "before connect",
                Phase::Echo => "echo",
                Phase::Open(_) => "with a session",
            };
            let who = Who::of(conn);
            tracing::trace!(
                shard = self.parts.index,
                address = who.address(),
                user = who.user,
                device = who.device,
                namespace = who.namespace,
                phase,
                "connection ended without a close"
            );
        }
    }
}
