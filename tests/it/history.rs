//! `history`: pages of a conversation in both directions.

use std::ops::RangeInclusive;

use serde_json::{Value, json};
use trunkline_proto::Encoding;
use trunkline_tests::client::Client;
use trunkline_tests::gateway::Gateway;

/// The empty range of sequences.
const NONE: RangeInclusive<u64> = RangeInclusive::new(1, 0);

/// `history` with these fields must give exactly these sequences of a conversation of `last`.
fn check(client: &mut Client, fields: &Value, seqs: RangeInclusive<u64>, last: u64) {
    let mut request = fields.clone();
    request["conversation"] = "u:alice:bob".into();
    let page = client.done("history", &request);
    let messages = page["messages"].as_array().expect("messages");
    let found: Vec<_> = messages
        .iter()
        .map(|message| message["seq"].as_u64())
        .collect();
    assert_eq!(found, seqs.map(Some).collect::<Vec<_>>(), "{request}");
    assert_eq!(
        (&page["first"], &page["last"]),
        (&json!(1), &json!(last)),
        "{request}"
    );
    for message in messages {
        let seq = message["seq"].as_u64().expect("a sequence");
        let (from, device) = if seq.is_multiple_of(2) {
            ("bob", "pc")
        } else {
            ("alice", "phone")
        };
        let expected = json!([from, device, format!("text {seq}"), "u:alice:bob"]);
        let said = ["from", "device", "text", "conversation"].map(|field| message[field].clone());
        assert_eq!(json!(said), expected);
    }
}

/// Messages by turns, each acknowledged, so that receipts stand between them in the log.
fn talk(gateway: &Gateway, messages: u64) {
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "pc");
    for seq in 1..=messages {
        let (from, to, name) = if seq.is_multiple_of(2) {
            (&mut bob, &mut alice, "alice")
        } else {
            (&mut alice, &mut bob, "bob")
        };
        assert_eq!(from.send(name, &format!("text {seq}"))["seq"], seq);
        to.ack("u:alice:bob", &json!({"read": seq}));
    }
}

#[test]
fn pages() {
    let mut gateway = Gateway::start();
    talk(&gateway, 520);
    for round in 0..2 {
        for encoding in [Encoding::Json, Encoding::Proto] {
            let mut client = gateway.dial().encoding(encoding).connect("bob", "pc");
            let cases = [
                (json!({}), 471..=520),
                (json!({"limit": 3}), 518..=520),
                (json!({"limit": 500}), 21..=520),
                (json!({"limit": 100_000}), 21..=520),
                (json!({"before": 521, "limit": 1}), 520..=520),
                (json!({"before": 43}), 1..=42),
                (json!({"before": 43, "limit": 5}), 38..=42),
                (json!({"before": 2}), 1..=1),
                (json!({"before": 1}), NONE),
                (json!({"before": 0}), NONE),
                (json!({"before": u64::MAX, "limit": 2}), 519..=520),
                (json!({"after": 0}), 1..=50),
                (json!({"after": 0, "limit": 1_000}), 1..=500),
                (json!({"after": 42, "limit": 3}), 43..=45),
                (json!({"after": 518}), 519..=520),
                (json!({"after": 520}), NONE),
                (json!({"after": u64::MAX}), NONE),
            ];
            for (fields, seqs) in cases {
                check(&mut client, &fields, seqs, 520);
            }
        }
        if round == 0 {
            gateway.stop();
            gateway.start_again();
        }
    }
}

#[test]
fn one_message() {
    let gateway = Gateway::start();
    talk(&gateway, 5);
    for encoding in [Encoding::Json, Encoding::Proto] {
        let mut client = gateway.dial().encoding(encoding).connect("alice", "phone");
        for seq in 1..=5 {
            let reply = client.done("get", &json!({"conversation": "u:alice:bob", "seq": seq}));
            let page = client.done(
                "history",
                &json!({"conversation": "u:alice:bob", "after": seq - 1, "limit": 1}),
            );
            assert_eq!(reply["message"]["seq"], seq);
            assert_eq!(reply["message"], page["messages"][0]);
        }
        // In protobuf a sequence of 0 counts as missing.
        let zero = if encoding == Encoding::Proto {
            107
        } else {
            102
        };
        for (seq, code) in [(0, zero), (6, 102), (u64::MAX, 102)] {
            let request = json!({"conversation": "u:alice:bob", "seq": seq});
            assert_eq!(client.refused("get", &request), code, "{request}");
        }
    }
}

#[test]
fn whose_it_is() {
    let gateway = Gateway::start();
    talk(&gateway, 2);
    let cases = [
        ("carol", "u:alice:bob", 103),
        ("carol", "u:alice:zed", 103),
        ("alice", "u:alice:zed", 102),
        ("alice", "u:alice:alice", 102),
        ("alice", "g:eng", 103),
        ("alice", "u:bob:alice", 107),
        ("alice", "u:alice", 107),
        ("alice", "alice", 107),
        ("alice", "", 107),
        ("alice", "x:alice:bob", 107),
        ("alice", "u:alice:b b", 107),
    ];
    for encoding in [Encoding::Json, Encoding::Proto] {
        for (user, conversation, code) in cases {
            let mut client = gateway.dial().encoding(encoding).connect(user, "phone");
            for (command, mut request) in [
                ("history", json!({})),
                ("get", json!({"seq": 1})),
                ("ack", json!({"read": 1})),
            ] {
                request["conversation"] = conversation.into();
                assert_eq!(
                    client.refused(command, &request),
                    code,
                    "{user}: {command} {request}"
                );
            }
        }
        let mut alice = gateway.dial().encoding(encoding).connect("alice", "phone");
        for fields in [
            json!({"before": 2, "after": 1}),
            json!({"limit": 0}),
            json!({"after": 0, "limit": 0}),
        ] {
            let mut request = fields;
            request["conversation"] = "u:alice:bob".into();
            assert_eq!(alice.refused("history", &request), 107, "{request}");
        }
    }
    // Being refused changed nothing.
    let mut alice = gateway.dial().connect("alice", "phone");
    check(&mut alice, &json!({}), 1..=2, 2);
}

/// Reactions make messages dear to read: a page of many such messages ends earlier. The next pages
/// have the rest, in both directions.
#[test]
fn pages_with_many_reactions_are_shorter() {
    const MESSAGES: u64 = 400;
    let gateway = Gateway::start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.send_all("bob", (1..=MESSAGES).map(|n| format!("text {n}")));
    for reaction in ["like", "laugh", "heart", "wow"] {
        let react = |seq| {
            let about = json!({"conversation": "u:alice:bob", "seq": seq, "reaction": reaction});
            json!({"id": 10_000 + seq, "react": about})
        };
        alice.post_raw(&(1..=MESSAGES).map(react).collect::<Vec<_>>());
        for seq in 1..=MESSAGES {
            let id = u32::try_from(10_000 + seq).expect("a small number");
            assert!(alice.reply(id)["react"].is_object());
        }
    }
    for (direction, first, is_back) in [("after", 0, false), ("before", MESSAGES + 1, true)] {
        let (mut at, mut found, mut pages) = (first, Vec::new(), 0);
        loop {
            let mut request = json!({"conversation": "u:alice:bob", "limit": 500});
            request[direction] = at.into();
            let page = alice.done("history", &request);
            let messages = page["messages"].as_array().expect("messages");
            let mut seqs: Vec<_> = messages
                .iter()
                .map(|message| {
                    let reactions = message["reactions"].as_array().expect("reactions");
                    assert_eq!(reactions.len(), 4);
                    message["seq"].as_u64().expect("a sequence")
                })
                .collect();
            if is_back {
                seqs.reverse();
            }
            at = *seqs.last().expect("a message");
            found.extend(seqs);
            pages += 1;
            if page["more"] == false {
                break;
            }
        }
        if is_back {
            found.reverse();
        }
        assert_eq!(found, (1..=MESSAGES).collect::<Vec<_>>());
        assert!((2..10).contains(&pages), "{pages}");
    }
}
