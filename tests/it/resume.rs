//! `resume`: positions that the gateway keeps for devices.

use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::dial::Dial;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait::until;

fn resuming(gateway: &Gateway) -> Dial {
    gateway.dial().with("resume", true)
}

fn texts(client: &mut Client, count: usize) -> Vec<Value> {
    (0..count)
        .map(|_| client.push_of("message")["text"].clone())
        .collect()
}

/// Checks that the next push is the message that is sent now.
fn nothing_waits(client: &mut Client, sender: &mut Client) {
    sender.send("bob", "marker");
    assert_eq!(client.push_of("message")["text"], "marker");
}

#[test]
fn a_device_goes_on_where_it_closed() {
    let mut gateway = Setup::default().flag("shards", 3).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "before anything is kept");
    let mut phone = resuming(&gateway).connect("bob", "phone");
    assert_eq!(
        phone.opening()["recovered"],
        false,
        "there was nothing to go on from"
    );
    alice.send("bob", "one");
    assert_eq!(texts(&mut phone, 1), ["one"]);
    phone.close();
    // Another device has a position of its own, which begins now.
    let mut tablet = resuming(&gateway).proto().connect("bob", "tablet");
    assert_eq!(tablet.opening()["recovered"], false);
    alice.send("bob", "two");
    alice.send("bob", "three");
    assert_eq!(texts(&mut tablet, 2), ["two", "three"]);
    for restarted in [false, true] {
        let mut phone = resuming(&gateway).connect("bob", "phone");
        assert_eq!(phone.opening()["recovered"], true);
        if restarted {
            assert_eq!(texts(&mut phone, 1), ["four"]);
        } else {
            assert_eq!(texts(&mut phone, 2), ["two", "three"]);
        }
        nothing_waits(&mut phone, &mut alice);
        phone.close();
        if !restarted {
            alice.send("bob", "four");
            drop(std::mem::replace(
                &mut alice,
                gateway.dial().connect("alice", "other"),
            ));
            assert!(gateway.stop().status.success());
            gateway.start_again();
            alice = gateway.dial().connect("alice", "phone");
        }
    }
}

/// RFC 6455 §7.1: the closing side reads up to the other side's Close frame.
#[test]
fn who_closes_in_order_has_read_everything() {
    let gateway = Gateway::start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut phone = resuming(&gateway).connect("bob", "phone");
    phone.answers_pings = false;
    alice.send("bob", "one");
    assert_eq!(texts(&mut phone, 1), ["one"]);
    phone.close();
    alice.send("bob", "two");
    let mut phone = resuming(&gateway).connect("bob", "phone");
    assert_eq!(texts(&mut phone, 1), ["two"]);
}

#[test]
fn whoever_vanishes_misses_nothing() {
    let mut gateway = Setup::default().flag("shards", 2).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut phone = resuming(&gateway).connect("bob", "phone");
    // What is acknowledged behind it shows that the first position is kept.
    phone.send("carol", "hello");
    alice.send("bob", "never read");
    // The connection breaks with the message in it.
    drop(phone);
    let mut phone = resuming(&gateway).connect("bob", "phone");
    assert_eq!(phone.opening()["recovered"], true);
    assert_eq!(texts(&mut phone, 2), ["hello", "never read"]);
    alice.send("bob", "read");
    assert_eq!(texts(&mut phone, 1), ["read"]);
    gateway.kill();
    gateway.start_again();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "after");
    let mut phone = resuming(&gateway).connect("bob", "phone");
    let mut seen = Vec::new();
    while seen.last() != Some(&json!("after")) {
        seen.extend(texts(&mut phone, 1));
    }
    // What was not known to have arrived may come again, from there on whole.
    let all = ["hello", "never read", "read", "after"];
    assert!(
        all.ends_with(&seen.iter().filter_map(Value::as_str).collect::<Vec<_>>()),
        "{seen:?}"
    );
}

#[test]
fn an_answered_ping_is_a_receipt() {
    let gateway = Setup::default().flag("shards", 2).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut phone = resuming(&gateway).connect("bob", "phone");
    alice.send("bob", "one");
    assert_eq!(texts(&mut phone, 1), ["one"]);
    // Behind the beginning and behind the push, without any silence.
    phone.pinged(2);
    phone.ping();
    drop(phone);
    until("the session's end", || {
        (gateway.metric("trunkline_sessions") < 2.0).then_some(())
    });
    alice.send("bob", "two");
    let mut phone = resuming(&gateway).connect("bob", "phone");
    assert_eq!(texts(&mut phone, 1), ["two"]);
}

#[test]
fn resume_needs_a_device_and_since_comes_first() {
    let gateway = Gateway::start();
    let mut client = gateway.dial().open();
    assert_eq!(
        client.refused("connect", &json!({"user": "bob", "resume": true})),
        107
    );
    let mut alice = gateway.dial().connect("alice", "phone");
    let begin = alice.pos();
    for text in ["one", "two"] {
        alice.send("bob", text);
    }
    let mut phone = resuming(&gateway).since(&begin).connect("bob", "phone");
    assert_eq!(texts(&mut phone, 2), ["one", "two"]);
    phone.close();
    let mut again = resuming(&gateway).since(&begin).connect("bob", "phone");
    assert_eq!(texts(&mut again, 2), ["one", "two"]);
}
