//! Runs that several agents play, over a real NATS server. Without one they are skipped with a word;
//! `tests/run` installs it.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::debt::{control, ours};
use crate::fake::Fake;
use crate::fake_conduct::{Conduct, Lie};
use crate::groups;
use crate::harness::{Done, Loadgen, number, scenario, sentences, until};
use crate::networks::{Networks, relay};
use crate::sessions::STORM;
use crate::tls::Target;

/// The program under test.
const LOADGEN: &str = env!("CARGO_BIN_EXE_loadgen");

/// Eight users for each of three agents.
const USERS: (&str, &str) = ("users = 12", "users = 24");

/// A running NATS server. Dropping it ends it.
struct Nats {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the program of the NATS server, if it is installed.
fn nats_server() -> Option<PathBuf> {
    let program = std::env::var_os("TRUNKLINE_TEST_NATS").map(PathBuf::from);
    let program = program.filter(|it| it.is_file());
    if program.is_none() {
        eprintln!("skipped: no NATS server (TRUNKLINE_TEST_NATS); tests/run installs one");
    }
    program
}

impl Nats {
    /// Starts a server with these further arguments.
    fn start(mut command: Command, more: &[&str]) -> Self {
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

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

/// Starts an agent, and waits until it waits for runs.
fn agent(command: Command, nats: &str, variables: &[(&str, &OsString)]) -> Loadgen {
    let agent = Loadgen::start_by(command, "", &["agent", "--nats", nats], variables);
    until("an agent", || {
        assert_eq!(agent.stderr(), "");
        agent.stdout().contains("waits for runs").then_some(())
    });
    agent
}

/// Starts agents beside each other.
fn agents(count: usize, nats: &str) -> Vec<Loadgen> {
    let each = (0..count).map(|_| agent(Command::new(LOADGEN), nats, &[]));
    each.collect()
}

/// Leads a run of three agents, and waits for its end.
fn lead(nats: &str, text: &str, more: &[&str]) -> Done {
    let args = [&["--agents", "3", "--nats", nats], more].concat();
    Loadgen::run(text, &args).done()
}

/// Returns the agents of a summary.
fn played(summary: &Value) -> &[Value] {
    summary["agents"].as_array().map_or(&[], Vec::as_slice)
}

/// Checks that the figures of a good run are those of all agents together.
fn check_whole(summary: &Value, users: u64) {
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
fn agents_of_two_times(nats: &str) -> (Vec<Loadgen>, bool) {
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

#[test]
fn three_agents_play_one_run() {
    let Some(server) = nats_server() else { return };
    let nats = Nats::start(Command::new(server), &["--user", "u", "--pass", "sec@ret"]);
    let url = nats.url().replace("//", "//u:sec%40ret@");
    // The clock of one agent is an hour behind: without the offset its run would begin an hour late.
    let (all, is_behind) = agents_of_two_times(&url);
    let target = Target::launch(tempfile::tempdir().expect("a folder"), &["--dev-auth"]);
    let to = ["--target", &target.url, "--control", &target.control];
    let done = lead(&url, &scenario(&[USERS]), &to);
    let summary = done.expect(0, "ok");
    check_whole(&summary, 24);
    assert_eq!(played(&summary).len(), 3, "{summary}");
    // An offset of an hour is stated, and is in no latency and in no time of the run.
    let hours: Vec<_> = played(&summary)
        .iter()
        .map(|it| (number(it, "clock_offset_us") / 3.6e9).round())
        .collect();
    assert_eq!(
        hours.iter().sum::<f64>(),
        if is_behind { -1.0 } else { 0.0 },
        "{summary}"
    );
    for agent in played(&summary) {
        assert!(number(agent, "clock_uncertainty_us") > 0.0, "{agent}");
        assert_eq!(agent["ended_early"], Value::Null, "{agent}");
    }
    for figure in [
        "latency_us.e2e.max",
        "latency_us.ack.max",
        "latency_us.send_lag.max",
    ] {
        assert!(number(&summary, figure) < 600e6, "{figure}: {summary}");
    }
    assert!(number(&summary, "sending_seconds") < 600.0, "{summary}");
    assert!(!done.stdout.contains("ret@"), "{}", done.stdout);
    assert!(done.stdout.contains("agent 3 ("), "{}", done.stdout);
    // The rows of the table add up to the counts, and the page of the run names the agents.
    let folder = done.results();
    let csv = std::fs::read_to_string(folder.join("intervals.csv")).expect("a table");
    let rows = csv.lines().skip(1).map(|row| row.split(',').nth(3));
    let attempted: f64 = rows
        .map(|cell| cell.and_then(|it| it.parse::<f64>().ok()).unwrap_or(0.0))
        .sum();
    assert_eq!(attempted, number(&summary, "counts.attempted"), "{csv}");
    let page = std::fs::read_to_string(folder.join("report.html")).expect("a page");
    assert!(page.contains("agent 2 ("), "the page names the agents");
    // The same agents play the next run, in which they wait for each other: groups, and a storm.
    let edits = [
        USERS,
        groups::SMALL,
        ("duration = \"1s\"", "duration = \"2s\""),
        ("[checks]", STORM),
    ];
    let summary = lead(&url, &scenario(&edits), &to).expect(0, "ok");
    check_groups(&summary);
    for agent in all {
        agent.signal(Signal::SIGTERM);
        let done = agent.done();
        assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
        assert_eq!(
            done.stdout.matches("has the results").count(),
            2,
            "{}",
            done.stdout
        );
    }
}

/// Checks a run whose 24 users are in groups and come back from a storm.
fn check_groups(summary: &Value) {
    assert_eq!(number(summary, "counts.cuts"), 24.0, "{summary}");
    assert_eq!(summary["storms"][0]["back"], 24, "{summary}");
    assert_eq!(summary["storms"].as_array().map(Vec::len), Some(1));
    assert!(number(summary, "groups.made") >= 6.0, "{summary}");
    let messages = number(summary, "counts.group_messages");
    assert_eq!(messages, number(summary, "counts.attempted"), "{summary}");
    assert_eq!(number(summary, "counts.lost"), 0.0, "{summary}");
}

/// Machines with 5 ms between the hub, which has a gateway and a NATS server, and each agent. A relay on
/// the hub delays the bytes, as not every kernel can (tc-netem(8)).
struct Site {
    agents: Vec<Loadgen>,
    target: Target,
    /// The gateway as the agents reach it.
    url: String,
    nats: Nats,
    networks: Networks,
}

impl Site {
    /// Starts everything with three agents. `None`, and a word, if that is not possible here.
    fn start() -> Option<Self> {
        let server = nats_server()?.display().to_string();
        let networks = match Networks::make(3) {
            Ok(networks) => networks,
            Err(why) => {
                eprintln!("skipped: no network namespaces: {why}");
                return None;
            }
        };
        let nats = Nats::start(networks.on_hub(&server), &[]);
        let folder = tempfile::tempdir().expect("a folder");
        let any_host = ["--dev-auth", "--allowed-origins", "*"];
        let target = Target::launch_by(networks.on_hub(LOADGEN), folder, &any_host);
        let delay = Duration::from_millis(5);
        let port = target.url.trim_end_matches("/v1/ws").rsplit(':').next();
        let port = port.and_then(|it| it.parse().ok()).expect("a port");
        let url = format!("ws://{}/v1/ws", networks.relay(port, delay));
        let far = format!("nats://{}", networks.relay(nats.port, delay));
        let agents = (0..3).map(|machine| agent(networks.on(machine, LOADGEN), &far, &[]));
        Some(Self {
            agents: agents.collect(),
            target,
            url,
            nats,
            networks,
        })
    }

    /// Leads a run of so many agents from the hub.
    fn lead(&self, text: &str, count: &str) -> Loadgen {
        let (nats, control) = (self.nats.url(), &self.target.control);
        let run = "run SCENARIO --no-tui --out out --events tmp/events --agents".split(' ');
        let args = run.chain([
            count,
            "--nats",
            &nats,
            "--target",
            &self.url,
            "--control",
            control,
        ]);
        let args: Vec<_> = args.collect();
        Loadgen::start_by(self.networks.on_hub(LOADGEN), text, &args, &[])
    }

    /// Leads a run that lasts ten minutes. Returns when messages were acknowledged.
    fn lead_long(&self, count: &str) -> Loadgen {
        let long = ("duration = \"1s\"", "duration = \"600s\"");
        let run = self.lead(&scenario(&[USERS, long, ("200/s", "100/s")]), count);
        let events = run.temporary().join("events");
        until("messages", || {
            let lines = std::fs::read_to_string(&events).unwrap_or_default();
            let lines = lines.lines();
            let mut lines = lines.filter_map(|it| serde_json::from_str::<Value>(it).ok());
            lines
                .any(|it| it["acknowledged"].as_u64() > Some(0))
                .then_some(())
        });
        run
    }
}

#[test]
fn an_agent_that_dies_makes_the_run_invalid() {
    let Some(mut site) = Site::start() else {
        return;
    };
    let done = site.lead(&scenario(&[USERS]), "3").done();
    let summary = done.expect(0, "ok");
    check_whole(&summary, 24);
    for agent in played(&summary) {
        // A round trip takes 10 ms at the least, and no answer is faster than that.
        assert!(number(agent, "clock_uncertainty_us") >= 5_000.0, "{agent}");
    }
    assert!(
        number(&summary, "latency_us.ack.p50") >= 10_000.0,
        "{summary}"
    );
    let run = site.lead_long("3");
    site.agents.remove(1).signal(Signal::SIGKILL);
    check_short(&run.done(), ") died at ", "8 users");
    // The others are free again. One is ended by a signal.
    let run = site.lead_long("2");
    let ended = site.agents.remove(0);
    ended.signal(Signal::SIGTERM);
    check_short(&run.done(), ") left at ", "12 users");
    assert_eq!(ended.done().code, Some(105));
    // The lead dies: the last agent gives its part up, and plays the next run.
    site.lead_long("1").signal(Signal::SIGKILL);
    until("the agent to be free", || {
        let said = site.agents[0].stdout();
        said.contains("the lead is silent").then_some(())
    });
    let done = site.lead(&scenario(&[USERS]), "1").done();
    check_whole(&done.expect(0, "ok"), 24);
}

/// Checks a run of which one agent ended early, in these words and with these users.
fn check_short(done: &Done, how: &str, users: &str) {
    let summary = done.expect(90, "invalid");
    let faults = sentences(&summary["health"]["faults"]);
    assert!(faults.contains(how) && faults.contains(users), "{summary}");
    let early = played(&summary).iter();
    let early = early.filter(|it| it["ended_early"].is_string());
    assert_eq!(early.count(), 1, "{summary}");
    assert!(
        done.stdout.contains("UNHEALTHY     agent "),
        "{}",
        done.stdout
    );
    // What the others did is there to look at, and is judged: nothing of it is wrong.
    assert!(number(&summary, "counts.attempted") > 0.0, "{summary}");
    assert_eq!(summary["violations"], serde_json::json!({}), "{summary}");
}

/// The time that bytes take in a relay between agents and what they reach.
const FAR: Duration = Duration::from_millis(150);

/// Leads a run of three agents whose gateway, or whose NATS server, is far away. Returns its summary.
fn lead_far(server: &Path, gateway: Duration, nats_server: Duration) -> (Value, Done) {
    let nats = Nats::start(Command::new(server), &[]);
    let far = format!("nats://{}", relay(nats.port, nats_server));
    let _agents = agents_of_two_times(&far);
    let folder = tempfile::tempdir().expect("a folder");
    let any_host = ["--dev-auth", "--allowed-origins", "*"];
    let target = Target::launch(folder, &any_host);
    let port = target.url.trim_end_matches("/v1/ws").rsplit(':').next();
    let port = port.and_then(|it| it.parse().ok()).expect("a port");
    let url = format!("ws://{}/v1/ws", relay(port, gateway));
    let to = ["--target", &url, "--control", &target.control];
    let longer = ("duration = \"1s\"", "duration = \"2s\"");
    let done = lead(&nats.url(), &scenario(&[USERS, longer]), &to);
    let summary = done.expect(0, "ok");
    check_whole(&summary, 24);
    (summary, done)
}

#[test]
fn latency_between_agents_counts_as_far_as_their_clocks_are_known() {
    let Some(server) = nats_server() else { return };
    // A message takes 150 ms to the gateway and 150 ms from it. One clock is an hour behind, and clocks are
    // known to some milliseconds.
    let (summary, done) = lead_far(&server, FAR, Duration::ZERO);
    let between = &summary["between_agents"];
    assert!(number(between, "latency_us.count") > 20.0, "{between}");
    for (figure, own) in [("p50", 0.9), ("p99", 0.0), ("max", 0.0)] {
        let us = number(between, &format!("latency_us.{figure}"));
        let exact = us + number(between, "uncertainty_us");
        assert!(exact >= 2.0 * FAR.as_micros() as f64, "{figure}: {between}");
        assert!(us < 600e6, "{figure}: {between}");
        // It is no better than that of messages on one agent, but for the uncertainty.
        let e2e = number(&summary, &format!("latency_us.e2e.{figure}"));
        assert!(exact >= own * e2e, "{figure}: {summary}");
    }
    let said = &done.stdout;
    assert!(
        said.contains("between agents: ") && said.contains("e2e of "),
        "{said}"
    );
    let page = std::fs::read_to_string(done.results().join("report.html")).expect("a page");
    assert!(page.contains("e2e between agents p50"), "the page has them");
    assert!(
        page.contains("e2e between agents ±"),
        "the page says how exact"
    );
    // With a NATS server that is as far away, the clocks are known to ± 300 ms and messages take less.
    let (summary, done) = lead_far(&server, Duration::ZERO, FAR);
    let between = &summary["between_agents"];
    for pair in between["pairs"].as_array().expect("pairs") {
        assert!(number(pair, "uncertainty_us") >= 300_000.0, "{pair}");
    }
    assert_eq!(between["latency_us"], Value::Null, "{between}");
    let said = &done.stdout;
    assert!(said.contains("latencies of 6 of 6 pairs"), "{said}");
    assert!(said.contains("e2e of none of 6 pairs"), "{said}");
}

#[test]
fn lies_to_agents_are_caught() {
    let Some(server) = nats_server() else { return };
    let nats = Nats::start(Command::new(server), &[]);
    let _agents = agents(3, &nats.url());
    for (lie, kind) in [
        (Lie::DropPush, "lost"),
        (Lie::RepeatPush, "duplicated"),
        (Lie::SwapPushes, "reordered"),
    ] {
        let fake = Fake::start(Conduct::Lie(lie));
        let edits = [USERS, ("devices = 1.0", "devices = 1.5"), ("30s", "4s")];
        let done = lead(&nats.url(), &scenario(&edits), &["--target", &fake.url()]);
        let summary = done.expect(91, "violation");
        assert!(summary["violations"][kind].as_u64() > Some(0), "{summary}");
        let details = done.violations();
        assert!(details.iter().any(|it| it["kind"] == kind), "{details:?}");
    }
}

#[test]
fn agents_play_a_search_and_a_run_that_ends_when_it_is_steady() {
    let Some(server) = nats_server() else { return };
    let nats = Nats::start(Command::new(server), &[]);
    let _agents = agents(2, &nats.url());
    let fake = Fake::start(Conduct::Honest);
    let (url, gateway) = (nats.url(), fake.url());
    let to = ["--agents", "2", "--nats", &url, "--target", &gateway];
    let line =
        "find-max SCENARIO --no-tui --out out --from 200/s --to 200/s --duration 1s --confirm 1";
    let args: Vec<_> = line.split(' ').chain(to).collect();
    let done = Loadgen::start(&scenario(&[USERS]), &args).done();
    let found = done.expect_in("out/find-max.json", 0, "ok");
    assert_eq!(number(&found, "rate"), 200.0, "{found}");
    let last = done.expect_in("out/trial-02/summary.json", 0, "ok");
    assert_eq!(played(&last).len(), 2, "{last}");
    assert!(number(&last, "counts.acknowledged") > 100.0, "{last}");
    // What the gateway owes grows for the first three seconds, and then everything is done.
    let port = control(|asked| match asked {
        0..12 => ours(asked * 8),
        _ => ours(asked % 2 * 8),
    });
    let steady = ["--steady=60s", "--control", &port];
    let args = [&to[..], &steady].concat();
    let done = Loadgen::run(&scenario(&[USERS]), &args).done();
    let summary = done.expect(0, "ok");
    let sent_for = number(&summary, "sending_seconds");
    assert!((1.5..60.0).contains(&sent_for), "{sent_for}");
    assert_eq!(summary["debt"]["steady"], true, "{summary}");
    let attempted = number(&summary, "counts.attempted");
    assert_eq!(number(&summary, "counts.acknowledged"), attempted);
    assert!(attempted > 1.5 * 100.0, "{summary}");
}

#[test]
fn runs_that_agents_cannot_play() {
    let Some(server) = nats_server() else { return };
    let nats = Nats::start(Command::new(server), &[]);
    let url = nats.url();
    let _agent = agent(Command::new(LOADGEN), &url, &[]);
    let target = ["--target", "ws://127.0.0.1:9/v1/ws"];
    let all = |more: &[&str]| {
        let args = [&target[..], &["--nats", &url], more].concat();
        Loadgen::run(&scenario(&[]), &args).done()
    };
    let key = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(key.path(), [7; 32]).expect("it is written");
    let key = key.path().display().to_string();
    for (more, code, words) in [
        (
            &["--agents", "1"][..],
            94,
            &["agent 1 (", "nothing answers at ws://127.0.0.1:9"][..],
        ),
        (&["--agents", "5"], 104, &["enough for 4 threads"]),
        (
            &["--agents", "1", "--token-key", &key],
            104,
            &["agent 1 (", "start it with --token-key"],
        ),
        (
            &["--agents", "1", "--steady"],
            104,
            &["--steady", "--control"],
        ),
        (&["--agents", "0"], 104, &["--agents"]),
        (&[], 104, &["--agents"]),
    ] {
        all(more).expect_refused(code, words);
    }
    let done = Loadgen::run(&scenario(&[]), &["--agents", "1", "--nats", &url]).done();
    done.expect_refused(104, &["--target"]);
    drop(nats);
    let done = Loadgen::run(
        &scenario(&[]),
        &[&target[..], &["--nats", &url, "--agents", "1"]].concat(),
    );
    done.done()
        .expect_refused(94, &["no NATS server answers at nats://127.0.0.1"]);
    let done = Loadgen::start("", &["agent", "--nats", &url]).done();
    assert_eq!(done.code, Some(94), "{}", done.stderr);
}
