//! A stranger learns nothing about conversations, not even whether they exist.

use serde_json::{Value, json};
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};

/// Returns every command that names a conversation or a group, about this one.
fn commands(conversation: &str) -> Vec<(&'static str, Value)> {
    let about = |more: Value| {
        let mut request = json!({"conversation": conversation});
        for (field, value) in more.as_object().expect("fields") {
            request[field] = value.clone();
        }
        request
    };
    let mut all = vec![
        ("history", about(json!({}))),
        ("history", about(json!({"before": 2}))),
        ("get", about(json!({"seq": 1}))),
        ("get", about(json!({"seq": 1_000_000}))),
        ("ack", about(json!({"read": 1}))),
        ("receipts", about(json!({"seq": 1, "state": "read"}))),
        ("recall", about(json!({"seq": 1}))),
        ("delete", about(json!({"seq": 1}))),
        ("react", about(json!({"seq": 1, "reaction": "like"}))),
        (
            "react",
            about(json!({"seq": 1, "reaction": "like", "remove": true})),
        ),
        ("typing", about(json!({}))),
        ("settings", about(json!({"archived": true}))),
    ];
    if let Some(group) = conversation.strip_prefix("g:") {
        all.extend([
            ("send", json!({"group": group, "text": "x"})),
            ("send", json!({"group": group, "text": "x", "key": "k"})),
            ("group_info", json!({"group": group})),
            ("group_add", json!({"group": group, "members": ["mallory"]})),
            ("group_remove", json!({"group": group, "members": ["bob"]})),
            ("group_rename", json!({"group": group, "name": "x"})),
            ("group_leave", json!({"group": group})),
            ("group_join", json!({"group": group})),
            (
                "group_role",
                json!({"group": group, "user": "mallory", "role": "owner"}),
            ),
            ("group_set", json!({"group": group, "join": "open"})),
            ("pin", about(json!({"seq": 1}))),
            ("unpin", about(json!({"seq": 1}))),
        ]);
    }
    all
}

/// Returns the reply without its id.
fn answers(client: &mut Client, conversation: &str) -> Vec<Value> {
    let commands = commands(conversation);
    let answers = commands.iter().map(|(command, request)| {
        let mut reply = client.ask(command, request);
        reply["id"] = json!(command);
        assert_ne!(reply["error"]["code"], 111, "{command}");
        reply
    });
    answers.collect()
}

#[test]
fn nobody_learns_who_talks_to_whom() {
    for fanout in [500, 1] {
        let mut gateway = Setup::default()
            .flag("shards", 2)
            .flag("fanout-limit", fanout)
            .start();
        let mut alice = gateway.dial().connect("alice", "phone");
        alice.send("bob", "hello");
        alice.send("alice", "a note");
        for (group, members) in [("eng", json!(["bob"])), ("left", json!(["bob", "mallory"]))] {
            alice.done("group_create", &json!({"group": group, "members": members}));
            alice.done("send", &json!({"group": group, "text": "hello"}));
        }
        let mut former = gateway.dial().connect("mallory", "phone");
        former.done("group_leave", &json!({"group": "left"}));
        for encoding in [Json, Proto] {
            check(&gateway, encoding);
        }
        // Nor after a restart, when nothing is in memory.
        assert!(gateway.stop().status.success());
        gateway.start_again();
        check(&gateway, Json);
        let mut alice = gateway.dial().connect("alice", "phone");
        let info = alice.done("group_info", &json!({"group": "eng"}));
        assert_eq!((&info["count"], &info["name"]), (&json!(2), &Value::Null));
    }
}

fn check(gateway: &Gateway, encoding: trunkline_proto::Encoding) {
    let mut mallory = gateway.dial().encoding(encoding).connect("mallory", "pc");
    for (exists, never) in [
        ("u:alice:bob", "u:alice:zed"),
        ("u:alice:alice", "u:zed:zed"),
        ("g:eng", "g:none"),
        ("g:left", "g:none"),
    ] {
        let (told, expected) = (answers(&mut mallory, exists), answers(&mut mallory, never));
        for (told, expected) in told.iter().zip(&expected) {
            assert_eq!(told["error"]["code"], 103, "{exists}: {told}");
            assert_eq!(told, expected, "{exists}");
        }
        // A second connection, because the rate of typing is limited for each connection.
        mallory = gateway.dial().encoding(encoding).connect("mallory", "pc");
    }
    // Users are there or not by being online, whether they ever were or talked to anybody.
    let states = mallory.done("presence", &json!({"query": ["bob", "zed"]}));
    let state = |at: usize| {
        let mut state = states["users"][at].clone();
        state["user"] = Value::Null;
        state
    };
    assert_eq!(state(0), state(1), "bob never connected");
    let signal = |user: &str| json!({"user": user, "data": 1});
    let told = ["bob", "zed"].map(|user| mallory.done("signal", &signal(user)));
    assert_eq!(told[0], told[1]);
    let topic = |name: &str| json!({"topic": name});
    let mut other = gateway.dial().connect("alice", "pc");
    other.done("subscribe", &topic("used"));
    let told = ["used", "unused"].map(|name| {
        let mut reply = mallory.ask("unsubscribe", &topic(name));
        reply["id"] = Value::Null;
        reply
    });
    assert_eq!(told[0], told[1]);
}
