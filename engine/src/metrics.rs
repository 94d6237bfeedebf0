//! Counters of the gateway, and their Prometheus text.
//!
//! Each counter has one writing thread, so counting is a plain load and store; whoever asks for
//! the text sums over the shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam::utils::CachePadded;
use trunkline_proto::ErrorCode;

use crate::event::Kind;
use crate::tls::Acceptor;

mod control;
mod form;
mod limit;
mod store;
mod text;
mod tls;
mod tokens;
pub(crate) use control::ControlMetrics;
pub(crate) use form::Form;
pub(crate) use limit::Limit;
pub(crate) use text::Exporter;
pub(crate) use tls::{TlsFailure, TlsMetrics};
pub(crate) use tokens::{KeyMetrics, TokenMetrics};

/// A number that one thread changes and any thread reads.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What one shard counts.
#[derive(Debug, Default)]
pub(crate) struct ShardMetrics {
    /// Open TCP connections.
    pub(crate) connections: Counter,
    /// Open sessions: connections after `connect`.
    pub(crate) sessions: Counter,
    /// Connections without a session.
    pub(crate) opening: Counter,
    /// Bytes that connections hold, of what they have not read or not finished.
    pub(crate) held_bytes: Counter,
    pub(crate) accepted: Counter,
    /// Connections turned away because of a connection or descriptor limit.
    pub(crate) refused: Counter,
    /// Requests that were no upgrade of ours.
    pub(crate) rejected_handshakes: Counter,
    pub(crate) commands: Counter,
    /// Replies to `send`.
    pub(crate) acks: Counter,
    pub(crate) pushed_messages: Counter,
    pub(crate) pushed_receipts: Counter,
    /// Recalls, reactions, changes of groups and what else is stored.
    pub(crate) pushed_others: Counter,
    /// Pushes of what is not stored.
    pub(crate) pushed_passing: Counter,
    pub(crate) gaps: Counter,
    /// Pings sent.
    pub(crate) pings: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    /// System calls: waits for events, reads and writes of sockets.
    pub(crate) polls: Counter,
    pub(crate) reads: Counter,
    pub(crate) writes: Counter,
    /// Times that mail woke the shard, a system call of the sender.
    pub(crate) wakes: Counter,
    /// Error replies, in the order of [`ErrorCode::ALL`].
    pub(crate) errors: [Counter; ErrorCode::ALL.len()],
    /// Connections closed by the gateway, in the order of [`CLOSES`].
    pub(crate) closes: [Counter; CLOSES.len()],
    /// What went over a limit, in the order of [`Limit::ALL`].
    pub(crate) limited: [Counter; Limit::ALL.len()],
    /// TLS hand-shakes from the beginning, and those that resumed an earlier session.
    pub(crate) tls_full: Counter,
    pub(crate) tls_resumed: Counter,
    /// TLS connections that failed, in the order of [`TlsFailure::ALL`].
    pub(crate) tls_failures: [Counter; TlsFailure::ALL.len()],
    pub(crate) tokens: TokenMetrics,
}

/// The close codes that are counted apart; others count as the last, 0.
pub(crate) const CLOSES: [u16; 16] = [
    1000, 1002, 1003, 1007, 1008, 1009, 3001, 3004, 3008, 3012, 3013, 3500, 3502, 3504, 3505, 0,
];

impl ShardMetrics {
    pub(crate) fn limited(&self, limit: Limit) {
        self.limited[limit as usize].one();
    }

    /// The counter of pushes of this kind.
    pub(crate) fn pushed(&self, kind: Kind) -> &Counter {
        match kind {
            Kind::Message => &self.pushed_messages,
            Kind::Receipt => &self.pushed_receipts,
            _ => &self.pushed_others,
        }
    }

    pub(crate) fn tls_failed(&self, failure: TlsFailure) {
        self.tls_failures[failure as usize].one();
    }

    pub(crate) fn error(&self, code: ErrorCode) {
        if let Some(i) = ErrorCode::ALL.iter().position(|&c| c == code) {
            self.errors[i].one();
        }
    }

    pub(crate) fn close(&self, code: u16) {
        let i = CLOSES
            .iter()
            .position(|&c| c == code)
            .unwrap_or(CLOSES.len() - 1);
        self.closes[i].one();
    }
}

/// What the sequencer counts.
#[derive(Debug, Default)]
pub(crate) struct SequencerMetrics {
    /// Messages stored.
    pub(crate) messages: Counter,
    /// Receipts stored.
    pub(crate) receipts: Counter,
    /// Members whose marks they moved.
    pub(crate) receipt_marks: Counter,
    /// Acknowledgements that they are made of.
    pub(crate) receipt_acks: Counter,
    /// Acknowledgements that wait to become receipts.
    pub(crate) receipts_held: Counter,
    /// Sends answered from an earlier one with the same idempotency key.
    pub(crate) duplicates: Counter,
    /// Commands answered with an error.
    pub(crate) failed: Counter,
    /// Conversations held in memory.
    pub(crate) conversations: Counter,
    /// Users of whom was stored when they were last seen.
    pub(crate) last_seen: Counter,
    /// Leaps of the system clock.
    pub(crate) clock_leaps: Counter,
    /// Seconds that the store's time is behind the system clock.
    pub(crate) clock_behind: Counter,
    /// Times a shard's mailbox was full and the sequencer waited.
    pub(crate) mailbox_waits: Counter,
}

/// Everything counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) shards: Vec<CachePadded<Arc<ShardMetrics>>>,
    pub(crate) sequencer: Arc<SequencerMetrics>,
    pub(crate) tls: Arc<TlsMetrics>,
    pub(crate) keys: Arc<KeyMetrics>,
    pub(crate) control: Arc<ControlMetrics>,
    pub(crate) config: ConfigMetrics,
    acceptor: Option<Arc<Acceptor>>,
}

/// Readings of the configuration file while the gateway runs: by the thread that reads it.
#[derive(Debug, Default)]
pub(crate) struct ConfigMetrics {
    /// Times that it could be used.
    pub(crate) reloaded: Counter,
    /// Times that it could not.
    pub(crate) reload_failed: Counter,
}

impl Metrics {
    /// Of so many shards; `acceptor` is what knows the certificate, where there is one.
    pub(crate) fn new(shards: usize, acceptor: Option<Arc<Acceptor>>) -> Self {
        Self {
            acceptor,
            shards: (0..shards).map(|_| CachePadded::default()).collect(),
            sequencer: Arc::default(),
            tls: Arc::default(),
            keys: Arc::default(),
            control: Arc::default(),
            config: ConfigMetrics::default(),
        }
    }

    /// Open connections of all shards.
    pub(crate) fn connections(&self) -> usize {
        usize::try_from(self.sum(|shard| &shard.connections)).unwrap_or(usize::MAX)
    }

    fn sum(&self, of: impl Fn(&ShardMetrics) -> &Counter) -> u64 {
        self.shards.iter().map(|shard| of(shard).get()).sum()
    }
}
