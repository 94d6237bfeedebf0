//! Turns settings into a configuration: defaults, ranges, and the rules between settings.

use std::net::SocketAddr;
use std::path::Path;

use trunkline_core::directory::MAX_SHARDS;
use trunkline_core::hub::HubLimits;
use trunkline_core::messaging::Messaging;
use trunkline_core::request::ContentLimits;
use trunkline_gateway::limits::{CostLimits, Limits, Rates};
use trunkline_gateway::tls::TlsFiles;
use trunkline_http::server::ServerLimits;
use trunkline_http::{HttpLimits, MediaLimits, MediaPlace};

use super::layers::Layers;
use super::problem::ConfigError;
use super::row::Row;
use super::table::{ROWS, Settings};
use super::units::{ByteSize, Duration, Life};
use super::written::Written;
use super::{AllowedOrigins, Config, TrustedProxies, auth, back_ends, cluster, rules};

/// The default of `delivered_delay` as a multiple of `receipt_delay`. Most users who are online
/// when a message arrives read it within two seconds, and then one receipt tells both.
const DELIVERED_LATER: u32 = 8;

/// The longest time that the table lets a receipt wait.
const MOST_DELAY: std::time::Duration = std::time::Duration::from_secs(10);

/// The longest text of a message by default, in bytes.
const TEXT_BYTES: u64 = 64 << 10;

/// Returns the address of the control port. Problems of other settings do not count.
///
/// # Errors
/// The address is wrong.
pub(super) fn control(mut layers: Layers) -> Result<SocketAddr, ConfigError> {
    layers
        .problems
        .retain(|problem| problem.setting == "control");
    fill(&mut layers, false);
    match &*layers.problems {
        [] => Ok(of(&layers.settings.control).0),
        _ => Err(ConfigError::Settings(layers.problems)),
    }
}

/// Returns the configuration of these settings before the defaults.
///
/// # Errors
/// Settings cannot work, alone or beside others: the error names all of them.
pub(super) fn resolve(mut layers: Layers) -> Result<Config, ConfigError> {
    let is_development = layers.settings.dev_auth == Some(true);
    if layers.is_torn() {
        // What settings are together cannot be said while lines of the file cannot be read.
        return Err(ConfigError::Settings(layers.problems));
    }
    let http_is_given = layers.settings.http.is_some();
    let max_connections_is_given = layers.settings.max_connections.is_some();
    fill(&mut layers, is_development);
    let auth = auth::resolve(&mut layers);
    check_ranges(&mut layers);
    cluster::cap(&mut layers);
    rules::check(&mut layers, is_development);
    cluster::check(&mut layers);
    back_ends::check(&mut layers);
    let Layers {
        mut settings,
        problems,
        ..
    } = layers;
    let (Some(auth), []) = (auth, &*problems) else {
        return Err(ConfigError::Settings(problems));
    };
    if auth.tokens().is_none() {
        // No tokens, no leeway.
        settings.jwt_leeway = None;
    }
    back_ends::tidy(&mut settings);
    let files = settings.tls_cert.clone().zip(settings.tls_key.clone());
    Ok(Config {
        listen: of(&settings.listen).0,
        tls: files.map(|(cert, key)| TlsFiles {
            cert: cert.0,
            key: key.0,
        }),
        auth,
        control: of(&settings.control).0,
        admin_tokens: { settings.admin_tokens.clone() }.map(|file| file.0),
        control_limits: ServerLimits {
            connections: number(settings.control_connections),
            timeout: time(settings.control_timeout),
        },
        http: settings.http.and_then(|http| http.0),
        http_is_given,
        http_limits: http_limits(&settings),
        callbacks: back_ends::resolve(&settings),
        webhooks: back_ends::resolve_hooks(&settings),
        callbacks_secret: settings.callbacks_secret_file.clone().map(|file| file.0),
        media: of(&settings.media),
        media_s3_file: settings.media_s3_file.clone().map(|file| file.0),
        media_limits: media(&settings),
        data: of(&settings.data).0,
        shards: number(settings.shards),
        durability: settings.durability.unwrap_or_default(),
        max_connections: number(settings.max_connections),
        max_connections_is_given,
        limits: limits(&settings, is_development),
        hub: hub(&settings),
        messaging: messaging(&settings),
        idempotency_window: time(settings.idempotency_window),
        sync_life: life(settings.sync_life),
        message_life: life(settings.message_life),
        store_cache: size(settings.store_cache),
        segment_bytes: size(settings.segment_bytes),
        store_reserve: size(settings.store_reserve),
        search: settings.search == Some(true),
        search_purge: time(settings.search_purge),
        cluster: cluster::resolve(&settings),
        conversation_cache: number(settings.conversation_cache),
        weights: settings.namespace_weights.clone().unwrap_or_default(),
        log_format: settings.log_format.unwrap_or_default(),
        log: of(&settings.log).0,
        settings,
    })
}

/// Gives every setting its default that has one and no value.
fn fill(layers: &mut Layers, is_development: bool) {
    for row in ROWS {
        let Some(text) = row.fixed_default(is_development) else {
            continue;
        };
        if layers.is_given(row.name) {
            continue;
        }
        let default = Written::Word(text.into());
        let read = layers.settings.read(row.name, &default, Path::new(""));
        if let Err(text) = read {
            layers.refuse(row.name, text);
        }
    }
    let data = of(&layers.settings.data).0;
    let media = MediaPlace::Folder(data.join("media"));
    layers.settings.media.get_or_insert(media);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let settings = &mut layers.settings;
    let longest = settings.message_bytes.map_or(TEXT_BYTES, |size| size.0);
    settings
        .text_bytes
        .get_or_insert(ByteSize(longest.min(TEXT_BYTES)));
    settings.shards.get_or_insert(cores.min(MAX_SHARDS));
    let twice = |rate: Option<u32>| number(rate).saturating_mul(2);
    let messages = twice(settings.rate_messages);
    settings.user_rate_messages.get_or_insert(messages);
    let commands = twice(settings.rate_commands);
    settings.user_rate_commands.get_or_insert(commands);
    let bytes = u64::from(rate_of(settings.rate_bytes).saturating_mul(2));
    settings.user_rate_bytes.get_or_insert(ByteSize(bytes));
    let receipts = time(settings.receipt_delay);
    let later = receipts.saturating_mul(DELIVERED_LATER);
    // Not beyond what may be set, and not before other receipts.
    let receipts = later.min(MOST_DELAY).max(receipts);
    settings.delivered_delay.get_or_insert(Duration(receipts));
}

/// Refuses values out of their ranges.
fn check_ranges(layers: &mut Layers) {
    for row in ROWS {
        if let Some(problem) = range_problem(row, &layers.settings) {
            layers.refuse(row.name, problem);
        }
    }
}

/// Returns how the value of a setting is out of its range; `None` if it is not.
pub(super) fn range_problem(row: &Row, settings: &Settings) -> Option<String> {
    let range = row.range_text()?;
    let value = settings.measure(row.name)?;
    let bound = |text: Option<&'static str>| text.and_then(|text| bound(row, text));
    let is_less = bound(row.least).is_some_and(|least| value < least);
    let is_more = bound(row.most).is_some_and(|most| value > most);
    (is_less || is_more).then(|| {
        let shown = settings.value(row.name);
        let shown = shown.map_or_else(String::new, |value| {
            value.as_str().map_or(value.to_string(), str::to_owned)
        });
        let side = if is_less { "small" } else { "large" };
        format!("{shown} is too {side}: {range}")
    })
}

/// Returns a bound of a setting's range, which has the setting's form.
fn bound(row: &Row, text: &str) -> Option<u128> {
    let mut apart = Settings::default();
    let written = Written::Word(text.into());
    apart.read(row.name, &written, Path::new("")).ok()?;
    apart.measure(row.name)
}

/// Returns the value of a setting with a default in the table.
fn of<T: Default + Clone>(value: &Option<T>) -> T {
    value.clone().unwrap_or_default()
}

pub(super) fn number<T: Default>(value: Option<T>) -> T {
    value.unwrap_or_default()
}

pub(super) fn time(value: Option<Duration>) -> std::time::Duration {
    value.map_or(std::time::Duration::ZERO, |time| time.0)
}

pub(super) fn size(value: Option<ByteSize>) -> usize {
    value.map_or(0, |size| usize::try_from(size.0).unwrap_or(usize::MAX))
}

pub(super) fn life(value: Option<Life>) -> Option<std::time::Duration> {
    value.and_then(|life| life.0)
}

/// Returns a rate in bytes per second. A rate beyond `u32::MAX` is lowered to it.
fn rate_of(value: Option<ByteSize>) -> u32 {
    u32::try_from(size(value)).unwrap_or(u32::MAX)
}

fn limits(settings: &Settings, is_development: bool) -> Limits {
    Limits {
        connections_per_address: number(settings.connections_per_address),
        connections_per_user: number(settings.connections_per_user),
        opening: number(settings.max_opening),
        newcomers_per_turn: number(settings.newcomers_per_turn),
        recovering: number(settings.max_recovering),
        shard_buffer_bytes: size(settings.shard_buffer_bytes),
        header_bytes: size(settings.header_bytes),
        frame_commands: number(settings.frame_commands),
        pages: number(settings.max_pages),
        content: ContentLimits {
            message_bytes: size(settings.message_bytes),
            text_bytes: size(settings.text_bytes),
            key_bytes: size(settings.key_bytes),
            page: 500,
        },
        control_frames: number(settings.control_frames),
        message_timeout: time(settings.message_timeout),
        token_bytes: size(settings.token_bytes),
        token_topics: number(settings.token_topics),
        outbox_bytes: size(settings.outbox_bytes),
        answer_bytes: size(settings.answer_bytes),
        connection_rates: Rates {
            messages: number(settings.rate_messages),
            bytes: rate_of(settings.rate_bytes),
            commands: number(settings.rate_commands),
        },
        user_rates: Rates {
            messages: number(settings.user_rate_messages),
            bytes: rate_of(settings.user_rate_bytes),
            commands: number(settings.user_rate_commands),
        },
        rate_burst: time(settings.rate_burst),
        costs: CostLimits {
            connection: time(settings.connection_cost),
            user: time(settings.user_cost),
            address: time(settings.address_cost),
            namespace: time(settings.namespace_cost),
            burst: time(settings.cost_burst),
        },
        handshake_timeout: time(settings.handshake_timeout),
        connect_timeout: time(settings.connect_timeout),
        ping_interval: time(settings.ping_interval),
        pong_timeout: time(settings.pong_timeout),
        write_timeout: time(settings.write_timeout),
        origins: AllowedOrigins::resolve(settings.allowed_origins.as_ref(), is_development),
        proxies: TrustedProxies::resolve(settings.trusted_proxies.as_ref(), settings.proxy_header)
            .into(),
        reconnect_rate: number(settings.reconnect_rate),
        echo: is_development,
        reconnect_delay_ms: time(settings.reconnect_delay).as_millis() as u64,
        drain_timeout: time(settings.drain_timeout),
        drain_window: time(settings.drain_window),
        watches: number(settings.max_watches),
        subscriptions: number(settings.max_subscriptions),
        listenings: number(settings.max_listenings),
    }
}

fn http_limits(settings: &Settings) -> HttpLimits {
    HttpLimits {
        server: ServerLimits {
            connections: number(settings.http_connections),
            timeout: time(settings.http_timeout),
        },
        per_user: number(settings.http_requests_per_user),
        bodies: size(settings.http_body_bytes),
        unread: size(settings.http_unread_bytes),
        ping: time(settings.ping_interval),
        write_timeout: time(settings.write_timeout),
        reconnect_rate: number(settings.reconnect_rate),
        reconnect_delay_ms: time(settings.reconnect_delay).as_millis() as u64,
    }
}

fn media(settings: &Settings) -> MediaLimits {
    MediaLimits {
        most: settings.media_max.map_or(0, |size| size.0),
        types: settings.media_types.clone().unwrap_or_default(),
        unnamed_life: time(settings.media_unnamed_life),
        reserve: settings.store_reserve.map_or(0, |size| size.0),
    }
}

fn hub(settings: &Settings) -> HubLimits {
    HubLimits {
        presence_grace: time(settings.presence_grace),
        last_seen_cache: number(settings.last_seen_cache),
        last_seen_interval: time(settings.last_seen_interval),
        last_seen_rate: number(settings.last_seen_rate),
        topics: number(settings.max_topics),
        topic_history: number(settings.topic_history),
        topic_bytes: size(settings.topic_bytes),
        topics_bytes: size(settings.topics_bytes),
    }
}

fn messaging(settings: &Settings) -> Messaging {
    Messaging {
        fanout_limit: number(settings.fanout_limit),
        channel_stays: time(settings.channel_stays),
        receipt_fanout: number(settings.receipt_fanout),
        receipt_delay: time(settings.receipt_delay),
        delivered_delay: time(settings.delivered_delay),
        group_members: number(settings.group_members),
        members_add: number(settings.members_add),
        recall_window: time(settings.recall_window),
        edit_window: time(settings.edit_window),
        most_ttl: most_ttl(life(settings.sync_life)),
        group_cache: number(settings.group_cache),
        message_bytes: size(settings.message_bytes),
        rewrites: settings.callbacks_send.is_some(),
    }
}

/// Returns the longest time after which a message may expire. The sync timelines say which messages are
/// due, so these must outlive the messages.
fn most_ttl(sync_life: Option<std::time::Duration>) -> std::time::Duration {
    let year = std::time::Duration::from_hours(365 * 24);
    sync_life.map_or(year, |life| year.min(life / 2))
}

#[cfg(test)]
mod tests;
