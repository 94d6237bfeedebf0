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
        (
            "settings",
            about(json!({"muted_until": 4_102_444_800_000_u64, "pinned": true})),
        ),
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

/// A gateway with everything that a hostile user may try, whose groups are pulled above `limit` members.
fn gateway(limit: usize) -> Gateway {
    Setup::default()
        .http()
        .flag("shards", 3)
        .flag("fanout-limit", limit)
        .flag("search", true)
        .start()
}

#[test]
fn what_is_not_theirs_stays_so() {
    for limit in [500, 2] {
        let gateway = gateway(limit);
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

/// Checks that commands of Mallory fail with a code, on a socket and by requests.
fn check_refused(gateway: &Gateway, mallory: &mut Client, all: &[(&str, Value, u64)]) {
    let by_request = Api::of(gateway).user("mallory");
    for (command, request, code) in all {
        assert_eq!(
            mallory.refused(command, request),
            *code,
            "{command} {request}"
        );
        let (_, refused) = by_request.refused(command, request);
        assert_eq!(refused, *code, "{command} {request}");
    }
}

/// A member who is neither owner nor admin.
fn check_member(gateway: &Gateway, mallory: &mut Client) {
    let all = [
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
        ("send", group(json!({"text": "x", "ttl": "0s"})), 107),
        ("send", group(json!({"text": "x", "ttl": "366d"})), 107),
        ("send", group(json!({"text": "x", "ttl": "365d"})), 106),
        ("settings", about(json!({})), 107),
        ("settings", about(json!({"muted_until": -1})), 107),
        ("search", about(json!({"text": "?"})), 107),
        ("search", about(json!({"text": "x".repeat(257)})), 106),
        ("search", about(json!({"text": "x", "after": "x"})), 107),
    ];
    check_refused(gateway, mallory, &all);
    // What a member sets is the member's own.
    let settings =
        about(json!({"muted_until": 1_767_225_600_000_u64, "pinned": true, "archived": true}));
    mallory.done("settings", &settings);
}

/// An admin, who manages members and pins, and nothing else. Bob is an admin too.
fn check_admin(gateway: &Gateway, mallory: &mut Client) {
    let role = |user: &str, role: &str| group(json!({"user": user, "role": role}));
    let members = |names: &[&str]| group(json!({"members": names}));
    let all = [
        ("group_role", role("mallory", "owner"), 103),
        ("group_role", role("mallory", "member"), 103),
        ("group_role", role("alice", "member"), 103),
        ("group_role", role("carol", "admin"), 103),
        ("group_set", group(json!({"send": "admins"})), 103),
        ("group_set", group(json!({"name": "mine"})), 103),
        ("group_rename", group(json!({"name": "mine"})), 103),
        ("group_remove", members(&["alice"]), 103),
        ("group_remove", members(&["bob"]), 103),
        ("group_remove", members(&["carol", "alice"]), 103),
        ("group_remove", members(&["mallory"]), 107),
        // Who blocks the admin is added by somebody else.
        ("group_add", members(&["dave"]), 103),
        ("edit", about(json!({"seq": 1, "text": "x"})), 103),
        ("recall", about(json!({"seq": 1})), 103),
        ("pin", about(json!({"seq": 9})), 102),
        ("pin", json!({"conversation": "g:other", "seq": 1}), 103),
        (
            "group_add",
            json!({"group": "other", "members": ["mallory"]}),
            103,
        ),
    ];
    check_refused(gateway, mallory, &all);
}

/// Members of both kinds of groups, and one who was a member.
#[test]
fn members_do_only_what_their_role_allows_and_who_left_nothing() {
    for limit in [500, 2] {
        let gateway = gateway(limit);
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
        let list = alice.done("conversations", &json!({}));
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
        let after = alice.done("conversations", &json!({}));
        assert_eq!(after["conversations"], list["conversations"]);
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

#[test]
fn an_admin_does_not_go_beyond_the_role() {
    for limit in [500, 2] {
        let gateway = Setup::default()
            .http()
            .flag("shards", 3)
            .flag("fanout-limit", limit)
            .start();
        let dial = gateway.dial();
        let mut alice = dial.connect("alice", "phone");
        let mut mallory = dial.clone().proto().connect("mallory", "phone");
        let members = json!({"group": "eng", "members": ["bob", "carol", "mallory"]});
        alice.done("group_create", &members);
        alice.done("group_create", &json!({"group": "other"}));
        for to in ["eng", "other"] {
            alice.done("send", &json!({"group": to, "text": "of the owner"}));
        }
        for user in ["bob", "mallory"] {
            let role = group(json!({"user": user, "role": "admin"}));
            alice.done("group_role", &role);
        }
        let mut dave = dial.connect("dave", "phone");
        dave.done("block", &json!({"user": "mallory"}));
        let before = alice.done("group_info", &group(json!({})));
        let history = alice.done("history", &about(json!({})));
        check_admin(&gateway, &mut mallory);
        assert_eq!(alice.done("group_info", &group(json!({}))), before);
        assert_eq!(alice.done("history", &about(json!({}))), history);
        // What the role allows, by a request too.
        let by_request = Api::of(&gateway).user("mallory");
        let erin = group(json!({"members": ["erin"]}));
        assert_eq!(by_request.post("group_add", &erin)["members"], 5);
        assert_eq!(mallory.done("group_remove", &erin)["members"], 4);
        by_request.post("pin", &about(json!({"seq": 1})));
        let pins = &alice.done("group_info", &group(json!({})))["pins"];
        assert_eq!(pins[0]["seq"], 1);
    }
}

/// Positions, cursors and lists of others, and what goes to users directly.
#[test]
fn what_belongs_to_a_user_helps_nobody_else() {
    for limit in [500, 2] {
        let gateway = gateway(limit);
        let dial = gateway.dial();
        let mut alice = dial.connect("alice", "phone");
        let mut mallory = dial.clone().proto().connect("mallory", "phone");
        let by_request = Api::of(&gateway).user("mallory");
        let mut since = vec!["0".to_owned(), alice.pos()];
        let members = json!({"group": "eng", "members": ["bob", "carol"]});
        alice.done("group_create", &members);
        for number in 0..3 {
            let text = format!("needle {number}");
            let sent = alice.done("send", &json!({"group": "eng", "text": text}));
            since.push(sent["pos"].as_str().expect("a position").to_owned());
            alice.send("bob", &text);
        }
        alice.done("contacts", &json!({"add": ["bob"]}));
        crate::search::indexed(&mut alice, "alice", 1);
        let page = alice.done("conversations", &json!({"limit": 1}));
        let hits = alice.done("search", &json!({"text": "needle", "limit": 1}));
        assert!(hits["next"].is_string(), "{hits}");
        let asked = [
            (
                "conversations",
                json!({"after": page["cursor"]}),
                "conversations",
            ),
            ("conversations", json!({}), "conversations"),
            (
                "search",
                json!({"text": "needle", "after": hits["next"]}),
                "messages",
            ),
            ("search", json!({"text": "needle"}), "messages"),
            ("contacts", json!({}), "contacts"),
            ("blocked", json!({}), "users"),
        ];
        let synced = since
            .iter()
            .map(|since| ("sync", json!({"since": since}), "events"));
        for (command, request, list) in synced.chain(asked) {
            for reply in [
                mallory.done(command, &request),
                by_request.post(command, &request),
            ] {
                assert_eq!(reply[list], json!([]), "{command} {request}");
            }
        }
        // A list is the caller's own, and what goes to a user says who sent it.
        let add = json!({"add": ["alice"], "user": "alice"});
        mallory.done("contacts", &add);
        by_request.post("contacts", &add);
        let contacts = alice.done("contacts", &json!({}));
        assert_eq!(contacts["contacts"].as_array().map(Vec::len), Some(1));
        assert_eq!(contacts["contacts"][0]["user"], "bob");
        let ring = json!({"user": "alice", "data": {"from": "bob"}, "from": "bob"});
        mallory.done("signal", &ring);
        by_request.post("signal", &ring);
        for _ in 0..2 {
            let told = alice.push_of("signal");
            assert_eq!(told["user"], "mallory", "{told}");
        }
        alice.done("block", &json!({"user": "mallory"}));
        check_refused(&gateway, &mut mallory, &[("signal", ring, 103)]);
        let query = json!({"query": ["alice"]});
        for reply in [
            mallory.done("presence", &query),
            by_request.post("presence", &query),
        ] {
            assert_eq!(reply["users"][0]["online"], false, "{reply}");
        }
        for reply in [
            mallory.done("contacts", &json!({})),
            by_request.post("contacts", &json!({})),
        ] {
            assert_eq!(reply["contacts"][0]["online"], false, "{reply}");
        }
        alice.ping();
        assert_eq!(alice.waiting(), Vec::<Value>::new());
    }
}
