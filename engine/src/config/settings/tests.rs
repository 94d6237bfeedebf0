use super::*;

fn file(text: &str) -> Settings {
    toml::from_str(text).unwrap()
}

#[test]
fn flags_come_before_the_file_before_the_defaults() {
    let flags = Settings {
        shards: Some(3),
        dev_auth: Some(true),
        ..Settings::default()
    };
    let config = flags
        .resolve(file("shards = 5\nping_interval = \"3s\""))
        .unwrap();
    assert_eq!(config.shards, 3);
    assert_eq!(config.limits.ping_interval.as_secs(), 3);
    assert_eq!(config.listen.port(), 7700);
}

#[test]
fn the_printed_configuration_resolves_to_itself() {
    let config = Settings::default()
        .resolve(file(
            "dev_auth = true\ndurability = \"interval:20\"\noutbox_bytes = \"3MB\"",
        ))
        .unwrap();
    let again = Settings::default()
        .resolve(file(&config.to_toml()))
        .unwrap();
    assert_eq!(config.to_toml(), again.to_toml());
    assert!(config.to_toml().contains("outbox_bytes = \"3MB\""));
}

#[test]
fn what_cannot_work_is_named() {
    let check = |text: &str, setting: &str| {
        let error = Settings::default()
            .resolve(file(text))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(setting), "{text}: {error}");
    };
    check("", "dev_auth:");
    check("dev_auth = true\nlisten = \"0.0.0.0:7700\"", "listen:");
    check("dev_auth = true\ncontrol = \"10.0.0.1:1\"", "control:");
    check("dev_auth = true\ntls_cert = \"c.pem\"", "tls_key:");
    check("dev_auth = true\ntls_key = \"k.pem\"", "tls_cert:");
    check("dev_auth = true\nshards = 0", "shards:");
    check("dev_auth = true\nshards = 129", "shards:");
    check("dev_auth = true\nmessage_bytes = \"1B\"", "message_bytes:");
    check("dev_auth = true\ntext_bytes = \"2MiB\"", "text_bytes:");
    check("dev_auth = true\npong_timeout = \"1ms\"", "pong_timeout:");
    check("dev_auth = true\nlog = \"a=b=c\"", "log:");
    let unknown = toml::from_str::<Settings>("shard = 1")
        .unwrap_err()
        .to_string();
    assert!(
        unknown.contains("shard") && unknown.contains("line 1"),
        "{unknown}"
    );
}
