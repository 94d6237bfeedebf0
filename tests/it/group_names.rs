//! Names of groups: a name is taken once, a key creates one group, and a name is free again when
//! all members have left.

use serde_json::{Value, json};
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::client::{Client, error_code};
use trunkline_tests::gateway::{Gateway, Setup};

fn create(client: &mut Client, group: &str, members: &[&str], key: &str) -> Value {
    client.ask(
        "group_create",
        &json!({"group": group, "name": "Name", "members": members, "history": "joined", "key": key}),
    )
}

#[test]
fn a_group_is_created_once_with_a_key() {
    for encoding in [Json, Proto] {
        let mut gateway = Gateway::start();
        let dial = gateway.dial().encoding(encoding);
        let mut alice = dial.connect("alice", "phone");
        let mut bob = dial.connect("bob", "phone");
        let first = create(&mut alice, "eng", &["bob", "carol"], "k");
        let expected = json!({"conversation": "g:eng", "members": 3});
        assert_eq!(first["group_create"], expected);
        let mut expected = expected;
        expected["duplicate"] = json!(true);
        // Members in another order, and twice, are the same, with the creator too; and the group may
        // have changed since.
        for members in [&["carol", "bob", "carol"][..], &["alice", "bob", "carol"]] {
            let again = create(&mut alice, "eng", members, "k");
            assert_eq!(again["group_create"], expected);
        }
        alice.done(
            "group_remove",
            &json!({"group": "eng", "members": ["carol"]}),
        );
        // Each member gets each change once.
        for change in ["created", "removed"] {
            assert_eq!(bob.push_of("group")["change"], change);
        }
        for (what, reply) in [
            ("name", create(&mut alice, "ops", &["bob", "carol"], "k")),
            ("members", create(&mut alice, "eng", &["bob"], "k")),
            ("name for people", {
                let ask = json!({"group": "eng", "members": ["bob", "carol"], "history": "joined", "key": "k"});
                alice.ask("group_create", &ask)
            }),
            ("history", {
                let ask = json!({"group": "eng", "name": "Name", "members": ["bob", "carol"], "key": "k"});
                alice.ask("group_create", &ask)
            }),
        ] {
            assert_eq!(error_code(&reply), 117, "another {what}: {reply}");
            assert_eq!(reply["error"]["name"], "key_reused");
            assert_eq!(reply["error"]["temporary"], false);
        }
        // Another key, none, or another user: the name is taken.
        for reply in [
            create(&mut alice, "eng", &["bob", "carol"], "k2"),
            alice.ask("group_create", &json!({"group": "eng"})),
            create(&mut bob, "eng", &["bob", "carol"], "k"),
        ] {
            assert_eq!(error_code(&reply), 118, "{reply}");
            assert_eq!(reply["error"]["temporary"], false);
        }
        // A refused creation leaves its key free. Keys of sends are separate.
        let other = create(&mut alice, "ops", &["bob"], "k2");
        assert_eq!(other["group_create"]["members"], 2);
        let sent = json!({"user": "bob", "text": "x", "key": "k"});
        assert_eq!(alice.done("send", &sent)["duplicate"], false);
        for restarted in [false, true] {
            if restarted {
                assert!(gateway.stop().status.success());
                gateway.start_again();
            }
            let dial = gateway.dial().encoding(encoding);
            let mut tablet = dial.connect("alice", "tablet");
            let again = create(&mut tablet, "eng", &["bob", "carol"], "k");
            assert_eq!(again["group_create"], expected);
            let mut acme = dial.with("namespace", "acme").connect("alice", "phone");
            let theirs = create(&mut acme, "eng", &["dave"], "k3");
            assert_eq!(theirs["group_create"]["members"], 2);
        }
        for (key, code) in [(String::new(), 107), ("k".repeat(129), 106)] {
            let reply = create(&mut alice_again(&gateway), "new", &[], &key);
            assert_eq!(error_code(&reply), code, "{reply}");
        }
    }
}

fn alice_again(gateway: &Gateway) -> Client {
    gateway.dial().connect("alice", "pc")
}

/// Two creations in one commit: the second is a repetition of the first, or is refused.
#[test]
fn creations_of_one_frame() {
    let gateway = Gateway::start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let create = |id: u32, group: &str, key: &str| json!({"id": id, "group_create": {"group": group, "key": key}});
    alice.post_raw(&[
        create(11, "eng", "k"),
        create(12, "eng", "k"),
        create(13, "ops", "k"),
        create(14, "eng", "l"),
    ]);
    assert_eq!(alice.reply(11)["group_create"]["duplicate"], Value::Null);
    assert_eq!(alice.reply(12)["group_create"]["duplicate"], true);
    assert_eq!(error_code(&alice.reply(13)), 117);
    assert_eq!(error_code(&alice.reply(14)), 118);
}

#[test]
fn a_name_that_everybody_left_is_free_again() {
    for (fanout, history) in [(500, "all"), (500, "joined"), (1, "all"), (1, "joined")] {
        let mut gateway = Setup::default()
            .flag("shards", 2)
            .flag("fanout-limit", fanout)
            .start();
        let mut alice = gateway.dial().connect("alice", "phone");
        let mut bob = gateway.dial().connect("bob", "phone");
        let mut dave = gateway.dial().connect("dave", "phone");
        let begin = dave.pos();
        alice.done(
            "group_create",
            &json!({"group": "eng", "name": "Old", "members": ["bob", "carol"], "history": history}),
        );
        for text in ["old one", "old two"] {
            alice.done("send", &json!({"group": "eng", "text": text}));
        }
        let about = |seq: u64| json!({"conversation": "g:eng", "seq": seq, "reaction": "like"});
        alice.done("react", &about(1));
        bob.ack("g:eng", &json!({"read": 2}));
        alice.done(
            "group_remove",
            &json!({"group": "eng", "members": ["carol"]}),
        );
        alice.done("group_leave", &json!({"group": "eng"}));
        let taken = dave.ask("group_create", &json!({"group": "eng"}));
        assert_eq!(error_code(&taken), 118, "bob is in it");
        bob.done("group_leave", &json!({"group": "eng"}));
        assert!(gateway.stop().status.success());
        gateway.start_again();
        let mut dave = gateway.dial().connect("dave", "phone");
        let mut bob = gateway.dial().connect("bob", "phone");
        let created = dave.done(
            "group_create",
            &json!({"group": "eng", "name": "New", "members": ["bob"], "history": history}),
        );
        assert_eq!(created, json!({"conversation": "g:eng", "members": 2}));
        let info = dave.done("group_info", &json!({"group": "eng"}));
        assert_eq!((&info["name"], &info["count"]), (&json!("New"), &json!(2)));
        for client in [&mut dave, &mut bob] {
            let list = client.done("conversations", &json!({}));
            let entry = &list["conversations"][0];
            assert_eq!(entry["last"], Value::Null, "{entry}");
            assert_eq!(entry["unread"], 0);
            let page = client.done("history", &json!({"conversation": "g:eng", "after": 0}));
            assert_eq!(page["messages"], json!([]));
            for command in ["get", "react", "recall", "delete"] {
                assert_eq!(client.refused(command, &about(1)), 102, "{command}");
            }
        }
        let sent = dave.done("send", &json!({"group": "eng", "text": "new"}));
        assert_eq!(sent["seq"], 3, "sequences go on");
        dave.done("group_add", &json!({"group": "eng", "members": ["erin"]}));
        let ask = json!({"conversation": "g:eng", "seq": 3, "state": "read"});
        let receipts = dave.done("receipts", &ask);
        assert_eq!(receipts["counts"]["read"], 0);
        let mut erin = gateway.dial().connect("erin", "phone");
        let page = erin.done("history", &json!({"conversation": "g:eng"}));
        let messages = page["messages"].as_array().expect("messages").iter();
        let seqs: Vec<_> = messages.map(|message| message["seq"].clone()).collect();
        assert_eq!(
            seqs,
            if history == "all" {
                vec![json!(3)]
            } else {
                vec![]
            }
        );
        // Users who were not in the old group have none of its events.
        for client in [&mut dave, &mut erin] {
            let page = client.done("sync", &json!({"since": begin}));
            let text = page.to_string();
            assert!(!text.contains("old"), "{text}");
            assert!(!text.contains("carol"), "{text}");
        }
        // The same holds for users who were in the old group and are not in the new one.
        let mut alice = gateway.dial().connect("alice", "phone");
        assert_eq!(
            alice.refused("history", &json!({"conversation": "g:eng"})),
            103
        );
    }
}
