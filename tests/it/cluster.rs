//! Three gateways with one log.

mod faults;
mod stops;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use trunkline_tests::cluster::{Cluster, NODES, check, command, send_all, texts};
use trunkline_tests::gateway::Gateway;
use trunkline_tests::wait;

#[test]
fn users_at_three_gateways_share_conversations() {
    let Some(cluster) = Cluster::start(1) else {
        return;
    };
    let line = cluster.nodes[0].ready_line().to_owned();
    assert!(line.contains(" cluster=chat node=a role="), "{line}");
    let [mut alice, mut bob, mut carol] =
        [(0, "alice"), (1, "bob"), (2, "carol")].map(|(at, user)| cluster.connect(at, user));

    // 1:1, in both directions, with receipts.
    let sent = alice.send("bob", "from a to b");
    let came = bob.push_of("message");
    assert_eq!(
        (&came["text"], &came["seq"]),
        (&json!("from a to b"), &sent["seq"])
    );
    bob.ack("u:alice:bob", &json!({"read": 1}));
    assert_eq!(alice.push_of("receipt")["read"], 1);
    bob.send("alice", "back");
    assert_eq!(alice.push_of("message")["text"], "back");

    // A group with a member at each node. Everybody sees the same order.
    let group = json!({"group": "eng", "members": ["bob", "carol"]});
    alice.done("group_create", &group);
    for member in [&mut bob, &mut carol] {
        member.push_of("group");
    }
    for (client, text) in [(&mut carol, "c"), (&mut bob, "b"), (&mut alice, "a")] {
        client.done("send", &json!({"group": "eng", "text": text}));
    }
    // What nobody may do is refused at a follower as at the leader.
    let foreign = json!({"group": "ops", "text": "x"});
    let codes = [&mut alice, &mut bob, &mut carol].map(|client| client.refused("send", &foreign));
    assert_eq!(codes, [codes[0]; 3]);

    for (at, node) in NODES.into_iter().enumerate() {
        cluster.has_all_of(at, 0);
        let mut other = cluster.nodes[at].dial().connect("bob", "laptop");
        let page = other.done("history", &json!({"conversation": "g:eng"}));
        assert_eq!(texts(&page), ["c", "b", "a"], "at {node}");
        let page = other.done("history", &json!({"conversation": "u:alice:bob"}));
        assert_eq!(texts(&page), ["from a to b", "back"], "at {node}");
    }

    // A position of one node is good at another.
    let since = carol.pos();
    carol.close();
    alice.send("carol", "while away");
    cluster.has_all_of(1, 0);
    let dial = cluster.nodes[1].dial().since(&since);
    let mut carol = dial.connect("carol", "phone");
    let (missed, _) = carol.caught_up();
    let missed: Vec<_> = missed.iter().map(|push| &push["message"]["text"]).collect();
    assert_eq!(missed.last(), Some(&&json!("while away")), "{missed:?}");

    let shown = command(&cluster.servers, &["status", "--json"]).expect("a status");
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let leader = NODES[cluster.leader(&[0, 1, 2])];
    assert_eq!(shown["leader"], leader, "{shown}");
    assert_eq!(shown["nodes"].as_array().map(Vec::len), Some(3), "{shown}");
    let again = command(&cluster.servers, &["init", "--replicas", "1"]);
    assert!(again.expect_err("it is there").contains("is there already"));
}

/// Kills the node at the place that `victim` chooses while three users send, and starts it again.
fn kill_in_the_middle(servers: usize, victim: impl Fn(&Cluster) -> usize) {
    const EACH: usize = 170;
    let Some(mut cluster) = Cluster::start(servers) else {
        return;
    };
    let victim = victim(&cluster);
    let addresses: Vec<_> = cluster.nodes.iter().map(Gateway::ws).collect();
    let acknowledged = AtomicUsize::new(0);
    let users = ["una", "vic", "wim"];
    let sent = std::thread::scope(|scope| {
        let senders = users.map(|user| {
            let first = users
                .iter()
                .position(|it| *it == user)
                .expect("one of them");
            // Each begins at another node, and nobody comes to the dead one a second time.
            let mut order = vec![addresses[first]];
            let others = (1..NODES.len()).map(|step| (first + step) % NODES.len());
            order.extend(others.filter(|at| *at != victim).map(|at| addresses[at]));
            let acknowledged = &acknowledged;
            scope.spawn(move || send_all(user, EACH, &order, acknowledged))
        });
        wait::until("messages", || {
            (acknowledged.load(Ordering::Relaxed) > 100).then_some(())
        });
        cluster.nodes[victim].kill();
        senders.map(|sender| sender.join().expect("all are sent"))
    });
    cluster.nodes[victim].start_again();
    cluster.is_ready(victim);
    let others: Vec<_> = (0..NODES.len()).filter(|at| *at != victim).collect();
    let leader = cluster.leader(&others);
    for at in 0..NODES.len() {
        cluster.has_all_of(at, leader);
        for (user, seqs) in users.iter().zip(&sent) {
            check(&cluster.nodes[at], user, seqs);
        }
    }
}

#[test]
fn no_acknowledged_message_is_lost_with_the_leader() {
    kill_in_the_middle(1, |cluster| cluster.leader(&[0, 1, 2]));
}

#[test]
fn no_acknowledged_message_is_lost_with_a_follower() {
    kill_in_the_middle(3, |cluster| (cluster.leader(&[0, 1, 2]) + 1) % NODES.len());
}

#[test]
fn a_leader_that_stops_in_order_hands_over() {
    let Some(mut cluster) = Cluster::start(1) else {
        return;
    };
    let leader = cluster.leader(&[0, 1, 2]);
    let other = (leader + 1) % NODES.len();
    let mut alice = cluster.connect(other, "alice");
    alice.send("bob", "before");
    cluster.nodes[leader].stop();
    // Without that, another node leads as well, once the lease is over.
    cluster.nodes[leader].logged("another node leads from now on");
    alice.send("bob", "after");
    let page = alice.done("history", &json!({"conversation": "u:alice:bob"}));
    assert_eq!(texts(&page), ["before", "after"]);
    cluster.nodes[leader].start_again();
    cluster.is_ready(leader);
    cluster.has_all_of(leader, other);
    let mut bob = cluster.connect(leader, "bob");
    let page = bob.done("history", &json!({"conversation": "u:alice:bob"}));
    assert_eq!(texts(&page), ["before", "after"]);
}

#[test]
fn an_operator_lets_another_node_lead_and_clients_get_no_error() {
    let Some(cluster) = Cluster::start(1) else {
        return;
    };
    let old = cluster.leader(&[0, 1, 2]);
    let [follower, third] = [1, 2].map(|step| (old + step) % NODES.len());
    let told = |args: &[&str]| command(&cluster.servers, &[&["step-down"], args].concat());
    // Only the node that is meant.
    let refused = told(&["--node", NODES[follower]]).expect_err("it follows");
    let said = format!("{} does not lead: {} does", NODES[follower], NODES[old]);
    assert!(refused.contains(&said), "{refused}");
    let refused = told(&["--node", "nobody"]).expect_err("there is none");
    assert!(refused.contains("nobody was not heard"), "{refused}");
    assert_eq!(cluster.leader(&[0, 1, 2]), old);

    let is_over = AtomicBool::new(false);
    let (sent, said) = std::thread::scope(|scope| {
        let senders = [old, follower, third].map(|at| {
            let (mut client, is_over) = (cluster.connect(at, NODES[at]), &is_over);
            scope.spawn(move || {
                let mut sent = 0;
                while !is_over.load(Ordering::Relaxed) {
                    // It panics if the command fails.
                    client.send("dora", "on and on");
                    sent += 1;
                }
                sent
            })
        });
        let said = told(&["--node", NODES[old]]);
        let new = cluster.leader(&[follower, third]);
        is_over.store(true, Ordering::Relaxed);
        let sent = senders.map(|sender| sender.join().expect("no command fails"));
        (sent, said.map(|said| (said, new)))
    });
    let (said, new) = said.expect("another node leads");
    assert!(said.starts_with(NODES[new]), "{said}");
    assert!(sent.iter().all(|sent| *sent > 0), "{sent:?}");
    cluster.has_all_of(old, new);
    cluster.has_all_of(third, new);
    for (at, sent) in [old, follower, third].into_iter().zip(sent) {
        let mut dora = cluster.connect(old, "dora");
        // `a`, `b` and `c` come before `dora`.
        let conversation = format!("u:{}:dora", NODES[at]);
        let page = dora.done(
            "history",
            &json!({"conversation": conversation, "limit": 1}),
        );
        assert_eq!(page["messages"][0]["seq"], sent, "{page}");
    }
}

#[test]
fn nobody_else_leads_where_there_is_no_other_node() {
    let Some(mut cluster) = Cluster::start(1) else {
        return;
    };
    let leader = cluster.leader(&[0, 1, 2]);
    for at in (0..NODES.len()).filter(|at| *at != leader) {
        cluster.nodes[at].stop();
    }
    let refused = command(&cluster.servers, &["step-down"]).expect_err("it is alone");
    assert!(refused.contains("no other node was heard"), "{refused}");
    assert_eq!(cluster.leader(&[leader]), leader);
    cluster.nodes[leader].stop();
    let refused = command(&cluster.servers, &["step-down"]).expect_err("there is none");
    assert!(
        refused.contains("nobody leads the cluster chat: 0 nodes"),
        "{refused}"
    );
}
