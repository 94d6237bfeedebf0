//! Groups that a user has left, and what of them can still be caught up on; groups that a user is in.

use serde_json::{Value, json};
use trunkline_tests::client::Client;
use trunkline_tests::gateway::Setup;

/// Returns all events after a position, read in pages of `limit`.
fn events(client: &mut Client, since: &str, limit: usize) -> Vec<Value> {
    let (mut since, mut all) = (since.to_owned(), Vec::new());
    loop {
        let page = client.done("sync", &json!({"since": since, "limit": limit}));
        let events = page["events"].as_array().expect("events");
        assert!(!events.is_empty() || page["more"] != true, "{page}");
        all.extend(events.iter().cloned());
        page["pos"]
            .as_str()
            .expect("a position")
            .clone_into(&mut since);
        if page["more"] != true {
            return all;
        }
    }
}

/// A user leaves many groups, and no position of the user's devices expires by it.
#[test]
fn all_are_caught_up_from() {
    const GROUPS: usize = 90;
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
    for (i, since) in positions.iter().enumerate() {
        let events = events(&mut bob, since, 500);
        let texts = { events.iter() }.filter_map(|event| event["message"]["text"].as_str());
        let expected: Vec<_> = (i..GROUPS).map(|i| format!("in {i}")).collect();
        assert_eq!(texts.collect::<Vec<_>>(), expected, "since {i}");
    }
}

/// Others add and remove a user as often as they like. The user's other devices still find exactly what the
/// one got that was there, from any position.
#[test]
fn others_take_no_positions_away() {
    // So many that the closed windows have pieces, nodes above them, and a node above those.
    const TIMES: usize = 300;
    let gateway = Setup::default().flag("fanout-limit", 1).start();
    let mut mallory = gateway.dial().connect("mallory", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    let begin = bob.pos();
    for group in ["g0", "g1", "long", "longer"] {
        let create = json!({"group": group, "members": ["bob", "carol"]});
        mallory.done("group_create", &create);
    }
    let mut live = Vec::new();
    let mut catch = |bob: &mut Client, mallory: &mut Client, text: &str| {
        mallory.done("send", &json!({"user": "bob", "text": text}));
        loop {
            live.push(bob.push());
            if live
                .last()
                .is_some_and(|push| push["message"]["text"] == text)
            {
                return live.len();
            }
        }
    };
    for time in 0..TIMES {
        for group in ["g0", "g1"] {
            let bob_alone = json!({"group": group, "members": ["bob"]});
            mallory.done("send", &json!({"group": group, "text": format!("{time}")}));
            mallory.done("group_remove", &bob_alone);
            mallory.done("send", &json!({"group": group, "text": "not for bob"}));
            mallory.done("group_add", &bob_alone);
        }
        if time % 16 == 0 {
            mallory.done("send", &json!({"group": "long", "text": "seldom"}));
            mallory.done("send", &json!({"group": "longer", "text": "seldom"}));
            catch(&mut bob, &mut mallory, &format!("until {time}"));
        }
        if time == TIMES - 20 {
            bob.done("group_leave", &json!({"group": "long"}));
        }
    }
    let all = catch(&mut bob, &mut mallory, "end");
    let places = [0, 1, 2, all / 3, all / 2, all - 150, all - 70, all - 3];
    let positions = places.map(|place| match place {
        0 => begin.clone(),
        _ => live[place - 1]["pos"]
            .as_str()
            .expect("a position")
            .to_owned(),
    });
    // A reply told the device that left the group.
    let is_own = |event: &Value| event["group"]["by"] == "bob";
    for (place, since) in places.into_iter().zip(&positions) {
        for limit in [7, 100, 500] {
            let mut events = events(&mut bob, since, limit);
            events.retain(|event| !is_own(event));
            assert_eq!(events, live[place..], "since {place}, by {limit}");
        }
        let mut pad = gateway.dial().since(since).connect("bob", "pad");
        let mut pushes = std::iter::repeat_with(|| pad.push()).filter(|push| !is_own(push));
        for push in &live[place..] {
            assert_eq!(pushes.next().as_ref(), Some(push), "since {place}");
        }
    }
    assert!(
        !live
            .iter()
            .any(|push| push["message"]["text"] == "not for bob")
    );
}

/// A group crosses the limit again and again, and the positions of its members stay.
#[test]
fn a_group_that_shrinks_and_grows_takes_no_positions_away() {
    const TIMES: usize = 70;
    let setup = Setup::default().flag("fanout-limit", 5);
    let gateway = setup.flag("channel-stays", "0s").start();
    let mut mallory = gateway.dial().connect("mallory", "phone");
    let mut bob = gateway.dial().connect("bob", "phone");
    let begin = bob.pos();
    mallory.done(
        "group_create",
        &json!({"group": "g", "members": ["bob", "a", "b"]}),
    );
    let others = json!({"group": "g", "members": ["c", "d"]});
    for time in 0..TIMES {
        mallory.done("group_add", &others);
        mallory.done("send", &json!({"group": "g", "text": format!("{time}")}));
        mallory.done("group_remove", &others);
    }
    let events = events(&mut bob, &begin, 100);
    let texts = { events.iter() }.filter_map(|event| event["message"]["text"].as_str());
    assert!(
        texts.eq((0..TIMES).map(|time| time.to_string())),
        "{events:?}"
    );
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
