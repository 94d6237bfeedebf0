//! Clients and gateways that come to a cluster later than others.

use serde_json::json;
use trunkline_tests::client::Client;
use trunkline_tests::cluster::{Cluster, node, texts};
use trunkline_tests::wait;

/// Sends a message to bob until it is acknowledged: the leader may change.
fn send_surely(client: &mut Client, text: &str) {
    let request = json!({"user": "bob", "text": text, "key": text});
    wait::until("an acknowledgement", || {
        let reply = client.ask("send", &request);
        reply["send"].is_object().then_some(())
    });
}

#[test]
fn a_client_that_knows_more_than_its_node_waits_for_the_log() {
    // The third gateway knows one NATS server, which stops for a while.
    let Some(cluster) = Cluster::start_each(3, |servers, name| match name {
        "c" => node(servers, name).flag("nats", &servers.urls()[2]),
        _ => node(servers, name),
    }) else {
        return;
    };
    let (mut alice, mut bob) = (cluster.connect(0, "alice"), cluster.connect(1, "bob"));
    alice.send("bob", "first");
    bob.push_of("message");
    cluster.has_all_of(2, 0);
    cluster.servers.pause(2);
    cluster.leader(&[0, 1]);
    send_surely(&mut alice, "second");
    let second = bob.push_of("message");
    assert_eq!(second["text"], "second");
    // Bob goes on at the third gateway, and gets what comes behind his position, once.
    let since = cluster.connect(1, "bob").pos();
    let connect = json!({"user": "bob", "device": "phone", "since": since});
    bob.close();
    let mut bob = cluster.nodes[2].dial().open();
    let id = bob.post("connect", &connect);
    cluster.servers.resume(2);
    let reply = bob.reply(id);
    assert_eq!(reply["connect"]["recovered"], true, "{reply}");
    assert_eq!(reply["connect"]["pos"], connect["since"], "{reply}");
    send_surely(&mut alice, "third");
    assert_eq!(bob.push_of("message")["text"], "third");
    let page = bob.done("history", &json!({"conversation": "u:alice:bob"}));
    assert_eq!(texts(&page), ["first", "second", "third"]);

    // No node waits for ever.
    cluster.servers.pause(2);
    cluster.leader(&[0, 1]);
    send_surely(&mut alice, "fourth");
    cluster.has_all_of(1, 0);
    let since = cluster.connect(1, "bob").pos();
    let connect = json!({"user": "bob", "device": "tablet", "since": since});
    let mut bob = cluster.nodes[2].dial().open();
    assert_eq!(bob.refused("connect", &connect), 112);
    cluster.servers.resume(2);
}
