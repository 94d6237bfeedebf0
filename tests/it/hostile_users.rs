//! Users who try to read, acknowledge, recall, react to, list or join conversations of others.

use serde_json::{Value, json};
use trunkline_tests::api::Api;
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};

/// Every command about a conversation and its first message.
fn attempts(conversation: &str) -> Vec<(&'static str, Value)> {
    let group = conversation.strip_prefix("g:").unwrap_or("none");
    let about = |more: Value| {
        let mut request = json!({"conversation": conversation});
        for (key, value) in more.as_object().expect("fields") {
            request[key] = value.clone();
        }
        request
    };
    let mut attempts = vec![
        ("history", about(json!({}))),
        ("history", about(json!({"after": 0}))),
        ("history", about(json!({"before": u64::MAX}))),
        ("get", about(json!({"seq": 1}))),
        ("ack", about(json!({"delivered": 1}))),
        ("ack", about(json!({"read": 1}))),
        ("receipts", about(json!({"seq": 1, "state": "read"}))),
        ("receipts", about(json!({"seq": 1, "state": "unread"}))),
        ("recall", about(json!({"seq": 1}))),
        ("delete", about(json!({"seq": 1}))),
        ("react", about(json!({"seq": 1, "reaction": "like"}))),
        (
            "react",
            about(json!({"seq": 1, "reaction": "like", "remove": true})),
        ),
        ("settings", about(json!({"muted_until": 1, "pinned": true}))),
        ("settings", about(json!({"archived": true}))),
        ("edit", about(json!({"seq": 1, "text": "mine now"}))),
        ("edit", about(json!({"seq": 99, "text": "nothing"}))),
        ("history", about(json!({"thread": 1}))),
        ("reactions", about(json!({"seq": 1}))),
        (
            "reactions",
            about(json!({"seq": 1, "reaction": "like", "limit": 1})),
        ),
        ("search", about(json!({"text": "among"}))),
        ("search", about(json!({"text": "us", "limit": 1}))),
        ("typing", about(json!({}))),
        ("typing", about(json!({"stop": true}))),
    ];
    if conversation.starts_with("g:") {
        attempts.extend([
            ("send", json!({"group": group, "text": "let me in"})),
            (
                "send",
                json!({"group": group, "text": "a reply", "reply_to": 1}),
            ),
            (
                "send",
                json!({"group": group, "text": "you", "mentions": ["alice"], "ttl": "1h"}),
            ),
            (
                "send",
                json!({"group": group, "text": "all", "mentions": ["*"], "kind": "k", "meta": 1}),
            ),
            ("group_info", json!({"group": group})),
            ("group_add", json!({"group": group, "members": ["mallory"]})),
            ("group_add", json!({"group": group, "members": ["alice"]})),
            (
                "group_remove",
                json!({"group": group, "members": ["alice"]}),
            ),
            ("group_rename", json!({"group": group, "name": "ours"})),
            ("group_leave", json!({"group": group})),
            (
                "group_role",
                json!({"group": group, "user": "mallory", "role": "owner"}),
            ),
            (
                "group_role",
                json!({"group": group, "user": "alice", "role": "member"}),
            ),
            (
                "group_set",
                json!({"group": group, "name": "ours", "send": "admins", "join": "open"}),
            ),
            ("group_join", json!({"group": group})),
            ("pin", about(json!({"seq": 1}))),
            ("unpin", about(json!({"seq": 1}))),
        ]);
    }
    attempts
}

/// Returns everything that a user can see.
fn view(client: &mut Client, conversations: &[&str], since: &str) -> Vec<Value> {
    let mut all = vec![
        client.done("conversations", &json!({"limit": 500})),
        client.done("sync", &json!({"since": since})),
    ];
    for conversation in conversations {
        all.push(client.done("history", &json!({"conversation": conversation})));
        let receipts = json!({"conversation": conversation, "seq": 1, "state": "unread"});
        all.push(client.done("receipts", &receipts));
    }
    // Where the log ends depends on what others store, not on what they may see.
    for value in &mut all {
        value.as_object_mut().expect("an answer").remove("pos");
    }
    all
}

/// Keys and positions of other users give access to nothing.
fn other_ways(alice: &mut Client, mallory: &mut Client, begin: &str) {
    alice.done("send", &json!({"user": "bob", "text": "keyed", "key": "k"}));
    let own = mallory.done(
        "send",
        &json!({"user": "trudy", "text": "mine", "key": "k"}),
    );
    assert_eq!(
        (&own["conversation"], &own["duplicate"]),
        (&json!("u:mallory:trudy"), &json!(false))
    );
    let nothing = mallory.done("sync", &json!({"since": begin}));
    let events = nothing["events"].as_array().map(Vec::len);
    assert_eq!(events, Some(1), "its own message");
    assert_eq!(mallory.done("conversations", &json!({}))["unread"], 0);
}

#[test]
fn what_is_not_theirs_stays_so() {
    for limit in [500, 2] {
        let gateway = Setup::default()
            .http()
            .flag("shards", 3)
            .flag("fanout-limit", limit)
            .flag("search", true)
            .start();
        let dial = gateway.dial();
        let mut alice = dial.connect("alice", "phone");
        let begin = alice.pos();
        let mut bob = dial.connect("bob", "phone");
        let mut mallory = dial.connect("mallory", "phone");
        let mut trudy = dial.clone().proto().connect("trudy", "phone");
        for (group, members) in [
            ("eng", vec!["bob", "carol"]),
            ("left", vec!["bob", "trudy"]),
        ] {
            alice.done("group_create", &json!({"group": group, "members": members}));
            alice.done("send", &json!({"group": group, "text": "among us"}));
        }
        // Trudy was in one of them, and is not any more.
        alice.done(
            "group_remove",
            &json!({"group": "left", "members": ["trudy"]}),
        );
        assert_eq!(trudy.push_of("group")["change"], "created");
        assert_eq!(trudy.push_of("message")["text"], "among us");
        assert_eq!(trudy.push_of("group")["change"], "removed");
        alice.send("bob", "between us");
        alice.send("alice", "a note to myself");
        let all = ["g:eng", "g:left", "u:alice:bob", "u:alice:alice"];
        let shared = &all[..3];
        let before = [
            view(&mut alice, &all, &begin),
            view(&mut bob, shared, &begin),
        ];
        let of_trudy = view(&mut trudy, &[], &begin);
        for conversation in all {
            for (command, request) in attempts(conversation) {
                for thief in [&mut mallory, &mut trudy] {
                    let code = thief.refused(command, &request);
                    assert_eq!(code, 103, "{command} {request}");
                }
                let by_request = Api::of(&gateway).user("mallory");
                let refused = by_request.refused(command, &request);
                assert_eq!(refused, (403, 103), "{command} {request}");
            }
        }
        other_ways(&mut alice, &mut mallory, &begin);
        // A group of that name cannot be made a second time.
        assert_eq!(
            mallory.refused("group_create", &json!({"group": "eng"})),
            118
        );
        // No user got a push, and nothing has changed except by that one message.
        for client in [&mut alice, &mut bob] {
            client.ping();
        }
        let mut after = [
            view(&mut alice, &all, &begin),
            view(&mut bob, shared, &begin),
        ];
        for view in &mut after {
            let events = view[1]["events"].as_array_mut().expect("events");
            assert_eq!(events.pop().expect("an event")["message"]["text"], "keyed");
        }
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before[1], after[1], "events");
            assert_eq!(before[2], after[2], "the group's history");
            assert_eq!(before[3], after[3], "who has read");
            assert_eq!(before[5], after[5], "who has read");
        }
        let mut late = view(&mut trudy, &[], &begin);
        let events = late[1]["events"].as_array_mut().expect("events");
        assert_eq!(
            events.pop().expect("an event")["message"]["from"],
            "mallory"
        );
        assert_eq!(late[1], of_trudy[1], "what Trudy was told while she was in");
        for thief in [&mut mallory, &mut trudy] {
            for push in thief.waiting() {
                assert_eq!(push["message"]["from"], "mallory", "{push}");
            }
        }
    }
}

/// What is asked about the conversation of the group `eng`.
fn about(mut more: Value) -> Value {
    more["conversation"] = json!("g:eng");
    more
}

/// What is asked about the group `eng`.
fn group(mut more: Value) -> Value {
    more["group"] = json!("eng");
    more
}

/// A member who is neither owner nor admin, on a socket and by requests.
fn check_member(gateway: &Gateway, mallory: &mut Client) {
    let by_request = Api::of(gateway).user("mallory");
    for (command, request, code) in [
        ("edit", about(json!({"seq": 1, "text": "x"})), 103),
        ("edit", about(json!({"seq": 9, "text": "x"})), 102),
        ("recall", about(json!({"seq": 1})), 103),
        ("pin", about(json!({"seq": 1})), 103),
        ("unpin", about(json!({"seq": 1})), 103),
        (
            "group_role",
            group(json!({"user": "mallory", "role": "admin"})),
            103,
        ),
        ("group_set", group(json!({"send": "admins"})), 103),
        ("group_set", group(json!({"join": "open"})), 103),
        ("group_rename", group(json!({"name": "mine"})), 103),
        ("group_add", group(json!({"members": ["trudy"]})), 103),
        ("group_remove", group(json!({"members": ["alice"]})), 103),
        ("send", group(json!({"text": "x", "reply_to": 9})), 107),
        (
            "send",
            group(json!({"text": "x", "mentions": ["trudy"]})),
            107,
        ),
        ("history", about(json!({"thread": 9})), 102),
    ] {
        assert_eq!(
            mallory.refused(command, &request),
            code,
            "{command} {request}"
        );
        let (_, refused) = by_request.refused(command, &request);
        assert_eq!(refused, code, "{command} {request}");
    }
}

/// Members of both kinds of groups, and one who was a member.
#[test]
fn members_do_only_what_their_role_allows_and_who_left_nothing() {
    for limit in [500, 2] {
        let gateway = Setup::default()
            .http()
            .flag("shards", 3)
            .flag("fanout-limit", limit)
            .flag("search", true)
            .start();
        let dial = gateway.dial();
        let mut alice = dial.connect("alice", "phone");
        let mut mallory = dial.connect("mallory", "phone");
        let mut trudy = dial.clone().proto().connect("trudy", "phone");
        let members = json!({"group": "eng", "members": ["bob", "mallory", "trudy"]});
        alice.done("group_create", &members);
        alice.done("send", &json!({"group": "eng", "text": "of the owner"}));
        for client in [&mut mallory, &mut trudy] {
            client.done("send", &json!({"group": "eng", "text": "a word"}));
        }
        alice.done(
            "group_remove",
            &json!({"group": "eng", "members": ["trudy"]}),
        );
        let before = alice.done("group_info", &group(json!({})));
        let history = alice.done("history", &about(json!({})));
        check_member(&gateway, &mut mallory);
        // Who has left cannot change even the own messages, nor hide them in the own view.
        for (command, request) in [
            ("edit", about(json!({"seq": 3, "text": "x"}))),
            ("recall", about(json!({"seq": 3}))),
            ("delete", about(json!({"seq": 3}))),
            ("react", about(json!({"seq": 3, "reaction": "like"}))),
            ("reactions", about(json!({"seq": 3}))),
            ("pin", about(json!({"seq": 3}))),
            ("history", about(json!({"thread": 3}))),
            ("get", about(json!({"seq": 3}))),
            ("settings", about(json!({"pinned": true}))),
            ("send", group(json!({"text": "x", "reply_to": 3}))),
            ("group_join", group(json!({}))),
            (
                "group_role",
                group(json!({"user": "trudy", "role": "owner"})),
            ),
        ] {
            assert_eq!(trudy.refused(command, &request), 103, "{command} {request}");
        }
        assert_eq!(alice.done("group_info", &group(json!({}))), before);
        assert_eq!(alice.done("history", &about(json!({}))), history);
        // Nobody blocks for somebody else, and nobody learns of a block.
        alice.done("block", &json!({"user": "mallory"}));
        assert_eq!(
            mallory.done("blocked", &json!({})),
            json!({"users": [], "more": false})
        );
        mallory.done("unblock", &json!({"user": "alice"}));
        let send = json!({"user": "alice", "text": "x"});
        assert_eq!(mallory.refused("send", &send), 103);
        assert_eq!(mallory.refused("block", &json!({"user": "mallory"})), 107);
    }
}
