//! `signal`: data for the devices of a user that are online.

use serde_json::{Value, json};
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_proto::frame::Opcode;
use trunkline_tests::gateway::{Gateway, Setup};

fn gateway() -> Gateway {
    Setup::default().flag("shards", 3).start()
}

#[test]
fn all_devices_get_it_as_it_is() {
    let gateway = gateway();
    let dial = gateway.dial();
    let mut bobs = [
        dial.clone().shard(0).connect("bob", "phone"),
        dial.clone().shard(1).proto().connect("bob", "tablet"),
        dial.clone()
            .shard(2)
            .with("batch", true)
            .connect("bob", "tv"),
    ];
    for encoding in [Json, Proto] {
        let mut alice = dial
            .clone()
            .encoding(encoding)
            .shard(1)
            .connect("alice", "phone");
        for data in [
            json!({"call": "ring", "codecs": ["opus", {"rate": 48000}]}),
            json!(null),
            json!("text with \" and \n and 😀"),
            json!(18_446_744_073_709_551_615_u64),
            json!([[], {}, -0.5, false]),
        ] {
            let reply = alice.done("signal", &json!({"user": "bob", "data": data}));
            assert_eq!(reply, json!({"online": true}));
            for bob in &mut bobs {
                assert_eq!(
                    bob.push(),
                    json!({"signal": {"user": "alice", "data": data}})
                );
            }
        }
        alice.ping();
        assert_eq!(alice.waiting(), Vec::<Value>::new());
        alice.close();
    }
}

#[test]
fn nobody_is_there() {
    let gateway = gateway();
    let mut alice = gateway.dial().shard(0).connect("alice", "phone");
    let signal = json!({"user": "bob", "data": 1});
    assert_eq!(alice.done("signal", &signal), json!({"online": false}));
    let bob = gateway.dial().shard(2).connect("bob", "phone");
    assert_eq!(alice.done("signal", &signal), json!({"online": true}));
    bob.close();
    assert_eq!(alice.done("signal", &signal), json!({"online": false}));
    // It was not kept for later.
    let mut bob = gateway.dial().since("0").connect("bob", "phone");
    bob.ping();
    assert_eq!(bob.waiting(), Vec::<Value>::new());
}

#[test]
fn namespaces_do_not_meet() {
    let gateway = gateway();
    let mut stranger = gateway.dial().connect("bob", "phone");
    let acme = gateway.dial().with("namespace", "acme");
    let mut alice = acme.connect("alice", "phone");
    let signal = json!({"user": "bob", "data": 1});
    assert_eq!(alice.done("signal", &signal), json!({"online": false}));
    let mut bob = acme.connect("bob", "phone");
    assert_eq!(alice.done("signal", &signal), json!({"online": true}));
    assert_eq!(bob.push_of("signal")["data"], 1);
    stranger.ping();
    assert_eq!(stranger.waiting(), Vec::<Value>::new());
}

#[test]
fn requests_that_cannot_work() {
    let gateway = gateway();
    for encoding in [Json, Proto] {
        let mut alice = gateway.dial().encoding(encoding).connect("alice", "phone");
        for user in ["a b", "u:a:b", &"x".repeat(65)] {
            assert_eq!(
                alice.refused("signal", &json!({"user": user, "data": 1})),
                107
            );
        }
    }
}

/// Data is refused if it is nested so deeply that a recursive reader could run out of stack.
#[test]
fn data_is_not_nested_too_deep() {
    let gateway = gateway();
    let mut bob = gateway.dial().connect("bob", "phone");
    let mut alice = gateway.dial().connect("alice", "phone");
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    for (id, depth) in [(1_001, 64), (1_002, 65), (1_003, 100_000)] {
        let data = nested(depth);
        let text = format!(r#"{{"id":{id},"signal":{{"user":"bob","data":{data}}}}}"#);
        alice.write_frame(Opcode::Text, text.as_bytes());
        let reply = alice.reply(id);
        if depth <= 64 {
            assert_eq!(reply["signal"], json!({"online": true}));
            assert_eq!(bob.push_of("signal")["data"].to_string(), data);
        } else {
            assert_eq!(reply["error"]["code"], 107, "{reply}");
        }
    }
    bob.ping();
    assert_eq!(bob.waiting(), Vec::<Value>::new());
}
