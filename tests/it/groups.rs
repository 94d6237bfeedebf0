//! Groups: members, what each of them may read, and the same behaviour at every size.

use serde_json::{Value, json};
use trunkline_tests::client::{Client, error_code};
use trunkline_tests::gateway::{Gateway, Setup};

const ENG: &str = "g:eng";

/// Returns a gateway of several shards whose groups are large from so many members on.
fn gateway(fanout_limit: usize) -> Gateway {
    Setup::default()
        .flag("shards", 3)
        .flag("fanout-limit", fanout_limit)
        .flag("channel-stays", "0s")
        .start()
}

/// Two values of `fanout_limit`: with the first all groups are small, with the second a group of
/// three is large.
const MODES: [usize; 2] = [500, 2];

fn say(client: &mut Client, text: &str) -> Value {
    client.done("send", &json!({"group": "eng", "text": text}))
}

fn texts(answer: &Value) -> Vec<&str> {
    let messages = answer["messages"].as_array().expect("messages");
    messages.iter().filter_map(|m| m["text"].as_str()).collect()
}

/// Removes positions and times from events, to compare them.
fn essence(events: &[Value]) -> Vec<Value> {
    let mut events = events.to_vec();
    for event in &mut events {
        for value in event.as_object_mut().expect("an event").values_mut() {
            if let Some(fields) = value.as_object_mut() {
                fields.remove("time");
            }
        }
        event.as_object_mut().expect("an event").remove("pos");
    }
    events
}

fn sync(client: &mut Client, since: &str) -> Vec<Value> {
    let (mut events, mut since) = (Vec::new(), since.to_owned());
    loop {
        let page = client.done("sync", &json!({"since": since, "limit": 3}));
        let found = page["events"].as_array().expect("events");
        assert!(found.len() <= 3, "{page}");
        events.extend(found.iter().cloned());
        page["pos"]
            .as_str()
            .expect("a position")
            .clone_into(&mut since);
        if page["more"] == false {
            return events;
        }
        assert!(!found.is_empty(), "more, and nothing of it");
    }
}

#[test]
fn a_message_reaches_all_members_and_nobody_else() {
    for mode in MODES {
        let gateway = gateway(mode);
        let dial = gateway.dial();
        let mut alice = dial.connect("alice", "phone");
        let mut tablet = dial.clone().proto().connect("alice", "tablet");
        let mut others: Vec<_> = ["bob", "carol", "dave"]
            .iter()
            .map(|user| dial.connect(user, "phone"))
            .collect();
        let created = alice.done(
            "group_create",
            &json!({"group": "eng", "name": "Engineering", "members": ["bob", "carol", "bob", "alice"]}),
        );
        assert_eq!(created, json!({"conversation": ENG, "members": 3}));
        let sent = say(&mut alice, "hello");
        assert_eq!(
            (&sent["conversation"], &sent["seq"]),
            (&json!(ENG), &json!(1))
        );
        let mut outsider = others.pop().expect("dave");
        for client in others.iter_mut().chain([&mut tablet]) {
            let created = client.push_of("group");
            assert_eq!(created["conversation"], ENG);
            assert_eq!(created["change"], "created");
            assert_eq!(created["by"], "alice");
            assert_eq!(created["name"], "Engineering");
            assert_eq!(created["members"], json!(["alice", "bob", "carol"]));
            let message = client.push_of("message");
            assert_eq!(message["text"], "hello");
            assert_eq!(message["from"], "alice");
            assert_eq!(message["seq"], 1);
        }
        outsider.send("alice", "marker");
        assert_eq!(
            alice.push_of("message")["text"],
            "marker",
            "no push of its own"
        );
        // An outsider may do nothing here.
        for (command, request) in [
            ("send", json!({"group": "eng", "text": "x"})),
            ("history", json!({"conversation": ENG})),
            ("get", json!({"conversation": ENG, "seq": 1})),
            ("ack", json!({"conversation": ENG, "read": 1})),
            (
                "receipts",
                json!({"conversation": ENG, "seq": 1, "state": "read"}),
            ),
            ("recall", json!({"conversation": ENG, "seq": 1})),
            ("delete", json!({"conversation": ENG, "seq": 1})),
            (
                "react",
                json!({"conversation": ENG, "seq": 1, "reaction": "like"}),
            ),
            ("group_info", json!({"group": "eng"})),
            ("group_add", json!({"group": "eng", "members": ["dave"]})),
            ("group_remove", json!({"group": "eng", "members": ["bob"]})),
            ("group_rename", json!({"group": "eng", "name": "x"})),
            ("group_leave", json!({"group": "eng"})),
        ] {
            assert_eq!(outsider.refused(command, &request), 103, "{command}");
            let unknown = request.to_string().replace("eng", "none");
            let unknown = serde_json::from_str(&unknown).expect("still JSON");
            assert_eq!(outsider.refused(command, &unknown), 103, "{command}");
        }
        // A second of the name, and bad names.
        let taken = outsider.ask("group_create", &json!({"group": "eng"}));
        assert_eq!(error_code(&taken), 118, "{taken}");
        assert_eq!(taken["error"]["name"], "name_taken");
        for bad in [
            json!({"group": "a b"}),
            json!({"group": "x", "members": ["a b"]}),
        ] {
            assert_eq!(outsider.refused("group_create", &bad), 107, "{bad}");
        }
        let many: Vec<_> = (0..1001).map(|n| n.to_string()).collect();
        let many = json!({"group": "many", "members": many});
        assert_eq!(outsider.refused("group_create", &many), 106);
    }
}

#[test]
fn members_come_and_go_and_see_what_is_theirs() {
    let mut views = Vec::new();
    for mode in MODES {
        let gateway = gateway(mode);
        let dial = gateway.dial();
        let mut alice = dial.connect("alice", "phone");
        let mut bob = dial.connect("bob", "phone");
        let begin = alice.pos();
        for (group, history) in [("eng", "all"), ("new", "joined")] {
            alice.done(
                "group_create",
                &json!({"group": group, "members": ["bob", "carol"], "history": history}),
            );
            for text in ["one", "two"] {
                alice.done("send", &json!({"group": group, "text": text}));
            }
            let added = alice.done(
                "group_add",
                &json!({"group": group, "members": ["dave", "bob"]}),
            );
            assert_eq!(added, json!({"members": 4}));
            alice.done("send", &json!({"group": group, "text": "three"}));
            let removed = alice.done("group_remove", &json!({"group": group, "members": ["bob"]}));
            assert_eq!(removed, json!({"members": 3}));
            alice.done("send", &json!({"group": group, "text": "four"}));
        }
        // Bob gets every event up to his removal, and none after it.
        for _ in 0..2 {
            assert_eq!(bob.push_of("group")["change"], "created");
            assert_eq!(bob.push_of("message")["text"], "one");
            assert_eq!(bob.push_of("message")["text"], "two");
            let added = bob.push_of("group");
            assert_eq!(
                (&added["change"], &added["members"]),
                (&json!("added"), &json!(["dave"]))
            );
            assert_eq!(bob.push_of("message")["text"], "three");
            let removed = bob.push_of("group");
            assert_eq!(
                (&removed["change"], &removed["by"]),
                (&json!("removed"), &json!("alice"))
            );
        }
        assert_eq!(bob.refused("history", &json!({"conversation": ENG})), 103);
        let of_bob = sync(&mut bob, &begin);
        assert_eq!(of_bob.len(), 12, "{of_bob:?}");

        let mut dave = dial.connect("dave", "phone");
        let all = dave.done("history", &json!({"conversation": ENG}));
        assert_eq!(texts(&all), ["one", "two", "three", "four"]);
        assert_eq!((&all["first"], &all["last"]), (&json!(1), &json!(4)));
        let joined = dave.done("history", &json!({"conversation": "g:new"}));
        assert_eq!(texts(&joined), ["three", "four"]);
        assert_eq!((&joined["first"], &joined["last"]), (&json!(3), &json!(4)));
        for request in [json!({"after": 0}), json!({"before": 4})] {
            let mut request = request;
            request["conversation"] = json!("g:new");
            let part = dave.done("history", &request);
            assert_eq!(texts(&part)[0], "three", "{request}");
        }
        assert_eq!(
            dave.refused("get", &json!({"conversation": "g:new", "seq": 2})),
            102
        );
        assert_eq!(
            dave.refused(
                "react",
                &json!({"conversation": "g:new", "seq": 2, "reaction": "x"})
            ),
            102
        );
        let of_dave = sync(&mut dave, &begin);
        let mut carol = dial.connect("carol", "phone");
        let of_carol = sync(&mut carol, &begin);
        assert_eq!(of_carol.len(), 14);
        views.push([of_bob, of_carol, of_dave].map(|events| essence(&events)));
    }
    assert_eq!(views[0], views[1], "the mode shows");
}

#[test]
fn owners_decide_and_the_longest_member_follows_the_last() {
    for mode in MODES {
        let gateway = gateway(mode);
        let dial = gateway.dial();
        let mut alice = dial.connect("alice", "phone");
        let mut bob = dial.connect("bob", "phone");
        alice.done("group_create", &json!({"group": "eng", "members": ["bob"]}));
        alice.done("group_add", &json!({"group": "eng", "members": ["carol"]}));
        for (command, request) in [
            ("group_add", json!({"group": "eng", "members": ["dave"]})),
            (
                "group_remove",
                json!({"group": "eng", "members": ["carol"]}),
            ),
            ("group_rename", json!({"group": "eng", "name": "x"})),
        ] {
            assert_eq!(bob.refused(command, &request), 103, "{command}");
        }
        let own = json!({"group": "eng", "members": ["alice"]});
        assert_eq!(alice.refused("group_remove", &own), 107);
        assert_eq!(
            alice.refused("group_add", &json!({"group": "eng", "members": []})),
            107
        );
        assert_eq!(
            alice.done("group_rename", &json!({"group": "eng", "name": "Platform"})),
            json!({})
        );
        assert_eq!(
            alice.done("group_leave", &json!({"group": "eng"})),
            json!({})
        );
        let info = bob.done("group_info", &json!({"group": "eng"}));
        assert_eq!(
            (&info["name"], &info["count"]),
            (&json!("Platform"), &json!(2))
        );
        assert_eq!(info["history"], "all");
        let roles: Vec<_> = info["members"]
            .as_array()
            .expect("members")
            .iter()
            .map(|m| {
                (
                    m["user"].as_str().unwrap_or(""),
                    m["role"].as_str().unwrap_or(""),
                )
            })
            .collect();
        assert_eq!(roles, [("bob", "owner"), ("carol", "member")]);
        assert_eq!(
            bob.done("group_add", &json!({"group": "eng", "members": ["alice"]})),
            json!({"members": 3})
        );
        assert_eq!(
            alice.refused("group_rename", &json!({"group": "eng", "name": "x"})),
            103
        );
    }
}

#[test]
fn a_group_crosses_the_limit_and_nobody_can_tell() {
    let mut views = Vec::new();
    for mode in [500, 6] {
        let mut gateway = gateway(mode);
        let dial = gateway.dial();
        let mut alice = dial.connect("alice", "phone");
        let begin = alice.pos();
        let mut watcher = dial.connect("u3", "phone");
        let names: Vec<_> = (0..12).map(|n| format!("u{n}")).collect();
        alice.done(
            "group_create",
            &json!({"group": "eng", "members": names[..4]}),
        );
        let mut sent = 0;
        let mut speak = |alice: &mut Client| {
            sent += 1;
            say(alice, &format!("text {sent}"));
        };
        for steps in [4..8, 8..12] {
            speak(&mut alice);
            alice.done(
                "group_add",
                &json!({"group": "eng", "members": names[steps]}),
            );
            speak(&mut alice);
        }
        alice.done("send", &json!({"user": "u3", "text": "aside"}));
        for pair in [[0, 1], [4, 5], [6, 7], [8, 9]] {
            let gone = pair.map(|n| names[n].clone());
            alice.done("group_remove", &json!({"group": "eng", "members": gone}));
            speak(&mut alice);
        }
        alice.done(
            "group_add",
            &json!({"group": "eng", "members": ["u0", "u4"]}),
        );
        speak(&mut alice);
        let mut live = Vec::new();
        while live.len() < 9 + 1 + 8 {
            live.push(watcher.push());
        }
        let mut all = Vec::new();
        for restart in [false, true] {
            if restart {
                gateway.kill();
                gateway.start_again();
            }
            let dial = gateway.dial();
            let mut watcher = dial.connect("u3", "tablet");
            let synced = sync(&mut watcher, &begin);
            assert_eq!(synced, live, "live and sync differ");
            // The same by connecting from there.
            let mut again = dial.clone().since(&begin).connect("u3", "watch");
            for event in &live {
                assert_eq!(again.push(), *event);
            }
            all = names
                .iter()
                .map(|name| {
                    let mut client = dial.connect(name, "phone");
                    essence(&sync(&mut client, &begin))
                })
                .collect();
        }
        views.push(all);
    }
    assert_eq!(views[0], views[1], "the mode shows");
}

#[test]
fn a_roster_comes_in_pages() {
    let gateway = gateway(500);
    let dial = gateway.dial();
    let mut alice = dial.connect("alice", "phone");
    let names: Vec<_> = (0..700).map(|n| format!("u{n:04}")).collect();
    alice.done("group_create", &json!({"group": "eng", "members": names}));
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let mut request = json!({"group": "eng", "limit": 99});
        if !after.is_empty() {
            request["after"] = json!(after);
        }
        let page = alice.done("group_info", &request);
        assert_eq!(page["count"], 701);
        let members = page["members"].as_array().expect("members");
        found.extend(
            members
                .iter()
                .map(|m| m["user"].as_str().expect("a user").to_owned()),
        );
        found.last().expect("somebody").clone_into(&mut after);
        if page["more"] == false {
            break;
        }
        assert_eq!(members.len(), 99);
    }
    let mut expect = names;
    expect.insert(0, "alice".into());
    assert_eq!(found, expect);
}

#[test]
fn members_may_add_where_the_gateway_says_so() {
    let gateway = Setup::default()
        .flag("members-add", true)
        .flag("group-members", 4)
        .start();
    let dial = gateway.dial();
    let mut alice = dial.connect("alice", "phone");
    let mut bob = dial.connect("bob", "phone");
    alice.done("group_create", &json!({"group": "eng", "members": ["bob"]}));
    bob.done(
        "group_add",
        &json!({"group": "eng", "members": ["carol", "dave"]}),
    );
    let reply = bob.ask("group_add", &json!({"group": "eng", "members": ["erin"]}));
    assert_eq!(error_code(&reply), 106, "{reply}");
    // What was refused has changed nothing.
    let info = alice.done("group_info", &json!({"group": "eng"}));
    assert_eq!(info["count"], 4);
    say(&mut alice, "still here");
    assert_eq!(bob.push_of("group")["change"], "created");
    assert_eq!(bob.push_of("message")["text"], "still here");
}

#[test]
fn groups_of_one_name_stay_apart_also_behind_a_restart() {
    const SPACES: [&str; 2] = ["acme", "umbrella"];
    let mut gateway = gateway(500);
    let connect = |gateway: &Gateway, space: &str, user| {
        gateway
            .dial()
            .with("namespace", space)
            .connect(user, "phone")
    };
    for space in SPACES {
        let mut alice = connect(&gateway, space, "alice");
        let others = json!({"group": "eng", "members": ["bob", "carol"]});
        alice.done("group_create", &others);
        say(&mut alice, &format!("of {space}"));
    }
    // After a restart the groups are loaded from the store, and the authors of their messages are
    // not in memory.
    gateway.stop();
    gateway.start_again();
    let mut talks =
        SPACES.map(|space| ["alice", "bob", "carol"].map(|user| connect(&gateway, space, user)));
    for talk in &mut talks {
        talk[1].ack(ENG, &json!({"delivered": 1, "read": 1}));
        let receipt = talk[0].push_of("receipt");
        assert_eq!(
            (&receipt["user"], &receipt["read"]),
            (&json!("bob"), &json!(1))
        );
    }
    let [mut acme, mut umbrella] = talks;
    say(&mut acme[1], "again");
    for other in [0, 2] {
        assert_eq!(acme[other].push_of("message")["text"], "again");
    }
    acme[2].ack(ENG, &json!({"read": 2}));
    for (author, seq) in [(0, 2), (1, 2)] {
        assert_eq!(acme[author].push_of("receipt")["read"], seq);
    }
    for (talk, reads) in [(&mut acme, 2), (&mut umbrella, 1)] {
        let request = json!({"conversation": ENG, "seq": 1, "state": "unread"});
        assert_eq!(talk[0].done("receipts", &request)["counts"]["read"], reads);
        for client in talk {
            client.ping();
            assert_eq!(
                client.waiting(),
                Vec::<Value>::new(),
                "nothing of the other"
            );
        }
    }
}
