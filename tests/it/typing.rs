//! `typing`: others in a conversation are told that a user is writing.

use serde_json::{Value, json};
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait;

fn gateway() -> Gateway {
    Setup::default().flag("shards", 3).start()
}

fn typing(conversation: &str) -> Value {
    json!({"conversation": conversation})
}

/// Checks that these clients get no further push.
fn silent<'c>(clients: impl IntoIterator<Item = &'c mut Client>) {
    for client in clients {
        client.ping();
        assert_eq!(client.waiting(), Vec::<Value>::new());
    }
}

#[test]
fn the_other_is_told_on_all_devices() {
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
    let mut alices = [
        dial.clone().shard(0).connect("alice", "phone"),
        dial.clone().shard(1).proto().connect("alice", "tablet"),
    ];
    let mut carol = dial.shard(0).connect("carol", "phone");
    for alice in &mut alices {
        assert_eq!(alice.done("typing", &typing("u:alice:bob")), json!({}));
        for bob in &mut bobs {
            let push = bob.push();
            let expected = json!({"typing": {
                "conversation": "u:alice:bob", "user": "alice", "expires_ms": 6_000,
            }});
            assert_eq!(push, expected);
        }
    }
    let stop = json!({"conversation": "u:alice:bob", "stop": true});
    assert_eq!(alices[1].done("typing", &stop), json!({}));
    for bob in &mut bobs {
        let push = bob.push();
        let expected = json!({"typing": {
            "conversation": "u:alice:bob", "user": "alice", "stop": true, "expires_ms": 0,
        }});
        assert_eq!(push, expected);
    }
    // The other user is offline, or is the caller.
    for conversation in ["u:alice:dave", "u:alice:alice"] {
        alices[0].done("typing", &typing(conversation));
    }
    silent(alices.iter_mut().chain(&mut bobs).chain([&mut carol]));
    // Nothing of it is stored.
    let page = bobs[0].done("sync", &json!({"since": bobs[0].pos()}));
    assert_eq!(page["events"], json!([]));
    assert_eq!(alices[0].refused("history", &typing("u:alice:bob")), 102);
}

/// All other members of a group get typing events, whether its messages are pushed or pulled.
#[test]
fn the_other_members_of_a_group_are_told() {
    let gateway = Setup::default()
        .flag("shards", 3)
        .flag("fanout-limit", 3)
        .start();
    let dial = gateway.dial();
    let mut alice = dial.clone().shard(0).connect("alice", "phone");
    let mut own = dial.clone().shard(1).connect("alice", "tablet");
    let mut members = [
        dial.clone().shard(0).connect("bob", "phone"),
        dial.clone().shard(1).proto().connect("carol", "phone"),
        dial.clone().shard(2).connect("dave", "phone"),
    ];
    let mut mallory = dial.shard(2).connect("mallory", "phone");
    let create = json!({"group": "eng", "members": ["bob", "carol"]});
    alice.done("group_create", &create);
    let add = json!({"group": "eng", "members": ["dave"]});
    alice.done("group_add", &add);
    let told = json!({"typing": {
        "conversation": "g:eng", "user": "alice", "expires_ms": 6_000,
    }});
    let stopped = json!({"typing": {
        "conversation": "g:eng", "user": "alice", "stop": true, "expires_ms": 0,
    }});
    let stop = json!({"conversation": "g:eng", "stop": true});
    assert_eq!(alice.done("typing", &stop), json!({}));
    for member in &mut members {
        while member.push() != stopped {}
    }
    assert_eq!(alice.done("typing", &typing("g:eng")), json!({}));
    for member in &mut members {
        while member.push() != told {}
    }
    // A removed member gets no typing events, and may not send any.
    alice.done("group_remove", &json!({"group": "eng", "members": ["bob"]}));
    alice.done("typing", &typing("g:eng"));
    for member in &mut members[1..] {
        while member.push() != told {}
    }
    for client in [&mut members[0], &mut mallory] {
        assert_eq!(client.refused("typing", &typing("g:eng")), 103);
        client.ping();
        assert!(!client.waiting().contains(&told));
    }
    own.ping();
    assert!(!own.waiting().contains(&told));
}

/// No member of a large group gets typing events, because somebody is always typing there.
#[test]
fn nobody_is_told_in_a_large_group() {
    let gateway = gateway();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    let members: Vec<_> = (0..498).map(|i| format!("u{i}")).collect();
    alice.done("group_create", &json!({"group": "all", "members": members}));
    alice.done("group_add", &json!({"group": "all", "members": ["bob"]}));
    let is_typing = |push: &Value| push["typing"].is_object();
    alice.done("typing", &typing("g:all"));
    while !is_typing(&bob.push()) {}
    alice.done(
        "group_add",
        &json!({"group": "all", "members": ["one-more"]}),
    );
    assert_eq!(alice.done("typing", &typing("g:all")), json!({}));
    // Signals take the same way, behind it.
    alice.done("signal", &json!({"user": "bob", "data": 1}));
    let next = loop {
        let push = bob.push();
        if push["pos"].is_null() {
            break push;
        }
    };
    assert_eq!(next["signal"]["data"], 1);
}

#[test]
fn only_members_say_that_they_write() {
    let gateway = gateway();
    let mut bob = gateway.dial().connect("bob", "phone");
    bob.send("carol", "hello");
    for encoding in [Json, Proto] {
        let mut mallory = gateway.dial().encoding(encoding).connect("mallory", "pc");
        for (conversation, code) in [
            ("u:bob:carol", 103),
            ("u:bob:dave", 103),
            ("g:none", 103),
            ("u:mallory:bob", 107),
            ("bob", 107),
        ] {
            assert_eq!(
                mallory.refused("typing", &typing(conversation)),
                code,
                "{conversation}"
            );
        }
    }
    silent([&mut bob]);
}

#[test]
fn namespaces_do_not_meet() {
    let gateway = gateway();
    let dial = gateway.dial();
    let mut stranger = dial.clone().connect("bob", "phone");
    let acme = dial.with("namespace", "acme");
    let mut bob = acme.connect("bob", "phone");
    let mut alice = acme.connect("alice", "phone");
    alice.done("typing", &typing("u:alice:bob"));
    assert_eq!(bob.push_of("typing")["user"], "alice");
    silent([&mut stranger]);
}

#[test]
fn so_often_in_a_second() {
    let gateway = gateway();
    let mut bob = gateway.dial().connect("bob", "phone");
    let mut alice = gateway.dial().connect("alice", "phone");
    let commands: Vec<_> = (1..=60)
        .map(|id| json!({"id": 1_000 + id, "typing": typing("u:alice:bob")}))
        .collect();
    alice.post_raw(&commands);
    let replies: Vec<_> = (1..=60).map(|id| alice.reply(1_000 + id)).collect();
    let refused: Vec<_> = replies
        .iter()
        .filter(|reply| reply["typing"].is_null())
        .collect();
    assert!(refused.iter().all(|reply| reply["error"]["code"] == 111));
    // Two windows of a second may be touched.
    assert!((40..=50).contains(&refused.len()), "{}", refused.len());
    for _ in 0..60 - refused.len() {
        bob.push_of("typing");
    }
    silent([&mut bob]);
    let limited = gateway.metric("trunkline_limited_total{limit=\"typing\"}");
    assert_eq!(limited, refused.len() as f64);
    wait::until("another second", || {
        alice.ask("typing", &typing("u:alice:bob"))["typing"]
            .is_object()
            .then_some(())
    });
}

/// A connection with a full outbox gets no typing events.
#[test]
fn it_is_the_first_thing_to_go() {
    let gateway = Setup::default().flag("shards", 3).start();
    let mut slow = gateway.dial().connect("bob", "slow");
    let mut alice = gateway.dial().connect("alice", "phone");
    let text = "x".repeat(60_000);
    let mut seq = 0;
    // More than the sockets take waits, but not so much that there is a gap.
    while gateway.metric("trunkline_held_bytes") < 300_000.0 {
        seq += 1;
        assert!(seq < 2_000, "nothing waits");
        alice.send("bob", &text);
    }
    alice.done("typing", &typing("u:alice:bob"));
    wait::until("the notice to be dropped", || {
        (gateway.metric("trunkline_limited_total{limit=\"passing\"}") == 1.0).then_some(())
    });
    for seq in 1..=seq {
        assert_eq!(slow.push_of("message")["seq"], seq);
    }
    silent([&mut slow]);
    // A connection without waiting output gets typing events again.
    alice.done("typing", &typing("u:alice:bob"));
    slow.push_of("typing");
}
