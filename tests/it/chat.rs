//! Users chat: each device gets what it should, and nothing else.

use serde_json::{Value, json};
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::Gateway;

/// Sends `content` and checks that the reply and every push of it agree.
fn check(from: &mut Client, to: &str, content: &Value, seen_by: &mut [&mut Client]) {
    let mut request = content.clone();
    request["user"] = to.into();
    let reply = from.done("send", &request);
    assert_eq!(reply["duplicate"], false);
    for client in seen_by {
        let push = client.push();
        assert_eq!(push["pos"], reply["pos"], "{push}");
        let message = &push["message"];
        for field in ["conversation", "seq", "time"] {
            assert_eq!(message[field], reply[field], "{field}: {push}");
        }
        for field in ["user", "device"] {
            let pushed = if field == "user" { "from" } else { field };
            assert_eq!(message[pushed], from.opening()[field], "{field}: {push}");
        }
        for field in ["text", "media", "key"] {
            assert_eq!(message[field], content[field], "{field}: {push}");
        }
    }
}

#[test]
fn two_users_on_two_shards() {
    let gateway = Gateway::start();
    for (ours, theirs) in [(Json, Json), (Json, Proto), (Proto, Json), (Proto, Proto)] {
        for shards in [[0, 1], [1, 0], [0, 0]] {
            let user = |name: &str| {
                format!("{name}-{ours:?}-{theirs:?}-{shards:?}").replace([' ', ',', '[', ']'], "_")
            };
            let (alice, bob) = (user("alice"), user("bob"));
            let dial = gateway.dial();
            let mut a = dial
                .clone()
                .encoding(ours)
                .shard(shards[0])
                .connect(&alice, "phone");
            let mut b = dial
                .encoding(theirs)
                .shard(shards[1])
                .connect(&bob, "laptop");
            for i in 0..3 {
                check(
                    &mut a,
                    &bob,
                    &json!({"text": format!("hello {i}")}),
                    &mut [&mut b],
                );
                check(
                    &mut b,
                    &alice,
                    &json!({"text": "\u{1f600} \"\\\n\u{0}", "key": format!("k{i}")}),
                    &mut [&mut a],
                );
            }
            a.ping();
            assert_eq!((a.waiting(), b.waiting()), (vec![], vec![]));
        }
    }
}

#[test]
fn conversations_have_one_name_from_both_sides() {
    let gateway = Gateway::start();
    let mut zoe = gateway.dial().connect("zoe", "d");
    let mut adam = gateway.dial().connect("adam", "d");
    assert_eq!(zoe.send("adam", "1")["conversation"], "u:adam:zoe");
    let reply = adam.send("zoe", "2");
    assert_eq!(
        (&reply["conversation"], &reply["seq"]),
        (&json!("u:adam:zoe"), &json!(2))
    );
}

#[test]
fn every_device_but_the_sending_one() {
    let gateway = Gateway::start();
    let dial = gateway.dial();
    let mut phone = dial.clone().shard(0).connect("alice", "phone");
    let mut tablet = dial.clone().proto().shard(0).connect("alice", "tablet");
    let mut laptop = dial.clone().shard(1).connect("alice", "laptop");
    let mut bobs = [
        dial.clone().shard(0).connect("bob", "phone"),
        dial.clone().shard(1).connect("bob", "tablet"),
        dial.proto().shard(1).connect("bob", "laptop"),
    ];
    for round in 0..3 {
        let text = json!({"text": format!("round {round}")});
        let [b0, b1, b2] = &mut bobs;
        check(
            &mut phone,
            "bob",
            &text,
            &mut [&mut tablet, &mut laptop, b0, b1, b2],
        );
        check(
            &mut laptop,
            "bob",
            &text,
            &mut [&mut phone, &mut tablet, b0, b1, b2],
        );
        // The next push of each device is the other device's message, so neither got a push of its
        // own.
        check(
            b0,
            "alice",
            &text,
            &mut [&mut phone, &mut tablet, &mut laptop, b1, b2],
        );
        check(
            b2,
            "alice",
            &text,
            &mut [&mut phone, &mut tablet, &mut laptop, b0, b1],
        );
    }
    for client in bobs
        .iter_mut()
        .chain([&mut phone, &mut tablet, &mut laptop])
    {
        client.ping();
        assert_eq!(
            client.waiting(),
            Vec::<Value>::new(),
            "{}",
            client.session()
        );
    }
}

#[test]
fn one_device_connected_twice_is_two_connections() {
    let gateway = Gateway::start();
    let mut first = gateway.dial().connect("alice", "phone");
    let mut second = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    check(
        &mut bob,
        "alice",
        &json!({"text": "x"}),
        &mut [&mut first, &mut second],
    );
    check(
        &mut first,
        "bob",
        &json!({"text": "y"}),
        &mut [&mut second, &mut bob],
    );
}

#[test]
fn notes_to_oneself() {
    let gateway = Gateway::start();
    let mut phone = gateway.dial().shard(0).connect("alice", "phone");
    let mut laptop = gateway.dial().proto().shard(1).connect("alice", "laptop");
    let begin = phone.pos();
    for i in 1..=3 {
        check(
            &mut phone,
            "alice",
            &json!({"text": format!("note {i}")}),
            &mut [&mut laptop],
        );
        check(
            &mut laptop,
            "alice",
            &json!({"text": "seen"}),
            &mut [&mut phone],
        );
    }
    // One entry per note, not one per role of the only member.
    let events = phone.done("sync", &json!({"since": begin}));
    let seqs: Vec<_> = events["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|push| push["message"]["seq"].clone())
        .collect();
    assert_eq!(seqs, (1..=6).map(Value::from).collect::<Vec<_>>());
}

#[test]
fn media_inline_and_elsewhere() {
    let gateway = Gateway::start();
    let dial = gateway.dial();
    let mut alice = [
        dial.clone().connect("alice", "json"),
        dial.clone().proto().connect("alice", "proto"),
    ];
    let mut bob = [
        dial.clone().connect("bob", "json"),
        dial.proto().connect("bob", "proto"),
    ];
    let [data, long] = ["iVBORw0KGgo=".to_owned(), "AAEC".repeat(100_000)];
    let cases = [
        json!({"media": {"type": "image/png", "data": data}}),
        json!({"media": {"type": "image/png", "data": ""}}),
        json!({"media": {"type": "video/mp4", "data": long}, "text": "look"}),
        json!({"media": {"type": "video/mp4", "url": "https://example.org/v", "size": 1u64 << 40}}),
        json!({"media": {"type": "video/mp4", "url": "https://example.org/v"}, "key": "k"}),
    ];
    for content in cases {
        for sender in [0, 1] {
            let mut content = content.clone();
            if content["key"].is_string() {
                content["key"] = format!("k{sender}").into();
            }
            let [a0, a1] = &mut alice;
            let (from, other) = if sender == 0 { (a0, a1) } else { (a1, a0) };
            let [b0, b1] = &mut bob;
            check(from, "bob", &content, &mut [other, b0, b1]);
        }
    }
}

#[test]
fn nobody_needs_to_be_there() {
    let gateway = Gateway::start();
    let mut alice = gateway.dial().connect("alice", "phone");
    check(
        &mut alice,
        "nobody.yet",
        &json!({"text": "hello?"}),
        &mut [],
    );
    let mut nobody = gateway.dial().since("0").connect("nobody.yet", "phone");
    assert_eq!(nobody.push_of("message")["text"], "hello?");
}

#[test]
fn namespaces_do_not_meet() {
    let gateway = Gateway::start();
    let mut bobs = ["acme", "other"].map(|namespace| {
        gateway
            .dial()
            .with("namespace", namespace)
            .connect("bob", "d")
    });
    let mut alices = ["acme", "other"].map(|namespace| {
        gateway
            .dial()
            .with("namespace", namespace)
            .connect("alice", "d")
    });
    for (i, alice) in alices.iter_mut().enumerate() {
        check(
            alice,
            "bob",
            &json!({"text": format!("in {i}"), "key": "the same"}),
            &mut [&mut bobs[i]],
        );
        let reply = bobs[i].done("history", &json!({"conversation": "u:alice:bob"}));
        assert_eq!(
            (&reply["last"], &reply["messages"][0]["text"]),
            (&json!(1), &json!(format!("in {i}")))
        );
    }
    for bob in &mut bobs {
        bob.ping();
        assert_eq!(bob.waiting(), Vec::<Value>::new());
    }
}
