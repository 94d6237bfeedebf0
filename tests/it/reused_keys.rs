//! A key belongs to one message: with another target or other content it is an error.

use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::Gateway;

const REUSED: u64 = 117;

/// Messages of each sort that are sent first under the key `k`.
fn firsts() -> [Value; 4] {
    [
        json!({"user": "ben", "key": "k", "text": "one"}),
        json!({"group": "eng", "key": "k", "text": "one"}),
        json!({"user": "ben", "key": "k", "media": {"type": "image/png", "data": "AAEC"}}),
        json!({"user": "ben", "key": "k", "text": "one", "media": {"type": "video/mp4", "url": "https://example.org/v", "size": 7}}),
    ]
}

/// Other messages under the same key.
fn others(first: &Value) -> Vec<Value> {
    let targets = [
        json!({"user": "cat"}),
        json!({"user": "ann"}),
        json!({"user": "ben"}),
        json!({"group": "eng"}),
        json!({"group": "ops"}),
    ];
    let contents = [
        json!({"text": "one"}),
        json!({"text": "two"}),
        json!({"text": ""}),
        json!({"media": {"type": "image/png", "data": "AAEC"}}),
        json!({"media": {"type": "image/gif", "data": "AAEC"}}),
        json!({"media": {"type": "image/png", "data": "AAED"}}),
        json!({"media": {"type": "image/png", "url": "https://example.org/v"}}),
        json!({"text": "one", "media": {"type": "video/mp4", "url": "https://example.org/v", "size": 7}}),
        json!({"text": "one", "media": {"type": "video/mp4", "url": "https://example.org/v", "size": 8}}),
        json!({"text": "one", "media": {"type": "video/mp4", "url": "https://example.org/w", "size": 7}}),
        json!({"text": "one", "media": {"type": "video/mp4", "url": "https://example.org/v"}}),
    ];
    let mut all = Vec::new();
    for target in &targets {
        for content in &contents {
            let mut send = json!({"key": "k"});
            for part in [target, content] {
                let fields = part.as_object().expect("fields").clone();
                send.as_object_mut().expect("fields").extend(fields);
            }
            if send != *first {
                all.push(send);
            }
        }
    }
    all
}

fn open(gateway: &Gateway, proto: bool, device: &str) -> Client {
    let dial = gateway.dial();
    let dial = if proto { dial.proto() } else { dial };
    dial.connect("ann", device)
}

fn groups(client: &mut Client) {
    for group in ["eng", "ops"] {
        client.done("group_create", &json!({"group": group, "members": ["ben"]}));
    }
}

/// The same send is a duplicate; every other send with its key is refused.
fn check(client: &mut Client, first: &Value, answer: &Value) {
    for other in others(first) {
        assert_eq!(client.refused("send", &other), REUSED, "{other}");
    }
    let mut expected = answer.clone();
    expected["duplicate"] = json!(true);
    assert_eq!(client.done("send", first), expected);
}

#[test]
fn another_target_or_content_is_refused() {
    for (number, first) in firsts().iter().enumerate() {
        let mut gateway = Gateway::start();
        let mut ann = open(&gateway, number % 2 == 0, "phone");
        groups(&mut ann);
        let mut cat = gateway.dial().connect("cat", "phone");
        let answer = ann.done("send", first);
        check(&mut ann, first, &answer);
        check(&mut open(&gateway, true, "laptop"), first, &answer);
        check(&mut open(&gateway, false, "tablet"), first, &answer);
        cat.ping();
        assert_eq!(cat.waiting(), Vec::<Value>::new());
        // After a crash and after a stop as before.
        gateway.kill();
        gateway.start_again();
        check(&mut open(&gateway, true, "phone"), first, &answer);
        drop(gateway.stop());
        gateway.start_again();
        check(&mut open(&gateway, false, "phone"), first, &answer);
        // A key of somebody else is another key.
        let mut ben = gateway.dial().connect("ben", "phone");
        let theirs = ben.done("send", &json!({"user": "cat", "key": "k", "text": "mine"}));
        assert_eq!(theirs["duplicate"], false);
        let mut other = gateway
            .dial()
            .with("namespace", "acme")
            .connect("ann", "phone");
        let theirs = other.done("send", &json!({"user": "cat", "key": "k", "text": "mine"}));
        assert_eq!(theirs["duplicate"], false);
    }
}

#[test]
fn within_one_frame_too() {
    let gateway = Gateway::start();
    for (number, first) in firsts().iter().enumerate() {
        for proto in [false, true] {
            let mut ann = open(&gateway, proto, "phone");
            if (number, proto) == (0, false) {
                groups(&mut ann);
            }
            let key = json!(format!("{number} {proto}"));
            let keyed = |send: &Value| {
                let mut send = send.clone();
                send["key"] = key.clone();
                send
            };
            // All are decided for one commit.
            let others = others(first);
            let mut commands = vec![json!({"id": 1_001, "send": keyed(first)})];
            for (send, id) in others.iter().zip(1_002..) {
                commands.push(json!({"id": id, "send": keyed(send)}));
            }
            commands.push(json!({"id": 2_000, "send": keyed(first)}));
            ann.post_raw(&commands);
            let stored = ann.reply(1_001)["send"].take();
            assert_eq!(stored["duplicate"], false);
            for (send, id) in others.iter().zip(1_002..) {
                let reply = ann.reply(id);
                assert_eq!(reply["error"]["code"], REUSED, "{send}: {reply}");
                assert_eq!(reply["error"]["name"], "key_reused");
                assert_eq!(reply["error"]["temporary"], false);
            }
            let again = ann.reply(2_000)["send"].take();
            assert_eq!(again["duplicate"], true);
            assert_eq!(again["seq"], stored["seq"]);
        }
    }
}

/// The key of a recalled message stays known, with its conversation.
#[test]
fn of_a_recalled_message_the_conversation_counts() {
    let mut gateway = Gateway::start();
    let mut ann = open(&gateway, false, "phone");
    let first = json!({"user": "ben", "key": "k", "text": "one"});
    ann.done("send", &first);
    ann.done("recall", &json!({"conversation": "u:ann:ben", "seq": 1}));
    for restarted in [false, true] {
        if restarted {
            gateway.kill();
            gateway.start_again();
        }
        let mut ann = open(&gateway, restarted, "phone");
        assert_eq!(ann.done("send", &first)["duplicate"], true);
        let moved = json!({"user": "cat", "key": "k", "text": "one"});
        assert_eq!(ann.refused("send", &moved), REUSED);
    }
    // A message that its sender deleted in the own view still has its key.
    let mut ann = open(&gateway, false, "phone");
    let second = json!({"user": "ben", "key": "l", "text": "two"});
    ann.done("send", &second);
    ann.done("delete", &json!({"conversation": "u:ann:ben", "seq": 2}));
    assert_eq!(ann.done("send", &second)["duplicate"], true);
    let changed = json!({"user": "ben", "key": "l", "text": "three"});
    assert_eq!(ann.refused("send", &changed), REUSED);
}
