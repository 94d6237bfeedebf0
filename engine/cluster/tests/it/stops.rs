//! When a node stops: its history and the stream's differ.

use bytes::Bytes;
use trunkline_cluster::chain::{Chain, Skip, Step, Stop};
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
        assert_eq!(chain.compare_ends(1, 1, 0), Err(Stop::NoGenesis));
    }
}

#[test]
fn a_shorter_stream_stops_a_node() {
    let stream = usual();
    let last = stream.records.len() as u64;
    let check = |chain: &Chain, first, last, wanted: Result<(), Stop>| {
        let mut chain = chain.clone();
        assert_eq!(chain.compare_ends(first, last, chain.furthest()), wanted);
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
    assert_eq!(live.compare_ends(1, seen, seen), Ok(()));
    // An answer that is older than the last record says nothing of that record.
    assert_eq!(live.compare_ends(1, last, last), Ok(()));
    // A node that reads again from its mark remembers how far it was.
    live.prove();
    check(&live, 1, last, Err(Stop::Shorter { last, seen }));
    let resumed = Chain::resume(*stream.chain.mark().expect("a mark"));
    let last = last - 1;
    let seen = last + 1;
    check(&resumed, 1, last, Err(Stop::Shorter { last, seen }));
    // An empty stream.
    check(&resumed, 1, 0, Err(Stop::Shorter { last: 0, seen }));
    let mut new = Chain::new();
    assert_eq!(new.compare_ends(1, 0, 0), Ok(()));
}

#[test]
fn a_stream_that_begins_too_late_stops_a_node() {
    let stream = usual();
    let (mut new, mut live) = (Chain::new(), stream.chain.clone());
    let last = stream.records.len() as u64;
    let mut resumed = Chain::resume(*live.mark().expect("a mark"));
    assert_eq!(
        new.compare_ends(2, 9, 0),
        Err(Stop::Gone { first: 2, next: 1 })
    );
    // The node compares the record that it remembers, so the stream must have it.
    let next = last;
    let first = last + 1;
    assert_eq!(
        resumed.compare_ends(first, 20, next),
        Err(Stop::Gone { first, next })
    );
    assert_eq!(live.compare_ends(first, 20, next), Ok(()));
}

#[test]
fn a_record_that_was_not_given_is_asked_for() {
    let stream = usual();
    let mut chain = Chain::new();
    chain.take(1, &stream.records[0]).expect("a genesis");
    let missing = Ok(Step::Missing { next: 2 });
    assert_eq!(chain.take(3, &stream.records[2]), missing);
    assert_eq!(chain.take(9, &stream.records[2]), missing);
    let mut followed = chain.clone();
    assert_eq!(follow(&mut followed, &stream.records), None);
    assert_eq!(followed.mark(), stream.chain.mark());
    // The servers say that they do not have it.
    let stop = Err(Stop::Missing { next: 2 });
    assert_eq!(chain.gone(), stop);
    assert_eq!(chain.compare_ends(1, 9, 1), stop);
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
    let mut anew = Stream::of(genesis(2));
    for epoch in 1..20 {
        anew.begin(epoch, life("a", 2));
    }
    // The node did not notice that the stream was shorter for a while. It has few records, and judges them from the first on.
    let sequence = stream.chain.mark().expect("a mark").sequence;
    let stop = Some(Stop::Other { sequence: 1 });
    assert_eq!(follow(&mut stream.chain.clone(), &anew.records), stop);
    // A later part of a group says it too.
    let parts = anew.parts(&[1; 900]);
    anew.records[sequence as usize] = parts[1].clone();
    assert_eq!(follow(&mut stream.chain.clone(), &anew.records), stop);
}

/// Returns the stream of `usual` as an old copy of it has it: the first epoch with one group.
fn old_copy() -> Stream {
    let mut copy = Stream::new();
    for record in &usual().records[1..3] {
        copy.store(record.clone());
    }
    copy
}

#[test]
fn a_stream_that_was_restored_from_an_old_copy_stops_a_node() {
    // Another node goes on from the copy, and the stream grows beyond what this node has seen. What lies at the sequence
    // that this node reads next is of the same epoch, of a later one, or begins one.
    for (epochs, before) in [(1, 6), (1, 1), (2, 6), (3, 1), (4, 0), (7, 0)] {
        let stream = usual();
        let mut other = old_copy();
        for epoch in 2..2 + epochs {
            other.begin(epoch, life("c", 1));
        }
        for _ in 0..before {
            other.group(b"other");
        }
        other.begin(2 + epochs, life("d", 1));
        for _ in 0..6 {
            other.group(b"other");
        }
        let mut live = stream.chain.clone();
        let sequence = live.mark().expect("a mark").sequence;
        assert_eq!(
            follow(&mut live, &other.records),
            Some(Stop::Other { sequence }),
            "{epochs} {before}"
        );
    }
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
    let sequence = live.mark().expect("a mark").sequence;
    assert_eq!(
        follow(&mut live, &other.records),
        Some(Stop::Other { sequence })
    );
}

#[test]
fn a_node_with_another_history_stops_and_no_other_does() {
    for old in [false, true] {
        let mut stream = usual();
        let mut wrong = old_copy();
        wrong.begin(if old { 2 } else { 3 }, life("x", 1));
        while wrong.chain.next() < stream.chain.next() {
            wrong.group(b"wrong");
        }
        if !old {
            // It was never seen by the others, so the epoch that it begins next can be any.
            wrong.chain = Chain::resume(*wrong.chain.mark().expect("a mark"));
            let last = wrong.records.len() as u64;
            wrong
                .chain
                .take(last, wrong.records.last().expect("a record"))
                .expect("the mark");
        }
        let epoch = wrong.chain.mark().expect("a mark").epoch + 1;
        let record = epoch_after(&wrong.chain, epoch, life("x", 1));
        let sequence = stream.chain.next();
        stream.records.push(record.clone());
        // It published where it expected to, and the others have seen as much.
        assert_eq!(stream.chain.take(sequence, &record), Ok(Step::Prove));
        assert!(!stream.chain.is_proved());
        assert_eq!(stream.chain.link(), None);
        assert_eq!(follow(&mut stream.chain, &stream.records), None);
        assert_eq!(stream.chain.skips().of(Skip::Fork), 1);
        assert!(matches!(stream.group(b"five"), Step::Group(_)));
        let mut new = Chain::new();
        assert_eq!(follow(&mut new, &stream.records), None);
        assert_eq!(new.mark(), stream.chain.mark());
        // Before it publishes an epoch record, it compares its mark.
        let mark = *wrong.chain.mark().expect("a mark");
        wrong.chain.prove();
        let sequence = mark.sequence;
        assert_eq!(
            follow(&mut wrong.chain, &stream.records),
            Some(Stop::Other { sequence })
        );
    }
}

#[test]
fn a_record_that_was_seen_and_lost_is_read_anew() {
    // This node has looked at a record that does not count, and the stream lost it. An epoch record lies there now.
    let mut stream = usual();
    let mut live = stream.chain.clone();
    live.take(live.next(), &Bytes::from_static(b"lost"))
        .expect("no stop");
    stream.begin(3, life("c", 1));
    stream.group(b"five");
    assert_eq!(follow(&mut live, &stream.records), None);
    assert_eq!(live.mark(), stream.chain.mark());
}

#[test]
fn records_of_others_stop_no_node_and_cost_little() {
    let mut stream = usual();
    let mut foreign = Stream::of(genesis(2));
    for epoch in 1..400 {
        foreign.begin(epoch, life("a", 2));
    }
    let (mut reads, mut steps) = (0, 0);
    for record in &foreign.records[1..] {
        stream.records.push(record.clone());
        while let Some(record) = stream.records.get(stream.chain.next() as usize - 1) {
            reads += 1;
            let step = stream
                .chain
                .take(stream.chain.next(), record)
                .expect("no stop");
            steps += usize::from(step == Step::Prove);
        }
    }
    assert_eq!(stream.chain.skips().of(Skip::OtherLog), 399);
    // At the first, second, fourth, and so on.
    assert_eq!(steps, 9);
    assert!(reads < 4 * 399, "{reads}");
    assert!(matches!(stream.group(b"five"), Step::Group(_)));
}

#[test]
fn the_next_group_with_another_link_does_not_count() {
    // The group came late, so nobody can say what its author had seen: but nobody else is the author of this epoch.
    let mut stream = usual();
    let late = group_after(&stream.chain, b"five", b"", 4096).remove(0);
    let Ok(Record::Part(mut late)) = Record::read(&late) else {
        panic!("no group");
    };
    late.link.before = Hash([1; 16]);
    stream.store(b"foreign".to_vec().into());
    stream.records.push(late.write());
    assert_eq!(follow(&mut stream.chain, &stream.records), None);
    assert_eq!(stream.chain.skips().of(Skip::Fork), 1);
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
    let log = stream.chain.mark().expect("a mark").log.0;
    let later = |log: u64| {
        Bytes::from(
            [
                &b"TL\x02\x03"[..],
                &log.to_le_bytes(),
                b"what nobody here knows",
            ]
            .concat(),
        )
    };
    // Messages of others may begin with the same letters.
    for other in [
        Bytes::from_static(b"TLS"),
        Bytes::from_static(b"TL\x02\x03"),
        later(log ^ 1),
    ] {
        let mut chain = stream.chain.clone();
        assert_eq!(chain.take(sequence, &other), Ok(Step::Skipped(Skip::Form)));
    }
    let later = later(log);
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

/// The stream loses its end, another node leads in that place, and the author of what was lost has not noticed. Its next
/// record lies where it expects it.
#[test]
fn an_author_whose_record_lost_its_predecessor_stops() {
    for count in [0, 1, 20, 40, 600] {
        let stream = usual();
        let mut author = stream.chain.clone();
        let mut other = Stream::new();
        for record in &stream.records[1..stream.records.len() - 1] {
            other.store(record.clone());
        }
        other.begin(3, life("c", 1));
        for _ in 0..=count {
            let next = group_after(&author, b"behind", b"", 4096).remove(0);
            let step = author.take(author.next(), &next);
            assert!(matches!(step, Ok(Step::Group(_))), "{step:?}");
            assert!(matches!(other.store(next), Step::Skipped(_)));
        }
        // A connection that ends shows it, if little has come since.
        let mut proves = author.clone();
        proves.prove();
        let sequence = author.mark().expect("a mark").sequence;
        let stop = follow(&mut proves, &other.records);
        if !(16..=40).contains(&count) {
            let wanted = (count < 16).then_some(Stop::Before { sequence });
            assert_eq!(stop, wanted, "{count}");
        }
        // So does the next record of another node.
        other.begin(4, life("c", 1));
        let stop = follow(&mut author, &other.records);
        assert_eq!(stop, Some(Stop::Before { sequence }), "{count}");
    }
}

#[test]
fn those_whose_history_is_the_streams_prove_it_from_further_back() {
    let mut stream = usual();
    for round in 0..3_u8 {
        for _ in 0..400 {
            stream.group(&[round]);
        }
        let mark = *stream.chain.mark().expect("a mark");
        stream.chain.prove();
        assert!(!stream.chain.is_proved() && stream.chain.next() < mark.sequence);
        assert_eq!(follow(&mut stream.chain, &stream.records), None);
        assert!(stream.chain.is_proved());
        // A stray record makes the node look further back.
        let stray = epoch_after(&usual().chain, 9, life("z", 1));
        assert!(matches!(stream.store(stray), Step::Skipped(_)));
        assert_eq!(stream.chain.mark(), Some(&mark));
        assert!(stream.chain.is_proved());
    }
}
