//! Messages between nodes.

use std::time::{Duration, Instant};

use trunkline_cluster::nats::{Lane, NotSaid, Said, To};
use trunkline_tests::nats::Servers;
use trunkline_tests::wait::LIMIT;

use super::Node;

/// Takes what came to a node, at either end.
fn take(node: &Node) -> Option<Said> {
    let ends = &node.ends;
    ends.lanes.take().or_else(|| ends.digests.take())
}

/// Waits for the next thing that comes to a node.
fn next(node: &Node) -> Said {
    let began = Instant::now();
    while began.elapsed() < LIMIT {
        if let Some(said) = take(node) {
            return said;
        }
        node.bell.wait(Duration::from_millis(5));
    }
    panic!("nothing came: {:?}", node.nats.condition());
}

fn came(lane: Lane, to_me: bool, text: &str) -> Said {
    Said::Message {
        lane,
        to_me,
        bytes: text.to_owned().into(),
    }
}

/// Sends beats from a node until another has one: both are connected then and have subscribed.
fn meet(from: &Node, to: &Node) {
    let began = Instant::now();
    loop {
        from.ends
            .lanes
            .say(Lane::Heartbeat, To::All, "hello".into())
            .expect("room");
        to.bell.wait(Duration::from_millis(20));
        let mut said = std::iter::from_fn(|| take(to));
        if said.any(|it| it == came(Lane::Heartbeat, false, "hello")) {
            break;
        }
        assert!(began.elapsed() < LIMIT);
    }
    // The last of them is the one that nothing follows.
    from.ends
        .lanes
        .say(Lane::Heartbeat, To::All, "met".into())
        .expect("room");
    for node in [from, to] {
        while next(node) != came(Lane::Heartbeat, false, "met") {}
        while take(node).is_some() {}
    }
}

#[test]
fn messages_reach_those_they_are_for_and_in_order() {
    let Some(servers) = Servers::start(1) else {
        return;
    };
    let (a, b) = (Node::start(&servers, "a"), Node::start(&servers, "b"));
    meet(&a, &b);
    let say = |lane, to: To<'_>, text: &str| a.ends.lanes.say(lane, to, text.to_owned().into());
    for number in 0..100 {
        say(Lane::Forward, To::Node("b"), &number.to_string()).expect("room");
    }
    say(Lane::Forward, To::Node("c"), "nobody").expect("room");
    say(Lane::Forward, To::Node("a"), "me").expect("room");
    for number in 0..100 {
        assert_eq!(next(&b), came(Lane::Forward, true, &number.to_string()));
    }
    assert_eq!(next(&a), came(Lane::Forward, true, "me"));
    // A node hears its own signs of life.
    say(Lane::Heartbeat, To::All, "heartbeat").expect("room");
    for node in [&a, &b] {
        assert_eq!(next(node), came(Lane::Heartbeat, false, "heartbeat"));
        assert_eq!(take(node), None);
    }
}

#[test]
fn the_last_messages_of_a_node_leave_when_it_ends() {
    let Some(servers) = Servers::start(1) else {
        return;
    };
    let (a, b) = (Node::start(&servers, "a"), Node::start(&servers, "b"));
    meet(&a, &b);
    let Node { nats, ends, .. } = a;
    // Few and short: the end of a node has a time limit, and the machine may be busy.
    let sent = 50;
    for number in 0..sent {
        let text = format!("{number} {}", "x".repeat(400));
        let said = ends.lanes.say(Lane::Digest, To::Node("b"), text.into());
        said.expect("room");
    }
    let say_last = || ends.lanes.say(Lane::Answers, To::All, "last".into());
    say_last().expect("room");
    drop(nats);
    let after = say_last();
    assert_eq!(after, Err(NotSaid::Ended));
    let (mut came, mut is_last_there) = (0, false);
    while came < sent || !is_last_there {
        match next(&b) {
            Said::Message { bytes, .. } if bytes[..] == *b"last" => is_last_there = true,
            Said::Message { .. } => came += 1,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn losses_are_said() {
    let Some(mut servers) = Servers::start(1) else {
        return;
    };
    let (a, b) = (Node::start(&servers, "a"), Node::start(&servers, "b"));
    meet(&a, &b);
    // More than the reader's queue has room for, and not faster than they leave.
    let began = Instant::now();
    let say = |lane| {
        while a.ends.lanes.say(lane, To::Node("b"), "x".into()) == Err(NotSaid::Full) {
            assert!(began.elapsed() < LIMIT);
        }
    };
    let sent = 5_000;
    for _ in 0..sent {
        say(Lane::Digest);
    }
    say(Lane::Heartbeat);
    let (mut taken, mut missed, mut is_alive) = (0, 0, false);
    while taken + missed < sent || !is_alive {
        match next(&b) {
            Said::Missed { messages: 0, .. } => panic!("the library had no room"),
            Said::Missed { lane, messages } => {
                assert_eq!(lane, Lane::Digest);
                missed += messages;
            }
            Said::Message {
                lane: Lane::Heartbeat,
                ..
            } => is_alive = true,
            _ => taken += 1,
        }
    }
    // A break of the connection is said on each lane, and what does not leave too.
    servers.kill(0);
    let mut lanes = Vec::new();
    while lanes.len() < Lane::ALL.len() {
        match next(&b) {
            Said::Missed { lane, messages: 0 } => lanes.push(lane),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(lanes, Lane::ALL);
    b.ends
        .lanes
        .say(Lane::Heartbeat, To::All, "x".into())
        .expect("room");
    assert_eq!(next(&b), Said::Unsent { messages: 1 });
    servers.restart(0);
    meet(&a, &b);
}
