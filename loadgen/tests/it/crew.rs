//! A real NATS server, agents that wait for runs over it, and checks of the summary of a run that they play. Without a
//! NATS server tests are skipped with a word; `tests/run` installs it.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Done, Loadgen, number, sentences, until};

/// The program under test.
pub(crate) const LOADGEN: &str = env!("CARGO_BIN_EXE_loadgen");

/// Eight users for each of three agents.
pub(crate) const USERS: (&str, &str) = ("users = 12", "users = 24");

/// A running NATS server. Dropping it ends it.
pub(crate) struct Nats {
    child: Child,
    pub(crate) port: u16,
    _folder: TempDir,
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the program of the NATS server, if it is installed.
pub(crate) fn nats_server() -> Option<PathBuf> {
    let program = std::env::var_os("TRUNKLINE_TEST_NATS").map(PathBuf::from);
    let program = program.filter(|it| it.is_file());
    if program.is_none() {
        eprintln!("skipped: no NATS server (TRUNKLINE_TEST_NATS); tests/run installs one");
    }
    program
}

impl Nats {
    /// Starts a server with these further arguments.
    pub(crate) fn start(mut command: Command, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let file = std::fs::File::create(&log).expect("a file");
        let child = command
            .args(["-a", "127.0.0.1", "-p", "-1"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("a NATS server starts");
        let port = until("a NATS server", || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            let line = log.lines().find(|it| it.contains("Listening for client"))?;
            log.contains("Server is ready").then_some(())?;
            line.rsplit(':').next()?.trim().parse().ok()
        });
        Self {
            child,
            port,
            _folder: folder,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

/// Starts an agent, and waits until it waits for runs.
pub(crate) fn agent(command: Command, nats: &str, variables: &[(&str, &OsString)]) -> Loadgen {
    let agent = Loadgen::start_by(command, "", &["agent", "--nats", nats], variables);
    until("an agent", || {
        assert_eq!(agent.stderr(), "");
        agent.stdout().contains("waits for runs").then_some(())
    });
    agent
}

/// Starts agents beside each other.
pub(crate) fn agents(count: usize, nats: &str) -> Vec<Loadgen> {
    let each = (0..count).map(|_| agent(Command::new(LOADGEN), nats, &[]));
    each.collect()
}

/// Leads a run of three agents, and waits for its end.
pub(crate) fn lead(nats: &str, text: &str, more: &[&str]) -> Done {
    let args = [&["--agents", "3", "--nats", nats], more].concat();
    Loadgen::run(text, &args).done()
}

/// Returns the agents of a summary.
pub(crate) fn played(summary: &Value) -> &[Value] {
    summary["agents"].as_array().map_or(&[], Vec::as_slice)
}

/// Checks that the figures of a good run are those of all agents together.
pub(crate) fn check_whole(summary: &Value, users: u64) {
    let count = |name: &str| number(summary, &format!("counts.{name}"));
    let sum = |field: &str| {
        let each = played(summary).iter();
        each.map(|it| it[field].as_u64().expect("a number"))
            .sum::<u64>()
    };
    assert_eq!((sum("users"), sum("sessions")), (users, users), "{summary}");
    assert_eq!(count("sessions_opened"), users as f64, "{summary}");
    assert!(count("attempted") > 100.0, "{summary}");
    assert_eq!(count("delivered"), count("attempted"), "{summary}");
    assert_eq!(count("messages_read_back"), count("attempted"), "{summary}");
    assert_eq!(number(summary, "latency_us.ack.count"), count("attempted"));
    assert_eq!(
        number(summary, "latency_us.e2e.count"),
        count("message_pushes"),
        "{summary}"
    );
    let couriers = check_between(summary);
    // What the gateway counted is what all agents together counted.
    let stored = &summary["metrics"]["messages_stored"];
    assert_eq!(stored["gateway"], stored["generator"], "{summary}");
    assert_eq!(
        stored["gateway"].as_f64(),
        Some(count("attempted") + couriers)
    );
    let not_checked = sentences(&summary["not_checked"]);
    let alone = played(summary).len() < 2;
    assert_eq!(not_checked.contains("between agents"), !alone, "{summary}");
}

/// Checks that the messages between agents came, and that their latencies count where the clocks allow it
/// and only there. Returns how many messages there were.
fn check_between(summary: &Value) -> f64 {
    let (between, agents) = (&summary["between_agents"], played(summary).len());
    if agents < 2 {
        assert_eq!(*between, Value::Null, "{summary}");
        return 0.0;
    }
    let messages = number(between, "messages");
    assert!(messages > agents as f64, "{between}");
    assert_eq!(number(between, "came"), messages, "{between}");
    for fault in [
        "lost",
        "duplicated",
        "reordered",
        "unexpected",
        "unanswered",
    ] {
        assert_eq!(number(between, fault), 0.0, "{fault}: {between}");
    }
    let pairs = between["pairs"].as_array().expect("pairs");
    assert_eq!(pairs.len(), agents * (agents - 1), "{between}");
    let counts = |pair: &&Value| pair["counts"] == true;
    for pair in pairs {
        let known = 2.0 * number(pair, "uncertainty_us") <= number(pair, "p50_us");
        assert_eq!(counts(&pair), known, "{pair}");
    }
    let all_count = pairs.iter().filter(counts).count() == pairs.len();
    assert_eq!(
        between["left_out"] == serde_json::json!([]),
        all_count,
        "{between}"
    );
    let not_checked = sentences(&summary["not_checked"]);
    assert_eq!(
        not_checked.contains("pairs of agents"),
        !all_count,
        "{summary}"
    );
    let has_latency = between["latency_us"].is_object();
    assert_eq!(
        has_latency,
        pairs.iter().any(|pair| counts(&pair)),
        "{between}"
    );
    messages
}

/// Returns libfaketime, if it is installed.
fn faketime() -> Option<OsString> {
    let folders = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
    ];
    let files = folders.map(|it| Path::new(it).join("faketime/libfaketimeMT.so.1"));
    let found = files.into_iter().find(|it| it.is_file());
    if found.is_none() {
        eprintln!("skipped in part: no libfaketime, all clocks are right; tests/run installs it");
    }
    found.map(Into::into)
}

/// Starts three agents. The clock of the first is an hour behind, where that is possible. Returns whether it
/// is.
pub(crate) fn agents_of_two_times(nats: &str) -> (Vec<Loadgen>, bool) {
    let Some(library) = faketime() else {
        return (agents(3, nats), false);
    };
    let (hour, yes) = (OsString::from("-1h"), OsString::from("1"));
    let variables = [
        ("LD_PRELOAD", &library),
        ("FAKETIME", &hour),
        ("FAKETIME_DONT_FAKE_MONOTONIC", &yes),
        ("DONT_FAKE_MONOTONIC", &yes),
    ];
    let mut all = vec![agent(Command::new(LOADGEN), nats, &variables)];
    all.extend(agents(2, nats));
    (all, true)
}
