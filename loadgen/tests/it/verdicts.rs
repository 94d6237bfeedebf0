//! Each lie is found and named, and nothing else is reported.

use serde_json::Value;

use crate::fake::Fake;
use crate::fake_conduct::{Conduct, Lie};
use crate::harness::{Done, Loadgen, number, scenario};

/// Runs a scenario against a fake.
fn run(conduct: Conduct, edits: &[(&str, &str)], more: &[&str]) -> (Done, Fake) {
    let fake = Fake::start(conduct);
    let url = fake.url();
    let args = [&["--target", &*url], more].concat();
    let done = Loadgen::run(&scenario(edits), &args).done();
    (done, fake)
}

/// Checks that the summary has every field, and that its numbers agree with each other and with the
/// fake.
fn consistent(summary: &Value, fake: &Fake) {
    assert_eq!(summary["schema"], 1);
    let count = |name: &str| number(summary, &format!("counts.{name}"));
    for none in ["lost", "duplicated", "reordered", "unexpected", "recovered"] {
        assert_eq!(count(none), 0.0, "{none}: {summary}");
    }
    let attempted = count("attempted");
    assert_eq!(attempted, fake.sends() as f64);
    assert!(attempted > 100.0, "{summary}");
    assert_eq!(count("acknowledged"), attempted);
    assert_eq!(count("delivered"), attempted);
    assert_eq!(count("messages_read_back"), attempted);
    assert!(count("receipt_pushes") > 0.0 && count("receipts_sent") > 0.0);
    assert!(number(summary, "rates.offered") > 0.0);
    assert!(number(summary, "rates.achieved") > 0.0);
    for metric in ["connect", "ack", "e2e", "send_lag"] {
        let at = |name: &str| number(summary, &format!("latency_us.{metric}.{name}"));
        assert!(at("count") > 0.0, "{metric}");
        let all = ["p50", "p90", "p99", "p999", "max"].map(at);
        assert!(all.is_sorted(), "{metric}: {all:?}");
        assert!(at("max") > 0.0, "{metric}");
    }
    assert_eq!(number(summary, "latency_us.ack.count"), attempted);
    assert_eq!(number(summary, "latency_us.send_lag.count"), attempted);
    for figure in ["cpu_seconds", "rss_bytes", "connections"] {
        assert!(number(summary, &format!("generator.{figure}")) >= 0.0);
    }
    // A gateway that was only given by its address cannot be asked.
    assert!(summary["gateway"].is_null());
    assert_eq!(summary["violations"], serde_json::json!({}));
}

#[test]
fn an_honest_gateway_is_ok() {
    for (edits, more) in [
        (&[][..], &[][..]),
        (&[], &["--encoding", "proto"]),
        (
            &[
                ("threads = 1", "threads = 2"),
                ("devices = 1.0", "devices = 1.5"),
            ],
            &[],
        ),
        (
            &[("online = 1.0", "online = 0.5")],
            &["--encoding", "proto"],
        ),
        // Messages while connections are still being opened.
        (
            &[
                ("start_after = \"connect\"\n", ""),
                ("duration = \"50ms\"", "duration = \"800ms\""),
                ("devices = 1.0", "devices = 2.0"),
            ],
            &[],
        ),
    ] {
        let (done, fake) = run(Conduct::Honest, edits, more);
        let summary = done.expect(0, "ok");
        consistent(&summary, &fake);
        assert_eq!(done.violations(), [] as [Value; 0]);
        assert!(
            done.stdout.contains("every check that was made passed"),
            "{}",
            done.stdout
        );
    }
}

/// Checks that a lie ends with exit code 91 and exactly these kinds of violations.
#[track_caller]
fn check(lie: Lie, kinds: &[&str]) {
    check_with(lie, kinds, &[], ("u:", &SHOWN));
}

/// Runs a scenario against a lying gateway, with more edits. `conversations` begin with these
/// letters, and a small history shows the lies in `shown` by itself.
#[track_caller]
pub(crate) fn check_with(
    lie: Lie,
    kinds: &[&str],
    edits: &[(&str, &str)],
    (conversations, shown): (&str, &[Lie]),
) -> (Done, Fake) {
    // Lies that leave something out take the whole time for stragglers.
    let usual = [("devices = 1.0", "devices = 1.5"), ("30s", "4s")];
    let (done, fake) = run(Conduct::Lie(lie), &[&usual, edits].concat(), &[]);
    assert_eq!(fake.lies(), 1, "{lie:?} was told");
    let summary = done.expect(91, "violation");
    let map = summary["violations"].as_object().expect("a map");
    let found: Vec<_> = map.keys().map(String::as_str).collect();
    assert_eq!(found, kinds, "{lie:?}: {summary}");
    let details = done.violations();
    let count = |kind: &str| details.iter().filter(|v| v["kind"] == kind).count() as u64;
    for kind in kinds {
        assert_eq!(map[*kind].as_u64(), Some(count(kind)), "{lie:?}: {kind}");
        assert!(done.stdout.contains(&format!("VIOLATION     {kind}")));
    }
    // What the client cannot tie to a conversation has none, and says so in words.
    // A second answer may come when the message has long arrived.
    let untied = [Lie::Invent, Lie::AnswerTwice, Lie::AckThenRefuse];
    let named = |v: &Value| {
        v["conversation"]
            .as_str()
            .is_some_and(|c| c.starts_with(conversations))
    };
    assert!(
        untied.contains(&lie)
            || details
                .iter()
                .any(|v| named(v) && v["events"] != serde_json::json!([])),
        "{lie:?}: {details:?}"
    );
    judge_again(&done, kinds, (lie, shown));
    (done, fake)
}

/// The lies that a small history proves by its events alone.
const SHOWN: [Lie; 6] = [
    Lie::DropPush,
    Lie::RepeatPush,
    Lie::SwapPushes,
    Lie::PushToSender,
    Lie::AckOtherSeq,
    Lie::ReuseSeq,
];

/// Checks that `loadgen check` comes to the same verdict on the results of the run.
#[track_caller]
fn judge_again(done: &Done, kinds: &[&str], (lie, shown): (Lie, &[Lie])) {
    let folder = done.results();
    let folder = folder.to_str().expect("a path");
    let again = Loadgen::start("", &["check", folder]).done();
    assert_eq!(again.code, Some(91), "{lie:?}: {}", again.stderr);
    let said = &again.stdout;
    assert!(said.contains("violation (exit 91), as it was"), "{said}");
    for kind in kinds {
        assert!(said.contains(&format!("{kind} at ")), "{lie:?}: {said}");
    }
    let shows = said.contains("its history shows it");
    assert!(!shown.contains(&lie) || shows, "{lie:?}: {said}");
}

#[test]
fn lies_about_pushes() {
    check(Lie::DropPush, &["lost"]);
    check(Lie::DropOwnDevice, &["lost"]);
    check(Lie::RepeatPush, &["duplicated"]);
    check(Lie::SwapPushes, &["reordered"]);
    check(Lie::PushToSender, &["unexpected"]);
}

#[test]
fn lies_about_content() {
    check(Lie::ChangeText, &["text-changed"]);
    check(Lie::WrongSender, &["wrong-conversation"]);
    check(Lie::WrongConversation, &["wrong-conversation"]);
    check(Lie::Invent, &["unexpected"]);
    check(Lie::ThirdUser, &["unexpected"]);
}

#[test]
fn lies_about_sequences() {
    check(
        Lie::AckOtherSeq,
        &["history-missing", "sequence-differs", "sequence-missing"],
    );
    check(
        Lie::ReuseSeq,
        &["history-missing", "reordered", "sequence-reused"],
    );
    check(Lie::SkipSeq, &["history-missing", "sequence-missing"]);
}

#[test]
fn lies_about_history_and_receipts() {
    check(Lie::ForgetInHistory, &["history-missing"]);
    check(Lie::ChangeInHistory, &["history-differs"]);
    check(Lie::ReceiptBack, &["receipt-wrong"]);
    check(Lie::NoLastReceipt, &["receipt-missing"]);
}

#[test]
fn lies_about_answers() {
    check(Lie::AnswerTwice, &["reply-unexpected"]);
    check(Lie::AckThenRefuse, &["reply-unexpected"]);
    check(Lie::FalseDuplicate, &["reply-unexpected"]);
    check(Lie::PushRefused, &["history-missing", "unexpected"]);
}

#[test]
fn a_gap_is_work_for_the_client_and_no_loss() {
    for more in [&[][..], &["--encoding", "proto"]] {
        let (done, fake) = run(Conduct::Gap, &[], more);
        let summary = done.expect(0, "ok");
        let count = |name: &str| number(&summary, &format!("counts.{name}"));
        assert_eq!(count("gaps"), 1.0, "{summary}");
        assert!(count("recovered") > 0.0, "{summary}");
        let arrived = fake.sends() as f64;
        assert_eq!(count("delivered") + count("recovered"), arrived);
        // What was fetched is as late as it is: it is in the figures like the rest.
        assert_eq!(number(&summary, "latency_us.e2e.count"), arrived);
        assert!(done.stdout.contains("left out"), "{}", done.stdout);
    }
    check(Lie::SyncForgets, &["lost"]);
}

const UNHEALTHY: (&str, &str) = ("send_lag_p99 = \"60s\"", "send_lag_p99 = \"0s\"");
const MISSED: (&str, &str) = (
    "lost = [\"count==0\"]",
    "lost = [\"count==0\"]\nack = [\"max<1us\"]",
);

#[test]
fn a_violation_goes_before_health_and_health_before_thresholds() {
    let lie = Conduct::Lie(Lie::ChangeText);
    for (conduct, edits, code, verdict) in [
        (Conduct::Honest, &[MISSED][..], 99, "threshold"),
        (Conduct::Honest, &[UNHEALTHY], 90, "invalid"),
        (Conduct::Honest, &[UNHEALTHY, MISSED], 90, "invalid"),
        (lie, &[MISSED], 91, "violation"),
        (lie, &[UNHEALTHY, MISSED], 91, "violation"),
    ] {
        let (done, _fake) = run(conduct, edits, &[]);
        let summary = done.expect(code, verdict);
        // What does not decide the verdict is said all the same.
        let missed = summary["thresholds_missed"].as_array().expect("a list");
        assert_eq!(!missed.is_empty(), edits.contains(&MISSED), "{summary}");
        let healthy = summary["health"]["healthy"].as_bool();
        assert_eq!(healthy, Some(!edits.contains(&UNHEALTHY)), "{summary}");
    }
}

#[test]
fn a_rate_beyond_the_generator_is_invalid() {
    let edits = [
        ("rate = \"200/s\"", "rate = \"200000/s\""),
        ("duration = \"1s\"", "duration = \"100ms\""),
        ("send_lag_p99 = \"60s\"", "send_lag_p99 = \"5ms\""),
        ("30s", "110s"),
    ];
    let (done, _fake) = run(Conduct::Honest, &edits, &[]);
    let summary = done.expect(90, "invalid");
    assert!(done.stdout.contains("send lag"), "{}", done.stdout);
    assert!(number(&summary, "latency_us.send_lag.p99") > 5_000.0);
}
