//! Mentions: messages that name members.

use serde_json::{Value, json};
use trunkline_tests::api::Api;
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};

fn gateway() -> Gateway {
    // Groups of three members are pulled.
    let setup = Setup::default().flag("fanout-limit", 2);
    setup.flag("shards", 3).start()
}

fn group(client: &mut Client, members: &[&str]) {
    let create = json!({"group": "eng", "members": members});
    client.done("group_create", &create);
}

fn mention(client: &mut Client, names: &[&str]) -> u64 {
    let ask = json!({"group": "eng", "text": "you", "mentions": names});
    client.done("send", &ask)["seq"].as_u64().expect("a number")
}

/// Returns the unread messages of a user in the group, and how many of them mention the user.
fn counts(gateway: &Gateway, user: &str) -> (u64, u64) {
    let mut client = gateway.dial().connect(user, "late");
    let page = client.done("conversations", &json!({}));
    let entry = &page["conversations"][0];
    let number = |name: &str| entry[name].as_u64();
    // A count of none is left out.
    assert_ne!(number("mentions"), Some(0));
    (
        number("unread").expect("a number"),
        number("mentions").unwrap_or(0),
    )
}

#[test]
fn unread_mentions_are_counted() {
    for members in [&["bob"][..], &["bob", "carol"]] {
        let mut gateway = gateway();
        let mut alice = gateway.dial().connect("alice", "phone");
        let mut bob = gateway.dial().connect("bob", "phone");
        group(&mut alice, members);
        alice.done("send", &json!({"group": "eng", "text": "nobody"}));
        assert_eq!(counts(&gateway, "bob"), (1, 0));
        let named = mention(&mut alice, &["bob", "bob", "alice"]);
        let told = loop {
            let push = bob.push()["message"].take();
            if push["seq"] == named {
                break push;
            }
        };
        assert_eq!(told["mentions"], json!(["bob", "bob", "alice"]));
        let both = mention(&mut alice, &["*", "bob"]);
        let all = mention(&mut alice, &["*"]);
        for restarted in [false, true] {
            if restarted {
                gateway.kill();
                gateway.start_again();
            }
            assert_eq!(counts(&gateway, "bob"), (4, 3));
            // Nobody has unread messages of the own.
            assert_eq!(counts(&gateway, "alice"), (0, 0));
            if members.len() > 1 {
                assert_eq!(counts(&gateway, "carol"), (4, 2));
            }
        }
        let mut alice = gateway.dial().connect("alice", "phone");
        let mut bob = gateway.dial().connect("bob", "phone");
        let about = |seq: u64| json!({"conversation": "g:eng", "seq": seq});
        // What was recalled, or deleted in the own view, is not unread.
        alice.done("recall", &about(both));
        assert_eq!(counts(&gateway, "bob"), (3, 2));
        bob.done("delete", &about(all));
        assert_eq!(counts(&gateway, "bob"), (2, 1));
        bob.ack("g:eng", &json!({"read": named}));
        assert_eq!(counts(&gateway, "bob"), (0, 0));
        // An edit mentions whom the message did.
        let last = mention(&mut alice, &["bob"]);
        let edit = json!({"conversation": "g:eng", "seq": last, "text": "still you"});
        alice.done("edit", &edit);
        assert_eq!(counts(&gateway, "bob"), (1, 1));
        let page = bob.done("history", &json!({"conversation": "g:eng", "limit": 1}));
        assert_eq!(page["messages"][0]["mentions"], json!(["bob"]));
    }
}

#[test]
fn more_mentions_than_are_counted() {
    let gateway = gateway();
    let mut alice = gateway.dial().connect("alice", "phone");
    group(&mut alice, &["bob"]);
    let mut ids = Vec::new();
    for number in 0..180 {
        let names = if number % 3 == 0 { ["*"] } else { ["bob"] };
        let ask = json!({"group": "eng", "text": "you", "mentions": names});
        ids.push(alice.post("send", &ask));
    }
    for id in ids {
        assert_eq!(alice.reply(id)["error"], Value::Null);
    }
    let mut bob = gateway.dial().connect("bob", "phone");
    assert_eq!(counts(&gateway, "bob"), (180, 100));
    for (read, unread) in [(79, 101), (80, 100), (81, 99), (179, 1)] {
        bob.ack("g:eng", &json!({"read": read}));
        assert_eq!(counts(&gateway, "bob"), (unread, unread.min(100)));
    }
}

#[test]
fn who_may_mention_whom() {
    let gateway = gateway();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    group(&mut alice, &["bob"]);
    let said = |to: Value, names: Value| {
        let mut ask = to;
        ask["text"] = json!("you");
        ask["mentions"] = names;
        ask
    };
    let (eng, direct) = (json!({"group": "eng"}), json!({"user": "bob"}));
    for (names, code) in [
        (json!(["carol"]), 107),
        (json!(["bob", "carol"]), 107),
        (json!(["a b"]), 107),
        (json!([""]), 107),
        (json!(["**"]), 107),
        (json!("bob"), 107),
        (json!(vec!["bob"; 51]), 106),
    ] {
        for to in [&eng, &direct] {
            let ask = said(to.clone(), names.clone());
            assert_eq!(alice.refused("send", &ask), code, "{ask}");
        }
    }
    for names in [
        json!(["bob"]),
        json!(["alice", "*"]),
        json!([]),
        json!(vec!["bob"; 50]),
    ] {
        for to in [&eng, &direct] {
            alice.done("send", &said(to.clone(), names.clone()));
        }
    }
    let mut mallory = gateway.dial().connect("mallory", "phone");
    for names in [json!(["bob"]), json!(["nobody"]), json!(["*"])] {
        let ask = said(eng.clone(), names);
        assert_eq!(mallory.refused("send", &ask), 103);
    }
    // In a group of up to 50 members everybody mentions all, and in a larger one who manages it.
    let more: Vec<_> = (0..48).map(|n| format!("user-{n}")).collect();
    let add = json!({"group": "eng", "members": more});
    assert_eq!(alice.done("group_add", &add)["members"], 50);
    bob.done("send", &said(eng.clone(), json!(["*"])));
    let add = json!({"group": "eng", "members": ["one-more"]});
    alice.done("group_add", &add);
    assert_eq!(bob.refused("send", &said(eng.clone(), json!(["*"]))), 103);
    bob.done("send", &said(eng.clone(), json!(["one-more"])));
    alice.done("send", &said(eng.clone(), json!(["*"])));
    // So does an admin, for as long as the role lasts.
    for (role, may) in [("admin", true), ("member", false)] {
        let role = json!({"group": "eng", "user": "bob", "role": role});
        alice.done("group_role", &role);
        let all = bob.ask("send", &said(eng.clone(), json!(["*"])));
        let code = all["error"]["code"].as_u64();
        assert_eq!(code, (!may).then_some(103), "{role}: {all}");
    }
    // Who has left is no member.
    alice.done(
        "group_remove",
        &json!({"group": "eng", "members": ["one-more"]}),
    );
    assert_eq!(alice.refused("send", &said(eng, json!(["one-more"]))), 107);
}

#[test]
fn mentions_by_requests() {
    for members in [&["bob"][..], &["bob", "carol"]] {
        // Groups of three members are pulled.
        let gateway = Setup::default().http().flag("fanout-limit", 2).start();
        let of = |user| Api::of(&gateway).user(user);
        let (alice, bob) = (of("alice"), of("bob"));
        let create = json!({"group": "eng", "members": members});
        alice.post("group_create", &create);
        let say = |names: &[&str]| json!({"group": "eng", "text": "you", "mentions": names});
        for names in [&["bob"][..], &["*"], &["alice"]] {
            alice.post("send", &say(names));
        }
        let history = bob.post("history", &json!({"conversation": "g:eng"}));
        assert_eq!(history["messages"][0]["mentions"], json!(["bob"]));
        let list = bob.post("conversations", &json!({}));
        let entry = &list["conversations"][0];
        assert_eq!(
            (&entry["unread"], &entry["mentions"]),
            (&json!(3), &json!(2))
        );
        bob.post("ack", &json!({"conversation": "g:eng", "read": 1}));
        let list = bob.post("conversations", &json!({}));
        assert_eq!(list["conversations"][0]["mentions"], 1, "{list}");
        assert_eq!(alice.refused("send", &say(&["mallory"])).1, 107);
        assert_eq!(of("mallory").refused("send", &say(&["bob"])), (403, 103));
    }
}
