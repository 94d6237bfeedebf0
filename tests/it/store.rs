//! The gateway on its store: many small files, restarts that replay little, a disk that fails.

use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::random::Random;
use trunkline_tests::wait;

use crate::load;

/// Returns a gateway whose log files are full after a few hundred messages.
fn small() -> Setup {
    Setup::default()
        .flag("message-bytes", "16KiB")
        .flag("segment-bytes", "144KiB")
        .flag("store-reserve", "0B")
}

fn send(client: &mut Client, to: &str, text: &str, key: &str) -> Value {
    client.done("send", &json!({"user": to, "text": text, "key": key}))
}

/// Fills about `files` log files.
fn fill(client: &mut Client, files: usize) {
    let text = "x".repeat(4_000);
    for i in 0..files * 32 {
        client.done(
            "send",
            &json!({"user": "nobody", "text": format!("{i} {text}")}),
        );
    }
}

#[test]
fn what_is_in_runs_is_known_after_restarts_without_replaying_it() {
    let mut gateway = small().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    let first = send(&mut alice, "bob", "first", "k1");
    send(&mut alice, "bob", "second", "k2");
    bob.done(
        "ack",
        &json!({"conversation": "u:alice:bob", "delivered": 2, "read": 1}),
    );
    let since = bob.done("sync", &json!({"since": "0", "limit": 1}))["pos"].clone();
    fill(&mut alice, 12);
    for end in [Gateway::kill, |gateway: &mut Gateway| drop(gateway.stop())] {
        wait::until("segments become runs", || {
            (gateway.metric("trunkline_store_waiting_segments") == 0.0).then_some(())
        });
        assert!(gateway.metric("trunkline_store_runs") > 3.0);
        end(&mut gateway);
        gateway.start_again();
        let mut alice = gateway.dial().connect("alice", "phone");
        let mut bob = gateway.dial().connect("bob", "phone");
        assert_eq!(gateway.metric("trunkline_conversations"), 0.0);
        let again = send(&mut alice, "bob", "first", "k1");
        assert_eq!(again["duplicate"], json!(true));
        assert_eq!(
            (&again["seq"], &again["pos"]),
            (&first["seq"], &first["pos"])
        );
        // The marks survived the restart, so this acknowledgement moves nothing and causes no push.
        bob.done(
            "ack",
            &json!({"conversation": "u:alice:bob", "delivered": 2, "read": 1}),
        );
        assert_eq!(gateway.metric("trunkline_receipts_total"), 0.0);
        let missed = bob.done("sync", &json!({"since": since}));
        let events = missed["events"].as_array().expect("events");
        assert_eq!(events[0]["message"]["text"], json!("second"));
        assert_eq!(events[1]["receipt"]["read"], json!(1));
    }
    let mut alice = gateway.dial().connect("alice", "phone");
    assert_eq!(send(&mut alice, "bob", "third", "k3")["seq"], json!(3));
}

#[test]
fn kill_9_under_load_while_runs_are_made_and_merged() {
    let (mut random, seed) = Random::announced();
    println!("{seed}");
    let mut gateway = small().flag("durability", "os").start();
    let mut all_sent = Vec::new();
    for round in 0..6 {
        let enough = random.within(200, 6_000);
        all_sent.push(load::until_the_end(
            &mut gateway,
            round,
            enough,
            Gateway::kill,
        ));
        gateway.start_again();
        load::check(&gateway, &all_sent);
    }
    assert!(gateway.metric("trunkline_store_runs") > 3.0);
}

#[test]
fn a_position_whose_events_expired_is_told_so() {
    let gateway = small()
        .flag("sync-life", "2s")
        .flag("idempotency-window", "1s")
        .start();
    let mut alice = gateway.dial().connect("alice", "phone");
    send(&mut alice, "bob", "long ago", "k1");
    let mut bob = gateway.dial().connect("bob", "phone");
    assert_eq!(
        bob.done("sync", &json!({"since": "0"}))["events"][0]["message"]["text"],
        json!("long ago")
    );
    wait::until("the beginning of the log expires", || {
        fill(&mut alice, 2);
        let reply = bob.ask("sync", &json!({"since": "0"}));
        (reply["error"]["code"] == 112).then_some(())
    });
    let request = json!({"user": "bob", "device": "laptop", "since": "0"});
    assert_eq!(gateway.dial().open().refused("connect", &request), 112);
    // The history is kept, and what is new can be synced from a new position.
    let history = bob.done("history", &json!({"conversation": "u:alice:bob"}));
    assert_eq!(history["messages"][0]["text"], json!("long ago"));
    let mut tablet = gateway.dial().connect("bob", "tablet");
    assert_eq!(send(&mut alice, "bob", "new", "k2")["seq"], json!(2));
    assert_eq!(tablet.push_of("message")["text"], json!("new"));
}
