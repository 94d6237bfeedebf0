//! Recalls, deletions, reactions, receipts and counts of messages.

use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait::until;

const DIRECT: &str = "u:alice:bob";

fn gateway() -> Gateway {
    Setup::default().flag("shards", 3).start()
}

fn history(client: &mut Client, conversation: &str) -> Vec<Value> {
    let answer = client.done("history", &json!({"conversation": conversation}));
    answer["messages"].as_array().expect("messages").clone()
}

fn events(client: &mut Client, since: &str) -> Vec<Value> {
    let page = client.done("sync", &json!({"since": since}));
    assert_eq!(page["more"], false);
    page["events"].as_array().expect("events").clone()
}

/// Alice and Bob with two devices each. Each change of their conversation goes to all devices but
/// the one that made it.
struct Two {
    alice: [Client; 2],
    bob: [Client; 2],
}

impl Two {
    fn open(gateway: &Gateway) -> Self {
        let dial = gateway.dial();
        Self {
            alice: dial.devices("alice"),
            bob: dial.devices("bob"),
        }
    }

    /// Returns the next push of a kind on everything but Bob's phone.
    fn told(&mut self, event: &str) -> Value {
        let [a0, a1] = &mut self.alice;
        let mut pushes = [a0, a1, &mut self.bob[1]].map(|client| client.push_of(event));
        let first = pushes[0].take();
        for other in &pushes[1..] {
            assert_eq!(*other, first);
        }
        first
    }
}

#[test]
fn a_recalled_message_is_gone_for_everybody() {
    for group in [false, true] {
        let mut gateway = gateway();
        let begin = gateway.dial().connect("bob", "probe").pos();
        let mut two = Two::open(&gateway);
        let (conversation, to) = if group {
            two.bob[0].done(
                "group_create",
                &json!({"group": "eng", "members": ["alice"]}),
            );
            two.told("group");
            ("g:eng", json!({"group": "eng"}))
        } else {
            (DIRECT, json!({"user": "alice"}))
        };
        let send = |client: &mut Client, more: Value| {
            let mut request = to.clone();
            for (key, value) in more.as_object().expect("fields") {
                request[key] = value.clone();
            }
            client.done("send", &request)
        };
        send(&mut two.bob[0], json!({"text": "first"}));
        let image = json!({"type": "image/png", "data": "c2VjcmV0"});
        let sent = send(
            &mut two.bob[0],
            json!({"text": "secret", "media": image, "key": "k"}),
        );
        assert_eq!(sent["seq"], 2);
        two.told("message");
        two.told("message");
        let recall = json!({"conversation": conversation, "seq": 2});
        assert_eq!(two.alice[0].refused("recall", &recall), 103);
        assert_eq!(two.bob[0].done("recall", &recall), json!({}));
        let told = two.told("recall");
        assert_eq!(
            (&told["conversation"], &told["seq"], &told["by"]),
            (&json!(conversation), &json!(2), &json!("bob"))
        );
        // A second recall changes nothing and causes no push.
        assert_eq!(two.bob[1].done("recall", &recall), json!({}));
        send(&mut two.bob[0], json!({"text": "third"}));
        assert_eq!(two.told("message")["text"], "third");
        // The send is still known by its key. Its content is gone, so none is compared.
        let again = send(&mut two.bob[0], json!({"text": "x", "key": "k"}));
        assert_eq!(
            (&again["seq"], &again["duplicate"]),
            (&json!(2), &json!(true))
        );
        for restarted in [false, true] {
            if restarted {
                gateway.kill();
                gateway.start_again();
            }
            for user in ["alice", "bob"] {
                let mut client = gateway.dial().connect(user, "late");
                let messages = history(&mut client, conversation);
                assert_eq!(messages.len(), 3);
                let gone = &messages[1];
                assert_eq!(
                    (&gone["recalled"], &gone["seq"], &gone["from"]),
                    (&json!(true), &json!(2), &json!("bob"))
                );
                let one = client.done("get", &recall);
                assert_eq!(one["message"], *gone);
                let synced = events(&mut client, &begin);
                let everything = format!("{messages:?} {synced:?}");
                assert!(
                    !everything.contains("secret") && !everything.contains("c2VjcmV0"),
                    "{everything}"
                );
                let kinds: Vec<_> = synced
                    .iter()
                    .map(|event| {
                        event
                            .as_object()
                            .expect("an event")
                            .keys()
                            .find(|key| *key != "pos")
                            .expect("a kind")
                            .clone()
                    })
                    .collect();
                let rest = &kinds[kinds.len() - 4..];
                assert_eq!(rest, ["message", "message", "recall", "message"]);
            }
        }
    }
}

#[test]
fn a_message_is_recalled_in_time_or_not() {
    let gateway = Setup::default().flag("recall-window", "1ms").start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let sent = alice.send("bob", "too late")["time"]
        .as_u64()
        .expect("a time");
    until("a later millisecond", || {
        (alice.send("carol", "tick")["time"].as_u64() > Some(sent + 1)).then_some(())
    });
    let recall = json!({"conversation": DIRECT, "seq": 1});
    assert_eq!(alice.refused("recall", &recall), 114);
    assert_eq!(history(&mut alice, DIRECT)[0]["text"], "too late");
}

#[test]
fn a_message_deleted_in_the_own_view_is_gone_there_alone() {
    let mut gateway = gateway();
    let mut two = Two::open(&gateway);
    let begin = two.bob[0].pos();
    for text in ["one", "two"] {
        two.alice[0].send("bob", text);
        for client in [&mut two.alice[1]].into_iter().chain(&mut two.bob) {
            client.push_of("message");
        }
    }
    let delete = json!({"conversation": DIRECT, "seq": 1});
    assert_eq!(two.bob[0].done("delete", &delete), json!({}));
    assert_eq!(two.bob[0].done("delete", &delete), json!({}), "nothing new");
    let told = two.bob[1].push_of("delete");
    assert_eq!(
        (&told["conversation"], &told["seq"]),
        (&json!(DIRECT), &json!(1))
    );
    two.alice[0].send("bob", "three");
    assert_eq!(
        two.alice[1].push_of("message")["text"],
        "three",
        "others are not told"
    );
    for client in &mut two.bob {
        assert_eq!(client.push_of("message")["text"], "three");
    }
    for restarted in [false, true] {
        if restarted {
            gateway.kill();
            gateway.start_again();
        }
        let mut bob = gateway.dial().connect("bob", "late");
        let own = history(&mut bob, DIRECT);
        assert_eq!(
            (&own[0]["deleted"], &own[0]["text"]),
            (&json!(true), &Value::Null)
        );
        assert_eq!(
            (&own[1]["deleted"], &own[1]["text"]),
            (&Value::Null, &json!("two"))
        );
        let synced = events(&mut bob, &begin);
        assert_eq!(synced.len(), 4, "{synced:?}");
        assert_eq!(synced[0]["message"]["text"], Value::Null);
        assert_eq!(synced[2]["delete"]["seq"], 1);
        let mut again = gateway.dial().since(&begin).connect("bob", "again");
        for event in &synced {
            assert_eq!(again.push(), *event);
        }
        let mut alice = gateway.dial().connect("alice", "late");
        assert_eq!(history(&mut alice, DIRECT)[0]["text"], "one");
    }
}

#[test]
fn reactions_say_who() {
    for group in [false, true] {
        let mut gateway = gateway();
        let mut two = Two::open(&gateway);
        let (conversation, to) = if group {
            two.bob[0].done(
                "group_create",
                &json!({"group": "eng", "members": ["alice"]}),
            );
            two.told("group");
            ("g:eng", json!({"group": "eng", "text": "hello"}))
        } else {
            (DIRECT, json!({"user": "alice", "text": "hello"}))
        };
        two.bob[0].done("send", &to);
        two.told("message");
        let react = |reaction: &str, remove: bool| json!({"conversation": conversation, "seq": 1, "reaction": reaction, "remove": remove});
        two.bob[0].done("react", &react("like", false));
        let told = two.told("reaction");
        assert_eq!(
            (
                &told["user"],
                &told["reaction"],
                &told["removed"],
                &told["seq"]
            ),
            (&json!("bob"), &json!("like"), &json!(false), &json!(1))
        );
        // Repeating a reaction, and removing one that does not exist, change nothing.
        two.bob[0].done("react", &react("like", false));
        two.bob[0].done("react", &react("heart", true));
        two.bob[0].done("react", &react("👍🏽", false));
        assert_eq!(two.told("reaction")["reaction"], "👍🏽");
        two.bob[0].done("react", &react("👍🏽", true));
        assert_eq!(two.told("reaction")["removed"], true);
        two.alice[0].done("react", &react("like", false));
        for client in [&mut two.alice[1]].into_iter().chain(&mut two.bob) {
            assert_eq!(client.push_of("reaction")["user"], "alice");
        }
        for restarted in [false, true] {
            if restarted {
                gateway.kill();
                gateway.start_again();
            }
            let mut late = gateway.dial().connect("alice", "late");
            let expect =
                json!([{"reaction": "like", "users": ["bob", "alice"], "count": 2, "more": false}]);
            assert_eq!(history(&mut late, conversation)[0]["reactions"], expect);
            let one = late.done("get", &json!({"conversation": conversation, "seq": 1}));
            assert_eq!(one["message"]["reactions"], expect);
        }
    }
}

#[test]
fn what_cannot_be_done_to_a_message() {
    let gateway = gateway();
    let dial = gateway.dial();
    let mut alice = dial.connect("alice", "phone");
    let mut mallory = dial.connect("mallory", "phone");
    alice.send("bob", "hello");
    for command in ["recall", "delete", "react"] {
        let about = |conversation: &str, seq: u64| json!({"conversation": conversation, "seq": seq, "reaction": "like"});
        assert_eq!(
            mallory.refused(command, &about(DIRECT, 1)),
            103,
            "{command}"
        );
        assert_eq!(
            mallory.refused(command, &about("u:bob:carol", 1)),
            103,
            "{command}"
        );
        assert_eq!(
            mallory.refused(command, &about("u:bob:mallory", 1)),
            102,
            "{command}"
        );
        for seq in [0, 2, u64::MAX] {
            assert_eq!(
                alice.refused(command, &about(DIRECT, seq)),
                102,
                "{command} {seq}"
            );
        }
        assert_eq!(
            alice.refused(command, &about("u:bob:alice", 1)),
            107,
            "{command}"
        );
        assert_eq!(
            alice.refused(command, &json!({"conversation": DIRECT})),
            107,
            "{command}"
        );
    }
    for reaction in [String::new(), "x".repeat(65)] {
        let react = json!({"conversation": DIRECT, "seq": 1, "reaction": reaction});
        assert_eq!(alice.refused("react", &react), 107);
    }
    let long = json!({"group": "g", "name": "x".repeat(257)});
    assert_eq!(alice.refused("group_create", &long), 106);
    assert_eq!(history(&mut alice, DIRECT)[0]["text"], "hello");
}

/// Returns the listed users and the counts of a reply.
fn receipts(client: &mut Client, conversation: &str, state: &str) -> (Vec<String>, Value) {
    let (mut users, mut after, mut counts) = (Vec::<String>::new(), None, None);
    loop {
        let mut request =
            json!({"conversation": conversation, "seq": 1, "state": state, "limit": 2});
        if let Some(after) = after {
            request["after"] = json!(after);
        }
        let page = client.done("receipts", &request);
        let found = page["users"].as_array().expect("users");
        assert!(found.len() <= 2);
        users.extend(
            found
                .iter()
                .map(|user| user["user"].as_str().expect("a name").to_owned()),
        );
        assert_eq!(
            *counts.get_or_insert(page["counts"].clone()),
            page["counts"]
        );
        if page["more"] == false {
            return (users, page["counts"].clone());
        }
        after = users.last().cloned();
    }
}

#[test]
fn receipts_say_who_has_read_and_who_has_not() {
    let gateway = gateway();
    let dial = gateway.dial();
    let mut alice = dial.connect("alice", "phone");
    let names = ["bob", "carol", "dave", "erin", "frank"];
    alice.done("group_create", &json!({"group": "eng", "members": names}));
    alice.done("send", &json!({"group": "eng", "text": "hello"}));
    for (name, marks) in [
        ("dave", json!({"read": 1})),
        ("bob", json!({"read": 1})),
        ("erin", json!({"delivered": 1})),
        ("carol", json!({"read": 1})),
    ] {
        let mut client = dial.connect(name, "phone");
        client.ack("g:eng", &marks);
        let told = alice.push_of("receipt");
        assert_eq!(
            (&told["user"], &told["delivered"]),
            (&json!(name), &json!(1))
        );
    }
    let (read, counts) = receipts(&mut alice, "g:eng", "read");
    assert_eq!(read, ["bob", "carol", "dave"]);
    assert_eq!(counts, json!({"members": 5, "delivered": 4, "read": 3}));
    assert_eq!(
        receipts(&mut alice, "g:eng", "delivered").0,
        ["bob", "carol", "dave", "erin"]
    );
    assert_eq!(receipts(&mut alice, "g:eng", "unread").0, ["erin", "frank"]);
    let page = alice.done(
        "receipts",
        &json!({"conversation": "g:eng", "seq": 1, "state": "read"}),
    );
    let first = &page["users"][0];
    assert_eq!(first["seq"], 1);
    assert!(
        first["time"].as_u64().is_some_and(|time| time > 0),
        "{page}"
    );
    // A conversation of two users.
    alice.send("bob", "hello");
    assert_eq!(receipts(&mut alice, DIRECT, "unread").0, ["bob"]);
    let mut bob = dial.connect("bob", "phone");
    bob.ack(DIRECT, &json!({"read": 1}));
    let (read, counts) = receipts(&mut alice, DIRECT, "read");
    assert_eq!(
        (read, counts),
        (
            vec!["bob".to_owned()],
            json!({"members": 1, "delivered": 1, "read": 1})
        )
    );
    for seq in [0, 2] {
        assert_eq!(
            alice.refused(
                "receipts",
                &json!({"conversation": DIRECT, "seq": seq, "state": "read"})
            ),
            102
        );
    }
    assert_eq!(
        alice.refused(
            "receipts",
            &json!({"conversation": DIRECT, "seq": 1, "state": "x"})
        ),
        107
    );
}

#[test]
fn receipts_of_large_groups_are_asked_for() {
    let gateway = Setup::default()
        .flag("shards", 3)
        .flag("receipt-fanout", 2)
        .start();
    let dial = gateway.dial();
    let mut alice = dial.connect("alice", "phone");
    let mut bob = dial.connect("bob", "phone");
    let mut tablet = dial.connect("bob", "tablet");
    alice.done(
        "group_create",
        &json!({"group": "eng", "members": ["bob", "carol"]}),
    );
    alice.done("send", &json!({"group": "eng", "text": "hello"}));
    bob.ack("g:eng", &json!({"read": 1}));
    tablet.push_of("group");
    tablet.push_of("message");
    assert_eq!(
        tablet.push_of("receipt")["read"],
        1,
        "the own devices are told"
    );
    bob.send("alice", "marker");
    assert_eq!(alice.push_of("message")["text"], "marker", "others are not");
    assert_eq!(receipts(&mut alice, "g:eng", "read").0, ["bob"]);
}

#[test]
fn conversations_are_listed_with_what_is_unread() {
    let mut gateway = gateway();
    let mut alice = gateway.dial().connect("alice", "phone");
    assert_eq!(
        alice.done("conversations", &json!({})),
        json!({"conversations": [], "unread": 0, "cursor": "", "more": false})
    );
    alice.done(
        "group_create",
        &json!({"group": "quiet", "members": ["bob"]}),
    );
    alice.done(
        "group_create",
        &json!({"group": "eng", "members": ["bob", "carol"]}),
    );
    for n in 0..40 {
        alice.send(&format!("user-{n:02}"), "hello");
    }
    let mut bob = gateway.dial().connect("bob", "phone");
    for text in ["one", "two", "three", "four"] {
        bob.send("alice", text);
    }
    alice.send("bob", "mine");
    bob.done("send", &json!({"group": "eng", "text": "of bob"}));
    bob.done("recall", &json!({"conversation": DIRECT, "seq": 2}));
    alice.done("delete", &json!({"conversation": DIRECT, "seq": 3}));
    alice.ack(DIRECT, &json!({"read": 1}));
    for restarted in [false, true] {
        if restarted {
            gateway.kill();
            gateway.start_again();
        }
        let mut tablet = gateway.dial().connect("alice", "tablet");
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = tablet.done("conversations", &json!({"after": cursor, "limit": 10}));
            // Four by Bob, less the one read, the recalled and the deleted; one in the group.
            assert_eq!(page["unread"], 2, "{page}");
            all.extend(page["conversations"].as_array().expect("a list").clone());
            page["cursor"]
                .as_str()
                .expect("a cursor")
                .clone_into(&mut cursor);
            if page["more"] == false {
                break;
            }
        }
        let names: Vec<_> = all
            .iter()
            .map(|one| one["conversation"].as_str().expect("a name"))
            .collect();
        let mut expect = vec!["g:eng".to_owned(), DIRECT.to_owned()];
        expect.extend((0..40).rev().map(|n| format!("u:alice:user-{n:02}")));
        expect.push("g:quiet".to_owned());
        assert_eq!(
            names, expect,
            "the newest message first, then those without"
        );
        assert_eq!(
            (&all[0]["unread"], &all[0]["members"], &all[0]["read"]),
            (&json!(1), &json!(3), &json!(0))
        );
        assert_eq!(all[0]["last"]["text"], "of bob");
        assert_eq!(
            (&all[1]["unread"], &all[1]["members"], &all[1]["read"]),
            (&json!(1), &json!(2), &json!(1))
        );
        assert_eq!(all[1]["last"]["text"], "mine");
        assert_eq!(all[42]["last"], Value::Null);
    }
    // Read on another device.
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut tablet = gateway.dial().connect("alice", "tablet");
    alice.ack(DIRECT, &json!({"read": 5}));
    alice.ack("g:eng", &json!({"read": 1}));
    assert_eq!(tablet.done("conversations", &json!({}))["unread"], 0);
    // A user who has left a group does not see it in the list any more.
    alice.done("group_leave", &json!({"group": "eng"}));
    let left = tablet.done("conversations", &json!({"limit": 500}));
    assert_eq!(left["conversations"].as_array().map(Vec::len), Some(42));
    assert_eq!(tablet.refused("conversations", &json!({"after": "x"})), 107);
}

#[test]
fn namespaces_never_meet() {
    let gateway = gateway();
    let dial = gateway.dial();
    let mut acme = dial
        .clone()
        .with("namespace", "acme")
        .connect("alice", "phone");
    let mut plain = dial.connect("alice", "phone");
    let mut bob = dial
        .clone()
        .with("namespace", "acme")
        .connect("bob", "phone");
    let mut other_bob = dial
        .clone()
        .with("namespace", "umbrella")
        .connect("bob", "phone");
    acme.done("group_create", &json!({"group": "eng", "members": ["bob"]}));
    acme.done("send", &json!({"group": "eng", "text": "ours"}));
    acme.send("bob", "for bob of acme");
    assert_eq!(bob.push_of("group")["change"], "created");
    assert_eq!(bob.push_of("message")["text"], "ours");
    assert_eq!(bob.push_of("message")["text"], "for bob of acme");
    for stranger in [&mut plain, &mut other_bob] {
        for (command, request) in [
            ("history", json!({"conversation": "g:eng"})),
            ("history", json!({"conversation": DIRECT})),
            ("get", json!({"conversation": DIRECT, "seq": 1})),
            ("send", json!({"group": "eng", "text": "x"})),
            ("ack", json!({"conversation": DIRECT, "read": 1})),
            (
                "receipts",
                json!({"conversation": "g:eng", "seq": 1, "state": "read"}),
            ),
            ("recall", json!({"conversation": DIRECT, "seq": 1})),
            ("delete", json!({"conversation": DIRECT, "seq": 1})),
            (
                "react",
                json!({"conversation": DIRECT, "seq": 1, "reaction": "like"}),
            ),
            ("group_info", json!({"group": "eng"})),
            ("group_add", json!({"group": "eng", "members": ["bob"]})),
            ("group_leave", json!({"group": "eng"})),
        ] {
            // The two of a conversation are known by its name; the members of a group are not.
            let code = if request["conversation"] == DIRECT {
                102
            } else {
                103
            };
            assert_eq!(stranger.refused(command, &request), code, "{command}");
        }
        assert_eq!(
            stranger.done("conversations", &json!({}))["conversations"],
            json!([])
        );
        // The same names are free there.
        let created = stranger.done("group_create", &json!({"group": "eng", "members": []}));
        assert_eq!(created["members"], 1);
    }
}
