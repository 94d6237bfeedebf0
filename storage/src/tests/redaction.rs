//! Tests of redactions: reads return the new body at once, files have it after the next merge.

use super::*;
use crate::Redaction;
use crate::backend::Backend;

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
fn a_redacted_body_is_gone_from_reads_at_once_and_from_the_disk_after_a_merge() {
    // Redacted in its segment, in the next one, in a young run, in an old one.
    for distance in [0, 5, 25, 120] {
        let disk = SimDisk::new(distance);
        let (mut opened, _) = open(&disk, small_runs()).unwrap();
        let mut log = Vec::new();
        fill(&mut opened, &mut log, 12 + distance, Some(11));
        redact(&mut opened, &mut log, 11, b"recalled");
        check(&opened, &log, "at once");
        assert!(on_disk(&disk), "{distance}");
        disk.power_cycle();
        drop(opened);
        let (mut opened, _) = open(&disk, small_runs()).unwrap();
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
        let (opened, _) = open(&disk, small_runs()).unwrap();
        check(&opened, &log, "after another opening");
    }
}

#[test]
fn of_several_redactions_the_latest_counts() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let mut log = Vec::new();
    fill(&mut opened, &mut log, 20, Some(3));
    for round in 0..40u8 {
        redact(&mut opened, &mut log, 3, &[round; 10]);
        check(&opened, &log, "redacted");
        fill(&mut opened, &mut log, 11, None);
        check(&opened, &log, "filled");
        disk.power_cycle();
        drop(opened);
        opened = open(&disk, small_runs()).unwrap().0;
        check(&opened, &log, "opened");
    }
}

#[test]
fn what_is_read_while_files_are_replaced_is_redacted_too() {
    let disk = SimDisk::new(1);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
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
        ..small_runs()
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
