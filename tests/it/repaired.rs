//! What users see of a store after a repair that gave something up.

use std::os::unix::fs::FileExt;

use serde_json::json;
use trunkline_tests::api::Api;
use trunkline_tests::gateway::Setup;

use crate::erasure::{begin, completed};
use crate::store_command::{check, dump, log, store};

/// The record that a repair gives up has moved the first conversations of a user out of the newest part of the list.
#[test]
fn a_list_of_conversations_has_the_others_after_a_repair() {
    let setup = Setup::default().http().patient().flag("last-seen-rate", 0);
    let mut gateway = setup.flag("shards", 1).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    for other in 0..12 {
        alice.send(&format!("user{other}"), "hello");
    }
    drop(alice);
    assert!(gateway.stop().status.success());
    let lines = dump(gateway.data(), &[]);
    let ninth = lines[8]["position"].as_u64().expect("a number");
    let (_, log) = log(gateway.data());
    log.write_all_at(b"?", ninth + 30).expect("room");
    let exit = store("repair", gateway.data(), &[]);
    check(&exit, 0, &["repaired 1 fault"]);
    gateway.start_again();
    let mut alice = gateway.dial().connect("alice", "phone");
    let list = alice.done("conversations", &json!({"limit": 100}));
    let list = list["conversations"].as_array().expect("a list").iter();
    let mut names: Vec<_> = list.map(|it| it["conversation"].as_str()).collect();
    names.sort_unstable();
    let later = ["u:alice:user10", "u:alice:user11", "u:alice:user9"];
    assert_eq!(names, later.map(Some));
    let info = alice.done("history", &json!({"conversation": "u:alice:user3"}));
    assert_eq!(info["messages"][0]["text"], "hello", "{info}");
    drop(alice);
    // The lost part may name groups, so her erasure has no end. It holds up no other one.
    begin(&gateway, "alice");
    gateway.logged("an erasure does not go on");
    begin(&gateway, "user11");
    completed(&gateway, "user11");
    let shown = Api::admin(&gateway).done("GET", "/admin/v1/users/alice", None);
    assert_ne!(shown["erasure"]["state"], "complete", "{shown}");
}
