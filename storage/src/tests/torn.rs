//! Records behind a damaged place, at the end of the log: the sequences of those that may have been
//! acknowledged are not used again.

use super::repair::repair;
use super::*;
use crate::backend::Backend;
use crate::{Losses, TornEnd};

const FIRST: &str = "log-0000000000000000.seg";

fn weak(durability: Durability) -> Options {
    Options {
        durability,
        segment_bytes: 1 << 16,
        ..small()
    }
}

/// Returns a killed store of `count` records, committed one by one, whose record `damaged` is damaged.
fn killed(options: &Options, count: u64, damaged: usize) -> (SimDisk, Vec<Event>) {
    let disk = SimDisk::new(4);
    let mut log = Vec::new();
    let (mut opened, _) = open(&disk, options.clone()).unwrap();
    for _ in 0..count {
        commit(&mut opened, &mut log, 1);
    }
    disk.kill();
    drop(opened);
    disk.flip(FIRST, (log[damaged].position as usize + 30) * 8);
    // The kernel writes it by and by: a power cut from here on does not take it.
    disk.open(FIRST).unwrap().sync_data().unwrap();
    (disk, log)
}

/// Checks that no sequence of `log` is given again in a store that is open.
fn check_next(opened: &Opened, log: &[Event]) {
    for timeline in 0..3 {
        let next = opened.reader.next_seq(TimelineId(timeline)).unwrap();
        let used = next_seq(log, timeline as u64) - 1;
        assert!(
            next > used,
            "timeline {timeline} goes on at {next}, {used} is used"
        );
    }
}

#[test]
fn sequences_of_whole_records_behind_a_damaged_one_are_not_used_again() {
    for durability in [
        Durability::Os,
        Durability::Interval(std::time::Duration::MAX),
    ] {
        let options = weak(durability);
        let (disk, log) = killed(&options, 60, 20);
        let before = disk.fork(1);
        let found = Store::verify_with(&disk, &mut |_, _| ()).unwrap();
        assert_eq!(found.faults, []);
        let torn = found.torn.unwrap();
        assert_eq!((torn.position.0, torn.records), (log[20].position, 40));
        assert_eq!(Store::inspect_with(&disk).unwrap().torn, Some(torn));
        assert_eq!(repair(&disk).steps, [], "there is nothing to repair");

        let (mut opened, events) = open(&disk, options.clone()).unwrap();
        assert_eq!(events, log[..20]);
        assert_eq!(opened.report.torn.as_ref().unwrap().end, torn);
        check_next(&opened, &log);
        let losses = opened.reader.losses();
        let expected = Losses {
            repairs: 0,
            before: torn.position,
            skip: torn.skip,
        };
        assert_eq!(losses, expected);

        // Timelines skip once, whether they go on before the next start or after it.
        let next = |opened: &Opened| opened.reader.next_seq(TimelineId(0)).unwrap();
        let seq = next(&opened);
        let mut event = event(63, seq, 300);
        event.position = opened.writer.append(&event.draft()).unwrap().0;
        opened.writer.commit().unwrap();
        assert_eq!(next(&opened), seq + 1);
        drop(opened);
        let found = Store::verify_with(&disk, &mut |_, _| ()).unwrap();
        assert_eq!((found.faults, found.torn), (vec![], None));
        let (opened, _) = open(&disk, options.clone()).unwrap();
        assert_eq!((next(&opened), opened.reader.losses()), (seq + 1, losses));
        check_next(&opened, &log);

        // The first opening dies at every operation, and the machine loses power.
        for operation in 0.. {
            let disk = before.fork(operation);
            disk.crash_at(operation);
            let done = open(&disk, options.clone()).is_ok();
            disk.power_cycle();
            let (opened, _) = open(&disk, options.clone()).unwrap();
            check_next(&opened, &log);
            if done {
                break;
            }
        }
    }
}

#[test]
fn positions_from_before_a_cut_stay_valid() {
    let options = weak(Durability::Os);
    let disk = SimDisk::new(9);
    let mut log = Vec::new();
    let (mut opened, _) = open(&disk, options.clone()).unwrap();
    let mut texts = Vec::new();
    for _ in 0..10 {
        commit(&mut opened, &mut log, 1);
        let epochs = opened.reader.epochs();
        texts.push(epochs.token(opened.reader.head()).to_string());
    }
    disk.kill();
    drop(opened);
    disk.flip(FIRST, (log[5].position as usize + 30) * 8);
    let (opened, _) = open(&disk, options).unwrap();
    for (number, text) in texts.iter().enumerate() {
        let is_good = opened.reader.epochs().check(text).is_ok();
        assert_eq!(is_good, number < 5, "{number}");
    }
}

#[test]
fn nothing_is_skipped_for_what_was_not_acknowledged() {
    // A batch that was being written when the machine lost power, with the durability `sync`.
    let sync = weak(Durability::Sync);
    let disk = SimDisk::new(5);
    let mut log = Vec::new();
    let (mut opened, _) = open(&disk, sync.clone()).unwrap();
    commit(&mut opened, &mut log, 3);
    commit(&mut opened, &mut log, 30);
    disk.kill();
    drop(opened);
    disk.flip(FIRST, (log[4].position as usize + 30) * 8);
    let (opened, events) = open(&disk, sync).unwrap();
    assert_eq!(events, log[..4]);
    let torn = opened.report.torn.as_ref().unwrap().end;
    assert_eq!((torn.records, torn.skip), (0, 0));
    assert_eq!(opened.reader.losses(), Losses::default());
    assert!(disk.contents("losses").is_none());
}

#[test]
fn the_last_record_counts_while_its_header_is_whole() {
    let options = weak(Durability::Os);
    let (disk, log) = killed(&options, 10, 9);
    let headless = disk.fork(1);
    headless.flip(FIRST, log[9].position as usize * 8);
    for (disk, records) in [(disk, 1), (headless, 0)] {
        let (opened, events) = open(&disk, options.clone()).unwrap();
        assert_eq!(events, log[..9]);
        assert_eq!(opened.report.torn.as_ref().unwrap().end.records, records);
        if records > 0 {
            check_next(&opened, &log);
        }
    }
}

#[test]
fn an_opening_that_cannot_note_what_to_skip_cuts_nothing_off() {
    let options = weak(Durability::Os);
    let (disk, log) = killed(&options, 30, 10);
    disk.set_capacity(0);
    let refused = open(&disk, options.clone()).err().unwrap();
    assert!(
        matches!(&refused, OpenError::Io { file, .. } if file.ends_with("losses")),
        "{refused}"
    );
    disk.set_capacity(1 << 30);
    let (opened, _) = open(&disk, options).unwrap();
    let TornEnd { records, skip, .. } = opened.report.torn.as_ref().unwrap().end;
    assert!(records == 20 && skip > 0);
    check_next(&opened, &log);
}

#[test]
fn a_damaged_note_of_a_cut_is_repaired_from_its_copy() {
    let options = weak(Durability::Os);
    let (disk, log) = killed(&options, 30, 10);
    let (opened, _) = open(&disk, options.clone()).unwrap();
    let losses = opened.reader.losses();
    drop(opened);
    for name in ["losses", "losses.copy"] {
        let disk = disk.fork(1);
        disk.flip(name, 330);
        let found = Store::verify_with(&disk, &mut |_, _| ()).unwrap();
        assert_eq!(found.faults.len(), 1, "{name}");
        let done = repair(&disk);
        assert_eq!((done.steps.len(), done.lossy), (1, false), "{name}");
        let found = Store::verify_with(&disk, &mut |_, _| ()).unwrap();
        assert_eq!(found.faults, [], "{name}");
        let names = disk.list().unwrap();
        assert!(
            names.iter().any(|found| found == name),
            "{name} is written again"
        );
        let (opened, _) = open(&disk, options.clone()).unwrap();
        assert_eq!(opened.reader.losses(), losses, "{name}");
        check_next(&opened, &log);
    }
}
