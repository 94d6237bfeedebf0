//! When a node stops: its history and the stream's differ.

use bytes::Bytes;
use trunkline_cluster::chain::{Chain, Stop};
use trunkline_cluster::envelope::{Hash, Record};

use crate::made::{Stream, epoch_after, genesis, group_after, life};

/// Gives a chain the records of a stream from its next one on. Returns why it stopped.
fn follow(chain: &mut Chain, records: &[Bytes]) -> Option<Stop> {
    while let Some(record) = records.get(chain.next() as usize - 1) {
        if let Err(stop) = chain.take(chain.next(), record) {
            return Some(stop);
        }
    }
    None
}

/// A stream with two epochs and four groups.
fn usual() -> Stream {
    let mut stream = Stream::new();
    stream.begin(1, life("a", 1));
    stream.group(b"one");
    stream.group(b"two");
    stream.begin(2, life("b", 1));
    stream.group(b"three");
    stream.group(b"four");
    stream
}

#[test]
fn a_stream_begins_with_a_genesis() {
    let records = usual().records;
    for first in [
        &records[1],
        &records[2],
        &Bytes::from_static(b"hello"),
        &Bytes::new(),
    ] {
        let mut chain = Chain::new();
        assert_eq!(chain.take(1, first), Err(Stop::NoGenesis), "{first:?}");
        // A stop is for good.
        assert_eq!(chain.take(1, &records[0]), Err(Stop::NoGenesis));
        assert_eq!(chain.compare_ends(1, 1), Err(Stop::NoGenesis));
    }
}

#[test]
fn a_shorter_stream_stops_a_node() {
    let stream = usual();
    let last = stream.records.len() as u64;
    let check = |chain: &Chain, first, last, wanted: Result<(), Stop>| {
        let mut chain = chain.clone();
        assert_eq!(chain.compare_ends(first, last), wanted);
        assert_eq!(
            chain.take(chain.next(), &stream.records[0]).is_err(),
            wanted.is_err()
        );
    };
    let mut live = stream.chain.clone();
    live.take(last + 1, &Bytes::from_static(b"skipped"))
        .expect("no stop");
    // What was skipped was seen too.
    let seen = last + 1;
    check(&live, 1, last, Err(Stop::Shorter { last, seen }));
    assert_eq!(live.compare_ends(1, seen), Ok(()));
    let resumed = Chain::resume(*stream.chain.mark().expect("a mark"));
    let last = last - 1;
    let seen = last + 1;
    check(&resumed, 1, last, Err(Stop::Shorter { last, seen }));
    // An empty stream.
    check(&resumed, 1, 0, Err(Stop::Shorter { last: 0, seen }));
    let mut new = Chain::new();
    assert_eq!(new.compare_ends(1, 0), Ok(()));
}

#[test]
fn a_stream_that_begins_too_late_stops_a_node() {
    let stream = usual();
    let (mut new, mut live) = (Chain::new(), stream.chain.clone());
    let last = stream.records.len() as u64;
    let mut resumed = Chain::resume(*live.mark().expect("a mark"));
    assert_eq!(
        new.compare_ends(2, 9),
        Err(Stop::Gone { first: 2, next: 1 })
    );
    // The node compares the record that it remembers, so the stream must have it.
    let next = last;
    let first = last + 1;
    assert_eq!(
        resumed.compare_ends(first, 20),
        Err(Stop::Gone { first, next })
    );
    assert_eq!(live.compare_ends(first, 20), Ok(()));
}

#[test]
fn a_missing_record_stops_a_node() {
    let stream = usual();
    let mut chain = Chain::new();
    chain.take(1, &stream.records[0]).expect("a genesis");
    let stop = Stop::Missing {
        next: 2,
        sequence: 3,
    };
    assert_eq!(chain.take(3, &stream.records[2]), Err(stop));
}

#[test]
fn another_record_than_the_one_remembered_stops_a_node() {
    let stream = usual();
    let mark = *stream.chain.mark().expect("a mark");
    let sequence = mark.sequence;
    let other = Bytes::from_static(b"other");
    let mut resumed = Chain::resume(mark);
    assert_eq!(
        resumed.take(sequence, &other),
        Err(Stop::Other { sequence })
    );
    // A live node that reads again, after its connection was lost.
    let mut live = stream.chain.clone();
    assert!(
        live.take(sequence, &stream.records[sequence as usize - 1])
            .is_ok()
    );
    assert_eq!(live.take(sequence, &other), Err(Stop::Other { sequence }));
}

#[test]
fn a_stream_that_was_made_anew_stops_a_node() {
    let stream = usual();
    let mut anew = Chain::new();
    let mut records = vec![genesis(2)];
    anew.take(1, &records[0]).expect("a genesis");
    for epoch in 1..20 {
        let record = epoch_after(&anew, epoch, life("a", 2));
        anew.take(anew.next(), &record).expect("no stop");
        records.push(record);
    }
    // The node did not notice that the stream was shorter for a while.
    let mut live = stream.chain.clone();
    let sequence = live.next();
    let stop = Some(Stop::OtherLog { sequence });
    assert_eq!(follow(&mut live, &records), stop);
    // A later part of a group says it too.
    let mut other = Stream {
        records: records.clone(),
        chain: anew,
    };
    let parts = other.parts(&[1; 900]);
    other.store(parts[0].clone());
    let mut live = stream.chain.clone();
    assert_eq!(
        live.take(sequence, &parts[1]),
        Err(Stop::OtherLog { sequence })
    );
}

#[test]
fn a_stream_that_was_restored_from_an_old_copy_stops_a_node() {
    let stream = usual();
    // The copy has the first epoch with one group. Another node goes on from there, and the stream grows beyond what
    // this node has seen, with the same epochs and indexes.
    let mut other = Stream::new();
    for record in &stream.records[1..3] {
        other.store(record.clone());
    }
    other.begin(2, life("c", 1));
    for _ in 0..6 {
        other.group(b"other");
    }
    let mut live = stream.chain.clone();
    let sequence = live.next();
    assert_eq!(
        follow(&mut live, &other.records),
        Some(Stop::Fork { sequence })
    );
}

#[test]
fn an_epoch_of_another_history_stops_a_node() {
    let stream = usual();
    // The copy is older than in the test before, and no group has the index that is next here.
    let mut other = Stream::new();
    other.store(stream.records[1].clone());
    for epoch in 2..=6 {
        other.begin(epoch, life("c", 1));
    }
    other.begin(7, life("c", 1));
    let mut live = stream.chain.clone();
    let sequence = live.next();
    assert_eq!(
        follow(&mut live, &other.records),
        Some(Stop::Fork { sequence })
    );
}

#[test]
fn the_next_group_with_another_link_stops_a_node() {
    // The group came late, so nobody can say what its author had seen: but nobody else is the author of this epoch.
    let mut stream = usual();
    let late = group_after(&stream.chain, b"five", b"", 4096).remove(0);
    let Ok(Record::Part(mut late)) = Record::read(&late) else {
        panic!("no group");
    };
    late.link.before = Hash([1; 16]);
    stream.store(b"foreign".to_vec().into());
    let sequence = stream.chain.next();
    let stop = stream.chain.take(sequence, &late.write());
    assert_eq!(stop, Err(Stop::Fork { sequence }));
}

#[test]
fn a_node_that_was_restored_from_an_old_copy_follows() {
    let stream = usual();
    let mut old = Chain::new();
    follow(&mut old, &stream.records[..3]);
    let mut restored = Chain::resume(*old.mark().expect("a mark"));
    assert_eq!(follow(&mut restored, &stream.records), None);
    assert_eq!(restored.mark(), stream.chain.mark());
}

#[test]
fn a_record_of_a_later_version_stops_a_node() {
    let mut stream = usual();
    let sequence = stream.chain.next();
    let later = Bytes::from_static(b"TL\x02\x03what nobody here knows");
    let stop = stream.chain.take(sequence, &later).expect_err("a stop");
    assert_eq!(
        stop,
        Stop::Version {
            sequence,
            version: 2
        }
    );
    assert!(stop.to_string().contains("install the version"), "{stop}");
}
