//! Settings come from flags, environment, file and defaults, in this order.

use std::path::Path;

use trunkline_tests::gateway::Setup;
use trunkline_tests::process::Exit;

/// Returns a configuration file with these lines.
fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file can be made");
    std::fs::write(file.path(), text).expect("a file can be written");
    file
}

fn with_file(path: &Path) -> Setup {
    Setup::bare().flag("config", path.display())
}

/// `check-config` must print this line.
fn check(setup: &Setup, line: &str) {
    let exit = setup.run("check-config");
    assert!(exit.status.success(), "{exit:?}");
    assert!(
        exit.stdout.lines().any(|printed| printed == line),
        "{line} is not in {}",
        exit.stdout
    );
}

/// `check-config` and `serve` must both refuse, for the same reason.
fn check_refused(setup: &Setup, words: &[&str]) {
    for subcommand in ["check-config", "serve"] {
        let Exit {
            status,
            stdout,
            stderr,
        } = setup.run(subcommand);
        assert_eq!((status.code(), stdout.as_str()), (Some(2), ""), "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{word:?} is not in {stderr}");
        }
    }
}

#[test]
fn what_check_config_prints_resolves_to_itself() {
    let odd = Setup::bare()
        .flag("dev-auth", "true")
        .flag("listen", "[::1]:17700")
        .flag("durability", "interval:250")
        .flag("shards", 7)
        .flag("outbox-bytes", "3MB")
        .flag("ping-interval", "1500ms")
        .flag("log-format", "json")
        .flag("log", "trunkline=debug,info")
        .flag("data", "/srv/a \"quoted\" folder");
    for setup in [Setup::bare().flag("dev-auth", "true"), odd] {
        let first = setup.run("check-config");
        assert!(first.status.success(), "{first:?}");
        let printed = file(&first.stdout);
        let second = with_file(printed.path()).run("check-config");
        assert_eq!(second.stdout, first.stdout, "{second:?}");
    }
}

#[test]
fn flag_before_environment_before_file_before_default() {
    let file = file("dev_auth = true\nshards = 5\nping_interval = \"9s\"\ntext_bytes = \"5KiB\"\n");
    let base = with_file(file.path());
    let environment = base
        .clone()
        .environment("TRUNKLINE_SHARDS", "6")
        .environment("TRUNKLINE_PING_INTERVAL", "8s");
    let flag = environment.clone().flag("shards", 7);
    check(&base, "shards = 5");
    check(&base, "listen = \"127.0.0.1:7700\"");
    check(&environment, "shards = 6");
    check(&flag, "shards = 7");
    check(&flag, "ping_interval = \"8s\"");
    check(&flag, "text_bytes = \"5KiB\"");
    check(&flag, "pong_timeout = \"10s\"");
    // The file itself can be named by the environment, and a gateway runs on all of it.
    let path = file.path().to_str().expect("a path in UTF-8");
    let named = Setup::bare().environment("TRUNKLINE_CONFIG", path);
    check(&named, "shards = 5");
    let free = ["listen", "control"]
        .into_iter()
        .fold(named, |setup, flag| setup.flag(flag, "127.0.0.1:0"));
    let gateway = free.environment("TRUNKLINE_SHARDS", "1").start();
    assert!(
        gateway.ready_line().contains(" shards=1 "),
        "{}",
        gateway.ready_line()
    );
    let client = gateway.dial().connect("alice", "phone");
    assert_eq!(
        (
            &client.opening()["ping_ms"],
            &client.opening()["limits"]["text_bytes"]
        ),
        (&9_000.into(), &5_120.into())
    );
}

#[test]
fn what_is_wrong_and_where() {
    let in_file = [
        ("dev_auth = true\n\nshard = 4\n", vec!["line 3", "shard"]),
        (
            "dev_auth = true\nshards = \"many\"\n",
            vec!["line 2", "many"],
        ),
        (
            "ping_interval = \"25\"\ndev_auth = true\n",
            vec!["line 1", "needs a unit"],
        ),
        (
            "dev_auth = true\noutbox_bytes = \"64kb\"\n",
            vec!["line 2", "KiB"],
        ),
        (
            "dev_auth = true\ndurability = \"fast\"\n",
            vec!["line 2", "interval:"],
        ),
        (
            "dev_auth = true\nlisten = \"localhost\"\n",
            vec!["line 2", "localhost:7700"],
        ),
        ("dev_auth = true\n[shards\n", vec!["line 2"]),
        ("callbacks.timeout = \"2\"\n", vec!["such as 2s"]),
    ];
    for (text, mut words) in in_file {
        let file = file(text);
        let path = file.path().display().to_string();
        words.push(&path);
        check_refused(&with_file(file.path()), &words);
    }
    let base = Setup::bare().flag("dev-auth", "true");
    let by_flag = [
        ("shards", "0", vec!["shards", "1 to"]),
        ("shards", "many", vec!["--shards", "many"]),
        (
            "max-connections",
            "0",
            vec!["max_connections", "at least 1"],
        ),
        (
            "message-bytes",
            "100MiB",
            vec!["message_bytes", "from 1KiB"],
        ),
        ("text-bytes", "2MiB", vec!["text_bytes"]),
        ("outbox-bytes", "1KiB", vec!["outbox_bytes", "4KiB"]),
        (
            "shard-buffer-bytes",
            "1MiB",
            vec!["shard_buffer_bytes", "outbox_bytes"],
        ),
        ("header-bytes", "100B", vec!["header_bytes", "1KiB"]),
        ("max-opening", "0", vec!["max_opening", "at least 1"]),
        ("control-frames", "70000", vec!["--control-frames", "70000"]),
        ("message-timeout", "1ms", vec!["message_timeout", "100ms"]),
        ("drain-window", "15s", vec!["drain_window", "drain_timeout"]),
        ("pong-timeout", "1ms", vec!["pong_timeout", "100ms"]),
        ("durability", "interval:0", vec!["--durability", "60000"]),
        ("nonsense", "1", vec!["--nonsense"]),
    ];
    for (flag, value, words) in by_flag {
        check_refused(&base.clone().flag(flag, value), &words);
    }
    check_refused(
        &with_file(Path::new("/nonexistent/trunkline.toml")),
        &["/nonexistent/trunkline.toml", "No such file"],
    );
    check_refused(
        &base.environment("TRUNKLINE_SHARDS", "x"),
        &["shards", "'x'"],
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let file = file("dev_auth = true\nshard = 4\nping_interval = 25\n[nonsense]\n");
    let path = file.path().display().to_string();
    let setup = with_file(file.path())
        .flag("max-pages", "many")
        .environment("TRUNKLINE_OUTBOX_BYTES", "64kb")
        .environment("TRUNKLINE_SHARDZ", "4");
    check_refused(
        &setup,
        &[
            "6 settings cannot be used",
            "shard: there is no setting of this name; did you mean shards?",
            &format!("(set by {path}, line 2)"),
            "ping_interval: '25' needs a unit, one of ms, s, m, h, d, such as 25s, in quotes",
            &format!("(set by {path}, line 3)"),
            "nonsense: there is no setting of this name",
            &format!("(set by {path}, line 4)"),
            "max_pages: 'many' is not a whole number, such as 4 (set by --max-pages)",
            "outbox_bytes: '64kb' needs a unit, one of B, KB, KiB",
            "(set by the environment variable TRUNKLINE_OUTBOX_BYTES)",
            "TRUNKLINE_SHARDZ: this environment variable is no setting of the gateway; did you mean TRUNKLINE_SHARDS?",
        ],
    );
}

/// One mistake is one line, and what follows from it is not told.
#[test]
fn a_value_without_quotes_is_one_mistake() {
    for (text, fix) in [
        ("data = ./d2\n", "data = \"./d2\""),
        (
            "listen = 127.0.0.1:7700\ndev_auth = true\n",
            "listen = \"127.0.0.1:7700\"",
        ),
        ("[webhooks]\ngive_up = 3d\n", "give_up = \"3d\""),
    ] {
        let file = file(text);
        let setup = with_file(file.path());
        check_refused(&setup, &[fix, "text is in quotes"]);
        let stderr = setup.run("check-config").stderr;
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn words_are_no_names_of_types() {
    let base = Setup::bare().flag("dev-auth", "true");
    for setup in [
        base.clone().flag("shards", "-1"),
        base.clone().flag("max-pages", "300"),
        base.clone().flag("rate-messages", "1.5"),
        base.clone().environment("TRUNKLINE_MEMBERS_ADD", "yes"),
        base.environment("TRUNKLINE_CONTROL_FRAMES", "x"),
    ] {
        let stderr = setup.run("check-config").stderr;
        for word in ["u8", "u16", "u32", "usize", "invalid digit", "parse"] {
            assert!(!stderr.contains(word), "{word} in {stderr}");
        }
    }
}

/// Variables that a container platform makes for a service called `trunkline` are no mistakes.
#[test]
fn variables_of_a_container_platform_are_left_alone() {
    let setup = Setup::bare()
        .flag("dev-auth", "true")
        .environment("TRUNKLINE_SERVICE_HOST", "10.0.0.1")
        .environment("TRUNKLINE_SERVICE_PORT_WS", "7700")
        .environment("TRUNKLINE_PORT", "tcp://10.0.0.1:7700")
        .environment("TRUNKLINE_PORT_7700_TCP_ADDR", "10.0.0.1");
    check(&setup, "dev_auth = true");
}

#[test]
fn paths_of_a_file_begin_at_the_file() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("gateway.toml");
    let text =
        "dev_auth = true\ndata = \"store\"\ntls_cert = \"chain.pem\"\ntls_key = \"key.pem\"\n";
    std::fs::write(&file, text).expect("a file can be written");
    // The error for a missing certificate has the path at which the gateway looked for it.
    let missing = folder.path().join("chain.pem").display().to_string();
    check_refused(&with_file(&file), &[&missing]);
    std::fs::write(&file, "dev_auth = true\ndata = \"store\"\n").expect("a file can be written");
    let store = folder.path().join("store").display().to_string();
    check(&with_file(&file), &format!("data = \"{store}\""));
    // That of a flag begins at the working directory.
    let here = std::env::current_dir().expect("a working directory");
    let data = here.join("store").display().to_string();
    check(
        &with_file(&file).flag("data", "store"),
        &format!("data = \"{data}\""),
    );
}

#[test]
fn names_can_be_listened_on() {
    let gateway = Setup::bare()
        .flag("dev-auth", "true")
        .flag("listen", "localhost:0")
        .flag("control", "localhost:0")
        .flag("http", "off")
        .start();
    assert!(gateway.control().ip().is_loopback());
    let unresolved = Setup::bare()
        .flag("dev-auth", "true")
        .flag("listen", "no.such.name.invalid:7700");
    check_refused(
        &unresolved,
        &[
            "listen: cannot resolve 'no.such.name.invalid:7700'",
            "--listen",
        ],
    );
}

/// Values of settings are printed and logged, so none of them may be a secret.
#[test]
fn addresses_of_nats_have_no_password() {
    let node = |urls| {
        Setup::bare()
            .flag("dev-auth", "true")
            .flag("cluster", "chat")
            .flag("node", "a")
            .flag("nats", urls)
    };
    let good = node("nats://127.0.0.1:4222,nats://127.0.0.1:4223").run("check-config");
    assert!(good.status.success(), "{good:?}");
    for urls in [
        "nats://ann:hidden@127.0.0.1:4222",
        "nats://127.0.0.1:4222,tls://hidden@127.0.0.1:4223",
    ] {
        let setup = node(urls);
        check_refused(&setup, &["nats", "nats_credentials FILE"]);
        let exit = setup.run("check-config");
        assert!(!exit.stderr.contains("hidden"), "{}", exit.stderr);
    }
}

#[test]
fn empty_values_are_refused() {
    let base = Setup::bare().flag("dev-auth", "true");
    for name in [
        "listen",
        "data",
        "tls_cert",
        "jwt_issuer",
        "log",
        "shards",
        "log_format",
        "sync_life",
    ] {
        let by_flag = base.clone().flag(&name.replace('_', "-"), "");
        check_refused(&by_flag, &[&format!("{name}: the value is empty")]);
        let variable = format!("TRUNKLINE_{}", name.to_uppercase());
        let by_variable = base.clone().environment(&variable, "");
        check_refused(
            &by_variable,
            &[&format!("{name}: the value is empty"), &variable],
        );
        if name != "shards" {
            let file = file(&format!("dev_auth = true\n{name} = \"\"\n"));
            check_refused(
                &with_file(file.path()),
                &[&format!("{name}: the value is empty"), "line 2"],
            );
        }
    }
}
