//! Sessions that end and come back: the events that they must get, and the lies that the run finds.

use serde_json::Value;

use crate::fake::Fake;
use crate::fake_conduct::{Conduct, Lie};
use crate::harness::{Done, Loadgen, number, scenario, sentences};

/// Sessions churn while messages flow: each is away for half a second, so that it misses some.
pub(crate) const CHURN: &str = "[scenarios.churn]\nexecutor = \"churn\"\nstart_after = \"connect\"\n\
     duration = \"1s\"\nrate = \"20/s\"\naway = \"500ms\"\nabrupt = 0.5\n[checks]";
/// An executor that cuts all sessions, or half of them, in the middle of the run.
pub(crate) const STORM: &str = "[scenarios.storm]\nexecutor = \"reconnect-storm\"\nstart_after = \"connect\"\n\
     start_time = \"400ms\"\nfraction = 1.0\n[checks]";
const HALF: (&str, &str) = ("fraction = 1.0", "fraction = 0.5");

/// Runs against a fake gateway with the executor `what`: a churn, a storm, or none.
fn run(conduct: Conduct, what: &str, edits: &[(&str, &str)]) -> (Done, Fake) {
    let fake = Fake::start(conduct);
    let text = scenario(&[
        ("[checks]", what),
        ("duration = \"1s\"\nrate", "duration = \"1500ms\"\nrate"),
    ]);
    let text = edits.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "the scenario has no {from}");
        text.replace(from, to)
    });
    let done = Loadgen::run(&text, &["--target", &fake.url()]).done();
    (done, fake)
}

fn count(summary: &Value, name: &str) -> f64 {
    number(summary, &format!("counts.{name}"))
}

/// Checks that the counts of messages add up.
#[track_caller]
pub(crate) fn each_has_a_fate(summary: &Value) {
    let fates = [
        "delivered",
        "recovered",
        "rejected",
        "unknown",
        "lost",
        "unproven",
        "skipped",
    ];
    let sum: f64 = fates.iter().map(|name| count(summary, name)).sum();
    let scheduled = count(summary, "attempted") + count(summary, "skipped");
    assert_eq!(sum, scheduled, "{summary}");
    let answered = count(summary, "acknowledged") + count(summary, "unknown_then_delivered");
    assert_eq!(
        answered + count(summary, "unknown"),
        count(summary, "attempted"),
        "{summary}"
    );
}

#[test]
fn whoever_churns_misses_nothing() {
    for (edits, devices) in [
        (&[][..], 12.0),
        (
            &[
                ("devices = 1.0", "devices = 1.5"),
                ("threads = 1", "threads = 2"),
            ],
            18.0,
        ),
        (
            &[
                ("abrupt = 0.5", "abrupt = 1.0"),
                ("receipts = true", "receipts = false"),
            ],
            12.0,
        ),
        (&[("abrupt = 0.5", "abrupt = 0.0")], 12.0),
    ] {
        let (done, _fake) = run(Conduct::Honest, CHURN, edits);
        let summary = done.expect(0, "ok");
        let cuts = count(&summary, "cuts");
        assert!(cuts > 5.0, "{summary}");
        assert_eq!(count(&summary, "resumed"), cuts, "{summary}");
        assert_eq!(
            number(&summary, "latency_us.resume.count"),
            cuts,
            "{summary}"
        );
        assert_eq!(number(&summary, "latency_us.connect.count"), devices);
        // Sends of sessions that were away were late, and their latencies include that.
        let held = count(&summary, "held");
        assert!(held > 0.0, "{summary}");
        assert_eq!(number(&summary, "latency_us.held.count"), held);
        assert!(number(&summary, "latency_us.ack.max") >= number(&summary, "latency_us.held.max"));
        assert!(
            number(&summary, "latency_us.e2e.max") > 100_000.0,
            "{summary}"
        );
        assert_eq!(count(&summary, "disconnects"), 0.0);
        each_has_a_fate(&summary);
        assert!(done.stdout.contains("cut by this side"), "{}", done.stdout);
    }
}

#[test]
fn a_storm_is_timed() {
    for half in [false, true] {
        let edits = [HALF];
        let (done, _fake) = run(Conduct::Honest, STORM, &edits[..usize::from(half)]);
        let summary = done.expect(0, "ok");
        let storm = &summary["storms"][0];
        assert_eq!(storm["name"], "storm", "{summary}");
        let sessions = number(storm, "sessions");
        assert_eq!(sessions == 12.0, !half, "{storm}");
        assert!(sessions > 0.0, "{storm}");
        assert_eq!(number(storm, "back"), sessions);
        assert_eq!(number(storm, "not_back"), 0.0);
        let times = ["p50", "p90", "p99", "all"].map(|at| number(storm, &format!("seconds.{at}")));
        assert!(times.is_sorted() && times[0] > 0.0, "{storm}");
        let per_second = number(storm, "sessions_per_second");
        assert!(
            (per_second * times[3] / sessions - 1.0).abs() < 0.01,
            "{storm}"
        );
        assert_eq!(
            number(&summary, "latency_us.storm_recovery.count"),
            sessions
        );
        if !half {
            // No session stays open.
            assert_eq!(number(storm, "stayed_us.e2e.count"), 0.0, "{storm}");
        }
        assert_eq!(count(&summary, "resumed"), sessions);
        each_has_a_fate(&summary);
        assert!(done.stdout.contains("sessions cut at"), "{}", done.stdout);
    }
}

#[test]
fn those_who_stay_in_are_timed() {
    // Long enough for some messages among them.
    let (done, _fake) = run(Conduct::Busy, STORM, &[HALF]);
    let summary = done.expect(0, "ok");
    let storm = &summary["storms"][0];
    for metric in ["ack", "e2e"] {
        let timed = number(storm, &format!("stayed_us.{metric}.count"));
        assert!(timed > 0.0, "{storm}");
        assert!(timed < number(&summary, &format!("latency_us.{metric}.count")));
    }
}

#[test]
fn what_was_acknowledged_last_is_said_again() {
    // Everybody is cut when all has been sent: nothing new makes up for what was not heard.
    let late = ("start_time = \"400ms\"", "start_time = \"1700ms\"");
    let (done, _fake) = run(Conduct::DeafAtFirst, STORM, &[late]);
    let summary = done.expect(0, "ok");
    assert_eq!(count(&summary, "resumed"), 12.0, "{summary}");
    assert!(count(&summary, "receipt_pushes") > 0.0, "{summary}");
}

#[test]
fn who_is_turned_away_tries_again() {
    let (done, _fake) = run(Conduct::Busy, STORM, &[]);
    let summary = done.expect(0, "ok");
    let storm = &summary["storms"][0];
    assert_eq!(number(storm, "turned_away.http"), 12.0, "{storm}");
    assert_eq!(number(storm, "turned_away.close_3013"), 12.0, "{storm}");
    assert_eq!(number(storm, "back"), 12.0, "{storm}");
    assert_eq!(count(&summary, "reconnects"), 36.0);
    assert!(
        done.stdout.contains("12 opened, 0 failed"),
        "{}",
        done.stdout
    );
    // HTTP said to wait for a second.
    assert!(number(storm, "seconds.p50") >= 1.0, "{storm}");
}

#[test]
fn a_storm_that_takes_too_long_misses_its_threshold() {
    let slow = ("lost = [", "storm_recovery = [\"p(50)<1us\"]\nlost = [");
    let (done, _fake) = run(Conduct::Honest, STORM, &[slow]);
    done.expect(99, "threshold");
    assert!(
        done.stdout.contains("storm_recovery: p(50)<1us"),
        "{}",
        done.stdout
    );
}

#[test]
fn who_is_told_to_come_again_does_and_sends_again_what_has_a_key() {
    let allowed = ("lost = [", "disconnects = [\"count<999\"]\nlost = [");
    let often = ("key_every = 5", "key_every = 2");
    let (done, _fake) = run(Conduct::HangUp, "[checks]", &[allowed, often]);
    // What had no key and was not stored is unknown, and that was the gateway's doing.
    let summary = done.expect(99, "threshold");
    assert!(count(&summary, "disconnects") > 5.0, "{summary}");
    assert_eq!(count(&summary, "resumed"), count(&summary, "disconnects"));
    assert!(count(&summary, "resent") > 0.0, "{summary}");
    assert!(count(&summary, "duplicates_answered") > 0.0, "{summary}");
    assert!(count(&summary, "resent") > count(&summary, "duplicates_answered"));
    assert!(count(&summary, "unknown_then_delivered") > 0.0, "{summary}");
    assert!(count(&summary, "unknown") > 0.0, "{summary}");
    assert_eq!(count(&summary, "unknown_excused"), 0.0);
    assert!(done.stdout.contains("unknown: it is"), "{}", done.stdout);
    each_has_a_fate(&summary);
}

#[test]
fn who_never_comes_back_is_said_and_not_accused_over() {
    let soon = (
        "connect_timeout = \"60s\"",
        "connect_timeout = \"60s\"\nreconnect_timeout = \"300ms\"",
    );
    let few = ("rate = \"20/s\"", "rate = \"2/s\"");
    // Each user has a device left that can be asked.
    let two = ("devices = 1.0", "devices = 2.0");
    let short = ("30s", "2s");
    let (done, _fake) = run(Conduct::NeverBack, CHURN, &[soon, few, short, two]);
    let summary = done.expect(99, "threshold");
    let gone = count(&summary, "gone");
    assert!(gone > 0.0 && gone < 24.0, "{summary}");
    assert_eq!(count(&summary, "not_back"), gone);
    assert!(count(&summary, "skipped") > 0.0, "{summary}");
    assert!(count(&summary, "recovered") > 0.0, "{summary}");
    assert!(count(&summary, "reconnects") > gone, "{summary}");
    assert!(done.stdout.contains("not_back: it is"), "{}", done.stdout);
    assert_eq!(summary["violations"], serde_json::json!({}));
    each_has_a_fate(&summary);
    // A run without any session left is aborted.
    let (done, _fake) = run(Conduct::NeverBack, STORM, &[soon, short]);
    done.expect(105, "aborted");
}

#[test]
fn what_is_not_recovered_is_found_in_history() {
    for conduct in [Conduct::Expires, Conduct::DoesNotRecover] {
        let (done, _fake) = run(conduct, CHURN, &[]);
        let summary = done.expect(0, "ok");
        let cuts = count(&summary, "cuts");
        assert_eq!(
            count(&summary, "not_recovered"),
            cuts,
            "{conduct:?}: {summary}"
        );
        assert_eq!(count(&summary, "resumed"), 0.0);
        assert!(count(&summary, "recovered") > 0.0, "{conduct:?}: {summary}");
        let notes = sentences(&summary["notes"]);
        assert!(notes.contains("without their missed messages"), "{notes}");
        each_has_a_fate(&summary);
    }
}

/// Checks that a lie to reconnecting sessions is found and named.
#[track_caller]
fn check(lie: Lie, what: &str, kind: &str) {
    let edits = [("30s", "5s"), ("contacts = 4", "contacts = 2")];
    let (done, fake) = run(Conduct::Lie(lie), what, &edits);
    assert_eq!(fake.lies(), 1, "{lie:?} was told");
    let summary = done.expect(91, "violation");
    let found = summary["violations"].as_object().expect("a map");
    assert!(found.contains_key(kind), "{lie:?}: {summary}");
    let named = done.violations().iter().any(|it| it["kind"] == kind);
    assert!(named, "{lie:?}");
}

#[test]
fn lies_to_those_who_come_back() {
    check(Lie::ForgetMissed, CHURN, "lost");
    check(Lie::RepeatMissed, CHURN, "duplicated");
    check(Lie::ResequenceMissed, CHURN, "sequence-differs");
}

#[test]
fn lies_about_keys() {
    check(Lie::FalseKnown, "[checks]", "lost");
    // The message then has two sequences, and its recipient gets both.
    check(Lie::StoreAgain, "[checks]", "sequence-differs");
}
