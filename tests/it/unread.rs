//! The count of unread messages is exact at every size.

use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};

fn gateway(fanout_limit: usize) -> Gateway {
    Setup::default()
        .flag("shards", 2)
        .flag("fanout-limit", fanout_limit)
        .start()
}

/// Returns what the list says of a conversation; of all of them it says the sum.
fn unread(client: &mut Client, conversation: &str) -> u64 {
    let list = client.done("conversations", &json!({}));
    let entries = list["conversations"].as_array().expect("conversations");
    let number = |value: &Value| value["unread"].as_u64().expect("a number");
    assert_eq!(number(&list), entries.iter().map(number).sum::<u64>());
    let entry = entries
        .iter()
        .find(|one| one["conversation"] == conversation);
    number(entry.expect("the conversation"))
}

/// Sends `count` messages, many in a frame.
fn send(client: &mut Client, to: &Value, count: usize) {
    let mut left = count;
    while left > 0 {
        let some = left.min(500);
        let mut send = to.clone();
        send["text"] = json!("x");
        let frame: Vec<_> = (1..=some)
            .map(|n| json!({"id": 10_000 + n, "send": send}))
            .collect();
        client.post_raw(&frame);
        for n in 1..=some {
            let reply = client.reply(10_000 + n as u32);
            assert!(reply["send"]["seq"].is_u64(), "{reply}");
        }
        left -= some;
    }
}

#[test]
fn two_who_have_read_nothing() {
    let mut gateway = gateway(500);
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    let conversation = "u:alice:bob";
    let (to_bob, to_alice) = (json!({"user": "bob"}), json!({"user": "alice"}));
    // One behind the other, and by turns.
    send(&mut alice, &to_bob, 600);
    send(&mut bob, &to_alice, 600);
    for _ in 0..20 {
        send(&mut alice, &to_bob, 31);
        send(&mut bob, &to_alice, 7);
    }
    let counts = |gateway: &Gateway| {
        ["alice", "bob"].map(|user| {
            let mut client = gateway.dial().connect(user, "pad");
            unread(&mut client, conversation)
        })
    };
    assert_eq!(counts(&gateway), [740, 1_220]);
    // What is recalled, or deleted in the own view, is not there to be read.
    let about = |seq: u64| json!({"conversation": conversation, "seq": seq});
    for seq in [1, 256, 257, 600, 1_201] {
        alice.done("recall", &about(seq));
    }
    for seq in [2, 300, 700] {
        bob.done("delete", &about(seq));
        bob.done("delete", &about(seq));
    }
    let expected = [740, 1_220 - 5 - 2];
    assert_eq!(counts(&gateway), expected);
    alice.done("recall", &about(1));
    alice.done("recall", &about(300));
    assert_eq!(counts(&gateway), expected, "both are counted once");
    assert!(gateway.stop().status.success());
    gateway.start_again();
    assert_eq!(counts(&gateway), expected);
    // From the middle of a stretch on, behind a restart, and across its end.
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    send(&mut bob, &to_alice, 100);
    send(&mut alice, &to_bob, 300);
    let mark = |seq: u64| json!({"read": seq});
    for (user, read, left) in [
        (0, 512, 840),
        (0, 700, 840 - 100),
        (0, 1_200, 840 - 600),
        (1, 256, 1_513 - 253),
        (1, 257, 1_513 - 253),
        (1, 600, 1_513 - 594),
        (1, 2_360, 0),
    ] {
        let client = if user == 0 { &mut alice } else { &mut bob };
        client.ack(conversation, &mark(read));
        assert_eq!(unread(client, conversation), left, "{user} {read}");
    }
}

/// A conversation has more messages than the longest stretch that is counted at once.
#[test]
fn very_many() {
    let mut gateway = gateway(500);
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    let conversation = "u:alice:bob";
    send(&mut bob, &json!({"user": "alice"}), 5);
    send(&mut alice, &json!({"user": "bob"}), 16_500);
    assert_eq!(unread(&mut alice, conversation), 5);
    assert_eq!(unread(&mut bob, conversation), 16_500);
    for seq in [6, 16_384, 16_385] {
        alice.done("recall", &json!({"conversation": conversation, "seq": seq}));
    }
    bob.done(
        "delete",
        &json!({"conversation": conversation, "seq": 9_000}),
    );
    assert!(gateway.stop().status.success());
    gateway.start_again();
    let mut bob = gateway.dial().connect("bob", "phone");
    assert_eq!(unread(&mut bob, conversation), 16_500 - 4);
    bob.ack(conversation, &json!({"read": 10_000}));
    assert_eq!(unread(&mut bob, conversation), 6_505 - 2);
    let mut alice = gateway.dial().connect("alice", "phone");
    assert_eq!(unread(&mut alice, conversation), 5);
}

#[test]
fn a_group_of_several_authors() {
    for mode in [500, 2] {
        let mut gateway = gateway(mode);
        let names = ["alice", "bob", "carol"];
        let mut clients = names.map(|user| gateway.dial().connect(user, "phone"));
        clients[0].done(
            "group_create",
            &json!({"group": "eng", "members": ["bob", "carol", "dave"]}),
        );
        let to = json!({"group": "eng"});
        for counts in [[300, 1, 0], [0, 700, 200], [55, 0, 0], [3, 3, 300]] {
            for (client, count) in clients.iter_mut().zip(counts) {
                send(client, &to, count);
            }
        }
        let total = 1_562;
        let expected = [total - 358, total - 704, total - 500, total];
        let all = |gateway: &Gateway| {
            ["alice", "bob", "carol", "dave"].map(|user| {
                let mut client = gateway.dial().connect(user, "pad");
                unread(&mut client, "g:eng")
            })
        };
        assert_eq!(all(&gateway), expected);
        // One of alice in a stretch that is over, and the last message, which is carol's.
        let about = |seq: u64| json!({"conversation": "g:eng", "seq": seq});
        clients[0].done("recall", &about(17));
        clients[2].done("recall", &about(total));
        let expected = [
            expected[0] - 1,
            expected[1] - 2,
            expected[2] - 1,
            expected[3] - 2,
        ];
        assert_eq!(all(&gateway), expected);
        assert!(gateway.stop().status.success());
        gateway.start_again();
        assert_eq!(all(&gateway), expected);
        // The stretch of the recall ends, and what was recalled in it stays out of the count.
        let mut alice = gateway.dial().connect("alice", "phone");
        send(&mut alice, &to, 500);
        let more = [0, 500, 500, 500];
        let expected: Vec<_> = expected
            .iter()
            .zip(more)
            .map(|(one, more)| one + more)
            .collect();
        assert_eq!(all(&gateway).to_vec(), expected);
    }
}
