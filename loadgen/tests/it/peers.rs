//! Runs against the servers of others, unmodified. A server that is not installed is skipped with a
//! word; `tests/run` installs them.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::harness::{Loadgen, number, scenario, until};

/// A server of others. Dropping it ends it.
#[derive(Debug)]
struct Peer {
    child: Child,
    port: u16,
    /// The files of the server.
    _folder: Option<TempDir>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    /// Starts a script of `loadgen/peers`, which prints its port.
    fn script(program: &Path, name: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("peers")
            .join(name);
        let mut child = Command::new(program)
            .arg(script)
            .arg("0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("its output");
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        let port = line
            .trim()
            .rsplit(' ')
            .next()
            .and_then(|it| it.parse().ok());
        Self {
            child,
            port: port.unwrap_or_else(|| panic!("{name} said {line:?}: {read:?}")),
            _folder: None,
        }
    }

    /// Starts a program whose configuration has a free port, and waits until it listens.
    fn configured(
        file: &str,
        config: impl Fn(u16, &Path) -> String,
        command: impl Fn(&Path) -> Command,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let path = folder.path().join(file);
        let mut written = std::fs::File::create(&path).expect("a file");
        let text = config(port, folder.path());
        written.write_all(text.as_bytes()).expect("a file");
        let log = std::fs::File::create(folder.path().join("log")).expect("a file");
        let child = command(&path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("the program starts");
        let peer = Self {
            child,
            port,
            _folder: Some(folder),
        };
        until("the server to listen", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        peer
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Returns the path of a program, from a variable that `tests/run` sets or from the search path.
fn installed(variable: &str, name: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let folders = std::env::split_paths(&path).chain(system);
    let found = named.filter(|it| it.exists()).or_else(|| {
        { folders }
            .map(|folder| folder.join(name))
            .find(|it| it.is_file())
    });
    if found.is_none() {
        eprintln!("skipped: there is no {name}; tests/run installs it");
    }
    found
}

/// Returns Node.js, if it has the package.
fn node(package: &str) -> Option<PathBuf> {
    let node = installed("TRUNKLINE_TEST_NODE", "node")?;
    let has = Command::new(&node)
        .args(["-e", &format!("require.resolve('{package}')")])
        .stderr(Stdio::null())
        .status();
    if has.is_ok_and(|it| it.success()) {
        return Some(node);
    }
    eprintln!("skipped: Node.js has no package {package}; tests/run installs it");
    None
}

/// Plays the scenario against a peer: nothing may be lost, repeated or out of order.
fn check(peer: &Peer, protocol: &str, url: &str, acknowledges: bool) {
    let url = url.replace("PORT", &peer.port.to_string());
    // Longer than a second, so that the server's and the client's pings happen.
    let text = scenario(&[("duration = \"1s\"", "duration = \"3s\"")]);
    let done = Loadgen::run(&text, &["--target", &url, "--protocol", protocol]).done();
    let summary = done.expect(0, "ok");
    let attempted = number(&summary, "counts.attempted");
    assert!(attempted > 100.0, "{summary}");
    // What is sent within a second after an opening that the server does not confirm is not owed.
    assert_eq!(
        number(&summary, "counts.message_pushes"),
        attempted,
        "{}",
        done.stdout
    );
    assert_eq!(number(&summary, "counts.strange"), 0.0, "{}", done.stdout);
    let acknowledged = number(&summary, "counts.acknowledged");
    let expected = if acknowledges { attempted } else { 0.0 };
    assert_eq!(acknowledged, expected, "{}", done.stdout);
}

#[test]
fn a_chat_on_bun() {
    let Some(bun) = installed("TRUNKLINE_TEST_BUN", "bun") else {
        return;
    };
    let peer = Peer::script(&bun, "chat-bun.js");
    check(&peer, "bun-chat", "ws://127.0.0.1:PORT", true);
}

#[test]
fn a_chat_on_node() {
    let Some(node) = node("ws") else {
        return;
    };
    let peer = Peer::script(&node, "chat-ws.js");
    check(&peer, "ws-chat", "ws://127.0.0.1:PORT", true);
}

#[test]
fn the_broker_aedes() {
    let Some(node) = node("aedes") else {
        return;
    };
    let peer = Peer::script(&node, "aedes.js");
    check(&peer, "aedes", "ws://127.0.0.1:PORT", true);
}

#[test]
fn the_server_of_nats() {
    let Some(nats) = installed("TRUNKLINE_TEST_NATS", "nats-server") else {
        return;
    };
    let config = |port: u16, _: &Path| {
        format!(
            "listen: \"127.0.0.1:-1\"\nwebsocket {{ host: \"127.0.0.1\", port: {port}, no_tls: true }}\n"
        )
    };
    let peer = Peer::configured("nats.conf", config, |file| {
        let mut command = Command::new(&nats);
        command.arg("-c").arg(file);
        command
    });
    check(&peer, "nats", "ws://127.0.0.1:PORT", false);
}

#[test]
fn mosquitto_over_tcp() {
    let Some(program) = installed("TRUNKLINE_TEST_MOSQUITTO", "mosquitto") else {
        return;
    };
    let config = |port: u16, _: &Path| {
        format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nuser root\n"
        )
    };
    let peer = Peer::configured("mosquitto.conf", config, |file| {
        let mut command = Command::new(&program);
        command.arg("-c").arg(file);
        command
    });
    check(&peer, "mosquitto", "mqtt://127.0.0.1:PORT", true);
}

#[test]
fn mqtt_over_websocket_without_acknowledgements() {
    let Some(node) = node("aedes") else {
        return;
    };
    let peer = Peer::script(&node, "aedes.js");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("own.toml");
    let text = "[protocol]\nkind = \"mqtt\"\nversion = \"3.1.1\"\nqos = 0\n";
    std::fs::write(&file, text).expect("a file");
    let file = file.to_str().expect("a path");
    check(&peer, file, "ws://127.0.0.1:PORT", false);
}

#[test]
fn ejabberd() {
    let libraries = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"].map(Path::new);
    let has = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        { entries }.any(|it| it.file_name().to_string_lossy().starts_with("ejabberd-"))
    };
    let found = libraries.into_iter().find(|folder| has(folder));
    let (Some(libraries), Some(erl)) = (found, installed("TRUNKLINE_TEST_ERL", "erl")) else {
        eprintln!("skipped: there is no ejabberd; tests/run installs it");
        return;
    };
    let config = |port: u16, folder: &Path| {
        let log = folder.join("ejabberd.log");
        std::fs::create_dir(folder.join("spool")).expect("a folder");
        std::fs::write(log, "").expect("a file");
        format!(
            "loglevel: warning
hosts: [localhost]
listen:
  - port: {port}
    ip: \"127.0.0.1\"
    module: ejabberd_http
    request_handlers:
      /ws: ejabberd_http_ws
auth_method: [anonymous]
anonymous_protocol: login_anon
modules:
  mod_legacy_auth: {{}}
"
        )
    };
    let peer = Peer::configured("ejabberd.yml", config, |file| {
        let folder = file.parent().expect("a folder");
        let quoted = |path: PathBuf| format!("{:?}", path.display().to_string());
        let mut command = Command::new(&erl);
        command
            .env("ERL_LIBS", libraries)
            .env("EJABBERD_CONFIG_PATH", file)
            .env("HOME", folder)
            .args(["-noinput", "-mnesia", "dir"])
            .arg(quoted(folder.join("spool")))
            .args(["-ejabberd", "config"])
            .arg(quoted(file.to_owned()))
            .arg("log_path")
            .arg(quoted(folder.join("ejabberd.log")))
            .args(["-s", "ejabberd"]);
        command
    });
    check(&peer, "ejabberd", "ws://127.0.0.1:PORT/ws", false);
}
