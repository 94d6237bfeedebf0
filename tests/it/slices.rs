//! One connection with much input takes turns with the others, a slice at a time.

use serde_json::json;
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::gateway::{Gateway, Setup};

/// The number of commands that a frame may have.
const MOST: u32 = 1_024;

/// The turns of the shards so far.
fn turns(gateway: &Gateway) -> f64 {
    gateway.metric("trunkline_polls_total")
}

#[test]
fn a_frame_of_many_commands_takes_several_turns() {
    let gateway = Setup::default().flag("shards", 1).start();
    for encoding in [Json, Proto] {
        let mut client = gateway.dial().encoding(encoding).connect("mallory", "pc");
        let pings: Vec<_> = (1..=MOST)
            .map(|i| json!({"id": 10_000 + i, "ping": {}}))
            .collect();
        let before = turns(&gateway);
        client.post_raw(&pings);
        for i in 1..=MOST {
            assert!(client.reply(10_000 + i)["ping"].is_object());
        }
        // Between two turns, each other connection is read.
        let turns = turns(&gateway) - before;
        assert!(turns >= 6.0, "{turns} turns");
    }
}

#[test]
fn what_follows_a_long_frame_is_handled_behind_it() {
    let gateway = Setup::default().flag("shards", 1).start();
    let mut client = gateway.dial().connect("mallory", "pc");
    for round in 0..3 {
        let first = 10_000 * (round + 1);
        let sends: Vec<_> = (1..=MOST)
            .map(|i| json!({"id": first + i, "send": {"user": "bob", "text": i.to_string()}}))
            .collect();
        client.post_raw(&sends);
    }
    client.post_raw(&[json!({"id": 9, "ping": {}})]);
    let mut last = 0;
    for round in 0..3 {
        for i in 1..=MOST {
            let seq = client.reply(10_000 * (round + 1) + i)["send"]["seq"].clone();
            assert_eq!(seq.as_u64(), Some(last + 1));
            last += 1;
        }
    }
    assert!(client.reply(9)["ping"].is_object());
    client.close();
}

#[test]
fn a_crowd_is_told_over_several_turns() {
    const MEMBERS: usize = 300;
    let gateway = Setup::default().flag("shards", 1).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let names: Vec<_> = (0..MEMBERS).map(|i| format!("member{i}")).collect();
    alice.done("group_create", &json!({"group": "team", "members": names}));
    let connect = |name| gateway.dial().connect(name, "phone");
    let mut members: Vec<_> = names.iter().map(|name| connect(name)).collect();
    let before = turns(&gateway);
    for text in ["one", "two"] {
        alice.done("send", &json!({"group": "team", "text": text}));
    }
    for member in &mut members {
        for text in ["one", "two"] {
            assert_eq!(member.push_of("message")["text"], text);
        }
    }
    // A turn flushes some of the members, and each other connection has its own turn between.
    let turns = turns(&gateway) - before;
    assert!(turns >= 6.0, "{turns} turns");
}
