//! The counters of the gateway, and their Prometheus text.
//!
//! Each counter has one writing thread, so counting is a plain load and store. The text has
//! the sums over the shards.

use std::sync::{Arc, OnceLock};

use crossbeam::utils::CachePadded;
use trunkline_cluster::member::Status;
use trunkline_core::clock::system_ms;
use trunkline_core::indexing::IndexMetrics;
use trunkline_core::metrics::{Counter, SequencerMetrics};
use trunkline_gateway::metrics::{KeyMetrics, PushBytes, ShardMetrics, TlsMetrics};
use trunkline_gateway::shard::descriptors::Tables;
use trunkline_gateway::tls::Acceptor;
use trunkline_http::HttpMetrics;
use trunkline_http::admin::AdminMetrics;
use trunkline_http::back::{Back, BackMetrics};
use trunkline_http::server::ServerMetrics;

mod admin;
mod back;
mod backup;
mod cluster;
mod families;
mod form;
mod http;
mod process;
mod search;
mod store;
mod text;
pub(crate) use backup::BackupMetrics;
pub(crate) use form::Form;
pub(crate) use process::{Process, Threads};
pub(crate) use text::Exporter;

/// All counters of the gateway.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) shards: Vec<CachePadded<Arc<ShardMetrics>>>,
    /// The ephemeral pushes that shards share.
    pub(crate) pushes: Arc<PushBytes>,
    pub(crate) sequencer: Arc<SequencerMetrics>,
    pub(crate) tls: Arc<TlsMetrics>,
    pub(crate) keys: Arc<KeyMetrics>,
    pub(crate) control: Arc<ServerMetrics>,
    pub(crate) admin: Arc<AdminMetrics>,
    pub(crate) http: Arc<HttpMetrics>,
    /// What the client API counts as shards do. It is among the sums of the shards.
    pub(crate) guests: Arc<ShardMetrics>,
    /// What questions to back ends came to. All are 0 without any.
    pub(crate) back: Arc<BackMetrics>,
    /// The counters of the index for searches. All are 0 without one.
    pub(crate) search: Arc<IndexMetrics>,
    pub(crate) backups: Arc<BackupMetrics>,
    pub(crate) config: ConfigMetrics,
    /// What is known of the gateway as a node of a cluster; empty if it works alone.
    pub(crate) node: OnceLock<Arc<Status>>,
    /// The free space of the disk of the store, in bytes: by the thread that watches the store.
    pub(crate) free: Arc<Counter>,
    /// The time at which the gateway started, in seconds since 1970.
    started: u64,
    descriptors: Descriptors,
    acceptor: Option<Arc<Acceptor>>,
}

/// Readings of the configuration file while the gateway runs: by the thread that reads it.
#[derive(Debug, Default)]
pub(crate) struct ConfigMetrics {
    /// The number of readings with a usable file.
    pub(crate) reloaded: Counter,
    /// The number of readings with a file that could not be used.
    pub(crate) reload_failed: Counter,
}

/// What the metrics of a gateway are made from.
pub(crate) struct Measured<'a> {
    /// The number of shards.
    pub(crate) shards: usize,
    /// The descriptor tables.
    pub(crate) tables: &'a Tables,
    /// The certificate; `None` without TLS.
    pub(crate) acceptor: Option<Arc<Acceptor>>,
    /// The back ends; `None` without any.
    pub(crate) back: Option<&'a Back>,
    /// The free space of the disk of the store, in bytes.
    pub(crate) free: Arc<Counter>,
}

/// The descriptor tables of the process.
#[derive(Debug, Clone, Copy)]
struct Descriptors {
    /// The most descriptors of one table.
    limit: u64,
    /// Each shard has a table of its own, beside that of the process.
    private: bool,
    shards: usize,
}

impl Descriptors {
    /// Returns the most descriptors of all tables.
    const fn most(self) -> u64 {
        let tables = if self.private { self.shards as u64 } else { 0 };
        self.limit.saturating_mul(tables + 1)
    }
}

impl Metrics {
    /// Returns the counters of a gateway.
    pub(crate) fn new(measured: Measured<'_>) -> Self {
        let Measured {
            shards,
            tables,
            acceptor,
            back,
            free,
        } = measured;
        Self {
            acceptor,
            free,
            started: system_ms() / 1_000,
            descriptors: Descriptors {
                limit: tables.limit,
                private: tables.private,
                shards,
            },
            shards: (0..shards).map(|_| CachePadded::default()).collect(),
            pushes: Arc::default(),
            sequencer: Arc::default(),
            tls: Arc::default(),
            keys: Arc::default(),
            control: Arc::default(),
            admin: Arc::default(),
            http: Arc::default(),
            guests: Arc::default(),
            back: back.map(Back::metrics).unwrap_or_default(),
            search: Arc::default(),
            backups: Arc::default(),
            config: ConfigMetrics::default(),
            node: OnceLock::new(),
        }
    }

    /// Returns the same with the counters of an index for searches.
    pub(crate) fn with_index(self, index: &Arc<IndexMetrics>) -> Self {
        let search = Arc::clone(index);
        Self { search, ..self }
    }

    /// Returns the number of open connections of all shards.
    pub(crate) fn connections(&self) -> usize {
        usize::try_from(self.sum(|shard| &shard.connections)).unwrap_or(usize::MAX)
    }

    /// Returns the bytes that are held for connections. What several shards share counts once.
    pub(crate) fn held(&self) -> u64 {
        let alone = |shard: &ShardMetrics| {
            let held = shard.held_bytes.get();
            held.saturating_sub(shard.held_pushes.get())
        };
        self.total(alone) + self.pushes.get()
    }

    /// Returns the sum of a counter over the shards and the client API.
    pub(crate) fn sum(&self, of: impl Fn(&ShardMetrics) -> &Counter) -> u64 {
        self.total(|shard| of(shard).get())
    }

    /// Returns the sum of a number of all shards and of the client API.
    pub(crate) fn total(&self, of: impl Fn(&ShardMetrics) -> u64) -> u64 {
        let shards: u64 = self.shards.iter().map(|shard| of(shard)).sum();
        shards + of(&self.guests)
    }
}
