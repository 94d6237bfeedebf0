//! Edits: a sender replaces the content of a message.

use std::path::Path;

use serde_json::{Value, json};
use trunkline_tests::api::Api;
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait::until;

const DIRECT: &str = "u:alice:bob";

fn gateway() -> Gateway {
    // Groups of three members are pulled.
    let setup = Setup::default().http().flag("fanout-limit", 2);
    // Segments are read as a whole.
    setup
        .flag("shards", 3)
        .flag("segment-bytes", "4MiB")
        .start()
}

/// Opens a group that is pushed and one that is pulled. Returns the conversations of Alice and Bob,
/// each with the fields of a send to it.
fn places(alice: &mut Client) -> [(&'static str, Value); 3] {
    for (group, members) in [("eng", &["bob"][..]), ("all", &["bob", "carol"])] {
        let create = json!({"group": group, "members": members});
        alice.done("group_create", &create);
    }
    [
        (DIRECT, json!({"user": "bob"})),
        ("g:eng", json!({"group": "eng"})),
        ("g:all", json!({"group": "all"})),
    ]
}

fn with(one: &Value, more: Value) -> Value {
    let mut both = one.clone();
    for (name, value) in more.as_object().expect("fields") {
        both[name] = value.clone();
    }
    both
}

fn edit(conversation: &str, seq: u64, content: Value) -> Value {
    with(&json!({"conversation": conversation, "seq": seq}), content)
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

/// Returns the events of a user, all of them.
fn events(client: &mut Client, since: &str) -> Vec<Value> {
    let (mut since, mut all) = (since.to_owned(), Vec::new());
    loop {
        let page = client.done("sync", &json!({"since": since, "limit": 2}));
        all.extend(page["events"].as_array().expect("events").iter().cloned());
        page["pos"]
            .as_str()
            .expect("a position")
            .clone_into(&mut since);
        if page["more"] == false {
            return all;
        }
    }
}

/// Returns the fields of a message without its times.
fn timeless(message: &Value) -> Value {
    let fields = message.as_object().expect("a message").iter();
    let kept = fields.filter(|(name, _)| !["time", "edited"].contains(&&***name));
    kept.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[test]
fn everybody_sees_the_newest_content() {
    let mut gateway = gateway();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut tablet = gateway.dial().connect("alice", "tablet");
    let mut bobs = [
        gateway.dial().connect("bob", "phone"),
        gateway.dial().proto().connect("bob", "tablet"),
    ];
    let mut away = Vec::new();
    for (conversation, to) in places(&mut alice) {
        let away_from = gateway.dial().connect("bob", "away").pos();
        alice.done("send", &with(&to, json!({"text": "zero"})));
        let first = json!({
            "text": "first", "key": format!("k-{conversation}"), "reply_to": 1, "kind": "a.b",
            "meta": [1], "media": {"type": "image/png", "data": "c2VjcmV0"},
        });
        let sent = alice.done("send", &with(&to, first.clone()));
        let react = json!({"conversation": conversation, "seq": 2, "reaction": "like"});
        alice.done("react", &react);
        let mut time = Value::Null;
        for text in ["second", "third"] {
            let ask = edit(conversation, 2, json!({"text": text, "meta": {"t": text}}));
            assert_eq!(alice.done("edit", &ask), json!({}));
            // The same once more changes nothing, and nobody is told.
            assert_eq!(tablet.done("edit", &ask), json!({}));
            let expected = json!({
                "conversation": conversation, "seq": 2, "from": "alice", "device": "phone",
                "key": format!("k-{conversation}"), "text": text, "reply_to": 1, "kind": "a.b",
                "meta": {"t": text},
            });
            for client in bobs.iter_mut().chain([&mut tablet]) {
                let told = next(client, "edit");
                assert_eq!(timeless(&told), expected);
                assert_eq!(told["time"], sent["time"]);
                assert!(told["edited"].as_u64() >= sent["time"].as_u64(), "{told}");
                time = told["edited"].clone();
            }
        }
        // A key is still known, whatever the send says now.
        let again = alice.done("send", &with(&to, with(&first, json!({"text": "other"}))));
        assert_eq!(
            (&again["seq"], &again["duplicate"]),
            (&json!(2), &json!(true))
        );
        away.push((conversation, away_from, time));
    }
    for restarted in [false, true] {
        if restarted {
            gateway.kill();
            gateway.start_again();
        }
        for (conversation, since, edited) in &away {
            for dial in [gateway.dial(), gateway.dial().proto()] {
                let mut bob = dial.connect("bob", "late");
                let about = json!({"conversation": conversation, "seq": 2});
                let one = bob.done("get", &about)["message"].clone();
                assert_eq!((&one["text"], &one["edited"]), (&json!("third"), edited));
                assert_eq!(one["reactions"][0]["reaction"], "like");
                assert_eq!(one["media"], Value::Null);
                let history = bob.done("history", &json!({"conversation": conversation}));
                assert_eq!(history["messages"][1], one);
                let list = bob.done("conversations", &json!({}));
                let list = list["conversations"].as_array().expect("a list");
                let entry = list
                    .iter()
                    .find(|entry| entry["conversation"] == **conversation);
                assert_eq!(entry.expect("it is there")["last"], one);
                // Who was away gets the message as it is now, and one edit of it.
                let synced = events(&mut bob, since);
                let of = |kind: &str| -> Vec<Value> {
                    let of = synced.iter().map(|event| event[kind].clone());
                    of.filter(|one| one["conversation"] == **conversation)
                        .collect()
                };
                assert_eq!(of("edit").len(), 1, "{synced:?}");
                assert_eq!(of("edit")[0]["text"], "third");
                assert_eq!(of("message")[1], of("edit")[0]);
                let all = format!("{synced:?}");
                assert!(!all.contains("first") && !all.contains("second"), "{all}");
                let (pushed, _) = dial.since(since).connect("bob", "back").caught_up();
                let pushed: Vec<_> = pushed
                    .iter()
                    .filter(|push| push["edit"].is_object())
                    .collect();
                assert!(pushed.iter().any(|push| push["edit"] == of("edit")[0]));
            }
        }
    }
}

#[test]
fn only_the_sender_edits_in_time() {
    let gateway = gateway();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    let mut mallory = gateway.dial().connect("mallory", "phone");
    let text = json!({"text": "new"});
    for (conversation, to) in places(&mut alice) {
        alice.done("send", &with(&to, json!({"text": "old"})));
        let ask = edit(conversation, 1, text.clone());
        assert_eq!(bob.refused("edit", &ask), 103);
        assert_eq!(mallory.refused("edit", &ask), 103);
        for seq in [2, u64::MAX] {
            let ask = edit(conversation, seq, text.clone());
            assert_eq!(alice.refused("edit", &ask), 102, "{seq}");
        }
        for (content, code) in [
            (json!({}), 107),
            (json!({"meta": [1]}), 107),
            (json!({"text": "x".repeat((64 << 10) + 1)}), 106),
            (json!({"text": "x", "meta": "m".repeat(4_095)}), 106),
            (json!({"media": {"type": "", "url": "https://x"}}), 107),
            (json!({"media": {"type": "a/b"}}), 107),
        ] {
            let ask = edit(conversation, 1, content.clone());
            assert_eq!(alice.refused("edit", &ask), code, "{content}");
        }
        // What was recalled stays recalled.
        alice.done("recall", &json!({"conversation": conversation, "seq": 1}));
        assert_eq!(alice.refused("edit", &ask), 102);
        // Edits and recalls of one frame are decided in their order.
        let commands: Vec<_> = ["one", "two", "three"]
            .iter()
            .map(|text| edit(conversation, 2, json!({"text": text})))
            .collect();
        let mut ids = vec![alice.post("send", &with(&to, json!({"text": "zero"})))];
        ids.extend(commands.iter().map(|ask| alice.post("edit", ask)));
        let recall = json!({"conversation": conversation, "seq": 2});
        ids.push(alice.post("recall", &recall));
        ids.push(alice.post("edit", &commands[0]));
        let answers: Vec<_> = ids.into_iter().map(|id| alice.reply(id)).collect();
        let last = answers.len() - 1;
        assert!(
            answers[..last]
                .iter()
                .all(|answer| answer["error"].is_null())
        );
        assert_eq!(answers[last]["error"]["code"], 102);
        let found = bob.done("get", &recall)["message"].clone();
        assert_eq!(
            (&found["recalled"], &found["text"]),
            (&json!(true), &Value::Null)
        );
        // The edits before a recall are no events for who was away.
        let synced = events(&mut gateway.dial().connect("bob", "late"), "0");
        let about = |event: &&Value| event["edit"]["conversation"] == conversation;
        assert_eq!(synced.iter().filter(about).count(), 0, "{synced:?}");
    }
    drop(gateway);
    let gateway = Setup::default().flag("edit-window", "1ms").start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let sent = alice.send("bob", "too late")["time"]
        .as_u64()
        .expect("a time");
    until("a later millisecond", || {
        (alice.send("carol", "tick")["time"].as_u64() > Some(sent + 1)).then_some(())
    });
    assert_eq!(alice.refused("edit", &edit(DIRECT, 1, text)), 119);
}

#[test]
fn an_edit_may_be_as_long_as_the_message_has_room() {
    let gateway = Setup::default().flag("message-bytes", "1KiB").start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    let mut room = Vec::new();
    for (n, fields) in [
        json!({}),
        json!({"key": "k".repeat(40), "kind": "text.markdown", "mentions": ["bob"]}),
    ]
    .iter()
    .enumerate()
    {
        let to = with(&json!({"user": "bob", "text": "short"}), fields.clone());
        alice.done("send", &to);
        next(&mut bob, "message");
        // The longest text that fits, and one byte more.
        let ask = |bytes: usize| edit(DIRECT, n as u64 + 1, json!({"text": "x".repeat(bytes)}));
        let mut longest = 0;
        while alice.ask("edit", &ask(longest + 1))["error"].is_null() {
            longest += 1;
            let told = next(&mut bob, "edit");
            assert_eq!(told["text"].as_str().map(str::len), Some(longest));
            let about = json!({"conversation": DIRECT, "seq": n + 1});
            let found = bob.done("get", &about)["message"].clone();
            assert_eq!(
                (&found["text"], &found["too_large"]),
                (&told["text"], &Value::Null)
            );
        }
        assert_eq!(alice.refused("edit", &ask(longest + 1)), 106);
        room.push(longest);
    }
    assert!(room[0] > 80 && room[1] < room[0] - 40, "{room:?}");
}

#[test]
fn members_who_cannot_see_a_message_are_not_told_of_its_edits() {
    for others in [&["bob"][..], &["bob", "dave", "erin"]] {
        let gateway = gateway();
        let mut alice = gateway.dial().connect("alice", "phone");
        let create = json!({"group": "eng", "members": others, "history": "joined"});
        alice.done("group_create", &create);
        alice.done("send", &json!({"group": "eng", "text": "before"}));
        let add = json!({"group": "eng", "members": ["carol"]});
        alice.done("group_add", &add);
        let mut carol = gateway.dial().connect("carol", "phone");
        alice.done("edit", &edit("g:eng", 1, json!({"text": "secret"})));
        alice.done("send", &json!({"group": "eng", "text": "after"}));
        // The next thing that she is told is the message.
        assert_eq!(carol.push()["message"]["text"], "after");
        let synced = events(&mut carol, "0");
        assert!(!format!("{synced:?}").contains("secret"), "{synced:?}");
        assert_eq!(
            carol.refused("edit", &edit("g:eng", 1, json!({"text": "x"}))),
            102
        );
    }
}

#[test]
fn who_has_left_does_not_get_what_was_edited_later() {
    for others in [&["bob"][..], &["bob", "dave", "erin"]] {
        let gateway = gateway();
        let mut alice = gateway.dial().connect("alice", "phone");
        alice.done("group_create", &json!({"group": "eng", "members": others}));
        let since = gateway.dial().connect("bob", "phone").pos();
        for text in ["first", "kept"] {
            alice.done("send", &json!({"group": "eng", "text": text}));
        }
        alice.done("group_remove", &json!({"group": "eng", "members": ["bob"]}));
        alice.done(
            "edit",
            &edit("g:eng", 1, json!({"text": "secret", "meta": "secret"})),
        );
        let mut bob = gateway.dial().connect("bob", "late");
        for since in ["0", &since] {
            let synced = format!("{:?}", events(&mut bob, since));
            assert!(
                !synced.contains("secret") && synced.contains("kept"),
                "{synced}"
            );
            let (pushed, _) = gateway
                .dial()
                .since(since)
                .connect("bob", "back")
                .caught_up();
            assert!(!format!("{pushed:?}").contains("secret"), "{pushed:?}");
        }
        // A member still gets it.
        let synced = events(&mut alice, "0");
        assert!(format!("{synced:?}").contains("secret"), "{synced:?}");
    }
}

/// Returns whether a file of the folder has these bytes.
fn is_in_files(folder: &Path, bytes: &[u8]) -> bool {
    let files = std::fs::read_dir(folder).expect("a folder");
    files.filter_map(Result::ok).any(|file| {
        let content = std::fs::read(file.path()).unwrap_or_default();
        content.windows(bytes.len()).any(|found| found == bytes)
    })
}

#[test]
fn what_was_edited_away_is_gone_from_the_files() {
    let gateway = gateway();
    let api = Api::of(&gateway).user("alice");
    api.post(
        "send",
        &json!({"user": "bob", "text": "quite unmistakable"}),
    );
    assert!(is_in_files(gateway.data(), b"quite unmistakable"));
    let done = api.post("edit", &edit(DIRECT, 1, json!({"text": "something else"})));
    assert_eq!(done, json!({}));
    until("the text is gone", || {
        (!is_in_files(gateway.data(), b"quite unmistakable")).then_some(())
    });
    // What one edit wrote is gone after the next one, and what that wrote after a recall.
    api.post("edit", &edit(DIRECT, 1, json!({"text": "a third version"})));
    until("the text of the edit is gone", || {
        (!is_in_files(gateway.data(), b"something else")).then_some(())
    });
    let page = api.post("history", &json!({"conversation": DIRECT}));
    assert_eq!(page["messages"][0]["text"], "a third version");
    api.post("recall", &json!({"conversation": DIRECT, "seq": 1}));
    until("the text is gone", || {
        (!is_in_files(gateway.data(), b"a third version")).then_some(())
    });
}
