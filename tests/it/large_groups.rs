//! Groups with very many members, most of whom are away.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait;

const MEMBERS: usize = 10_000;
/// The most members that one command may add.
const PORTION: usize = 1_000;
/// The number of members with a session. They are on three shards.
const ONLINE: usize = 200;
const SHARDS: usize = 3;

fn name(number: usize) -> String {
    format!("user-{number:05}")
}

/// A group of alice and as many others, `user-00000` and so on.
fn make_group(alice: &mut Client, others: usize) {
    let done = alice.done("group_create", &json!({"group": "all", "name": "All"}));
    assert_eq!(done["members"], 1);
    let names: Vec<_> = (0..others).map(name).collect();
    for (n, portion) in names.chunks(PORTION).enumerate() {
        let done = alice.done("group_add", &json!({"group": "all", "members": portion}));
        assert_eq!(done["members"], 1 + n * PORTION + portion.len());
    }
}

fn say(client: &mut Client, text: &str) -> Value {
    client.done("send", &json!({"group": "all", "text": text}))
}

/// Reads everything after a position, page by page.
fn sync(client: &mut Client, mut since: String) -> Vec<Value> {
    let mut events = Vec::new();
    loop {
        let page = client.done("sync", &json!({"since": since}));
        let found = page["events"].as_array().expect("events");
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

fn texts(events: &[Value]) -> Vec<&str> {
    let messages = events.iter().filter(|event| event["message"].is_object());
    messages
        .map(|event| event["message"]["text"].as_str().expect("a text"))
        .collect()
}

/// Returns the members as `group_info` lists them, in pages of an odd size.
fn listed(client: &mut Client) -> Vec<String> {
    let (mut names, mut after) = (Vec::new(), Value::Null);
    loop {
        let mut request = json!({"group": "all", "limit": 333});
        if after.is_string() {
            request["after"] = after;
        }
        let page = client.done("group_info", &request);
        let members = page["members"].as_array().expect("members");
        names.extend(
            members
                .iter()
                .map(|m| m["user"].as_str().expect("a name").to_owned()),
        );
        if page["more"] == false {
            return names;
        }
        after = members.last().expect("more than nobody")["user"].clone();
    }
}

/// The numbers of a message's receivers: all of them, those who have it, and those who have read it.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    members: u64,
    delivered: u64,
    read: u64,
}

/// Returns the counts of a message. Its sender does not count.
fn counts(client: &mut Client, seq: u64) -> Counts {
    let request = json!({"conversation": "g:all", "seq": seq, "state": "read", "limit": 10});
    let counts = &client.done("receipts", &request)["counts"];
    let count = |name: &str| counts[name].as_u64().expect("a count");
    Counts {
        members: count("members"),
        delivered: count("delivered"),
        read: count("read"),
    }
}

fn counted(members: u64, delivered: u64, read: u64) -> Counts {
    Counts {
        members,
        delivered,
        read,
    }
}

fn open(gateway: &Gateway, others: usize) -> Vec<Client> {
    (0..others)
        .map(|n| {
            let dial = gateway.dial().shard(n % SHARDS);
            let dial = if n % 2 == 0 { dial } else { dial.proto() };
            // From both ends of the roster.
            let number = if n % 2 == 0 { n } else { MEMBERS - 1 - n };
            dial.connect(&name(number), "phone")
        })
        .collect()
}

/// Members who were away read the same from every position.
fn whoever_was_away_finds_the_same(gateway: &Gateway, begin: &str) {
    for number in [ONLINE, MEMBERS / 2] {
        let mut late = gateway.dial().connect(&name(number), "phone");
        let events = sync(&mut late, begin.to_owned());
        assert_eq!(texts(&events), ["one", "two", "three"]);
        assert_eq!(events[0]["group"]["change"], "added");
        let first = events.iter().position(|event| event["message"]["seq"] == 1);
        let pos = events[first.expect("there")]["pos"]
            .as_str()
            .expect("a position");
        let rest = sync(&mut late, pos.to_owned());
        assert_eq!(texts(&rest), ["two", "three"]);
        let mut again = gateway.dial().since(pos).connect(&name(number), "tablet");
        for text in ["two", "three"] {
            assert_eq!(again.push_of("message")["text"], text);
        }
    }
}

/// A member who leaves and a member who is removed are told of that, and of nothing after it.
fn whoever_is_gone_hears_no_more(alice: &mut Client, online: &mut [Client], begin: &str) {
    let (leaver, removed) = (name(0), name(MEMBERS - 2));
    assert_eq!(
        online[0].done("group_leave", &json!({"group": "all"})),
        json!({})
    );
    let done = alice.done(
        "group_remove",
        &json!({"group": "all", "members": [removed]}),
    );
    assert_eq!(done["members"], MEMBERS - 2);
    say(alice, "five");
    for (n, client) in online.iter_mut().enumerate() {
        if n != 0 {
            let left = client.push_of("group");
            assert_eq!(
                (&left["change"], &left["by"]),
                (&json!("left"), &json!(leaver))
            );
            let gone = client.push_of("group");
            assert_eq!(
                (&gone["change"], &gone["members"]),
                (&json!("removed"), &json!([removed]))
            );
        }
        if n > 1 {
            assert_eq!(client.push_of("message")["text"], "five");
        }
        client.ping();
        assert_eq!(client.waiting(), Vec::<Value>::new(), "{n}");
    }
    for client in &mut online[..2] {
        assert_eq!(
            client.refused("history", &json!({"conversation": "g:all"})),
            103
        );
        let events = sync(client, begin.to_owned());
        assert_eq!(texts(&events), ["one", "two", "three", "four"]);
        let last = &events.last().expect("events")["group"]["change"];
        assert!(
            ["left", "removed"].map(|word| json!(word)).contains(last),
            "{last}"
        );
    }
}

#[test]
fn ten_thousand_members() {
    let mut gateway = Setup::default().flag("shards", SHARDS).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let begin = alice.pos();
    make_group(&mut alice, MEMBERS - 1);
    let mut online = open(&gateway, ONLINE);
    for text in ["one", "two", "three"] {
        say(&mut alice, text);
    }
    for client in &mut online {
        for (seq, text) in [(1, "one"), (2, "two"), (3, "three")] {
            let message = client.push_of("message");
            assert_eq!(
                (&message["seq"], &message["text"]),
                (&json!(seq), &json!(text))
            );
            assert_eq!(message["from"], "alice");
        }
        client.ping();
        assert_eq!(client.waiting(), Vec::<Value>::new(), "each once");
    }

    whoever_was_away_finds_the_same(&gateway, &begin);

    // Everybody is listed once.
    let names = listed(&mut alice);
    assert_eq!(names.len(), MEMBERS);
    let expected: BTreeSet<_> = (0..MEMBERS - 1)
        .map(name)
        .chain(["alice".to_owned()])
        .collect();
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), expected);

    // Receipts are counted, and pushed only to the reader's own devices.
    for (n, client) in online.iter_mut().enumerate().take(20) {
        let mark = if n < 5 { "read" } else { "delivered" };
        client.ack("g:all", &json!({mark: 2}));
    }
    let members = MEMBERS as u64;
    assert_eq!(counts(&mut alice, 2), counted(members - 1, 20, 5));
    assert_eq!(counts(&mut alice, 3), counted(members - 1, 0, 0));
    say(&mut alice, "four");
    for client in &mut online {
        assert_eq!(
            client.push_of("message")["text"],
            "four",
            "no receipts before it"
        );
    }

    whoever_is_gone_hears_no_more(&mut alice, &mut online, &begin);

    // And all of it after a restart.
    gateway.kill();
    gateway.start_again();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut late = gateway.dial().connect(&name(ONLINE + 1), "phone");
    say(&mut alice, "six");
    assert_eq!(late.push_of("message")["text"], "six");
    let events = sync(&mut late, begin);
    assert_eq!(
        texts(&events),
        ["one", "two", "three", "four", "five", "six"]
    );
    assert_eq!(listed(&mut alice).len(), MEMBERS - 2);
    assert_eq!(counts(&mut alice, 2), counted(members - 3, 18, 3));
}

/// Some of many online members do not read. The others get each message before the next one is
/// sent. The slow members learn once that they missed messages, and get them.
#[test]
fn who_does_not_read_delays_nobody() {
    const READERS: usize = 200;
    const STUCK: usize = 100;
    const BYTES: usize = 60_000;
    let gateway = Setup::default()
        .flag("shards", SHARDS)
        .flag("fanout-limit", 100)
        .flag("outbox-bytes", "64KiB")
        .start();
    let mut alice = gateway.dial().connect("alice", "phone");
    make_group(&mut alice, MEMBERS);
    let session = |n: usize| gateway.dial().shard(n % SHARDS).connect(&name(n), "phone");
    let mut stuck: Vec<_> = (0..STUCK).map(session).collect();
    let mut readers: Vec<_> = (STUCK..STUCK + READERS).map(session).collect();
    let begin = stuck[0].pos();
    let padding = "x".repeat(BYTES);
    let mut sent = 0;
    let mut say_to_readers = |alice: &mut Client, text: &str, readers: &mut [Client]| {
        sent += 1;
        assert_eq!(say(alice, text)["seq"], sent);
        for reader in readers {
            assert_eq!(reader.push_of("message")["seq"], sent);
        }
        sent
    };
    // More bytes than the sockets of both ends hold. Large messages go first, only to the members
    // who do not read.
    wait::until("gaps", || {
        // Together, so that they share the waits for the disk: it takes some thousands.
        let sends: Vec<_> = (0..STUCK)
            .map(|n| alice.post("send", &json!({"user": name(n), "text": padding})))
            .collect();
        for id in sends {
            assert!(alice.reply(id)["send"]["seq"].is_u64());
        }
        (gateway.metric("trunkline_gaps_total") == STUCK as f64).then_some(())
    });
    let mut last = 0;
    for n in 0..20 {
        last = say_to_readers(&mut alice, &format!("message {n}"), &mut readers);
    }
    assert_eq!(
        gateway.metric("trunkline_gaps_total"),
        STUCK as f64,
        "one each"
    );
    for reader in &mut readers {
        reader.ping();
        assert_eq!(reader.waiting(), Vec::<Value>::new());
    }
    // Now the members read: the pushes that were under way, the gap, and the live pushes after it.
    for client in &mut stuck {
        let gap = loop {
            let push = client.push();
            if push["gap"].is_object() {
                break push["gap"]["pos"].clone();
            }
            assert!(push["message"]["conversation"] != "g:all", "{push}");
        };
        client.ping();
        assert_eq!(client.waiting(), Vec::<Value>::new(), "one gap");
        let events = sync(client, begin.clone());
        let seqs: Vec<_> = events
            .iter()
            .filter(|event| event["message"]["conversation"] == "g:all")
            .map(|event| event["message"]["seq"].as_u64().expect("a sequence"))
            .collect();
        assert_eq!(seqs, (1..=last).collect::<Vec<_>>());
        assert_eq!(events.last().expect("events")["pos"], gap);
    }
    let last = say_to_readers(&mut alice, "live", &mut readers);
    for client in &mut stuck {
        assert_eq!(client.push_of("message")["seq"], last);
    }
}
