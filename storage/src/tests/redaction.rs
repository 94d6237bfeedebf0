//! Tests of redactions: reads return the new body at once, and the old one is overwritten soon. In
//! runs of earlier versions the next merge does that.

use super::*;
use crate::backend::Backend;
use crate::backend::sim::Operation;
use crate::log::segment::segment_name;
use crate::tools::snapshot::Snapshot;
use crate::{Fault, Redaction};

/// Returns the options of [`small_runs`], for runs of an earlier version.
fn old_runs() -> Options {
    Options {
        old_runs: true,
        ..small_runs()
    }
}

const SECRET: &[u8] = b"this was never meant for you";

/// Appends `count` events. One event in `secret` has the secret as its body.
fn fill(opened: &mut Opened, log: &mut Vec<Event>, count: u64, secret: Option<u64>) {
    for _ in 0..count {
        let number = log.len() as u64 + 1;
        let mut event = event(number, next_seq(log, number), 300);
        if secret == Some(number) {
            event.body = SECRET.to_vec();
        }
        event.position = opened.writer.append(&event.draft()).unwrap().0;
        opened.writer.commit().unwrap();
        log.push(event);
    }
}

/// Redacts event `number`, with an event that is in no timeline but its readers'.
fn redact(opened: &mut Opened, log: &mut [Event], number: u64, body: &[u8]) {
    let (timeline, seq) = {
        let target = &log[number as usize - 1];
        (target.timeline, target.seq)
    };
    let draft = Draft {
        time: 9999,
        timeline: TimelineId(timeline),
        redacts: Some(Redaction { seq, body }),
        fanout: &[user(7)],
        ..Draft::default()
    };
    opened.writer.append(&draft).unwrap();
    opened.writer.commit().unwrap();
    log[number as usize - 1].body = body.to_vec();
}

/// Returns whether any file still has the secret.
fn on_disk(disk: &SimDisk) -> bool {
    let files = disk.list().unwrap();
    files.iter().any(|name| {
        let bytes = disk.contents(name).unwrap();
        bytes.windows(SECRET.len()).any(|window| window == SECRET)
    })
}

fn check(opened: &Opened, log: &[Event], context: &str) {
    assert_eq!(entries(opened), log, "{context}");
    assert_eq!(read_all(opened, log), log, "{context}");
    check_syncs(opened, log);
}

#[test]
fn in_old_runs_a_redacted_body_is_gone_from_reads_at_once_and_from_the_disk_after_a_merge() {
    // Redacted in its segment, in the next one, in a young run, in an old one.
    for distance in [0, 5, 25, 120] {
        let disk = SimDisk::new(distance);
        let (mut opened, _) = open(&disk, old_runs()).unwrap();
        let mut log = Vec::new();
        fill(&mut opened, &mut log, 12 + distance, Some(11));
        redact(&mut opened, &mut log, 11, b"recalled");
        check(&opened, &log, "at once");
        assert!(on_disk(&disk), "{distance}");
        disk.power_cycle();
        drop(opened);
        let (mut opened, _) = open(&disk, old_runs()).unwrap();
        check(&opened, &log, "after opening");
        let mut filled = 0;
        while on_disk(&disk) && filled < 400 {
            fill(&mut opened, &mut log, 1, None);
            filled += 1;
        }
        assert!(!on_disk(&disk), "{distance}");
        check(&opened, &log, "after the merge");
        fill(&mut opened, &mut log, 100, None);
        let pending = opened.reader.stats().pending_redactions;
        assert_eq!(pending, 0, "{distance}");
        drop(opened);
        let (opened, _) = open(&disk, old_runs()).unwrap();
        check(&opened, &log, "after another opening");
    }
}

#[test]
fn of_several_redactions_the_latest_counts() {
    for options in [small_runs(), old_runs()] {
        check_several(&options);
    }
}

fn check_several(options: &Options) {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, options.clone()).unwrap();
    let mut log = Vec::new();
    fill(&mut opened, &mut log, 20, Some(3));
    for round in 1..41u8 {
        redact(&mut opened, &mut log, 3, &[round; 10]);
        check(&opened, &log, "redacted");
        fill(&mut opened, &mut log, 11, None);
        check(&opened, &log, "filled");
        disk.power_cycle();
        drop(opened);
        opened = open(&disk, options.clone()).unwrap().0;
        check(&opened, &log, "opened");
    }
}

#[test]
fn what_is_read_while_files_are_replaced_is_redacted_too() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, old_runs()).unwrap();
    let mut log = Vec::new();
    fill(&mut opened, &mut log, 30, Some(3));
    redact(&mut opened, &mut log, 3, b"recalled");
    // A reader that has looked up where to read, and reads late.
    let before = opened.reader.files();
    fill(&mut opened, &mut log, 200, None);
    assert!(!on_disk(&disk));
    assert_eq!(opened.reader.stats().pending_redactions, 1);
    drop(before);
    fill(&mut opened, &mut log, 60, None);
    assert_eq!(opened.reader.stats().pending_redactions, 0);
    check(&opened, &log, "afterwards");
}

#[test]
fn a_redaction_of_nothing_does_no_harm() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let mut log = Vec::new();
    fill(&mut opened, &mut log, 5, None);
    let draft = Draft {
        timeline: TimelineId(77),
        redacts: Some(Redaction { seq: 5, body: b"" }),
        ..Draft::default()
    };
    opened.writer.append(&draft).unwrap();
    fill(&mut opened, &mut log, 60, None);
    check(&opened, &log, "filled");
    assert_eq!(opened.reader.stats().pending_redactions, 0);
}

#[test]
fn where_no_merge_comes_by_a_redacted_body_goes_in_its_time() {
    let disk = SimDisk::new(1);
    let options = Options {
        redact_within: std::time::Duration::from_millis(1000),
        ..old_runs()
    };
    let (mut opened, _) = open(&disk, options.clone()).unwrap();
    let mut log = Vec::new();
    fill(&mut opened, &mut log, 300, Some(3));
    redact(&mut opened, &mut log, 3, b"recalled");
    // By the time of the redaction, which says 9999.
    opened.writer.tick(10_999);
    assert!(on_disk(&disk));
    opened.writer.tick(11_000);
    assert!(!on_disk(&disk));
    check(&opened, &log, "in time");
    drop(opened);
    let (mut opened, _) = open(&disk, options).unwrap();
    check(&opened, &log, "after opening");
    // What the log still says of it is done once more, and over.
    opened.writer.tick(11_000);
    fill(&mut opened, &mut log, 60, None);
    opened.writer.tick(11_001);
    check(&opened, &log, "filled");
    assert_eq!(opened.reader.stats().pending_redactions, 0);
}

/// Makes a store of a history in which event 11 has the secret, redacts it, and returns what the
/// readers then see.
fn redacted(disk: &SimDisk, distance: u64) -> (Opened, Vec<Event>) {
    let (mut opened, _) = open(disk, small_runs()).unwrap();
    let mut log = Vec::new();
    fill(&mut opened, &mut log, 12 + distance, Some(11));
    redact(&mut opened, &mut log, 11, b"recalled");
    (opened, log)
}

/// The distances at which a redaction follows its record: in the same segment, in the next one, and
/// when the record is named by a young run and by an old one.
const DISTANCES: [u64; 4] = [0, 25, 60, 200];

#[test]
fn a_redacted_body_is_overwritten_at_the_next_tick() {
    for distance in DISTANCES {
        let disk = SimDisk::new(distance);
        let (mut opened, mut log) = redacted(&disk, distance);
        check(&opened, &log, "at once");
        assert!(on_disk(&disk));
        assert_eq!(opened.reader.stats().pending_redactions, 1);
        opened.writer.tick(1);
        assert!(!on_disk(&disk), "{distance}");
        assert_eq!(opened.reader.stats().pending_redactions, 0);
        check(&opened, &log, "overwritten");
        // Until the redaction is in runs, and merged, and after openings.
        for _ in 0..6 {
            fill(&mut opened, &mut log, 40, None);
            check(&opened, &log, "filled");
            disk.power_cycle();
            drop(opened);
            opened = open(&disk, small_runs()).unwrap().0;
            check(&opened, &log, "opened");
        }
        assert!(!on_disk(&disk), "{distance}");
        drop(opened);
        let found = Store::verify_with(&disk, &mut |_, _| ()).unwrap();
        assert_eq!(found.faults, []);
    }
}

#[test]
fn a_crash_at_any_write_leaves_no_broken_record_and_an_opening_finishes() {
    for distance in DISTANCES {
        let before = SimDisk::new(distance);
        let (opened, log) = redacted(&before, distance);
        drop(opened);
        let mut at = 0;
        loop {
            let disk = before.fork(at);
            let (mut opened, _) = open(&disk, small_runs()).unwrap();
            let crash = disk.operations() + at;
            disk.crash_at(crash);
            opened.writer.tick(1);
            let is_over = disk.operations() < crash;
            disk.power_cycle();
            drop(opened);
            // The tools see what an opening makes of it.
            let look = Snapshot::on(Arc::new(disk.clone())).unwrap();
            let found = Store::verify_with(&look, &mut |_, _| ()).unwrap();
            assert_eq!(found.faults, [], "{distance} {at}");
            let (mut opened, _) = open(&disk, small_runs()).unwrap();
            check(&opened, &log, "after a crash");
            opened.writer.tick(1);
            assert!(!on_disk(&disk), "{distance} {at}");
            check(&opened, &log, "after another attempt");
            drop(opened);
            let found = Store::verify_with(&disk, &mut |_, _| ()).unwrap();
            assert_eq!(found.faults, [], "{distance} {at}");
            if is_over {
                break;
            }
            at += 1;
        }
        assert!(at > 5, "{at} operations");
    }
}

#[test]
fn every_flipped_bit_of_an_overwritten_record_is_noticed() {
    let disk = SimDisk::new(1);
    let (mut opened, log) = redacted(&disk, 60);
    opened.writer.tick(1);
    drop(opened);
    let position = log[10].position;
    let name = segment_name(position / 8192 * 8192);
    let offset = (position % 8192) as usize;
    let frame = 24 + 36 + 16 * log[10].fanout.len() + SECRET.len();
    for bit in offset * 8..(offset + frame) * 8 {
        let disk = disk.fork(bit as u64);
        disk.flip(&name, bit);
        let found = Store::verify_with(&disk, &mut |_, _| ()).unwrap();
        let [fault] = &found.faults[..] else {
            panic!("bit {bit}: {found:?}");
        };
        assert_eq!(fault.offset, offset as u64);
    }
}

/// The record of such a segment cannot be read any more. Others are stored as before.
#[test]
fn a_recall_in_a_damaged_segment_stops_no_appends() {
    let disk = SimDisk::new(5);
    let mut log = Vec::new();
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    fill(&mut opened, &mut log, 120, None);
    let position = log[2].position;
    let name = segment_name(position / 8192 * 8192);
    let kept = Store::inspect_with(&disk).unwrap().low_water.0;
    assert!(position < kept, "{position} {kept}");
    drop(opened);
    // A bit of the header.
    disk.flip(&name, 9);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    redact(&mut opened, &mut log, 3, b"recalled");
    // Twelve segments: more than may wait for their runs.
    let before = log.len();
    fill(&mut opened, &mut log, 12 * 8192 / 300, None);
    assert_eq!(read_all(&opened, &log[before..]), log[before..]);
}

/// A write or a sync of an overwriting fails once. Later ones finish it before they begin another.
#[test]
fn an_overwriting_that_failed_is_finished() {
    for operation in [Operation::Write, Operation::Sync] {
        for nth in 0..8 {
            let context = format!("{operation:?} {nth}");
            let disk = SimDisk::new(nth);
            let (mut opened, mut log) = redacted(&disk, 60);
            disk.fail(operation, nth);
            opened.writer.tick(1);
            opened.writer.tick(10_000);
            // The steps until here may have had fewer operations.
            disk.fail_times(operation, 0, 0);
            redact(&mut opened, &mut log, 20, b"recalled too");
            opened.writer.tick(20_000);
            opened.writer.tick(30_000);
            check(&opened, &log, &context);
            disk.power_cycle();
            drop(opened);
            assert_eq!(faults(&disk), [], "{context}");
            let (mut opened, _) = open(&disk, small_runs()).unwrap();
            check(&opened, &log, &context);
            opened.writer.tick(40_000);
            assert!(!on_disk(&disk), "{context}");
            assert_eq!(faults(&disk), [], "{context}");
        }
    }
}

fn faults(disk: &SimDisk) -> Vec<Fault> {
    let found = Store::verify_with(disk, &mut |_, _| ()).unwrap();
    found.faults
}

#[test]
fn long_new_bodies_stay_in_the_log_and_within_the_limit_of_a_page() {
    let disk = SimDisk::new(9);
    // The first ones are read in the log, the later ones through runs.
    let one_segment = Options {
        segment_bytes: 64 << 10,
        ..small_runs()
    };
    let (mut opened, _) = open(&disk, one_segment.clone()).unwrap();
    let mut log = Vec::new();
    fill(&mut opened, &mut log, 4, None);
    let long = |n: u64| vec![b'a' + n as u8; 1_500];
    for n in 1..=4 {
        redact(&mut opened, &mut log, n, &long(n));
    }
    check(&opened, &log, "in memory");
    // A page of two bodies has no more, in either direction.
    let timeline = TimelineId(log[0].timeline);
    let last = opened.reader.last_seq(timeline);
    for order in [Order::Ascending, Order::Descending] {
        let mut page = Page::with_bytes(3_400);
        let (mut seqs, mut found) = (1..=last, 0);
        while !seqs.is_empty() {
            opened
                .reader
                .range(timeline, seqs.clone(), 500, order, &mut page)
                .unwrap();
            assert!((1..=2).contains(&page.len()), "{}", page.len());
            assert!(page.bytes() <= 3_400);
            found += page.len();
            let ends = (
                page.records().next().unwrap().seq,
                page.records().next_back().unwrap().seq,
            );
            seqs = match order {
                Order::Ascending => ends.1 + 1..=last,
                Order::Descending => 1..=ends.0 - 1,
            };
        }
        let expected = log.iter().filter(|event| event.timeline == timeline.0);
        assert_eq!(found, expected.count());
    }
    // A later one counts, also once the segments have become runs, and after an opening.
    redact(&mut opened, &mut log, 2, &long(9));
    check(&opened, &log, "replaced");
    fill(&mut opened, &mut log, 600, None);
    check(&opened, &log, "in runs");
    assert!(opened.reader.stats().runs > 0);
    drop(opened);
    let (opened, _) = open(&disk, one_segment).unwrap();
    check(&opened, &log, "after an opening");
}
