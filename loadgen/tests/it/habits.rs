//! What users of other load tools are used to: variables, thresholds and results on the command line.

use serde_json::Value;

use crate::fake::Fake;
use crate::fake_conduct::Conduct;
use crate::harness::{Done, Loadgen, number, scenario, until};
use crate::tls::Target;

/// A run against a gateway that is honest.
fn honest(text: &str, more: &[&str]) -> Done {
    let fake = Fake::start(Conduct::Honest);
    let url = fake.url();
    Loadgen::run(text, &[&["--target", &*url], more].concat()).done()
}

#[test]
fn variables_of_the_command_line() {
    let text = scenario(&[
        ("rate = \"200/s\"", "rate = \"${RATE}/s\""),
        ("contacts = 4", "contacts = ${CONTACTS:-4} # ${NOBODY}"),
    ]);
    let done = honest(&text, &["-e", "RATE=100", "--env", "CONTACTS=2"]);
    let summary = done.expect(0, "ok");
    assert_eq!(number(&summary, "rates.offered"), 100.0);
    let lock = std::fs::read_to_string(done.results().join("scenario.lock.toml"));
    let lock = lock.expect("the scenario is kept");
    assert!(
        lock.contains("contacts = 2") && !lock.contains("${"),
        "{lock}"
    );
    for (more, words) in [
        (
            &[][..],
            &["test.toml:27:9", "`RATE` has no value", "-e RATE=VALUE"][..],
        ),
        (&["-e", "RATE=1", "-e", "RAT=2"], &["-e RAT", "no ${RAT}"]),
        (&["-e", "RATE"], &["NAME=VALUE"]),
        (&["-e", "RATE=x"], &["test.toml:27", "x/s"]),
    ] {
        for verb in [
            &["run", "SCENARIO", "--out", "out"][..],
            &["validate", "SCENARIO"],
        ] {
            Loadgen::start(&text, &[verb, more].concat())
                .done()
                .expect_refused(104, words);
        }
    }
    let done = Loadgen::start(&text, &["validate", "SCENARIO", "-e", "RATE=7"]).done();
    assert!(
        done.stdout.contains("the scenario is valid"),
        "{}",
        done.stderr
    );
}

#[test]
fn thresholds_of_the_command_line() {
    let more = [
        "--threshold",
        "e2e=p(99)<1us",
        "--threshold",
        "lost=count==0",
    ];
    let done = honest(&scenario(&[]), &more);
    done.expect(99, "threshold");
    assert!(
        done.stdout.contains("e2e: p(99)<1us does not hold"),
        "{}",
        done.stdout
    );
    // The scenario beside the results has it, so judging again finds the same.
    let results = done.results().display().to_string();
    let again = Loadgen::start("", &["check", &results]).done();
    assert_eq!(again.code, Some(99), "{}", again.stdout);
    for (threshold, word) in [
        ("e2e", "METRIC=CONDITION"),
        ("e2f=p(99)<5ms", "did you mean `e2e`?"),
        ("e2e=p(99)<5", "no unit"),
    ] {
        let args = ["run", "SCENARIO", "--out", "out", "--threshold", threshold];
        let done = Loadgen::start(&scenario(&[]), &args).done();
        done.expect_refused(104, &[word]);
    }
}

#[test]
fn thresholds_relative_to_an_earlier_run() {
    let first = honest(&scenario(&[]), &[]);
    first.expect(0, "ok");
    let baseline = first.results().display().to_string();
    for (threshold, code, verdict) in [
        ("e2e=p(99)<=100000%", 0, "ok"),
        ("e2e=p(99)<=0%", 99, "threshold"),
        ("achieved=rate>=50%", 0, "ok"),
        ("achieved=rate>=300%", 99, "threshold"),
    ] {
        let more = ["--baseline", &baseline, "--threshold", threshold];
        honest(&scenario(&[]), &more).expect(code, verdict);
    }
    let relative = scenario(&[("lost = [", "e2e = [\"p(99)<=110%\"]\nlost = [")]);
    for (text, more, words) in [
        (
            &relative,
            &[][..],
            &["e2e p(99)<=110%", "--baseline DIR"][..],
        ),
        (
            &relative,
            &["--baseline", "nowhere"],
            &["nowhere", "no results of a run"],
        ),
        (
            &scenario(&[]),
            &["--baseline", &baseline],
            &["no threshold is relative"],
        ),
    ] {
        let args = [&["run", "SCENARIO", "--out", "out"][..], more].concat();
        Loadgen::start(text, &args)
            .done()
            .expect_refused(104, words);
    }
}

/// Returns the lines of events, and checks their form.
#[track_caller]
fn events(text: &str) -> Vec<Value> {
    let lines = text.lines().map(serde_json::from_str::<Value>);
    let lines: Vec<_> = lines.collect::<Result<_, _>>().expect(text);
    let kinds: Vec<_> = lines.iter().map(|it| it["event"].as_str()).collect();
    let (first, rest) = kinds.split_first().expect("there are lines");
    let (last, seconds) = rest.split_last().expect("there are lines");
    assert_eq!((*first, *last), (Some("begin"), Some("end")), "{text}");
    assert!(
        !seconds.is_empty() && seconds.iter().all(|it| *it == Some("second")),
        "{text}"
    );
    lines
}

#[test]
fn results_for_programs() {
    let longer = scenario(&[("duration = \"1s\"", "duration = \"3s\"")]);
    let more = ["--json", "--junit", "junit.xml", "--events", "events.jsonl"];
    let done = honest(&longer, &more);
    let summary = done.expect(0, "ok");
    let printed: Value = serde_json::from_str(&done.stdout).expect("standard output is JSON");
    assert_eq!(printed, summary);
    let beside = |name: &str| {
        let path = done.results().parent().expect("a folder").join(name);
        std::fs::read_to_string(path).expect("the file is there")
    };
    let junit = beside("junit.xml");
    for part in [
        "failures=\"0\"",
        "name=\"integrity\"",
        "name=\"lost count==0\"",
        "</testsuites>",
    ] {
        assert!(junit.contains(part), "no {part} in {junit}");
    }
    let lines = events(&beside("events.jsonl"));
    let sum = |field: &str| -> u64 {
        let seconds = lines.iter().filter(|it| it["event"] == "second");
        seconds.map(|it| it[field].as_u64().expect("a count")).sum()
    };
    let all = number(&summary, "counts.acknowledged") as u64;
    // What came in the last part of a second has no line of its own.
    assert!((1..=all).contains(&sum("acknowledged")), "{lines:?}");
    assert!(
        lines.iter().any(|it| it["e2e_us"]["p99"].is_u64()),
        "{lines:?}"
    );
    assert_eq!(lines.last().expect("an end")["summary"], summary);
    // Missed thresholds are failed tests.
    let done = honest(
        &scenario(&[]),
        &[
            "--quiet",
            "--junit",
            "junit.xml",
            "--threshold",
            "e2e=p(99)<1us",
        ],
    );
    done.expect(99, "threshold");
    let path = done.results().parent().expect("a folder").join("junit.xml");
    let junit = std::fs::read_to_string(path).expect("the file is there");
    assert!(junit.contains("failures=\"1\""), "{junit}");
    let failed = "name=\"e2e p(99)&lt;1us\" time=\"0\">\n      <failure message=\"e2e: p(99)&lt;1us does not hold";
    assert!(junit.contains(failed), "{junit}");
    // Quiet: the verdict with its reasons, and nothing while the run lasts.
    let lines: Vec<_> = done.stdout.lines().collect();
    let begin = ["THRESHOLD", "NOT CHECKED", "threshold (exit 99)"];
    assert_eq!(lines.len(), begin.len(), "{}", done.stdout);
    let mut each = lines.iter().zip(begin);
    assert!(
        each.all(|(line, begin)| line.starts_with(begin)),
        "{lines:?}"
    );
    assert_eq!(done.stderr, "");
}

#[test]
fn events_on_standard_output() {
    let longer = scenario(&[("duration = \"1s\"", "duration = \"2s\"")]);
    let done = honest(&longer, &["--events", "-"]);
    done.expect(0, "ok");
    let lines = events(&done.stdout);
    assert_eq!(lines.last().expect("an end")["verdict"], "ok");
    for (more, word) in [
        (
            &["--events", "-", "--json"][..],
            "both want standard output",
        ),
        (&["--events", "nowhere/events"], "--events nowhere/events"),
    ] {
        let args = [&["run", "SCENARIO", "--out", "out"][..], more].concat();
        Loadgen::start(&scenario(&[]), &args)
            .done()
            .expect_refused(104, &[word]);
    }
}

#[test]
fn a_target_that_dies_is_connected_to_again_where_the_scenario_wants_it() {
    let longer = ("duration = \"1s\"", "duration = \"4s\"");
    let wanted = [
        longer,
        (
            "connect_timeout = \"60s\"",
            "connect_timeout = \"60s\"\nreconnect = true",
        ),
        ("key_every = 5", "key_every = 1"),
        (
            "lost = [",
            "disconnects = [\"count<100\"]\nunknown = [\"count==0\"]\nlost = [",
        ),
    ];
    for (edits, comes_back) in [(&wanted[..], true), (&wanted[..1], false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut target = Target::launch(folder, &["--dev-auth"]);
        let args = ["--target", &target.url, "--control", &target.control];
        let run = Loadgen::run(
            &scenario(edits),
            &[&args[..], &["--events", "events"]].concat(),
        );
        let lines = run.temporary().with_file_name("events");
        until("messages", || {
            let text = std::fs::read_to_string(&lines).unwrap_or_default();
            let seconds = text
                .lines()
                .filter_map(|it| serde_json::from_str::<Value>(it).ok());
            let mut some = seconds.filter(|it| it["acknowledged"].as_u64() > Some(20));
            some.next().map(drop)
        });
        target.kill_and_start_again(&["--dev-auth"]);
        let done = run.done();
        if comes_back {
            let summary = done.expect(0, "ok");
            let sessions = number(&summary, "counts.sessions_opened");
            assert!(number(&summary, "counts.reconnects") > 0.0, "{summary}");
            assert_eq!(number(&summary, "counts.resumed"), sessions, "{summary}");
            assert_eq!(summary["violations"], serde_json::json!({}));
        } else {
            let summary = done.expect(105, "aborted");
            assert_eq!(number(&summary, "counts.reconnects"), 0.0, "{summary}");
        }
    }
}
