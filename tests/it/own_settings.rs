//! Users' own settings of conversations: muted, pinned, archived.

use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};

fn gateway() -> Gateway {
    Setup::default().flag("shards", 3).start()
}

/// Returns the entry of a conversation in the list, without its last message.
fn entry(client: &mut Client, conversation: &str) -> Value {
    let list = client.done("conversations", &json!({"limit": 500}));
    let list = list["conversations"].as_array().expect("a list").clone();
    let mut entry = list
        .into_iter()
        .find(|entry| entry["conversation"] == conversation)
        .expect("the conversation");
    entry.as_object_mut().expect("an entry").remove("last");
    entry
}

#[test]
fn settings_are_the_users_own_on_all_devices() {
    let mut gateway = gateway();
    let dial = gateway.dial();
    let mut alice = dial.clone().shard(0).connect("alice", "phone");
    let mut tablet = dial.clone().shard(1).proto().connect("alice", "tablet");
    let mut watch = dial.clone().shard(0).connect("alice", "watch");
    let mut bob = dial.shard(2).connect("bob", "phone");
    let begin = alice.pos();
    let own = "u:alice:bob";
    let early = json!({"conversation": own, "pinned": true});
    assert_eq!(alice.refused("settings", &early), 102, "nothing was said");
    bob.send("alice", "hi");
    for client in [&mut alice, &mut tablet, &mut watch] {
        assert_eq!(client.push_of("message")["text"], "hi");
    }
    let plain = json!({"conversation": own, "read": 0, "unread": 1, "members": 2});
    assert_eq!(entry(&mut alice, own), plain);
    let until = 1_798_761_600_000_u64;
    let asked = json!({"conversation": own, "muted_until": until, "archived": true});
    for _ in 0..2 {
        assert_eq!(alice.done("settings", &asked), json!({}));
    }
    let pin = json!({"conversation": own, "pinned": true, "archived": false});
    assert_eq!(tablet.done("settings", &pin), json!({}));
    let first =
        json!({"conversation": own, "muted_until": until, "pinned": false, "archived": true});
    let second =
        json!({"conversation": own, "muted_until": until, "pinned": true, "archived": false});
    let told = |client: &mut Client| {
        let mut push = client.push_of("settings");
        push.as_object_mut().expect("settings").remove("time");
        push
    };
    assert_eq!(
        [told(&mut watch), told(&mut watch)],
        [first.clone(), second.clone()]
    );
    assert_eq!(told(&mut tablet), first);
    assert_eq!(told(&mut alice), second);
    let mut shown = plain.clone();
    shown["muted_until"] = json!(until);
    shown["pinned"] = json!(true);
    assert_eq!(entry(&mut watch, own), shown);
    // The other user sees nothing of it, and messages go on.
    bob.ping();
    assert!(bob.waiting().iter().all(|push| push["settings"].is_null()));
    assert_eq!(entry(&mut bob, own)["pinned"], Value::Null);
    bob.send("alice", "still");
    assert_eq!(watch.push_of("message")["text"], "still");
    gateway.kill();
    gateway.start_again();
    let mut alice = gateway.dial().connect("alice", "phone");
    shown["unread"] = json!(2);
    assert_eq!(entry(&mut alice, own), shown);
    let page = alice.done("sync", &json!({"since": begin}));
    let events = page["events"].as_array().expect("events").iter();
    let settings: Vec<_> = events
        .filter(|event| event["settings"].is_object())
        .collect();
    assert_eq!(settings.len(), 2, "{page}");
    assert!(settings[0]["settings"]["time"].is_u64());
    // Back to none: the entry is as before.
    let none = json!({"conversation": own, "muted_until": 0, "pinned": false});
    alice.done("settings", &none);
    let mut plain = plain;
    plain["unread"] = json!(2);
    assert_eq!(entry(&mut alice, own), plain);
}

#[test]
fn only_own_conversations_and_right_values() {
    let gateway = gateway();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut mallory = gateway.dial().proto().connect("mallory", "phone");
    alice.send("bob", "hi");
    alice.done("group_create", &json!({"group": "eng"}));
    for conversation in ["u:alice:bob", "g:eng", "g:none", "u:bob:carol"] {
        let asked = json!({"conversation": conversation, "pinned": true});
        assert_eq!(mallory.refused("settings", &asked), 103, "{conversation}");
    }
    for bad in [
        json!({"conversation": "g:eng"}),
        json!({"conversation": "eng", "pinned": true}),
        json!({"conversation": "g:eng", "muted_until": 1_u64 << 53}),
    ] {
        assert_eq!(alice.refused("settings", &bad), 107, "{bad}");
    }
    let mut words = gateway.dial().connect("alice", "words");
    for bad in [
        json!({"conversation": "g:eng", "pinned": null}),
        json!({"conversation": "g:eng", "pinned": "yes"}),
        json!({"conversation": "g:eng", "muted_until": -1}),
    ] {
        assert_eq!(words.refused("settings", &bad), 107, "{bad}");
    }
    // Groups work alike, and a member who comes back finds the settings.
    alice.done(
        "group_add",
        &json!({"group": "eng", "members": ["mallory"]}),
    );
    mallory.done(
        "settings",
        &json!({"conversation": "g:eng", "archived": true}),
    );
    assert_eq!(entry(&mut mallory, "g:eng")["archived"], true);
    mallory.done("group_leave", &json!({"group": "eng"}));
    let gone = json!({"conversation": "g:eng", "archived": false});
    assert_eq!(mallory.refused("settings", &gone), 103);
    alice.done(
        "group_add",
        &json!({"group": "eng", "members": ["mallory"]}),
    );
    assert_eq!(entry(&mut mallory, "g:eng")["archived"], true);
}
