//! The gateway's settings: flags, environment, file, defaults, in this order of precedence.

mod auth;
mod limits;
mod messaging;
mod origins;
mod settings;
mod units;

use std::net::SocketAddr;
use std::path::PathBuf;

use trunkline_core::hub::HubLimits;
use trunkline_core::messaging::Messaging;
use trunkline_gateway::auth::Auth;
use trunkline_gateway::limits::Limits;
use trunkline_gateway::tls::TlsFiles;

pub use origins::{AllowedOrigin, AllowedOrigins};
pub use settings::Settings;
pub use units::{ByteSize, Durability, Duration, Life};

/// How log lines look.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    clap::ValueEnum,
    serde::Deserialize,
    serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object per line.
    Json,
}

/// A resolved configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where WebSockets connect.
    pub listen: SocketAddr,
    /// WebSockets connect with TLS.
    pub tls: Option<TlsFiles>,
    /// Who clients are.
    pub auth: Auth,
    /// Where HTTP is served.
    pub control: SocketAddr,
    /// What the clients of that port may hold.
    pub control_limits: ControlLimits,
    /// The store's folder.
    pub data: PathBuf,
    /// Event loops, each a thread.
    pub shards: usize,
    /// When a message counts as stored.
    pub durability: Durability,
    /// Most connections in all.
    pub max_connections: usize,
    /// What one client may do.
    pub limits: Limits,
    /// What presence and topics may take.
    pub hub: HubLimits,
    /// How conversations work.
    pub messaging: Messaging,
    /// How long an idempotency key is known.
    pub idempotency_window: std::time::Duration,
    /// How long the events of a user can be synced; `None`: for ever.
    pub sync_life: Option<std::time::Duration>,
    /// How long messages are kept; `None`: for ever.
    pub message_life: Option<std::time::Duration>,
    /// Bytes of the store's files that are kept in memory.
    pub store_cache: usize,
    /// Size of the store's log files.
    pub segment_bytes: usize,
    /// Bytes of the disk that messages leave free.
    pub store_reserve: usize,
    /// Most conversations whose state is kept in memory.
    pub conversation_cache: usize,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines are written (the syntax of `tracing_subscriber`'s `EnvFilter`).
    pub log: String,
}

/// Limits of the control port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlLimits {
    /// Connections at a time; beyond it the oldest silent one is dropped.
    pub connections: usize,
    /// For a request, from connecting or from the request before, and for taking its answer.
    pub timeout: std::time::Duration,
}

/// Settings that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML, has an unknown key or a value out of range; the text says where.
    #[error("{}: {error}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong, with line and column.
        error: Box<toml::de::Error>,
    },
    /// The file is text of another form.
    #[error("{}: {problem}", file.display())]
    NotText {
        /// The file.
        file: PathBuf,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// A setting has a value that cannot work.
    #[error("{setting}: {problem}")]
    Value {
        /// The setting, as it is named in the file.
        setting: &'static str,
        /// What is wrong and how to mend it.
        problem: String,
    },
}

impl ConfigError {
    /// The error in one line, as the log has it.
    pub(crate) fn one_line(&self) -> String {
        match self {
            Self::File { file, error } => {
                let shown = error.to_string();
                let place = shown.lines().next().unwrap_or_default();
                let message = error.message().replace('\n', "; ");
                // The line that it is about, as the error shows it under its number.
                let line = shown.lines().nth(2).and_then(|line| line.split_once("| "));
                let line = line.map_or("", |(_, line)| line.trim());
                format!("{}: {place}: {message}: {line}", file.display())
            }
            other => other.to_string(),
        }
    }
}
