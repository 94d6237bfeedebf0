//! What one client may do.

use std::time::Duration;

/// Limits of one connection.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one WebSocket message, all fragments together; beyond it 1009.
    pub message_bytes: usize,
    /// Bytes of a message's text; beyond it 106.
    pub text_bytes: usize,
    /// Bytes of an idempotency key; beyond it 106.
    pub key_bytes: usize,
    /// Entries of a page; a larger `limit` is lowered.
    pub page: u32,
    /// Bytes that may wait for one connection; beyond it live pushes are replaced by a `gap`.
    pub outbox_bytes: usize,
    /// For the HTTP upgrade.
    pub handshake_timeout: Duration,
    /// For `connect`, from the upgrade on; beyond it 3502.
    pub connect_timeout: Duration,
    /// A connection that was silent for so long is pinged.
    pub ping_interval: Duration,
    /// For the answer to a ping; beyond it 3012.
    pub pong_timeout: Duration,
    /// How long a client may take no byte of what waits for it; beyond it 3008.
    pub write_timeout: Duration,
    /// The echo path exists.
    pub echo: bool,
    /// Clients that are told to reconnect wait a random time between these, in milliseconds.
    pub reconnect_delay_ms: [u64; 2],
}
