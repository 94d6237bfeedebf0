//! docs/limits.md says what commands cost, besides reading them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::process::workspace;
use trunkline_tests::wait::until;

/// Returns the cost of all work but reading commands, in nanoseconds.
fn spent(gateway: &Gateway) -> f64 {
    let of = |work| gateway.metric(&format!("trunkline_cost_seconds_total{{work=\"{work}\"}}"));
    ["decide", "read", "ephemeral"].map(of).iter().sum::<f64>() * 1e9
}

/// Returns the costs of the page in nanoseconds, by the words of the row.
fn told() -> BTreeMap<String, f64> {
    let page = std::fs::read_to_string(workspace().join("docs/limits.md")).expect("a page");
    let (_, rows) = page.split_once("| command | costs |\n").expect("the table");
    let rows = rows
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let micros = cells[1].strip_suffix(" µs").expect("microseconds");
        let micros: f64 = micros.parse().expect("a number");
        (cells[0].to_owned(), micros * 1e3)
    })
    .collect()
}

/// Returns the rows of the page, each with its command. They are played in this order.
fn commands() -> Vec<(&'static str, &'static str, Value)> {
    let text = "x".repeat(120);
    let direct = |more: Value| with(json!({"conversation": "u:alice:bob"}), more);
    let eng = |more: Value| with(json!({"conversation": "g:eng"}), more);
    let to = |more: Value| with(json!({"user": "bob", "text": text}), more);
    vec![
        ("`send` between two users", "send", to(json!({}))),
        ("… with `reply_to`", "send", to(json!({"reply_to": 1}))),
        (
            "… with two `mentions`",
            "send",
            to(json!({"mentions": ["bob", "alice"]})),
        ),
        ("… with `ttl`", "send", to(json!({"ttl": "1h"}))),
        (
            "… with `meta` of 4 KiB",
            "send",
            to(json!({"meta": "m".repeat(4_000)})),
        ),
        (
            "`edit` between two users",
            "edit",
            direct(json!({"seq": 2, "text": "y".repeat(120)})),
        ),
        (
            "`history` of a thread with one reply",
            "history",
            direct(json!({"thread": 1})),
        ),
        (
            "`receipts` between two users",
            "receipts",
            direct(json!({"seq": 1, "state": "unread"})),
        ),
        ("`settings`", "settings", direct(json!({"pinned": true}))),
        ("`pin` in a group of three", "pin", eng(json!({"seq": 1}))),
        ("`unpin`", "unpin", eng(json!({"seq": 1}))),
        (
            "`edit` in a group of three",
            "edit",
            eng(json!({"seq": 2, "text": "y".repeat(120)})),
        ),
        (
            "`group_role`",
            "group_role",
            json!({"group": "eng", "user": "bob", "role": "admin"}),
        ),
        (
            "`group_set` of all four",
            "group_set",
            json!({
                "group": "eng", "name": "Name", "picture": "https://example.org/p",
                "send": "admins", "join": "open",
            }),
        ),
        ("`block`", "block", json!({"user": "mallory"})),
        ("`blocked`", "blocked", json!({})),
        ("`unblock`", "unblock", json!({"user": "mallory"})),
        (
            "`typing` to a user, with `stop` too",
            "typing",
            direct(json!({"stop": true})),
        ),
        (
            "`signal` of 100 bytes",
            "signal",
            json!({"user": "bob", "data": "s".repeat(98)}),
        ),
    ]
}

fn with(mut one: Value, more: Value) -> Value {
    for (name, value) in more.as_object().expect("fields") {
        one[name] = value.clone();
    }
    one
}

/// Returns the cost of a search. An index that is made now has one part.
fn searched(mut gateway: Gateway) -> f64 {
    gateway.stop();
    let data = gateway.data();
    let gateway = Setup::default()
        .flag("shards", 1)
        .flag("search", true)
        .start_on(data);
    until("the index to be made", || {
        (gateway.metric("trunkline_search_ready") == 1.0).then_some(())
    });
    let mut alice = gateway.dial().connect("alice", "phone");
    let before = spent(&gateway);
    let found = alice.done("search", &json!({"text": "first"}));
    assert_eq!(
        found["messages"].as_array().map(Vec::len),
        Some(2),
        "{found}"
    );
    spent(&gateway) - before
}

#[test]
fn the_page_has_the_costs_of_commands() {
    let gateway = Setup::default().flag("shards", 1).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    alice.send("bob", "first");
    let members = json!({"group": "eng", "members": ["bob", "carol"]});
    alice.done("group_create", &members);
    for text in ["first", "second"] {
        alice.done("send", &json!({"group": "eng", "text": text}));
    }
    let mut found = BTreeMap::new();
    for (row, command, request) in commands() {
        let before = spent(&gateway);
        alice.done(command, &request);
        found.insert(row.to_owned(), spent(&gateway) - before);
    }
    let mut carol = gateway.dial().connect("dave", "phone");
    let before = spent(&gateway);
    carol.done("group_join", &json!({"group": "eng"}));
    let joined = spent(&gateway) - before;
    found.insert("`group_join` of an open group".to_owned(), joined);
    for to in [json!({"user": "alice"}), json!({"group": "eng"})] {
        bob.done(
            "send",
            &with(to, json!({"text": "you", "mentions": ["alice"]})),
        );
    }
    alice.ping();
    let before = spent(&gateway);
    let list = alice.done("conversations", &json!({}));
    let listed = spent(&gateway) - before;
    for entry in list["conversations"].as_array().expect("a list") {
        assert_eq!(entry["mentions"], 1, "{entry}");
    }
    found.insert(
        "`conversations`: two, with a mention in each".to_owned(),
        listed,
    );
    bob.ping();
    found.insert(
        "`search` for a word, with two hits".to_owned(),
        searched(gateway),
    );
    let page = told();
    let rows = |of: &BTreeMap<String, f64>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(rows(&page), rows(&found), "{found:?}");
    for (row, cost) in &found {
        let told = page[row];
        // Positions are a byte longer or shorter.
        let near = told * 0.75 - 500.0..told * 1.25 + 500.0;
        assert!(
            near.contains(cost),
            "{row}: {cost} ns, not {told}; {found:?}"
        );
    }
}

/// What a thread costs depends on its messages, not on those of the conversation.
#[test]
fn a_thread_costs_the_same_in_a_long_conversation() {
    for group in [false, true] {
        let gateway = Setup::default()
            .flag("shards", 1)
            .flag("fanout-limit", 2)
            .start();
        let mut alice = gateway.dial().connect("alice", "phone");
        let members = json!({"group": "eng", "members": ["bob", "carol"]});
        alice.done("group_create", &members);
        let (to, conversation) = match group {
            true => (json!({"group": "eng"}), "g:eng"),
            false => (json!({"user": "bob"}), "u:alice:bob"),
        };
        let say = |alice: &mut Client, more: Value| {
            alice.done("send", &with(to.clone(), more))["seq"].clone()
        };
        let first = say(&mut alice, json!({"text": "first"}));
        say(&mut alice, json!({"text": "a reply", "reply_to": first}));
        let cost = |alice: &mut Client, thread: &Value| {
            let asked = json!({"conversation": conversation, "thread": thread});
            let before = spent(&gateway);
            let page = alice.done("history", &asked);
            assert_eq!(page["messages"].as_array().map(Vec::len), Some(2), "{page}");
            spent(&gateway) - before
        };
        let short = cost(&mut alice, &first);
        let second = say(&mut alice, json!({"text": "the first of another"}));
        for _ in 0..20 {
            let texts =
                (0..100).map(|number| with(to.clone(), json!({"text": number.to_string()})));
            let ids: Vec<_> = texts.map(|ask| alice.post("send", &ask)).collect();
            for id in ids {
                assert_eq!(alice.reply(id)["error"], Value::Null);
            }
        }
        // One reply at the beginning, and one behind all other messages.
        say(&mut alice, json!({"text": "late", "reply_to": second}));
        for thread in [&first, &second] {
            let long = cost(&mut alice, thread);
            // Positions are longer.
            let most = short * 1.25 + 1_000.0;
            assert!(
                long < most,
                "{conversation} {thread}: {long} ns, not {short}"
            );
        }
    }
}
