//! SIGHUP and other signals: settings that are read again, settings that wait for the next start,
//! and the log lines.

use std::net::TcpStream;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::json;
use tempfile::TempDir;
use trunkline_tests::api::Api;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::http;
use trunkline_tests::process::Process;
use trunkline_tests::tls::Authority;
use trunkline_tests::tokens::{Signer, claims, claims_with};
use trunkline_tests::wait::until;

/// A gateway with a configuration file, and a reader of its log.
struct Configured {
    gateway: Gateway,
    file: PathBuf,
    folder: TempDir,
    /// The bytes of the log that were read.
    seen: usize,
}

impl Configured {
    fn start(setup: Setup, text: &str) -> Self {
        let folder = TempDir::with_prefix("trunkline-reload-").expect("a folder can be made");
        let file = folder.path().join("gateway.toml");
        std::fs::write(&file, text).expect("a file can be written");
        Self {
            gateway: setup.flag("config", file.display()).start(),
            file,
            folder,
            seen: 0,
        }
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.file, text).expect("a file can be written");
    }

    fn reloads(&self, result: &str) -> f64 {
        let name = format!("trunkline_config_reloads_total{{result={result:?}}}");
        self.gateway.metric(&name)
    }

    /// Sends SIGHUP and returns what the gateway logs about it.
    fn reload(&mut self, result: &str) -> String {
        let before = self.reloads(result);
        self.gateway.process().signal(Signal::SIGHUP);
        until("the configuration to be read", || {
            (self.reloads(result) == before + 1.0).then_some(())
        });
        // Lines are written in order: once this line is there, all earlier lines are.
        self.gateway.process().signal(Signal::SIGUSR1);
        until("the log to say so", || {
            let said = self.gateway.process().stderr();
            let new = said.get(self.seen..).unwrap_or_default().to_owned();
            let whole = new.contains("has no meaning for the gateway") && new.ends_with('\n');
            whole.then(|| {
                self.seen = said.len();
                new
            })
        })
    }
}

/// Returns a line of the log that contains all these words.
#[track_caller]
fn has_line(log: &str, words: &[&str]) {
    let found = log
        .lines()
        .any(|line| words.iter().all(|word| line.contains(word)));
    assert!(found, "no line with {words:?} in:\n{log}");
}

const NEXT_START: &str = "takes effect at the next start";
const NOW: &str = "in effect from now on";

#[test]
fn what_a_changed_file_means() {
    let base = "max_connections = 1000\nping_interval = \"30s\"\n";
    let setup = Setup::default().without("ping-interval");
    let mut it = Configured::start(setup, base);
    let log = it.reload("ok");
    has_line(&log, &["INFO", "no setting has changed"]);
    // In another order, and with a default said in words: still no change.
    it.write("max_pages = 32\nping_interval = \"30000ms\"\nmax_connections = 1_000\n");
    has_line(&it.reload("ok"), &["no setting has changed"]);

    it.write("max_connections = 2000\n");
    for _ in 0..2 {
        // As long as it is not in effect.
        let log = it.reload("ok");
        has_line(
            &log,
            &["WARN", "max_connections", "1000", "2000", NEXT_START],
        );
        has_line(&log, &["ping_interval", "30s", "25s", NEXT_START]);
        assert_eq!(log.matches(NEXT_START).count(), 2, "{log}");
        assert!(!log.contains(NOW), "{log}");
    }
    // What a flag says comes before the file.
    it.write(&format!("{base}shards = 7\n"));
    has_line(&it.reload("ok"), &["no setting has changed"]);
    it.gateway.stop();
}

#[test]
fn a_file_that_cannot_be_used_changes_nothing() {
    let mut it = Configured::start(Setup::default(), "max_pages = 5\n");
    let file = it.file.display().to_string();
    for (text, word) in [
        ("max_pages = \"many\"\n", "max_pages"),
        ("max_page = 5\n", "max_page"),
        ("max_pages = 5\nlog = \"a=b=c\"\n", "log"),
        ("[[[", "line 1"),
    ] {
        it.write(text);
        let log = it.reload("failed");
        has_line(&log, &["ERROR", "keeping the configuration", word]);
        assert!(!log.contains(NEXT_START), "{log}");
    }
    std::fs::remove_file(&it.file).expect("a file can be removed");
    has_line(&it.reload("failed"), &["ERROR", "keeping", &file]);
    it.write("max_pages = 5\n");
    has_line(&it.reload("ok"), &["no setting has changed"]);
    assert_eq!(it.reloads("failed"), 5.0);
    it.gateway.dial().connect("alice", "phone").ping();
    it.gateway.stop();
}

#[test]
fn the_filter_of_the_log() {
    let mut it = Configured::start(Setup::default(), "log = \"info\"\n");
    it.write("log = \"trunkline=warn\"\n");
    it.gateway.process().signal(Signal::SIGHUP);
    until("the file to be read", || {
        (it.reloads("ok") == 1.0).then_some(())
    });
    it.write("log = \"info\"\n");
    let log = it.reload("ok");
    // Both changes are said, each as the filter that was in force then would have it.
    has_line(&log, &["log", "trunkline=warn", "info", NOW]);
    assert!(!log.contains(NEXT_START), "{log}");
    it.gateway.stop();
}

/// A configuration file that changes names other files and another issuer.
#[test]
fn keys_and_certificates_of_other_files() {
    let folder = TempDir::with_prefix("trunkline-reload-").expect("a folder can be made");
    let authority = Authority::new();
    let (old, new) = (Signer::edwards(), Signer::ecdsa());
    let old_key = old.write(folder.path(), "old.pem");
    let new_key = new.write(folder.path(), "new.pem");
    let (old_files, new_files) = (authority.issue("old"), authority.issue("new"));
    let text = |key: &PathBuf, files: &trunkline_tests::tls::Files, more: &str| {
        format!(
            "jwt_key = {:?}\ntls_cert = {:?}\ntls_key = {:?}\n{more}",
            key.display().to_string(),
            files.cert.display().to_string(),
            files.key.display().to_string(),
        )
    };
    let setup = Setup::default()
        .tls(&old_files, &authority.trust())
        .without("tls-cert")
        .without("tls-key")
        .without("dev-auth");
    let mut it = Configured::start(setup, &text(&old_key, &old_files, ""));
    let shown = |it: &Configured| {
        let stream = authority.trust().shake(it.gateway.ws());
        trunkline_tests::tls::shown(&stream.expect("a hand-shake"))
    };
    let connect = |it: &Configured, token: String| {
        let dial = it.gateway.dial().with("token", token);
        dial.connect("alice", "phone").ping();
    };
    assert_eq!(shown(&it), trunkline_tests::tls::first_of(&old_files.cert));
    connect(&it, old.sign(&claims("alice")));

    it.write(&text(&new_key, &new_files, "jwt_issuer = \"https://id\"\n"));
    let log = it.reload("ok");
    for setting in ["jwt_key", "jwt_issuer", "tls_cert", "tls_key"] {
        has_line(&log, &[setting, NOW]);
    }
    assert_eq!(shown(&it), trunkline_tests::tls::first_of(&new_files.cert));
    connect(
        &it,
        new.sign(&claims_with("alice", json!({"iss": "https://id"}))),
    );

    // One of the two cannot be used and stays in force. The other one changes.
    let missing = folder.path().join("missing");
    it.write(&text(&missing, &old_files, "jwt_issuer = \"https://id\"\n"));
    let log = it.reload("ok");
    has_line(&log, &["ERROR", "keeping the keys", "missing"]);
    has_line(&log, &["jwt_key", "not in effect"]);
    has_line(&log, &["tls_cert", NOW]);
    assert_eq!(shown(&it), trunkline_tests::tls::first_of(&old_files.cert));
    connect(
        &it,
        new.sign(&claims_with("alice", json!({"iss": "https://id"}))),
    );

    // Whether there are tokens is decided at the start, with all that follows from it.
    let key = text(&new_key, &old_files, "").replace("jwt_key", "#");
    it.write(&format!("{key}\ndev_auth = true\n"));
    let log = it.reload("ok");
    has_line(&log, &["dev_auth", "false", "true", NEXT_START]);
    has_line(&log, &["jwt_key", "not set", NEXT_START]);
    has_line(&log, &["jwt_issuer", "not set", NEXT_START]);
    connect(
        &it,
        new.sign(&claims_with("alice", json!({"iss": "https://id"}))),
    );
    it.gateway.stop();
    drop(it.folder);
}

#[test]
fn signals_that_change_nothing() {
    let mut gateway = Setup::default().start();
    let signals = [
        (Signal::SIGHUP, "SIGHUP changes nothing"),
        (Signal::SIGUSR1, "SIGUSR1"),
        (Signal::SIGUSR2, "SIGUSR2"),
    ];
    for (signal, said) in signals {
        gateway.process().signal(signal);
        until("the log to say so", || {
            gateway.process().stderr().contains(said).then_some(())
        });
    }
    // The gateway ignores SIGPIPE, although it has no pipe.
    gateway.process().signal(Signal::SIGPIPE);
    gateway.dial().connect("alice", "phone").ping();
    gateway.stop();
}

#[test]
fn signals_while_it_stops() {
    let mut gateway = Setup::default()
        .flag("drain-window", "1h")
        .flag("drain-timeout", "2h")
        .start();
    let clients = ["a", "b", "c"].map(|name| gateway.dial().connect(name, "phone"));
    gateway.ask_to_stop();
    until("it to stop", || {
        (http::get(gateway.control(), "/readyz").status == 503).then_some(())
    });
    for (signal, said) in [
        (Signal::SIGHUP, "SIGHUP ignored"),
        (Signal::SIGUSR1, "SIGUSR1"),
        (Signal::SIGUSR2, "SIGUSR2"),
    ] {
        gateway.process().signal(signal);
        until("the log to say so", || {
            gateway.process().stderr().contains(said).then_some(())
        });
    }
    drop(clients);
    let exit = gateway.ended();
    assert!(exit.status.success(), "{exit:?}");
}

/// Signals are handled from the moment on that the program has set its handlers.
#[test]
fn signals_while_it_starts() {
    let folder = TempDir::with_prefix("trunkline-reload-").expect("a folder can be made");
    let setup = Setup::default().flag("data", folder.path().join("data").display());
    let mut process = Process::start(&mut setup.command("serve"));
    let status = format!("/proc/{}/status", process.id());
    until("it to watch SIGHUP", || {
        let status = std::fs::read_to_string(&status).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught?.trim(), 16).ok()?;
        (caught & 1 << (Signal::SIGHUP as u64 - 1) != 0).then_some(())
    });
    for signal in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2] {
        process.signal(signal);
    }
    let line = process.line().expect("it gets ready");
    assert!(line.starts_with("ready "), "{line}");
    process.signal(Signal::SIGTERM);
    let exit = process.ended();
    assert!(exit.status.success(), "{exit:?}");
}

#[test]
fn trusted_proxies_are_read_again() {
    let setup = Setup::default().http().flag("connections-per-address", 1);
    let mut it = Configured::start(setup, "trusted_proxies = []\n");
    let connect = |gateway: &Gateway, client: &str| {
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {client}\r\n\
             Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let stream = TcpStream::connect(gateway.ws()).expect("the port is open");
        let kept = stream.try_clone().expect("a descriptor");
        (
            http::upgrade_on(stream, request.as_bytes())[9..12].to_owned(),
            kept,
        )
    };
    // Both headers name other clients, which a trusted proxy must not do.
    let unclear = |gateway: &Gateway| {
        let api = Api::of(gateway).user("alice");
        let api = api.header("X-Forwarded-For", "192.0.2.7");
        let api = api.header("Forwarded", "for=192.0.2.8");
        api.ask("POST", "/api/v1/conversations", None).status
    };
    let gone = |gateway: &Gateway| {
        until("connections to go", || {
            (gateway.metric("trunkline_connections") == 0.0).then_some(())
        });
    };
    let first = connect(&it.gateway, "192.0.2.1");
    assert_eq!(
        (&*first.0, &*connect(&it.gateway, "192.0.2.2").0),
        ("101", "429")
    );
    drop(first);
    gone(&it.gateway);
    assert_eq!(unclear(&it.gateway), 200);
    it.write("trusted_proxies = [\"127.0.0.1\"]\n");
    has_line(&it.reload("ok"), &["trusted_proxies", "127.0.0.1", NOW]);
    let (first, second) = (
        connect(&it.gateway, "192.0.2.1"),
        connect(&it.gateway, "192.0.2.2"),
    );
    assert_eq!((&*first.0, &*second.0), ("101", "101"));
    assert_eq!(connect(&it.gateway, "192.0.2.2").0, "429");
    assert_eq!(unclear(&it.gateway), 400);
    it.write("trusted_proxies = [\"127.0.0.1\"]\nproxy_header = \"x-forwarded-for\"\n");
    has_line(&it.reload("ok"), &["proxy_header", "x-forwarded-for", NOW]);
    assert_eq!(unclear(&it.gateway), 200);
    // A file that cannot be used changes nothing.
    it.write("trusted_proxies = [\"localhost\"]\n");
    it.reload("failed");
    drop((first, second));
    gone(&it.gateway);
    let (first, second) = (
        connect(&it.gateway, "192.0.2.1"),
        connect(&it.gateway, "192.0.2.2"),
    );
    assert_eq!((&*first.0, &*second.0), ("101", "101"));
}
