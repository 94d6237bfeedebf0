//! The gateway's settings: flags, environment, file, defaults, in this order of precedence.
//!
//! `table` declares each setting once, `row` is what is declared, `form` reads and writes values.
//! `given` and `layers` collect the values of all sources, `resolve` makes a [`Config`] of them, with
//! the rules between settings in `rules` and `auth`. Every problem is kept until the end, so that one
//! run names all of them. `page` prints the reference, `example` a file with every setting.

mod auth;
mod back_ends;
pub(crate) mod cluster;
mod example;
mod form;
mod given;
mod layers;
mod media;
mod origins;
mod page;
mod problem;
mod proxies;
mod resolve;
mod routes;
mod row;
mod rules;
mod suggest;
mod table;
mod units;
mod weights;
mod written;

use std::net::SocketAddr;
use std::path::PathBuf;

use trunkline_core::hub::HubLimits;
use trunkline_core::messaging::Messaging;
use trunkline_gateway::auth::Auth;
use trunkline_gateway::limits::Limits;
use trunkline_gateway::tls::TlsFiles;
use trunkline_http::back::{Callbacks, Hooks};
use trunkline_http::server::ServerLimits;
use trunkline_http::{HttpLimits, MediaLimits, MediaPlace};

pub use cluster::Cluster;
pub use example::as_toml;
pub use given::Given;
pub use origins::{AllowedOrigin, AllowedOrigins};
pub use page::{as_json, as_markdown};
pub use problem::{ConfigError, Origin, Problem};
pub use proxies::TrustedProxies;
pub use table::Settings;
pub use units::{ByteSize, Durability, Duration, Life};
pub use weights::NamespaceWeights;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// A resolved configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address for WebSocket connections.
    pub listen: SocketAddr,
    /// The certificate and its key; `None` without TLS.
    pub tls: Option<TlsFiles>,
    /// How clients are identified: by tokens, or by the names that they choose.
    pub auth: Auth,
    /// The address of the control port.
    pub control: SocketAddr,
    /// The file with the tokens of operators; `None`: the admin API exists on a loopback address only.
    pub admin_tokens: Option<PathBuf>,
    /// The limits of the control port.
    pub control_limits: ServerLimits,
    /// The address of the client API; `None` without one.
    pub http: Option<SocketAddr>,
    /// Whether the address of the client API was given. If another program has the default address, the
    /// gateway starts without the API.
    pub http_is_given: bool,
    /// The limits of the client API.
    pub http_limits: HttpLimits,
    /// The back ends that are asked.
    pub callbacks: Callbacks,
    /// The back ends that are told.
    pub webhooks: Hooks,
    /// The file with the secret that signs requests to back ends. `None` without any.
    pub callbacks_secret: Option<PathBuf>,
    /// The place of media.
    pub media: MediaPlace,
    /// The file with the address and the credentials of a bucket.
    pub media_s3_file: Option<PathBuf>,
    /// The limits of media.
    pub media_limits: MediaLimits,
    /// The folder of the store.
    pub data: PathBuf,
    /// The number of shards. Each is a thread with an event loop.
    pub shards: usize,
    /// When a message counts as stored.
    pub durability: Durability,
    /// The most connections of the gateway.
    pub max_connections: usize,
    /// Whether somebody gave the most connections.
    pub max_connections_is_given: bool,
    /// The limits of one client.
    pub limits: Limits,
    /// The limits of presence and topics.
    pub hub: HubLimits,
    /// The settings of conversations.
    pub messaging: Messaging,
    /// How long an idempotency key is known.
    pub idempotency_window: std::time::Duration,
    /// How long the events of a user can be synced; `None`: for ever.
    pub sync_life: Option<std::time::Duration>,
    /// How long messages are kept; `None`: for ever.
    pub message_life: Option<std::time::Duration>,
    /// The bytes of the store's files that are kept in memory.
    pub store_cache: usize,
    /// The size of a segment of the log, in bytes.
    pub segment_bytes: usize,
    /// The bytes of the disk that messages leave free.
    pub store_reserve: usize,
    /// Whether the words of messages are in an index for searches.
    pub search: bool,
    /// The time after which the words of messages that are gone are gone from the index.
    pub search_purge: std::time::Duration,
    /// The cluster that the gateway is a node of; `None` if it works alone.
    pub cluster: Option<Cluster>,
    /// The most conversations whose state is kept in memory.
    pub conversation_cache: usize,
    /// The shares of namespaces in the work of the sequencer and the readers.
    pub weights: NamespaceWeights,
    /// How log lines look.
    pub log_format: LogFormat,
    /// The filter of log lines: levels and targets, such as `info` or `warn,trunkline=debug` (the
    /// syntax of `tracing_subscriber`'s `EnvFilter`).
    pub log: String,
    /// The settings with their values, from which the other fields are resolved.
    pub(crate) settings: Settings,
}

impl Config {
    /// Returns the longest record in bytes: a message with its metadata, or the states of a
    /// thousand new members of a group.
    pub(crate) fn max_record_bytes(&self) -> usize {
        /// The states of a thousand members whose inboxes are full of long names.
        const GROUP_CHANGE: usize = 8 << 20;
        let room = self.segment_bytes.saturating_sub(64 << 10);
        let message = self.limits.content.message_bytes + (64 << 10);
        message.max(room.min(GROUP_CHANGE))
    }

    /// Returns the configuration as a file of settings that resolves to it. Its paths are absolute.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let place = |name: &str| {
            let row = table::ROWS.iter().find(|row| row.name == name);
            row.and_then(row::Row::place)
        };
        for (name, value) in self.values().filter(|(name, _)| place(name).is_none()) {
            text.push_str(&format!("{name} = {value}\n"));
        }
        let is_used = |table: &&str| match *table {
            "webhooks" => !self.webhooks.is_empty(),
            _ => self.has_back_ends(),
        };
        for table in row::TABLES.into_iter().filter(is_used) {
            text.push_str(&format!("\n[{table}]\n"));
            for (name, value) in self.values() {
                if let Some((_, key)) = place(name).filter(|(of, _)| *of == table) {
                    text.push_str(&format!("{key} = {value}\n"));
                }
            }
        }
        text
    }

    /// Returns whether any back end is asked about anything, or told of anything.
    pub(crate) fn has_back_ends(&self) -> bool {
        !(self.callbacks.is_empty() && self.webhooks.is_empty())
    }

    /// Returns every setting that has a value, with the value in the form of a file.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&'static str, toml::Value)> {
        let value = |row: &row::Row| self.settings.value(row.name).map(|value| (row.name, value));
        // An empty list says what no list says.
        let is_said = |(name, _): &(&str, toml::Value)| match *name {
            "allowed_origins" => {
                let origins = self.settings.allowed_origins.as_ref();
                origins.is_some_and(|list| !list.is_empty())
            }
            "trusted_proxies" => {
                let proxies = self.settings.trusted_proxies.as_ref();
                proxies.is_some_and(|list| !list.is_empty())
            }
            _ => true,
        };
        table::ROWS.iter().filter_map(value).filter(is_said)
    }

    /// Takes the TLS files of another configuration.
    pub(crate) fn take_tls(&mut self, other: &Self) {
        self.tls.clone_from(&other.tls);
        let (own, other) = (&mut self.settings, &other.settings);
        own.tls_cert.clone_from(&other.tls_cert);
        own.tls_key.clone_from(&other.tls_key);
    }

    /// Takes the keys of another configuration, and its rules for tokens.
    pub(crate) fn take_auth(&mut self, other: &Self) {
        self.auth.clone_from(&other.auth);
        let (own, other) = (&mut self.settings, &other.settings);
        own.jwt_key.clone_from(&other.jwt_key);
        own.jwt_algorithm.clone_from(&other.jwt_algorithm);
        own.jwks.clone_from(&other.jwks);
        own.jwt_audience.clone_from(&other.jwt_audience);
        own.jwt_issuer.clone_from(&other.jwt_issuer);
        own.jwt_leeway.clone_from(&other.jwt_leeway);
    }

    /// Takes the secret of back ends of another configuration.
    pub(crate) fn take_secret(&mut self, other: &Self) {
        self.callbacks_secret.clone_from(&other.callbacks_secret);
        let (own, other) = (&mut self.settings, &other.settings);
        own.callbacks_secret_file
            .clone_from(&other.callbacks_secret_file);
    }

    /// Takes the trusted proxies of another configuration: the running gateway has the same ones.
    pub(crate) fn take_proxies(&mut self, other: &Self) {
        self.limits.proxies.set(other.limits.proxies.now());
        let (own, other) = (&mut self.settings, &other.settings);
        own.trusted_proxies.clone_from(&other.trusted_proxies);
        own.proxy_header.clone_from(&other.proxy_header);
    }

    /// Takes the file of admin tokens of another configuration.
    pub(crate) fn take_admin_tokens(&mut self, other: &Self) {
        self.admin_tokens.clone_from(&other.admin_tokens);
        let (own, other) = (&mut self.settings, &other.settings);
        own.admin_tokens.clone_from(&other.admin_tokens);
    }

    /// Takes the filter of the log of another configuration.
    pub(crate) fn take_log(&mut self, other: &Self) {
        self.log.clone_from(&other.log);
        self.settings.log.clone_from(&other.settings.log);
    }

    /// Makes the configuration from the text of a file of settings, without flags and environment.
    /// Relative paths begin at the working directory.
    ///
    /// # Errors
    /// Settings cannot work: the error names all that are wrong.
    pub fn of_text(text: &str) -> Result<Self, ConfigError> {
        let mut layers = layers::Layers::default();
        layers.add_text(text, "the settings".as_ref(), "".as_ref());
        resolve::resolve(layers)
    }
}

/// Returns whether SIGHUP puts a new value of a setting into effect.
pub(crate) fn is_reloaded(setting: &str) -> bool {
    let row = table::ROWS.iter().find(|row| row.name == setting);
    row.is_some_and(|row| row.is_reloaded)
}
