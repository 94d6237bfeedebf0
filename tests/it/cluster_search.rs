//! Searches in a cluster: each node has an index of its own store.

use serde_json::json;
use trunkline_tests::client::Client;
use trunkline_tests::cluster::{Cluster, NODES};
use trunkline_tests::gateway::Setup;
use trunkline_tests::wait::until;

/// Waits until a search finds these texts.
fn finds(client: &mut Client, words: &str, wanted: &[&str], at: usize) {
    let node = NODES[at];
    until(&format!("{words:?} at {node}"), || {
        // An index that has just been opened may say that it is not ready.
        let reply = client.ask("search", &json!({"text": words}));
        let messages = reply["search"]["messages"].as_array()?;
        let texts: Vec<_> = messages.iter().map(|message| &message["text"]).collect();
        (texts == wanted).then_some(())
    });
}

#[test]
fn each_node_finds_what_was_sent_at_any_and_nothing_that_is_gone() {
    let searching = |setup: Setup| setup.flag("search", true);
    let Some(mut cluster) = Cluster::start_with(1, searching) else {
        return;
    };
    let leader = cluster.leader(&[0, 1, 2]);
    let [one, other] = [1, 2].map(|step| (leader + step) % 3);
    let mut alice = cluster.connect(leader, "alice");
    let mut bob = cluster.connect(one, "bob");
    alice.send("bob", "lunch on friday");
    bob.push_of("message");
    bob.send("alice", "no lunch for me");
    alice.push_of("message");
    let both = ["no lunch for me", "lunch on friday"];
    for at in 0..3 {
        for user in ["alice", "bob"] {
            let mut client = cluster.nodes[at].dial().connect(user, "laptop");
            finds(&mut client, "lunch", &both, at);
        }
        let mut eve = cluster.connect(at, "eve");
        finds(&mut eve, "lunch", &[], at);
    }

    // A node that is away meanwhile takes what it missed into its index.
    cluster.nodes[other].kill();
    bob.done("recall", &json!({"conversation": "u:alice:bob", "seq": 2}));
    alice.send("bob", "lunch is over");
    cluster.nodes[other].start_again();
    cluster.is_ready(other);
    cluster.has_all_of(other, leader);
    let left = ["lunch is over", "lunch on friday"];
    for at in 0..3 {
        let mut client = cluster.nodes[at].dial().connect("bob", "laptop");
        finds(&mut client, "lunch", &left, at);
        finds(&mut client, "no", &[], at);
    }
}
