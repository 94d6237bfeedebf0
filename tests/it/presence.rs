//! Presence: who is online, and which watchers are told of changes.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use trunkline_proto::Encoding::{Json, Proto};
use trunkline_tests::api::Api;
use trunkline_tests::client::Client;
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::neighbours::Neighbours;

const SHARDS: usize = 3;

fn gateway(grace: &str) -> Gateway {
    setup(grace).start()
}

fn setup(grace: &str) -> Setup {
    Setup::default()
        .flag("shards", SHARDS)
        .flag("presence-grace", grace)
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.expect("after 1970").as_millis()).expect("not that late")
}

/// Connects a watcher on each shard: both encodings, and one with batches.
fn watchers(gateway: &Gateway, watched: &[&str]) -> Vec<Client> {
    let connect = |shard: usize| {
        let encoding = if shard == 1 { Proto } else { Json };
        let dial = gateway.dial().shard(shard).encoding(encoding);
        let dial = dial.with("batch", shard == 2);
        let mut client = dial.connect(&format!("watcher{shard}"), "phone");
        let reply = client.done("presence", &json!({"watch": watched}));
        let expected: Vec<_> = watched
            .iter()
            .map(|user| json!({"user": user, "online": false, "devices": 0}))
            .collect();
        assert_eq!(reply["users"], json!(expected));
        client
    };
    (0..SHARDS).map(connect).collect()
}

/// The next push of each watcher must say that a user is online with `devices` devices, or offline.
fn told(watchers: &mut [Client], user: &str, devices: u64) {
    for watcher in watchers {
        let push = watcher.push();
        assert_eq!(push["pos"], Value::Null);
        let presence = &push["presence"];
        let state = (&presence["user"], &presence["online"], &presence["devices"]);
        let expected = (&json!(user), &json!(devices > 0), &json!(devices));
        assert_eq!(state, expected, "{push}");
        assert!(
            presence["last_seen"]
                .as_u64()
                .is_some_and(|seen| seen <= now())
        );
    }
}

/// Two connections of one device count as one device. Each connection without a device name counts
/// as a separate device.
#[test]
fn devices_are_counted_and_not_connections() {
    let gateway = gateway("0s");
    let mut watchers = watchers(&gateway, &["bob"]);
    let count = |client: &mut Client| {
        let reply = client.done("presence", &json!({"query": ["bob"]}));
        reply["users"][0]["devices"].clone()
    };
    let first = gateway.dial().connect("bob", "phone");
    told(&mut watchers, "bob", 1);
    // On other shards and the same one, in both encodings: that is no news.
    let more: Vec<_> = (0..4)
        .map(|n| {
            let dial = gateway
                .dial()
                .encoding(if n % 2 == 0 { Json } else { Proto });
            dial.connect("bob", "phone")
        })
        .collect();
    assert_eq!(count(&mut watchers[0]), 1);
    let tablet = gateway.dial().connect("bob", "tablet");
    told(&mut watchers, "bob", 2);
    first.close();
    more.into_iter().for_each(Client::close);
    told(&mut watchers, "bob", 1);
    let mut unnamed = Vec::new();
    for devices in 2..4 {
        let mut client = gateway.dial().open();
        client.done("connect", &json!({"user": "bob"}));
        unnamed.push(client);
        told(&mut watchers, "bob", devices);
    }
    tablet.close();
    told(&mut watchers, "bob", 2);
    for watcher in &mut watchers {
        watcher.ping();
        assert_eq!(watcher.waiting(), Vec::<Value>::new());
    }
}

/// Devices without a name are told apart, whatever shards and streams they are on.
#[test]
fn each_connection_without_a_name_is_a_device() {
    const SESSIONS: usize = 12;
    let gateway = setup("0s").http().start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut names = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..SESSIONS {
        let mut client = gateway.dial().open();
        let reply = client.done("connect", &json!({"user": "bob"}));
        names.push(reply["device"].as_str().expect("a name").to_owned());
        clients.push(client);
    }
    let bob = Api::of(&gateway).user("bob");
    let begun = |_| {
        let mut stream = bob.begin("GET", "/api/v1/events");
        stream.head();
        stream
    };
    let streams: Vec<_> = (0..2).map(begun).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), SESSIONS, "{names:?}");
    let reply = alice.done("presence", &json!({"query": ["bob"]}));
    let devices = &reply["users"][0]["devices"];
    assert_eq!(*devices, SESSIONS + streams.len(), "{reply}");
}

#[test]
fn watchers_are_told_of_every_device() {
    let gateway = gateway("0s");
    let mut watchers = watchers(&gateway, &["bob"]);
    // The devices may be on any shard. Choosing a shard takes several attempts, and watchers would
    // get a push for each.
    let mut devices = Vec::new();
    for count in 1..=5 {
        devices.push(gateway.dial().connect("bob", &format!("device{count}")));
        told(&mut watchers, "bob", count);
    }
    while let Some(device) = devices.pop() {
        device.close();
        told(&mut watchers, "bob", devices.len() as u64);
    }
    let reply = watchers[0].done("presence", &json!({"query": ["bob"]}));
    let seen = reply["users"][0]["last_seen"]
        .as_u64()
        .expect("it is known");
    assert!(seen <= now());
    assert_eq!(
        reply["users"],
        json!([{"user": "bob", "online": false, "devices": 0, "last_seen": seen}])
    );
}

#[test]
fn a_query_tells_and_promises_nothing() {
    let gateway = gateway("0s");
    let _bob = gateway.dial().shard(1).connect("bob", "phone");
    let mut alice = gateway.dial().shard(2).connect("alice", "phone");
    let asked = json!({"query": ["bob", "nobody"], "watch": ["carol"]});
    let reply = alice.done("presence", &asked);
    let users = reply["users"].as_array().expect("users");
    let shown: Vec<_> = users
        .iter()
        .map(|user| (&user["user"], &user["online"], &user["devices"]))
        .collect();
    // The users of `watch` come first.
    assert_eq!(
        json!(shown),
        json!([["carol", false, 0], ["bob", true, 1], ["nobody", false, 0]])
    );
    assert!(users[1]["last_seen"].is_u64() && users[2]["last_seen"].is_null());
    let _tablet = gateway.dial().connect("bob", "tablet");
    let _carol = gateway.dial().connect("carol", "phone");
    told(std::slice::from_mut(&mut alice), "carol", 1);
    alice.ping();
    assert_eq!(alice.waiting(), Vec::<Value>::new());
}

#[test]
fn whoever_comes_back_in_time_was_never_gone() {
    let gateway = gateway("1h");
    let mut watchers = watchers(&gateway, &["bob", "marker"]);
    let mut bob = gateway.dial().shard(0).connect("bob", "phone");
    told(&mut watchers, "bob", 1);
    for shard in [0, 1, 2] {
        bob.close();
        let reply = watchers[0].done("presence", &json!({"query": ["bob"]}));
        assert_eq!(reply["users"][0]["online"], true, "{reply}");
        assert_eq!(reply["users"][0]["devices"], 1, "{reply}");
        bob = gateway.dial().shard(shard).connect("bob", "phone");
    }
    // The same for one device of two.
    let tablet = gateway.dial().connect("bob", "tablet");
    told(&mut watchers, "bob", 2);
    tablet.close();
    let _tablet = gateway.dial().connect("bob", "tablet");
    let _marker = gateway.dial().connect("marker", "phone");
    told(&mut watchers, "marker", 1);
    for watcher in &mut watchers {
        watcher.ping();
        assert_eq!(watcher.waiting(), Vec::<Value>::new());
    }
}

#[test]
fn whoever_does_not_is_offline_when_the_time_is_over() {
    let gateway = gateway("700ms");
    let mut watchers = watchers(&gateway, &["bob"]);
    for _ in 0..2 {
        let bob = gateway.dial().connect("bob", "phone");
        told(&mut watchers, "bob", 1);
        let before = now();
        bob.close();
        // A watcher that comes during the grace gets the push too.
        let mut late = gateway.dial().connect("late", "phone");
        late.done("presence", &json!({"watch": ["bob"]}));
        for watcher in watchers.iter_mut().chain([&mut late]) {
            let push = watcher.push_of("presence");
            assert_eq!(push["online"], false, "{push}");
            let seen = push["last_seen"].as_u64().expect("it is known");
            assert!((before..=now() - 700).contains(&seen), "{push}");
        }
        late.close();
    }
}

#[test]
fn whoever_does_not_watch_any_more_is_told_nothing() {
    let gateway = gateway("0s");
    let mut watchers = watchers(&gateway, &["bob", "carol"]);
    watchers[0].done("presence", &json!({"unwatch": ["bob", "nobody"]}));
    // Another connection gets the slot of this one.
    watchers.remove(1).close();
    let mut other = gateway.dial().shard(1).connect("other", "phone");
    let bob = gateway.dial().connect("bob", "phone");
    told(&mut watchers[1..], "bob", 1);
    bob.close();
    told(&mut watchers[1..], "bob", 0);
    let _carol = gateway.dial().connect("carol", "phone");
    told(&mut watchers, "carol", 1);
    for client in watchers.iter_mut().chain([&mut other]) {
        client.ping();
        assert_eq!(client.waiting(), Vec::<Value>::new());
    }
}

#[test]
fn namespaces_do_not_meet() {
    let gateway = gateway("0s");
    let dial = gateway.dial();
    let mut ours = dial.clone().with("namespace", "acme").connect("ann", "tv");
    let watch = json!({"watch": ["bob"]});
    ours.done("presence", &watch);
    let mut theirs = dial.clone().connect("ann", "tv");
    theirs.done("presence", &watch);
    let _bob = dial.clone().with("namespace", "acme").connect("bob", "tv");
    told(std::slice::from_mut(&mut ours), "bob", 1);
    let reply = theirs.done("presence", &json!({"query": ["bob"]}));
    assert_eq!(reply["users"][0]["online"], false, "{reply}");
    assert_eq!(theirs.waiting(), Vec::<Value>::new());
}

#[test]
fn a_connection_watches_only_so_many() {
    let gateway = setup("0s").flag("max-watches", 3).start();
    for encoding in [Json, Proto] {
        let dial = gateway.dial().encoding(encoding);
        let mut client = dial.connect("alice", "phone");
        let mut check = |request: Value, code: u64| {
            let reply = client.ask("presence", &request);
            assert_eq!(
                reply["error"]["code"].as_u64().unwrap_or(0),
                code,
                "{request}"
            );
        };
        check(json!({"watch": ["a", "b", "c", "d"]}), 106);
        check(json!({"watch": ["a", "b"]}), 0);
        check(json!({"watch": ["c", "d"]}), 106);
        check(json!({"watch": ["c"]}), 0);
        // One that is watched already is not one more.
        check(json!({"watch": ["a", "b", "c"]}), 0);
        check(json!({"watch": ["d"]}), 106);
        check(json!({"unwatch": ["a"], "watch": ["d"]}), 0);
        check(json!({"query": ["e", "f", "g", "h", "i"]}), 0);
    }
    let limited = gateway.metric("trunkline_limited_total{limit=\"watches\"}");
    assert_eq!(limited, 6.0);
}

#[test]
fn so_many_are_remembered() {
    const USERS: usize = 600;
    let setup = setup("0s").flag("last-seen-rate", 0);
    let gateway = setup.flag("last-seen-cache", 128).start();
    for i in 0..USERS {
        gateway.dial().connect(&format!("u{i}"), "tv").close();
    }
    let users: Vec<_> = (0..USERS).map(|i| format!("u{i}")).collect();
    let mut client = gateway.dial().connect("alice", "phone");
    let reply = client.done("presence", &json!({"query": users}));
    let users = reply["users"].as_array().expect("users");
    let known = |user: &&Value| user["last_seen"].is_u64();
    // Two of each of 64 parts, as far as they have had two.
    assert!((64..=128).contains(&users.iter().filter(known).count()));
    assert!(known(&users.last().expect("the last who left")));
}

#[test]
fn requests_that_cannot_work() {
    let gateway = gateway("0s");
    let mut client = gateway.dial().connect("alice", "phone");
    for field in ["watch", "unwatch", "query"] {
        for bad in ["", "a b", "u:a:b", &"x".repeat(65)] {
            assert_eq!(
                client.refused("presence", &json!({field: ["bob", bad]})),
                107
            );
        }
        let many: Vec<_> = (0..1_001).map(|i| format!("u{i}")).collect();
        assert_eq!(client.refused("presence", &json!({field: many})), 106);
    }
    assert_eq!(client.done("presence", &json!({}))["users"], json!([]));
}

/// Each user that a request names is paid for, and each user in the reply.
#[test]
fn each_named_user_has_a_price() {
    let gateway = gateway("0s");
    let mut client = gateway.dial().connect("alice", "phone");
    let spent = || gateway.metric("trunkline_cost_seconds_total{work=\"read\"}");
    let before = spent();
    let users: Vec<_> = (0..1_000).map(|i| format!("u{i}")).collect();
    client.done("presence", &json!({"query": users}));
    let all = spent() - before;
    // 400 ns and 300 ns for each; the store is asked for users who were never there.
    assert!(all >= 1_000.0 * 700e-9, "{all}");
    client.done("presence", &json!({"query": []}));
    assert!(spent() - before < all + 10e-6, "nobody is named");
}

/// A user with more watchers than one turn tells comes and goes. Each watcher gets the final state,
/// and other users do not notice.
#[test]
fn a_user_with_many_watchers() {
    const WATCHERS: usize = 900;
    let gateway = gateway("0s");
    let mut neighbours = Neighbours::of(&gateway, "watched");
    let mut watchers: Vec<_> = (0..WATCHERS)
        .map(|i| {
            let encoding = if i % 2 == 0 { Json } else { Proto };
            let dial = gateway.dial().encoding(encoding);
            let mut client = dial.connect(&format!("w{i}"), "phone");
            client.done("presence", &json!({"watch": ["bob"]}));
            client
        })
        .collect();
    let mut devices = Vec::new();
    for count in 1..=6 {
        for device in devices.drain(..) {
            Client::close(device);
        }
        let device = |n| gateway.dial().connect("bob", &format!("device{n}"));
        devices.extend((0..count).map(device));
        neighbours.chat();
    }
    for watcher in &mut watchers {
        let mut told = 0;
        while told != devices.len() as u64 {
            let push = watcher.push_of("presence");
            let devices = push["devices"].as_u64().expect("a number");
            assert_eq!(push["online"], devices > 0);
            assert_ne!(devices, told, "it is news");
            told = devices;
        }
    }
    neighbours.chat();
    for watcher in &mut watchers {
        watcher.ping();
        assert_eq!(watcher.waiting(), Vec::<Value>::new(), "that was the end");
    }
}
