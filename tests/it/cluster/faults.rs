//! Faults of one node: its store, its place in the cluster, and what it is told to do.

use serde_json::json;
use trunkline_tests::cluster::{Cluster, NAME, command_at, get, texts};

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
