//! What one client may do.

use std::time::Duration;

use trunkline_proto::origin::Allowed;

use super::ConfigError;
use super::origins::AllowedOrigins;
use super::settings::{Settings, size, time, value};
use super::units::ByteSize;

/// What a client of flesh and blood does not reach, and a program that writes to many does with
/// several users. In development mode nothing is limited: that is where load generators run.
const PRODUCTION_RATES: Rates = Rates {
    messages: 100,
    bytes: 1 << 20,
    commands: 500,
};

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
    pub(super) const fn twice(self) -> Self {
        Self {
            messages: self.messages.saturating_mul(2),
            bytes: self.bytes.saturating_mul(2),
            commands: self.commands.saturating_mul(2),
        }
    }
}

/// Limits of connections and users.
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
    /// A user who comes back within it was never gone, to those who watch.
    pub presence_grace: Duration,
    /// Users whose presence a connection watches; beyond it 106.
    pub watches: usize,
    /// Users who have left, of whom it is remembered when.
    pub last_seen_cache: usize,
    /// How often it is stored who has left and when.
    pub last_seen_interval: Duration,
    /// Of so many users in a second at most; 0: it is not stored.
    pub last_seen_rate: u32,
    /// Topics that a connection is subscribed to; beyond it 106.
    pub subscriptions: usize,
    /// Watches and subscriptions of all connections of a shard; beyond it 106.
    pub listenings: usize,
    /// Topics in all; beyond it one gives way that nobody is subscribed to, or 106.
    pub topics: usize,
    /// Publications of a topic that are kept; older ones are forgotten.
    pub topic_history: usize,
    /// Bytes of them.
    pub topic_bytes: usize,
    /// Bytes of those of all topics together.
    pub topics_bytes: usize,
}

impl Limits {
    /// The limits of flags before the file before the defaults.
    pub(super) fn resolve(flags: &Settings, file: &Settings, dev_auth: bool) -> Self {
        let (connection_rates, user_rates) = rates(flags, file, dev_auth);
        let message_bytes = size(flags.message_bytes, file.message_bytes, 1 << 20);
        let delay = time(flags.reconnect_delay, file.reconnect_delay, 30);
        let number = |flag: Option<u32>, file: Option<u32>, default| {
            flag.or(file).unwrap_or(if dev_auth { 0 } else { default })
        };
        Self {
            connections_per_address: number(
                flags.connections_per_address,
                file.connections_per_address,
                10_000,
            ),
            connections_per_user: number(flags.connections_per_user, file.connections_per_user, 32),
            opening: flags.max_opening.or(file.max_opening).unwrap_or(16_384),
            newcomers_per_turn: flags
                .newcomers_per_turn
                .or(file.newcomers_per_turn)
                .unwrap_or(64),
            recovering: flags
                .max_recovering
                .or(file.max_recovering)
                .unwrap_or(1_024),
            shard_buffer_bytes: size(flags.shard_buffer_bytes, file.shard_buffer_bytes, 256 << 20),
            header_bytes: size(flags.header_bytes, file.header_bytes, 8 << 10),
            frame_commands: flags
                .frame_commands
                .or(file.frame_commands)
                .unwrap_or(1_024),
            pages: flags.max_pages.or(file.max_pages).unwrap_or(32),
            control_frames: flags.control_frames.or(file.control_frames).unwrap_or(200),
            message_timeout: time(flags.message_timeout, file.message_timeout, 120),
            message_bytes,
            text_bytes: size(
                flags.text_bytes,
                file.text_bytes,
                message_bytes.min(64 << 10),
            ),
            key_bytes: size(flags.key_bytes, file.key_bytes, 128),
            token_bytes: size(flags.token_bytes, file.token_bytes, 4 << 10),
            token_topics: flags.token_topics.or(file.token_topics).unwrap_or(100),
            page: 500,
            outbox_bytes: size(flags.outbox_bytes, file.outbox_bytes, 1 << 20),
            answer_bytes: size(flags.answer_bytes, file.answer_bytes, 1 << 20),
            connection_rates,
            user_rates,
            rate_burst: time(flags.rate_burst, file.rate_burst, 10),
            handshake_timeout: time(flags.handshake_timeout, file.handshake_timeout, 10),
            connect_timeout: time(flags.connect_timeout, file.connect_timeout, 10),
            ping_interval: time(flags.ping_interval, file.ping_interval, 25),
            pong_timeout: time(flags.pong_timeout, file.pong_timeout, 10),
            write_timeout: time(flags.write_timeout, file.write_timeout, 30),
            origins: AllowedOrigins::resolve(flags, file, dev_auth),
            reconnect_rate: flags
                .reconnect_rate
                .or(file.reconnect_rate)
                .unwrap_or(10_000),
            echo: dev_auth,
            reconnect_delay_ms: delay.as_millis() as u64,
            drain_timeout: time(flags.drain_timeout, file.drain_timeout, 20),
            drain_window: time(flags.drain_window, file.drain_window, 2),
            presence_grace: time(flags.presence_grace, file.presence_grace, 10),
            watches: flags.max_watches.or(file.max_watches).unwrap_or(1_000),
            last_seen_cache: flags
                .last_seen_cache
                .or(file.last_seen_cache)
                .unwrap_or(100_000),
            last_seen_interval: time(flags.last_seen_interval, file.last_seen_interval, 5),
            last_seen_rate: flags
                .last_seen_rate
                .or(file.last_seen_rate)
                .unwrap_or(20_000),
            subscriptions: flags
                .max_subscriptions
                .or(file.max_subscriptions)
                .unwrap_or(100),
            listenings: flags
                .max_listenings
                .or(file.max_listenings)
                .unwrap_or(1 << 20),
            topics: flags.max_topics.or(file.max_topics).unwrap_or(100_000),
            topic_history: flags.topic_history.or(file.topic_history).unwrap_or(100),
            topic_bytes: size(flags.topic_bytes, file.topic_bytes, 1 << 20),
            topics_bytes: size(flags.topics_bytes, file.topics_bytes, 64 << 20),
        }
    }

    /// # Errors
    /// A value cannot work.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if !(1_024..=32 << 20).contains(&self.message_bytes) {
            return Err(value("message_bytes", "from 1KiB to 32MiB"));
        }
        for (setting, bytes) in [
            ("text_bytes", self.text_bytes),
            ("key_bytes", self.key_bytes),
        ] {
            if bytes == 0 || bytes > self.message_bytes {
                return Err(value(setting, "from 1B to message_bytes"));
            }
        }
        if !(256..=64 << 10).contains(&self.token_bytes) {
            return Err(value("token_bytes", "from 256B to 64KiB"));
        }
        if self.token_topics > 1_000 {
            return Err(value("token_topics", "at most 1000"));
        }
        if self.outbox_bytes < 4_096 {
            return Err(value("outbox_bytes", "at least 4KiB"));
        }
        for (setting, time) in [
            ("handshake_timeout", self.handshake_timeout),
            ("connect_timeout", self.connect_timeout),
            ("ping_interval", self.ping_interval),
            ("pong_timeout", self.pong_timeout),
            ("write_timeout", self.write_timeout),
            ("message_timeout", self.message_timeout),
            ("drain_timeout", self.drain_timeout),
            ("last_seen_interval", self.last_seen_interval),
        ] {
            if !(100..=86_400_000).contains(&time.as_millis()) {
                return Err(value(setting, "from 100ms to 24h"));
            }
        }
        if self.presence_grace.as_secs() > 3_600 {
            return Err(value("presence_grace", "at most 1h"));
        }
        if self.drain_window > self.drain_timeout / 2 {
            return Err(value("drain_window", "at most half of drain_timeout"));
        }
        if self.shard_buffer_bytes < self.outbox_bytes + self.message_bytes {
            let problem = "at least outbox_bytes and message_bytes together";
            return Err(value("shard_buffer_bytes", problem));
        }
        if !(1_024..=64 << 10).contains(&self.header_bytes) {
            return Err(value("header_bytes", "from 1KiB to 64KiB"));
        }
        for (setting, number) in [
            ("max_opening", self.opening),
            ("newcomers_per_turn", self.newcomers_per_turn),
            ("max_recovering", self.recovering),
            ("frame_commands", self.frame_commands),
            ("max_pages", self.pages.into()),
            ("control_frames", self.control_frames.into()),
            ("max_watches", self.watches),
            ("max_subscriptions", self.subscriptions),
            ("max_listenings", self.listenings),
            ("max_topics", self.topics),
        ] {
            if number == 0 {
                return Err(value(setting, "at least 1"));
            }
        }
        if self.reconnect_rate == 0 {
            return Err(value("reconnect_rate", "at least 1"));
        }
        if !(1..=3_600).contains(&self.rate_burst.as_secs()) {
            return Err(value("rate_burst", "from 1s to 1h"));
        }
        Ok(())
    }
}

/// The rates of connections and of users.
fn rates(flags: &Settings, file: &Settings, dev_auth: bool) -> (Rates, Rates) {
    let rate = |flag: Option<u32>, file: Option<u32>, default| flag.or(file).unwrap_or(default);
    let bytes = |flag: Option<ByteSize>, file, default: u32| {
        u32::try_from(size(flag, file, default as usize)).unwrap_or(u32::MAX)
    };
    let default = if dev_auth {
        Rates::default()
    } else {
        PRODUCTION_RATES
    };
    let connection = Rates {
        messages: rate(flags.rate_messages, file.rate_messages, default.messages),
        bytes: bytes(flags.rate_bytes, file.rate_bytes, default.bytes),
        commands: rate(flags.rate_commands, file.rate_commands, default.commands),
    };
    let default = connection.twice();
    let user = Rates {
        messages: rate(
            flags.user_rate_messages,
            file.user_rate_messages,
            default.messages,
        ),
        bytes: bytes(flags.user_rate_bytes, file.user_rate_bytes, default.bytes),
        commands: rate(
            flags.user_rate_commands,
            file.user_rate_commands,
            default.commands,
        ),
    };
    (connection, user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_unlimited_in_development_and_a_users_are_twice_a_connections() {
        let (none, given) = (
            Settings::default(),
            Settings {
                rate_messages: Some(7),
                user_rate_commands: Some(5),
                ..Settings::default()
            },
        );
        assert_eq!(
            rates(&none, &none, true),
            (Rates::default(), Rates::default())
        );
        let production = (PRODUCTION_RATES, PRODUCTION_RATES.twice());
        assert_eq!(rates(&none, &none, false), production);
        let (connection, user) = rates(&given, &none, true);
        assert_eq!((connection.messages, connection.commands), (7, 0));
        assert_eq!((user.messages, user.commands), (14, 5));
    }
}
