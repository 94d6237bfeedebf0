//! What one client may do.

use trunkline_core::hub::HubLimits;
use trunkline_core::request::ContentLimits;
use trunkline_gateway::limits::{Limits, Rates};

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

/// The limits of flags before the file before the defaults.
pub(super) fn resolve(flags: &Settings, file: &Settings, dev_auth: bool) -> Limits {
    let (connection_rates, user_rates) = rates(flags, file, dev_auth);
    let message_bytes = size(flags.message_bytes, file.message_bytes, 1 << 20);
    let delay = time(flags.reconnect_delay, file.reconnect_delay, 30);
    let number = |flag: Option<u32>, file: Option<u32>, default| {
        flag.or(file).unwrap_or(if dev_auth { 0 } else { default })
    };
    Limits {
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
        content: ContentLimits {
            message_bytes,
            text_bytes: size(
                flags.text_bytes,
                file.text_bytes,
                message_bytes.min(64 << 10),
            ),
            key_bytes: size(flags.key_bytes, file.key_bytes, 128),
            page: 500,
        },
        control_frames: flags.control_frames.or(file.control_frames).unwrap_or(200),
        message_timeout: time(flags.message_timeout, file.message_timeout, 120),
        token_bytes: size(flags.token_bytes, file.token_bytes, 4 << 10),
        token_topics: flags.token_topics.or(file.token_topics).unwrap_or(100),
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
        watches: flags.max_watches.or(file.max_watches).unwrap_or(1_000),
        subscriptions: flags
            .max_subscriptions
            .or(file.max_subscriptions)
            .unwrap_or(100),
        listenings: flags
            .max_listenings
            .or(file.max_listenings)
            .unwrap_or(1 << 20),
    }
}

/// The hub's limits of flags before the file before the defaults.
pub(super) fn resolve_hub(flags: &Settings, file: &Settings) -> HubLimits {
    HubLimits {
        presence_grace: time(flags.presence_grace, file.presence_grace, 10),
        last_seen_cache: flags
            .last_seen_cache
            .or(file.last_seen_cache)
            .unwrap_or(100_000),
        last_seen_interval: time(flags.last_seen_interval, file.last_seen_interval, 5),
        last_seen_rate: flags
            .last_seen_rate
            .or(file.last_seen_rate)
            .unwrap_or(20_000),
        topics: flags.max_topics.or(file.max_topics).unwrap_or(100_000),
        topic_history: flags.topic_history.or(file.topic_history).unwrap_or(100),
        topic_bytes: size(flags.topic_bytes, file.topic_bytes, 1 << 20),
        topics_bytes: size(flags.topics_bytes, file.topics_bytes, 64 << 20),
    }
}

/// # Errors
/// A value cannot work.
pub(super) fn check(limits: &Limits, hub: &HubLimits) -> Result<(), ConfigError> {
    if !(1_024..=32 << 20).contains(&limits.content.message_bytes) {
        return Err(value("message_bytes", "from 1KiB to 32MiB"));
    }
    for (setting, bytes) in [
        ("text_bytes", limits.content.text_bytes),
        ("key_bytes", limits.content.key_bytes),
    ] {
        if bytes == 0 || bytes > limits.content.message_bytes {
            return Err(value(setting, "from 1B to message_bytes"));
        }
    }
    if !(256..=64 << 10).contains(&limits.token_bytes) {
        return Err(value("token_bytes", "from 256B to 64KiB"));
    }
    if limits.token_topics > 1_000 {
        return Err(value("token_topics", "at most 1000"));
    }
    if limits.outbox_bytes < 4_096 {
        return Err(value("outbox_bytes", "at least 4KiB"));
    }
    for (setting, time) in [
        ("handshake_timeout", limits.handshake_timeout),
        ("connect_timeout", limits.connect_timeout),
        ("ping_interval", limits.ping_interval),
        ("pong_timeout", limits.pong_timeout),
        ("write_timeout", limits.write_timeout),
        ("message_timeout", limits.message_timeout),
        ("drain_timeout", limits.drain_timeout),
        ("last_seen_interval", hub.last_seen_interval),
    ] {
        if !(100..=86_400_000).contains(&time.as_millis()) {
            return Err(value(setting, "from 100ms to 24h"));
        }
    }
    if hub.presence_grace.as_secs() > 3_600 {
        return Err(value("presence_grace", "at most 1h"));
    }
    if limits.drain_window > limits.drain_timeout / 2 {
        return Err(value("drain_window", "at most half of drain_timeout"));
    }
    if limits.shard_buffer_bytes < limits.outbox_bytes + limits.content.message_bytes {
        let problem = "at least outbox_bytes and message_bytes together";
        return Err(value("shard_buffer_bytes", problem));
    }
    if !(1_024..=64 << 10).contains(&limits.header_bytes) {
        return Err(value("header_bytes", "from 1KiB to 64KiB"));
    }
    for (setting, number) in [
        ("max_opening", limits.opening),
        ("newcomers_per_turn", limits.newcomers_per_turn),
        ("max_recovering", limits.recovering),
        ("frame_commands", limits.frame_commands),
        ("max_pages", limits.pages.into()),
        ("control_frames", limits.control_frames.into()),
        ("max_watches", limits.watches),
        ("max_subscriptions", limits.subscriptions),
        ("max_listenings", limits.listenings),
        ("max_topics", hub.topics),
    ] {
        if number == 0 {
            return Err(value(setting, "at least 1"));
        }
    }
    if limits.reconnect_rate == 0 {
        return Err(value("reconnect_rate", "at least 1"));
    }
    if !(1..=3_600).contains(&limits.rate_burst.as_secs()) {
        return Err(value("rate_burst", "from 1s to 1h"));
    }
    Ok(())
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
