//! Groups that a user has left, and what of them can still be caught up on; groups that a user is in.

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

/// Others add users to groups, and each page of a user's events looks at all large groups of the user.
#[test]
fn a_user_is_in_so_many_large_groups() {
    // As docs/limits.md says.
    const MOST: usize = 1_000;
    let gateway = Setup::default().flag("fanout-limit", 1).start();
    let mut mallory = gateway.dial().connect("mallory", "phone");
    let create = |number: usize| json!({"group": format!("g{number}"), "members": ["bob"]});
    // Mallory leaves, so that only bob is in all of them.
    for number in 0..MOST {
        mallory.done("group_create", &create(number));
        mallory.done("send", &json!({"group": format!("g{number}"), "text": "x"}));
        mallory.done("group_leave", &json!({"group": format!("g{number}")}));
    }
    assert_eq!(mallory.refused("group_create", &create(MOST)), 106);
    // A group that everybody's timeline has, and one more after bob has left one.
    mallory.done("group_create", &json!({"group": "own"}));
    let mut bob = gateway.dial().connect("bob", "phone");
    bob.done("group_leave", &json!({"group": "g7"}));
    mallory.done("group_create", &create(MOST));
    let page = bob.done("sync", &json!({"since": "0", "limit": 500}));
    assert_eq!(page["more"], true);
    let events = page["events"].as_array().expect("events");
    assert_eq!(events.len(), 500);
    // Catching up finds the same.
    let mut pad = gateway.dial().since("0").connect("bob", "pad");
    for event in events {
        assert_eq!(pad.push(), *event);
    }
}
