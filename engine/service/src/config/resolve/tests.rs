use super::super::row::Default;
use super::*;

#[test]
fn a_file_comes_before_the_defaults() {
    let config = Config::of_text("dev_auth = true\nshards = 5\nping_interval = \"3s\"").unwrap();
    assert_eq!(config.shards, 5);
    assert_eq!(config.limits.ping_interval.as_secs(), 3);
    assert_eq!(config.listen.port(), 7700);
}

#[test]
fn the_printed_configuration_resolves_to_itself() {
    let text = "dev_auth = true\ndurability = \"interval:20\"\noutbox_bytes = \"3MB\"\n\
                allowed_origins = [\"https://a.example\", \"https://b.example\"]\n\
                log = \"trunkline=debug,info\"\nsync_life = \"keep\"\nlog_format = \"json\"";
    let config = Config::of_text(text).unwrap();
    let again = Config::of_text(&config.to_toml()).unwrap();
    assert_eq!(config.to_toml(), again.to_toml());
    let printed = config.to_toml();
    assert!(printed.contains("outbox_bytes = \"3MB\""), "{printed}");
    assert_eq!(again.limits.origins.list.len(), 2);
    assert_eq!(again.sync_life, None);
}

#[test]
fn a_node_of_a_cluster_is_checked_before_it_starts() {
    let text = |cluster: &str, node: &str, nats: &str, more: &str| {
        format!(
            "dev_auth = true\ncluster = \"{cluster}\"\nnode = \"{node}\"\nnats = \"{nats}\"\n{more}"
        )
    };
    let servers = "nats://a:4222, tls://b";
    let config = Config::of_text(&text("chat", "n-1", servers, "")).unwrap();
    assert_eq!(config.limits.content.message_bytes, 256 << 10);
    let long = "x".repeat(33);
    for (text, setting) in [
        (text("a b", "n", servers, ""), "cluster:"),
        (text("chat", "a.b", servers, ""), "node:"),
        (text("chat", &long, servers, ""), "node:"),
        (text("chat", "n", "http://a", ""), "nats:"),
        (text("chat", "n", "nats://a,nats://b:port", ""), "nats:"),
        (text("chat", "n", "nats://u:p@a", ""), "nats:"),
        // Of the 256 KiB that a node forwards.
        (
            text("chat", "n", servers, "text_bytes = \"512KiB\""),
            "text_bytes:",
        ),
        (
            text("chat", "n", servers, "message_bytes = \"1MiB\""),
            "message_bytes:",
        ),
    ] {
        let error = Config::of_text(&text).unwrap_err().to_string();
        assert!(error.starts_with(setting), "{text}: {error}");
        assert!(!error.contains('\n'), "one problem: {error}");
        assert!(!error.contains("u:p"), "{error}");
    }
}

#[test]
fn what_cannot_work_is_named() {
    let check = |text: &str, setting: &str| {
        let error = Config::of_text(text).unwrap_err().to_string();
        assert!(error.starts_with(setting), "{text}: {error}");
        assert!(!error.contains('\n'), "one problem: {error}");
    };
    check("", "dev_auth:");
    check("dev_auth = true\nlisten = \"0.0.0.0:7700\"", "listen:");
    check("dev_auth = true\ncontrol = \"10.0.0.1:1\"", "control:");
    check("dev_auth = true\ntls_cert = \"c.pem\"", "tls_key:");
    check("dev_auth = true\ntls_key = \"k.pem\"", "tls_cert:");
    check("dev_auth = true\nshards = 0", "shards:");
    check("dev_auth = true\nshards = 129", "shards:");
    check("dev_auth = true\nmessage_bytes = \"1B\"", "message_bytes:");
    check("dev_auth = true\nmessage_bytes = 1", "message_bytes:");
    check("dev_auth = true\ntext_bytes = \"2MiB\"", "text_bytes:");
    check("dev_auth = true\nkey_bytes = \"0B\"", "key_bytes:");
    check(
        "dev_auth = true\nsegment_bytes = \"1MiB\"",
        "segment_bytes:",
    );
    check(
        "dev_auth = true\nsegment_bytes = \"67108865B\"",
        "segment_bytes:",
    );
    check("dev_auth = true\nsync_life = \"1h\"", "sync_life:");
    check("dev_auth = true\nmessage_life = \"2d\"", "message_life:");
    check("dev_auth = true\ndrain_window = \"11s\"", "drain_window:");
    check("dev_auth = true\npong_timeout = \"1ms\"", "pong_timeout:");
    check("dev_auth = true\nreceipt_fanout = 65", "receipt_fanout:");
    check("dev_auth = true\nlog = \"a=b=c\"", "log:");
    check("dev_auth = true\nlisten = \"\"", "listen:");
    check("dev_auth = true\nshard = 1", "shard:");
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let text = "listne = \"x\"\nshards = 0\nmax_pages = 300\nping_interval = \"5\"\ndata = \"\"\n\
                tls_cert = \"c\"\ntext_bytes = \"2MiB\"";
    let error = Config::of_text(text).unwrap_err();
    let ConfigError::Settings(problems) = &error else {
        panic!("{error}");
    };
    let mut names: Vec<_> = problems.iter().map(|problem| &*problem.setting).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "data",
            "dev_auth",
            "listne",
            "max_pages",
            "ping_interval",
            "shards",
            "text_bytes",
            "tls_key"
        ]
    );
    let said = error.to_string();
    assert!(said.starts_with("8 settings cannot be used:\n"), "{said}");
    assert_eq!(said.lines().count(), 9, "{said}");
    assert_eq!(error.one_line().lines().count(), 1);
}

/// The bounds and defaults of the table are text. Each must be a valid value of its setting. A
/// value that another package knows too must be equal to its constant.
#[test]
fn bounds_and_defaults_are_values() {
    for row in ROWS {
        for text in [row.least, row.most].into_iter().flatten() {
            assert!(bound(row, text).is_some(), "{}: {text}", row.name);
        }
        for mode in [false, true] {
            if let Some(text) = row.fixed_default(mode) {
                let read =
                    Settings::default().read(row.name, &Written::Word(text.into()), Path::new(""));
                assert_eq!(read, Ok(()), "{}: {text}", row.name);
            }
        }
    }
    let row = |name: &str| ROWS.iter().find(|row| row.name == name).unwrap();
    let most = |name: &str| row(name).most.unwrap().parse::<usize>().unwrap();
    assert_eq!(most("shards"), MAX_SHARDS);
    assert_eq!(most("receipt_fanout"), trunkline_core::event::MOST_TOLD);
    let least = row("conversation_cache").least.unwrap();
    assert_eq!(
        least,
        trunkline_core::sequencer::MIN_CONVERSATIONS.to_string()
    );
}

#[test]
fn every_setting_without_a_value_is_filled_or_off() {
    let config = Config::of_text("dev_auth = true").unwrap();
    for row in ROWS {
        // Without tokens there is no leeway, and without back ends nothing about them.
        let is_of_others = row.name == "jwt_leeway" || row.place().is_some();
        let is_off = row.default == Default::Off || is_of_others;
        let value = config.settings.value(row.name);
        assert_eq!(value.is_none(), is_off, "{}: {value:?}", row.name);
    }
}

#[test]
fn rates_are_unlimited_in_development_and_a_users_are_twice_a_connections() {
    let rates = |text: &str| {
        let limits = Config::of_text(text).unwrap().limits;
        (limits.connection_rates, limits.user_rates)
    };
    let none = Rates {
        messages: 0,
        bytes: 0,
        commands: 0,
    };
    assert_eq!(rates("dev_auth = true"), (none, none));
    let tokens = Rates {
        messages: 100,
        bytes: 1 << 20,
        commands: 500,
    };
    assert_eq!(rates("jwks = \"k\""), (tokens, tokens.twice()));
    let (connection, user) =
        rates("dev_auth = true\nrate_messages = 7\nuser_rate_commands = 5\nrate_bytes = \"5GiB\"");
    assert_eq!((connection.messages, connection.commands), (7, 0));
    assert_eq!((user.messages, user.commands), (14, 5));
    assert_eq!((connection.bytes, user.bytes), (u32::MAX, u32::MAX));
}
