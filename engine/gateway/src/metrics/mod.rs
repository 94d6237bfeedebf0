//! The counters of shards.

mod limit;
mod pushes;
mod throttle;
mod tls;
mod tokens;
mod work;

use std::ops::Index;

use trunkline_core::cost::Cost;
use trunkline_core::event::RecordKind;
use trunkline_core::metrics::{Counter, Times};
use trunkline_proto::ErrorCode;
use trunkline_proto::message::CommandBody;

pub use limit::Limit;
pub use pushes::PushBytes;
pub use throttle::Throttle;
pub use tls::{TlsFailure, TlsMetrics};
pub use tokens::{KeyMetrics, TokenMetrics};
pub use work::Work;

/// A row of counters.
#[derive(Debug)]
pub struct Counters<const N: usize>([Counter; N]);

impl<const N: usize> Counters<N> {
    /// Returns the sum of all counters.
    pub fn sum(&self) -> u64 {
        self.0.iter().map(Counter::get).sum()
    }
}

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        // The standard library has no default of an array of any length.
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl<const N: usize> Index<usize> for Counters<N> {
    type Output = Counter;

    #[inline]
    fn index(&self, number: usize) -> &Counter {
        &self.0[number]
    }
}

/// The counters of one shard.
#[derive(Debug, Default)]
pub struct ShardMetrics {
    /// Open TCP connections.
    pub connections: Counter,
    /// Open sessions: connections after `connect`.
    pub sessions: Counter,
    /// Connections without a session.
    pub opening: Counter,
    /// Bytes that connections hold: output that clients have not read, and incomplete input.
    pub held_bytes: Counter,
    /// The part of them that other shards may have too: large ephemeral pushes.
    pub held_pushes: Counter,
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections turned away because of a connection or descriptor limit.
    pub refused: Counter,
    /// Upgrade requests that were refused.
    pub rejected_handshakes: Counter,
    /// Commands received, in the order of [`CommandBody::NAMES`]; the last counter has those that could not
    /// be read.
    pub commands: Counters<COMMANDS>,
    /// Replies to `send`.
    pub acks: Counter,
    /// Times from the turn that read a command `send` to the turn that answers it. Each answer to a
    /// stored message counts.
    pub sends: Times,
    /// Pushes of stored events, by [`RecordKind`].
    pub pushes: Counters<{ RecordKind::ROOM }>,
    /// Pushes of ephemeral events.
    pub pushed_ephemeral: Counter,
    /// Gaps: slow readers whose pushes were dropped.
    pub gaps: Counter,
    /// Pings sent.
    pub pings: Counter,
    /// Bytes read from clients.
    pub bytes_in: Counter,
    /// Bytes written to clients.
    pub bytes_out: Counter,
    /// System calls that wait for events.
    pub polls: Counter,
    /// System calls that read sockets.
    pub reads: Counter,
    /// System calls that write sockets.
    pub writes: Counter,
    /// Wakes of the shard by mail. Each is a system call of the sender.
    pub wakes: Counter,
    /// Turns of the slow lane: reads of connections that spend much while others spend little.
    pub slow_reads: Counter,
    /// Error replies, in the order of [`ErrorCode::ALL`].
    pub errors: [Counter; ErrorCode::ALL.len()],
    /// Connections closed by the gateway, in the order of [`CLOSES`].
    pub closes: [Counter; CLOSES.len()],
    /// Hits of limits, in the order of [`Limit::ALL`].
    pub limited: Counters<{ Limit::ALL.len() }>,
    /// The cost of work for clients, in nanoseconds of a core, in the order of [`Work::ALL`].
    pub work: [Counter; Work::ALL.len()],
    /// Waits of connections for a budget of cost, in the order of [`Throttle::ALL`].
    pub throttled: [Counter; Throttle::ALL.len()],
    /// Full TLS hand-shakes.
    pub tls_full: Counter,
    /// TLS hand-shakes that resumed an earlier session.
    pub tls_resumed: Counter,
    /// TLS connections that failed, in the order of [`TlsFailure::ALL`].
    pub tls_failures: [Counter; TlsFailure::ALL.len()],
    /// Accepted and refused tokens.
    pub tokens: TokenMetrics,
}

/// The number of counters of commands: one for each command, and one for what could not be read.
const COMMANDS: usize = CommandBody::NAMES.len() + 1;

/// The close codes with counters of their own. All other codes count as 0, the last one.
pub const CLOSES: [u16; 17] = [
    1000, 1002, 1003, 1007, 1008, 1009, 3001, 3004, 3008, 3012, 3013, 3500, 3502, 3503, 3504, 3505,
    0,
];

impl ShardMetrics {
    /// Counts a hit of a limit.
    pub fn limited(&self, limit: Limit) {
        self.limited[limit as usize].one();
    }

    /// Counts a wait of a connection for a budget of cost.
    pub fn throttled(&self, of: Throttle) {
        self.throttled[of as usize].one();
    }

    /// Counts the cost of work for a client.
    pub fn worked(&self, work: Work, cost: Cost) {
        self.work[work as usize].add(cost.as_nanos().into());
    }

    /// Counts a command, or one that could not be read.
    #[inline]
    pub fn command(&self, command: Option<&CommandBody<'_>>) {
        let number = command.map_or(COMMANDS - 1, CommandBody::number);
        self.commands[number].one();
    }

    /// The counter for pushes of this kind of record.
    #[inline]
    pub fn pushed(&self, kind: RecordKind) -> &Counter {
        &self.pushes[kind as usize]
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
