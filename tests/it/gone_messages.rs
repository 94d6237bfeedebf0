//! Commands about a message that does not exist or is gone: all fail alike.

use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::dial::Dial;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait::until;

/// Every command about one message, with its reply where the message is as it was sent.
fn commands(conversation: &str, seq: u64) -> [(&'static str, Value); 6] {
    let about = json!({"conversation": conversation, "seq": seq});
    let with = |name: &str, value: Value| {
        let mut request = about.clone();
        request[name] = value;
        request
    };
    let mut back = with("reaction", json!("like"));
    back["remove"] = json!(true);
    [
        ("get", about.clone()),
        ("receipts", with("state", json!("unread"))),
        ("react", with("reaction", json!("like"))),
        ("react", back),
        ("delete", about.clone()),
        ("recall", about),
    ]
}

/// Every command is answered with 102, and no push goes out.
fn unknown(client: &mut Client, conversation: &str, seq: u64) {
    for (command, request) in commands(conversation, seq) {
        let code = client.refused(command, &request);
        assert_eq!(code, 102, "{command} {request}");
    }
}

fn both(gateway: &Gateway) -> [Dial; 2] {
    [gateway.dial(), gateway.dial().proto()]
}

/// A gateway whose messages end within seconds, with segments small enough for that.
pub(crate) fn short_lived(setup: Setup) -> Setup {
    setup
        .flag("message-bytes", "16KiB")
        .flag("segment-bytes", "144KiB")
        .flag("store-reserve", "0B")
        .flag("message-life", "2s")
        .flag("sync-life", "2s")
        .flag("idempotency-window", "1s")
}

#[test]
fn an_expired_message_is_unknown_to_all_commands() {
    let mut gateway = short_lived(Setup::default()).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.done("group_create", &json!({"group": "eng", "members": ["bob"]}));
    let first = json!({"user": "bob", "key": "k", "text": "long ago"});
    alice.done("send", &first);
    alice.done("send", &json!({"group": "eng", "text": "long ago"}));
    let like = json!({"conversation": "u:alice:bob", "seq": 1, "reaction": "like"});
    alice.done("react", &like);
    for conversation in ["u:alice:bob", "g:eng"] {
        until("the first message expires", || {
            for _ in 0..20 {
                alice.send("carol", &"x".repeat(4_000));
            }
            let reply = alice.ask("get", &json!({"conversation": conversation, "seq": 1}));
            (reply["error"]["code"] == 102).then_some(())
        });
    }
    for restarted in [false, true] {
        if restarted {
            gateway.kill();
            gateway.start_again();
        }
        let mut bob = gateway.dial().connect("bob", "phone");
        for dial in both(&gateway) {
            let mut alice = dial.connect("alice", "laptop");
            for conversation in ["u:alice:bob", "g:eng"] {
                unknown(&mut alice, conversation, 1);
            }
        }
        bob.ping();
        assert_eq!(bob.waiting(), Vec::<Value>::new());
    }
    // A key is not known for longer than its message: the answer cannot be given again.
    let mut alice = gateway.dial().connect("alice", "phone");
    let again = alice.done("send", &first);
    assert_eq!(
        (&again["seq"], &again["duplicate"]),
        (&json!(2), &json!(false))
    );
}

#[test]
fn what_never_was_and_what_came_before_joining_is_unknown_too() {
    let gateway = Setup::default().flag("shards", 3).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "one");
    let group = json!({"group": "eng", "members": ["bob"], "history": "joined"});
    alice.done("group_create", &group);
    let mut bob = gateway.dial().connect("bob", "phone");
    bob.done("send", &json!({"group": "eng", "text": "before"}));
    alice.done("group_add", &json!({"group": "eng", "members": ["carol"]}));
    alice.done("group_remove", &json!({"group": "eng", "members": ["bob"]}));
    alice.done("group_add", &json!({"group": "eng", "members": ["bob"]}));
    alice.done("send", &json!({"group": "eng", "text": "after"}));
    for (dial, zero) in both(&gateway).into_iter().zip([0, 1 << 41]) {
        // In protobuf a field with the value 0 counts as missing.
        let mut alice = dial.clone().connect("alice", "laptop");
        for seq in [zero, 2, 1 << 40] {
            unknown(&mut alice, "u:alice:bob", seq);
        }
        // The sender, too, no longer sees what was said before coming back.
        for user in ["carol", "bob"] {
            let mut client = dial.clone().connect(user, "laptop");
            for seq in [zero, 1, 3] {
                unknown(&mut client, "g:eng", seq);
            }
        }
    }
}

/// Returns the reactions to a message, which must be the same in `history` and `get`.
fn reactions(client: &mut Client, conversation: &str) -> Value {
    let page = client.done("history", &json!({"conversation": conversation}));
    let shown = page["messages"][0].clone();
    let one = client.done("get", &json!({"conversation": conversation, "seq": 1}));
    assert_eq!(one["message"], shown);
    let list = client.done("conversations", &json!({}));
    assert_eq!(list["conversations"][0]["last"], shown);
    shown["reactions"].clone()
}

#[test]
fn a_recall_takes_the_reactions_with_it() {
    for conversation in ["u:alice:bob", "g:eng"] {
        let mut gateway = Setup::default().flag("shards", 3).start();
        let mut alice = gateway.dial().connect("alice", "phone");
        let mut bob = gateway.dial().proto().connect("bob", "phone");
        if conversation == "g:eng" {
            alice.done("group_create", &json!({"group": "eng", "members": ["bob"]}));
            alice.done("send", &json!({"group": "eng", "text": "one"}));
        } else {
            alice.send("bob", "one");
        }
        let [.., (_, like), (_, back), _, (_, recall)] = commands(conversation, 1);
        bob.done("react", &like);
        assert_ne!(reactions(&mut bob, conversation), Value::Null);
        alice.done("recall", &recall);
        let since = loop {
            let push = bob.push();
            if push["recall"].is_object() {
                break push["pos"].clone();
            }
        };
        for restarted in [false, true] {
            if restarted {
                gateway.kill();
                gateway.start_again();
            }
            for dial in both(&gateway) {
                let mut alice = dial.clone().connect("alice", "laptop");
                let mut bob = dial.connect("bob", "laptop");
                for client in [&mut alice, &mut bob] {
                    for request in [&like, &back] {
                        assert_eq!(client.refused("react", request), 102, "{request}");
                    }
                    assert_eq!(reactions(client, conversation), Value::Null);
                }
                let after = bob.done("sync", &json!({"since": since}));
                assert_eq!(after["events"], json!([]));
                // A recalled message can be read, and deleted in the own view.
                alice.done("recall", &recall);
                alice.done(
                    "receipts",
                    &json!({"conversation": conversation, "seq": 1, "state": "read"}),
                );
            }
        }
    }
}

/// Commands that share a commit are decided in the order in which they were sent.
#[test]
fn a_recall_and_reactions_in_one_frame() {
    let gateway = Gateway::start();
    for (number, dial) in both(&gateway).into_iter().enumerate() {
        let mut alice = dial.connect("alice", "phone");
        let to = format!("bob-{number}");
        let conversation = format!("u:alice:{to}");
        let react = |id: u32, seq: u64, reaction: &str| json!({"id": id, "react": {"conversation": conversation, "seq": seq, "reaction": reaction}});
        let commands = [
            json!({"id": 1_001, "send": {"user": to, "text": "one"}}),
            json!({"id": 1_002, "send": {"user": to, "text": "two"}}),
            react(1_003, 1, "like"),
            react(1_004, 2, "like"),
            json!({"id": 1_005, "recall": {"conversation": conversation, "seq": 1}}),
            react(1_006, 1, "heart"),
            react(1_007, 2, "heart"),
            json!({"id": 1_008, "recall": {"conversation": conversation, "seq": 1}}),
            json!({"id": 1_009, "delete": {"conversation": conversation, "seq": 1}}),
            react(1_010, 3, "like"),
        ];
        alice.post_raw(&commands);
        for id in 1_001..=1_010 {
            let reply = alice.reply(id);
            let refused = [1_006, 1_010].contains(&id);
            assert_eq!(reply["error"]["code"] == 102, refused, "{id}: {reply}");
            assert_eq!(reply["error"].is_object(), refused, "{id}: {reply}");
        }
        let page = alice.done("history", &json!({"conversation": conversation}));
        assert_eq!(page["messages"][0]["reactions"], Value::Null);
        let both = ["like", "heart"].map(
            |reaction| json!({"reaction": reaction, "users": ["alice"], "count": 1, "more": false}),
        );
        assert_eq!(page["messages"][1]["reactions"], json!(both));
    }
}
