//! Which records count.

use trunkline_cluster::chain::{Chain, Skip, Step};
use trunkline_cluster::envelope::{Draft, Epoch, Record};

use crate::made::{Stream, epoch_after, genesis, group_after, life};

fn skipped(skip: Skip) -> Step {
    Step::Skipped(skip)
}

fn is_group(step: &Step, index: u64) -> bool {
    matches!(step, Step::Group(group) if group.index == index)
}

#[test]
fn groups_of_the_current_epoch_count_in_their_order() {
    let mut stream = Stream::new();
    let begun = stream.begin(1, life("a", 1));
    let author = life("a", 1);
    assert_eq!(begun, Step::Epoch { epoch: 1, author });
    for index in 1..=5 {
        let Step::Group(group) = stream.group(&[index]) else {
            panic!("group {index} does not count");
        };
        assert_eq!((group.epoch, group.index), (1, u64::from(index)));
        assert_eq!(&group.transcript[..], [index]);
    }
    let mark = stream.chain.mark().expect("a mark");
    assert_eq!((mark.sequence, mark.epoch, mark.index), (7, 1, 5));
    assert_eq!(mark.author, Some(author));
    assert_eq!(stream.chain.skips().total(), 0);
}

#[test]
fn a_group_of_an_epoch_that_is_over_does_not_count() {
    let mut stream = Stream::new();
    stream.begin(1, life("a", 1));
    let late = group_after(&stream.chain, b"late", b"", 4096).remove(0);
    stream.begin(2, life("b", 1));
    assert_eq!(stream.store(late), skipped(Skip::OldEpoch));
    assert!(is_group(&stream.group(b"next"), 1));
    assert_eq!(stream.chain.skips().of(Skip::OldEpoch), 1);
}

#[test]
fn an_epoch_that_is_not_greater_does_not_begin() {
    let mut stream = Stream::new();
    let both = [life("a", 1), life("b", 1)].map(|node| epoch_after(&stream.chain, 1, node));
    let [first, second] = both;
    assert!(matches!(stream.store(first.clone()), Step::Epoch { .. }));
    assert_eq!(stream.store(second), skipped(Skip::OldEpoch));
    assert_eq!(stream.store(first), skipped(Skip::OldEpoch));
    let author = stream.chain.mark().expect("a mark").author;
    assert_eq!(author, Some(life("a", 1)));
    // An epoch leaves no numbers out: nobody could lead after the last number.
    for epoch in [3, 9, u64::MAX] {
        assert_eq!(stream.begin(epoch, life("b", 1)), skipped(Skip::NoEpoch));
    }
    assert!(matches!(
        stream.begin(2, life("b", 1)),
        Step::Epoch { epoch: 2, .. }
    ));
}

#[test]
fn an_epoch_record_whose_author_missed_a_group_does_not_count() {
    let mut stream = Stream::new();
    stream.begin(1, life("a", 1));
    let late = epoch_after(&stream.chain, 2, life("b", 1));
    stream.group(b"one");
    assert_eq!(stream.store(late), skipped(Skip::Late));
    assert!(is_group(&stream.group(b"two"), 2));
}

#[test]
fn a_group_after_one_that_is_missing_does_not_count() {
    let mut stream = Stream::new();
    stream.begin(1, life("a", 1));
    // The author had two in flight, and the first one did not land.
    let mut ahead = stream.chain.clone();
    let lost = group_after(&ahead, b"lost", b"", 4096).remove(0);
    ahead.take(3, &lost).expect("no stop");
    let ghost = group_after(&ahead, b"ghost", b"", 4096).remove(0);
    let other = epoch_after(&stream.chain, 1, life("b", 1));
    assert_eq!(stream.store(other), skipped(Skip::OldEpoch));
    assert_eq!(stream.store(ghost), skipped(Skip::Index));
    assert!(is_group(&stream.group(b"one"), 1));
}

#[test]
fn a_group_that_comes_twice_counts_once() {
    let mut stream = Stream::new();
    stream.begin(1, life("a", 1));
    let one = group_after(&stream.chain, b"one", b"", 4096).remove(0);
    assert!(is_group(&stream.store(one.clone()), 1));
    assert_eq!(stream.store(one), skipped(Skip::Index));
    assert!(is_group(&stream.group(b"two"), 2));
}

#[test]
fn a_group_of_an_epoch_that_has_not_begun_does_not_count() {
    let mut stream = Stream::new();
    stream.begin(1, life("a", 1));
    let mut elsewhere = stream.chain.clone();
    let begins = epoch_after(&elsewhere, 2, life("b", 1));
    elsewhere.take(3, &begins).expect("no stop");
    let early = group_after(&elsewhere, b"early", b"", 4096).remove(0);
    // Something else lies where the epoch record was expected.
    stream.store(genesis(9));
    assert_eq!(stream.store(early.clone()), skipped(Skip::NoEpoch));
    assert_eq!(
        stream.store(begins),
        Step::Epoch {
            epoch: 2,
            author: life("b", 1)
        }
    );
    assert!(is_group(&stream.store(early), 1));
}

#[test]
fn parts_count_with_the_last_one() {
    let mut stream = Stream::new();
    stream.begin(1, life("a", 1));
    let long: Vec<u8> = (0..2000_u32).map(|n| n as u8).collect();
    let parts = stream.parts(&long);
    assert_eq!(parts.len(), 5);
    let (last, others) = parts.split_last().expect("parts");
    for part in others {
        assert_eq!(stream.store(part.clone()), Step::Part);
        assert_eq!(stream.chain.mark().expect("a mark").index, 0);
        // One that comes again is not the next one.
        assert_eq!(stream.store(part.clone()), skipped(Skip::Part));
    }
    let Step::Group(group) = stream.store(last.clone()) else {
        panic!("no group");
    };
    assert_eq!(&group.transcript[..], &long[..]);
    assert_eq!(&group.told[..], b"told");
    assert_eq!(stream.store(last.clone()), skipped(Skip::Index));
    assert!(is_group(&stream.group(b"next"), 2));
}

#[test]
fn parts_without_the_one_before_do_not_count() {
    let mut stream = Stream::new();
    stream.begin(1, life("a", 1));
    let parts = stream.parts(&[5; 1500]);
    for part in [&parts[1], &parts[3], &parts[2]] {
        assert_eq!(stream.store(part.clone()), skipped(Skip::Part));
    }
    for part in [&parts[0], &parts[1]] {
        assert_eq!(stream.store(part.clone()), Step::Part);
    }
    assert_eq!(stream.store(parts[3].clone()), skipped(Skip::Part));
    assert_eq!(stream.store(parts[2].clone()), Step::Part);
    assert!(is_group(&stream.store(parts[3].clone()), 1));
}

#[test]
fn a_new_epoch_drops_parts_without_an_end() {
    let mut stream = Stream::new();
    stream.begin(1, life("a", 1));
    let parts = stream.parts(&[5; 900]);
    assert_eq!(parts.len(), 3);
    stream.store(parts[0].clone());
    stream.store(parts[1].clone());
    assert!(matches!(stream.begin(2, life("a", 1)), Step::Epoch { .. }));
    assert_eq!(stream.store(parts[2].clone()), skipped(Skip::OldEpoch));
    // The same group again, in the new epoch.
    let again = stream.parts(&[5; 900]);
    assert_eq!(stream.store(again[0].clone()), Step::Part);
    assert_eq!(stream.store(parts[1].clone()), skipped(Skip::OldEpoch));
    assert_eq!(stream.store(again[1].clone()), Step::Part);
    assert!(is_group(&stream.store(again[2].clone()), 1));
}

#[test]
fn parts_of_two_groups_do_not_mix() {
    let mut stream = Stream::new();
    stream.begin(1, life("a", 1));
    let (one, two) = (stream.parts(&[1; 900]), stream.parts(&[2; 900]));
    assert_eq!(stream.store(one[0].clone()), Step::Part);
    assert_eq!(stream.store(two[1].clone()), skipped(Skip::Part));
    assert_eq!(stream.store(two[0].clone()), skipped(Skip::Part));
    assert_eq!(stream.store(one[1].clone()), Step::Part);
    assert_eq!(stream.store(two[2].clone()), skipped(Skip::Part));
    let Step::Group(group) = stream.store(one[2].clone()) else {
        panic!("no group");
    };
    assert_eq!(&group.transcript[..], [1; 900]);
}

#[test]
fn a_group_that_is_not_as_long_as_it_says_does_not_count() {
    let mut stream = Stream::new();
    stream.begin(1, life("a", 1));
    for (told, at) in [(3_u32, 2), (2000, 2)] {
        let parts = stream.parts(&[5; 900]);
        let Ok(Record::Part(mut first)) = Record::read(&parts[0]) else {
            panic!("no part");
        };
        if let Some(head) = &mut first.head {
            head.told = told;
        }
        let first = first.write();
        let mut before = trunkline_cluster::envelope::Hash::of(&first);
        assert_eq!(stream.store(first), Step::Part);
        for (number, part) in parts.iter().enumerate().skip(1) {
            let Ok(Record::Part(mut part)) = Record::read(part) else {
                panic!("no part");
            };
            part.link.before = before;
            let part = part.write();
            before = trunkline_cluster::envelope::Hash::of(&part);
            let wanted = if number < at {
                Step::Part
            } else {
                skipped(Skip::Part)
            };
            assert_eq!(stream.store(part), wanted);
        }
        assert!(matches!(stream.group(b"next"), Step::Group(_)));
    }
}

#[test]
fn what_is_no_record_does_not_count() {
    let mut stream = Stream::new();
    stream.begin(1, life("a", 1));
    for foreign in [&b""[..], b"hello", b"TL\x01\x03too short", b"TL\x01\x63"] {
        assert_eq!(stream.store(foreign.to_vec().into()), skipped(Skip::Form));
    }
    assert_eq!(stream.store(genesis(1)), skipped(Skip::Genesis));
    assert!(is_group(&stream.group(b"one"), 1));
    assert_eq!(stream.chain.skips().of(Skip::Form), 4);
    assert_eq!(stream.chain.skips().total(), 5);
}

#[test]
fn an_epoch_record_with_another_index_does_not_count() {
    let mut stream = Stream::new();
    let wrong = Epoch {
        link: stream.chain.link().expect("a link"),
        epoch: 1,
        index: 7,
        author: life("a", 1),
    };
    assert_eq!(stream.store(wrong.write()), skipped(Skip::Late));
}

#[test]
fn a_chain_goes_on_where_another_one_was() {
    let mut stream = Stream::new();
    stream.begin(1, life("a", 1));
    stream.group(b"one");
    let parts = stream.parts(&[5; 900]);
    stream.store(parts[0].clone());
    let mark = *stream.chain.mark().expect("a mark");
    for part in &parts[1..] {
        stream.store(part.clone());
    }
    stream.begin(2, life("b", 1));
    stream.group(b"three");
    let mut later = Chain::resume(mark);
    // Nothing is published before the record at the mark was compared.
    assert_eq!(later.link(), None);
    let mut taken = Vec::new();
    while let Some(record) = stream.records.get(later.next() as usize - 1) {
        let step = later.take(later.next(), record).expect("no stop");
        taken.push(step);
    }
    assert_eq!(taken[0], Step::Known);
    let groups = taken.iter().filter(|step| matches!(step, Step::Group(_)));
    assert_eq!(groups.count(), 2);
    assert_eq!(later.mark(), stream.chain.mark());
    assert_eq!(later.link(), stream.chain.link());
}

#[test]
fn links_say_what_was_looked_at() {
    let mut stream = Stream::new();
    stream.begin(1, life("a", 1));
    let mark = *stream.chain.mark().expect("a mark");
    stream.store(b"foreign".to_vec().into());
    let link = stream.chain.link().expect("a link");
    // What was skipped is behind the record that counts.
    assert_eq!((link.after, link.before), (3, mark.hash));
    let draft = Draft {
        link,
        epoch: 1,
        index: 1,
        ahead: 0,
        transcript: b"",
        told: b"",
    };
    let cut = draft.cut(512).expect("a short group");
    assert_eq!(cut.len(), 1);
    assert!(is_group(&stream.store(cut[0].clone()), 1));
}
