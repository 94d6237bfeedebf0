//! The stream, and the records on their way into it.

use serde_json::json;
use trunkline_cluster::nats::{NotTaken, Outcome, RECORD_MAX, StreamError, StreamPlan};
use trunkline_tests::nats::Servers;

use super::{LOG, Node, STREAM, plan, text};

#[test]
fn a_stream_is_created_by_an_order_alone_and_once() {
    let Some(servers) = Servers::start(1) else {
        return;
    };
    let node = Node::start(&servers, "a");
    let streams = &node.ends.streams;
    let absent = StreamError::Absent(STREAM.into());
    assert_eq!(streams.open(), Err(absent.clone()));
    let refused = streams.create(plan(3)).unwrap_err();
    assert!(matches!(refused, StreamError::Refused { .. }), "{refused}");
    let tiny = StreamPlan {
        replicas: 1,
        max_bytes: 1,
    };
    assert!(matches!(streams.create(tiny), Err(StreamError::Plan(_))));
    assert_eq!(streams.open(), Err(absent));
    let info = streams.create(plan(1)).unwrap();
    assert_eq!(
        (info.last, info.replicas, info.max_bytes),
        (0, 1, 256 << 20)
    );
    assert_eq!(
        streams.create(plan(1)),
        Err(StreamError::Exists(STREAM.into()))
    );
    assert_eq!(streams.open().unwrap().created, info.created);
    // Somebody lets the log forget.
    let mut raw = servers.client(0);
    let mut config = raw.ask(&format!("$JS.API.STREAM.INFO.{STREAM}"), b"")["config"].take();
    config["max_age"] = json!(3_600_000_000_000_u64);
    let updated = raw.ask(
        &format!("$JS.API.STREAM.UPDATE.{STREAM}"),
        config.to_string().as_bytes(),
    );
    assert!(updated["error"].is_null(), "{updated}");
    let differs = streams.open().unwrap_err().to_string();
    assert!(
        differs.contains("max_age is 3600000000000, and must be 0"),
        "{differs}"
    );
    assert_eq!(
        streams.create(plan(1)),
        Err(StreamError::Exists(STREAM.into()))
    );
}

#[test]
fn a_record_is_stored_after_the_expected_one_or_not_at_all() {
    let Some(mut servers) = Servers::start(1) else {
        return;
    };
    let mut node = Node::start(&servers, "a");
    node.is_connected();
    // Without a stream nobody serves the subject.
    let unserved = node.publish(0, "x");
    assert!(
        matches!(unserved, Outcome::Refused { code: 503, .. }),
        "{unserved:?}"
    );
    node.create(1);
    node.ends.tail.follow(1, None);
    node.publish_all(1..3);
    for expected in [0, 1, 3] {
        let outcome = node.publish(expected, "x");
        assert_eq!(outcome, Outcome::WrongLast { last: Some(2) });
    }
    // The longest record passes, in and out.
    let long: Vec<u8> = (0..RECORD_MAX).map(|it| (it % 251) as u8).collect();
    assert_eq!(
        node.publish(2, long.clone()),
        Outcome::Stored { sequence: 3 }
    );
    let publisher = &mut node.ends.publisher;
    let longer = vec![0; RECORD_MAX + 1];
    assert_eq!(
        publisher.publish(3, longer.into()),
        Err(NotTaken::TooLong(RECORD_MAX + 1))
    );
    // One is on its way at a time.
    let first = publisher.publish(3, text(4).into()).unwrap();
    assert_eq!(publisher.publish(4, text(5).into()), Err(NotTaken::Busy));
    let outcome = node.until("an outcome", |it| it.ends.publisher.take());
    assert_eq!((outcome.number, outcome.is_late), (first, false));
    assert_eq!(outcome.outcome, Outcome::Stored { sequence: 4 });
    node.has(4);
    let records: Vec<_> = node.records.values().cloned().collect();
    assert_eq!(records, [text(1), text(2), long, text(4)]);
    // Without a server it does not leave, then or later.
    servers.kill(0);
    node.until("the end of the connection", |it| {
        (!it.nats.condition().is_connected).then_some(())
    });
    let outcome = node.publish(4, "never");
    assert!(matches!(outcome, Outcome::NotSent(_)), "{outcome:?}");
    servers.restart(0);
    node.is_connected();
    node.publish_all(5..7);
    node.has(6);
    assert_eq!(node.records[&5], text(5));
}

#[test]
fn a_stopped_server_is_silence_and_what_comes_late_is_said_to_be_late() {
    let Some(servers) = Servers::start(1) else {
        return;
    };
    let mut node = Node::start(&servers, "a");
    node.create(1);
    let mut other = Node::start(&servers, "b");
    for node in [&mut node, &mut other] {
        node.ends.tail.follow(1, None);
    }
    node.publish_all(1..4);
    servers.pause(0);
    let number = node.ends.publisher.publish(3, text(4).into()).unwrap();
    let silence = node.until("an outcome", |it| it.ends.publisher.take());
    assert_eq!(
        (silence.number, silence.outcome),
        (number, Outcome::Silence)
    );
    // The socket still takes what the server does not read.
    let silent = node.publish(3, "in its place");
    assert_eq!(silent, Outcome::Silence);
    servers.resume(0);
    // The server reads both in their order: the zombie is stored, and the other is rejected, late.
    let late = node.until("a late outcome", |it| it.ends.publisher.take());
    assert_eq!((late.number, late.is_late), (number + 1, true));
    assert_eq!(late.outcome, Outcome::WrongLast { last: Some(4) });
    node.publish_all(5..8);
    for node in [&mut node, &mut other] {
        node.has(7);
        assert_eq!(node.records[&4], text(4));
        assert_eq!(node.records.len(), 7);
    }
}

/// Pings find a server that does not answer, and everything goes on when it does again.
#[test]
fn a_server_that_is_stopped_for_long_loses_its_connections_and_nothing_else() {
    let Some(servers) = Servers::start(1) else {
        return;
    };
    let mut node = Node::start(&servers, "a");
    node.create(1);
    node.ends.tail.follow(1, None);
    node.publish_all(1..4);
    let breaks = node.nats.condition().breaks;
    // What others have on their way is stored before the node is there again.
    let mut raw = servers.client(0);
    servers.pause(0);
    for sequence in 4..7 {
        raw.publish(LOG, &text(sequence));
    }
    node.until("the end of the connection", |it| {
        (it.nats.condition().breaks > breaks).then_some(())
    });
    servers.resume(0);
    node.is_connected();
    node.has(6);
    node.publish_all(7..9);
    node.has(8);
    assert_eq!(node.records[&6], text(6));
}

/// A server with a limit below the longest record would take short groups, and refuse the first long one for ever.
#[test]
fn a_limit_on_the_length_of_messages_is_found_before_the_first_long_record() {
    let of_account = "accounts { A { jetstream: enabled, limits { max_payload: 512KB }, users: [{ user: a, password: p }] } }\n\
        no_auth_user: a\n";
    for (more, remedy) in [
        ("max_payload: 512KB\n", "set max_payload to 1MB"),
        (of_account, "a payload limit of 1048576 bytes or more"),
    ] {
        let Some(servers) = Servers::start_with(1, more) else {
            return;
        };
        let node = Node::start(&servers, "a");
        let streams = &node.ends.streams;
        for refused in [streams.create(plan(1)), streams.join()] {
            let why = refused.unwrap_err().to_string();
            assert!(why.contains(remedy), "{why}");
        }
        // A look at it needs no long message.
        assert_eq!(streams.open(), Err(StreamError::Absent(STREAM.into())));
    }
}

#[test]
fn a_limit_on_the_length_of_messages_is_found_again_at_each_connection() {
    let Some(mut servers) = Servers::start(1) else {
        return;
    };
    let mut node = Node::start(&servers, "a");
    node.create(1);
    assert_eq!(node.nats.condition().shortage, None);
    assert!(node.ends.streams.join().is_ok());
    servers.kill(0);
    servers.restart_with(0, "max_payload: 512KB\n");
    let why = node.until("the limit", |it| it.nats.condition().shortage);
    assert!(why.contains("524288"), "{why}");
    servers.kill(0);
    servers.restart_with(0, "");
    node.until("another limit", |it| {
        let condition = it.nats.condition();
        (condition.is_connected && condition.shortage.is_none()).then_some(())
    });
}
