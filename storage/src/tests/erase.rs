//! Tests of erasing: replaced redactions, records without a sequence, and old values leave the files.

use std::ops::ControlFlow;

use super::*;
use crate::backend::Backend;
use crate::tools::snapshot::Snapshot;
use crate::{Erase, Redaction, StateEntry};

/// A text that must not stay in any file.
const SECRET: &[u8] = b"this was never meant for you";
const KEY: TimelineId = TimelineId(900);
const OTHER_KEY: TimelineId = TimelineId(901);

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

/// The places of the records of [`with_secrets`].
struct Secrets {
    /// A record with the secret as body, in a value that is replaced, and in one that is not.
    old: Position,
    /// The record that replaces the value.
    new: Position,
}

/// Makes a store whose records without a sequence have the secret. `distance` events follow.
fn with_secrets(disk: &SimDisk, distance: u64) -> (Opened, Vec<Event>, Secrets) {
    let (mut opened, _) = open(disk, small_runs()).unwrap();
    let mut log = Vec::new();
    fill(&mut opened, &mut log, 3);
    let value = |key, value| StateEntry { key, value };
    let states = [value(KEY, SECRET), value(OTHER_KEY, b"stays")];
    let old = Draft {
        timeline: TimelineId(50),
        body: SECRET,
        fanout: &[user(9)],
        states: &states,
        ..Draft::default()
    };
    let old = append(&mut opened, &old);
    fill(&mut opened, &mut log, distance);
    let new = Draft {
        timeline: TimelineId(50),
        body: SECRET,
        states: &[value(KEY, b"")],
        ..Draft::default()
    };
    let new = append(&mut opened, &new);
    fill(&mut opened, &mut log, distance);
    (opened, log, Secrets { old, new })
}

/// Asks for all secrets to be erased.
fn erase(opened: &Opened, secrets: &Secrets) -> u64 {
    let all = |position| Erase {
        position,
        body: true,
        redaction: true,
        states: true,
    };
    let asked = opened.reader.erase(&[all(secrets.old), all(secrets.new)]);
    asked.unwrap()
}

fn check_values(opened: &Opened) {
    assert_eq!(opened.reader.state(KEY).unwrap(), None);
    let other = opened.reader.state(OTHER_KEY).unwrap();
    assert_eq!(other.as_deref(), Some(&b"stays"[..]));
}

/// Lets what was asked for be done, and what has to wait for it.
fn work(opened: &mut Opened) {
    opened.writer.tick(1);
    let purge = opened.reader.purge();
    for _ in 0..1_000 {
        opened.writer.tick(1);
        if opened.reader.purged() == purge {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("no purge");
}

#[test]
fn bodies_and_old_values_of_records_without_a_sequence_are_erased() {
    for distance in DISTANCES {
        let disk = SimDisk::new(distance);
        let (mut opened, mut log, secrets) = with_secrets(&disk, distance);
        assert!(on_disk(&disk) > 0);
        let asked = erase(&opened, &secrets);
        assert!(opened.reader.erased() < asked);
        opened.writer.tick(1);
        assert_eq!(opened.reader.erased(), asked);
        work(&mut opened);
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

fn open_again(disk: &SimDisk) -> (Opened, Vec<Event>) {
    open(disk, small_runs()).unwrap()
}

#[test]
fn the_latest_value_under_a_key_is_not_erased() {
    for distance in DISTANCES {
        let disk = SimDisk::new(distance);
        let (mut opened, mut log, secrets) = with_secrets(&disk, distance);
        erase(&opened, &secrets);
        work(&mut opened);
        let newest = Draft {
            timeline: TimelineId(50),
            body: b"newest",
            states: &[StateEntry {
                key: KEY,
                value: b"present",
            }],
            ..Draft::default()
        };
        let position = append(&mut opened, &newest);
        let secrets = Secrets {
            old: position,
            new: position,
        };
        for _ in 0..3 {
            erase(&opened, &secrets);
            work(&mut opened);
            let value = opened.reader.state(KEY).unwrap();
            assert_eq!(value.as_deref(), Some(&b"present"[..]), "{distance}");
            fill(&mut opened, &mut log, 60);
        }
    }
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
            erase(&opened, &secrets);
            let _ = opened.reader.purge();
            let crash = disk.operations() + at;
            disk.crash_at(crash);
            opened.writer.tick(1);
            let is_over = disk.operations() < crash;
            disk.power_cycle();
            drop(opened);
            whole(&disk);
            let (mut opened, _) = open(&disk, small_runs()).unwrap();
            check_values(&opened);
            erase(&opened, &secrets);
            work(&mut opened);
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
    erase(&opened, &secrets);
    opened.writer.tick(1);
    drop(opened);
    let position = secrets.old.0;
    let name = crate::log::segment::segment_name(position / 8192 * 8192);
    let offset = (position % 8192) as usize;
    for bit in (offset * 8..(offset + 24 + 36 + 2 + SECRET.len()) * 8).step_by(3) {
        let disk = disk.fork(bit as u64);
        disk.flip(&name, bit);
        let found = Store::verify_with(&disk, &mut |_, _| ()).unwrap();
        assert_eq!(found.faults.len(), 1, "bit {bit}");
    }
}

#[test]
fn what_waits_is_bounded() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let nothing = Erase {
        position: Position(4),
        body: true,
        redaction: false,
        states: false,
    };
    let many = vec![nothing; 16_384];
    assert_eq!(opened.reader.erase(&many), Some(16_384));
    assert_eq!(opened.reader.erase(&many[..1]), None);
    let mut log = Vec::new();
    fill(&mut opened, &mut log, 2);
    opened.writer.tick(1);
    assert_eq!(opened.reader.erased(), 16_384, "nothing is at that place");
    assert!(opened.reader.erase(&many[..1]).is_some());
}

#[test]
fn a_purge_removes_copies_of_cut_off_ends() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let copy = disk.create("torn-0000000000001000.bak").unwrap();
    copy.write_all_at(SECRET, 0).unwrap();
    assert_eq!(on_disk(&disk), 1);
    work(&mut opened);
    assert_eq!(on_disk(&disk), 0);
}
