//! Groups: which device must get which event, against lying gateways and the real one.

use serde_json::Value;

use crate::fake::Fake;
use crate::fake_conduct::{Conduct, Lie};
use crate::harness::{Done, Loadgen, number, scenario, sentences};
use crate::sessions::{CHURN, STORM, each_has_a_fate};
use crate::verdicts;

/// Edits: all messages go to groups of four, and each user is in two groups.
pub(crate) const SMALL: (&str, &str) = (
    "contacts = 4",
    "contacts = 4\ngroups = { share = 1.0, size = \"const(4)\", per_user = 2.0 }",
);

/// Edits: half of the messages go to groups of about five, and two larger groups exist.
const MIXED: (&str, &str) = (
    "contacts = 4",
    "contacts = 4\ngroups = { share = 0.5, size = \"exp(5)\", per_user = 1.5, large = \
     [{ size = 11, count = 1, rate = \"30/s\" }, { size = 5, count = 1, rate = \"20/s\" }] }",
);

fn run(conduct: Conduct, edits: &[(&str, &str)], more: &[&str]) -> (Done, Fake) {
    let fake = Fake::start(conduct);
    let url = fake.url();
    let args = [&["--target", &*url], more].concat();
    let done = Loadgen::run(&scenario(edits), &args).done();
    (done, fake)
}

/// Checks that the figures of a good run agree with each other.
fn consistent(summary: &Value) {
    let count = |name: &str| number(summary, &format!("counts.{name}"));
    for none in [
        "lost",
        "duplicated",
        "reordered",
        "unexpected",
        "recovered",
        "unknown",
    ] {
        assert_eq!(count(none), 0.0, "{none}: {summary}");
    }
    assert_eq!(count("acknowledged"), count("attempted"));
    assert_eq!(count("delivered"), count("attempted"));
    assert_eq!(count("messages_read_back"), count("attempted"));
    // Each arrival is a sample of `e2e`. Arrivals in groups are samples of `e2e_group` too.
    let samples = |metric: &str| number(summary, &format!("latency_us.{metric}.count"));
    assert_eq!(samples("e2e"), count("message_pushes"));
    assert_eq!(samples("e2e_group"), count("group_pushes"));
    assert!(
        count("group_pushes") > 2.0 * count("group_messages"),
        "{summary}"
    );
    let fan_out = count("message_pushes") / count("acknowledged");
    assert!((number(summary, "fan_out") - fan_out).abs() < 1e-9);
    let in_time = count("message_pushes_in_time") / number(summary, "sending_seconds");
    assert!((number(summary, "rates.deliveries") - in_time).abs() < 1e-6);
    assert!(in_time > number(summary, "rates.achieved"), "{summary}");
    assert!(number(summary, "groups.made") > 0.0);
    assert!(number(summary, "groups.memberships") > number(summary, "groups.made"));
    assert!(count("receipts_sent") > 0.0 && count("receipt_pushes") > 0.0);
}

#[test]
fn an_honest_gateway_is_ok() {
    for (edits, more) in [
        (&[SMALL][..], &[][..]),
        (&[MIXED], &["--encoding", "proto"]),
        (
            &[MIXED, ("devices = 1.0", "devices = 1.5")],
            &["--encoding", "json"],
        ),
        (&[SMALL, ("threads = 1", "threads = 2")], &[]),
        // The largest group is whole in one thread, whatever was asked for.
        (&[MIXED, ("threads = 1", "threads = 4")], &[]),
        // Messages while connections are still being opened.
        (
            &[
                SMALL,
                ("start_after = \"connect\"\n", ""),
                ("duration = \"50ms\"", "duration = \"800ms\""),
                ("devices = 1.0", "devices = 2.0"),
            ],
            &[],
        ),
    ] {
        let (done, fake) = run(Conduct::Honest, edits, more);
        let summary = done.expect(0, "ok");
        let count = |name: &str| number(&summary, &format!("counts.{name}"));
        assert_eq!(count("attempted"), fake.sends() as f64);
        assert_eq!(done.violations(), [] as [Value; 0]);
        let opening = edits.iter().any(|edit| edit.0.starts_with("start_after"));
        if !opening {
            consistent(&summary);
            let all = edits.contains(&SMALL);
            let in_groups = count("group_messages");
            assert_eq!(in_groups == count("attempted"), all, "{summary}");
            assert!(in_groups > 0.3 * count("attempted"), "{summary}");
        }
        for words in ["memberships, made in", "deliveries    ", "e2e_group "] {
            assert!(
                done.stdout.contains(words),
                "no {words:?} in {}",
                done.stdout
            );
        }
    }
}

#[test]
fn who_is_offline_is_in_groups_too() {
    let (done, _fake) = run(
        Conduct::Honest,
        &[SMALL, ("online = 1.0", "online = 0.25")],
        &[],
    );
    let summary = done.expect(0, "ok");
    let count = |name: &str| number(&summary, &format!("counts.{name}"));
    assert!(count("attempted") > 100.0 && count("group_messages") == count("attempted"));
    assert!(
        count("group_pushes") < 2.0 * count("group_messages"),
        "{summary}"
    );
}

#[test]
fn a_share_without_enough_users_is_refused_with_what_it_takes() {
    let args = ["run", "large-group", "--connections", "500"];
    let words = ["10,000 members", "--connections 10000", "optional = true"];
    Loadgen::start("", &args).done().expect_refused(104, &words);
}

/// Checks that a lie in a group ends with exit code 91 and exactly these kinds of violations.
#[track_caller]
fn check(lie: Lie, kinds: &[&str]) {
    // By their events alone these can be seen.
    let shown = [
        Lie::DropPush,
        Lie::RepeatPush,
        Lie::SwapPushes,
        Lie::PushToSender,
        Lie::AckOtherSeq,
        Lie::ReuseSeq,
    ];
    let (done, _) = verdicts::check_with(lie, kinds, &[SMALL], ("g:", &shown));
    let told = [
        Lie::DropPush,
        Lie::RepeatPush,
        Lie::SwapPushes,
        Lie::ThirdUser,
    ];
    if told.contains(&lie) {
        // The violation names the user and the device that got the lie.
        let detail = done.violations()[0]["detail"].to_string();
        let says = detail.contains("message") || detail.contains("sequence");
        assert!(says && detail.contains("/d"), "{detail}");
    }
}

#[test]
fn lies_about_pushes() {
    check(Lie::DropPush, &["lost"]);
    check(Lie::RepeatPush, &["duplicated"]);
    check(Lie::SwapPushes, &["reordered"]);
    check(Lie::PushToSender, &["unexpected"]);
    check(Lie::ThirdUser, &["unexpected"]);
}

#[test]
fn lies_about_content() {
    check(Lie::ChangeText, &["text-changed"]);
    check(Lie::WrongSender, &["wrong-conversation"]);
    check(Lie::WrongConversation, &["wrong-conversation"]);
    check(Lie::Invent, &["unexpected"]);
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
fn lies_about_history_receipts_and_answers() {
    check(Lie::ForgetInHistory, &["history-missing"]);
    check(Lie::ChangeInHistory, &["history-differs"]);
    check(Lie::ReceiptBack, &["receipt-wrong"]);
    check(Lie::AnswerTwice, &["reply-unexpected"]);
    check(Lie::FalseDuplicate, &["reply-unexpected"]);
}

#[test]
fn nobody_is_owed_a_receipt_in_a_group() {
    let lie = Conduct::Lie(Lie::NoLastReceipt);
    let (done, fake) = run(lie, &[SMALL, ("30s", "4s")], &[]);
    done.expect(0, "ok");
    assert_eq!(fake.lies(), 1);
}

#[test]
fn groups_that_cannot_be_made_end_the_run_and_say_why() {
    let large = "groups = { large = [{ size = 1500, count = 1 }] }";
    let large = format!("contacts = 4\n{large}");
    let large = [
        ("contacts = 4", &*large),
        ("users = 12", "users = 1500"),
        ("online = 1.0", "online = 0.01"),
    ];
    for (conduct, edits, words) in [
        (
            Conduct::RefuseGroups,
            &[SMALL, ("threads = 1", "threads = 2")][..],
            "106 limit_exceeded: the fake has enough groups",
        ),
        (Conduct::MiscountMembers, &large, "a wrong answer"),
        (
            Conduct::Refuse,
            &[SMALL],
            "the gateway closed the connection",
        ),
    ] {
        let (done, fake) = run(conduct, edits, &[]);
        let summary = done.expect(105, "aborted");
        let notes = sentences(&summary["notes"]);
        assert!(notes.contains("groups cannot be made: "), "{notes}");
        assert!(notes.contains(words), "{notes}");
        assert_eq!(fake.sends(), 0);
    }
    // Named in two commands, it stands.
    let (done, _fake) = run(Conduct::Honest, &large, &[]);
    let summary = done.expect(0, "ok");
    assert_eq!(number(&summary, "groups.memberships"), 1500.0);
}

#[test]
fn the_real_gateway_tells_every_member_below_and_above_its_limits() {
    // Groups of 5, in which all members get receipts; groups of 30, in which only the own devices
    // get them; and a group of 250, whose events are not copied into the timelines of its members.
    let groups = "contacts = 4\ngroups = { share = 0.5, size = \"const(5)\", per_user = 2.0, large = [\
                  { size = 30, count = 2, rate = \"20/s\" }, { size = 250, count = 1, rate = \"20/s\" }] }";
    let edits = [
        ("contacts = 4", groups),
        ("users = 12", "users = 260"),
        ("devices = 1.0", "devices = 1.2"),
        (
            "stages = [{ duration = \"50ms\"",
            "stages = [{ duration = \"500ms\"",
        ),
        ("duration = \"1s\"", "duration = \"2s\""),
        ("rate = \"200/s\"", "rate = \"100/s\""),
    ];
    for more in [
        &["--encoding", "json"][..],
        &["--encoding", "proto", "--shards", "2"],
    ] {
        let done = Loadgen::run(&scenario(&edits), more).done();
        let summary = done.expect(0, "ok");
        consistent(&summary);
        let metrics = summary["metrics"].as_object().expect("a map");
        for (name, both) in metrics {
            assert_eq!(both["gateway"], both["generator"], "{name}: {summary}");
        }
        assert_eq!(metrics.len(), 4, "{summary}");
        // The groups were made while no user was connected, so no device had to get the changes.
        assert_eq!(number(&summary, "counts.group_changes"), 0.0);
        assert_eq!(number(&summary, "groups.made"), 104.0 + 3.0);
        assert_eq!(number(&summary, "groups.memberships"), 520.0 + 310.0);
        assert!(number(&summary, "fan_out") > 20.0, "{summary}");
    }
}

const LONGER: (&str, &str) = ("duration = \"1s\"\nrate", "duration = \"1500ms\"\nrate");

#[test]
fn whoever_comes_back_has_missed_nothing() {
    for (what, kind) in [(CHURN, SMALL), (CHURN, MIXED), (STORM, SMALL)] {
        let devices = ("devices = 1.0", "devices = 1.5");
        let edits = [LONGER, kind, devices, ("[checks]", what)];
        let (done, _fake) = run(Conduct::Honest, &edits, &[]);
        let summary = done.expect(0, "ok");
        each_has_a_fate(&summary);
        let count = |name: &str| number(&summary, &format!("counts.{name}"));
        assert!(count("resumed") > 5.0 && count("held") > 0.0, "{summary}");
        assert!(count("group_messages") > 50.0, "{summary}");
        // What had no key when its session was cut may never have been stored.
        let known = count("attempted") - count("unknown_excused");
        assert_eq!(count("delivered"), known, "{summary}");
    }
}

#[test]
fn what_breaks_before_its_answer_is_sent_again_or_found() {
    let allowed = (
        "lost = [\"count==0\"]",
        "lost = [\"count==0\"]\ndisconnects = [\"count>0\"]\nunknown = [\"count>=0\"]",
    );
    // Which sends carry a key has nothing to do with which are hung up on.
    let often = ("key_every = 5", "key_every = 3");
    let (done, _fake) = run(Conduct::HangUp, &[SMALL, LONGER, allowed, often], &[]);
    let summary = done.expect(0, "ok");
    each_has_a_fate(&summary);
    let count = |name: &str| number(&summary, &format!("counts.{name}"));
    assert_eq!(count("group_messages"), count("attempted"));
    assert_eq!(count("resumed"), count("disconnects"));
    assert!(count("resent") > 0.0, "{summary}");
    assert!(count("resent") >= count("duplicates_answered"), "{summary}");
    assert!(count("unknown_then_delivered") > 0.0, "{summary}");
    assert!(count("unknown") > 0.0, "{summary}");
}

#[test]
fn lies_to_whoever_comes_back() {
    for (lie, kinds) in [
        (Lie::ForgetMissed, &["lost"][..]),
        (Lie::RepeatMissed, &["duplicated"]),
    ] {
        let edits = [SMALL, LONGER, ("[checks]", CHURN), ("30s", "4s")];
        let (done, fake) = run(Conduct::Lie(lie), &edits, &[]);
        assert_eq!(fake.lies(), 1, "{lie:?} was told");
        let summary = done.expect(91, "violation");
        let found: Vec<_> = summary["violations"]
            .as_object()
            .expect("a map")
            .keys()
            .collect();
        assert_eq!(found, kinds, "{lie:?}: {summary}");
        let conversation = done.violations()[0]["conversation"].to_string();
        assert!(conversation.contains("g:"), "{conversation}");
    }
}

#[test]
fn the_real_gateway_goes_on_in_groups_where_its_sessions_were() {
    let groups = "contacts = 4\ngroups = { share = 1.0, size = \"const(5)\", per_user = 2.0, large = [\
                  { size = 30, count = 1, rate = \"20/s\" }, { size = 250, count = 1, rate = \"20/s\" }] }";
    let edits = [
        ("contacts = 4", groups),
        ("users = 12", "users = 260"),
        ("devices = 1.0", "devices = 1.2"),
        (
            "stages = [{ duration = \"50ms\"",
            "stages = [{ duration = \"500ms\"",
        ),
        ("duration = \"1s\"", "duration = \"3s\""),
        ("rate = \"200/s\"", "rate = \"100/s\""),
    ];
    for what in [CHURN, STORM] {
        let edits = [&edits[..], &[("[checks]", what)]].concat();
        let done = Loadgen::run(&scenario(&edits), &[]).done();
        let summary = done.expect(0, "ok");
        each_has_a_fate(&summary);
        let count = |name: &str| number(&summary, &format!("counts.{name}"));
        assert!(count("resumed") > 5.0, "{summary}");
        assert_eq!(
            count("lost") + count("duplicated") + count("reordered"),
            0.0
        );
        assert!(number(&summary, "fan_out") > 20.0, "{summary}");
    }
}
