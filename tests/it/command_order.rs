//! The commands of a connection take effect in their order, in one frame as in several.

use serde_json::{Value, json};
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};

/// Sends commands in one frame, and returns the replies in the order of the commands.
fn together(client: &mut Client, commands: &[(&str, Value)]) -> Vec<Value> {
    let ids = 70_000..;
    let frame: Vec<_> = ids
        .clone()
        .zip(commands)
        .map(|(id, (command, request))| json!({"id": id, *command: request}))
        .collect();
    client.post_raw(&frame);
    let replies = ids.zip(commands).map(|(id, (command, _))| {
        let mut reply = client.reply(id);
        assert!(reply[*command].is_object(), "{command}: {reply}");
        reply[*command].take()
    });
    replies.collect()
}

#[test]
fn what_is_read_knows_of_what_was_written() {
    let gateway = Setup::default().flag("shards", 1).start();
    for encoding in [Json, Proto] {
        let group = format!("{encoding:?}");
        let conversation = format!("g:{group}");
        let mut alice = gateway.dial().encoding(encoding).connect("alice", "phone");
        let about = |seq: u64| json!({"conversation": conversation, "seq": seq});
        let texts = |page: &Value| -> Vec<Value> {
            let messages = page["messages"].as_array().expect("messages");
            let text = |message: &Value| message["text"].clone();
            messages.iter().map(text).collect()
        };
        let of = json!({"conversation": conversation});
        let replies = together(
            &mut alice,
            &[
                ("group_create", json!({"group": group, "members": ["bob"]})),
                ("send", json!({"group": group, "text": "one"})),
                ("history", of.clone()),
                ("typing", of.clone()),
            ],
        );
        assert_eq!(texts(&replies[2]), ["one"]);
        let two = ("send", json!({"group": group, "text": "two"}));
        let replies = together(&mut alice, &[two, ("get", about(2))]);
        assert_eq!(replies[1]["message"]["text"], "two");
        let mut like = about(2);
        like["reaction"] = "like".into();
        let replies = together(
            &mut alice,
            &[
                ("recall", about(1)),
                ("react", like),
                ("history", of),
                ("reactions", about(2)),
            ],
        );
        assert_eq!(texts(&replies[2]), [Value::Null, json!("two")]);
        assert_eq!(replies[3]["reactions"][0]["count"], 1);
        let unread = json!({"conversation": conversation, "seq": 2, "state": "unread"});
        let replies = together(
            &mut alice,
            &[
                ("group_add", json!({"group": group, "members": ["carol"]})),
                ("group_info", json!({"group": group})),
                ("receipts", unread),
            ],
        );
        assert_eq!(replies[1]["count"], 3);
        assert!(replies[2]["users"].is_array());
        let replies = together(
            &mut alice,
            &[
                ("delete", about(2)),
                ("get", about(2)),
                ("conversations", json!({})),
                ("group_rename", json!({"group": group, "name": "New"})),
                ("group_info", json!({"group": group, "limit": 1})),
                ("contacts", json!({"add": ["dave"]})),
                ("contacts", json!({})),
            ],
        );
        assert_eq!(replies[1]["message"]["deleted"], true);
        assert_eq!(replies[2]["conversations"][0]["last"]["seq"], 2);
        assert_eq!(replies[4]["name"], "New");
        assert_eq!(replies[6]["contacts"][0]["user"], "dave");
    }
}

/// Commands in separate frames take effect in order, without waiting for replies and under load.
#[test]
fn frames_that_are_not_waited_for() {
    let gateway = Gateway::start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut noise = gateway.dial().connect("noise", "phone");
    for round in 1..=40 {
        let others: Vec<_> = (0..50)
            .map(|n| json!({"send": {"user": "nobody", "text": format!("{round} {n}")}}))
            .collect();
        noise.post_raw(&others);
        let text = format!("text {round}");
        alice.post("send", &json!({"user": "bob", "text": text}));
        let asked = alice.post("get", &json!({"conversation": "u:alice:bob", "seq": round}));
        let reply = alice.reply(asked);
        assert_eq!(reply["get"]["message"]["text"], text, "{reply}");
    }
    noise.ping();
}

/// An answer does not wait for what its connection writes behind the question, nor for receipts.
#[test]
fn only_what_was_written_before() {
    let gateway = Setup::default()
        .flag("receipt-delay", "10s")
        .flag("delivered-delay", "10s");
    let gateway = gateway.start();
    let mut bob = gateway.dial().connect("bob", "phone");
    bob.send("alice", "hello");
    let mut alice = gateway.dial().connect("alice", "phone");
    let ack = alice.post("ack", &json!({"conversation": "u:alice:bob", "read": 1}));
    let get = alice.post("get", &json!({"conversation": "u:alice:bob", "seq": 1}));
    assert_eq!(alice.reply(get)["get"]["message"]["text"], "hello");
    assert!(alice.replies_now().iter().all(|reply| reply["id"] != ack));
}
