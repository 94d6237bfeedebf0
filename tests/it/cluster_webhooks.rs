//! Webhooks in a cluster: one node at a time tells, and another one goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use trunkline_tests::api::Api;
use trunkline_tests::back_end::{Asked, Says};
use trunkline_tests::cluster::Cluster;
use trunkline_tests::gateway::Setup;
use trunkline_tests::wait;

use super::webhooks::{Seen, ok, recording, told, what};
use super::webhooks_presence;

/// The ids under which each message was told, as often as it was tried.
fn ids(seen: &Seen) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut ids = BTreeMap::<_, BTreeSet<_>>::new();
    for asked in &*seen.lock().expect("nobody panicked") {
        let id = asked.headers["webhook-id"].clone();
        ids.entry(what(asked)).or_default().insert(id);
    }
    ids
}

#[test]
fn one_node_tells_of_each_message_whichever_node_got_it() {
    let (back, seen) = recording(ok);
    let telling = |setup: Setup| {
        let setup = back.asked_by(setup, &["offline"]);
        setup.flag("presence-grace", "0ms")
    };
    let Some(cluster) = Cluster::start_with(1, telling) else {
        return;
    };
    let mut senders: Vec<_> = ["una", "vic", "wim"]
        .iter()
        .enumerate()
        .map(|(at, user)| cluster.connect(at, user))
        .collect();
    // Online at one node is online at all.
    let mut carol = cluster.connect(2, "carol");
    for node in &cluster.nodes {
        wait::until("a node that knows carol", || {
            let shown = Api::admin(node).done("GET", "/admin/v1/users/carol", None);
            (shown["online"] == true).then_some(())
        });
    }
    for number in 0..5 {
        for (at, sender) in senders.iter_mut().enumerate() {
            sender.send("carol", "seen");
            carol.push_of("message");
            sender.send("bob", &format!("{number} of {at}"));
        }
    }
    told(&seen, 15);
    // Later ones would follow earlier ones.
    senders[0].send("dave", "last");
    let all = told(&seen, 16);
    let mut wanted: BTreeSet<_> = { (0..5).flat_map(|number| (0..3).map(move |at| (number, at))) }
        .map(|(number, at)| ("bob".to_owned(), format!("{number} of {at}")))
        .collect();
    wanted.insert(("dave".to_owned(), "last".to_owned()));
    let found: BTreeSet<_> = all.iter().map(what).collect();
    assert_eq!(found, wanted);
    assert_eq!(all.len(), 16, "each once");
    let tries = |at: usize| {
        let name = "trunkline_webhooks_tries_total{result=\"told\"}";
        cluster.nodes[at].metric(name)
    };
    let leader = cluster.leader(&[0, 1, 2]);
    for at in 0..3 {
        let wanted = if at == leader { 16.0 } else { 0.0 };
        wait::until("the count of tries", || (tries(at) == wanted).then_some(()));
    }
}

#[test]
fn the_next_leader_goes_on_where_the_last_one_was() {
    let is_up = Arc::new(AtomicBool::new(true));
    let answers = {
        let is_up = Arc::clone(&is_up);
        move |_: &Asked| match is_up.load(Ordering::SeqCst) {
            true => Says::Json(json!({})),
            false => Says::Status(503),
        }
    };
    let (back, seen) = recording(answers);
    let telling = |setup: Setup| {
        let setup = back.asked_by(setup, &["offline"]);
        setup.flag("presence-grace", "1s")
    };
    let Some(mut cluster) = Cluster::start_with(1, telling) else {
        return;
    };
    let leader = cluster.leader(&[0, 1, 2]);
    let other = (leader + 1) % 3;
    let mut alice = cluster.connect(other, "alice");
    alice.send("bob", "told by the first leader");
    told(&seen, 1);
    is_up.store(false, Ordering::SeqCst);
    for text in ["one", "two"] {
        alice.send("bob", text);
        alice.send("dave", text);
    }
    // Tried, and refused.
    wait::until("both recipients", || {
        let tried = ids(&seen);
        let has = |user: &str| tried.contains_key(&(user.to_owned(), "one".to_owned()));
        (has("bob") && has("dave")).then_some(())
    });
    cluster.nodes[leader].kill();
    let next = cluster.leader(&[other, (leader + 2) % 3]);
    alice.send("bob", "three");
    is_up.store(true, Ordering::SeqCst);
    let wanted = |user: &str, text: &str| (user.to_owned(), text.to_owned());
    let all: BTreeSet<_> = [
        ("bob", "told by the first leader"),
        ("bob", "one"),
        ("bob", "two"),
        ("bob", "three"),
        ("dave", "one"),
        ("dave", "two"),
    ]
    .map(|(user, text)| wanted(user, text))
    .into();
    wait::until("all messages", || {
        let found: BTreeSet<_> = ids(&seen).into_keys().collect();
        (found == all).then_some(())
    });
    // Each has one id, whichever node told it.
    for (message, ids) in ids(&seen) {
        assert_eq!(ids.len(), 1, "{message:?}: {ids:?}");
    }
    wait::until("nothing that waits", || {
        let waiting = cluster.nodes[next].metric("trunkline_webhooks_waiting");
        (waiting == 0.0).then_some(())
    });
    // In the order of each recipient, at the second leader too.
    let all = seen.lock().expect("nobody panicked").clone();
    let last: Vec<_> = { all.iter() }
        .map(what)
        .filter(|(user, _)| user == "bob")
        .map(|(_, text)| text)
        .collect();
    assert!(
        last.ends_with(&["one".into(), "two".into(), "three".into()]),
        "{last:?}"
    );
}

#[test]
fn users_of_all_nodes_come_and_leave_once() {
    let (back, seen) = webhooks_presence::recording();
    let told = |user: &str, count| webhooks_presence::told(&seen, user, count);
    let telling = |setup: Setup| {
        let setup = back.asked_by(setup, &["presence"]);
        setup.flag("presence-grace", "5s")
    };
    let Some(mut cluster) = Cluster::start_with(1, telling) else {
        return;
    };
    let leader = cluster.leader(&[0, 1, 2]);
    let [one, other] = [1, 2].map(|step| (leader + step) % 3);
    let knows = |at: usize, user: &str, devices: usize| {
        wait::until("a node that knows the user's devices", || {
            let path = format!("/admin/v1/users/{user}");
            let shown = Api::admin(&cluster.nodes[at]).done("GET", &path, None);
            (shown["devices"] == devices).then_some(())
        });
    };
    // With two devices, at two nodes that do not tell.
    let phone = cluster.connect(one, "alice");
    assert_eq!(told("alice", 1), [true]);
    knows(other, "alice", 1);
    let laptop = cluster.nodes[other].dial().connect("alice", "laptop");
    knows(one, "alice", 2);
    phone.close();
    // Moves from node to node.
    knows(leader, "alice", 1);
    laptop.close();
    let tablet = cluster.nodes[leader].dial().connect("alice", "tablet");
    let bob = cluster.connect(other, "bob");
    assert_eq!(told("bob", 1), [true]);
    bob.close();
    // The grace time of alice's last move is over by then.
    assert_eq!(told("bob", 2), [true, false]);
    tablet.close();
    assert_eq!(told("alice", 2), [true, false]);
    // Another leader goes on.
    cluster.nodes[leader].stop();
    cluster.leader(&[one, other]);
    let carol = cluster.connect(one, "carol");
    wait::until("carol to come", || {
        told("carol", 1).first().copied().filter(|online| *online)
    });
    carol.close();
    wait::until("carol to leave", || {
        told("carol", 2).last().copied().filter(|online| !*online)
    });
    assert_eq!(told("alice", 2), [true, false]);
}
