//! Groups that a user has left, and what of them can still be caught up on.

use serde_json::json;
use trunkline_tests::gateway::Setup;

/// A user leaves more groups than catching up covers. Positions from before the first ones are
/// refused, and after that nothing is missing.
#[test]
fn so_many_are_caught_up_from() {
    // As docs/limits.md says.
    const MOST: usize = 64;
    const GROUPS: usize = MOST + 3;
    // Every group is so large that its members catch up from its channel.
    let gateway = Setup::default().flag("fanout-limit", 1).start();
    let mut alice = gateway.dial().connect("alice", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    let mut positions = vec![bob.pos()];
    for i in 0..GROUPS {
        let group = format!("g{i}");
        let create = json!({"group": group, "name": "one of many", "members": ["bob"]});
        alice.done("group_create", &create);
        let message = json!({"group": group, "text": format!("in {i}")});
        let sent = alice.done("send", &message);
        bob.done("group_leave", &json!({"group": group}));
        positions.push(sent["pos"].as_str().expect("a position").to_owned());
        alice.done("send", &json!({"group": group, "text": "not for bob"}));
    }
    // In the first three that are forgotten something may be missing.
    for since in &positions[..3] {
        assert_eq!(bob.refused("sync", &json!({"since": since})), 112);
    }
    assert_eq!(
        gateway.metric("trunkline_errors_total{error=\"position_expired\"}"),
        3.0
    );
    for (i, since) in positions.iter().enumerate().skip(4) {
        let page = bob.done("sync", &json!({"since": since, "limit": 500}));
        let events = page["events"].as_array().expect("events");
        let texts = events
            .iter()
            .filter_map(|event| event["message"]["text"].as_str());
        let expected: Vec<_> = (i..GROUPS).map(|i| format!("in {i}")).collect();
        assert_eq!(texts.collect::<Vec<_>>(), expected, "since {i}");
    }
}
