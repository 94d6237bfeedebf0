//! Faults of one node: its store, its place in the cluster, and what it is told to do.

use std::path::PathBuf;

use serde_json::json;
use trunkline_tests::cluster::{Cluster, NAME, NODES, command_at, get, texts};
use trunkline_tests::gateway::Gateway;
use trunkline_tests::wait;

/// Moves the data folder of a gateway away. Returns where it is.
fn take_away(gateway: &Gateway) -> PathBuf {
    let away = gateway.data().with_extension("away");
    std::fs::rename(gateway.data(), &away).expect("it can be moved");
    away
}

/// Another node leads, and the first one takes what came meanwhile without a new start.
#[test]
fn a_node_without_its_store_does_not_lead_and_goes_on_when_it_is_back() {
    let Some(cluster) = Cluster::start(1) else {
        return;
    };
    let leader = cluster.leader(&[0, 1, 2]);
    let others: Vec<_> = (0..NODES.len()).filter(|at| *at != leader).collect();
    let before = cluster.nodes[leader].metric("trunkline_cluster_applied");
    let away = take_away(&cluster.nodes[leader]);
    let next = cluster.leader(&others);
    wait::until("the end of the lead", || {
        let leads = cluster.nodes[leader].metric("trunkline_cluster_leader") > 0.0;
        (!leads).then_some(())
    });
    let mut alice = cluster.connect(next, "alice");
    alice.send("bob", "meanwhile");
    let (status, why) = get(cluster.nodes[leader].control(), "/readyz");
    assert!(status == 503 && why.contains("folder"), "{status} {why}");
    assert_eq!(
        cluster.nodes[leader].metric("trunkline_cluster_applied"),
        before,
        "a store that is not there takes nothing"
    );
    cluster.nodes[leader].logged("the node does not lead, and is not ready");
    std::fs::rename(&away, cluster.nodes[leader].data()).expect("it can be moved back");
    cluster.is_ready(leader);
    cluster.has_all_of(leader, next);
    let mut bob = cluster.connect(leader, "bob");
    let page = bob.done("history", &json!({"conversation": "u:alice:bob"}));
    assert_eq!(texts(&page), ["meanwhile"]);
    alice.send("bob", "after");
    assert_eq!(bob.push_of("message")["text"], "after");
}

/// The node takes later what the client has from another node, and does not push that again.
#[test]
fn a_client_that_is_ahead_of_its_node_gets_nothing_twice_and_misses_nothing() {
    let Some(cluster) = Cluster::start(1) else {
        return;
    };
    let leader = cluster.leader(&[0, 1, 2]);
    let (other, behind) = ((leader + 1) % NODES.len(), (leader + 2) % NODES.len());
    let mut alice = cluster.connect(leader, "alice");
    let mut bob = cluster.connect(other, "bob");
    let away = take_away(&cluster.nodes[behind]);
    wait::until("a node that takes nothing", || {
        let (status, why) = get(cluster.nodes[behind].control(), "/readyz");
        (status == 503 && why.contains("folder")).then_some(())
    });
    alice.send("bob", "seen");
    let push = bob.push();
    assert_eq!(push["message"]["text"], "seen");
    let pos = push["pos"].as_str().expect("a position").to_owned();
    bob.close();

    let dial = cluster.nodes[behind].dial().since(&pos);
    let mut bob = dial.connect("bob", "phone");
    let (missed, end) = bob.caught_up();
    assert!(missed.is_empty(), "{missed:?}");
    assert_eq!(end["pos"], pos);
    let page = bob.done("sync", &json!({"since": pos}));
    assert_eq!((&page["events"], &page["pos"]), (&json!([]), &json!(pos)));
    // What the node has not taken is not passed over.
    let page = bob.done("sync", &json!({"since": "0"}));
    assert_eq!(page["events"], json!([]));
    let before = page["pos"].as_str().expect("a position").to_owned();

    alice.send("bob", "after");
    std::fs::rename(&away, cluster.nodes[behind].data()).expect("it can be moved back");
    assert_eq!(bob.push_of("message")["text"], "after");
    let page = bob.done("sync", &json!({"since": before}));
    let events = page["events"].as_array().expect("events");
    let texts: Vec<_> = { events.iter().map(|event| &event["message"]["text"]) }.collect();
    assert_eq!(texts, ["seen", "after"]);
}

/// Nobody can say whether the log had the batch when the stream went away.
#[test]
fn what_is_on_its_way_when_a_node_stops_has_an_unknown_outcome() {
    let Some(cluster) = Cluster::start(1) else {
        return;
    };
    let leader = cluster.leader(&[0, 1, 2]);
    let mut alice = cluster.connect(leader, "alice");
    alice.send("bob", "before");
    let mut raw = cluster.servers.client(0);
    let deleted = raw.ask(&format!("$JS.API.STREAM.DELETE.TRUNKLINE_{NAME}"), b"");
    assert_eq!(deleted["success"], true, "{deleted}");
    let reply = alice.ask("send", &json!({"user": "bob", "text": "after"}));
    assert_eq!(reply["error"]["code"], 115, "{reply}");
    let why = reply["error"].to_string();
    assert!(why.contains("is not known"), "{why}");
    // What comes later has not been on its way.
    assert_eq!(
        alice.refused("send", &json!({"user": "bob", "text": "later"})),
        115
    );
    let (status, why) = get(cluster.nodes[leader].control(), "/readyz");
    assert!(status == 503 && why.contains("is gone"), "{status} {why}");
    // Reads go on.
    let page = alice.done("history", &json!({"conversation": "u:alice:bob"}));
    assert_eq!(texts(&page), ["before"]);
}

#[test]
fn a_cluster_that_no_node_could_join_is_not_made() {
    // Nobody listens there: the plan is looked at first.
    let nowhere = "nats://127.0.0.1:1";
    for (flag, value, why) in [
        (
            "--segment-bytes",
            "4KiB",
            "--segment-bytes: too small: at least 393216B",
        ),
        (
            "--segment-bytes",
            "2GiB",
            "--segment-bytes: 2GiB is too large",
        ),
        ("--max-bytes", "1B", "give it 64 MiB or more"),
    ] {
        let refused = command_at(nowhere, &["init", flag, value]).expect_err("it is refused");
        assert!(refused.contains(why), "{refused}");
    }
}
