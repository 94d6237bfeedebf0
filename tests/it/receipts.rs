//! Receipts: the marks of a user, and the users who get them.

use serde_json::{Value, json};
use trunkline_tests::client::{Client, error_code};
use trunkline_tests::gateway::Gateway;

const CONVERSATION: &str = "u:alice:bob";

/// Alice and Bob with two devices each, on two shards, in both encodings.
struct Talk {
    alice: [Client; 2],
    bob: [Client; 2],
}

impl Talk {
    fn open(gateway: &Gateway) -> Self {
        let dial = gateway.dial();
        Self {
            alice: dial.devices("alice"),
            bob: dial.devices("bob"),
        }
    }

    /// Bob's phone acknowledges. Every other connection must be told these marks next, or, where
    /// nothing moved, the message sent after it.
    fn check(&mut self, marks: &Value, pushed: Option<(u64, u64)>) {
        let [phone, tablet] = &mut self.bob;
        let [a0, a1] = &mut self.alice;
        phone.ack(CONVERSATION, marks);
        let mut receipts = Vec::new();
        if let Some((delivered, read)) = pushed {
            for client in [&mut *tablet, &mut *a0, &mut *a1] {
                let receipt = client.push_of("receipt");
                assert_eq!(receipt["conversation"], CONVERSATION);
                assert_eq!(receipt["user"], "bob", "{marks}");
                assert_eq!(
                    (&receipt["delivered"], &receipt["read"]),
                    (&json!(delivered), &json!(read)),
                    "{marks}"
                );
                assert!(receipt["time"].as_u64().is_some_and(|time| time > 0));
                receipts.push(receipt);
            }
        }
        assert!(
            receipts.windows(2).all(|pair| pair[0] == pair[1]),
            "{receipts:?}"
        );
        // Pushes come in the order of the log. If this message is the next push, no unwanted push
        // came before it, above all on the phone.
        a0.send("bob", "marker");
        for client in [a1, phone, tablet] {
            assert_eq!(client.push_of("message")["text"], "marker", "{marks}");
        }
    }
}

#[test]
fn watermarks_move_forward_and_everybody_else_is_told() {
    let mut gateway = Gateway::start();
    let mut talk = Talk::open(&gateway);
    let begin = talk.alice[0].pos();
    // Each case sends one more message, so the conversation is longer than these numbers.
    talk.alice[0].send_all("bob", (0..10).map(|i| i.to_string()));
    for client in [&mut talk.alice[1]].into_iter().chain(&mut talk.bob) {
        (0..10).for_each(|_| drop(client.push_of("message")));
    }
    let cases = [
        (json!({"delivered": 5}), Some((5, 0))),
        (json!({"delivered": 5}), None),
        (json!({"delivered": 3}), None),
        (json!({"read": 4}), Some((5, 4))),
        (json!({"read": 7}), Some((7, 7))),
        (json!({"delivered": 6, "read": 2}), None),
        (json!({"delivered": 9, "read": 7}), Some((9, 7))),
        (json!({"delivered": 0, "read": 0}), None),
        (json!({"delivered": 8, "read": 8}), Some((9, 8))),
        (json!({"read": 10}), Some((10, 10))),
    ];
    for (marks, pushed) in &cases {
        talk.check(marks, *pushed);
    }
    // What was never sent cannot have arrived: 10 messages and a marker per case.
    let last = 10 + cases.len() as u64;
    talk.check(&json!({"delivered": 1_000_000}), Some((last, 10)));
    talk.check(&json!({"read": u64::MAX}), Some((last + 1, last + 1)));

    // The watermarks are there after a restart, and so is the way they took.
    for kill in [false, true] {
        if kill {
            gateway.kill();
        } else {
            gateway.stop();
        }
        gateway.start_again();
        let mut talk = Talk::open(&gateway);
        talk.check(&json!({"delivered": last + 1, "read": last + 1}), None);
        let page = talk.alice[0].done("sync", &json!({"since": begin}));
        let events = page["events"].as_array().expect("events").iter();
        let marks: Vec<_> = events
            .filter(|push| push["receipt"].is_object())
            .map(|push| {
                (
                    push["receipt"]["delivered"].as_u64(),
                    push["receipt"]["read"].as_u64(),
                )
            })
            .collect();
        let mut expected: Vec<_> = cases.iter().filter_map(|(_, pushed)| *pushed).collect();
        expected.extend([(last, 10), (last + 1, last + 1)]);
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(d, r)| (Some(d), Some(r)))
            .collect();
        assert_eq!(marks, expected);
    }
    let mut talk = Talk::open(&gateway);
    talk.check(&json!({"read": last + 3}), Some((last + 3, last + 3)));
}

#[test]
fn each_side_has_its_own() {
    let gateway = Gateway::start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().proto().connect("bob", "phone");
    alice.send("bob", "1");
    bob.push_of("message");
    bob.ack(CONVERSATION, &json!({"read": 1}));
    let receipt = alice.push_of("receipt");
    assert_eq!(
        (&receipt["user"], &receipt["read"]),
        (&json!("bob"), &json!(1))
    );
    alice.ack(CONVERSATION, &json!({"delivered": 1}));
    let receipt = bob.push_of("receipt");
    assert_eq!(receipt["user"], "alice");
    assert_eq!(
        (&receipt["delivered"], &receipt["read"]),
        (&json!(1), &json!(0))
    );
}

#[test]
fn notes_to_oneself_are_acknowledged_once() {
    let gateway = Gateway::start();
    let mut phone = gateway.dial().shard(0).connect("alice", "phone");
    let mut laptop = gateway.dial().shard(1).connect("alice", "laptop");
    phone.send("alice", "note");
    laptop.push_of("message");
    laptop.ack("u:alice:alice", &json!({"read": 1}));
    assert_eq!(phone.push_of("receipt")["read"], 1);
    phone.send("alice", "another");
    assert_eq!(laptop.push_of("message")["seq"], 2);
    phone.ping();
    assert_eq!(phone.waiting(), Vec::<Value>::new());
}

#[test]
fn nothing_to_acknowledge() {
    let gateway = Gateway::start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send("bob", "1");
    assert_eq!(
        alice.refused("ack", &json!({"conversation": CONVERSATION})),
        107
    );
    assert_eq!(
        alice.refused("ack", &json!({"conversation": "u:alice:zed", "read": 1})),
        102
    );
    // The refused acknowledgement made no conversation.
    assert_eq!(
        alice.refused("history", &json!({"conversation": "u:alice:zed"})),
        102
    );
}

/// Sends commands in one frame, so that they are of one commit; all must succeed.
fn at_once(client: &mut Client, commands: &[(&str, Value)]) {
    let first = 1_000;
    let frame: Vec<_> = (first..)
        .zip(commands)
        .map(|(id, (command, request))| json!({"id": id, *command: request}))
        .collect();
    client.post_raw(&frame);
    for (id, (command, _)) in (first..).zip(commands) {
        let reply = client.reply(id);
        assert!(reply[*command].is_object(), "{reply}");
    }
}

#[test]
fn several_at_once_are_one_receipt_with_the_last_marks() {
    let gateway = Gateway::start();
    let mut talk = Talk::open(&gateway);
    let begin = talk.alice[0].pos();
    talk.alice[0].send_all("bob", (0..5).map(|i| i.to_string()));
    for client in [&mut talk.alice[1]].into_iter().chain(&mut talk.bob) {
        (0..5).for_each(|_| drop(client.push_of("message")));
    }
    let ack = |delivered: u64, read: u64| {
        let marks = json!({"conversation": CONVERSATION, "delivered": delivered, "read": read});
        ("ack", marks)
    };
    let [phone, tablet] = &mut talk.bob;
    let [a0, a1] = &mut talk.alice;
    at_once(
        phone,
        &[
            ack(1, 0),
            ack(2, 0),
            ack(2, 1),
            ack(4, 1),
            ack(3, 3),
            ack(1, 1),
        ],
    );
    for client in [&mut *tablet, &mut *a0, &mut *a1] {
        let receipt = client.push_of("receipt");
        assert_eq!(
            (&receipt["user"], &receipt["delivered"], &receipt["read"]),
            (&json!("bob"), &json!(4), &json!(3))
        );
    }
    // Behind the messages that were sent with it, whichever came first; and own messages can be
    // acknowledged too.
    let message = ("send", json!({"user": "alice", "text": "and"}));
    at_once(phone, &[ack(5, 5), message.clone(), ack(6, 6), message]);
    for client in [&mut *tablet, &mut *a0, &mut *a1] {
        assert_eq!(client.push_of("message")["seq"], 6);
        assert_eq!(client.push_of("message")["seq"], 7);
        let receipt = client.push_of("receipt");
        assert_eq!(
            (&receipt["delivered"], &receipt["read"]),
            (&json!(6), &json!(6))
        );
    }
    a0.send("bob", "marker");
    for client in [a1, phone, tablet] {
        assert_eq!(client.push_of("message")["text"], "marker", "and no more");
    }
    assert_eq!(gateway.metric("trunkline_receipts_total"), 2.0);
    // `sync` returns the events that were pushed.
    let page = talk.alice[0].done("sync", &json!({"since": begin}));
    let events = page["events"].as_array().expect("events");
    let receipts: Vec<_> = events
        .iter()
        .filter(|push| push["receipt"].is_object())
        .map(|push| (&push["receipt"]["delivered"], &push["receipt"]["read"]))
        .collect();
    let expected = [(&json!(4), &json!(3)), (&json!(6), &json!(6))];
    assert_eq!(receipts, expected);
}

#[test]
fn several_at_once_of_whoever_may_and_may_not() {
    let gateway = Gateway::start();
    let mut alice = gateway.dial().shard(0).connect("alice", "phone");
    let mut bob = gateway.dial().shard(1).connect("bob", "phone");
    for group in ["one", "two"] {
        alice.done(
            "group_create",
            &json!({"group": group, "members": ["bob", "carol"]}),
        );
        alice.done("send", &json!({"group": group, "text": "hello"}));
    }
    for _ in 0..2 {
        bob.push_of("group");
        bob.push_of("message");
    }
    let ack = |id: u32, conversation: &str, read: u64| json!({"id": id, "ack": {"conversation": conversation, "read": read}});
    let leave = json!({"id": 104, "group_leave": {"group": "two"}});
    bob.post_raw(&[
        ack(101, "g:one", 1),
        ack(102, "g:none", 1),
        ack(103, "g:two", 1),
        leave,
        ack(105, "g:two", 1),
        ack(106, "g:one", 1),
    ]);
    for (id, code) in [
        (101, 0),
        (102, 103),
        (103, 0),
        (104, 0),
        (105, 103),
        (106, 0),
    ] {
        let reply = bob.reply(id);
        match code {
            0 => assert!(reply["error"].is_null(), "{reply}"),
            code => assert_eq!(error_code(&reply), code, "{reply}"),
        }
    }
    // The receipt of the group that Bob leaves comes before he is gone. The other receipt comes
    // when it is due.
    let (mut first, mut left) = (Vec::new(), false);
    while first.len() < 2 || !left {
        let push = alice.push();
        if push["group"].is_object() {
            assert_eq!(push["group"]["change"], "left");
            assert!(first.contains(&"g:two".to_owned()), "{first:?}");
            left = true;
            continue;
        }
        let receipt = &push["receipt"];
        assert_eq!(
            (&receipt["user"], &receipt["read"]),
            (&json!("bob"), &json!(1))
        );
        first.push(receipt["conversation"].as_str().expect("a name").to_owned());
    }
    first.sort_unstable();
    assert_eq!(first, ["g:one", "g:two"]);
    bob.send("alice", "marker");
    assert_eq!(alice.push_of("message")["text"], "marker");
}
