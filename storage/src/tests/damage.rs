//! Damage to the files of a store: the store notices it, or it has no effect.

use super::*;
use crate::ReadError;
use crate::backend::Backend;

/// Returns a small store with batches of these sizes, closed cleanly.
fn closed(batches: &[u64]) -> (SimDisk, Vec<Event>) {
    let disk = SimDisk::new(7);
    let (mut opened, _) = open(&disk, small()).unwrap();
    let mut log = Vec::new();
    for &count in batches {
        commit(&mut opened, &mut log, count);
    }
    drop(opened);
    (disk, log)
}

/// Sizes of batches that fill one segment and go on in a second one.
const TWO_SEGMENTS: [u64; 3] = [2, 24, 2];

/// Returns the bits of a file worth flipping: every one where there is something, and one of each 8
/// bytes of the rest.
fn bits(disk: &SimDisk, name: &str) -> Vec<usize> {
    let bytes = disk.contents(name).unwrap();
    (0..bytes.len() * 8)
        .filter(|bit| {
            let word = bit / 64 * 8;
            let used = bytes[word..(word + 8).min(bytes.len())]
                .iter()
                .any(|&byte| byte != 0);
            used || bit % 64 == word % 61
        })
        .collect()
}

/// Flips one bit, and checks that the store refuses to open or has every record.
fn check_flip(disk: &SimDisk, log: &[Event], name: &str, bit: usize) {
    let disk = disk.fork(bit as u64);
    disk.flip(name, bit);
    match open(&disk, small()) {
        Err(OpenError::Corrupt { file, .. } | OpenError::Version { file, .. }) => {
            assert!(
                file.ends_with(name),
                "bit {bit} of {name} was found in {}",
                file.display()
            );
        }
        Err(error) => panic!("bit {bit} of {name}: {error}"),
        Ok((opened, events)) => {
            assert_eq!(events, log, "bit {bit} of {name}");
            assert_eq!(read_all(&opened, log), log, "bit {bit} of {name}");
        }
    }
}

#[test]
fn any_flipped_bit_of_a_closed_store_is_noticed_or_harmless() {
    let (disk, log) = closed(&[1, 3, 1]);
    for name in disk.list().unwrap() {
        for bit in bits(&disk, &name) {
            check_flip(&disk, &log, &name, bit);
        }
    }
}

#[test]
fn flipped_bits_around_the_end_of_a_segment_are_noticed_or_harmless() {
    let (disk, log) = closed(&TWO_SEGMENTS);
    let segments: Vec<_> = disk
        .list()
        .unwrap()
        .into_iter()
        .filter(|n| n.contains(".seg"))
        .collect();
    assert_eq!(segments.len(), 2);
    let crossing = log.iter().position(|event| event.position > 8192).unwrap();
    let last = log[crossing - 1].position as usize;
    for bit in last * 8..8192 * 8 {
        check_flip(&disk, &log, &segments[0], bit);
    }
    let first = log[crossing].position as usize - 8192;
    for bit in first * 8..(first + 60) * 8 {
        check_flip(&disk, &log, &segments[1], bit);
    }
}

#[test]
fn a_record_damaged_while_open_is_not_returned() {
    let (disk, log) = closed(&[1, 3, 1]);
    let (opened, _) = open(&disk, small()).unwrap();
    let mut page = Page::new();
    for event in &log {
        let name = "log-0000000000000000.seg";
        let offset = event.position as usize;
        let payload = 60 + 16 * event.fanout.len() + event.body.len();
        for bit in offset * 8..(offset + payload) * 8 {
            disk.flip(name, bit);
            let timeline = TimelineId(event.timeline);
            let read = opened.reader.get(timeline, event.seq, &mut page);
            match read {
                Err(ReadError::Corrupt { offset: named, .. }) => assert_eq!(named, offset as u64),
                other => panic!("bit {bit} of {name}: {other:?}"),
            }
            disk.flip(name, bit);
        }
    }
    disk.flip("log-0000000000000000.seg", 4100 * 8);
    let timeline = TimelineId(log[0].timeline);
    let range = opened
        .reader
        .range(timeline, 0..=u64::MAX, 99, Order::Ascending, &mut page);
    assert!(matches!(range, Err(ReadError::Corrupt { .. })));
}

#[test]
fn damage_to_the_last_batch_of_a_killed_process_is_reported_as_a_torn_tail() {
    let disk = SimDisk::new(7);
    let (mut opened, _) = open(&disk, small()).unwrap();
    let mut log = Vec::new();
    commit(&mut opened, &mut log, 3);
    commit(&mut opened, &mut log, 2);
    disk.kill();
    let name = "log-0000000000000000.seg";
    let end = opened.reader.stats().durable.0 as usize;
    for (kept, event) in log.iter().enumerate() {
        let disk = disk.fork(kept as u64);
        disk.flip(name, (event.position as usize + 30) * 8);
        match open(&disk, small()) {
            // The second batch says that the first one was durable.
            Err(OpenError::Corrupt { offset, reason, .. }) => {
                assert!(kept < 3, "{reason}");
                assert_eq!(offset, event.position);
            }
            Err(error) => panic!("{error}"),
            Ok((opened, events)) => {
                assert!(kept >= 3);
                assert_eq!(events, log[..kept]);
                let torn = opened.report.torn.clone().unwrap();
                assert_eq!(torn.end.position.0, event.position);
                assert!(torn.end.bytes as usize > end - event.position as usize - 8);
                let copy = torn.copies[0]
                    .file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                let copy = disk.contents(&copy).unwrap();
                assert_eq!(copy.len(), torn.end.bytes as usize);
                assert_eq!(
                    copy[..3],
                    *b"TRK",
                    "the copy begins with the damaged record"
                );
            }
        }
    }
}

#[test]
fn a_torn_tail_is_cut_once_and_for_all() {
    for seed in 0..8 {
        let disk = SimDisk::new(seed);
        let (mut opened, _) = open(&disk, small()).unwrap();
        let mut log = Vec::new();
        commit(&mut opened, &mut log, 2);
        commit(&mut opened, &mut log, 30);
        assert_eq!(opened.reader.stats().segments, 2);
        disk.kill();
        drop(opened);
        disk.flip("log-0000000000000000.seg", log[2].position as usize * 8);
        let (opened, _) = open(&disk, small()).unwrap();
        let torn = opened.report.torn.clone().unwrap();
        assert_eq!(torn.copies.len(), 2, "one for each segment");
        assert!(torn.end.bytes > 4096 - 300);
        disk.power_cycle();
        drop(opened);
        let (opened, events) = open(&disk, small()).unwrap();
        assert_eq!(
            opened.report.torn, None,
            "seed {seed}: it was not cut durably"
        );
        assert_eq!(events, log[..2]);
        for copy in torn.copies {
            let name = copy.file_name().unwrap().to_str().unwrap();
            assert!(
                disk.contents(name).is_some(),
                "seed {seed}: {name} was lost"
            );
        }
    }
}

#[test]
fn a_torn_first_batch_is_cut_once_and_for_all() {
    for seed in 0..8 {
        let disk = SimDisk::new(seed);
        let (mut opened, _) = open(&disk, small()).unwrap();
        commit(&mut opened, &mut Vec::new(), 3);
        disk.kill();
        drop(opened);
        disk.flip("log-0000000000000000.seg", 4096 * 8);
        let (opened, _) = open(&disk, small()).unwrap();
        assert!(opened.report.torn.is_some());
        disk.power_cycle();
        drop(opened);
        let (opened, events) = open(&disk, small()).unwrap();
        assert_eq!(
            (opened.report.torn.clone(), events),
            (None, vec![]),
            "seed {seed}"
        );
    }
}

#[test]
fn after_a_sync_damage_to_the_last_batch_is_noticed() {
    for seed in 0..8 {
        let disk = SimDisk::new(seed);
        let (mut opened, _) = open(&disk, small()).unwrap();
        let mut log = Vec::new();
        commit(&mut opened, &mut log, 2);
        opened.writer.sync().unwrap();
        disk.power_cycle();
        drop(opened);
        disk.flip("log-0000000000000000.seg", log[1].position as usize * 8);
        assert!(
            matches!(open(&disk, small()), Err(OpenError::Corrupt { .. })),
            "seed {seed}"
        );
    }
}

#[test]
fn a_log_cut_anywhere_keeps_its_whole_records() {
    let disk = SimDisk::new(7);
    let (mut opened, _) = open(&disk, small()).unwrap();
    let mut log = Vec::new();
    commit(&mut opened, &mut log, 2);
    commit(&mut opened, &mut log, 4);
    let end = opened.reader.stats().durable.0 as usize;
    disk.kill();
    drop(opened);
    let name = "log-0000000000000000.seg";
    let first = log[2].position as usize;
    for cut in first..=end {
        let disk = disk.fork(cut as u64);
        disk.overwrite(name, cut, &vec![0; end - cut]);
        let (mut opened, mut events) = open(&disk, small()).unwrap();
        let next = log.iter().position(|event| event.position as usize >= cut);
        let whole = next.unwrap_or(log.len());
        // A cut through zeros at the end of a record leaves it whole.
        assert!(
            events.len() == whole || events.len() + 1 == whole,
            "cut at {cut}"
        );
        assert_eq!(events, log[..events.len()], "cut at {cut}");
        if events.len() < whole {
            let lost = &log[events.len()];
            let size = 60 + 16 * lost.fanout.len() + lost.body.len();
            assert!(cut < lost.position as usize + size, "cut at {cut}");
        }
        commit(&mut opened, &mut events, 3);
        drop(opened);
        assert_eq!(open(&disk, small()).unwrap().1, events, "cut at {cut}");
    }
}

#[test]
fn frames_of_a_dead_writer_behind_a_cut_are_not_taken_for_new_ones() {
    let disk = SimDisk::new(7);
    let name = "log-0000000000000000.seg";
    let same_size = |number| Event {
        body: vec![number as u8; 40],
        ..event(number, 0, 0)
    };
    let append = |opened: &mut Opened, numbers: std::ops::Range<u64>| {
        for number in numbers {
            let event = Event {
                fanout: vec![user(0)],
                ..same_size(number)
            };
            opened.writer.append(&event.draft()).unwrap();
        }
        opened.writer.commit().unwrap().first().0 as usize
    };
    let (mut opened, _) = open(&disk, small()).unwrap();
    append(&mut opened, 1..3);
    let torn = append(&mut opened, 3..6);
    disk.kill();
    drop(opened);
    let size = 24 + 36 + 16 + 40 + 4;
    let stale = disk.contents(name).unwrap()[torn + size..torn + 3 * size].to_vec();
    disk.flip(name, torn * 8);

    // The new writer cuts the batch off and writes a record of the same size over its first.
    let (mut opened, events) = open(&disk, small()).unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(append(&mut opened, 10..11), torn);
    disk.kill();
    drop(opened);
    // A failed sync left the other two on the disk, though recovery zeroed them.
    disk.overwrite(name, torn + size, &stale);
    let (_, events) = open(&disk, small()).unwrap();
    let numbers: Vec<u64> = events.iter().map(|event| event.number).collect();
    assert_eq!(numbers, [1, 2, 10]);
}

#[test]
fn missing_files_are_named() {
    let (disk, _) = closed(&TWO_SEGMENTS);
    for name in [
        "identity",
        "log-0000000000000000.seg",
        "log-0000000000002000.seg",
    ] {
        let disk = disk.fork(1);
        disk.remove(name).unwrap();
        match open(&disk, small()) {
            Err(error @ OpenError::Corrupt { .. }) => {
                assert!(error.to_string().contains(name), "{error}");
                assert!(
                    error.to_string().contains("trunkline store repair"),
                    "{error}"
                );
            }
            Err(error) => panic!("{name}: {error}"),
            Ok(_) => panic!("{name} is missing and was not missed"),
        }
    }
}

#[test]
fn the_identity_has_a_copy_that_every_opening_keeps_whole() {
    let (disk, _) = closed(&TWO_SEGMENTS);
    let identity = disk.contents("identity");
    assert_eq!(disk.contents("identity.copy"), identity);
    disk.flip("identity.copy", 300);
    drop(open(&disk, small()).unwrap());
    assert_eq!(disk.contents("identity.copy"), identity);
    disk.remove("identity.copy").unwrap();
    disk.set_capacity(0);
    drop(open(&disk, small()).unwrap());
    assert_eq!(disk.contents("identity.copy"), None, "no space, no copy");
    disk.set_capacity(u64::MAX);
    drop(open(&disk, small()).unwrap());
    assert_eq!(disk.contents("identity.copy"), identity);
}

#[test]
fn what_is_left_of_a_store_is_not_taken_for_a_new_one() {
    for left in [
        "identity.copy",
        "manifest",
        "run-0000000000000000.tbl",
        "log-0000000000000000.seg",
    ] {
        let (disk, _) = closed(&TWO_SEGMENTS);
        for name in disk.list().unwrap().iter().filter(|name| *name != left) {
            disk.remove(name).unwrap();
        }
        if disk.contents(left).is_none() {
            disk.create(left).unwrap();
        }
        match open(&disk, small()).map(|_| ()) {
            Err(OpenError::Corrupt { file, .. }) => assert!(file.ends_with("identity"), "{left}"),
            other => panic!("{left}: {other:?}"),
        }
        assert_eq!(disk.list().unwrap(), [left]);
    }
}

#[test]
fn files_of_another_store_are_refused() {
    let (disk, _) = closed(&TWO_SEGMENTS);
    let other = SimDisk::new(8);
    let (mut opened, _) = open(&other, small()).unwrap();
    commit(&mut opened, &mut Vec::new(), 3);
    drop(opened);
    let name = "log-0000000000000000.seg";
    disk.overwrite(name, 0, &other.contents(name).unwrap());
    match open(&disk, small()) {
        Err(OpenError::Corrupt { reason, .. }) => assert!(reason.contains("another store")),
        _ => panic!("not refused"),
    }
}
