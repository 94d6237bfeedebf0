//! The control port: health, and metrics that agree with what clients saw.

use std::fs::File;
use std::io::Write;
use std::net::TcpStream;

use nix::sys::signal::Signal;
use serde_json::json;
use trunkline_proto::frame::Opcode;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::http;
use trunkline_tests::wait;

/// The metric must have this value.
fn check(gateway: &Gateway, name: &str, value: u64) {
    assert_eq!(gateway.metric(name), value as f64, "{name}");
}

/// Waits until a metric has this value.
fn check_becomes(gateway: &Gateway, name: &str, value: u64) {
    wait::until(&format!("{name} to be {value}"), || {
        (gateway.metric(name) == value as f64).then_some(())
    });
}

#[test]
fn health() {
    let gateway = Gateway::start();
    let none = |path: &str| format!("\"there is no {path}\"");
    for (path, status, body) in [
        ("/healthz", 200, "ok\n"),
        ("/readyz", 200, "ready\n"),
        ("/nothing", 404, &*none("/nothing")),
        ("/metric", 404, &*none("/metric")),
    ] {
        let answer = http::get(gateway.control(), path);
        assert_eq!(answer.status, status, "{path}");
        let is_right = match status {
            404 => answer.body.contains(body),
            _ => answer.body == body,
        };
        assert!(is_right, "{path}: {}", answer.body);
    }
    let post = format!(
        "POST /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        gateway.control()
    );
    assert_eq!(
        http::exchange(gateway.control(), post.as_bytes()).status,
        405
    );
    assert_eq!(http::get(gateway.control(), "/metrics").status, 200);
    assert!(gateway.metric("process_resident_memory_bytes") > 1e6);
    check(&gateway, "trunkline_store_writable", 1);
}

/// Returns the metrics in the form that this `Accept` line asks for.
fn metrics_as(gateway: &Gateway, accept: &str) -> http::Answer {
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: {}\r\n{accept}Connection: close\r\n\r\n",
        gateway.control()
    );
    http::exchange(gateway.control(), request.as_bytes())
}

#[test]
fn metrics_come_in_the_form_that_is_asked_for() {
    let gateway = Gateway::start();
    for (accept, open_metrics) in [
        ("", false),
        ("Accept: */*\r\n", false),
        ("Accept: text/plain;version=0.0.4\r\n", false),
        (
            "Accept: application/openmetrics-text;q=0.2, text/plain\r\n",
            false,
        ),
        (
            "Accept: application/openmetrics-text; version=1.0.0\r\n",
            true,
        ),
        (
            "Accept: text/plain;version=0.0.4;q=0.3\r\nAccept: \
             application/openmetrics-text;version=1.0.0;q=0.6\r\n",
            true,
        ),
    ] {
        let metrics = metrics_as(&gateway, accept);
        assert_eq!(metrics.status, 200, "{accept}");
        let (kind, family) = match open_metrics {
            true => (
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                "# TYPE trunkline_send_replies counter\n",
            ),
            false => (
                "text/plain; version=0.0.4; charset=utf-8",
                "# TYPE trunkline_send_replies_total counter\n",
            ),
        };
        let kind = format!("content-type: {kind}");
        assert!(metrics.head.contains(&kind), "{accept}{}", metrics.head);
        assert!(metrics.body.contains(family), "{accept}{}", metrics.body);
        for only in ["# EOF", "# UNIT"] {
            assert_eq!(metrics.body.contains(only), open_metrics, "{accept}{only}");
        }
        // The samples are the same.
        let sample = "\ntrunkline_send_replies_total 0\n";
        assert!(metrics.body.contains(sample), "{accept}{}", metrics.body);
    }
}

/// In OpenMetrics every family has its help, and its unit if its name ends in one.
#[test]
fn every_family_has_help_and_a_unit() {
    let gateway = Gateway::start();
    let accept = "Accept: application/openmetrics-text\r\n";
    let metrics = metrics_as(&gateway, accept).body;
    assert!(metrics.ends_with("# EOF\n") && metrics.matches("# EOF").count() == 1);
    let families: Vec<_> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    assert!(families.len() > 90, "{}", families.len());
    for (name, kind) in families {
        assert!(!name.ends_with("_total"), "{name}");
        let help = format!("\n# HELP {name} ");
        assert!(format!("\n{metrics}").contains(&help), "{name} has no help");
        for unit in ["seconds", "bytes"] {
            let said = metrics.contains(&format!("\n# UNIT {name} {unit}\n"));
            assert_eq!(said, name.ends_with(&format!("_{unit}")), "{name} {kind}");
        }
    }
}

/// What the process is and has, and how long sends take.
#[test]
fn numbers_of_the_process_and_times_of_sends() {
    let before = trunkline_tests::tokens::now() as f64;
    let setup = Setup::default().descriptors(2_000);
    let gateway = setup.flag("max-connections", 1_000).start();
    let after = trunkline_tests::tokens::now() as f64;
    let began = gateway.metric("process_start_time_seconds");
    assert!(
        (before..=after).contains(&began),
        "{before} {began} {after}"
    );
    assert_eq!(gateway.metric("process_max_fds"), 2_000.0);
    assert!(gateway.metric("trunkline_store_free_bytes") > 1e6);
    let version = format!(
        "trunkline_build_info{{version=\"{}\"}}",
        env!("CARGO_PKG_VERSION")
    );
    check(&gateway, &version, 1);

    let dial = gateway.dial();
    let open = gateway.metric("process_open_fds");
    let idle: Vec<_> = (0..100).map(|_| dial.open()).collect();
    check_becomes(&gateway, "trunkline_connections", 100);
    // The store may open or close a few files meanwhile.
    let more = gateway.metric("process_open_fds") - open;
    assert!((80.0..120.0).contains(&more), "{open} {more}");
    drop(idle);

    let mut alice = dial.connect("alice", "phone");
    alice.send_all("bob", (0..20).map(|i| i.to_string()));
    // Once stored, once known: a duplicate is answered from the store.
    for _ in 0..2 {
        alice.done("send", &json!({"user": "bob", "key": "k", "text": "once"}));
    }
    check(&gateway, "trunkline_send_reply_seconds_count", 21);
    let sum = gateway.metric("trunkline_send_reply_seconds_sum");
    let took = trunkline_tests::tokens::now() as f64 + 1.0 - began;
    assert!(sum > 0.0 && sum < 21.0 * took, "{sum}");
    check(
        &gateway,
        "trunkline_send_reply_seconds_bucket{le=\"+Inf\"}",
        21,
    );
}

/// `promtool` finds nothing wrong with the metrics.
#[test]
fn promtool_is_content() {
    let gateway = Gateway::start();
    let tool = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn();
    let mut tool = match tool {
        Ok(tool) => tool,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: no promtool (Debian's package prometheus has it)");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let metrics = http::get(gateway.control(), "/metrics").body;
    let mut input = tool.stdin.take().expect("it is piped");
    input.write_all(metrics.as_bytes()).expect("it reads");
    drop(input);
    let said = tool.wait_with_output().expect("it ends");
    let text = [said.stdout, said.stderr].concat();
    assert_eq!(String::from_utf8_lossy(&text), "", "{metrics}");
    assert!(said.status.success());
}

#[test]
fn numbers_agree_with_what_clients_saw() {
    let gateway = Gateway::start();
    let dial = gateway.dial();
    let mut alice = dial.clone().connect("alice", "phone");
    let mut tablet = dial.clone().proto().connect("alice", "tablet");
    let mut bob = dial.clone().connect("bob", "phone");
    let begin = bob.pos();
    let sent = alice.send_all("bob", (0..150).map(|i| i.to_string())).len() as u64;
    for _ in 0..3 {
        alice.done("send", &json!({"user": "bob", "key": "k", "text": "once"}));
    }
    bob.ack("u:alice:bob", &json!({"delivered": 100}));
    bob.ack("u:alice:bob", &json!({"read": 100}));
    bob.ack("u:alice:bob", &json!({"read": 100}));
    for code in [102, 102, 107] {
        let request = if code == 102 {
            json!({"conversation": "u:alice:zed"})
        } else {
            json!({"conversation": "zed"})
        };
        assert_eq!(alice.refused("history", &request), code);
    }
    alice.ping();
    // Each was pushed all messages or none, and both receipts or none.
    let mut pushes = [0, 0];
    for client in [&mut alice, &mut tablet, &mut bob] {
        client.ping();
        for push in client.waiting() {
            pushes[usize::from(push["receipt"].is_object())] += 1;
        }
    }
    assert_eq!(pushes, [2 * (sent + 1), 4]);
    check(&gateway, "trunkline_messages_total", sent + 1);
    check(&gateway, "trunkline_receipts_total", 2);
    check(&gateway, "trunkline_duplicates_total", 2);
    check(&gateway, "trunkline_send_replies_total", sent + 3);
    check(&gateway, "trunkline_acks_total", sent + 3);
    check(
        &gateway,
        "trunkline_pushes_total{event=\"message\"}",
        pushes[0],
    );
    check(
        &gateway,
        "trunkline_pushes_total{event=\"receipt\"}",
        pushes[1],
    );
    check(&gateway, "trunkline_errors_total{error=\"unknown\"}", 2);
    check(&gateway, "trunkline_errors_total{error=\"bad_request\"}", 1);
    check(&gateway, "trunkline_errors_total{error=\"internal\"}", 0);
    check(&gateway, "trunkline_store_records_total", sent + 3);
    check(&gateway, "trunkline_gaps_total", 0);
    check(&gateway, "trunkline_conversations", 1);
    // connect of three, what was sent, acks, refused reads, pings.
    check(
        &gateway,
        "trunkline_commands_total",
        3 + sent + 3 + 3 + 3 + 4,
    );
    check(&gateway, "trunkline_sessions", 3);
    check(&gateway, "trunkline_connections", 3);
    // What is pushed while catching up is counted too.
    let mut again = dial.since(&begin).connect("bob", "tablet");
    for _ in 0..sent + 1 {
        again.push_of("message");
    }
    again.push_of("receipt");
    again.push_of("receipt");
    check(
        &gateway,
        "trunkline_pushes_total{event=\"message\"}",
        pushes[0] + sent + 1,
    );
    check(
        &gateway,
        "trunkline_pushes_total{event=\"receipt\"}",
        pushes[1] + 2,
    );
    check(&gateway, "trunkline_sessions", 4);
    let idle = gateway.dial().open();
    check_becomes(&gateway, "trunkline_connections", 5);
    check(&gateway, "trunkline_sessions", 4);
    for client in [alice, tablet, bob, again, idle] {
        client.close();
    }
    check_becomes(&gateway, "trunkline_connections", 0);
    check(&gateway, "trunkline_sessions", 0);
    check(&gateway, "trunkline_accepted_total", 5);
}

/// Connections that end without a Close frame are noticed when they do, not at the next ping.
#[test]
fn who_vanishes_is_gone() {
    let gateway = Gateway::start();
    let mut bob = gateway.dial().connect("bob", "phone");
    for text in ["one", "two", "three"] {
        let mut alice = gateway.dial().connect("alice", "phone");
        let mut quiet = gateway.dial().connect("alice", "tablet");
        let idle = gateway.dial().open();
        let mut half = TcpStream::connect(gateway.ws()).expect("the gateway listens");
        check_becomes(&gateway, "trunkline_connections", 5);
        // Asleep, it finds the last words and the end of each at once.
        gateway.process().signal(Signal::SIGSTOP);
        alice.post("send", &json!({"user": "bob", "text": text}));
        // Words that nobody answers: no write that fails tells the gateway either.
        quiet.write_frame(Opcode::Pong, b"");
        half.write_all(b"GET /v1/ws").expect("the kernel takes it");
        drop((alice, quiet, idle, half));
        gateway.process().signal(Signal::SIGCONT);
        assert_eq!(bob.push_of("message")["text"], text);
        check_becomes(&gateway, "trunkline_connections", 1);
        check(&gateway, "trunkline_sessions", 1);
    }
}

#[test]
fn histograms_add_up() {
    let gateway = Gateway::start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let sent = alice.send_all("bob", (0..100).map(|i| i.to_string())).len() as u64;
    check(&gateway, "trunkline_store_batch_records_sum", sent);
    let commits = gateway.metric("trunkline_store_commits_total") as u64;
    for name in ["batch_records", "commit_seconds"] {
        let name = format!("trunkline_store_{name}");
        check(&gateway, &format!("{name}_count"), commits);
        check(&gateway, &format!("{name}_bucket{{le=\"+Inf\"}}"), commits);
    }
    // Each took at least some microseconds, and all of them less than the test may.
    let seconds = gateway.metric("trunkline_store_commit_seconds_sum");
    assert!((1e-6..120.0).contains(&seconds), "{seconds}");
    for name in ["segments", "bytes", "head_position", "durable_position"] {
        let value = gateway.metric(&format!("trunkline_store_{name}"));
        assert!(value >= 1.0, "{name}: {value}");
    }
    assert!(gateway.metric("trunkline_store_index_bytes") > 0.0);
    for name in ["waiting_segments", "runs_failing", "run_failures_total"] {
        check(&gateway, &format!("trunkline_store_{name}"), 0);
    }
}

/// Messages are taken even if no runs can be made: monitoring must learn of it before the disk is
/// full.
#[test]
fn runs_that_cannot_be_made_are_named() {
    let gateway = Setup::default()
        .flag("message-bytes", "16KiB")
        .flag("segment-bytes", "144KiB")
        .flag("store-reserve", "0B")
        .start();
    // Files of the names that the next ones are to have.
    let squatter = |number| {
        let name = format!("run-{number:016x}.tbl.tmp");
        gateway.data().join(name)
    };
    for number in 0..500 {
        File::create(squatter(number)).expect("the folder is there");
    }
    let mut alice = gateway.dial().connect("alice", "phone");
    // More than a segment.
    let text = "x".repeat(4_000);
    for _ in 0..60 {
        alice.send("bob", &text);
    }
    wait::until("a run to be missed", || {
        (gateway.metric("trunkline_store_runs_failing") == 1.0).then_some(())
    });
    for (path, state) in [("/healthz", "ok, but"), ("/readyz", "ready, but")] {
        let answer = http::get(gateway.control(), path);
        assert_eq!(answer.status, 200, "{answer:?}");
        for word in [state, "cannot make runs", "run-00", "exists"] {
            assert!(answer.body.contains(word), "{path}: {answer:?}");
        }
    }
    assert!(gateway.metric("trunkline_store_run_failures_total") > 0.0);
    assert!(gateway.metric("trunkline_store_waiting_segments") > 0.0);
    check(&gateway, "trunkline_store_runs", 0);
    alice.send("bob", "taken all the same");
    for number in 0..500 {
        std::fs::remove_file(squatter(number)).expect("it is still there");
    }
    wait::until("the runs to be made up for", || {
        let healthy = http::get(gateway.control(), "/healthz").body == "ok\n";
        (healthy && gateway.metric("trunkline_store_runs") > 0.0).then_some(())
    });
    check(&gateway, "trunkline_store_runs_failing", 0);
    check(&gateway, "trunkline_store_waiting_segments", 0);
}
