//! Members who join later: the messages that count as theirs, and the events that they get.

use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};

const ENG: &str = "g:eng";

/// Values of `fanout_limit`: with the first, events of the groups are pushed to members; with the
/// second, members pull them.
const MODES: [usize; 2] = [500, 2];

fn gateway(fanout_limit: usize) -> Gateway {
    Setup::default()
        .flag("shards", 2)
        .flag("fanout-limit", fanout_limit)
        .flag("receipt-delay", "0s")
        .flag("delivered-delay", "0s")
        .start()
}

fn say(client: &mut Client, text: &str) -> u64 {
    let sent = client.done("send", &json!({"group": "eng", "text": text}));
    sent["seq"].as_u64().expect("a sequence")
}

fn change(client: &mut Client, command: &str, members: &[&str]) {
    client.done(command, &json!({"group": "eng", "members": members}));
}

/// Returns the counts of a message, and who has read it, who has it, who has not read it.
fn receipts(client: &mut Client, seq: u64) -> (Value, [Vec<String>; 3]) {
    let mut counts = Value::Null;
    let lists = ["read", "delivered", "unread"].map(|state| {
        let ask = json!({"conversation": ENG, "seq": seq, "state": state});
        let reply = client.done("receipts", &ask);
        let users = reply["users"].as_array().expect("users");
        // Every user who has read has a time of reading.
        let timed = |user: &&Value| state != "unread" && user["time"] == 0;
        assert_eq!(users.iter().find(timed), None, "{reply}");
        counts = reply["counts"].clone();
        let names = users.iter().filter_map(|user| user["user"].as_str());
        names.map(str::to_owned).collect()
    });
    (counts, lists)
}

/// Checks the receipts of a message: members beside the sender, those who have it, those who have
/// read it, those who have not.
fn check(client: &mut Client, seq: u64, expected: [&[&str]; 3]) {
    let [read, delivered, unread] = expected;
    let (counts, lists) = receipts(client, seq);
    assert_eq!(lists, expected.map(<[&str]>::to_vec), "message {seq}");
    assert_eq!(
        counts,
        json!({
            "members": read.len() + unread.len(), "delivered": delivered.len(), "read": read.len(),
        })
    );
}

/// Returns the read mark in the list of conversations, and how many messages are unread.
fn unread(client: &mut Client) -> (u64, u64) {
    let list = client.done("conversations", &json!({}));
    let entry = &list["conversations"][0];
    assert_eq!(list["unread"], entry["unread"]);
    let number = |name: &str| entry[name].as_u64().expect("a number");
    (number("read"), number("unread"))
}

fn start(gateway: &Gateway, history: &str) -> [Client; 3] {
    let mut clients = ["alice", "bob", "carol"].map(|user| gateway.dial().connect(user, "phone"));
    clients[0].done(
        "group_create",
        &json!({"group": "eng", "members": ["bob"], "history": history}),
    );
    clients
}

#[test]
fn joining_is_no_receipt() {
    for mode in MODES {
        let mut gateway = gateway(mode);
        let [mut alice, mut bob, mut carol] = start(&gateway, "all");
        for text in ["one", "two"] {
            say(&mut alice, text);
        }
        bob.ack(ENG, &json!({"read": 1}));
        change(&mut alice, "group_add", &["carol", "dave"]);
        say(&mut alice, "three");
        check(&mut alice, 1, [&["bob"], &["bob"], &["carol", "dave"]]);
        check(&mut alice, 2, [&[], &[], &["bob", "carol", "dave"]]);
        // What was said before is not unread, and what came since is.
        assert_eq!(unread(&mut carol), (2, 1));
        assert_eq!(unread(&mut bob), (1, 2));
        // An acknowledgement says what it says, also of what was there before.
        carol.ack(ENG, &json!({"delivered": 2}));
        check(&mut alice, 2, [&[], &["carol"], &["bob", "carol", "dave"]]);
        check(&mut alice, 3, [&[], &[], &["bob", "carol", "dave"]]);
        carol.ack(ENG, &json!({"read": 1}));
        check(
            &mut alice,
            1,
            [&["bob", "carol"], &["bob", "carol"], &["dave"]],
        );
        assert_eq!(unread(&mut carol), (2, 1));
        // Removed and back: what was read stays read, and nothing else is.
        change(&mut alice, "group_remove", &["bob", "carol"]);
        check(&mut alice, 1, [&[], &[], &["dave"]]);
        say(&mut alice, "four");
        change(&mut alice, "group_add", &["bob", "carol"]);
        for restarted in [false, true] {
            if restarted {
                assert!(gateway.stop().status.success());
                gateway.start_again();
                alice = gateway.dial().connect("alice", "phone");
                bob = gateway.dial().connect("bob", "phone");
            }
            check(
                &mut alice,
                1,
                [&["bob", "carol"], &["bob", "carol"], &["dave"]],
            );
            check(&mut alice, 2, [&[], &["carol"], &["bob", "carol", "dave"]]);
            check(&mut alice, 4, [&[], &[], &["bob", "carol", "dave"]]);
            assert_eq!(unread(&mut bob), (4, 0));
        }
        bob.ack(ENG, &json!({"read": 4}));
        check(&mut alice, 4, [&["bob"], &["bob"], &["carol", "dave"]]);
    }
}

#[test]
fn who_cannot_see_a_message_is_not_asked() {
    for mode in MODES {
        let gateway = gateway(mode);
        let [mut alice, mut bob, mut carol] = start(&gateway, "joined");
        say(&mut alice, "one");
        change(&mut alice, "group_add", &["carol", "dave"]);
        check(&mut alice, 1, [&[], &[], &["bob"]]);
        // Carol cannot acknowledge messages that she cannot see: no user gets a receipt.
        carol.ack(ENG, &json!({"read": 1}));
        carol.ack(ENG, &json!({"read": 9}));
        check(&mut alice, 1, [&[], &[], &["bob"]]);
        say(&mut alice, "two");
        assert_eq!(unread(&mut carol), (1, 1));
        carol.ack(ENG, &json!({"read": 2}));
        check(&mut alice, 1, [&[], &[], &["bob"]]);
        check(&mut alice, 2, [&["carol"], &["carol"], &["bob", "dave"]]);
        bob.ack(ENG, &json!({"read": 2}));
        check(&mut alice, 1, [&["bob"], &["bob"], &[]]);
        change(&mut alice, "group_remove", &["bob", "carol"]);
        change(&mut alice, "group_add", &["bob", "carol"]);
        // They saw these once, and see them no more.
        check(&mut alice, 1, [&[], &[], &[]]);
        check(&mut alice, 2, [&[], &[], &["dave"]]);
        let mut marks = Vec::new();
        alice.ping();
        for push in alice.waiting() {
            if push["receipt"].is_object() {
                marks.push((
                    push["receipt"]["user"].clone(),
                    push["receipt"]["read"].clone(),
                ));
            }
        }
        assert_eq!(
            marks,
            [("carol", 2), ("bob", 2)].map(|(who, read)| (json!(who), json!(read)))
        );
    }
}

/// Returns the name of an event and what it is about, as a short text.
fn word(event: &Value) -> String {
    let kinds = ["message", "reaction", "recall", "receipt", "edit"];
    let kind = kinds.into_iter().find(|kind| event[*kind].is_object());
    let Some(kind) = kind else {
        let group = &event["group"];
        let change = group["change"].as_str().unwrap_or("other");
        return match group["seq"].as_u64() {
            Some(seq) => format!("{change} {seq}"),
            None => change.to_owned(),
        };
    };
    format!("{kind} {}", event[kind]["seq"])
}

#[test]
fn newcomers_are_not_told_of_what_they_cannot_read() {
    let mut views = Vec::new();
    for mode in MODES {
        let mut gateway = gateway(mode);
        let [mut alice, mut bob, mut carol] = start(&gateway, "joined");
        let begin = carol.pos();
        say(&mut alice, "one");
        say(&mut alice, "two");
        change(&mut alice, "group_add", &["carol", "dave"]);
        assert_eq!(word(&carol.push()), "added");
        say(&mut alice, "three");
        let about = |seq: u64| json!({"conversation": ENG, "seq": seq, "reaction": "like"});
        for seq in [1, 3, 2] {
            bob.done("react", &about(seq));
        }
        let edit_and_pin = |alice: &mut Client, seq: u64| {
            let message = json!({"conversation": ENG, "seq": seq});
            let edit = json!({"conversation": ENG, "seq": seq, "text": "edited"});
            alice.done("edit", &edit);
            alice.done("pin", &message);
            alice.done("unpin", &message);
        };
        for seq in [1, 2] {
            edit_and_pin(&mut alice, seq);
        }
        alice.done("recall", &about(1));
        alice.done("recall", &about(3));
        // Bob comes back as a new member. He has reacted, and knows the first messages from his
        // earlier membership.
        change(&mut alice, "group_remove", &["bob"]);
        change(&mut alice, "group_add", &["bob"]);
        alice.done("react", &about(2));
        say(&mut alice, "four");
        alice.done("react", &about(4));
        edit_and_pin(&mut alice, 4);
        let expected = [
            "message 3",
            "reaction 3",
            "recall 3",
            "removed",
            "added",
            "message 4",
            "reaction 4",
            "edit 4",
            "pinned 4",
            "unpinned 4",
        ];
        let live: Vec<_> = expected.iter().map(|_| word(&carol.push())).collect();
        assert_eq!(live, expected);
        for restarted in [false, true] {
            if restarted {
                assert!(gateway.stop().status.success());
                gateway.start_again();
            }
            let mut carol = gateway.dial().connect("carol", "pad");
            let mut dave = gateway.dial().since(&begin).connect("dave", "pad");
            let page = carol.done("sync", &json!({"since": begin}));
            let events = page["events"].as_array().expect("events");
            let words: Vec<_> = events.iter().map(word).collect();
            assert_eq!(words[1..], expected, "what carol missed");
            let missed: Vec<_> = words.iter().map(|_| word(&dave.push())).collect();
            assert_eq!(missed, words, "what dave missed");
        }
        let mut bob = gateway.dial().connect("bob", "pad");
        let page = bob.done("sync", &json!({"since": begin}));
        let events = page["events"].as_array().expect("events");
        views.push(events.iter().map(word).collect::<Vec<_>>());
    }
    assert_eq!(views[0], views[1], "the mode shows");
    let reactions = views[0].iter().filter(|word| *word == "reaction 2").count();
    assert_eq!(
        reactions, 1,
        "his own, and not that of later: {:?}",
        views[0]
    );
}
