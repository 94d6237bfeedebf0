//! Tests of erasing: replaced redactions and bodies of records without a sequence leave the files.

use std::ops::ControlFlow;

use super::*;
use crate::backend::Backend;
use crate::tools::snapshot::Snapshot;
use crate::{Redaction, StateEntry};

/// A text that must not stay in any file.
const SECRET: &[u8] = b"this was never meant for you";
const KEY: TimelineId = TimelineId(900);

/// Returns the number of files that have the secret.
fn on_disk(disk: &SimDisk) -> usize {
    let has = |name: &String| {
        let bytes = disk.contents(name).unwrap();
        bytes.windows(SECRET.len()).any(|window| window == SECRET)
    };
    disk.list().unwrap().iter().filter(|name| has(name)).count()
}

fn append(opened: &mut Opened, draft: &Draft<'_>) -> Position {
    let position = opened.writer.append(draft).unwrap();
    opened.writer.commit().unwrap();
    position
}

/// Appends events until the log has grown by `count` of them.
fn fill(opened: &mut Opened, log: &mut Vec<Event>, count: u64) {
    for _ in 0..count {
        commit(opened, log, 1);
    }
}

fn whole(disk: &SimDisk) {
    let look = Snapshot::on(Arc::new(disk.clone())).unwrap();
    let found = Store::verify_with(&look, &mut |_, _| ()).unwrap();
    assert_eq!(found.faults, []);
}

/// Redacts sequence 1 of timeline 50.
fn redact(opened: &mut Opened, body: &[u8]) -> Position {
    let draft = Draft {
        timeline: TimelineId(50),
        redacts: Some(Redaction { seq: 1, body }),
        body: b"about it",
        fanout: &[user(9)],
        ..Draft::default()
    };
    append(opened, &draft)
}

fn message(opened: &mut Opened, body: &[u8]) {
    let draft = Draft {
        timeline: TimelineId(50),
        seq: 1,
        body,
        ..Draft::default()
    };
    append(opened, &draft);
}

/// Checks that the message reads as `body`, and that the events about it are whole.
fn check_message(opened: &Opened, body: &[u8], events: usize) {
    let mut page = Page::new();
    assert!(opened.reader.get(TimelineId(50), 1, &mut page).unwrap());
    assert_eq!(page.records().next().unwrap().body, body);
    let until = Position(u64::MAX);
    let more = opened
        .reader
        .sync(user(9), Position::ZERO, until, 100, &mut page);
    assert!(!more.unwrap());
    assert!(page.records().all(|record| record.body == b"about it"));
    assert_eq!(page.len(), events);
}

/// Distances in events: within a segment, over some segments, and over runs that were merged.
const DISTANCES: [u64; 4] = [0, 25, 60, 200];

#[test]
fn the_text_of_an_edit_goes_with_the_next_one() {
    for (before, between) in DISTANCES
        .into_iter()
        .flat_map(|b| DISTANCES.map(|d| (b, d)))
    {
        let disk = SimDisk::new(before);
        let (mut opened, _) = open(&disk, small_runs()).unwrap();
        let mut log = Vec::new();
        message(&mut opened, b"first");
        fill(&mut opened, &mut log, before);
        redact(&mut opened, SECRET);
        opened.writer.tick(1);
        fill(&mut opened, &mut log, between);
        check_message(&opened, SECRET, 1);
        assert_eq!(on_disk(&disk), 1, "{before} {between}");
        redact(&mut opened, b"third");
        check_message(&opened, b"third", 2);
        opened.writer.tick(2);
        assert_eq!(on_disk(&disk), 0, "{before} {between}");
        check_message(&opened, b"third", 2);
        for _ in 0..4 {
            fill(&mut opened, &mut log, 40);
            check_message(&opened, b"third", 2);
            drop(opened);
            whole(&disk);
            opened = open(&disk, small_runs()).unwrap().0;
            check_message(&opened, b"third", 2);
        }
        assert_eq!(on_disk(&disk), 0, "{before} {between}");
        assert_eq!(opened.reader.stats().pending_redactions, 0);
    }
}

#[test]
fn an_edit_that_is_replaced_before_it_was_looked_at_goes_too() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    message(&mut opened, b"first");
    redact(&mut opened, SECRET);
    redact(&mut opened, b"third");
    drop(opened);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    assert_eq!(on_disk(&disk), 1);
    opened.writer.tick(1);
    assert_eq!(on_disk(&disk), 0);
    check_message(&opened, b"third", 2);
}

/// Makes a store with two records that have no sequence and the secret as body. The first one sets values.
/// `distance` events follow each. Returns the positions too.
fn with_secrets(disk: &SimDisk, distance: u64) -> (Opened, Vec<Event>, [Position; 2]) {
    let (mut opened, _) = open(disk, small_runs()).unwrap();
    let mut log = Vec::new();
    fill(&mut opened, &mut log, 3);
    let states = [StateEntry {
        key: KEY,
        value: b"stays",
    }];
    let first = Draft {
        timeline: TimelineId(50),
        body: SECRET,
        fanout: &[user(9)],
        states: &states,
        ..Draft::default()
    };
    let second = Draft {
        states: &[],
        fanout: &[],
        ..first
    };
    let first = append(&mut opened, &first);
    fill(&mut opened, &mut log, distance);
    let second = append(&mut opened, &second);
    fill(&mut opened, &mut log, distance);
    (opened, log, [first, second])
}

fn check_values(opened: &Opened) {
    let value = opened.reader.state(KEY).unwrap();
    assert_eq!(value.as_deref(), Some(&b"stays"[..]));
}

#[test]
fn bodies_of_records_without_a_sequence_are_erased_and_their_values_stay() {
    for distance in DISTANCES {
        let disk = SimDisk::new(distance);
        let (mut opened, mut log, secrets) = with_secrets(&disk, distance);
        assert!(on_disk(&disk) > 0);
        let asked = opened.reader.erase(&secrets).unwrap();
        assert!(opened.reader.erased() < asked);
        opened.writer.tick(1);
        assert_eq!(opened.reader.erased(), asked);
        assert_eq!(opened.reader.not_erased(), 0);
        assert_eq!(on_disk(&disk), 0, "{distance}");
        check_values(&opened);
        let mut page = Page::new();
        let until = Position(u64::MAX);
        let read = opened
            .reader
            .sync(user(9), Position::ZERO, until, 9, &mut page);
        assert!(!read.unwrap());
        let bodies: Vec<_> = page.records().map(|record| record.body.to_vec()).collect();
        assert_eq!(bodies, [b""], "{distance}");
        for _ in 0..4 {
            drop(opened);
            whole(&disk);
            (opened, _) = open_again(&disk);
            fill(&mut opened, &mut log, 40);
            check_values(&opened);
            assert_eq!(entries(&opened), log);
        }
        assert_eq!(on_disk(&disk), 0, "{distance}");
        let mut dump = Store::dump_with(Arc::new(disk.clone())).unwrap();
        let mut dumped = 0;
        let each = &mut |record: &Record<'_>| {
            dumped += 1;
            assert!(!record.body.starts_with(SECRET));
            ControlFlow::Continue(())
        };
        dump.records(Position::ZERO, each).unwrap();
        assert_eq!(dumped, log.len() + 2);
    }
}

#[test]
fn a_record_with_a_sequence_is_not_erased_and_a_place_without_one_is_told() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let mut log = Vec::new();
    fill(&mut opened, &mut log, 60);
    let behind = Position(u64::MAX - 7);
    let numbered = Position(log[3].position);
    let asked = opened.reader.erase(&[numbered, behind]);
    assert_eq!(asked, Some(1), "nothing is behind the head");
    opened.writer.tick(1);
    assert_eq!(opened.reader.not_erased(), 0);
    assert_eq!(entries(&opened), log);
    let asked = opened.reader.erase(&[Position(log[3].position + 8)]);
    assert_eq!(asked, Some(2));
    opened.writer.tick(2);
    assert_eq!((opened.reader.erased(), opened.reader.not_erased()), (2, 1));
    assert_eq!(entries(&opened), log);
}

#[test]
fn what_is_not_on_the_disk_waits() {
    let disk = SimDisk::new(1);
    let options = Options {
        durability: Durability::Os,
        ..small_runs()
    };
    let (mut opened, _) = open(&disk, options).unwrap();
    let draft = Draft {
        timeline: TimelineId(50),
        body: SECRET,
        ..Draft::default()
    };
    let position = append(&mut opened, &draft);
    assert_eq!(opened.reader.erase(&[position]), Some(1));
    opened.writer.tick(1);
    assert_eq!(opened.reader.erased(), 0);
    opened.writer.sync().unwrap();
    opened.writer.tick(2);
    assert_eq!((opened.reader.erased(), on_disk(&disk)), (1, 0));
}

/// The later redaction is given up by a repair: the record has no text, and no zeros.
#[test]
fn an_overwritten_redaction_reads_as_empty_if_the_later_one_is_lost() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let mut log = Vec::new();
    message(&mut opened, b"first");
    redact(&mut opened, SECRET);
    fill(&mut opened, &mut log, 60);
    let last = redact(&mut opened, b"third");
    fill(&mut opened, &mut log, 2);
    opened.writer.tick(1);
    assert_eq!(on_disk(&disk), 0);
    drop(opened);
    let name = crate::log::segment::segment_name(last.0 / 8192 * 8192);
    disk.flip(&name, (last.0 % 8192) as usize * 8 + 200);
    repair::repair(&disk);
    let (opened, _) = open_again(&disk);
    let mut page = Page::new();
    assert!(opened.reader.get(TimelineId(50), 1, &mut page).unwrap());
    assert_eq!(page.records().next().unwrap().body, b"");
}

fn open_again(disk: &SimDisk) -> (Opened, Vec<Event>) {
    open(disk, small_runs()).unwrap()
}

#[test]
fn a_crash_at_any_write_leaves_each_record_as_it_was_or_erased() {
    for distance in DISTANCES {
        let before = SimDisk::new(distance);
        let (opened, log, secrets) = with_secrets(&before, distance);
        drop(opened);
        let mut at = 0;
        loop {
            let disk = before.fork(at);
            let (mut opened, _) = open(&disk, small_runs()).unwrap();
            opened.reader.erase(&secrets).unwrap();
            let crash = disk.operations() + at;
            disk.crash_at(crash);
            opened.writer.tick(1);
            let is_over = disk.operations() < crash;
            disk.power_cycle();
            drop(opened);
            whole(&disk);
            let (mut opened, _) = open(&disk, small_runs()).unwrap();
            check_values(&opened);
            opened.reader.erase(&secrets).unwrap();
            opened.writer.tick(1);
            assert_eq!(on_disk(&disk), 0, "{distance} {at}");
            check_values(&opened);
            assert_eq!(entries(&opened), log, "{distance} {at}");
            drop(opened);
            whole(&disk);
            if is_over {
                break;
            }
            at += 1;
        }
        assert!(at > 5, "{at} operations");
    }
}

#[test]
fn every_flipped_bit_of_an_erased_record_is_noticed() {
    let disk = SimDisk::new(1);
    let (mut opened, _, secrets) = with_secrets(&disk, 60);
    opened.reader.erase(&secrets).unwrap();
    opened.writer.tick(1);
    drop(opened);
    let position = secrets[0].0;
    let name = crate::log::segment::segment_name(position / 8192 * 8192);
    let offset = (position % 8192) as usize;
    for bit in (offset * 8..(offset + 24 + 36) * 8).step_by(3) {
        let disk = disk.fork(bit as u64);
        disk.flip(&name, bit);
        let found = Store::verify_with(&disk, &mut |_, _| ()).unwrap();
        assert_eq!(found.faults.len(), 1, "bit {bit}");
    }
}

#[test]
fn what_waits_is_bounded() {
    let disk = SimDisk::new(1);
    let (mut opened, mut log, secrets) = with_secrets(&disk, 3);
    let many = vec![secrets[0]; 16_384];
    assert_eq!(opened.reader.erase(&many), Some(16_384));
    assert_eq!(opened.reader.erase(&many[..1]), None);
    fill(&mut opened, &mut log, 2);
    opened.writer.tick(1);
    assert_eq!(opened.reader.erased(), 16_384);
    assert!(opened.reader.erase(&many[..1]).is_some());
}

#[test]
fn copies_of_cut_off_ends_go() {
    let disk = SimDisk::new(1);
    let (opened, _) = open(&disk, small_runs()).unwrap();
    let copy = disk.create("torn-0000000000001000.bak").unwrap();
    copy.write_all_at(SECRET, 0).unwrap();
    assert_eq!(on_disk(&disk), 1);
    opened.reader.remove_torn_copies().unwrap();
    assert_eq!(on_disk(&disk), 0);
}
