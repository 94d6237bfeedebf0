//! Presence, typing and signals over three gateways with one log.

use serde_json::{Value, json};
use trunkline_tests::api::{Api, problem};
use trunkline_tests::client::Client;
use trunkline_tests::cluster::{Cluster, NODES};
use trunkline_tests::gateway::Setup;
use trunkline_tests::wait;

/// Starts a cluster where users are online for this time after they left.
fn cluster(grace: &'static str) -> Option<Cluster> {
    Cluster::start_with(1, |setup: Setup| {
        setup
            .flag("presence-grace", grace)
            .flag("last-seen-interval", "100ms")
    })
}

/// Waits until a node knows how many devices a user has, wherever they are.
fn knows(watcher: &mut Client, user: &str, devices: u64) {
    wait::until("presence of other nodes", || {
        let reply = watcher.done("presence", &json!({"query": [user]}));
        (reply["users"][0]["devices"] == devices).then_some(())
    });
}

/// The next push must say that a user has this number of devices. Returns when the user was last seen.
fn told(watcher: &mut Client, user: &str, devices: u64) -> Option<u64> {
    let push = watcher.push();
    let presence = &push["presence"];
    let state = (&presence["user"], &presence["online"], &presence["devices"]);
    let expected = (&json!(user), &json!(devices > 0), &json!(devices));
    assert_eq!(state, expected, "{push}");
    presence["last_seen"].as_u64()
}

fn watch(watcher: &mut Client, user: &str) -> Value {
    let reply = watcher.done("presence", &json!({"watch": [user]}));
    reply["users"][0].clone()
}

#[test]
fn a_user_is_online_at_any_node_and_may_hop() {
    let Some(cluster) = cluster("5s") else {
        return;
    };
    let mut watchers: Vec<_> = (0..NODES.len())
        .map(|at| cluster.connect(at, &format!("watcher{at}")))
        .collect();
    for watcher in &mut watchers {
        assert_eq!(watch(watcher, "alice")["online"], false);
    }
    let phone = cluster.connect(0, "alice");
    for watcher in &mut watchers {
        told(watcher, "alice", 1);
    }
    // A new watch knows it at once.
    let mut late = cluster.connect(2, "late");
    assert_eq!(watch(&mut late, "alice")["devices"], 1);
    // The same device comes to another node before the grace time is over.
    phone.close();
    let phone = cluster.connect(1, "alice");
    // It is at two nodes for a moment: one device all the same.
    let again = cluster.connect(2, "alice");
    // Watchers are told of the next device, and of nothing before it.
    let tablet = cluster.nodes[2].dial().connect("alice", "tablet");
    watchers.push(late);
    for watcher in &mut watchers {
        told(watcher, "alice", 2);
    }
    for client in [phone, again, tablet] {
        client.close();
    }
    for watcher in &mut watchers {
        told(watcher, "alice", 0);
    }
}

#[test]
fn sessions_of_a_user_count_at_all_nodes() {
    let limit = |setup: Setup| setup.http().flag("connections-per-user", 2);
    let Some(cluster) = Cluster::start_with(1, limit) else {
        return;
    };
    let mut watcher = cluster.connect(2, "watcher");
    let phone = cluster.connect(0, "alice");
    let _tablet = cluster.nodes[1].dial().connect("alice", "tablet");
    knows(&mut watcher, "alice", 2);
    let third = json!({"user": "alice", "device": "watch"});
    let mut client = cluster.nodes[2].dial().open();
    assert_eq!(client.refused("connect", &third), 106);
    assert_eq!(client.push_of("disconnect")["code"], 3_504);
    let alice = Api::of(&cluster.nodes[2]).user("alice");
    let answer = alice.ask("GET", "/api/v1/events", None);
    assert_eq!(problem(&answer), (413, 106));
    // A device that moves is not in its own way.
    let moved = cluster.connect(2, "alice");
    phone.close();
    moved.close();
    knows(&mut watcher, "alice", 1);
    cluster.nodes[2].dial().connect("alice", "watch").ping();
}

#[test]
fn the_users_of_a_killed_node_leave() {
    let Some(mut cluster) = cluster("1s") else {
        return;
    };
    let leader = cluster.leader(&[0, 1, 2]);
    let [victim, other] = [(leader + 1) % 3, (leader + 2) % 3];
    let mut watcher = cluster.connect(other, "watcher");
    watch(&mut watcher, "alice");
    watch(&mut watcher, "bob");
    let _alice = cluster.connect(victim, "alice");
    told(&mut watcher, "alice", 1);
    let _bob = cluster.connect(leader, "bob");
    told(&mut watcher, "bob", 1);
    cluster.nodes[victim].kill();
    let seen = told(&mut watcher, "alice", 0);
    assert!(seen.is_some());
    // The node comes back, and learns who is at the others.
    cluster.nodes[victim].start_again();
    cluster.is_ready(victim);
    let mut late = cluster.connect(victim, "late");
    knows(&mut late, "bob", 1);
    knows(&mut late, "alice", 0);
    watcher.ping();
    assert_eq!(watcher.waiting(), Vec::<Value>::new(), "bob was there");
}

#[test]
fn who_leaves_a_follower_was_last_seen_by_all() {
    let Some(mut cluster) = cluster("0s") else {
        return;
    };
    let leader = cluster.leader(&[0, 1, 2]);
    let follower = (leader + 1) % 3;
    cluster.connect(follower, "alice").close();
    wait::until("the log to know who left", || {
        let stored = cluster.nodes[leader].metric("trunkline_last_seen_stored_total");
        (stored >= 1.0).then_some(())
    });
    let mut watcher = cluster.connect(leader, "watcher");
    let seen = |watcher: &mut Client| watch(watcher, "alice")["last_seen"].as_u64();
    let first = seen(&mut watcher).expect("a time");
    // A node that has just started has it from the log alone.
    let third = (leader + 2) % 3;
    cluster.nodes[third].stop();
    cluster.nodes[third].start_again();
    cluster.is_ready(third);
    cluster.has_all_of(third, leader);
    let mut watcher = cluster.connect(third, "watcher");
    let again = seen(&mut watcher).expect("a time");
    assert!(first.abs_diff(again) < 1_000, "{first} {again}");
}

#[test]
fn typing_and_signals_reach_users_at_other_nodes() {
    let Some(cluster) = cluster("5s") else {
        return;
    };
    let [mut alice, mut bob, mut carol] =
        [(0, "alice"), (1, "bob"), (2, "carol")].map(|(at, user)| cluster.connect(at, user));
    let mut tablet = cluster.nodes[2].dial().proto().connect("bob", "tablet");
    for client in [&mut alice, &mut bob, &mut carol] {
        knows(client, "alice", 1);
        knows(client, "bob", 2);
        knows(client, "carol", 1);
    }
    // Both devices get the signals, in their order.
    for number in 0..20 {
        let data = json!({"call": "ring", "number": number});
        let reply = alice.done("signal", &json!({"user": "bob", "data": data}));
        assert_eq!(reply, json!({"online": true}));
    }
    for device in [&mut bob, &mut tablet] {
        for number in 0..20 {
            let came = device.push_of("signal");
            let expected = json!({"user": "alice", "data": {"call": "ring", "number": number}});
            assert_eq!(came, expected);
        }
    }
    bob.done("typing", &json!({"conversation": "u:alice:bob"}));
    let typing = alice.push_of("typing");
    assert_eq!(
        (&typing["user"], &typing["stop"]),
        (&json!("bob"), &Value::Null)
    );
    let group = json!({"group": "eng", "members": ["alice", "bob"]});
    carol.done("group_create", &group);
    for member in [&mut alice, &mut bob, &mut tablet] {
        member.push_of("group");
    }
    alice.done("typing", &json!({"conversation": "g:eng", "stop": true}));
    for member in [&mut bob, &mut tablet, &mut carol] {
        let typing = member.push_of("typing");
        assert_eq!(
            (&typing["user"], &typing["conversation"]),
            (&json!("alice"), &json!("g:eng"))
        );
    }
    // Who is at no node gets nothing.
    let signal = json!({"user": "dora", "data": 1});
    assert_eq!(alice.done("signal", &signal), json!({"online": false}));
}
