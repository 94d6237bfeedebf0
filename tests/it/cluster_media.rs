//! Media of a cluster in one bucket.

use serde_json::json;
use trunkline_tests::api::{self, Api};
use trunkline_tests::cluster::Cluster;
use trunkline_tests::gateway::Gateway;
use trunkline_tests::http::{Answer, exchange};
use trunkline_tests::s3::S3;
use trunkline_tests::wait::until;

use super::erasure::{begin, completed};

/// Uploads a text as a user, and returns its path.
fn upload(gateway: &Gateway, user: &str, text: &str) -> String {
    let request = format!(
        "POST /api/v1/media HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: text/plain\r\n\
         X-Trunkline-User: {user}\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    let said = until("the store to take a file", || {
        let answer = exchange(gateway.http(), request.as_bytes());
        (answer.status == 201).then(|| api::json(&answer))
    });
    said["url"].as_str().expect("a path").to_owned()
}

/// Reads a file as a user.
fn read(gateway: &Gateway, user: &str, path: &str) -> Answer {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Trunkline-User: {user}\r\n\r\n"
    );
    exchange(gateway.http(), request.as_bytes())
}

#[test]
fn all_nodes_have_the_files_of_one_bucket_and_erase_those_of_a_user() {
    let Some(store) = S3::start() else { return };
    let setup = |setup| {
        let setup = store.keeps_media_of(setup, "s3://chat/media").http();
        setup.flag("media-unnamed-life", "12s")
    };
    let Some(mut cluster) = Cluster::start_with(1, setup) else {
        return;
    };
    let leader = cluster.leader(&[0, 1, 2]);
    let [one, other] = [1, 2].map(|step| (leader + step) % 3);
    let send = |at: usize, from: &str, to: &str, path: &str| {
        let media = json!({"type": "text/plain", "url": path});
        let body = json!({"user": to, "media": media});
        Api::of(&cluster.nodes[at]).user(from).post("send", &body);
    };
    let of_alice = upload(&cluster.nodes[one], "alice", "of alice");
    send(other, "alice", "bob", &of_alice);
    let of_carol = upload(&cluster.nodes[leader], "carol", "of carol");
    send(one, "carol", "bob", &of_carol);
    for at in 0..3 {
        cluster.has_all_of(at, leader);
        assert_eq!(read(&cluster.nodes[at], "bob", &of_alice).body, "of alice");
    }
    // The leader removes what no message names, also what came by another node.
    let unnamed = upload(&cluster.nodes[one], "alice", "unnamed");
    until("the file to go", || {
        (read(&cluster.nodes[other], "alice", &unnamed).status == 404).then_some(())
    });
    begin(&cluster.nodes[other], "alice");
    for at in 0..3 {
        completed(&cluster.nodes[at], "alice");
        assert_eq!(read(&cluster.nodes[at], "bob", &of_alice).status, 404);
        assert_eq!(read(&cluster.nodes[at], "bob", &of_carol).body, "of carol");
    }
    // Another node leads, and removes.
    cluster.nodes[leader].stop();
    let next = cluster.leader(&[one, other]);
    let unnamed = upload(&cluster.nodes[one], "carol", "unnamed");
    until("the file to go", || {
        (read(&cluster.nodes[next], "carol", &unnamed).status == 404).then_some(())
    });
    assert_eq!(
        read(&cluster.nodes[next], "bob", &of_carol).body,
        "of carol"
    );
}
