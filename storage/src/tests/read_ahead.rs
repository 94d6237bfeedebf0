//! Tests of asking the disk for several records at once.

use super::*;

/// The size of a segment in bytes.
const SEGMENT: u64 = 64 << 10;

#[test]
fn a_page_asks_for_the_records_that_it_reads_next() {
    let disk = SimDisk::new(1);
    let options = Options {
        segment_bytes: SEGMENT,
        cache_bytes: 1 << 20,
        ..small_runs()
    };
    let (mut opened, _) = open(&disk, options).unwrap();
    let mut log = Vec::new();
    // All messages of one timeline, until its first segment has runs.
    while opened.reader.stats().kept_segments == 0 {
        let number = log.len() as u64 + 1;
        let mut event = event(number, number, 300);
        event.timeline = 1;
        event.fanout = vec![user(0)];
        event.position = opened.writer.append(&event.draft()).unwrap().0;
        opened.writer.commit().unwrap();
        log.push(event);
    }
    log.retain(|event| event.position < SEGMENT);
    let offsets: Vec<u64> = log.iter().map(|event| event.position).collect();
    let newest = offsets.len();
    assert!(newest > 60, "{newest}");
    let _ = disk.take_prefetched();

    let (timeline, limit) = (TimelineId(1), 20);
    let mut page = Page::new();
    let mut range = |order| {
        let seqs = 1..=newest as u64;
        let read = opened.reader.range(timeline, seqs, limit, order, &mut page);
        read.unwrap();
        assert_eq!(page.len(), limit);
        disk.take_prefetched()
    };
    // Each read of tests counts as one that waited.
    let from_start = range(Order::Ascending);
    assert_eq!(from_start, offsets[1..=from_start.len()]);
    assert!(from_start.len() >= limit, "{from_start:?}");
    let mut from_end = range(Order::Descending);
    from_end.reverse();
    assert_eq!(from_end.len(), from_start.len());
    assert!(offsets[..newest - 1].ends_with(&from_end), "{from_end:?}");
    let until = Position(u64::MAX);
    let sync = opened
        .reader
        .sync(user(0), Position::ZERO, until, limit, &mut page);
    assert!(sync.unwrap());
    assert_eq!(disk.take_prefetched(), from_start);
    // A single message, and the end of what was asked for.
    assert!(opened.reader.get(timeline, 5, &mut page).unwrap());
    assert_eq!(disk.take_prefetched(), [0; 0]);
    let sync = opened.reader.sync(
        user(0),
        Position::ZERO,
        Position(offsets[3]),
        100,
        &mut page,
    );
    assert!(!sync.unwrap());
    assert_eq!(disk.take_prefetched(), offsets[1..4]);
}

#[test]
fn a_page_of_records_that_are_in_no_run_asks_for_the_next_ones_too() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, Options::default()).unwrap();
    let mut offsets = Vec::new();
    for number in 1..=60 {
        let mut event = event(number, number, 300);
        event.timeline = 1;
        offsets.push(opened.writer.append(&event.draft()).unwrap().0);
        opened.writer.commit().unwrap();
    }
    assert_eq!(opened.reader.stats().runs, 0);
    let _ = disk.take_prefetched();

    let mut page = Page::new();
    let mut range = |seqs, limit, order| {
        let read = opened
            .reader
            .range(TimelineId(1), seqs, limit, order, &mut page);
        read.unwrap();
        disk.take_prefetched()
    };
    // Only records that the page is meant to have.
    assert_eq!(range(1..=60, 20, Order::Ascending), offsets[1..20]);
    let mut from_end = range(1..=60, 20, Order::Descending);
    from_end.reverse();
    assert_eq!(from_end, offsets[40..59]);
    assert_eq!(range(7..=7, 20, Order::Ascending), [0; 0]);
}
