//! The records of a cluster's stream, and the messages between its nodes.
//!
//! Input: one byte (bit 0: records that follow each other as a node reads them, or one message; bit 1: with records that
//! fit before them), then for each record its length (2 bytes), a byte (bit 0: its link is mended to fit), and its bytes.

use trunkline_cluster::Incarnation;
use trunkline_cluster::chain::{Chain, Mark, Step};
use trunkline_cluster::envelope::{Epoch, Genesis, Hash, MAX_GROUP, Received, Record};

use crate::bytes::Bytes;

/// The most records of an input.
const RECORDS: usize = 64;

pub(crate) fn feed(input: &[u8]) {
    let mut input = Bytes(input);
    let head = input.byte();
    if head & 1 == 0 {
        one(input.0);
    } else {
        many(&mut input, head & 2 != 0);
    }
}

/// What is read is written as the same bytes.
fn one(message: &[u8]) {
    let message = bytes::Bytes::copy_from_slice(message);
    let record = Record::read(&message);
    let between = Received::read(&message);
    assert!(
        record.is_err() || between.is_err(),
        "both a record and a message"
    );
    if let Ok(record) = record {
        assert_eq!(record.write(), message);
        if let Record::Part(part) = &record {
            assert!(part.head.is_none_or(|head| head.len() <= MAX_GROUP));
        }
    }
    if let Ok(between) = between {
        assert_eq!(between.write(), message);
    }
    if let Ok(mark) = Mark::read(&message) {
        let written = mark.write();
        assert_eq!(Mark::read(&written).ok(), Some(mark));
        // One of an earlier form is written in the present one.
        if message[..4] == written[..4] {
            assert_eq!(written, &message[..]);
        }
    }
}

/// A chain takes any records. Epochs and indexes never go back, and a chain that goes on from any mark takes the same.
fn many(input: &mut Bytes<'_>, begun: bool) {
    let mut chain = Chain::new();
    let mut records = if begun { beginning() } else { Vec::new() };
    let mut marks: Vec<Mark> = Vec::new();
    let mut last = (0, 0);
    loop {
        let at = chain.next() as usize - 1;
        if at == records.len() {
            if at == RECORDS || input.is_empty() {
                break;
            }
            records.push(next(input, &chain, records.last()));
        }
        let record = &records[at];
        let step = chain.take(chain.next(), record);
        let Ok(step) = &step else {
            assert_eq!(chain.take(chain.next() + 1, record), step);
            return;
        };
        let mark = *chain.mark().expect("a chain that goes on has its genesis");
        match step {
            Step::Epoch { epoch, .. } => assert!(*epoch == last.0 + 1 && mark.index == last.1),
            Step::Group(group) => assert!(group.epoch == last.0 && group.index == last.1 + 1),
            _ => assert_eq!((mark.epoch, mark.index), last),
        }
        last = (mark.epoch, mark.index);
        assert!(mark.sequence as usize <= records.len());
        if marks.last() != Some(&mark) {
            marks.push(mark);
        }
    }
    for mark in marks {
        let mut later = Chain::resume(mark);
        while let Some(record) = records.get(later.next() as usize - 1) {
            let sequence = later.next();
            later.take(sequence, record).expect("no stop");
            if later.next() > sequence {
                // Once more does nothing.
                assert_eq!(later.take(sequence, record), Ok(Step::Known));
            }
        }
        assert_eq!(later.mark(), chain.mark());
    }
}

/// The next record of the input. Its link may be mended, so that it is not refused for it.
fn next(input: &mut Bytes<'_>, chain: &Chain, last: Option<&bytes::Bytes>) -> bytes::Bytes {
    let len = input.short();
    let mend = input.byte() & 1 != 0;
    let record = bytes::Bytes::copy_from_slice(input.take(len));
    let (true, Some(link)) = (mend, chain.link()) else {
        return record;
    };
    match Record::read(&record) {
        Ok(Record::Epoch(epoch)) => Record::Epoch(Epoch { link, ..epoch }).write(),
        Ok(Record::Part(mut part)) => {
            part.link = link;
            if part.part > 0
                && let Some(last) = last
            {
                part.link.before = Hash::of(last);
            }
            Record::Part(part).write()
        }
        _ => record,
    }
}

/// A genesis and the first epoch.
fn beginning() -> Vec<bytes::Bytes> {
    let genesis = Genesis {
        key: [1; 16],
        history: [2; 16],
        segment_bytes: 1 << 20,
        made: 0,
        cluster: "c".parse().expect("a name"),
        from: 0,
    }
    .write();
    let mut chain = Chain::new();
    chain.take(1, &genesis).expect("a genesis");
    let epoch = Epoch {
        link: chain.link().expect("a chain that has begun"),
        epoch: 1,
        index: 0,
        author: Incarnation {
            node: "a".parse().expect("a name"),
            number: 1,
        },
    };
    vec![genesis, epoch.write()]
}
