//! A message sent twice with one key is stored once.

use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::Gateway;

fn request(key: &str, text: &str) -> Value {
    json!({"user": "bob", "key": key, "text": text})
}

/// Sends the request of the reply `first` again. The same reply must come, marked as a duplicate.
fn check(client: &mut Client, (key, text): (&str, &str), first: &Value) {
    let again = client.done("send", &request(key, text));
    let mut expected = first.clone();
    expected["duplicate"] = true.into();
    assert_eq!(again, expected);
}

/// The conversation must hold these texts and nothing else.
fn holds(client: &mut Client, texts: &[&str]) {
    let page = client.done(
        "history",
        &json!({"conversation": "u:alice:bob", "limit": 500}),
    );
    let messages = page["messages"].as_array().expect("messages");
    let found: Vec<_> = messages
        .iter()
        .map(|m| m["text"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(found, texts);
}

#[test]
fn within_a_connection_across_connections_and_shards() {
    let gateway = Gateway::start();
    let dial = gateway.dial();
    let mut bob = dial.clone().connect("bob", "phone");
    let mut alice = dial.clone().shard(0).connect("alice", "phone");
    let first = alice.done("send", &request("k", "once"));
    assert_eq!(
        (&first["seq"], &first["duplicate"]),
        (&json!(1), &json!(false))
    );
    check(&mut alice, ("k", "once"), &first);
    check(
        &mut dial.clone().shard(1).proto().connect("alice", "phone"),
        ("k", "once"),
        &first,
    );
    check(
        &mut dial.clone().shard(0).connect("alice", "laptop"),
        ("k", "once"),
        &first,
    );
    // A key belongs to the sender: another user may use the same key.
    let theirs = bob.done(
        "send",
        &json!({"user": "alice", "key": "k", "text": "mine"}),
    );
    assert_eq!(
        (&theirs["seq"], &theirs["duplicate"]),
        (&json!(2), &json!(false))
    );
    let other = alice.done("send", &request("k2", "twice"));
    assert_eq!(other["seq"], 3);
    holds(&mut alice, &["once", "mine", "twice"]);
    // A duplicate is answered, not delivered.
    assert_eq!(bob.push_of("message")["text"], "once");
    assert_eq!(bob.push_of("message")["text"], "twice");
    bob.ping();
    assert_eq!(bob.waiting(), Vec::<Value>::new());
    assert_eq!(gateway.metric("trunkline_messages_total"), 3.0);
    assert_eq!(gateway.metric("trunkline_duplicates_total"), 3.0);
}

#[test]
fn within_one_batch() {
    let gateway = Gateway::start();
    for proto in [false, true] {
        let dial = if proto {
            gateway.dial().proto()
        } else {
            gateway.dial()
        };
        let mut alice = dial.connect("alice", "phone");
        let key = format!("key {proto}");
        let mut send = |id: u32| json!({"id": id, "send": request(&key, "x")});
        // One frame, so that all of them are decided for one commit.
        let commands: Vec<_> = (1_001..=1_020).map(&mut send).collect();
        alice.post_raw(&commands);
        let replies: Vec<_> = (1_001..=1_020)
            .map(|id| alice.reply(id)["send"].take())
            .collect();
        let duplicates = replies
            .iter()
            .filter(|reply| reply["duplicate"] == true)
            .count();
        assert_eq!(duplicates, 19, "{replies:?}");
        for reply in &replies {
            for field in ["seq", "pos", "time", "conversation"] {
                assert_eq!(reply[field], replies[0][field]);
            }
        }
    }
    holds(&mut gateway.dial().connect("alice", "phone"), &["x", "x"]);
}

#[test]
fn two_connections_race_for_one_key() {
    let gateway = Gateway::start();
    let mut clients = [0, 1].map(|shard| gateway.dial().shard(shard).connect("alice", "phone"));
    for round in 0..50 {
        let key = format!("race {round}");
        let ids = clients
            .each_mut()
            .map(|client| client.post("send", &request(&key, "x")));
        let replies: Vec<_> = clients
            .iter_mut()
            .zip(ids)
            .map(|(client, id)| client.reply(id)["send"].take())
            .collect();
        assert_eq!(replies[0]["seq"], replies[1]["seq"]);
        assert_eq!(replies[0]["seq"], round + 1);
        let firsts = replies
            .iter()
            .filter(|reply| reply["duplicate"] == false)
            .count();
        assert_eq!(firsts, 1, "{replies:?}");
    }
}

/// Keys are known after the gateway was ended and started again.
fn across(end: impl Fn(&mut Gateway)) {
    let mut gateway = Gateway::start();
    let keys = ["k1", "k2", "k3"];
    let mut alice = gateway.dial().connect("alice", "phone");
    let first = keys.map(|key| alice.done("send", &request(key, key)));
    for _ in 0..2 {
        end(&mut gateway);
        gateway.start_again();
        let mut alice = gateway.dial().proto().connect("alice", "phone");
        for (key, first) in keys.iter().zip(&first) {
            check(&mut alice, (key, key), first);
        }
        holds(&mut alice, &keys);
    }
    let next = gateway
        .dial()
        .connect("alice", "phone")
        .done("send", &request("k4", "new"));
    assert_eq!(
        (&next["seq"], &next["duplicate"]),
        (&json!(4), &json!(false))
    );
}

#[test]
fn across_a_restart() {
    across(|gateway| drop(gateway.stop()));
}

#[test]
fn across_kill_9() {
    across(Gateway::kill);
}
