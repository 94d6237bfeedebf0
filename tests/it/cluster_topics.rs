//! Topics over three gateways with one log.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::cluster::{Cluster, NODES};
use trunkline_tests::wait;

/// As many topics as there must be, so that each node numbers some.
const TOPICS: usize = 12;

fn topic(number: usize) -> String {
    format!("live.{number}")
}

/// Waits until all nodes know each other: then they agree on who numbers which topic.
fn all_meet(cluster: &Cluster, among: &[usize]) {
    for at in among {
        wait::until("other nodes", || {
            let others = cluster.nodes[*at].metric("trunkline_cluster_other_nodes");
            (others == (among.len() - 1) as f64).then_some(())
        });
    }
}

fn subscribe(client: &mut Client, request: &Value) -> Value {
    client.done("subscribe", request)
}

fn publish(client: &mut Client, topic: &str, data: usize) -> String {
    let reply = client.done("publish", &json!({"topic": topic, "data": data}));
    reply["pos"].as_str().expect("a position").to_owned()
}

/// Returns the positions and the data of the next publications.
fn heard(client: &mut Client, count: usize) -> Vec<(String, Value)> {
    let one = |_| {
        let mut came = client.push_of("publication");
        let pos = came["pos"].as_str().expect("a position").to_owned();
        (pos, came["data"].take())
    };
    (0..count).map(one).collect()
}

#[test]
fn all_subscribers_get_one_order_and_what_they_missed_from_any_node() {
    let Some(cluster) = Cluster::start(1) else {
        return;
    };
    all_meet(&cluster, &[0, 1, 2]);
    let mut clients: Vec<_> = (0..NODES.len())
        .map(|at| cluster.connect(at, &format!("user{at}")))
        .collect();
    for number in 0..TOPICS {
        let topic = topic(number);
        for client in &mut clients {
            let reply = subscribe(client, &json!({"topic": topic}));
            assert_eq!(reply["recovered"], false);
        }
        // All at the same time, several each.
        const EACH: usize = 5;
        for (at, client) in clients.iter_mut().enumerate() {
            let data = (0..EACH).map(|n| json!({"publish": {"topic": topic, "data": at * 10 + n}}));
            client.post_raw(&data.collect::<Vec<_>>());
        }
        let mut all: Vec<_> = clients
            .iter_mut()
            .map(|client| heard(client, EACH * NODES.len()))
            .collect();
        let first = all.remove(0);
        assert!(all.iter().all(|other| *other == first), "{topic}: {all:?}");
        let positions: BTreeSet<_> = first.iter().map(|(pos, _)| pos).collect();
        assert_eq!(positions.len(), first.len());
        assert!(first.is_sorted_by_key(|(pos, _)| pos.clone()));
        // Each publisher's in the order in which it published.
        for at in 0..NODES.len() as u64 {
            let of = first.iter().filter_map(|(_, data)| data.as_u64());
            assert!(of.filter(|data| data / 10 == at).is_sorted());
        }
    }
    // One goes to another node, and gets what it missed there.
    let topic = topic(0);
    let since = publish(&mut clients[0], &topic, 100);
    for client in &mut clients {
        assert_eq!(heard(client, 1)[0].0, since);
    }
    clients.remove(2).close();
    let mut missed: Vec<_> = (0..3)
        .map(|n| (publish(&mut clients[1], &topic, 200 + n), json!(200 + n)))
        .collect();
    for client in &mut clients {
        assert_eq!(heard(client, 3), missed);
    }
    for (at, node) in NODES.into_iter().enumerate() {
        let mut back = cluster.connect(at, "user2");
        let reply = subscribe(&mut back, &json!({"topic": topic, "since": since}));
        assert_eq!(reply["recovered"], true, "at {node}");
        assert_eq!(heard(&mut back, missed.len()), missed);
        let next = publish(&mut clients[0], &topic, 300 + at);
        assert_eq!(heard(&mut back, 1)[0].0, next);
        missed.push((next, json!(300 + at)));
        for client in &mut clients {
            heard(client, 1);
        }
        back.close();
    }
}

#[test]
fn topics_of_a_killed_node_begin_anew_with_a_gap() {
    let Some(mut cluster) = Cluster::start(1) else {
        return;
    };
    all_meet(&cluster, &[0, 1, 2]);
    let victim = (cluster.leader(&[0, 1, 2]) + 1) % 3;
    let others: Vec<_> = (0..3).filter(|at| *at != victim).collect();
    let mut subscriber = cluster.connect(others[0], "alice");
    let mut publisher = cluster.connect(others[1], "bob");
    for number in 0..TOPICS {
        subscribe(&mut subscriber, &json!({"topic": topic(number)}));
        publish(&mut publisher, &topic(number), number);
    }
    let before = heard(&mut subscriber, TOPICS);
    cluster.nodes[victim].kill();
    all_meet(&cluster, &others);
    let (mut gaps, mut after) = (0, BTreeSet::new());
    for number in 0..TOPICS {
        let pos = publish(&mut publisher, &topic(number), 100 + number);
        loop {
            let push = subscriber.push();
            if push["gap"].is_object() {
                gaps += 1;
                continue;
            }
            assert_eq!(push["publication"]["pos"], json!(pos));
            break;
        }
        after.insert(pos);
    }
    assert!(gaps > 0, "the killed node numbered some topics");
    // The others go on where they were.
    let epoch = |pos: &str| pos.split_once('-').expect("two parts").0.to_owned();
    let before: BTreeSet<_> = before.iter().map(|(pos, _)| epoch(pos)).collect();
    let after: BTreeSet<_> = after.iter().map(|pos| epoch(pos)).collect();
    let same = before.intersection(&after).count();
    assert!((1..TOPICS).contains(&same), "{same} of {TOPICS}");
}
