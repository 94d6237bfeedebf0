//! The settings about back ends, in the tables `[callbacks]` and `[webhooks]` of a file: their rules, and
//! what follows from them.

use trunkline_http::back::{Callbacks, Hooks, OnFailure};

use super::layers::Layers;
use super::resolve::{number, time};
use super::table::Settings;

/// Notes every setting about back ends that contradicts another one.
pub(super) fn check(layers: &mut Layers) {
    let settings = &layers.settings;
    let (has_any, connects) = (any(settings), settings.callbacks_connect.is_some());
    let (asks_any, tells_any) = (asks(settings), tells(settings));
    let tells_offline = settings.webhooks_offline.is_some();
    let allows = settings.callbacks_on_failure == Some(OnFailure::Allow);
    let has_keys = layers.is_given("jwt_key") || layers.is_given("jwks");
    let is_development = settings.dev_auth == Some(true);
    if has_any && !layers.is_given("callbacks_secret_file") {
        layers.refuse(
            "callbacks_secret_file",
            "missing: back ends check who asks by it. Make one with: printf 'whsec_%s\\n' \"$(openssl \
             rand -base64 32)\" > webhook.secret",
        );
    }
    if connects && allows && !has_keys && !is_development {
        layers.refuse(
            "callbacks_on_failure",
            "not allow, where only the back end of connect knows the clients: without it everybody \
             could take any name. Use deny, or give jwt_key or jwks as well",
        );
    }
    const BOTH: &str = "only with a back end: set connect, send, subscribe or rpc in the table [callbacks], or \
                        offline or presence in the table [webhooks]";
    let others = [
        ("callbacks_timeout", has_any, BOTH),
        (
            "callbacks_on_failure",
            asks_any,
            "only with a back end that is asked: set connect, send, subscribe or rpc in the table [callbacks]",
        ),
        ("callbacks_ca_file", has_any, BOTH),
        ("callbacks_secret_file", has_any, BOTH),
        (
            "webhooks_give_up",
            tells_any,
            "only with a back end that is told: set offline or presence in the table [webhooks]",
        ),
        (
            "webhooks_groups_up_to",
            tells_offline,
            "only with a back end that is told of messages: set offline in the table [webhooks]",
        ),
    ];
    let others =
        others.map(|(name, fits, text)| (!fits && layers.is_given(name)).then_some((name, text)));
    for (name, text) in others.into_iter().flatten() {
        layers.refuse(name, text);
    }
}

/// Returns whether any back end is asked about anything, or told of anything.
pub(super) fn any(settings: &Settings) -> bool {
    asks(settings) || tells(settings)
}

/// Returns whether any back end is told of anything.
fn tells(settings: &Settings) -> bool {
    settings.webhooks_offline.is_some() || settings.webhooks_presence.is_some()
}

/// Removes the values that mean nothing without back ends.
pub(super) fn tidy(settings: &mut Settings) {
    if !any(settings) {
        settings.callbacks_timeout = None;
    }
    if !asks(settings) {
        settings.callbacks_on_failure = None;
    }
    if !tells(settings) {
        settings.webhooks_give_up = None;
    }
    if settings.webhooks_offline.is_none() {
        settings.webhooks_groups_up_to = None;
    }
}

/// Returns which back ends are told of what.
pub(super) fn resolve_hooks(settings: &Settings) -> Hooks {
    Hooks {
        offline: settings.webhooks_offline.clone(),
        presence: settings.webhooks_presence.clone(),
        give_up: time(settings.webhooks_give_up),
        largest_group: number(settings.webhooks_groups_up_to) as u64,
    }
}

/// Returns whether any back end is asked about anything.
fn asks(settings: &Settings) -> bool {
    settings.callbacks_connect.is_some()
        || settings.callbacks_send.is_some()
        || settings.callbacks_subscribe.is_some()
        || settings.callbacks_rpc.is_some()
}

/// Returns which back ends are asked.
pub(super) fn resolve(settings: &Settings) -> Callbacks {
    Callbacks {
        connect: settings.callbacks_connect.clone(),
        send: settings.callbacks_send.clone(),
        subscribe: settings.callbacks_subscribe.clone(),
        rpc: settings.callbacks_rpc.clone().unwrap_or_default().0,
        ca_file: settings.callbacks_ca_file.clone().map(|file| file.0),
        timeout: time(settings.callbacks_timeout),
        on_failure: settings.callbacks_on_failure.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    const SECRET: &str = "secret_file = \"/s\"\n";

    fn said(text: &str) -> String {
        Config::of_text(text).unwrap_err().to_string()
    }

    #[test]
    fn the_table_of_the_page_is_read_and_printed() {
        let text = "dev_auth = true\n[callbacks]\nconnect = \"http://127.0.0.1:9000/connect\"\n\
                    send = \"http://127.0.0.1:9000/send\"\n\
                    subscribe = \"http://127.0.0.1:9000/subscribe\"\n\
                    rpc = { \"orders.\" = \"http://127.0.0.1:9001/rpc\", \"\" = \"http://127.0.0.1:9000/rpc\" }\n\
                    timeout = \"3s\"\non_failure = \"allow\"\nsecret_file = \"/webhook.secret\"\n";
        let config = Config::of_text(text).unwrap();
        assert_eq!(config.callbacks.rpc.len(), 2);
        assert_eq!(config.callbacks.timeout.as_secs(), 3);
        let printed = config.to_toml();
        assert!(printed.contains("\n[callbacks]\n") && printed.contains("\ntimeout = \"3s\"\n"));
        let again = Config::of_text(&printed).unwrap();
        assert_eq!(again.callbacks, config.callbacks);
        assert_eq!(again.to_toml(), printed);
    }

    #[test]
    fn what_is_wrong_in_a_table_is_named_with_its_line() {
        let base = "dev_auth = true\n[callbacks]\n";
        let check = |rest: &str, words: &[&str]| {
            let said = said(&(base.to_owned() + SECRET + rest));
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        };
        check(
            "conect = 1\n",
            &["callbacks.conect:", "did you mean connect?", "line 4"],
        );
        check("send = 5\n", &["callbacks.send:", "line 4", "http://"]);
        check("send = \"ftp://h/\"\n", &["callbacks.send:", "https://"]);
        check("rpc = \"http://h/\"\n", &["callbacks.rpc:", "table"]);
        check("rpc = {}\n", &["callbacks.rpc:", "from 1 to 100"]);
        check("rpc = { a = 5 }\n", &["callbacks.rpc:"]);
        check(
            "send = \"http://h/\"\ntimeout = \"1h\"\n",
            &["callbacks.timeout:", "too large"],
        );
        check(
            "send = \"http://h/\"\non_failure = \"alow\"\n",
            &["did you mean allow?"],
        );
        check("", &["callbacks.secret_file:", "only with a back end"]);
        check(
            "on_failure = \"deny\"\n[webhooks]\noffline = \"http://h/\"\n",
            &["callbacks.on_failure:", "line 4", "that is asked"],
        );
        check(
            "[webhooks]\nofline = \"http://h/\"\n",
            &["webhooks.ofline:", "did you mean offline?", "line 5"],
        );
        check(
            "[webhooks]\npresence = \"http://h/\"\ngroups_up_to = 5\n",
            &["webhooks.groups_up_to:", "set offline"],
        );
        check(
            "send = \"http://h/\"\n[webhooks]\ngive_up = \"1d\"\n",
            &["webhooks.give_up:", "line 6", "set offline or presence"],
        );
        check(
            "[webhooks]\noffline = \"http://h/\"\ngive_up = \"31d\"\n",
            &["webhooks.give_up:", "too large"],
        );
        let said = said("dev_auth = true\ncallbacks = 5\n");
        assert!(
            said.contains("callbacks:") && said.contains("[callbacks]"),
            "{said}"
        );
    }

    #[test]
    fn webhooks_alone_need_the_secret_and_have_defaults() {
        let said = said("dev_auth = true\n[webhooks]\noffline = \"http://h/\"\n");
        assert!(said.contains("callbacks.secret_file:"), "{said}");
        let text = format!(
            "dev_auth = true\n[callbacks]\n{SECRET}[webhooks]\noffline = \"http://h/o\"\n\
             presence = \"http://h/p\"\n"
        );
        let config = Config::of_text(&text).unwrap();
        assert!(config.callbacks.is_empty() && config.has_back_ends());
        let hooks = &config.webhooks;
        assert_eq!(
            (hooks.give_up.as_secs(), hooks.largest_group),
            (259_200, 500)
        );
        let printed = config.to_toml();
        let table = "\n[webhooks]\noffline = \"http://h/o\"\npresence = \"http://h/p\"\n\
                     give_up = \"3d\"\ngroups_up_to = 500\n";
        assert!(printed.ends_with(table), "{printed}");
        let again = Config::of_text(&printed).unwrap();
        assert_eq!((&again.webhooks, again.to_toml()), (hooks, printed));
    }

    #[test]
    fn a_key_of_a_table_that_stands_outside_of_it_is_named() {
        let said = said("dev_auth = true\ncallbacks_send = \"http://h/\"\n");
        assert!(
            said.contains("[callbacks]") && said.contains("send"),
            "{said}"
        );
        let said = super::tests::said("dev_auth = true\n[callback]\nsend = \"http://h/\"\n");
        assert!(said.contains("did you mean callbacks?"), "{said}");
    }

    #[test]
    fn back_ends_get_signatures_and_decide_alone_only_where_that_is_safe() {
        let said = said("dev_auth = true\n[callbacks]\nsend = \"http://h/\"\n");
        assert!(
            said.contains("callbacks.secret_file:") && said.contains("openssl"),
            "{said}"
        );
        let alone = format!("[callbacks]\nconnect = \"http://h/\"\n{SECRET}");
        let config = Config::of_text(&alone).unwrap();
        assert_eq!(config.auth, trunkline_gateway::auth::Auth::BackEnd);
        let allow = alone + "on_failure = \"allow\"\n";
        let said = super::tests::said(&allow);
        assert!(said.contains("any name"), "{said}");
        assert!(Config::of_text(&format!("jwks = \"/k\"\n{allow}")).is_ok());
        let send = format!("[callbacks]\nsend = \"http://h/\"\n{SECRET}");
        assert!(super::tests::said(&send).contains("no way to know clients"));
    }
}
