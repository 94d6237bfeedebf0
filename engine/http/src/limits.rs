//! The limits of the client API.

use std::time::Duration;

use crate::server::ServerLimits;

/// The limits of the port of the client API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// The connections and their time.
    pub server: ServerLimits,
    /// The requests of one user at a time, with those that wait for events.
    pub per_user: u32,
    /// The bytes of unfinished and unanswered bodies of all requests together.
    pub bodies: usize,
    /// The bytes of streams and answers together that clients have not taken.
    pub unread: usize,
    /// The silence after which a stream gets a comment.
    pub ping: Duration,
    /// The time in which a client must take what a stream sends.
    pub write_timeout: Duration,
    /// The sessions that the gateway takes in within a second.
    pub reconnect_rate: u32,
    /// The longest time that clients who are told to reconnect wait, in milliseconds.
    pub reconnect_delay_ms: u64,
}
