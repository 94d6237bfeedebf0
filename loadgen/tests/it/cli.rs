//! Command lines and scenarios that are refused before a run starts, and commands that only print.

use crate::harness::{Loadgen, scenario};

/// Checks that a scenario with one edit is refused with an error that contains these words.
#[track_caller]
fn check_file(edit: (&str, &str), words: &[&str]) {
    let text = scenario(&[edit]);
    let at = |text: &str| {
        text.lines()
            .position(|line| line.contains(edit.1))
            .map(|n| n + 1)
    };
    let named = match (edit.1, at(&text)) {
        ("", _) | (_, None) => "test.toml:".to_owned(),
        (_, Some(line)) => format!("test.toml:{line}:"),
    };
    for verb in [
        &["run", "SCENARIO", "--out", "out"][..],
        &["validate", "SCENARIO"],
    ] {
        let done = Loadgen::start(&text, verb).done();
        done.expect_refused(104, &[&[&*named], words].concat());
    }
}

#[test]
fn bad_scenarios_name_line_and_remedy() {
    for (edit, words) in [
        (
            ("read_after = \"20ms\"", "read_after = \"20\""),
            &["no unit", "ms"][..],
        ),
        (("contacts = 4", "contatcs = 4"), &["contatcs", "contacts"]),
        (("contacts = 4", "contacts = 3"), &["even"]),
        (("online = 1.0", "online = 1.5"), &["up to 1"]),
        (("schema = 1", "schema = 9"), &["schema 1"]),
        (("window = \"24h\"\n", ""), &["window"]),
        (
            ("rate = \"200/s\"", "steps = 3"),
            &["constant-arrival-rate takes no steps, but duration, rate"],
        ),
        (
            ("\"constant-arrival-rate\"", "\"constant\""),
            &["constant-arrival-rate"],
        ),
        (
            ("start_after = \"connect\"", "start_after = \"conect\""),
            &["conect"],
        ),
        (("rate = \"200/s\"", "rate = \"200\""), &["200/s"]),
        (("\"120B\"", "\"20B\""), &["64"]),
        (("lost = [", "lots = ["), &["lots", "lost"]),
        (("\"count==0\"", "\"p(99)<5ms\""), &["count==0"]),
        (("steal_max = 1.0", "steal_max = 2.0"), &["0 to 1"]),
        (("[checks]", "[checks"), &[]),
    ] {
        check_file(edit, words);
    }
}

/// Command lines that cannot work, each with words of the error.
const BAD_LINES: &[(&[&str], &[&str])] = &[
    (&["run", "smok"], &["smok", "smoke"]),
    (
        &["run", "SCENARIO", "--target", "http://127.0.0.1:1"],
        &["ws://HOST:PORT/v1/ws"],
    ),
    (
        &["run", "SCENARIO", "--target", "ws://127.0.0.1"],
        &["ws://HOST:PORT/v1/ws"],
    ),
    (&["run", "SCENARIO", "--duration", "20"], &["no unit"]),
    (
        &["run", "SCENARIO", "--gateway", "/bin/true"],
        &["/bin/true", "no build of loadgen"],
    ),
    (
        &["run", "SCENARIO", "--gateway", "/nowhere/loadgen"],
        &["/nowhere/loadgen"],
    ),
    (&["gate"], &["--base REV", "--quick"]),
    (&["gate", "--quick", "--pairs", "13"], &["14..=100"]),
    (
        &["run", "SCENARIO", "--connections", "0"],
        &["--connections 0", "12"],
    ),
    (
        &["run", "SCENARIO", "--connections", "13"],
        &["--connections 13", "12"],
    ),
    (
        &["run", "SCENARIO", "--conections", "5"],
        &["--connections"],
    ),
    (
        &["run", "SCENARIO", "--control", "http://127.0.0.1:1"],
        &["--target"],
    ),
    (&["hold"], &["--connections"]),
    (&["hold", "--connections", "2"], &["--connections 2", "3"]),
    (
        &["hold", "--connections", "500000001"],
        &["from 3 to 500000000"],
    ),
    (
        &["hold", "--connections", "9", "--for", "0s"],
        &["--for 0s"],
    ),
    (
        &["hold", "--connections", "9", "--rate", "5"],
        &["write messages per second", "5/s"],
    ),
    (
        &["hold", "--connections", "9", "--threads", "0"],
        &["threads is 1 to 256"],
    ),
    (
        &["hold", "--connections", "9", "--source", "here"],
        &["IPv4 network"],
    ),
    (
        &["hold", "--connections", "9", "--target", "http://h"],
        &["ws://HOST:PORT/v1/ws"],
    ),
    (
        &["hold", "--connections", "9", "--health", "steal=1"],
        &["--health steal=1", "steal_max"],
    ),
    (
        &["run", "SCENARIO", "--health", "steal_max=7"],
        &["steal_max is a part: 0 to 1"],
    ),
    (&["doctor", "--connections", "many"], &["--connections"]),
    (&["validate", "nowhere.toml"], &["nowhere.toml", "smoke"]),
    (&["init", "test.toml"], &["cannot create test.toml"]),
    (&["check"], &["<DIR>"]),
    (
        &["check", "nowhere"],
        &["nowhere/summary.json", "no results"],
    ),
    (&["plan"], &["<SCENARIO>"]),
    (
        &["find-max", "SCENARIO", "--rate", "100/s"],
        &["--rate", "--from"],
    ),
    (
        &["find-max", "SCENARIO", "--from", "5/s"],
        &["5.000/s for 10s", "at least 100"],
    ),
    (
        &["find-max", "SCENARIO", "--precision", "2"],
        &["--precision 2", "0.5"],
    ),
    (&["plan", "smok"], &["smok", "smoke"]),
    (&["plan", "--explain", "smoke"], &["web-1b"]),
    (
        &["plan", "smoke", "--measured", "nowhere"],
        &["nowhere", "summary.json"],
    ),
    (&["walk"], &["walk"]),
    (&[], &["Usage"]),
];

#[test]
fn bad_command_lines_say_what_would_be_right() {
    for (args, words) in BAD_LINES {
        Loadgen::start(&scenario(&[]), args)
            .done()
            .expect_refused(104, words);
    }
}

#[test]
fn a_compression_without_effect_is_refused() {
    for (args, words) in [
        (
            &[
                "find-max",
                "smoke",
                "--compress",
                "24h=24h",
                "--duration",
                "1s",
            ][..],
            &["0.926/s for 1s", "at least 100"][..],
        ),
        (
            &["run", "SCENARIO", "--compress", "24h=10m"],
            &["--compress 1d=10m", "test.toml", "has its own"],
        ),
        (
            &["plan", "SCENARIO", "--compress", "24h=10m"],
            &["--compress 1d=10m", "has its own"],
        ),
        (
            &["run", "smoke", "--compress", "10m=24h"],
            &["slower than real time"],
        ),
        (&["run", "smoke", "--compress", "24"], &["24h=10m"]),
        (
            &["run", "smoke", "--rate", "5/s", "--compress", "24h=10m"],
            &["--compress"],
        ),
    ] {
        Loadgen::start(&scenario(&[]), args)
            .done()
            .expect_refused(104, words);
    }
}

#[test]
fn more_connections_than_the_machine_carries_name_the_fix() {
    for args in [
        &["run", "smoke", "--connections", "400000000"][..],
        &["hold", "--connections", "400000000", "--out", "out"],
    ] {
        let done = Loadgen::start("", args).done();
        // Descriptors and memory, each with its own remedy.
        let words = ["400,000,000 connections", "ulimit -n ", "--connections "];
        done.expect_refused(94, &words);
    }
}

#[test]
fn a_plan_takes_what_a_run_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = r#"{
        "verdict": "VERDICT",
        "rates": { "achieved": 2000.0 },
        "sending_seconds": 10.0,
        "counts": { "message_pushes": 20000 }
    }"#;
    let plan = |verdict: &str| {
        let file = folder.path().join("summary.json");
        std::fs::write(file, text.replace("VERDICT", verdict)).expect("a file is written");
        let measured = folder.path().to_str().expect("a path");
        Loadgen::start("", &["plan", "service-500m", "--measured", measured]).done()
    };
    let done = plan("ok");
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    // 462,963 ÷ 2,000.
    for word in ["10,000 ", "232 ", "2,000 messages/s and 2,000 pushes/s"] {
        assert!(done.stdout.contains(word), "no {word} in {}", done.stdout);
    }
    plan("invalid").expect_refused(104, &["invalid", "do not count"]);
}

#[test]
fn results_are_judged_again_by_other_thresholds() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("a file is written");
    };
    write(
        "summary.json",
        r#"{
            "scenario": "own", "seed": 7, "verdict": "ok", "violations": {},
            "counts": { "lost": 0 }, "latency_us": { "e2e": { "p99": 5000 } },
            "health": { "faults": [] }
        }"#,
    );
    write("scenario.lock.toml", &scenario(&[]));
    let other = ("lost = [\"count==0\"]", "e2e = [\"p(99)<1ms\", \"avg<1s\"]");
    let check = |more: &[&str]| {
        let results = folder.path().to_str().expect("a path");
        Loadgen::start(&scenario(&[other]), &[&["check", results], more].concat()).done()
    };
    let own = check(&[]);
    assert_eq!(own.code, Some(0), "{}", own.stderr);
    assert!(
        own.stdout.contains("ok (exit 0), as it was"),
        "{}",
        own.stdout
    );
    let done = check(&["--by", "SCENARIO"]);
    assert_eq!(done.code, Some(99), "{}", done.stderr);
    for words in [
        "threshold (exit 99); it was ok",
        "p(99)<1ms does not hold, it is 5.00 ms",
        "avg<1s: not judged again",
    ] {
        assert!(
            done.stdout.contains(words),
            "no {words:?} in {}",
            done.stdout
        );
    }
    write("violations.jsonl", "{}\n");
    check(&[]).expect_refused(104, &["violations.jsonl: line 1"]);
}

#[test]
fn what_only_informs_succeeds() {
    for (args, words) in [
        (&["presets"][..], &["smoke", "231,481/s"][..]),
        (
            &["validate", "smoke"],
            &["the scenario is valid", "2,000 messages/s"],
        ),
        (
            &["validate", "SCENARIO"],
            &["the scenario is valid", "12 users"],
        ),
        (&["--help"], &["run", "presets", "validate", "91"]),
        (&["run", "--help"], &["--target", "--out"]),
        (&["hold", "--help"], &["--connections", "--ramp"]),
        (
            &["plan", "service-500m"],
            &["10,000", "231,481/s", "<- binds", "82.4 PB"],
        ),
        (
            &["plan", "service-500m", "--cluster"],
            &["cells, by disk", "3,434 cells of 3 gateways", "not built"],
        ),
        (&["plan", "SCENARIO"], &["12 users", "RUN OF THIS SCENARIO"]),
        (
            &["plan", "smoke", "--compress", "24h=10m"],
            &[
                "RUN OF THIS SCENARIO",
                "1d=10m",
                "offered: 133.3 messages/s",
            ],
        ),
        (
            &["plan", "SCENARIO", "--json"],
            &["\"messages_per_day\"", "\"binds\": \"connections\""],
        ),
        (
            &["plan", "--explain", "web-1b"],
            &["3,334", "350", "× 9.53"],
        ),
        (&["init"], &["scenario.toml", "loadgen plan"]),
        (&["validate", "storm"], &["the scenario is valid"]),
        (
            &["validate", "large-group"],
            &["left out: the group of 100,000 members"],
        ),
        (&["--version"], &["loadgen"]),
    ] {
        let done = Loadgen::start(&scenario(&[]), args).done();
        assert_eq!(done.code, Some(0), "{args:?}: {}", done.stderr);
        for word in words {
            assert!(
                done.stdout.contains(word),
                "{args:?}: no {word:?} in {}",
                done.stdout
            );
        }
    }
}
