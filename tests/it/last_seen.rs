//! `last_seen` of users who left long ago, and before the gateway was started.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait::until;

fn setup() -> Setup {
    Setup::default()
        .flag("shards", 3)
        .flag("presence-grace", "0s")
        .flag("last-seen-interval", "100ms")
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.expect("after 1970").as_millis()).expect("not that late")
}

/// Opens and closes a session. Returns the times between which the session ended.
fn visit(gateway: &Gateway, user: &str) -> (u64, u64) {
    let client = gateway.dial().connect(user, "phone");
    let before = now();
    client.close();
    (before, now())
}

/// Waits until this process has stored `count` departures.
fn stored(gateway: &Gateway, users: usize) {
    until("the store to know who left", || {
        let stored = gateway.metric("trunkline_last_seen_stored_total");
        (stored >= users as f64).then_some(())
    });
}

/// Returns when each of these users was last seen. All commands must agree, and no user is online.
fn seen(client: &mut Client, users: &[&str]) -> Vec<Option<u64>> {
    let mut answers = Vec::new();
    for field in ["query", "watch"] {
        let reply = client.done("presence", &json!({field: users}));
        answers.push(reply["users"].clone());
    }
    client.done("presence", &json!({"unwatch": users}));
    for watch in [false, true] {
        let reply = client.done("contacts", &json!({"add": users, "watch": watch}));
        let all = reply["contacts"].as_array().expect("contacts");
        let find = |user: &&str| all.iter().find(|contact| contact["user"] == **user);
        answers.push(users.iter().map(|user| find(user).cloned()).collect());
    }
    client.done("contacts", &json!({"remove": users}));
    client.done("presence", &json!({"unwatch": users}));
    let shown = |answer: &Value| {
        let list = answer.as_array().expect("users");
        let of = |(user, shown): (&&str, &Value)| {
            assert_eq!(
                (&shown["user"], &shown["online"]),
                (&json!(user), &json!(false))
            );
            assert!(shown["devices"].as_u64().unwrap_or(0) == 0);
            shown["last_seen"].as_u64()
        };
        users.iter().zip(list).map(of).collect::<Vec<_>>()
    };
    let first = shown(&answers[0]);
    for answer in &answers {
        assert_eq!(shown(answer), first);
    }
    first
}

fn within(seen: Option<u64>, (from, to): (u64, u64)) {
    /// The gateway's time advances with the monotonic clock. When something corrects the system's clock,
    /// the two differ by some milliseconds for a moment.
    const CORRECTED: u64 = 20;
    let seen = seen.expect("it is known");
    assert!(
        (from - CORRECTED..=to + CORRECTED).contains(&seen),
        "{seen} is not within {from}..={to}"
    );
}

#[test]
fn a_restart_forgets_nobody() {
    let mut gateway = setup().flag("last-seen-interval", "1h").start();
    let bob = visit(&gateway, "bob");
    let acme = visit_as(&gateway, "acme", "bob");
    // Online until the gateway stops.
    let _carol = gateway.dial().connect("carol", "phone");
    let _tablet = gateway.dial().connect("carol", "tablet");
    let stopping = now();
    assert!(gateway.stop().status.success());
    let stopped = now();
    for restarted in 0..2 {
        gateway.start_again();
        for encoding in [Json, Proto] {
            let mut alice = gateway.dial().encoding(encoding).connect("alice", "phone");
            let found = seen(&mut alice, &["bob", "carol", "nobody"]);
            within(found[0], bob);
            within(found[1], (stopping, stopped));
            assert_eq!(found[2], None);
            alice.close();
            let dial = gateway.dial().encoding(encoding).with("namespace", "acme");
            let mut alice = dial.connect("alice", "phone");
            let found = seen(&mut alice, &["bob", "carol"]);
            within(found[0], acme);
            assert_eq!(found[1], None, "of another organisation");
            alice.close();
        }
        if restarted == 0 {
            assert!(gateway.stop().status.success());
        }
    }
    // What is new counts from then on.
    let again = visit(&gateway, "bob");
    let mut alice = gateway.dial().connect("alice", "phone");
    within(seen(&mut alice, &["bob"])[0], again);
}

fn visit_as(gateway: &Gateway, namespace: &str, user: &str) -> (u64, u64) {
    let dial = gateway.dial().with("namespace", namespace);
    let client = dial.connect(user, "phone");
    let before = now();
    client.close();
    (before, now())
}

#[test]
fn killed_it_knows_what_was_stored() {
    let mut gateway = setup().start();
    let bob = visit(&gateway, "bob");
    let carol = visit(&gateway, "carol");
    stored(&gateway, 2);
    let _carol = gateway.dial().connect("carol", "phone");
    let _dave = gateway.dial().connect("dave", "phone");
    gateway.kill();
    gateway.start_again();
    let mut alice = gateway.dial().proto().connect("alice", "phone");
    let found = seen(&mut alice, &["bob", "carol", "dave"]);
    within(found[0], bob);
    // A user who was online at the kill has at least the time of the previous departure.
    within(found[1], carol);
    assert_eq!(found[2], None);
}

#[test]
fn those_of_whom_memory_does_not_know() {
    const USERS: usize = 600;
    // The cache holds two users in each of its 64 parts.
    let gateway = setup().flag("last-seen-cache", 128).start();
    let names: Vec<_> = (0..USERS).map(|i| format!("u{i}")).collect();
    let times: Vec<_> = names.iter().map(|name| visit(&gateway, name)).collect();
    let names: Vec<_> = names.iter().map(|name| &**name).collect();
    let mut alice = gateway.dial().connect("alice", "phone");
    for all_stored in [false, true] {
        if all_stored {
            stored(&gateway, USERS);
        }
        for (seen, times) in seen(&mut alice, &names).into_iter().zip(&times) {
            within(seen, *times);
        }
    }
    // Watchers of such a user get pushes as always.
    let watched = ["u0", "u1"];
    alice.done("presence", &json!({"watch": watched}));
    for user in watched {
        let client = gateway.dial().connect(user, "phone");
        let push = alice.push_of("presence");
        assert_eq!(
            (&push["user"], &push["online"]),
            (&json!(user), &json!(true))
        );
        client.close();
        let push = alice.push_of("presence");
        assert_eq!(
            (&push["user"], &push["online"]),
            (&json!(user), &json!(false))
        );
        assert!(push["last_seen"].is_u64());
    }
    alice.ping();
    assert_eq!(alice.waiting(), Vec::<Value>::new());
}

/// The reply to `watch` waits for the store. Later commands in the same frame do not wait.
#[test]
fn an_unwatch_behind_a_watch_counts() {
    let gateway = setup().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    for _ in 0..20 {
        let watch = json!({"id": 901, "presence": {"watch": ["bob", "carol"]}});
        let unwatch = json!({"id": 902, "presence": {"unwatch": ["bob"]}});
        alice.post_raw(&[watch, unwatch]);
        for id in [901, 902] {
            alice.reply(id);
        }
        let bob = gateway.dial().connect("bob", "phone");
        let carol = gateway.dial().connect("carol", "phone");
        assert_eq!(alice.push_of("presence")["user"], "carol");
        carol.close();
        assert_eq!(alice.push_of("presence")["user"], "carol");
        bob.close();
        alice.ping();
        assert_eq!(alice.waiting(), Vec::<Value>::new());
        alice.done("presence", &json!({"unwatch": ["carol"]}));
    }
}

#[test]
fn so_many_wait_for_the_store() {
    let setup = setup().flag("last-seen-interval", "1h");
    let mut gateway = setup.flag("max-connections", 4).start();
    let limited =
        |gateway: &Gateway| gateway.metric("trunkline_limited_total{limit=\"last_seen\"}");
    let names = ["a", "b", "c", "d", "e", "f"];
    let times = names.map(|name| visit(&gateway, name));
    assert_eq!(limited(&gateway), 2.0);
    // A user who waits already takes no further room.
    let again = visit(&gateway, "a");
    assert_eq!(limited(&gateway), 2.0);
    let mut alice = gateway.dial().connect("alice", "phone");
    within(seen(&mut alice, &names)[5], times[5]);
    drop(alice);
    assert!(gateway.stop().status.success());
    gateway.start_again();
    let mut alice = gateway.dial().connect("alice", "phone");
    let found = seen(&mut alice, &names);
    within(found[0], again);
    (1..4).for_each(|i| within(found[i], times[i]));
    assert_eq!(found[4..], [None, None]);
}

#[test]
fn so_many_are_stored_in_a_second() {
    const USERS: usize = 1_100;
    // Some 500 at a time, and then for a day none.
    let gateway = setup().flag("last-seen-rate", 1).start();
    for i in 0..USERS {
        visit(&gateway, &format!("u{i}"));
    }
    stored(&gateway, 1);
    let mut alice = gateway.dial().connect("alice", "phone");
    let names: Vec<_> = (0..USERS).map(|i| format!("u{i}")).collect();
    for names in names.chunks(1_000) {
        let reply = alice.done("presence", &json!({"query": names}));
        let users = reply["users"].as_array().expect("users");
        assert!(users.iter().all(|user| user["last_seen"].is_u64()));
    }
    let stored = gateway.metric("trunkline_last_seen_stored_total");
    assert!(stored < USERS as f64, "{stored}");
}

#[test]
fn where_nothing_is_to_be_stored() {
    let mut gateway = setup().flag("last-seen-rate", 0).start();
    visit(&gateway, "bob");
    let mut alice = gateway.dial().connect("alice", "phone");
    assert!(seen(&mut alice, &["bob"])[0].is_some());
    drop(alice);
    assert!(gateway.stop().status.success());
    gateway.start_again();
    let mut alice = gateway.dial().connect("alice", "phone");
    assert_eq!(seen(&mut alice, &["bob"]), [None]);
    assert_eq!(
        gateway.metric("trunkline_limited_total{limit=\"last_seen\"}"),
        0.0
    );
}

#[test]
fn watchers_are_told_though_memory_forgot() {
    const GRACE: u64 = 3_000;
    let setup = setup().flag("last-seen-cache", 0).flag("last-seen-rate", 0);
    let gateway = setup.flag("presence-grace", format!("{GRACE}ms")).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    alice.done("presence", &json!({"watch": ["bob"]}));
    let bob = gateway.dial().connect("bob", "phone");
    assert_eq!(alice.push_of("presence")["online"], true);
    let before = now();
    bob.close();
    // Some of each part of the memory, before the time is over in which bob may come back.
    for i in 0..500 {
        visit(&gateway, &format!("u{i}"));
    }
    let push = alice.push_of("presence");
    assert_eq!(push["online"], false, "{push}");
    within(push["last_seen"].as_u64(), (before, now() - GRACE));
}
