//! The log as it is followed.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use trunkline_cluster::nats::{Outcome, Stop};
use trunkline_tests::nats::{Raw, Servers};

use super::{LOG, Node, STREAM, text};

/// Returns records of random lengths, each with its sequence in front.
fn records(count: u64, longest: usize) -> Vec<Vec<u8>> {
    let mut random = StdRng::seed_from_u64(count);
    let record = |sequence: u64| {
        let mut record = sequence.to_le_bytes().to_vec();
        record.resize(8 + random.random_range(0..longest), 0);
        random.fill_bytes(&mut record[8..]);
        record
    };
    (1..=count).map(record).collect()
}

/// Brings a record into the log, and waits now and then until it is there: the server drops what it has no
/// room for.
fn bring(raw: &mut Raw, index: usize, record: &[u8]) {
    if index % 100 == 99 {
        let stored = raw.ask(LOG, record);
        assert!(stored["error"].is_null(), "{stored}");
    } else {
        raw.publish(LOG, record);
    }
}

#[test]
fn slow_readers_miss_nothing_of_10_000_records() {
    let Some(servers) = Servers::start(1) else {
        return;
    };
    let records = records(10_000, 6 << 10);
    let mut slow = Node::start(&servers, "slow");
    let created = slow.create(1).created;
    let mut quick = Node::start(&servers, "quick");
    let mut late = Node::start(&servers, "late");
    for node in [&mut slow, &mut quick] {
        node.ends.tail.follow(1, Some(created.clone()));
        node.until("the end of the log", |it| it.ends.tail.condition().checked);
    }
    let mut raw = servers.client(0);
    for (index, record) in records.iter().enumerate() {
        bring(&mut raw, index, record);
        // One reader takes one record for ten that come, the other all of them.
        if index % 10 == 0 {
            slow.take(1);
            quick.take(usize::MAX);
        }
    }
    raw.settle();
    late.ends.tail.follow(9_001, Some(created));
    for node in [&mut slow, &mut quick, &mut late] {
        node.has(10_000);
        let taken: Vec<_> = node.records.values().collect();
        let from = records.len() - taken.len();
        assert!(taken.iter().copied().eq(&records[from..]));
    }
    assert_eq!((slow.records.len(), quick.records.len()), (10_000, 10_000));
    assert_eq!(late.records.len(), 1_000);
    let tail = slow.ends.tail.condition();
    assert!(tail.fetched > 1_000, "nothing was fetched again: {tail:?}");
    assert_eq!(tail.end, 10_000);
}

#[test]
fn a_record_that_nobody_repeats_is_found() {
    let Some(servers) = Servers::start(1) else {
        return;
    };
    let mut node = Node::start(&servers, "a");
    node.create(1);
    node.ends.tail.follow(1, None);
    node.publish_all(1..3);
    node.has(2);
    // The server repeats no records any more.
    let mut raw = servers.client(0);
    let mut config = raw.ask(&format!("$JS.API.STREAM.INFO.{STREAM}"), b"")["config"].take();
    config["republish"]["dest"] = "elsewhere".into();
    let updated = raw.ask(
        &format!("$JS.API.STREAM.UPDATE.{STREAM}"),
        config.to_string().as_bytes(),
    );
    assert!(updated["error"].is_null(), "{updated}");
    // By its acknowledgement, by the word of another node, and by the question about the stream's end.
    node.publish_all(3..4);
    node.has(3);
    raw.publish(LOG, &text(4));
    raw.settle();
    node.ends.tail.reaches(4);
    node.has(4);
    raw.publish(LOG, &text(5));
    node.has(5);
    let tail = node.ends.tail.condition();
    assert_eq!((tail.live, tail.fetched), (2, 3));
}

#[test]
fn a_stream_that_is_gone_or_another_is_not_followed() {
    let Some(servers) = Servers::start(1) else {
        return;
    };
    let mut node = Node::start(&servers, "a");
    let mut other = Node::start(&servers, "b");
    let created = node.create(1).created;
    for node in [&mut node, &mut other] {
        node.ends.tail.follow(1, Some(created.clone()));
    }
    node.publish_all(1..6);
    other.has(5);
    let mut raw = servers.client(0);
    let delete = |raw: &mut Raw| {
        let deleted = raw.ask(&format!("$JS.API.STREAM.DELETE.{STREAM}"), b"");
        assert_eq!(deleted["success"], true, "{deleted}");
    };
    delete(&mut raw);
    node.until("the end", |it| it.stopped.clone());
    assert_eq!(node.stopped, Some(Stop::Gone));
    let outcome = node.publish(5, "x");
    assert!(
        matches!(outcome, Outcome::Refused { code: 503, .. }),
        "{outcome:?}"
    );
    // It was not made again by anybody.
    assert!(node.ends.streams.open().is_err());
    let again = node.create(1).created;
    assert_ne!(created, again);
    // One that was there before, one that follows the old stream from now on, and one that knows nothing.
    node.stopped = None;
    node.ends.tail.follow(6, Some(created.clone()));
    node.until("the end", |it| it.stopped.clone());
    let recreated = Stop::Recreated {
        was: created,
        is: again.clone(),
    };
    assert_eq!(node.stopped, Some(recreated));
    node.stopped = None;
    node.ends.tail.follow(6, None);
    node.until("the end", |it| it.stopped.clone());
    assert_eq!(node.stopped, Some(Stop::Shorter { last: 0, next: 6 }));
    let mut fresh = Node::start(&servers, "c");
    fresh.ends.tail.follow(1, Some(again));
    fresh.is_connected();
    fresh.publish_all(1..3);
    fresh.has(2);
}

/// Created anew before anybody could see that it was gone.
#[test]
fn a_stream_that_is_created_anew_at_once_is_noticed() {
    let Some(servers) = Servers::start(1) else {
        return;
    };
    let mut node = Node::start(&servers, "a");
    node.create(1);
    node.ends.tail.follow(1, None);
    node.publish_all(1..4);
    node.has(3);
    let mut raw = servers.client(0);
    let config = raw.ask(&format!("$JS.API.STREAM.INFO.{STREAM}"), b"")["config"].take();
    raw.ask(&format!("$JS.API.STREAM.DELETE.{STREAM}"), b"");
    let made = raw.ask(
        &format!("$JS.API.STREAM.CREATE.{STREAM}"),
        config.to_string().as_bytes(),
    );
    assert!(made["error"].is_null(), "{made}");
    raw.publish(LOG, b"another");
    let stop = node.until("the end", |it| it.stopped.clone());
    assert!(matches!(stop, Stop::Recreated { .. }), "{stop}");
    assert_eq!(node.records.len(), 3);
}

#[test]
fn a_node_that_was_away_for_longer_than_the_log_remembers_is_told() {
    let Some(servers) = Servers::start(1) else {
        return;
    };
    let mut node = Node::start(&servers, "a");
    node.create(1);
    let mut raw = servers.client(0);
    let mut config = raw.ask(&format!("$JS.API.STREAM.INFO.{STREAM}"), b"")["config"].take();
    config["max_bytes"] = 100_000.into();
    raw.ask(
        &format!("$JS.API.STREAM.UPDATE.{STREAM}"),
        config.to_string().as_bytes(),
    );
    for _ in 0..30 {
        raw.ask(LOG, &[7; 10_000]);
    }
    node.ends.tail.follow(2, None);
    let stop = node.until("the end", |it| it.stopped.clone());
    let Stop::CutOff { first, next: 2 } = stop else {
        panic!("{stop}");
    };
    node.stopped = None;
    node.records.clear();
    node.ends.tail.follow(first, None);
    node.has(30);
}

/// Prints how fast a node catches up. Run it with `--ignored --nocapture` and a release build.
#[test]
#[ignore = "a measurement"]
fn catching_up() {
    let Some(servers) = Servers::start(1) else {
        return;
    };
    for (index, length) in [160, 1_024, 16 << 10, 256 << 10].into_iter().enumerate() {
        let mut node = Node::start(&servers, "a");
        if index == 0 {
            node.create(1);
        }
        let from = node.ends.streams.open().expect("the stream").last + 1;
        let count = ((64 << 20) / length as u64).min(100_000);
        let mut raw = servers.client(0);
        let record = vec![7; length];
        for index in 0..count {
            bring(&mut raw, index as usize, &record);
        }
        let last = from + count - 1;
        node.until("the records", |it| {
            (it.ends.streams.open().ok()?.last >= last).then_some(())
        });
        let began = Instant::now();
        node.ends.tail.follow(from, None);
        let mut taken = 0;
        while taken < count {
            match node.ends.tail.take() {
                Some(_) => taken += 1,
                None => drop(node.bell.wait(Duration::from_secs(1))),
            }
        }
        let took = began.elapsed().as_secs_f64();
        let tail = node.ends.tail.condition();
        eprintln!(
            "{length:>7} B: {:>7.1} MB/s, {:>9.0} records/s, {} fetches",
            count as f64 * length as f64 / took / 1e6,
            count as f64 / took,
            tail.fetches
        );
    }
}
