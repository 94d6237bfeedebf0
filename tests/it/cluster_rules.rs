//! What a cluster answers without storing it, and when nobody can answer.

use serde_json::{Value, json};
use trunkline_tests::client::{Client, error_code};
use trunkline_tests::cluster::{Cluster, NODES, texts};

/// The commands that a test lets be refused.
const MANY: usize = 500;

/// Posts messages to a group without the client. Returns the ids of the commands.
fn intrude(client: &mut Client, count: usize) -> Vec<u32> {
    let request = json!({"group": "nowhere", "text": "x"});
    (0..count).map(|_| client.post("send", &request)).collect()
}

#[test]
fn refusals_take_no_place_in_the_log() {
    let Some(cluster) = Cluster::start(1) else {
        return;
    };
    let leader = cluster.leader(&[0, 1, 2]);
    let follower = (leader + 1) % NODES.len();
    let published = || cluster.nodes[leader].metric("trunkline_cluster_published_total");
    let mut eve = cluster.connect(follower, "eve");
    let mut bob = cluster.connect(follower, "bob");
    bob.send("alice", "first");
    let before = published();
    let mut codes = Vec::new();
    for _ in 0..MANY / 10 {
        for id in intrude(&mut eve, 10) {
            codes.push(error_code(&eve.reply(id)));
        }
    }
    assert_eq!(codes, vec![codes[0]; MANY]);
    assert_ne!(codes[0], 115);
    // Now and then a group proves that the leader leads.
    let groups = published() - before;
    assert!(groups < MANY as f64 / 10.0, "{groups} groups");

    // The answers come in the order of the commands, those that store something among them too.
    let ids: Vec<(bool, u32)> = (0..100)
        .map(|number| {
            let text = json!({"user": "alice", "text": format!("{number}")});
            let refused = json!({"group": "nowhere", "text": "x"});
            let is_good = number % 3 == 0;
            let request = if is_good { &text } else { &refused };
            (is_good, bob.post("send", request))
        })
        .collect();
    let mut seqs = Vec::new();
    for (is_good, id) in ids {
        let reply = bob.reply(id);
        if is_good {
            seqs.push(reply["send"]["seq"].as_u64().expect("a sequence"));
        } else {
            assert_eq!(error_code(&reply), codes[0], "{reply}");
        }
    }
    assert!(seqs.is_sorted() && seqs.len() == 34, "{seqs:?}");
}

#[test]
fn without_nats_no_node_answers_from_what_it_knew_and_nobody_waits_for_ever() {
    let Some(mut cluster) = Cluster::start(1) else {
        return;
    };
    let leader = cluster.leader(&[0, 1, 2]);
    let mut clients = [0, 1, 2].map(|at| cluster.connect(at, ["alice", "bob", "carol"][at]));
    let foreign = json!({"group": "nowhere", "text": "x"});
    let code = clients[leader].refused("send", &foreign);
    assert_ne!(code, 115);
    clients[leader].send("dora", "stored");
    cluster.servers.kill(0);
    // The leader may answer for half a second: until it has to publish something.
    let stored = json!({"user": "dora", "text": "lost", "key": "k1"});
    assert_eq!(clients[leader].refused("send", &stored), 115);
    for client in &mut clients {
        let ids = [
            client.post("send", &foreign),
            client.post("send", &json!({"user": "dora", "text": "lost too"})),
        ];
        let codes: Vec<u64> = ids.map(|id| error_code(&client.reply(id))).to_vec();
        assert_eq!(codes, [115, 115]);
    }
    cluster.servers.restart(0);
    for at in 0..NODES.len() {
        cluster.is_ready(at);
    }
    for client in &mut clients {
        assert_eq!(client.refused("send", &foreign), code);
    }
    // What was given up was not taken by anybody later.
    clients[0].send("dora", "last");
    let mut dora = cluster.connect(1, "dora");
    let pages = ["alice", "bob", "carol"].map(|user| {
        let conversation = format!("u:{user}:dora");
        let conversation = if user < "dora" {
            conversation
        } else {
            format!("u:dora:{user}")
        };
        dora.ask("history", &json!({"conversation": conversation}))
    });
    let all: Vec<String> = pages
        .iter()
        .filter(|page| page["history"].is_object())
        .flat_map(|page: &Value| texts(&page["history"]))
        .collect();
    assert!(!all.contains(&"lost too".to_owned()), "{all:?}");
}
