//! What can be set, by flag, environment or file.

mod file;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde::{Deserialize, Serialize};
use trunkline_core::directory::MAX_SHARDS;
use trunkline_core::sequencer::MIN_CONVERSATIONS;
use trunkline_gateway::auth::TokenAlgorithm;
use trunkline_gateway::files;
use trunkline_gateway::tls::TlsFiles;

use super::units::{ByteSize, Durability, Duration, Life};
use super::{
    AllowedOrigins, Config, ConfigError, ControlLimits, LogFormat, auth, limits, messaging,
};

/// The settings of one source; what is missing is looked for in the next.
///
/// In the file a setting has the flag's name with underscores; in the environment that in
/// capitals behind `TRUNKLINE_`.
#[derive(Debug, Clone, Default, clap::Args, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address for WebSockets; port 0 picks a free one [default: 127.0.0.1:7700]
    #[arg(long, env = "TRUNKLINE_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Certificate for TLS, and behind it those up to the root, as PEM: WebSockets then connect with
    /// wss://; SIGHUP has it and the key read again
    #[arg(long, env = "TRUNKLINE_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, as PEM: PKCS#8, SEC1 or PKCS#1
    #[arg(long, env = "TRUNKLINE_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Address for HTTP: health, metrics; port 0 picks a free one [default: 127.0.0.1:7701]
    #[arg(long, env = "TRUNKLINE_CONTROL", value_name = "ADDR")]
    pub control: Option<SocketAddr>,
    /// Most connections to the control port; one more takes the place of the oldest silent one
    /// [default: 64]
    #[arg(long, env = "TRUNKLINE_CONTROL_CONNECTIONS", value_name = "N")]
    pub control_connections: Option<usize>,
    /// Time for a request to the control port, from connecting or from the request before, and for
    /// taking its answer [default: 10s]
    #[arg(long, env = "TRUNKLINE_CONTROL_TIMEOUT", value_name = "TIME")]
    pub control_timeout: Option<Duration>,
    /// Web pages that may connect, beside those of the gateway's own host: a list such as
    /// `https://chat.example.com,https://example.com:8443`, or `*` for any page and any Host; with
    /// --dev-auth pages of this machine may too
    #[arg(long, env = "TRUNKLINE_ALLOWED_ORIGINS", value_name = "LIST")]
    pub allowed_origins: Option<AllowedOrigins>,
    /// Folder of the store, made where it is missing [default: trunkline-data]
    #[arg(long, env = "TRUNKLINE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Event loops, each with a thread [default: one per core]
    #[arg(long, env = "TRUNKLINE_SHARDS", value_name = "N")]
    pub shards: Option<usize>,
    /// When a message counts as stored: sync, `interval:<ms>` or os [default: sync]
    #[arg(long, env = "TRUNKLINE_DURABILITY", value_name = "LEVEL")]
    pub durability: Option<Durability>,
    /// Let clients name themselves: for development, on loopback addresses only
    #[arg(long, env = "TRUNKLINE_DEV_AUTH", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub dev_auth: Option<bool>,
    /// What clients' tokens (JWT) are signed with: a public key as PEM, or with --jwt-algorithm=HS256
    /// the bytes of a secret; SIGHUP has it read again
    #[arg(long, env = "TRUNKLINE_JWT_KEY", value_name = "FILE")]
    pub jwt_key: Option<PathBuf>,
    /// What they are signed with, where the key does not say so
    #[arg(long, env = "TRUNKLINE_JWT_ALGORITHM", value_name = "NAME", value_parser = token_algorithm())]
    pub jwt_algorithm: Option<TokenAlgorithm>,
    /// The same as a set of keys (JWKS), of which tokens name one by `kid`; SIGHUP has it read again
    #[arg(long, env = "TRUNKLINE_JWKS", value_name = "FILE")]
    pub jwks: Option<PathBuf>,
    /// The audience (`aud`) that tokens have to name
    #[arg(long, env = "TRUNKLINE_JWT_AUDIENCE", value_name = "TEXT")]
    pub jwt_audience: Option<String>,
    /// The issuer (`iss`) that tokens have to name
    #[arg(long, env = "TRUNKLINE_JWT_ISSUER", value_name = "TEXT")]
    pub jwt_issuer: Option<String>,
    /// How much clocks may differ, for `exp` and `nbf` of tokens [default: 5s]
    #[arg(long, env = "TRUNKLINE_JWT_LEEWAY", value_name = "TIME")]
    pub jwt_leeway: Option<Duration>,
    /// Longest token [default: 4KiB]
    #[arg(long, env = "TRUNKLINE_TOKEN_BYTES", value_name = "SIZE")]
    pub token_bytes: Option<ByteSize>,
    /// Most topic patterns of a token [default: 100]
    #[arg(long, env = "TRUNKLINE_TOKEN_TOPICS", value_name = "N")]
    pub token_topics: Option<usize>,
    /// Most connections in all [default: 100000]
    #[arg(long, env = "TRUNKLINE_MAX_CONNECTIONS", value_name = "N")]
    pub max_connections: Option<usize>,
    /// Longest WebSocket message [default: 1MiB]
    #[arg(long, env = "TRUNKLINE_MESSAGE_BYTES", value_name = "SIZE")]
    pub message_bytes: Option<ByteSize>,
    /// Longest text of a message [default: 64KiB, or message-bytes if that is less]
    #[arg(long, env = "TRUNKLINE_TEXT_BYTES", value_name = "SIZE")]
    pub text_bytes: Option<ByteSize>,
    /// Longest idempotency key [default: 128B]
    #[arg(long, env = "TRUNKLINE_KEY_BYTES", value_name = "SIZE")]
    pub key_bytes: Option<ByteSize>,
    /// What may wait for one connection before live pushes are dropped [default: 1MiB]
    #[arg(long, env = "TRUNKLINE_OUTBOX_BYTES", value_name = "SIZE")]
    pub outbox_bytes: Option<ByteSize>,
    /// What a connection may have waiting when the store is asked for its next answer
    /// [default: 1MiB]
    #[arg(long, env = "TRUNKLINE_ANSWER_BYTES", value_name = "SIZE")]
    pub answer_bytes: Option<ByteSize>,
    /// Most connections of one address, an IPv6 /64 network counting as one; 0 for any number
    /// [default: 10000; 0 with dev-auth]
    #[arg(long, env = "TRUNKLINE_CONNECTIONS_PER_ADDRESS", value_name = "N")]
    pub connections_per_address: Option<u32>,
    /// Most sessions of one user, 0 for any number [default: 32; 0 with dev-auth]
    #[arg(long, env = "TRUNKLINE_CONNECTIONS_PER_USER", value_name = "N")]
    pub connections_per_user: Option<u32>,
    /// Most connections of a shard that have no session yet [default: 16384]
    #[arg(long, env = "TRUNKLINE_MAX_OPENING", value_name = "N")]
    pub max_opening: Option<usize>,
    /// Most connections that a turn of a shard accepts, and reads of those without a session
    /// [default: 64]
    #[arg(long, env = "TRUNKLINE_NEWCOMERS_PER_TURN", value_name = "N")]
    pub newcomers_per_turn: Option<usize>,
    /// Most sessions of a shard that read at the same time what they missed [default: 1024]
    #[arg(long, env = "TRUNKLINE_MAX_RECOVERING", value_name = "N")]
    pub max_recovering: Option<usize>,
    /// What connections of a shard may hold together, unread and unfinished [default: 256MiB]
    #[arg(long, env = "TRUNKLINE_SHARD_BUFFER_BYTES", value_name = "SIZE")]
    pub shard_buffer_bytes: Option<ByteSize>,
    /// Longest upgrade request [default: 8KiB]
    #[arg(long, env = "TRUNKLINE_HEADER_BYTES", value_name = "SIZE")]
    pub header_bytes: Option<ByteSize>,
    /// Most commands of one frame [default: 1024]
    #[arg(long, env = "TRUNKLINE_FRAME_COMMANDS", value_name = "N")]
    pub frame_commands: Option<usize>,
    /// Most pages that a connection may wait for at the same time [default: 32]
    #[arg(long, env = "TRUNKLINE_MAX_PAGES", value_name = "N")]
    pub max_pages: Option<u8>,
    /// Messages a connection may send per second, 0 for any number [default: 100; 0 with dev-auth]
    #[arg(long, env = "TRUNKLINE_RATE_MESSAGES", value_name = "N")]
    pub rate_messages: Option<u32>,
    /// Bytes a connection may send per second, 0B for any number [default: 1MiB; 0B with dev-auth]
    #[arg(long, env = "TRUNKLINE_RATE_BYTES", value_name = "SIZE")]
    pub rate_bytes: Option<ByteSize>,
    /// Commands a connection may send per second, 0 for any number [default: 500; 0 with dev-auth]
    #[arg(long, env = "TRUNKLINE_RATE_COMMANDS", value_name = "N")]
    pub rate_commands: Option<u32>,
    /// Messages all connections of a user may send per second [default: twice rate-messages]
    #[arg(long, env = "TRUNKLINE_USER_RATE_MESSAGES", value_name = "N")]
    pub user_rate_messages: Option<u32>,
    /// Bytes all connections of a user may send per second [default: twice rate-bytes]
    #[arg(long, env = "TRUNKLINE_USER_RATE_BYTES", value_name = "SIZE")]
    pub user_rate_bytes: Option<ByteSize>,
    /// Commands all connections of a user may send per second [default: twice rate-commands]
    #[arg(long, env = "TRUNKLINE_USER_RATE_COMMANDS", value_name = "N")]
    pub user_rate_commands: Option<u32>,
    /// How much of each rate a client may save up while it is silent [default: 10s]
    #[arg(long, env = "TRUNKLINE_RATE_BURST", value_name = "TIME")]
    pub rate_burst: Option<Duration>,
    /// Pings and pongs a connection may send within a second [default: 200]
    #[arg(long, env = "TRUNKLINE_CONTROL_FRAMES", value_name = "N")]
    pub control_frames: Option<u16>,
    /// Time for a WebSocket message, from its first byte to its last [default: 2m]
    #[arg(long, env = "TRUNKLINE_MESSAGE_TIMEOUT", value_name = "TIME")]
    pub message_timeout: Option<Duration>,
    /// Time for the HTTP upgrade [default: 10s]
    #[arg(long, env = "TRUNKLINE_HANDSHAKE_TIMEOUT", value_name = "TIME")]
    pub handshake_timeout: Option<Duration>,
    /// Time for `connect` after the upgrade [default: 10s]
    #[arg(long, env = "TRUNKLINE_CONNECT_TIMEOUT", value_name = "TIME")]
    pub connect_timeout: Option<Duration>,
    /// Silence after which a client is pinged [default: 25s]
    #[arg(long, env = "TRUNKLINE_PING_INTERVAL", value_name = "TIME")]
    pub ping_interval: Option<Duration>,
    /// Time for the answer to a ping [default: 10s]
    #[arg(long, env = "TRUNKLINE_PONG_TIMEOUT", value_name = "TIME")]
    pub pong_timeout: Option<Duration>,
    /// How long a client may read nothing of what waits for it [default: 30s]
    #[arg(long, env = "TRUNKLINE_WRITE_TIMEOUT", value_name = "TIME")]
    pub write_timeout: Option<Duration>,
    /// Sessions that this gateway takes in within a second: clients told to reconnect spread over
    /// as long as all of them take [default: 10000]
    #[arg(long, env = "TRUNKLINE_RECONNECT_RATE", value_name = "N")]
    pub reconnect_rate: Option<u32>,
    /// The longest time that clients told to reconnect spread over [default: 30s]
    #[arg(long, env = "TRUNKLINE_RECONNECT_DELAY", value_name = "TIME")]
    pub reconnect_delay: Option<Duration>,
    /// How long stopping may take before connections are dropped [default: 20s]
    #[arg(long, env = "TRUNKLINE_DRAIN_TIMEOUT", value_name = "TIME")]
    pub drain_timeout: Option<Duration>,
    /// When stopping, clients are told one after another over this time [default: 2s]
    #[arg(long, env = "TRUNKLINE_DRAIN_WINDOW", value_name = "TIME")]
    pub drain_window: Option<Duration>,
    /// Members of a group up to which events enter every member's timeline [default: 200]
    #[arg(long, env = "TRUNKLINE_FANOUT_LIMIT", value_name = "N")]
    pub fanout_limit: Option<usize>,
    /// Members of a group up to which whoever wrote a message is told of the others' receipts; at
    /// most 64 [default: 16]
    #[arg(long, env = "TRUNKLINE_RECEIPT_FANOUT", value_name = "N")]
    pub receipt_fanout: Option<usize>,
    /// How long receipts wait for others of their conversation, to be stored and told together; 0 to
    /// store each at once [default: 250ms]
    #[arg(long, env = "TRUNKLINE_RECEIPT_DELAY", value_name = "TIME")]
    pub receipt_delay: Option<Duration>,
    /// The same of receipts that say only that something was delivered [default: 2s, or 8 times
    /// receipt-delay if that is given]
    #[arg(long, env = "TRUNKLINE_DELIVERED_DELAY", value_name = "TIME")]
    pub delivered_delay: Option<Duration>,
    /// Members of one group; beyond it 106 [default: 200000]
    #[arg(long, env = "TRUNKLINE_GROUP_MEMBERS", value_name = "N")]
    pub group_members: Option<usize>,
    /// Members may add members, not only owners
    #[arg(long, env = "TRUNKLINE_MEMBERS_ADD", num_args = 0..=1, default_missing_value = "true")]
    pub members_add: Option<bool>,
    /// How long a sender can recall a message; after it 114 [default: 1d]
    #[arg(long, env = "TRUNKLINE_RECALL_WINDOW", value_name = "TIME")]
    pub recall_window: Option<Duration>,
    /// Members of groups that are kept in memory [default: 2000000]
    #[arg(long, env = "TRUNKLINE_GROUP_CACHE", value_name = "N")]
    pub group_cache: Option<usize>,
    /// Who comes back within this time was never offline, to those who watch [default: 10s]
    #[arg(long, env = "TRUNKLINE_PRESENCE_GRACE", value_name = "TIME")]
    pub presence_grace: Option<Duration>,
    /// Most users whose presence a connection watches [default: 1000]
    #[arg(long, env = "TRUNKLINE_MAX_WATCHES", value_name = "N")]
    pub max_watches: Option<usize>,
    /// Most users of whom memory has when they were last seen, about 60 bytes each
    /// [default: 100000]
    #[arg(long, env = "TRUNKLINE_LAST_SEEN_CACHE", value_name = "N")]
    pub last_seen_cache: Option<usize>,
    /// How often it is stored when users were last seen, of those who left [default: 5s]
    #[arg(long, env = "TRUNKLINE_LAST_SEEN_INTERVAL", value_name = "TIME")]
    pub last_seen_interval: Option<Duration>,
    /// Users in a second of whom that is stored, about 27 bytes each; 0 stores nothing
    /// [default: 20000]
    #[arg(long, env = "TRUNKLINE_LAST_SEEN_RATE", value_name = "N")]
    pub last_seen_rate: Option<u32>,
    /// Most topics that a connection is subscribed to [default: 100]
    #[arg(long, env = "TRUNKLINE_MAX_SUBSCRIPTIONS", value_name = "N")]
    pub max_subscriptions: Option<usize>,
    /// Most watches and subscriptions of all connections of a shard [default: 1048576]
    #[arg(long, env = "TRUNKLINE_MAX_LISTENINGS", value_name = "N")]
    pub max_listenings: Option<usize>,
    /// Most topics in all [default: 100000]
    #[arg(long, env = "TRUNKLINE_MAX_TOPICS", value_name = "N")]
    pub max_topics: Option<usize>,
    /// Most publications of a topic that are kept for `since`, 0 for none [default: 100]
    #[arg(long, env = "TRUNKLINE_TOPIC_HISTORY", value_name = "N")]
    pub topic_history: Option<usize>,
    /// What is kept of a topic's publications, in both encodings [default: 1MiB]
    #[arg(long, env = "TRUNKLINE_TOPIC_BYTES", value_name = "SIZE")]
    pub topic_bytes: Option<ByteSize>,
    /// What is kept of all topics' publications [default: 64MiB]
    #[arg(long, env = "TRUNKLINE_TOPICS_BYTES", value_name = "SIZE")]
    pub topics_bytes: Option<ByteSize>,
    /// How long an idempotency key is known [default: 24h]
    #[arg(long, env = "TRUNKLINE_IDEMPOTENCY_WINDOW", value_name = "TIME")]
    pub idempotency_window: Option<Duration>,
    /// How long a user can sync events; older positions get error 112 [default: 30d]
    #[arg(long, env = "TRUNKLINE_SYNC_LIFE", value_name = "TIME|keep")]
    pub sync_life: Option<Life>,
    /// How long messages stay in histories [default: keep]
    #[arg(long, env = "TRUNKLINE_MESSAGE_LIFE", value_name = "TIME|keep")]
    pub message_life: Option<Life>,
    /// How much of the store's files is kept in memory [default: 64MiB]
    #[arg(long, env = "TRUNKLINE_STORE_CACHE", value_name = "SIZE")]
    pub store_cache: Option<ByteSize>,
    /// Size of the store's log files; one must hold the longest message [default: 64MiB]
    #[arg(long, env = "TRUNKLINE_SEGMENT_BYTES", value_name = "SIZE")]
    pub segment_bytes: Option<ByteSize>,
    /// Disk space that messages leave free for the store's upkeep; beyond it 116 [default: 256MiB]
    #[arg(long, env = "TRUNKLINE_STORE_RESERVE", value_name = "SIZE")]
    pub store_reserve: Option<ByteSize>,
    /// Most conversations whose state is kept in memory, about 100 bytes each [default: 500000]
    #[arg(long, env = "TRUNKLINE_CONVERSATION_CACHE", value_name = "N")]
    pub conversation_cache: Option<usize>,
    /// How log lines look [default: text]
    #[arg(long, env = "TRUNKLINE_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Which log lines are written, such as info or trunkline=debug [default: info]
    #[arg(long, env = "TRUNKLINE_LOG", value_name = "FILTER")]
    pub log: Option<String>,
}

const DAY: std::time::Duration = std::time::Duration::from_hours(24);

pub(super) fn value(setting: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Value {
        setting,
        problem: problem.into(),
    }
}

/// A time: the flag's, the file's, or so many seconds.
pub(super) fn time(
    flag: Option<Duration>,
    file: Option<Duration>,
    seconds: u64,
) -> std::time::Duration {
    flag.or(file)
        .map_or(std::time::Duration::from_secs(seconds), |time| time.0)
}

/// A size: the flag's, the file's, or so many bytes.
pub(super) fn size(flag: Option<ByteSize>, file: Option<ByteSize>, bytes: usize) -> usize {
    flag.or(file)
        .map_or(bytes, |size| usize::try_from(size.0).unwrap_or(usize::MAX))
}

/// The algorithms that tokens may be signed with, by their names.
fn token_algorithm() -> impl TypedValueParser<Value = TokenAlgorithm> {
    let known = TokenAlgorithm::ALL.map(|algorithm| {
        let help = match algorithm {
            TokenAlgorithm::HS256 => "HMAC with SHA-256: who can check tokens can make them",
            TokenAlgorithm::RS256 => "RSA (PKCS#1 v1.5) with SHA-256",
            TokenAlgorithm::ES256 => "ECDSA on P-256 with SHA-256",
            TokenAlgorithm::EdDSA => "Ed25519",
        };
        PossibleValue::new(algorithm.name()).help(help)
    });
    PossibleValuesParser::new(known).try_map(|name| {
        let all = TokenAlgorithm::ALL.into_iter();
        let mut named = all.filter(|algorithm| algorithm.name() == name);
        named.next().ok_or("no algorithm for tokens")
    })
}

/// Both files or none.
fn tls_files(cert: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<TlsFiles>, ConfigError> {
    match (cert, key) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key })),
        (Some(_), None) => Err(value(
            "tls_key",
            "missing: give --tls-key FILE with the private key of --tls-cert",
        )),
        (None, Some(_)) => Err(value(
            "tls_cert",
            "missing: give --tls-cert FILE with the certificate of --tls-key",
        )),
    }
}

impl Settings {
    /// Reads the settings of a file.
    ///
    /// # Errors
    /// The file cannot be read, or has something in it that is no setting.
    pub fn from_file(file: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable {
            file: file.to_owned(),
            source,
        };
        let bytes = files::read(file).map_err(unreadable)?;
        let not_text = |problem: String| ConfigError::NotText {
            file: file.to_owned(),
            problem,
        };
        if bytes.len() > files::LONGEST {
            return Err(not_text("1 MiB or longer: no file of settings".into()));
        }
        if let Some(problem) = files::byte_order_mark(&bytes) {
            return Err(not_text(problem));
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let line = bytes[..error.valid_up_to()]
                .split(|byte| *byte == b'\n')
                .count();
            not_text(format!("line {line} is not UTF-8: save the file as UTF-8"))
        })?;
        toml::from_str(text).map_err(|error| ConfigError::File {
            file: file.to_owned(),
            error: Box::new(error),
        })
    }

    /// The configuration of flags and environment (`self`) before the file before the defaults.
    ///
    /// # Errors
    /// A value cannot work, alone or beside the others.
    pub fn resolve(self, file: Self) -> Result<Config, ConfigError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let life = |flag: Option<Life>, file: Option<Life>, default| {
            flag.or(file).map_or(default, |life| life.0)
        };
        let auth = auth::resolve(&self, &file)?;
        let limits = limits::resolve(&self, &file, auth.is_development());
        let hub = limits::resolve_hub(&self, &file);
        let messaging = messaging::resolve(&self, &file);
        let tls = tls_files(
            self.tls_cert.or(file.tls_cert),
            self.tls_key.or(file.tls_key),
        )?;
        let local = |port| SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port);
        let config = Config {
            listen: self.listen.or(file.listen).unwrap_or(local(7700)),
            tls,
            auth,
            control: self.control.or(file.control).unwrap_or(local(7701)),
            control_limits: ControlLimits {
                connections: self
                    .control_connections
                    .or(file.control_connections)
                    .unwrap_or(64),
                timeout: time(self.control_timeout, file.control_timeout, 10),
            },
            data: self
                .data
                .or(file.data)
                .unwrap_or_else(|| "trunkline-data".into()),
            shards: self.shards.or(file.shards).unwrap_or(cores),
            durability: self.durability.or(file.durability).unwrap_or_default(),
            max_connections: self
                .max_connections
                .or(file.max_connections)
                .unwrap_or(100_000),
            limits,
            hub,
            idempotency_window: time(self.idempotency_window, file.idempotency_window, 86_400),
            sync_life: life(self.sync_life, file.sync_life, Some(30 * DAY)),
            message_life: life(self.message_life, file.message_life, None),
            store_cache: size(self.store_cache, file.store_cache, 64 << 20),
            segment_bytes: size(self.segment_bytes, file.segment_bytes, 64 << 20),
            store_reserve: size(self.store_reserve, file.store_reserve, 256 << 20),
            messaging,
            conversation_cache: self
                .conversation_cache
                .or(file.conversation_cache)
                .unwrap_or(500_000),
            log_format: self.log_format.or(file.log_format).unwrap_or_default(),
            log: self.log.or(file.log).unwrap_or_else(|| "info".into()),
        };
        config.check()?;
        Ok(config)
    }
}

impl Config {
    fn check(&self) -> Result<(), ConfigError> {
        for (setting, address) in [("listen", self.listen), ("control", self.control)] {
            if self.auth.is_development() && !address.ip().is_loopback() {
                return Err(value(
                    setting,
                    format!(
                        "{address} is not a loopback address, and with --dev-auth anybody who \
                         reaches it can be anybody: use 127.0.0.1 or [::1], or tokens (--jwt-key)"
                    ),
                ));
            }
        }
        if !(1..=MAX_SHARDS).contains(&self.shards) {
            return Err(value(
                "shards",
                format!("{} is not 1 to {MAX_SHARDS}", self.shards),
            ));
        }
        if self.max_connections == 0 {
            return Err(value("max_connections", "at least 1"));
        }
        let ControlLimits {
            connections,
            timeout,
        } = self.control_limits;
        if !(1..=10_000).contains(&connections) {
            return Err(value("control_connections", "from 1 to 10000"));
        }
        if !(100..=3_600_000).contains(&timeout.as_millis()) {
            return Err(value("control_timeout", "from 100ms to 1h"));
        }
        limits::check(&self.limits, &self.hub)?;
        messaging::check(&self.messaging)?;
        self.check_store()?;
        if tracing_subscriber::EnvFilter::try_new(&self.log).is_err() {
            return Err(value(
                "log",
                format!("{:?} is no filter, such as info", self.log),
            ));
        }
        Ok(())
    }

    /// The longest record: a message with everything around it, or what a thousand new members
    /// of a group change.
    pub(crate) fn max_record_bytes(&self) -> usize {
        /// Each member's inbox, full of long names and windows.
        const GROUP_CHANGE: usize = 8 << 20;
        let room = self.segment_bytes.saturating_sub(64 << 10);
        self.max_message_record().max(room.min(GROUP_CHANGE))
    }

    fn max_message_record(&self) -> usize {
        self.limits.content.message_bytes + (64 << 10)
    }

    fn check_store(&self) -> Result<(), ConfigError> {
        let forever = std::time::Duration::MAX;
        let sync_life = self.sync_life.unwrap_or(forever);
        for (setting, life, least, what) in [
            (
                "sync_life",
                sync_life,
                self.idempotency_window,
                "idempotency_window",
            ),
            (
                "message_life",
                self.message_life.unwrap_or(forever),
                sync_life,
                "sync_life",
            ),
        ] {
            if life < least {
                return Err(value(setting, format!("at least {what}, or keep")));
            }
        }
        let second = std::time::Duration::from_secs(1);
        if !(second..=365 * DAY).contains(&self.idempotency_window) {
            return Err(value("idempotency_window", "from 1s to 365d"));
        }
        let segment = self.segment_bytes;
        if !segment.is_multiple_of(4_096) || segment > 1 << 30 {
            return Err(value("segment_bytes", "a multiple of 4KiB up to 1GiB"));
        }
        let least = self.max_message_record() + (64 << 10);
        if segment < least {
            let problem = format!("at least {least}B: message_bytes and 128KiB");
            return Err(value("segment_bytes", problem));
        }
        if self.conversation_cache < MIN_CONVERSATIONS {
            let problem = format!("at least {MIN_CONVERSATIONS}");
            return Err(value("conversation_cache", problem));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
