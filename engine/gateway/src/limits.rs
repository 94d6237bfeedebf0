//! The limits of connections and users.

use std::time::Duration;

use trunkline_core::request::ContentLimits;
use trunkline_core::trusted::Trusted;
use trunkline_proto::origin::Allowed;

/// Rates per second. 0: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Messages.
    pub messages: u32,
    /// Bytes of frames.
    pub bytes: u32,
    /// Commands. Messages count, and commands that cannot be read.
    pub commands: u32,
}

impl Rates {
    /// Returns rates that are twice as high.
    pub const fn twice(self) -> Self {
        Self {
            messages: self.messages.saturating_mul(2),
            bytes: self.bytes.saturating_mul(2),
            commands: self.commands.saturating_mul(2),
        }
    }
}

/// Budgets of cost: time of a processor core per second. Zero: no budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CostLimits {
    /// The budget of a connection.
    pub connection: Duration,
    /// The budget of all connections of a user together.
    pub user: Duration,
    /// The budget of all connections of an address together.
    pub address: Duration,
    /// The budget of all users of a namespace together.
    pub namespace: Duration,
    /// The time in which unused budgets add up.
    pub burst: Duration,
}

/// Limits of one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenLimits {
    /// The number of bytes of a token at most.
    pub bytes: usize,
    /// The number of topic patterns of a token at most.
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
    /// The limits of messages and pages.
    pub content: ContentLimits,
    /// Bytes of a token. Beyond: close code 3500.
    pub token_bytes: usize,
    /// Topic patterns of a token. Beyond: close code 3500.
    pub token_topics: usize,
    /// Bytes of output that may wait for one connection. Beyond: a `gap` replaces live pushes.
    pub outbox_bytes: usize,
    /// Bytes of output that may wait for a connection while a reader is asked for its next answer.
    /// Beyond: the question waits.
    pub answer_bytes: usize,
    /// Connections of one address. Beyond: HTTP status 429. 0: no limit.
    pub connections_per_address: u32,
    /// Sessions of one user. Beyond: close code 3504. 0: no limit.
    pub connections_per_user: u32,
    /// Connections of a shard without a session. Beyond: HTTP status 503.
    pub opening: usize,
    /// Connections that a turn of a shard accepts, and connections without a session that it reads. The
    /// others wait for later turns.
    pub newcomers_per_turn: usize,
    /// Sessions of a shard that wait for a page of events that they missed. Beyond: close code 3013.
    pub recovering: usize,
    /// Bytes that the connections of a shard may hold together: output that clients have not read, and
    /// incomplete messages. Beyond half of it, a `gap` replaces live pushes to clients that do not read,
    /// beyond three quarters also those for a crowd where earlier output waits to be written. Beyond all
    /// of it, the connections that hold most are closed, with code 3008 or 3013.
    pub shard_buffer_bytes: usize,
    /// Bytes of an upgrade request. Beyond: HTTP status 431.
    pub header_bytes: usize,
    /// Commands of one frame. Beyond: one error 106 for the rest of the frame.
    pub frame_commands: usize,
    /// Pages that readers look up for one connection at the same time. Beyond: error 111.
    pub pages: u8,
    /// The rates of one connection. Beyond: error 111.
    pub connection_rates: Rates,
    /// The rates of all connections of a user together. Beyond: error 111.
    pub user_rates: Rates,
    /// The time in which unused rates add up.
    pub rate_burst: Duration,
    /// The budgets of cost. Beyond: error 111, and the connection is not read for a time.
    pub costs: CostLimits,
    /// Pings and pongs of a connection within a second. Beyond: close code 1008.
    pub control_frames: u16,
    /// The time for a WebSocket message, from the first byte to the last. Beyond: close code 1008.
    pub message_timeout: Duration,
    /// The time for the HTTP upgrade. Beyond: the connection is dropped.
    pub handshake_timeout: Duration,
    /// The time from the upgrade to `connect`. Beyond: close code 3502.
    pub connect_timeout: Duration,
    /// The silence after which a connection is pinged.
    pub ping_interval: Duration,
    /// The time for the answer to a ping. Beyond: close code 3012.
    pub pong_timeout: Duration,
    /// The time in which a client must take a byte of its output. Beyond: close code 3008.
    pub write_timeout: Duration,
    /// The web pages that may connect. Others get HTTP status 403.
    pub origins: Allowed,
    /// The trusted proxies. Connections through them count under the addresses of their clients.
    pub proxies: Trusted,
    /// The number of sessions that the gateway admits within a second.
    pub reconnect_rate: u32,
    /// Whether the echo path exists.
    pub echo: bool,
    /// The longest time that clients who are told to reconnect wait, in milliseconds.
    pub reconnect_delay_ms: u64,
    /// The time for the clients' part of a stop. Beyond: connections are dropped.
    pub drain_timeout: Duration,
    /// The time over which a stopping gateway tells its clients.
    pub drain_window: Duration,
    /// Users that a connection watches. Beyond: error 106.
    pub watches: usize,
    /// Topics that a connection is subscribed to. Beyond: error 106.
    pub subscriptions: usize,
    /// Watches and subscriptions of all connections of a shard. Beyond: error 106.
    pub listenings: usize,
}
