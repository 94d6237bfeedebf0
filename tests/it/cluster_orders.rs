//! Orders of operators to a cluster: they hold for the sessions of all nodes.

use serde_json::{Value, json};
use trunkline_tests::api::Api;
use trunkline_tests::client::{Client, End};
use trunkline_tests::cluster::{Cluster, NODES};
use trunkline_tests::gateway::Gateway;
use trunkline_tests::service::folder;
use trunkline_tests::tokens::{Signer, claims_with, now};
use trunkline_tests::wait::until;

fn post(gateway: &Gateway, path: &str, body: &Value) -> Value {
    Api::admin(gateway).done("POST", &format!("/admin/v1/{path}"), Some(body))
}

fn get(gateway: &Gateway, path: &str) -> Value {
    Api::admin(gateway).done("GET", &format!("/admin/v1/{path}"), None)
}

/// All pages of sessions, as one node tells them.
fn sessions(gateway: &Gateway, query: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let page = get(gateway, &format!("sessions?{query}&after={after}"));
        assert_eq!(page["nodes"]["missing"], json!([]), "{page}");
        all.extend(page["sessions"].as_array().expect("sessions").clone());
        match page["after"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => return all,
        }
    }
}

/// Waits until each node has heard of all.
fn know_each_other(cluster: &Cluster) {
    for node in &cluster.nodes {
        until("nodes that know each other", || {
            (get(node, "sessions?limit=1000")["nodes"]["done"] == 3).then_some(())
        });
    }
}

#[track_caller]
fn ended(client: &mut Client, wanted: u16) {
    client.push_of("disconnect");
    assert!(matches!(client.end(), End::Close(code, _) if code == wanted));
}

#[test]
fn any_node_lists_and_ends_the_sessions_of_all() {
    let Some(mut cluster) = Cluster::start_with(1, |setup| setup) else {
        return;
    };
    know_each_other(&cluster);
    let mut bobs: Vec<_> = (0..3).map(|at| cluster.connect(at, "bob")).collect();
    let mut alice = cluster.connect(1, "alice");
    for (at, node) in NODES.into_iter().enumerate() {
        for limit in [1, 2, 100] {
            let listed = sessions(&cluster.nodes[at], &format!("limit={limit}"));
            let mut seen: Vec<_> = { listed.iter() }
                .map(|session| (session["node"].as_str(), session["user"].as_str()))
                .collect();
            seen.sort_unstable();
            let of = |node, user| (Some(node), Some(user));
            let wanted = [
                of("a", "bob"),
                of("b", "alice"),
                of("b", "bob"),
                of("c", "bob"),
            ];
            assert_eq!(seen, wanted, "at {node}, {limit} a page");
        }
        let bob = get(&cluster.nodes[at], "users/bob");
        let nodes = bob["sessions"].as_array().map(Vec::len);
        assert_eq!(
            (nodes, &bob["nodes"]["done"]),
            (Some(3), &json!(3)),
            "{bob}"
        );
    }

    // A session by its name, at another node than the one that is asked.
    let listed = sessions(&cluster.nodes[0], "user=bob");
    let of_c = listed.iter().find(|session| session["node"] == "c");
    let name = &of_c.expect("a session")["session"];
    let all = json!({"done": 3, "missing": []});
    let closed = post(&cluster.nodes[0], "disconnect", &json!({"session": name}));
    assert_eq!(closed, json!({"closed": 1, "nodes": all}));
    ended(&mut bobs[2], 3503);
    let asked = json!({"user": "bob", "code": 4001});
    let closed = post(&cluster.nodes[2], "disconnect", &asked);
    assert_eq!(closed, json!({"closed": 2, "nodes": all}));
    for bob in &mut bobs[..2] {
        ended(bob, 4001);
    }

    // A node that has just died may have sessions still: it is named.
    cluster.nodes[0].kill();
    let closed = post(&cluster.nodes[2], "disconnect", &json!({"user": "alice"}));
    let nodes = json!({"done": 2, "missing": ["a"]});
    assert_eq!(closed, json!({"closed": 1, "nodes": nodes}));
    ended(&mut alice, 3503);
    let page = get(&cluster.nodes[1], "sessions");
    assert_eq!(page, json!({"sessions": [], "after": null, "nodes": nodes}));
}

#[test]
fn revoked_tokens_are_refused_at_all_nodes_also_at_one_that_was_away() {
    let signer = Signer::hmac();
    let folder = folder();
    let key = signer.write(folder.path(), "key");
    let cluster = Cluster::start_with(1, |setup| setup.tokens(&signer, &key).patient());
    let Some(mut cluster) = cluster else {
        return;
    };
    know_each_other(&cluster);
    let token = |user: &str, id: &str| {
        let claims = claims_with(user, json!({"iat": now() - 100, "jti": id}));
        signer.sign(&claims)
    };
    let open = |gateway: &Gateway, user: &str, token: &str| {
        gateway.dial().with("token", token).connect(user, "phone")
    };
    let refuses = |gateway: &Gateway, token: &str| {
        let mut client = gateway.dial().open();
        let reply = client.ask("connect", &json!({"token": token, "device": "phone"}));
        assert_eq!(reply["error"]["code"], 101, "{reply}");
    };
    let [of_bob, of_eve, other] = [
        token("bob", "t-1"),
        token("eve", "t-2"),
        token("eve", "t-3"),
    ];
    let mut bobs: Vec<_> = { cluster.nodes[..2].iter() }
        .map(|node| open(node, "bob", &of_bob))
        .collect();
    let mut eve = open(&cluster.nodes[0], "eve", &of_eve);
    let mut stays = open(&cluster.nodes[1], "eve", &other);
    cluster.nodes[2].kill();

    let nodes = json!({"done": 2, "missing": ["c"]});
    let closed = post(&cluster.nodes[0], "revoke", &json!({"user": "bob"}));
    assert_eq!(closed, json!({"closed": 2, "nodes": nodes}));
    for bob in &mut bobs {
        ended(bob, 3500);
    }
    let until_ms = (now() + 3_600) * 1_000;
    let asked = json!({"token_id": "t-2", "until": until_ms});
    let closed = post(&cluster.nodes[1], "revoke", &asked);
    assert_eq!(closed, json!({"closed": 1, "nodes": nodes}));
    ended(&mut eve, 3500);
    stays.ping();
    for node in &cluster.nodes[..2] {
        refuses(node, &of_bob);
        refuses(node, &of_eve);
    }

    // Nobody can tell the third one but the cluster itself.
    cluster.nodes[0].kill();
    cluster.nodes[1].kill();
    cluster.nodes[2].start_again();
    refuses(&cluster.nodes[2], &of_bob);
    refuses(&cluster.nodes[2], &of_eve);
    open(&cluster.nodes[2], "eve", &other).close();
    let bob = get(&cluster.nodes[2], "users/bob");
    assert!(bob["revoked_before"].is_u64(), "{bob}");

    // A node that has lost its file takes it again.
    cluster.nodes[1].start_again();
    cluster.is_ready(1);
    cluster.nodes[2].kill();
    let file = cluster.nodes[2].data().join("revocations");
    let lines = std::fs::read_to_string(&file).expect("a file");
    assert_eq!(lines.lines().count(), 3, "{lines}");
    std::fs::remove_file(&file).expect("a file");
    cluster.nodes[2].start_again();
    refuses(&cluster.nodes[2], &of_bob);
    let again = until("the file", || std::fs::read_to_string(&file).ok());
    assert_eq!(again.lines().count(), 3, "{again}");
}
