//! The rules between settings, such as a text that must fit into a message.

use std::time::Duration;

use trunkline_proto::proxy::Naming;

use super::TrustedProxies;
use super::layers::Layers;
use super::resolve::{life, size, time};

/// The most bytes of a record besides its message.
const AROUND_A_MESSAGE: usize = 64 << 10;

/// Notes every setting that contradicts another one. Skips a rule if the value of its setting has a
/// problem already.
pub(super) fn check(layers: &mut Layers, is_development: bool) {
    check_addresses(layers, is_development);
    check_tls(layers);
    check_proxies(layers);
    check_sizes(layers);
    check_times(layers);
}

fn check_addresses(layers: &mut Layers, is_development: bool) {
    if !is_development {
        return;
    }
    let addresses = [
        ("listen", layers.settings.listen.map(|address| address.0)),
        ("control", layers.settings.control.map(|address| address.0)),
        ("http", layers.settings.http.and_then(|address| address.0)),
    ];
    for (setting, address) in addresses {
        if let Some(address) = address.filter(|address| !address.ip().is_loopback()) {
            layers.refuse(
                setting,
                format!(
                    "{} is not a loopback address, and with --dev-auth every client that reaches it \
                     can take any name: use 127.0.0.1 or [::1], or tokens (--jwt-key)",
                    address
                ),
            );
        }
    }
}

fn check_tls(layers: &mut Layers) {
    let has = (layers.is_given("tls_cert"), layers.is_given("tls_key"));
    match has {
        (true, false) => layers.refuse(
            "tls_key",
            "missing: give --tls-key FILE with the private key of --tls-cert",
        ),
        (false, true) => layers.refuse(
            "tls_cert",
            "missing: give --tls-cert FILE with the certificate of --tls-key",
        ),
        _ => {}
    }
}

fn check_proxies(layers: &mut Layers) {
    let settings = &layers.settings;
    let proxies = settings.trusted_proxies.as_ref();
    let is_chosen = settings
        .proxy_header
        .is_some_and(|it| it != Naming::default());
    if is_chosen && proxies.is_none_or(TrustedProxies::is_empty) {
        layers.refuse(
            "trusted_proxies",
            "missing: give --trusted-proxies with the addresses of the proxies that --proxy-header \
             is about, such as 10.0.0.0/8",
        );
    }
}

fn check_sizes(layers: &mut Layers) {
    let settings = &layers.settings;
    let message = size(settings.message_bytes);
    let outbox = size(settings.outbox_bytes);
    let shard = size(settings.shard_buffer_bytes);
    let segment = size(settings.segment_bytes);
    let parts = [
        ("text_bytes", size(settings.text_bytes)),
        ("key_bytes", size(settings.key_bytes)),
    ];
    let has_message = !layers.is_refused("message_bytes");
    for (setting, bytes) in parts {
        if has_message && bytes > message {
            layers.refuse(setting, "too large: from 1B to message_bytes");
        }
    }
    if has_message && !layers.is_refused("outbox_bytes") && shard < outbox.saturating_add(message) {
        let problem = "too small: at least outbox_bytes and message_bytes together";
        layers.refuse("shard_buffer_bytes", problem);
    }
    let message = if has_message { message } else { 0 };
    if let Some(problem) = segment_problem(segment, message) {
        layers.refuse("segment_bytes", problem);
    }
}

/// Returns why the log files of a store cannot have this length in bytes; `None` if they can. `message` is the length of
/// the longest message, or 0.
pub(super) fn segment_problem(segment: usize, message: usize) -> Option<String> {
    if !segment.is_multiple_of(4_096) {
        return Some("not a multiple of 4KiB".into());
    }
    let least = message.saturating_add(2 * AROUND_A_MESSAGE);
    (message > 0 && segment < least)
        .then(|| format!("too small: at least {least}B, which is message_bytes and 128KiB"))
}

fn check_times(layers: &mut Layers) {
    let settings = &layers.settings;
    let window = time(settings.drain_window);
    let timeout = time(settings.drain_timeout);
    let sync = life(settings.sync_life).unwrap_or(Duration::MAX);
    let message = life(settings.message_life).unwrap_or(Duration::MAX);
    let idempotency = time(settings.idempotency_window);
    if !layers.is_refused("drain_timeout") && window > timeout / 2 {
        layers.refuse("drain_window", "too long: at most half of drain_timeout");
    }
    if !layers.is_refused("idempotency_window") && sync < idempotency {
        layers.refuse(
            "sync_life",
            "too short: at least idempotency_window, or keep",
        );
    }
    if !layers.is_refused("sync_life") && message < sync {
        layers.refuse("message_life", "too short: at least sync_life, or keep");
    }
}
