//! Gateways that fail without lying: the run is not "ok", has no violation, and names the reason.

use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};

use crate::fake::Fake;
use crate::fake_conduct::{Conduct, Lie};
use crate::harness::{Loadgen, number, scenario, sentences, until};

/// Checks that a run against a failing gateway ends with this code and prints these words.
#[track_caller]
fn check(
    conduct: Conduct,
    edits: &[(&str, &str)],
    code: i32,
    verdict: &str,
    words: &[&str],
) -> serde_json::Value {
    let fake = Fake::start(conduct);
    let done = Loadgen::run(&scenario(edits), &["--target", &fake.url()]).done();
    let summary = done.expect(code, verdict);
    assert_eq!(summary["violations"], serde_json::json!({}), "{summary}");
    for word in words {
        assert!(done.stdout.contains(word), "no {word:?} in {}", done.stdout);
    }
    summary
}

#[test]
fn refused_sends_miss_a_threshold() {
    let refused = "111 too_many_requests: the fake refuses";
    let words = ["rejected: it is", refused];
    let summary = check(Conduct::RefuseSends, &[], 99, "threshold", &words);
    assert_eq!(number(&summary, "counts.acknowledged"), 0.0);
    assert_eq!(
        number(&summary, "counts.rejected"),
        number(&summary, "counts.attempted")
    );
    // A scenario that expects refusals allows them in its thresholds.
    let expected = [("lost = [\"count==0\"]", "rejected = [\"count>0\"]")];
    check(Conduct::RefuseSends, &expected, 0, "ok", &[]);
}

#[test]
fn a_send_without_an_answer_is_unknown() {
    let lie = Conduct::Lie(Lie::NoAnswer);
    let summary = check(
        lie,
        &[("30s", "1s")],
        99,
        "threshold",
        &["unknown: it is 1"],
    );
    assert_eq!(number(&summary, "counts.unknown"), 1.0);
    let sum = ["acknowledged", "rejected", "unknown"]
        .map(|name| number(&summary, &format!("counts.{name}")));
    assert_eq!(
        sum.iter().sum::<f64>(),
        number(&summary, "counts.attempted")
    );
}

#[test]
fn a_gateway_that_dies_aborts_the_run() {
    let words = ["the gateway ended every session", "closed the connection"];
    let summary = check(Conduct::Die, &[("30s", "1s")], 105, "aborted", &words);
    assert_eq!(number(&summary, "counts.disconnects"), 12.0);
    assert!(number(&summary, "counts.conversations_unread") > 0.0);
    assert_eq!(number(&summary, "counts.lost"), 0.0);
}

#[test]
fn an_end_that_comes_together_with_data_is_seen() {
    let fake = Fake::start(Conduct::Honest);
    // So few messages that most sessions have nothing more to say, and would not notice by that.
    let edits = [
        ("rate = \"200/s\"", "rate = \"5/s\""),
        ("duration = \"1s\"", "duration = \"3s\""),
        ("30s", "1s"),
    ];
    let run = Loadgen::run(&scenario(&edits), &["--target", &fake.url()]);
    until("a message", || (fake.sends() > 0).then_some(()));
    // Both wait in the sockets when it looks again.
    run.signal(Signal::SIGSTOP);
    fake.die_talking();
    run.signal(Signal::SIGCONT);
    let summary = run.done().expect(105, "aborted");
    assert_eq!(number(&summary, "counts.disconnects"), 12.0);
}

#[test]
fn a_session_that_is_cut_off_is_counted_and_its_messages_found() {
    let summary = check(
        Conduct::CutOne,
        &[("30s", "2s")],
        99,
        "threshold",
        &["disconnects: it is 1"],
    );
    assert_eq!(number(&summary, "counts.disconnects"), 1.0);
    assert!(number(&summary, "counts.recovered") >= 1.0, "{summary}");
    let fates = [
        "delivered",
        "recovered",
        "rejected",
        "unknown",
        "lost",
        "unproven",
    ]
    .map(|name| number(&summary, &format!("counts.{name}")));
    assert_eq!(
        fates.iter().sum::<f64>(),
        number(&summary, "counts.attempted")
    );
}

#[test]
fn connections_that_are_refused_or_ignored_abort_the_run() {
    let closed = ["the gateway closed the connection"];
    check(Conduct::Refuse, &[], 105, "aborted", &closed);
    let impatient = [("connect_timeout = \"60s\"", "connect_timeout = \"500ms\"")];
    let silent = ["the gateway did not open the session in time"];
    check(Conduct::Silent, &impatient, 105, "aborted", &silent);
}

#[test]
fn nothing_at_the_target_is_said_at_once() {
    // A port that is bound, without a listening socket.
    let port = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    port.bind(&any.into()).expect("a free port");
    let address = port.local_addr().expect("it has one");
    let address = address.as_socket().expect("an IP address");
    let url = format!("ws://{address}/v1/ws");
    let done = Loadgen::run(&scenario(&[]), &["--target", &url]).done();
    done.expect_refused(94, &["nothing answers at", &url, "refused", "--target"]);
}

#[test]
fn an_interrupted_run_writes_what_it_has() {
    let fake = Fake::start(Conduct::Honest);
    let long = scenario(&[("duration = \"1s\"", "duration = \"1h\"")]);
    let run = Loadgen::run(&long, &["--target", &fake.url()]);
    until("messages", || (fake.sends() > 20).then_some(()));
    run.signal(Signal::SIGINT);
    let summary = run.done().expect(105, "aborted");
    assert!(number(&summary, "counts.acknowledged") > 0.0);
    assert_eq!(sentences(&summary["notes"]), "");
}
