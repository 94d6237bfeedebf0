//! What shards count.

mod limit;
mod tls;
mod tokens;

use trunkline_core::event::RecordKind;
use trunkline_core::metrics::Counter;
use trunkline_proto::ErrorCode;

pub use limit::Limit;
pub use tls::{TlsFailure, TlsMetrics};
pub use tokens::{KeyMetrics, TokenMetrics};

/// What one shard counts.
#[derive(Debug, Default)]
pub struct ShardMetrics {
    /// Open TCP connections.
    pub connections: Counter,
    /// Open sessions: connections after `connect`.
    pub sessions: Counter,
    /// Connections without a session.
    pub opening: Counter,
    /// Bytes that connections hold, of what they have not read or not finished.
    pub held_bytes: Counter,
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections turned away because of a connection or descriptor limit.
    pub refused: Counter,
    /// Requests that were no upgrade of ours.
    pub rejected_handshakes: Counter,
    /// Commands received.
    pub commands: Counter,
    /// Replies to `send`.
    pub acks: Counter,
    /// Pushes of messages.
    pub pushed_messages: Counter,
    /// Pushes of receipts.
    pub pushed_receipts: Counter,
    /// Recalls, reactions, changes of groups and what else is stored.
    pub pushed_others: Counter,
    /// Pushes of what is not stored.
    pub pushed_ephemeral: Counter,
    /// Gaps: slow readers whose pushes were dropped.
    pub gaps: Counter,
    /// Pings sent.
    pub pings: Counter,
    /// Bytes read from clients.
    pub bytes_in: Counter,
    /// Bytes written to clients.
    pub bytes_out: Counter,
    /// System calls: waits for events, reads and writes of sockets.
    pub polls: Counter,
    /// Reads of sockets.
    pub reads: Counter,
    /// Writes of sockets.
    pub writes: Counter,
    /// Times that mail woke the shard, a system call of the sender.
    pub wakes: Counter,
    /// Error replies, in the order of [`ErrorCode::ALL`].
    pub errors: [Counter; ErrorCode::ALL.len()],
    /// Connections closed by the gateway, in the order of [`CLOSES`].
    pub closes: [Counter; CLOSES.len()],
    /// What went over a limit, in the order of [`Limit::ALL`].
    pub limited: [Counter; Limit::ALL.len()],
    /// TLS hand-shakes from the beginning.
    pub tls_full: Counter,
    /// TLS hand-shakes that resumed an earlier session.
    pub tls_resumed: Counter,
    /// TLS connections that failed, in the order of [`TlsFailure::ALL`].
    pub tls_failures: [Counter; TlsFailure::ALL.len()],
    /// What became of tokens.
    pub tokens: TokenMetrics,
}

/// The close codes that are counted apart; others count as the last, 0.
pub const CLOSES: [u16; 16] = [
    1000, 1002, 1003, 1007, 1008, 1009, 3001, 3004, 3008, 3012, 3013, 3500, 3502, 3504, 3505, 0,
];

impl ShardMetrics {
    /// Counts something that went over a limit.
    pub fn limited(&self, limit: Limit) {
        self.limited[limit as usize].one();
    }

    /// The counter of pushes of this kind.
    pub fn pushed(&self, kind: RecordKind) -> &Counter {
        match kind {
            RecordKind::Message => &self.pushed_messages,
            RecordKind::Receipt => &self.pushed_receipts,
            _ => &self.pushed_others,
        }
    }

    /// Counts a TLS connection that failed.
    pub fn tls_failed(&self, failure: TlsFailure) {
        self.tls_failures[failure as usize].one();
    }

    /// Counts an error reply.
    pub fn error(&self, code: ErrorCode) {
        if let Some(i) = ErrorCode::ALL.iter().position(|&c| c == code) {
            self.errors[i].one();
        }
    }

    /// Counts a connection that the gateway closes with this code.
    pub fn close(&self, code: u16) {
        let i = CLOSES
            .iter()
            .position(|&c| c == code)
            .unwrap_or(CLOSES.len() - 1);
        self.closes[i].one();
    }
}
