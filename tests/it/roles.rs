//! Groups with admins, rules, and pinned messages.

use serde_json::{Value, json};
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait;

/// Two values of `fanout_limit`: with the first all groups are small, with the second a group of
/// three is large.
const MODES: [usize; 2] = [500, 2];

fn gateway(fanout_limit: usize) -> Gateway {
    Setup::default()
        .flag("shards", 3)
        .flag("fanout-limit", fanout_limit)
        .start()
}

fn connect<const N: usize>(gateway: &Gateway, users: [&str; N]) -> [Client; N] {
    let mut shard = 0;
    users.map(|user| {
        shard += 1;
        let encoding = if shard % 2 == 0 { Proto } else { Json };
        let dial = gateway.dial().encoding(encoding).shard(shard % 3);
        dial.connect(user, "phone")
    })
}

fn role(client: &mut Client, user: &str, role: &str) -> Value {
    let asked = json!({"group": "eng", "user": user, "role": role});
    client.ask("group_role", &asked)
}

fn set(client: &mut Client, rules: &Value) {
    let mut asked = rules.clone();
    asked["group"] = json!("eng");
    assert_eq!(client.done("group_set", &asked), json!({}));
}

/// Returns the role of each member.
fn roles(client: &mut Client) -> Vec<(String, String)> {
    let info = client.done("group_info", &json!({"group": "eng"}));
    let members = info["members"].as_array().expect("members");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let role = |member: &Value| (text(&member["user"]), text(&member["role"]));
    members.iter().map(role).collect()
}

fn members(names: &[&str]) -> Value {
    json!({"group": "eng", "members": names})
}

/// Returns the next change of a group, without positions and times.
fn change(client: &mut Client) -> Value {
    loop {
        let mut push = client.push();
        if let Some(change) = push["group"].as_object_mut() {
            change.remove("time");
            return push["group"].take();
        }
    }
}

#[test]
fn admins_manage_members_and_owners_everything() {
    for mode in MODES {
        let mut gateway = gateway(mode);
        let users = ["alice", "bob", "carol", "dave"];
        let [mut alice, mut bob, mut carol, mut dave] = connect(&gateway, users);
        alice.done("group_create", &members(&["bob", "carol", "dave"]));
        let begin = bob.pos();
        for refused in [
            role(&mut bob, "bob", "admin"),
            role(&mut bob, "alice", "member"),
            role(&mut bob, "zoe", "admin"),
        ] {
            assert_eq!(refused["error"]["code"], 103, "{refused}");
        }
        assert_eq!(role(&mut alice, "zoe", "admin")["error"]["code"], 102);
        assert_eq!(role(&mut alice, "alice", "member")["error"]["code"], 107);
        assert_eq!(role(&mut alice, "bob", "king")["error"]["code"], 107);
        assert_eq!(role(&mut alice, "bob", "admin")["group_role"], json!({}));
        assert_eq!(role(&mut alice, "bob", "admin")["group_role"], json!({}));
        role(&mut alice, "carol", "admin");
        for client in [&mut bob, &mut carol, &mut dave] {
            assert_eq!(change(client)["change"], "created");
            for user in ["bob", "carol"] {
                let expected = json!({"conversation": "g:eng", "change": "role", "by": "alice", "members": [user], "role": "admin"});
                assert_eq!(change(client), expected);
            }
        }
        // Who is an admin adds and removes members, and nobody who manages.
        assert_eq!(bob.done("group_add", &members(&["erin"]))["members"], 5);
        for other in ["alice", "carol"] {
            assert_eq!(bob.refused("group_remove", &members(&["erin", other])), 103);
        }
        assert_eq!(bob.done("group_remove", &members(&["erin"]))["members"], 4);
        for (command, asked) in [
            ("group_rename", json!({"group": "eng", "name": "x"})),
            ("group_set", json!({"group": "eng", "send": "admins"})),
            (
                "group_role",
                json!({"group": "eng", "user": "dave", "role": "admin"}),
            ),
        ] {
            assert_eq!(bob.refused(command, &asked), 103, "{command}");
        }
        assert_eq!(dave.refused("group_add", &members(&["erin"])), 103);
        assert_eq!(dave.refused("group_remove", &members(&["bob"])), 103);
        // Two owners: one of them may step down.
        role(&mut alice, "dave", "owner");
        assert_eq!(role(&mut alice, "alice", "member")["group_role"], json!({}));
        assert_eq!(role(&mut alice, "bob", "member")["error"]["code"], 103);
        assert_eq!(
            dave.done("group_leave", &json!({"group": "eng"})),
            json!({})
        );
        // The longest admin inherits. All of it survives a crash, and is in the events.
        gateway.kill();
        gateway.start_again();
        let [mut bob, mut carol] = connect(&gateway, ["bob", "carol"]);
        let expected = [("alice", "member"), ("bob", "owner"), ("carol", "admin")];
        let expected = expected.map(|(user, role)| (user.to_owned(), role.to_owned()));
        for client in [&mut bob, &mut carol] {
            assert_eq!(roles(client), expected);
        }
        let page = bob.done("sync", &json!({"since": begin}));
        let events = page["events"].as_array().expect("events").iter();
        let changes = events.map(|event| event["group"]["change"].clone());
        let changes: Vec<_> = changes.filter(|change| *change == "role").collect();
        assert_eq!(changes.len(), 4, "{page}");
        assert_eq!(bob.done("group_remove", &members(&["carol"]))["members"], 2);
    }
}

#[test]
fn rules_say_who_sends_and_who_joins() {
    for mode in MODES {
        let gateway = gateway(mode);
        let users = ["alice", "bob", "carol", "dave"];
        let [mut alice, mut bob, mut carol, mut dave] = connect(&gateway, users);
        let create = json!({"group": "eng", "members": ["bob", "carol"], "history": "joined"});
        alice.done("group_create", &create);
        let say = |client: &mut Client, key: &str| {
            client.ask("send", &json!({"group": "eng", "text": "hi", "key": key}))
        };
        let first = say(&mut bob, "one");
        assert_eq!(first["send"]["seq"], 1, "{first}");
        assert_eq!(alice.refused("group_set", &json!({"group": "eng"})), 107);
        let join = json!({"group": "eng"});
        assert_eq!(dave.refused("group_join", &join), 103);
        assert_eq!(dave.refused("group_join", &json!({"group": "none"})), 103);
        role(&mut alice, "carol", "admin");
        let rules = json!({"name": "All", "picture": "https://example.org/p", "send": "admins", "join": "open"});
        set(&mut alice, &rules);
        set(&mut alice, &rules);
        assert_eq!(say(&mut bob, "two")["error"]["code"], 103);
        // A repeated send gets its first reply all the same.
        assert_eq!(say(&mut bob, "one")["send"]["duplicate"], true);
        assert_eq!(say(&mut carol, "one")["send"]["seq"], 2);
        let like = json!({"conversation": "g:eng", "seq": 2, "reaction": "like"});
        assert_eq!(bob.done("react", &like), json!({}));
        assert_eq!(dave.done("group_join", &join), json!({"members": 4}));
        assert_eq!(dave.done("group_join", &join), json!({"members": 4}));
        let history = dave.done("history", &json!({"conversation": "g:eng"}));
        assert_eq!(history["messages"], json!([]), "from before");
        let info = dave.done("group_info", &json!({"group": "eng", "limit": 1}));
        for (field, value) in rules.as_object().expect("fields") {
            assert_eq!(info[field], *value, "{info}");
        }
        assert_eq!(change(&mut bob)["change"], "created");
        assert_eq!(change(&mut bob)["change"], "role");
        let mut expected = rules.clone();
        for (field, value) in [
            ("conversation", json!("g:eng")),
            ("change", json!("set")),
            ("by", json!("alice")),
            ("members", json!([])),
        ] {
            expected[field] = value;
        }
        assert_eq!(change(&mut bob), expected);
        let joined =
            json!({"conversation": "g:eng", "change": "joined", "by": "dave", "members": ["dave"]});
        assert_eq!(change(&mut bob), joined);
        // What is not named stays, and empty texts are none.
        set(&mut alice, &json!({"picture": "", "send": "all"}));
        let info = alice.done("group_info", &json!({"group": "eng", "limit": 1}));
        assert_eq!(
            (&info["picture"], &info["name"]),
            (&Value::Null, &json!("All"))
        );
        assert_eq!(
            (&info["send"], &info["join"]),
            (&json!("all"), &json!("open"))
        );
        assert_eq!(say(&mut bob, "three")["send"]["seq"], 3);
        // A new group of the name has nothing of the old one.
        for client in [&mut alice, &mut bob, &mut carol, &mut dave] {
            client.done("group_leave", &join);
        }
        assert_eq!(bob.refused("group_join", &join), 103, "nobody is in it");
        bob.done("group_create", &json!({"group": "eng"}));
        assert_eq!(dave.refused("group_join", &join), 103);
        let info = bob.done("group_info", &json!({"group": "eng"}));
        assert_eq!(
            (&info["send"], &info["join"]),
            (&json!("all"), &json!("invite"))
        );
    }
}

#[test]
fn an_open_group_has_so_many_members() {
    let setup = Setup::default().flag("shards", 3);
    let gateway = setup.flag("group-members", 2).start();
    let [mut alice, mut bob, mut carol] = connect(&gateway, ["alice", "bob", "carol"]);
    alice.done("group_create", &json!({"group": "eng"}));
    set(&mut alice, &json!({"join": "open"}));
    let join = json!({"group": "eng"});
    assert_eq!(bob.done("group_join", &join), json!({"members": 2}));
    assert_eq!(carol.refused("group_join", &join), 106);
    bob.done("group_leave", &join);
    assert_eq!(carol.done("group_join", &join), json!({"members": 2}));
}

#[test]
fn pinned_messages_are_seen_by_who_sees_the_messages() {
    for mode in MODES {
        let mut gateway = gateway(mode);
        let users = ["alice", "bob", "carol", "dave"];
        let [mut alice, mut bob, mut carol, mut dave] = connect(&gateway, users);
        let begin = dave.pos();
        let create = json!({"group": "eng", "members": ["bob", "carol"], "history": "joined"});
        alice.done("group_create", &create);
        for text in ["one", "two", "three"] {
            alice.done("send", &json!({"group": "eng", "text": text}));
        }
        alice.done("group_add", &members(&["dave"]));
        alice.done("send", &json!({"group": "eng", "text": "four"}));
        let about = |seq: u64| json!({"conversation": "g:eng", "seq": seq});
        assert_eq!(bob.refused("pin", &about(1)), 103);
        assert_eq!(alice.refused("pin", &about(5)), 102);
        alice.send("bob", "hi");
        let direct = json!({"conversation": "u:alice:bob", "seq": 1});
        assert_eq!(alice.refused("pin", &direct), 107);
        for seq in [3, 4, 1] {
            for _ in 0..2 {
                assert_eq!(alice.done("pin", &about(seq)), json!({}));
            }
        }
        let pins = |client: &mut Client| {
            let info = client.done("group_info", &json!({"group": "eng", "limit": 1}));
            let pins = info["pins"].as_array().cloned().unwrap_or_default();
            let seqs = pins
                .iter()
                .map(|pin| pin["seq"].as_u64().expect("a number"));
            seqs.collect::<Vec<_>>()
        };
        assert_eq!(
            (pins(&mut carol), pins(&mut dave)),
            (vec![3, 4, 1], vec![4])
        );
        alice.done("recall", &about(3));
        assert_eq!(alice.refused("pin", &about(3)), 102);
        alice.done("unpin", &about(1));
        alice.done("unpin", &about(1));
        assert_eq!(pins(&mut bob), [4]);
        let told = |events: &[Value]| -> Vec<(Value, Value)> {
            let events = events.iter().map(|event| &event["group"]);
            let pins = events.filter(|change| change["seq"].is_u64());
            pins.map(|change| (change["change"].clone(), change["seq"].clone()))
                .collect()
        };
        let pair = |change: &str, seq: u64| (json!(change), json!(seq));
        let all = [
            pair("pinned", 3),
            pair("pinned", 4),
            pair("pinned", 1),
            pair("unpinned", 1),
        ];
        for client in [&mut carol, &mut dave] {
            client.ping();
        }
        assert_eq!(told(&carol.waiting()), all);
        assert_eq!(told(&dave.waiting()), [pair("pinned", 4)]);
        gateway.kill();
        gateway.start_again();
        let [mut carol, mut dave] = connect(&gateway, ["carol", "dave"]);
        assert_eq!((pins(&mut carol), pins(&mut dave)), (vec![4], vec![4]));
        for (client, expected) in [(&mut carol, &all[..]), (&mut dave, &all[1..2])] {
            let page = client.done("sync", &json!({"since": begin}));
            assert_eq!(told(page["events"].as_array().expect("events")), expected);
        }
    }
}

#[test]
fn a_group_has_fifty_pinned_messages() {
    let gateway = gateway(500);
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.done("group_create", &json!({"group": "eng"}));
    for _ in 0..51 {
        alice.done("send", &json!({"group": "eng", "text": "hi"}));
    }
    for seq in 1..=50 {
        alice.done("pin", &json!({"conversation": "g:eng", "seq": seq}));
    }
    let last = json!({"conversation": "g:eng", "seq": 51});
    assert_eq!(alice.refused("pin", &last), 106);
    let first = json!({"conversation": "g:eng", "seq": 1});
    alice.done("unpin", &first);
    assert_eq!(alice.done("pin", &last), json!({}));
    let info = alice.done("group_info", &json!({"group": "eng"}));
    assert_eq!(info["pins"].as_array().map(Vec::len), Some(50));
    // A gateway with short messages shows the latest that fit.
    let gateway = Setup::default().flag("message-bytes", "2KiB").start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.done("group_create", &json!({"group": "eng"}));
    for seq in 1..=9 {
        alice.done("send", &json!({"group": "eng", "text": "hi"}));
        alice.done("pin", &json!({"conversation": "g:eng", "seq": seq}));
    }
    let info = alice.done("group_info", &json!({"group": "eng"}));
    let pins = info["pins"].as_array().expect("pins");
    assert!(
        pins.len() < 9 && pins.last().expect("one")["seq"] == 9,
        "{info}"
    );
}

#[test]
fn the_size_of_what_is_set_is_limited() {
    let gateway = Setup::default().flag("message-bytes", "2KiB").start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.done("group_create", &json!({"group": "eng"}));
    for (field, text, code) in [
        ("picture", "p".repeat(1_500), 106),
        ("picture", "p".repeat(1_000), 0),
        ("picture", "a\nb".to_owned(), 107),
        ("name", "n".repeat(257), 106),
        ("name", "a\u{7}b".to_owned(), 107),
    ] {
        let reply = alice.ask("group_set", &json!({"group": "eng", field: text}));
        assert_eq!(
            reply["error"]["code"].as_u64().unwrap_or(0),
            code,
            "{reply}"
        );
    }
    let mut gateway = Setup::default().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.done("group_create", &json!({"group": "eng"}));
    let long = json!({"group": "eng", "picture": "p".repeat(2_049)});
    assert_eq!(alice.refused("group_set", &long), 106);
    set(&mut alice, &json!({"picture": "p".repeat(2_048)}));
    // A picture that does not fit any more is left out.
    gateway.stop();
    let small = Setup::default().flag("message-bytes", "1KiB");
    let small = small.start_on(gateway.data());
    let mut alice = small.dial().connect("alice", "phone");
    let info = alice.done("group_info", &json!({"group": "eng"}));
    assert_eq!(
        (&info["picture"], &info["count"]),
        (&Value::Null, &json!(1))
    );
}

/// Between two users `receipts` answers as it does in groups.
#[test]
fn receipts_between_two_users() {
    let gateway = gateway(500);
    let [mut alice, mut bob] = connect(&gateway, ["alice", "bob"]);
    let mut mallory = gateway.dial().connect("mallory", "phone");
    for text in ["one", "two"] {
        alice.send("bob", text);
    }
    let about =
        |seq: u64, state: &str| json!({"conversation": "u:alice:bob", "seq": seq, "state": state});
    let unread = alice.done("receipts", &about(1, "unread"));
    let nobody = json!({"members": 1, "delivered": 0, "read": 0});
    assert_eq!(unread["counts"], nobody);
    let first = json!([{"user": "bob", "seq": 0, "time": 0}]);
    assert_eq!(unread["users"], first);
    bob.ack("u:alice:bob", &json!({"delivered": 2, "read": 1}));
    for client in [&mut alice, &mut bob] {
        let found = wait::until("the receipt", || {
            let found = client.done("receipts", &about(2, "delivered"));
            (found["counts"]["delivered"] == 1).then_some(found)
        });
        assert_eq!(
            found["counts"],
            json!({"members": 1, "delivered": 1, "read": 0})
        );
        assert_eq!(found["users"][0]["user"], "bob");
        assert_eq!(found["users"][0]["seq"], 2);
        assert!(found["users"][0]["time"].as_u64() > Some(0));
        let read = client.done("receipts", &about(1, "read"));
        assert_eq!(
            (&read["users"][0]["seq"], &read["more"]),
            (&json!(1), &json!(false))
        );
        let after =
            json!({"conversation": "u:alice:bob", "seq": 1, "state": "read", "after": "bob"});
        assert_eq!(client.done("receipts", &after)["users"], json!([]));
    }
    assert_eq!(mallory.refused("receipts", &about(1, "read")), 103);
    assert_eq!(alice.refused("receipts", &about(3, "read")), 102);
    // Notes to oneself have nobody else.
    alice.send("alice", "note");
    let own = json!({"conversation": "u:alice:alice", "seq": 1, "state": "unread"});
    let own = alice.done("receipts", &own);
    assert_eq!(
        (&own["counts"]["members"], &own["users"]),
        (&json!(0), &json!([]))
    );
}
