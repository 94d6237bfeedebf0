//! Tests of the promises of the interface without faults.

use super::*;
use crate::{AppendError, Health, Order, ReadError};

fn numbers(page: &Page) -> Vec<u64> {
    page.records().map(|record| record.time).collect()
}

#[test]
fn records_come_back_whole_and_in_order() {
    let disk = SimDisk::new(1);
    let (mut opened, replayed) = open(&disk, small()).unwrap();
    assert!(opened.report.created);
    assert_eq!(replayed, []);
    let mut log = Vec::new();
    for count in [1, 5, 40, 3] {
        commit(&mut opened, &mut log, count);
        assert_eq!(opened.reader.head().0, log[log.len() - 1].position);
    }
    assert!(log.is_sorted_by(|a, b| a.position < b.position));
    assert!(
        opened.reader.stats().segments > 1,
        "the batches cross segments"
    );
    assert_eq!(read_all(&opened, &log), log);
    drop(opened);

    let (opened, replayed) = open(&disk, small()).unwrap();
    assert_eq!(replayed, log);
    assert!(!opened.report.created);
    assert_eq!(opened.report.records, 49);
    assert_eq!(opened.report.torn, None);
    assert_eq!(read_all(&opened, &log), log);
    for timeline in 0..3 {
        let last = log
            .iter()
            .filter(|e| e.timeline == timeline)
            .map(|e| e.seq)
            .max()
            .unwrap();
        assert_eq!(opened.reader.last_seq(TimelineId(timeline)), last);
    }
}

#[test]
fn a_batch_is_what_readers_see() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small()).unwrap();
    let mut events: Vec<Event> = (1..60).map(|n| event(n, n, 300)).collect();
    for event in &mut events {
        event.position = opened.writer.append(&event.draft()).unwrap().0;
    }
    assert_eq!(opened.writer.batch_records(), 59);
    let bytes = opened.writer.batch_bytes() as u64;
    let batch = opened.writer.commit().unwrap();
    assert_eq!(opened.writer.batch_records(), 0);

    assert_eq!(
        batch
            .records()
            .map(|record| Event::of(&record))
            .collect::<Vec<_>>(),
        events
    );
    for event in &events {
        assert_eq!(
            Event::of(&batch.record_at(Position(event.position))),
            *event
        );
    }
    assert_eq!(batch.first().0, events[0].position);
    assert_eq!(batch.last(), opened.reader.head());
    assert!(batch.end() > batch.last());
    let stats = opened.reader.stats();
    assert_eq!((stats.commits, stats.records, stats.bytes), (1, 59, bytes));
    assert_eq!(stats.durable, batch.end());
    assert_eq!(stats.segment_bytes, stats.segments as u64 * 8192);
    assert_eq!(stats.commit_micros.iter().sum::<u64>(), 1);
    assert_eq!(
        stats.syncs, stats.segments as u64,
        "one for each segment the batch is in"
    );
}

#[test]
fn an_empty_commit_touches_no_disk() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small()).unwrap();
    let before = disk.operations();
    let batch = opened.writer.commit().unwrap();
    assert!(batch.is_empty());
    assert_eq!(batch.first(), batch.end());
    opened.writer.sync().unwrap();
    assert_eq!(disk.operations(), before);
}

#[test]
fn nothing_appended_is_visible_or_kept() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small()).unwrap();
    let mut log = Vec::new();
    commit(&mut opened, &mut log, 2);
    let head = opened.reader.head();
    // Enough to go on in the next segment, and then not to.
    for n in 10..60 {
        opened.writer.append(&event(n, n, 300).draft()).unwrap();
    }
    assert_eq!(opened.reader.head(), head);
    assert!(opened.reader.last_seq(TimelineId(1)) < 10);
    drop(opened);
    let (mut opened, replayed) = open(&disk, small()).unwrap();
    assert_eq!(replayed, log);
    commit(&mut opened, &mut log, 60);
    drop(opened);
    assert_eq!(open(&disk, small()).unwrap().1, log);
}

#[test]
fn ranges_keep_the_end_that_was_asked_for() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small()).unwrap();
    let body = [0; 64];
    for n in 1..=10 {
        let draft = Draft {
            kind: 0,
            time: n,
            timeline: TimelineId(1),
            seq: n,
            fanout: &[],
            body: &body,
            ..Draft::default()
        };
        opened.writer.append(&draft).unwrap();
    }
    opened.writer.commit().unwrap();
    let reader = &opened.reader;
    // 100 bytes a record: the page holds three.
    let mut page = Page::with_bytes(300);
    let cases = [
        (1..=10, 2, Order::Ascending, vec![1, 2], true),
        (1..=10, 2, Order::Descending, vec![9, 10], true),
        (1..=10, 100, Order::Ascending, vec![1, 2, 3], true),
        (1..=10, 100, Order::Descending, vec![8, 9, 10], true),
        (4..=6, 100, Order::Ascending, vec![4, 5, 6], false),
        (4..=6, 3, Order::Descending, vec![4, 5, 6], false),
        (10..=u64::MAX, 9, Order::Ascending, vec![10], false),
        (0..=0, 9, Order::Ascending, vec![], false),
        (11..=20, 9, Order::Descending, vec![], false),
    ];
    for (seqs, limit, order, expected, more) in cases {
        reader
            .range(TimelineId(1), seqs.clone(), limit, order, &mut page)
            .unwrap();
        assert_eq!(
            (numbers(&page), page.more()),
            (expected, more),
            "{seqs:?} {limit} {order:?}"
        );
    }
    reader
        .range(TimelineId(2), 1..=10, 9, Order::Ascending, &mut page)
        .unwrap();
    assert!(page.is_empty(), "an unknown timeline is empty");
    assert!(reader.get(TimelineId(1), 7, &mut page).unwrap());
    assert_eq!(numbers(&page), [7]);
    assert!(!reader.get(TimelineId(1), 11, &mut page).unwrap());
    assert!(page.is_empty());
}

#[test]
fn a_page_smaller_than_a_record_still_goes_forward() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small()).unwrap();
    let mut log = Vec::new();
    commit(&mut opened, &mut log, 30);
    let mut page = Page::with_bytes(0);
    let (mut after, mut seen) = (Position::ZERO, Vec::new());
    loop {
        let more = opened
            .reader
            .sync(user(0), after, opened.reader.head(), 500, &mut page)
            .unwrap();
        let Some(record) = page.records().next_back() else {
            break;
        };
        assert_eq!(page.len(), 1);
        after = record.position;
        seen.push(record.time);
        assert_eq!(more, page.more());
        if !more {
            break;
        }
    }
    let expected: Vec<u64> = log
        .iter()
        .filter(|e| e.fanout.contains(&user(0)))
        .map(|e| e.number)
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn positions_that_are_none_are_refused() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small()).unwrap();
    let mut log = Vec::new();
    commit(&mut opened, &mut log, 2);
    let reader = &opened.reader;
    let head = reader.head();
    let sync = |after| reader.sync(user(0), after, Position(u64::MAX), 9, &mut Page::new());
    assert!(matches!(sync(Position(head.0 + 1)), Err(ReadError::Future)));
    assert!(!sync(head).unwrap());
}

#[test]
fn bad_drafts_leave_the_batch_as_it_was() {
    let disk = SimDisk::new(1);
    let options = Options {
        max_batch_bytes: 4096,
        ..small()
    };
    let (mut opened, _) = open(&disk, options).unwrap();
    let writer = &mut opened.writer;
    let mut log = vec![event(1, 5, 0), event(4, 7, 0)];
    for event in &mut log {
        event.position = writer.append(&event.draft()).unwrap().0;
    }
    let before = (writer.batch_bytes(), writer.batch_records());

    let sequence = writer.append(&event(7, 7, 0).draft());
    assert!(matches!(
        sequence,
        Err(AppendError::Sequence {
            seq: 7,
            last: 7,
            ..
        })
    ));
    let large = Event {
        body: vec![0; 2048],
        ..event(8, 1, 0)
    };
    assert!(matches!(
        writer.append(&large.draft()),
        Err(AppendError::TooLarge { max: 2048, .. })
    ));
    let mut numbers = 9..;
    let full = loop {
        let number = numbers.next().unwrap();
        let body = Event {
            fanout: vec![],
            body: vec![1; 900],
            ..event(number, number, 0)
        };
        match writer.append(&body.draft()) {
            Ok(position) => log.push(Event {
                position: position.0,
                ..body
            }),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, AppendError::BatchFull));
    assert!(writer.batch_bytes() > before.0 && writer.batch_bytes() <= 4096);
    writer.commit().unwrap();

    let stale = opened.writer.append(&event(10, 6, 0).draft());
    assert!(
        matches!(stale, Err(AppendError::Sequence { .. })),
        "committed ones count too"
    );
    assert_eq!(opened.reader.health(), Health::Ok);
    assert_eq!(read_all(&opened, &log), log);
}

#[test]
fn a_segment_prepared_for_smaller_records_is_passed_over() {
    let disk = SimDisk::new(1);
    let mut log = Vec::new();
    {
        // Fill the first segment and have the second one prepared, but unused.
        let (mut opened, _) = open(&disk, small()).unwrap();
        commit(&mut opened, &mut log, 1);
        for n in 100..150 {
            opened.writer.append(&event(n, n, 300).draft()).unwrap();
        }
    }
    let options = Options {
        segment_bytes: 1 << 20,
        max_record_bytes: 64 << 10,
        ..small()
    };
    let (mut opened, _) = open(&disk, options.clone()).unwrap();
    let mut large = Event {
        body: vec![7; 60_000],
        ..event(2, 50, 0)
    };
    large.position = opened.writer.append(&large.draft()).unwrap().0;
    log.push(large);
    opened.writer.commit().unwrap();
    drop(opened);
    let (opened, replayed) = open(&disk, options).unwrap();
    assert_eq!(replayed, log);
    assert_eq!(read_all(&opened, &log), log);
}

#[test]
fn a_held_batch_is_never_overwritten() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small()).unwrap();
    let mut held = Vec::new();
    for number in 1..40 {
        let mut event = event(number, number, 300);
        event.position = opened.writer.append(&event.draft()).unwrap().0;
        let batch = opened.writer.commit().unwrap();
        // Every third batch is let go, so that its buffer is used again.
        if number % 3 != 0 {
            held.push((batch, event));
        }
    }
    for (batch, event) in held {
        assert_eq!(
            batch
                .records()
                .map(|record| Event::of(&record))
                .collect::<Vec<_>>(),
            [event]
        );
    }
}

#[test]
fn a_second_opening_is_refused_until_all_is_dropped() {
    let disk = SimDisk::new(1);
    let (opened, _) = open(&disk, small()).unwrap();
    let refused = |disk: &SimDisk| matches!(open(disk, small()), Err(OpenError::Locked { .. }));
    assert!(refused(&disk));
    let Opened { writer, reader, .. } = opened;
    drop(writer);
    assert!(refused(&disk), "readers keep the folder");
    drop(reader);
    assert!(!refused(&disk));
}

#[test]
fn a_store_keeps_its_key() {
    let disk = SimDisk::new(1);
    let (opened, _) = open(&disk, small()).unwrap();
    let key = opened.reader.key();
    assert_eq!(opened.writer.key(), key);
    drop(opened);
    assert_eq!(open(&disk, small()).unwrap().0.reader.key(), key);
    assert_ne!(open(&SimDisk::new(2), small()).unwrap().0.reader.key(), key);
}

#[test]
fn a_caller_that_knows_the_sequences_is_checked_at_the_commit() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small()).unwrap();
    let writer = &mut opened.writer;
    let mut log = vec![event(1, 5, 0), event(4, 6, 0)];
    for event in &mut log {
        event.position = writer.append_next(&event.draft()).unwrap().0;
    }
    let in_batch = writer.append_next(&event(7, 6, 0).draft());
    assert!(matches!(
        in_batch,
        Err(AppendError::Sequence { last: 6, .. })
    ));
    writer.commit().unwrap();

    // Timeline 2 has no entry, and 1 goes on; the mistake is in between.
    for (number, seq) in [(2, 1), (10, 6), (13, 8)] {
        writer.append_next(&event(number, seq, 0).draft()).unwrap();
    }
    let committed = writer.commit();
    assert!(matches!(
        committed,
        Err(crate::CommitError::Sequence {
            timeline: TimelineId(1),
            seq: 6,
            last: 6
        })
    ));
    assert!(matches!(opened.reader.health(), Health::Poisoned { .. }));
    drop(opened);
    assert_eq!(open(&disk, small()).unwrap().1, log, "nothing was written");
}
