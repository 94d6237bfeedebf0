//! What one client may do.

use std::time::Duration;

use trunkline_core::request::ContentLimits;
use trunkline_proto::origin::Allowed;

/// What may be sent per second; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Messages.
    pub messages: u32,
    /// Bytes of frames.
    pub bytes: u32,
    /// Commands, messages among them, and what cannot be read as one.
    pub commands: u32,
}

impl Rates {
    /// Twice as much of each.
    pub const fn twice(self) -> Self {
        Self {
            messages: self.messages.saturating_mul(2),
            bytes: self.bytes.saturating_mul(2),
            commands: self.commands.saturating_mul(2),
        }
    }
}

/// Limits of one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenLimits {
    /// The most bytes of a token.
    pub bytes: usize,
    /// The most topic patterns of a token.
    pub topics: usize,
}

impl Limits {
    /// The limits of one token.
    pub const fn of_a_token(&self) -> TokenLimits {
        TokenLimits {
            bytes: self.token_bytes,
            topics: self.token_topics,
        }
    }
}

/// Limits of connections and users.
#[derive(Debug, Clone)]
pub struct Limits {
    /// What a message and a page may hold.
    pub content: ContentLimits,
    /// Bytes of a token; beyond it 3500.
    pub token_bytes: usize,
    /// Topic patterns of a token; beyond it 3500.
    pub token_topics: usize,
    /// Bytes that may wait for one connection; beyond it live pushes are replaced by a `gap`.
    pub outbox_bytes: usize,
    /// Bytes that may wait for a connection when a reader is asked for its next answer; beyond it
    /// the question waits.
    pub answer_bytes: usize,
    /// Connections of one address; beyond it HTTP 429. 0: any number.
    pub connections_per_address: u32,
    /// Sessions of one user; beyond it 3504. 0: any number.
    pub connections_per_user: u32,
    /// Connections of a shard without a session; beyond it HTTP 503.
    pub opening: usize,
    /// Connections that a turn of a shard's loop accepts, and those without a session that it
    /// reads; the others wait for later turns.
    pub newcomers_per_turn: usize,
    /// Sessions of a shard that wait for a reader with what they missed; beyond it 3013.
    pub recovering: usize,
    /// Bytes that connections of a shard may hold, of what they have not read and of messages
    /// that are not complete. Beyond half of it, live pushes to those that do not read are
    /// replaced by a `gap`; beyond all of it those that hold most are closed, with 3008 or 3013.
    pub shard_buffer_bytes: usize,
    /// Bytes of an upgrade request; beyond it HTTP 431.
    pub header_bytes: usize,
    /// Commands of one frame; beyond it one 106 for the rest.
    pub frame_commands: usize,
    /// Pages that readers look up at the same time for one connection; beyond it 111.
    pub pages: u8,
    /// What a connection may send; beyond it 111.
    pub connection_rates: Rates,
    /// What all connections of a user may send together; beyond it 111.
    pub user_rates: Rates,
    /// How much of a rate can be saved up.
    pub rate_burst: Duration,
    /// Pings and pongs that a connection may send within a second; beyond it 1008.
    pub control_frames: u16,
    /// For a WebSocket message, from its first byte to its last; beyond it 1008.
    pub message_timeout: Duration,
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
    /// Web pages that may connect; beyond them HTTP 403.
    pub origins: Allowed,
    /// Sessions that the gateway takes in within a second.
    pub reconnect_rate: u32,
    /// The echo path exists.
    pub echo: bool,
    /// The longest time that clients who are told to reconnect wait, in milliseconds.
    pub reconnect_delay_ms: u64,
    /// For stopping, as far as it depends on clients: then connections are dropped.
    pub drain_timeout: Duration,
    /// Clients are told over this time that the gateway stops.
    pub drain_window: Duration,
    /// Users whose presence a connection watches; beyond it 106.
    pub watches: usize,
    /// Topics that a connection is subscribed to; beyond it 106.
    pub subscriptions: usize,
    /// Watches and subscriptions of all connections of a shard; beyond it 106.
    pub listenings: usize,
}
