//! A store of a gateway that knew no edits, replies, roles and settings.

use std::path::Path;

use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::Setup;
use trunkline_tests::wait::until;

/// The files of the store. Alice and Bob spoke to each other, in a small group and in a large one.
const STORE: &str = include_str!("old_store.txt");

/// Writes the files of the store into a folder.
fn unpack(folder: &Path) {
    std::fs::create_dir(folder).expect("a folder");
    let (mut name, mut bytes) = (String::new(), Vec::new());
    let write = |name: &str, bytes: &[u8]| {
        if !name.is_empty() {
            std::fs::write(folder.join(name), bytes).expect("a file");
        }
    };
    for line in STORE.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<_> = line.split(' ').collect();
        if words[0] == "file" {
            write(&name, &bytes);
            name = words[1].to_owned();
            bytes = vec![0; words[2].parse().expect("a length")];
            continue;
        }
        let at: usize = words[0].parse().expect("an offset");
        for (number, pair) in words[1].as_bytes().chunks(2).enumerate() {
            let pair = str::from_utf8(pair).expect("two digits");
            bytes[at + number] = u8::from_str_radix(pair, 16).expect("a byte");
        }
    }
    write(&name, &bytes);
}

fn texts(client: &mut Client, conversation: &str) -> Vec<Value> {
    let page = client.done("history", &json!({"conversation": conversation}));
    let messages = page["messages"].as_array().expect("a list");
    let text = |message: &Value| message["text"].clone();
    messages.iter().map(text).collect()
}

#[test]
fn a_store_from_before_edits_and_roles_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    unpack(&data);
    let setup = Setup::default()
        .flag("message-bytes", "16KiB")
        .flag("segment-bytes", "144KiB")
        .flag("fanout-limit", 2)
        .flag("search", true);
    let mut gateway = setup.start_on(&data);
    for restarted in [false, true] {
        if restarted {
            gateway.kill();
            gateway.start_again();
        }
        let mut alice = gateway.dial().connect("alice", "phone");
        let mut bob = gateway.dial().proto().connect("bob", "phone");
        let first = if restarted { "edited" } else { "first" };
        let direct = texts(&mut bob, "u:alice:bob");
        let expected = [json!(first), json!("second"), Value::Null, Value::Null];
        assert_eq!(direct[..4], expected);
        for group in ["eng", "all"] {
            let name = format!("g:{group}");
            let said = texts(&mut bob, &name);
            assert_eq!(said[..2], [format!("hello {group}"), format!("hi {group}")]);
            let info = alice.done("group_info", &json!({"group": group}));
            assert_eq!(info["name"], format!("Name of {group}"));
            assert_eq!(info["members"][0]["role"], "owner", "{info}");
            let role = if restarted { "admin" } else { "member" };
            assert_eq!(info["members"][1]["role"], role, "{info}");
        }
        if restarted {
            continue;
        }
        let repeated = json!({"user": "bob", "text": "first", "key": "k1"});
        assert_eq!(alice.done("send", &repeated)["duplicate"], true);
        let mut about = json!({"conversation": "u:alice:bob", "seq": 1});
        alice.done(
            "react",
            &json!({"conversation": "u:alice:bob", "seq": 1, "reaction": "x"}),
        );
        about["text"] = json!("edited");
        alice.done("edit", &about);
        about["text"] = json!("of another one");
        assert_eq!(bob.refused("edit", &about), 103);
        for group in ["eng", "all"] {
            let conversation = format!("g:{group}");
            let role = json!({"group": group, "user": "bob", "role": "admin"});
            alice.done("group_role", &role);
            bob.done("pin", &json!({"conversation": conversation, "seq": 1}));
            let reply = json!({
                "group": group, "text": "a reply", "reply_to": 1, "mentions": ["alice"],
            });
            bob.done("send", &reply);
            let thread = json!({"conversation": conversation, "thread": 1});
            let thread = alice.done("history", &thread);
            assert_eq!(thread["messages"].as_array().map(Vec::len), Some(2));
            bob.done(
                "settings",
                &json!({"conversation": conversation, "pinned": true}),
            );
        }
        let short = json!({"user": "bob", "text": "gone soon", "ttl": "1s"});
        let seq = alice.done("send", &short)["seq"].clone();
        assert_eq!(seq, 5);
        let about = json!({"conversation": "u:alice:bob", "seq": 5});
        until("the message expires", || {
            (bob.done("get", &about)["message"]["expired"] == true).then_some(())
        });
        let list = alice.done("conversations", &json!({}));
        let mentions = list["conversations"].as_array().expect("a list").iter();
        let mentions = mentions.filter(|entry| entry["mentions"] == 1).count();
        assert_eq!(mentions, 2, "{list}");
        until("the index to have the old messages", || {
            let found = alice.ask("search", &json!({"text": "hello"}));
            let found = found["search"]["messages"].as_array()?.len();
            (found == 2).then_some(())
        });
    }
}
