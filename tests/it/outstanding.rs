//! Commands of one connection that the sequencer has not answered: they are bounded, and nothing is
//! lost.

use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::neighbours::Neighbours;
use trunkline_tests::wait;

/// Sends `count` commands in frames of 500, with ids from `first` on.
fn post(client: &mut Client, first: u32, count: u32, command: impl Fn(u32) -> Value) {
    let commands: Vec<_> = (first..first + count).map(command).collect();
    for frame in commands.chunks(500) {
        client.post_raw(frame);
    }
}

#[test]
fn acknowledgements_that_wait() {
    const COUNT: u32 = 20_000;
    let gateway = Setup::default()
        .flag("receipt-delay", "5s")
        .flag("delivered-delay", "5s")
        .start();
    let mut neighbours = Neighbours::of(&gateway, "acks");
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    alice.send("bob", "1");
    bob.push_of("message");
    post(
        &mut bob,
        1_000,
        COUNT,
        |id| json!({"id": id, "ack": {"conversation": "u:alice:bob", "read": 1}}),
    );
    let outstanding = "trunkline_limited_total{limit=\"outstanding\"}";
    wait::until("bob to be read no more", || {
        (gateway.metric(outstanding) > 0.0).then_some(())
    });
    let held = gateway.metric("trunkline_receipt_acks_held");
    assert!(held < f64::from(COUNT), "{held} of them wait");
    neighbours.chat();
    for id in 1_000..1_000 + COUNT {
        assert!(bob.reply(id)["ack"].is_object(), "{id}");
    }
    assert_eq!(alice.push_of("receipt")["read"], 1);
}

#[test]
fn more_messages_than_may_wait_are_all_stored_in_order() {
    const COUNT: u32 = 5_000;
    let gateway = Gateway::start();
    let mut neighbours = Neighbours::of(&gateway, "sends");
    let mut alice = gateway.dial().connect("alice", "phone");
    post(
        &mut alice,
        1_000,
        COUNT,
        |id| json!({"id": id, "send": {"user": "bob", "text": format!("message {id}")}}),
    );
    neighbours.chat();
    for id in 1_000..1_000 + COUNT {
        assert_eq!(alice.reply(id)["send"]["seq"], id - 999);
    }
    // Long ones reach the limit of bytes before that of commands.
    let text = "x".repeat(60_000);
    for id in 1..=100 {
        let send = json!({"id": 10_000 + id, "send": {"user": "bob", "text": text}});
        alice.post_raw(&[send]);
    }
    neighbours.chat();
    for id in 1..=100 {
        assert_eq!(alice.reply(10_000 + id)["send"]["seq"], COUNT + id);
    }
}

/// Changes of groups cost so much that a few of them stop the reading of their client.
#[test]
fn dear_commands_wait_for_each_other() {
    const COUNT: u32 = 40;
    let gateway = Gateway::start();
    let mut neighbours = Neighbours::of(&gateway, "groups");
    let mut alice = gateway.dial().connect("alice", "phone");
    let members: Vec<_> = (0..150).map(|n| format!("member-{n}")).collect();
    post(
        &mut alice,
        1_000,
        COUNT,
        |id| json!({"id": id, "group_create": {"group": format!("g{id}"), "members": members}}),
    );
    neighbours.chat();
    for id in 1_000..1_000 + COUNT {
        let reply = alice.reply(id);
        assert!(reply["group_create"].is_object(), "{reply}");
    }
    let outstanding = gateway.metric("trunkline_limited_total{limit=\"outstanding\"}");
    assert!(outstanding > 0.0, "all of them were at the sequencer");
}
