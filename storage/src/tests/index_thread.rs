//! Tests of large batches, which are indexed while the disk syncs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::StateEntry;
use crate::backend::sim::Operation;
use crate::store::index_thread::LARGE;

fn options() -> Options {
    Options {
        background: true,
        segment_bytes: 1 << 20,
        max_record_bytes: 64 << 10,
        runs: true,
        ..small()
    }
}

/// Appends a batch of `count` messages of timeline 1 to user 0, each with states and a key.
fn append(opened: &mut Opened, from: u64, count: u64) {
    for seq in from..from + count {
        let draft = Draft {
            time: seq,
            timeline: TimelineId(1),
            seq,
            fanout: &[user(0)],
            body: b"body",
            key: Some(TimelineId(u128::from(seq) << 64)),
            states: &[
                StateEntry {
                    key: TimelineId(1),
                    value: &seq.to_le_bytes(),
                },
                StateEntry {
                    key: TimelineId(2),
                    value: &seq.to_le_bytes(),
                },
            ],
            ..Draft::default()
        };
        opened.writer.append_next(&draft).unwrap();
    }
}

/// Checks that entries, keys and state up to the head are complete. Returns the last sequence.
fn check(reader: &crate::Reader, page: &mut Page) -> u64 {
    let head = reader.head();
    let known = reader.last_seq(TimelineId(1));
    let all = 1..=u64::MAX;
    reader
        .range(TimelineId(1), all, usize::MAX, Order::Ascending, page)
        .unwrap();
    let seen = page.len() as u64;
    assert!(page.records().map(|record| record.seq).eq(1..=seen));
    let until = Position(u64::MAX);
    reader
        .sync(user(0), Position::ZERO, until, usize::MAX, page)
        .unwrap();
    let synced = page.len() as u64;
    let state = |key| {
        let state = reader.state(TimelineId(key)).unwrap();
        state.map_or(0, |state| u64::from_le_bytes(state.try_into().unwrap()))
    };
    let (first, second) = (state(1), state(2));
    assert!(known <= seen && seen <= synced && synced <= first && first <= second);
    assert!(seen.is_multiple_of(LARGE as u64), "a batch is seen whole");
    let key = |seq: u64| reader.find(TimelineId(u128::from(seq) << 64)).unwrap();
    if known > 0 {
        assert_eq!(key(known).unwrap().seq, known);
    }
    if head > Position::ZERO {
        assert!(page.records().any(|record| record.position == head));
    }
    seen
}

#[test]
fn a_large_batch_is_seen_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = Store::open(dir.path(), options(), &mut |_| {}).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (reader, done) = (opened.reader.clone(), done.clone());
            std::thread::spawn(move || {
                let mut page = Page::with_bytes(64 << 20);
                let mut last = false;
                while !last {
                    last = done.load(Ordering::Acquire);
                    check(&reader, &mut page);
                }
            })
        })
        .collect();
    let batches = 60;
    for batch in 0..batches {
        append(&mut opened, batch * LARGE as u64 + 1, LARGE as u64);
        opened.writer.commit().unwrap();
    }
    done.store(true, Ordering::Release);
    for reader in readers {
        reader.join().unwrap();
    }
    let mut page = Page::with_bytes(64 << 20);
    assert_eq!(check(&opened.reader, &mut page), batches * LARGE as u64);
}

#[test]
fn a_batch_that_could_not_be_synced_is_never_seen() {
    for nth in 0..3 {
        let disk = SimDisk::new(nth);
        let (mut opened, _) = open(&disk, options()).unwrap();
        let mut page = Page::with_bytes(64 << 20);
        append(&mut opened, 1, LARGE as u64);
        opened.writer.commit().unwrap();
        append(&mut opened, LARGE as u64 + 1, LARGE as u64);
        disk.fail(Operation::Sync, 0);
        let result = opened.writer.commit();
        if result.is_ok() {
            // It was the sync of a segment that is being prepared.
            continue;
        }
        assert_eq!(check(&opened.reader, &mut page), LARGE as u64);
        let lost = opened.reader.find(TimelineId((LARGE as u128 + 1) << 64));
        assert_eq!(lost.unwrap(), None);
        let one = opened
            .reader
            .get(TimelineId(1), LARGE as u64 + 1, &mut page);
        assert!(!one.unwrap());
    }
}
