//! Pages as a strict reader sees them, and scrapers that misbehave.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Exporter;
use super::serve::CONNECTIONS;
use crate::client::Board;
use crate::clock::Clock;
use crate::live::about::{About, Stage};
use crate::stats::{Counters, Metric};

/// A family, read.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    /// Name, labels and value.
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// Reads labels up to the closing brace: what they are, and what follows.
fn labels(mut rest: &str) -> (BTreeMap<String, String>, &str) {
    let mut labels = BTreeMap::new();
    while let Some((name, after)) = rest.split_once("=\"") {
        assert!(is_name(name), "{name:?}");
        let (mut value, mut letters) = (String::new(), after.char_indices());
        let end = loop {
            match letters.next().expect("a closing quote") {
                (at, '"') => break at,
                (_, '\\') => value.push(match letters.next().expect("an escaped letter").1 {
                    'n' => '\n',
                    letter @ ('\\' | '"') => letter,
                    other => panic!("\\{other}"),
                }),
                (_, letter) => value.push(letter),
            }
        };
        assert!(
            labels.insert(name.to_owned(), value).is_none(),
            "{name} twice"
        );
        rest = &after[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return (labels, rest.strip_prefix('}').expect("a closing brace")),
        }
    }
    panic!("no label in {rest:?}");
}

/// Reads a page, strictly: HELP and TYPE before a family's samples, each once, all of a family
/// together, no sample twice, histograms that add up.
fn read(page: &str) -> BTreeMap<String, Family> {
    assert!(page.ends_with('\n'));
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let (mut help, mut present) = (String::new(), String::new());
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, text) = rest.split_once(' ').expect("a name and a text");
            assert!(is_name(name) && !text.trim().is_empty(), "{line}");
            assert!(!families.contains_key(name), "{name} is told of twice");
            help = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert_eq!(name, help, "HELP comes first");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(kind != "counter" || name.ends_with("_total"), "{line}");
            present = name.to_owned();
            let kind = kind.to_owned();
            families.insert(
                name.to_owned(),
                Family {
                    kind,
                    ..Family::default()
                },
            );
        } else {
            let end = line.find(['{', ' ']).expect("a name and a value");
            let (name, rest) = line.split_at(end);
            let (labels, rest) = match rest.strip_prefix('{') {
                Some(rest) => labels(rest),
                None => (BTreeMap::new(), rest),
            };
            let value: f64 = rest
                .strip_prefix(' ')
                .expect("a space")
                .parse()
                .expect("a value");
            let family = families.get_mut(&present).expect("a family");
            let suffix = name.strip_prefix(&*present).expect("of the present family");
            match &*family.kind {
                "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
                _ => assert_eq!(suffix, "", "{line}"),
            }
            let known = |it: &(String, _, f64)| it.0 == name && it.1 == labels;
            assert!(!family.samples.iter().any(known), "{line} comes twice");
            family.samples.push((name.to_owned(), labels, value));
        }
    }
    for family in families.values().filter(|it| it.kind == "histogram") {
        adds_up(family);
    }
    families
}

fn adds_up(family: &Family) {
    let mut last: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (name, labels, value) in &family.samples {
        let seen = last.entry(&labels["metric"]).or_insert((f64::MIN, 0.0));
        if name.ends_with("_bucket") {
            let bound: f64 = labels["le"].parse().expect("a bound");
            assert!(bound > seen.0 && *value >= seen.1, "{labels:?}");
            *seen = (bound, *value);
        } else if name.ends_with("_count") {
            assert_eq!(*seen, (f64::INFINITY, *value), "{labels:?}");
        }
    }
}

/// One sample of a page.
#[track_caller]
fn value(families: &BTreeMap<String, Family>, name: &str, with: &[(&str, &str)]) -> f64 {
    let all = families.values().flat_map(|family| &family.samples);
    let mut found = all.filter(|it| {
        it.0 == name
            && with
                .iter()
                .all(|(label, text)| it.1.get(*label).is_some_and(|it| it == text))
    });
    let one = found.next().unwrap_or_else(|| panic!("no {name} {with:?}"));
    assert!(found.next().is_none(), "several of {name} {with:?}");
    one.2
}

fn exporter() -> Exporter {
    Exporter::start((std::net::Ipv4Addr::LOCALHOST, 0).into()).expect("a free port")
}

fn connect(exporter: &Exporter) -> TcpStream {
    let stream = TcpStream::connect(exporter.address).expect("it listens");
    let patience = Some(Duration::from_secs(60));
    stream.set_read_timeout(patience).expect("a timeout");
    stream
}

/// Returns the head and the body of an answer.
fn ask(exporter: &Exporter, request: &str) -> (String, String) {
    let mut stream = connect(exporter);
    stream.write_all(request.as_bytes()).expect("it is sent");
    finish(stream)
}

fn finish(mut stream: TcpStream) -> (String, String) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{head}"
    );
    (head.to_owned(), body.to_owned())
}

const GET: &str = "GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n";

#[test]
fn a_busy_address_is_named_with_the_mend() {
    let first = exporter();
    let failure = Exporter::start(first.address).expect_err("it is busy");
    assert_eq!(failure.exit.code(), 94);
    for words in [&*first.address.to_string(), "--prometheus", "another port"] {
        assert!(failure.message.contains(words), "{}", failure.message);
    }
    // It is free again when the first has ended.
    let address = first.address;
    drop(first);
    drop(Exporter::start(address).expect("it is free"));
}

#[test]
fn a_page_is_read_strictly() {
    let exporter = exporter();
    let before = read(&ask(&exporter, GET).1);
    assert_eq!(
        value(&before, "loadgen_stage", &[("stage", "starting")]),
        1.0
    );
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(value(&before, "loadgen_build_info", &version), 1.0);

    let board = Arc::new(Board::new(1, 2, false));
    let odd = "a \"quoted\" \\ name";
    let about = About {
        title: odd.into(),
        sessions: 7,
        stages: vec![Stage {
            name: "day".into(),
            kind: "constant-arrival-rate",
            ..Stage::default()
        }],
        ..About::default()
    };
    exporter.show(about, Arc::clone(&board), Clock::start(), None);
    board.work_for_tests(
        Counters {
            lost: 3,
            sessions: 5,
            ..Counters::default()
        },
        &[
            (Metric::Ack, 90),
            (Metric::Ack, 1_500_000),
            (Metric::E2e, 400_000_000),
        ],
    );
    let (head, body) = ask(&exporter, GET);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let page = read(&body);
    for counter in Counters::default().named() {
        let end = if counter.may_fall() { "" } else { "_total" };
        value(&page, &format!("loadgen_{}{end}", counter.name), &[]);
    }
    assert_eq!(value(&page, "loadgen_lost_total", &[]), 3.0);
    assert_eq!(value(&page, "loadgen_sessions", &[]), 5.0);
    assert_eq!(page["loadgen_sessions"].kind, "gauge");
    assert_eq!(value(&page, "loadgen_run_info", &[("run", odd)]), 1.0);
    assert_eq!(
        value(&page, "loadgen_violations_total", &[("kind", "lost")]),
        3.0
    );
    let bucket = |metric, le| {
        value(
            &page,
            "loadgen_latency_seconds_bucket",
            &[("metric", metric), ("le", le)],
        )
    };
    assert_eq!(
        (
            bucket("ack", "0.0001"),
            bucket("ack", "1"),
            bucket("ack", "2")
        ),
        (1.0, 1.0, 2.0)
    );
    assert_eq!((bucket("e2e", "300"), bucket("e2e", "+Inf")), (0.0, 1.0));
    let sum = value(&page, "loadgen_latency_seconds_sum", &[("metric", "ack")]);
    assert!((sum - 1.50009).abs() < 1e-9, "{sum}");
    for metric in Metric::ALL {
        value(
            &page,
            "loadgen_latency_seconds_count",
            &[("metric", metric.name())],
        );
    }
    value(&page, "loadgen_healthy", &[]);
    assert_eq!(
        value(&page, "loadgen_executor_running", &[("executor", "day")]),
        0.0
    );
    assert!(
        value(
            &page,
            "loadgen_process_resident_bytes",
            &[("side", "generator")]
        ) > 1e6
    );

    exporter.end();
    let page = read(&ask(&exporter, GET).1);
    assert_eq!(value(&page, "loadgen_stage", &[("stage", "ended")]), 1.0);
    assert_eq!(value(&page, "loadgen_lost_total", &[]), 3.0);
}

#[test]
fn what_is_not_asked_rightly_is_answered_so() {
    let exporter = exporter();
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
        ("\r\n\r\n", "405"),
        ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", "200"),
    ] {
        let (head, _) = ask(&exporter, request);
        assert_eq!(head.split(' ').nth(1), Some(status), "{request:?}: {head}");
    }
    // A request without an end is cut off.
    let mut endless = connect(&exporter);
    let began = Instant::now();
    let line = [b'x'; 1024];
    while endless.write_all(&line).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(60), "it still reads");
    }
}

#[test]
fn slow_scrapers_hold_up_nobody_for_ever() {
    let exporter = exporter();
    let slow: Vec<_> = (0..CONNECTIONS).map(|_| connect(&exporter)).collect();
    // Those after them are turned away at once, or answered before the others were accepted.
    let began = Instant::now();
    let mut turned_away = false;
    let mut answered_again = false;
    while began.elapsed() < Duration::from_secs(60) && !answered_again {
        let mut stream = connect(&exporter);
        let _ = stream.write_all(GET.as_bytes());
        let mut answer = String::new();
        // What was turned away before it was read may be reset behind the answer.
        let _ = stream.read_to_string(&mut answer);
        turned_away |= answer.starts_with("HTTP/1.1 503");
        answered_again = turned_away && answer.starts_with("HTTP/1.1 200");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(turned_away, "more than {CONNECTIONS} are turned away");
    assert!(answered_again, "the slow ones are given up");
    drop(slow);
}
