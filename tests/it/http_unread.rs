//! Streams and answers over HTTP that nobody reads.

use serde_json::json;
use trunkline_tests::api::Api;
use trunkline_tests::crowd::Crowd;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::memory::MIB;
use trunkline_tests::wait;

fn unread(gateway: &Gateway) -> f64 {
    gateway.metric("trunkline_http_unread_bytes")
}

fn streams(gateway: &Gateway) -> f64 {
    gateway.metric("trunkline_http_streams")
}

/// Makes a group of `members`, and tells them messages of these lengths.
fn group(gateway: &Gateway, members: usize, lengths: &[usize]) {
    let mut owner = gateway.dial().connect("owner", "pc");
    let names: Vec<_> = (0..members).map(|n| format!("m{n}")).collect();
    owner.done("group_create", &json!({"group": "all", "members": names}));
    for length in lengths {
        owner.done(
            "send",
            &json!({"group": "all", "text": "x".repeat(*length)}),
        );
    }
}

fn paths(members: usize) -> impl Iterator<Item = (String, &'static str)> {
    (0..members).map(|n| (format!("m{n}"), "/api/v1/events?since=0"))
}

/// Beyond the limit, streams that have waited for long end, and those who read notice nothing.
#[test]
fn streams_that_nobody_reads_have_a_limit() {
    const MEMBERS: usize = 300;
    const LIMIT: f64 = 8.0 * MIB;
    let setup = Setup::default().http().flag("write-timeout", "1h");
    let gateway = setup.flag("http-unread-bytes", "8MiB").start();
    group(&gateway, MEMBERS, &[20_000; 40]);
    let crowd = Crowd::ask(&gateway, paths(MEMBERS));
    let dropped = || gateway.metric("trunkline_http_unread_dropped_total");
    wait::until("all streams to have come", || {
        (streams(&gateway) + dropped() >= MEMBERS as f64).then_some(())
    });
    wait::until("no more than the limit to wait", || {
        (dropped() > 0.0 && unread(&gateway) <= LIMIT).then_some(())
    });
    assert!(unread(&gateway) > 0.0 && streams(&gateway) > 0.0);
    let mut reader = Api::of(&gateway)
        .user("m0")
        .begin("GET", "/api/v1/events?since=0");
    reader.head();
    let (mut messages, text) = (0, "x".repeat(20_000));
    while messages < 40 {
        let (_, event) = reader.event();
        if event["message"].is_object() {
            assert_eq!(event["message"]["text"], text);
            messages += 1;
        }
    }
    drop(crowd);
    wait::until("nothing to wait", || {
        (unread(&gateway) == 0.0).then_some(())
    });
}

/// A long answer that finds too much waiting is refused, and a short one is not.
#[test]
fn answers_that_nobody_reads_have_a_limit() {
    const MEMBERS: usize = 40;
    let gateway = Setup::default().http();
    let gateway = gateway.flag("http-unread-bytes", "1MiB").start();
    group(&gateway, MEMBERS, &[60_000; 8]);
    let path = "/api/v1/rtm.receive?limit=8";
    let crowd = Crowd::ask(&gateway, (0..MEMBERS).map(|n| (format!("m{n}"), path)));
    wait::until("answers to wait", || {
        (unread(&gateway) > 0.8 * MIB).then_some(())
    });
    let member = Api::of(&gateway).user("m1");
    wait::until("a long answer to be refused", || {
        let answer = member.ask("GET", path, None);
        (answer.status == 503).then_some(())
    });
    member.post("send", &json!({"group": "all", "text": "short"}));
    assert!(unread(&gateway) < 1.5 * MIB, "{}", unread(&gateway));
    drop(crowd);
    wait::until("the answer", || {
        (member.ask("GET", path, None).status == 200).then_some(())
    });
}
