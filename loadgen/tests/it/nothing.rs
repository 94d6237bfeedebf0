//! Runs that measure nothing, or whose figures contradict each other, are never "ok".

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use serde_json::Value;

use crate::fake::Fake;
use crate::fake_conduct::Conduct;
use crate::harness::{Done, Loadgen, number, scenario, sentences};

const RARE: (&str, &str) = ("rate = \"200/s\"", "rate = \"0.000001/s\"");

#[test]
fn a_run_that_sends_nothing_is_inconclusive() {
    let fake = Fake::start(Conduct::Honest);
    let url = fake.url();
    let done = Loadgen::run(&scenario(&[RARE]), &["--target", &url]).done();
    let summary = done.expect(93, "inconclusive");
    assert_eq!(number(&summary, "counts.attempted"), 0.0);
    assert!(sentences(&summary["doubts"]).contains("no message was sent"));
    assert!(!done.stdout.contains("every check"), "{}", done.stdout);
    assert!(
        done.stdout.contains("INCONCLUSIVE  no message was sent"),
        "{}",
        done.stdout
    );
    // What was not measured has no value.
    assert_eq!(
        summary["latency_us"]["e2e"]["p99"],
        Value::Null,
        "{summary}"
    );
    let e2e = done.stdout.lines().find(|line| line.starts_with("e2e "));
    assert!(
        e2e.is_some_and(|line| line.contains('–') && !line.contains("µs")),
        "{e2e:?}"
    );
    let folder = done.results();
    let folder = folder.to_str().expect("a path");
    let again = Loadgen::start("", &["check", folder]).done();
    assert_eq!(again.code, Some(93), "{}", again.stdout);
    assert!(again.stdout.contains("as it was"), "{}", again.stdout);
    let report = Loadgen::start("", &["report", folder]).done();
    assert_eq!(report.code, Some(0), "{}", report.stderr);
    let compared = Loadgen::start("", &["compare", folder, folder]).done();
    assert_eq!(compared.code, Some(104), "given twice: {}", compared.stderr);
    let measured = ["plan", "smoke", "--measured", folder];
    Loadgen::start("", &measured)
        .done()
        .expect_refused(104, &["inconclusive", "do not count"]);
    // A hold with messages that never come is as little.
    let hold = [
        "hold",
        "--connections",
        "12",
        "--for",
        "1s",
        "--rate",
        "0.000001/s",
    ];
    let hold = Loadgen::start(
        "",
        &[&hold[..], &["--out", "out", "--target", &url]].concat(),
    );
    let done = hold.done();
    let summary = done.expect_in("out/hold.json", 93, "inconclusive");
    assert!(sentences(&summary["doubts"]).contains("no message was sent"));
}

#[test]
fn sessions_alone_are_what_a_scenario_without_messages_is_about() {
    let fake = Fake::start(Conduct::Honest);
    let text = scenario(&[]);
    let (before, rest) = text.split_once("[scenarios.day]").expect("it has messages");
    let (_, after) = rest.split_once("[checks]").expect("it has checks");
    let text = format!("{before}[checks]{after}");
    let done = Loadgen::run(&text, &["--target", &fake.url()]).done();
    let summary = done.expect(0, "ok");
    assert_eq!(number(&summary, "latency_us.connect.count"), 12.0);
    assert!(
        done.stdout.contains("only sessions were measured"),
        "{}",
        done.stdout
    );
}

#[test]
fn a_threshold_of_what_never_happened_is_not_held() {
    let fake = Fake::start(Conduct::Honest);
    let group = "lost = [\"count==0\"]\ne2e_group = [\"p(99)<1s\"]";
    let edits = [("lost = [\"count==0\"]", group)];
    let done = Loadgen::run(&scenario(&edits), &["--target", &fake.url()]).done();
    let summary = done.expect(93, "inconclusive");
    let doubts = sentences(&summary["doubts"]);
    assert!(
        doubts.contains("e2e_group: p(99)<1s cannot be judged"),
        "{doubts}"
    );
}

/// Returns a control port that answers the first request with the first of these counters, and all
/// others with the second.
fn control([first, second]: [[u64; 4]; 2]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it has one");
    std::thread::spawn(move || {
        let all = std::iter::once(first).chain(std::iter::repeat(second));
        // Ends with the tests.
        for ([messages, acks, pushes, receipts], stream) in all.zip(listener.incoming()) {
            let mut stream = stream.expect("a request");
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = write!(
                stream,
                "HTTP/1.0 200 OK\r\n\r\ntrunkline_messages_total {messages}\n\
                 trunkline_acks_total {acks}\ntrunkline_pushes_total{{event=\"message\"}} {pushes}\n\
                 trunkline_pushes_total{{event=\"receipt\"}} {receipts}\n\
                 process_cpu_seconds_total {messages}\nprocess_resident_memory_bytes 1048576\n"
            );
        }
    });
    address
}

fn against(answers: [[u64; 4]; 2]) -> Done {
    let fake = Fake::start(Conduct::Honest);
    let control = format!("http://{}", control(answers));
    let args = ["--target", &fake.url(), "--control", &control];
    Loadgen::run(&scenario(&[]), &args).done()
}

#[test]
fn counters_that_differ_change_the_verdict() {
    // More than this run did: others may have used it.
    let more = against([[7; 4], [1_000_007; 4]]);
    let summary = more.expect(93, "inconclusive");
    assert!(more.stdout.contains("DIFFERS"), "{}", more.stdout);
    assert!(
        sentences(&summary["doubts"]).contains("other clients used the gateway"),
        "{summary}"
    );
    let folder = more.results();
    let again = Loadgen::start("", &["check", folder.to_str().expect("a path")]).done();
    assert_eq!(again.code, Some(93), "{}", again.stdout);
    // The gateway counted less than this run saw. Other clients cannot be the reason.
    let less = against([[7; 4], [8; 4]]);
    let summary = less.expect(91, "violation");
    assert_eq!(number(&summary, "violations.metrics-disagree"), 1.0);
}

#[test]
fn of_a_target_that_was_started_again_nothing_is_compared() {
    let done = against([[1_000_000; 4], [3; 4]]);
    let summary = done.expect(0, "ok");
    assert_eq!(summary["gateway"], Value::Null, "{summary}");
    assert!(
        sentences(&summary["notes"]).contains("started again"),
        "{summary}"
    );
    assert!(!done.stdout.contains("DIFFERS"), "{}", done.stdout);
}

#[test]
fn a_rate_that_cannot_be_sent_is_refused_or_given_up() {
    let fake = Fake::start(Conduct::Honest);
    let url = fake.url();
    let words = ["100,000,000,000/s", "10,000,000/s at most"];
    for args in [
        &[
            "run",
            "SCENARIO",
            "--rate",
            "100000000000/s",
            "--duration",
            "1s",
        ][..],
        &["hold", "--connections", "12", "--rate", "100000000000/s"],
        &["find-max", "SCENARIO", "--from", "100000000000/s"],
        &["find-max", "SCENARIO", "--to", "100000000000/s"],
    ] {
        let args = [args, &["--out", "out", "--target", &url]].concat();
        Loadgen::start(&scenario(&[]), &args)
            .done()
            .expect_refused(104, &words);
    }
    let edits = [
        ("rate = \"200/s\"", "rate = \"10_000_000/s\""),
        // Also on a slow machine everything that was sent arrives within this time.
        ("drain = \"30s\"", "drain = \"4s\""),
    ];
    let done = Loadgen::run(&scenario(&edits), &["--target", &url]).done();
    let summary = done.expect(90, "invalid");
    assert!(number(&summary, "counts.given_up") > 1e6, "{summary}");
    let faults = sentences(&summary["health"]["faults"]);
    assert!(faults.contains("were given up"), "{faults}");
}

#[test]
fn numbers_beyond_all_measure_are_refused_with_the_greatest() {
    let users = ("users = 12", "users = 9223372036854775807");
    for verb in ["plan", "validate", "run"] {
        let done = Loadgen::start(&scenario(&[users]), &[verb, "SCENARIO"]).done();
        let words = [
            "test.toml:4",
            "users is 9,223,372,036,854,775,807",
            "1,000,000,000,000 at most",
        ];
        done.expect_refused(104, &words);
        assert!(!done.stdout.contains("18,446,744,073"), "{}", done.stdout);
    }
    for (args, word) in [
        (&["run", "SCENARIO", "--duration", "99999999d"][..], "366d"),
        (
            &["hold", "--connections", "12", "--for", "99999999d"],
            "366d",
        ),
        (
            &["hold", "--connections", "500000", "--ramp", "0.000001/s"],
            "366.0 days",
        ),
        (
            &["run", "SCENARIO", "--connections", "18446744073709551615"],
            "12 users",
        ),
    ] {
        Loadgen::start(&scenario(&[]), args)
            .done()
            .expect_refused(104, &[word]);
    }
}

#[test]
fn what_cannot_be_reached_is_said_before_anything_starts() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let gone = port.local_addr().expect("it has one");
    drop(port);
    let (target, control) = (format!("ws://{gone}/v1/ws"), format!("http://{gone}"));
    let fake = Fake::start(Conduct::Honest);
    let url = fake.url();
    let hold = ["hold", "--connections", "12", "--for", "1s"];
    for args in [
        &["run", "SCENARIO", "--target", &target][..],
        &["find-max", "SCENARIO", "--target", &target],
        &[&hold[..], &["--target", &target]].concat(),
        &["run", "SCENARIO", "--target", &url, "--control", &control],
        &[&hold[..], &["--target", &url, "--control", &control]].concat(),
    ] {
        let done = Loadgen::start(&scenario(&[]), &[args, &["--out", "out"]].concat()).done();
        done.expect_refused(94, &[&gone.to_string()]);
    }
}

/// Returns a server that answers every connection with these bytes.
fn answers(bytes: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it has one");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(&bytes);
        }
    });
    address
}

#[test]
fn what_a_peer_says_is_shown_and_does_nothing() {
    let forged = "\x1b[2J\x1b[H\rok (exit 0): every check passed\n\u{202e}";
    let mut body = forged.repeat(10_000);
    body.truncate(540_000);
    let head = "HTTP/1.1 403 Forbidden\r\nContent-Length: 540000\r\n\r\n";
    let target = answers([head.as_bytes(), body.as_bytes()].concat());
    let url = format!("ws://{target}/v1/ws");
    let done = Loadgen::run(&scenario(&[]), &["--target", &url]).done();
    done.expect(105, "aborted");
    let mut texts = vec![done.stdout.clone(), done.stderr.clone()];
    for name in ["summary.txt", "summary.json", "report.html"] {
        let text = std::fs::read_to_string(done.results().join(name));
        texts.push(text.unwrap_or_else(|why| panic!("{name}: {why}")));
    }
    for text in &texts {
        assert!(!text.contains(['\x1b', '\r', '\u{202e}']), "{text:?}");
        assert!(
            !text.lines().any(|line| line.starts_with("ok (exit 0)")),
            "{text}"
        );
        assert!(text.len() < 100_000, "{}", text.len());
    }
    assert!(texts[0].contains(r"\u{1b}[2J"), "it is shown: {}", texts[0]);
    let control = answers(format!("HTTP/1.0 500 \x1b[31m{}\r\n\r\n", "x".repeat(9_999)).into());
    let fake = Fake::start(Conduct::Honest);
    let args = [
        "--target",
        &fake.url(),
        "--control",
        &format!("http://{control}"),
    ];
    let done = Loadgen::run(&scenario(&[]), &args).done();
    done.expect_refused(94, &[r"500 \u{1b}[31m"]);
    assert!(
        !done.stderr.contains('\x1b') && done.stderr.len() < 1_000,
        "{}",
        done.stderr
    );
}
