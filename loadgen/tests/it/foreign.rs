//! Runs against servers of other kinds, as a scenario describes them.

use serde_json::Value;

use crate::chat::{Chat, Deceit};
use crate::harness::{Done, Loadgen, number, scenario, sentences};

/// The table that describes the chat, in the place of the scenario's `[client]`.
const CHAT: &str = r#"[protocol]
kind = "template"
path = "/?u={user}"
open = ['{"id":0,"connect":{}}']
opened = { contains = '"connect"' }
send = '{"id":{id},"send":{"user":"{peer}","text":"{text}"}}'
acked = { contains = '"send"', id = '/id' }
refused = { contains = '"error"', id = '/id' }
pushed = { contains = '"push"', text = '/push/message/text' }
ping = { pong = '{"pong":1}', when = '{}', send = '{"ping":1}', every = "100ms" }
[client]"#;

/// Twelve users of whom each writes to two others, so that two messages of one user to another follow
/// each other.
fn chat(edits: &[(&str, &str)]) -> String {
    let all = [
        &[("[client]", CHAT), ("contacts = 4", "contacts = 2")][..],
        edits,
    ]
    .concat();
    scenario(&all)
}

fn run(text: &str, deceit: Deceit, more: &[&str]) -> Done {
    let chat = Chat::start(deceit);
    let url = chat.url();
    let args = [&["--target", &*url][..], more].concat();
    Loadgen::run(text, &args).done()
}

fn kinds(summary: &Value) -> Vec<String> {
    let kinds = summary["violations"].as_object().expect("violations");
    kinds.keys().cloned().collect()
}

#[test]
fn an_honest_chat_passes_what_can_be_checked() {
    let done = run(&chat(&[]), Deceit::None, &[]);
    let summary = done.expect(0, "ok");
    let attempted = number(&summary, "counts.attempted");
    assert!(attempted > 50.0, "{summary}");
    for count in ["acknowledged", "delivered", "message_pushes"] {
        assert_eq!(
            number(&summary, &format!("counts.{count}")),
            attempted,
            "{count}"
        );
    }
    for latency in ["ack", "e2e"] {
        let count = format!("latency_us.{latency}.count");
        assert_eq!(number(&summary, &count), attempted, "{latency}");
    }
    // What was not checked is said everywhere, and is not said to have passed.
    let not_checked = sentences(&summary["not_checked"]);
    for what in ["receipts", "history", "sequences", "resume"] {
        assert!(not_checked.contains(what), "{not_checked}");
        assert!(
            done.stdout.contains(&format!("NOT CHECKED   {what}")),
            "{}",
            done.stdout
        );
    }
    assert!(
        !done.stdout.contains("every check passed"),
        "{}",
        done.stdout
    );
    let page = std::fs::read_to_string(done.results().join("report.html")).expect("a report");
    assert!(page.contains("not checked: receipts"));
    // The results can be judged again.
    let out = done.results();
    let again = Loadgen::start("", &["check", out.to_str().expect("a path")]).done();
    assert_eq!(again.code, Some(0), "{}{}", again.stdout, again.stderr);
}

#[test]
fn every_lie_is_found() {
    for (deceit, kind) in [
        (Deceit::Drop, "lost"),
        (Deceit::Repeat, "duplicated"),
        (Deceit::Swap, "reordered"),
        (Deceit::Change, "text-changed"),
        (Deceit::Astray, "unexpected"),
        (Deceit::Twice, "reply-unexpected"),
    ] {
        let done = run(&chat(&[("30s", "1s")]), deceit, &[]);
        let summary = done.expect(91, "violation");
        assert_eq!(kinds(&summary), [kind], "{deceit:?}: {summary}");
        let evidence = done.violations();
        assert_eq!(evidence.len(), 1, "{deceit:?}");
        assert_eq!(evidence[0]["kind"], kind);
    }
}

#[test]
fn without_acknowledgements_lies_are_found_all_the_same() {
    let deaf = [
        ("acked = { contains = '\"send\"', id = '/id' }\n", ""),
        ("30s", "1s"),
    ];
    let summary = run(&chat(&deaf), Deceit::None, &[]).expect(0, "ok");
    let attempted = number(&summary, "counts.attempted");
    assert_eq!(number(&summary, "counts.acknowledged"), 0.0);
    assert_eq!(number(&summary, "counts.delivered"), attempted);
    assert!(number(&summary, "rates.achieved") > 0.0);
    assert!(sentences(&summary["not_checked"]).contains("acknowledgements"));
    for (deceit, kind) in [
        (Deceit::Drop, "lost"),
        (Deceit::Repeat, "duplicated"),
        (Deceit::Swap, "reordered"),
    ] {
        let summary = run(&chat(&deaf), deceit, &[]).expect(91, "violation");
        assert_eq!(kinds(&summary), [kind], "{deceit:?}: {summary}");
    }
}

#[test]
fn a_chat_that_refuses_or_is_silent_breaks_no_promise_and_misses_a_threshold() {
    for (deceit, count, words) in [
        (Deceit::Refuse, "rejected", "rejected: it is 1"),
        (Deceit::Silent, "unknown", "unknown: it is 1"),
    ] {
        let done = run(&chat(&[("30s", "1s")]), deceit, &[]);
        let summary = done.expect(99, "threshold");
        assert_eq!(number(&summary, &format!("counts.{count}")), 1.0);
        assert!(done.stdout.contains(words), "{}", done.stdout);
    }
}

#[test]
fn what_is_not_described_is_counted_and_shown() {
    let done = run(&chat(&[]), Deceit::Babble, &[]);
    let summary = done.expect(0, "ok");
    assert_eq!(
        sentences(&summary["notes"]).matches("hello").count(),
        1,
        "{summary}"
    );
    for words in ["does not describe 1 messages", "{\"hello\":\"world\"}"] {
        assert!(done.stdout.contains(words), "no {words} in {}", done.stdout);
    }
}

#[test]
fn a_session_that_never_opens_shows_what_the_server_said() {
    let edits = [
        ("refused = { contains = '\"error\"', id = '/id' }\n", ""),
        ("connect_timeout = \"60s\"", "connect_timeout = \"1s\""),
    ];
    let done = run(&chat(&edits), Deceit::Mute, &[]);
    assert_eq!(done.code, Some(105), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("closed on Sundays"), "{}", done.stdout);
}

#[test]
fn sessions_that_come_back_are_owed_nothing_from_before() {
    let churn = r#"[scenarios.churn]
executor = "churn"
start_after = "connect"
duration = "1s"
rate = "20/s"
away = "50ms"
[checks]"#;
    let done = run(&chat(&[("[checks]", churn)]), Deceit::None, &[]);
    let summary = done.expect(0, "ok");
    assert!(number(&summary, "counts.cuts") > 0.0, "{summary}");
    assert_eq!(
        summary["violations"],
        serde_json::json!({}),
        "{}",
        done.stdout
    );
}

#[test]
fn sessions_that_the_server_ends_come_back_where_the_scenario_wants_it() {
    let longer = ("duration = \"1s\"", "duration = \"3s\"");
    let wanted = [
        longer,
        (
            "connect_timeout = \"60s\"",
            "connect_timeout = \"60s\"\nreconnect = true",
        ),
        ("lost = [", "disconnects = [\"count<100\"]\nlost = ["),
    ];
    let done = run(&chat(&wanted), Deceit::Leave, &[]);
    let summary = done.expect(0, "ok");
    for count in ["disconnects", "reconnects"] {
        assert_eq!(
            number(&summary, &format!("counts.{count}")),
            12.0,
            "{summary}"
        );
    }
    // Most messages are sent after that, and nothing is owed to a session that was away.
    assert!(number(&summary, "counts.delivered") > 150.0, "{summary}");
    assert_eq!(
        summary["violations"],
        serde_json::json!({}),
        "{}",
        done.stdout
    );
    // Without the word the run is over.
    let done = run(&chat(&[longer]), Deceit::Leave, &[]);
    let summary = done.expect(105, "aborted");
    assert_eq!(number(&summary, "counts.reconnects"), 0.0, "{summary}");
}

#[test]
fn the_protocol_of_centrifugo_is_a_kind() {
    let kind = "[protocol]\nkind = \"centrifuge\"\n[client]";
    let text = scenario(&[("[client]", kind)]);
    let summary = run(&text, Deceit::None, &[]).expect(0, "ok");
    let attempted = number(&summary, "counts.attempted");
    assert_eq!(number(&summary, "counts.delivered"), attempted);
    assert_eq!(number(&summary, "counts.pings"), 12.0);
    let text = text.replace("30s", "1s");
    for (deceit, kind) in [(Deceit::Drop, "lost"), (Deceit::Repeat, "duplicated")] {
        let summary = run(&text, deceit, &[]).expect(91, "violation");
        assert_eq!(kinds(&summary), [kind], "{summary}");
    }
}

#[test]
fn an_option_names_a_peer_or_a_file() {
    let summary = run(&scenario(&[]), Deceit::None, &["--protocol", "bun-chat"]).expect(0, "ok");
    assert_eq!(summary["protocol"], "template");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("own.toml");
    std::fs::write(&file, CHAT.replace("[client]", "")).expect("a file");
    let file = file.to_str().expect("a path");
    run(&scenario(&[]), Deceit::None, &["--protocol", file]).expect(0, "ok");
}

#[test]
fn what_cannot_work_is_refused_with_the_remedy() {
    let target = ["--target", "ws://127.0.0.1:9"];
    for (text, args, words) in [
        (chat(&[]), &[][..], "write --target ws://HOST:PORT"),
        (
            chat(&[]),
            &["--target", "mqtt://127.0.0.1:9"],
            "is over WebSocket",
        ),
        (
            chat(&[("devices = 1.0", "devices = 2.0")]),
            &target,
            "write devices = 1.0",
        ),
        (
            chat(&[("key_every = 5", "groups = { share = 0.1 }")]),
            &target,
            "leave groups out",
        ),
        (
            chat(&[("{peer}", "{pear}")]),
            &target,
            "test.toml:22:1: send: `{pear}` is no place; did you mean `peer`?",
        ),
        (
            chat(&[("pushed = { contains = '\"push\"', text", "pushd = { text")]),
            &target,
            "did you mean `pushed`?",
        ),
        (
            scenario(&[]),
            &["--target", "ws://127.0.0.1:9", "--protocol", "bun-caht"],
            "did you mean `bun-chat`?",
        ),
        (
            scenario(&[]),
            &["--target", "mqtt://127.0.0.1:9"],
            "is over WebSocket",
        ),
        (
            chat(&[]),
            &["--target", "ws://127.0.0.1:9", "--encoding", "proto"],
            "--encoding",
        ),
    ] {
        Loadgen::run(&text, args)
            .done()
            .expect_refused(104, &[words]);
    }
}

#[test]
fn a_scenario_to_start_from_has_the_protocol() {
    for (kind, target) in [
        ("template", "ws://HOST:PORT"),
        ("centrifuge", "ws://HOST:PORT"),
        ("mqtt", "mqtt://HOST:PORT"),
    ] {
        let done = Loadgen::start("", &["init", "own.toml", "--protocol", kind]).done();
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert!(done.stdout.contains(target), "{}", done.stdout);
        let shown = Loadgen::start("", &["init", "-", "--protocol", kind]).done();
        assert!(
            shown.stdout.contains(&format!("kind = \"{kind}\"")),
            "{}",
            shown.stdout
        );
    }
}
