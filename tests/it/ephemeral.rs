//! Ephemeral messages: they expire some time after they were sent.

use std::path::Path;

use serde_json::{Value, json};
use trunkline_tests::api::Api;
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait::until;

use crate::media::{download, upload};

const SECRET: &str = "quite unmistakable";

fn gateway() -> Gateway {
    // Groups of three members are pulled.
    let setup = Setup::default().http().flag("fanout-limit", 2);
    // Segments are read as a whole.
    setup
        .flag("shards", 3)
        .flag("segment-bytes", "4MiB")
        .start()
}

fn get(client: &mut Client, conversation: &str, seq: u64) -> Value {
    let about = json!({"conversation": conversation, "seq": seq});
    client.done("get", &about)["message"].clone()
}

/// Returns the next push of an event, and skips others.
fn next(client: &mut Client, event: &str) -> Value {
    loop {
        let mut push = client.push();
        if !push[event].is_null() {
            return push[event].take();
        }
    }
}

/// Waits until a message has expired, and returns it.
fn expired(client: &mut Client, conversation: &str, seq: u64) -> Value {
    until("the message expires", || {
        let found = get(client, conversation, seq);
        (found["expired"] == true).then_some(found)
    })
}

/// Returns whether a file of the folder has these bytes.
fn is_in_files(folder: &Path, bytes: &[u8]) -> bool {
    let files = std::fs::read_dir(folder).expect("a folder");
    files.filter_map(Result::ok).any(|file| {
        let content = std::fs::read(file.path()).unwrap_or_default();
        content.windows(bytes.len()).any(|found| found == bytes)
    })
}

/// Sends a message that expires, edits it, and sends one that stays, in each of these conversations.
fn say_what_expires(alice: &mut Client, bob: &mut Client, places: &[(&str, Value)]) {
    for (conversation, to) in places {
        let mut ask = to.clone();
        ask["text"] = json!(SECRET);
        ask["key"] = json!(format!("k-{conversation}"));
        ask["mentions"] = json!(["bob"]);
        ask["meta"] = json!(SECRET);
        ask["ttl"] = json!("3s");
        let sent = alice.done("send", &ask);
        let told = next(bob, "message");
        assert_eq!(
            (&told["text"], &told["expired"]),
            (&json!(SECRET), &Value::Null)
        );
        let time = sent["time"].as_u64().expect("a time");
        assert_eq!(told["expires"], time + 3_000);
        let mut kept = to.clone();
        kept["text"] = json!("this stays");
        alice.done("send", &kept);
        // The message stays the same one after an edit.
        let edit =
            json!({"conversation": conversation, "seq": 1, "text": format!("{SECRET}, edited")});
        alice.done("edit", &edit);
        assert_eq!(next(bob, "edit")["expires"], time + 3_000);
    }
}

/// Makes two groups with Bob, a pushed and a pulled one where `fanout_limit` is 2. Returns the conversations that
/// Alice has with Bob, each with whom a message of it is for.
pub(crate) fn three_places(alice: &mut Client) -> [(&'static str, Value); 3] {
    for (group, members) in [("eng", &["bob"][..]), ("all", &["bob", "carol"])] {
        let create = json!({"group": group, "members": members});
        alice.done("group_create", &create);
    }
    [
        ("u:alice:bob", json!({"user": "bob"})),
        ("g:eng", json!({"group": "eng"})),
        ("g:all", json!({"group": "all"})),
    ]
}

#[test]
fn what_has_expired_is_gone_from_reads_and_then_from_the_files() {
    let mut gateway = gateway();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().proto().connect("bob", "phone");
    let places = three_places(&mut alice);
    say_what_expires(&mut alice, &mut bob, &places);
    for (conversation, to) in &places {
        let gone = expired(&mut bob, conversation, 1);
        let names: Vec<_> = gone.as_object().expect("a message").keys().collect();
        let expected = [
            "conversation",
            "device",
            "expired",
            "expires",
            "from",
            "key",
            "seq",
            "time",
        ];
        assert_eq!(names, expected);
        let history = bob.done("history", &json!({"conversation": conversation}));
        assert_eq!(
            (&history["messages"][0], &history["first"]),
            (&gone, &json!(1))
        );
        assert_eq!(history["messages"][1]["text"], "this stays");
        let about = json!({"conversation": conversation, "seq": 1, "text": "x"});
        assert_eq!(alice.refused("edit", &about), 102);
        let react = json!({"conversation": conversation, "seq": 1, "reaction": "like"});
        assert_eq!(bob.refused("react", &react), 102);
        // The key is still known.
        let mut again = to.clone();
        again["text"] = json!(SECRET);
        again["key"] = json!(format!("k-{conversation}"));
        let again = alice.done("send", &again);
        assert_eq!(
            (&again["seq"], &again["duplicate"]),
            (&json!(1), &json!(true))
        );
    }
    let synced = bob.done("sync", &json!({"since": "0"}));
    assert!(!synced.to_string().contains(SECRET), "{synced}");
    let page = Api::of(&gateway)
        .user("bob")
        .post("history", &json!({"conversation": "g:all"}));
    assert_eq!(page["messages"][0]["expired"], true);
    // The files follow within two minutes, also over a kill.
    gateway.kill();
    gateway.start_again();
    let mut bob = gateway.dial().connect("bob", "phone");
    for (conversation, _) in &places {
        assert_eq!(get(&mut bob, conversation, 1)["expired"], true);
    }
    until("the text is gone from the files", || {
        (!is_in_files(gateway.data(), SECRET.as_bytes())).then_some(())
    });
    for (conversation, _) in &places {
        assert_eq!(get(&mut bob, conversation, 1)["expired"], true);
        assert_eq!(get(&mut bob, conversation, 2)["text"], "this stays");
    }
    // What has expired is no longer unread.
    let list = bob.done("conversations", &json!({}));
    for entry in list["conversations"].as_array().expect("a list") {
        assert_eq!(
            (&entry["unread"], &entry["mentions"]),
            (&json!(1), &Value::Null)
        );
    }
}

#[test]
fn how_long_messages_may_live() {
    let gateway = Setup::default().flag("sync-life", "4d").start();
    let mut alice = gateway.dial().connect("alice", "phone");
    for (ttl, code) in [
        (json!(""), 107),
        (json!("h"), 107),
        (json!("1"), 107),
        (json!("1.5h"), 107),
        (json!("-1h"), 107),
        (json!("1 h"), 107),
        (json!("1w"), 107),
        (json!("999ms"), 107),
        (json!("366d"), 107),
        (json!("99999999999999999999d"), 107),
        (json!(3_600), 107),
        (json!("3d"), 106),
        (json!("365d"), 106),
    ] {
        let ask = json!({"user": "bob", "text": "x", "ttl": ttl});
        assert_eq!(alice.refused("send", &ask), code, "{ask}");
    }
    for ttl in ["1000ms", "1s", "60m", "48h", "2d"] {
        alice.done("send", &json!({"user": "bob", "text": "x", "ttl": ttl}));
    }
}

/// The gateway clears every ten seconds what is due. At least two of these messages are due some seconds
/// before that.
#[test]
fn reactions_and_media_go_when_a_message_is_due() {
    let gateway = gateway();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().proto().connect("bob", "phone");
    let create = json!({"group": "all", "members": ["bob", "carol"]});
    alice.done("group_create", &create);
    let mut sent = Vec::new();
    let kept = upload(&gateway, "alice", "named by a message that stays too");
    for (conversation, to) in [
        ("u:alice:bob", json!({"user": "bob"})),
        ("g:all", json!({"group": "all"})),
    ] {
        for ttl in ["5s", "8s", "12s"] {
            let mut ask = to.clone();
            let path = upload(&gateway, "alice", "a picture");
            ask["ttl"] = json!(ttl);
            for url in [&path, &kept] {
                ask["media"] = json!({"type": "text/plain", "url": url});
                let seq = alice.done("send", &ask)["seq"].as_u64().expect("a number");
                let react = json!({"conversation": conversation, "seq": seq, "reaction": "like"});
                bob.done("react", &react);
                sent.push((conversation, seq, path.clone()));
            }
        }
        let mut ask = to.clone();
        ask["media"] = json!({"type": "text/plain", "url": &kept});
        alice.done("send", &ask);
    }
    let (_, _, last) = sent.last().expect("some");
    assert_eq!(download(&gateway, "bob", last).0, 200);
    // Each is looked at as soon as it is due.
    for at in [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11] {
        let (conversation, seq, path) = &sent[at];
        expired(&mut bob, conversation, *seq);
        let about = json!({"conversation": conversation, "seq": seq});
        let listed = bob.done("reactions", &about);
        assert_eq!(listed["reactions"], json!([]), "{conversation} {seq}");
        assert_eq!(
            download(&gateway, "bob", path).0,
            403,
            "{conversation} {seq}"
        );
        assert_eq!(download(&gateway, "alice", path).0, 200);
        assert_eq!(download(&gateway, "bob", &kept).0, 200);
    }
}

#[test]
fn a_shorter_life_of_timelines_waits_for_messages_that_expire_later() {
    let mut gateway = gateway();
    let mut alice = gateway.dial().connect("alice", "phone");
    let ask = json!({"user": "bob", "text": SECRET, "ttl": "10d"});
    let sent = alice.done("send", &ask);
    gateway.stop();
    let data = gateway.data().to_owned();
    let with = |life: &str| {
        let setup = Setup::default()
            .flag("shards", 3)
            .flag("segment-bytes", "4MiB");
        setup.flag("sync-life", life)
    };
    for life in ["7d", "479h"] {
        let exit = with(life).flag("data", data.display()).run("serve");
        assert_eq!(exit.status.code(), Some(1), "{exit:?}");
        for word in ["sync_life", "ttl", "480h", "UTC"] {
            assert!(exit.stderr.contains(word), "{word}: {exit:?}");
        }
    }
    let gateway = with("480h").start_on(&data);
    let mut bob = gateway.dial().connect("bob", "phone");
    let seq = sent["seq"].as_u64().expect("a number");
    assert_eq!(get(&mut bob, "u:alice:bob", seq)["text"], SECRET);
}

#[test]
fn a_message_that_has_expired_is_not_pinned() {
    let mut gateway = gateway();
    let mut alice = gateway.dial().connect("alice", "phone");
    let groups = [("eng", &["bob"][..]), ("all", &["bob", "carol"])];
    let about = |group: &str, seq: u64| json!({"conversation": format!("g:{group}"), "seq": seq});
    let pins = |client: &mut Client, group: &str| {
        let info = client.done("group_info", &json!({"group": group}));
        info["pins"].as_array().map_or(0, Vec::len)
    };
    let mut sent = Vec::new();
    for (group, members) in groups {
        alice.done("group_create", &json!({"group": group, "members": members}));
        let send = json!({"group": group, "text": SECRET, "ttl": "4s"});
        let say = |alice: &mut Client| {
            let sent = alice.done("send", &send);
            sent["seq"].as_u64().expect("a number")
        };
        // A busy machine may need longer than the message lives.
        let pinned = until("a message is pinned in time", || {
            let seq = say(&mut alice);
            let pinned = alice.ask("pin", &about(group, seq));
            pinned["error"].is_null().then_some(seq)
        });
        let other = say(&mut alice);
        sent.push((group, [pinned, other]));
    }
    for (group, seqs) in sent {
        for seq in seqs {
            expired(&mut alice, &format!("g:{group}"), seq);
            let by_request = Api::of(&gateway).user("alice");
            assert_eq!(alice.refused("pin", &about(group, seq)), 102);
            assert_eq!(by_request.refused("pin", &about(group, seq)).1, 102);
        }
    }
    // The pin goes with the content, and stays away over a kill.
    for (group, _) in groups {
        until("the pin goes", || {
            (pins(&mut alice, group) == 0).then_some(())
        });
    }
    gateway.kill();
    gateway.start_again();
    let mut bob = gateway.dial().proto().connect("bob", "phone");
    for (group, _) in groups {
        assert_eq!(pins(&mut bob, group), 0);
    }
}
