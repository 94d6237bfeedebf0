//! Erasing a user of a cluster: nothing that the user sent stays in a file of any node.

use std::path::PathBuf;

use serde_json::{Value, json};
use trunkline_tests::api::Api;
use trunkline_tests::client::End;
use trunkline_tests::cluster::{Cluster, NODES, command};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::wait::until;

use super::erasure::{begin, busy_bob, completed, marked, of_others};

fn erasure(gateway: &Gateway) -> Value {
    let user = Api::admin(gateway).done("GET", "/admin/v1/users/bob", None);
    user["erasure"].clone()
}

#[test]
fn each_node_overwrites_its_own_files_also_one_that_was_away() {
    let fast = |setup: Setup| {
        let free = ["rate-messages", "user-rate-messages", "rate-commands"];
        let setup = free
            .iter()
            .fold(setup.http(), |setup, name| setup.flag(name, 0));
        setup
            .flag("user-rate-commands", 0)
            .flag("store-reserve", "0B")
    };
    let Some(mut cluster) = Cluster::start_with(1, fast) else {
        return;
    };
    let leader = cluster.leader(&[0, 1, 2]);
    let [one, away] = [1, 2].map(|step| (leader + step) % 3);
    let [mut alice, mut bob, mut carol] = [(leader, "alice"), (one, "bob"), (one, "carol")]
        .map(|(at, user)| cluster.connect(at, user));
    busy_bob(&cluster.nodes[one], &mut alice, &mut bob, &mut carol);
    let before = of_others(&mut alice, &mut carol);
    for at in 0..3 {
        cluster.has_all_of(at, leader);
        assert!(!marked(&cluster.nodes[at]).is_empty());
    }
    cluster.nodes[away].kill();

    // At a node that does not lead.
    begin(&cluster.nodes[one], "bob");
    assert!(matches!(bob.end(), End::Close(3500, _)));
    let name = NODES[away];
    for at in [leader, one] {
        until("the nodes that are there", || {
            let erasure = erasure(&cluster.nodes[at]);
            assert_eq!(erasure["state"], "running", "{erasure}");
            (erasure["nodes"] == json!({"done": 2, "missing": [name]})).then_some(())
        });
    }
    for at in [leader, one] {
        assert_eq!(marked(&cluster.nodes[at]), [] as [PathBuf; 0]);
    }
    cluster.nodes[away].start_again();
    for at in 0..3 {
        completed(&cluster.nodes[at], "bob");
        assert_eq!(marked(&cluster.nodes[at]), [] as [PathBuf; 0], "{at}");
    }
    assert_eq!(of_others(&mut alice, &mut carol), before);
    // A new user of the name.
    let mut bob = cluster.nodes[away].dial().connect("bob", "phone");
    let seen = bob.done("conversations", &json!({}));
    assert_eq!(seen["conversations"], json!([]), "{seen}");

    // Nobody waits for a node that an operator has forgotten.
    cluster.nodes[away].kill();
    let again = command(&cluster.servers, &["forget", "--node", "nobody"]);
    assert!(again.expect_err("there is none").contains("no node nobody"));
    let living = command(&cluster.servers, &["forget", "--node", NODES[one]]);
    let refused = living.expect_err("it runs");
    assert!(refused.contains("stop it for good first"), "{refused}");
    command(&cluster.servers, &["forget", "--node", name]).expect("it is forgotten");
    begin(&cluster.nodes[one], "carol");
    completed(&cluster.nodes[one], "carol");
}
