//! Tests of repairing runs of earlier versions and the manifest. After the repair the store goes on
//! in the present version.

use super::repair::{check_copies, files, repair, replace, try_repair};
use super::*;
use crate::backend::Backend;
use crate::{Redaction, Repair, StateEntry};

const KEY: TimelineId = TimelineId(50);

/// Returns the id that an event can be found by.
fn find_key(event: &Event) -> TimelineId {
    TimelineId(1000 + u128::from(event.number))
}

/// Commits batches of three events, each with a key, and a state that has their number.
pub(super) fn fill(opened: &mut Opened, log: &mut Vec<Event>, batches: u64) {
    for _ in 0..batches {
        let number = log.len() as u64;
        // In a frame of its own or, with others, in a record.
        let alone = number.is_multiple_of(2);
        if alone {
            opened.writer.set_state(KEY, &number.to_le_bytes()).unwrap();
        }
        let value = number.to_le_bytes();
        let states =
            [KEY, TimelineId(51), TimelineId(52)].map(|key| StateEntry { key, value: &value });
        for i in 0..3 {
            let number = log.last().map_or(1, |event| event.number + 1);
            // After a repair it may have to be a later one, never one that was used.
            let next = opened.reader.next_seq(TimelineId(u128::from(number % 3)));
            let next = next.unwrap();
            assert!(next >= next_seq(log, number), "{next} was used");
            let mut event = event(number, next, 300);
            let draft = Draft {
                key: Some(find_key(&event)),
                states: if alone || i != 1 { &[] } else { &states },
                ..event.draft()
            };
            event.position = opened.writer.append(&draft).unwrap().0;
            log.push(event);
        }
        opened.writer.commit().unwrap();
    }
}

/// Returns the options of [`small_runs`], for runs of an earlier version.
pub(super) fn old_runs() -> Options {
    Options {
        old_runs: true,
        ..small_runs()
    }
}

/// Returns a store with runs of an earlier version, of all levels, and a log, closed.
fn closed() -> (SimDisk, Vec<Event>) {
    closed_with(old_runs())
}

/// Returns a store with runs of all levels and a log, closed.
pub(super) fn closed_with(options: Options) -> (SimDisk, Vec<Event>) {
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, options).unwrap();
    let mut log = Vec::new();
    fill(&mut opened, &mut log, 24);
    drop(opened);
    (disk, log)
}

pub(super) fn of_kind(disk: &SimDisk, kind: &str) -> Vec<String> {
    let found = Store::inspect_with(disk).unwrap();
    let runs = found.runs.iter().filter(|run| run.kind == kind);
    runs.map(|run| run.file.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

/// The difference between a repaired store and the store before the damage.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) events: u64,
    pub(super) references: u64,
    pub(super) keys: u64,
    pub(super) state: bool,
}

/// Repairs the store if it does not open. Checks that it works and has no event that was never
/// appended.
pub(super) fn check(disk: &SimDisk, log: &[Event], context: &str) -> (Repair, Loss) {
    check_for(disk, log, 12, context)
}

/// Does the same as [`check`], with this number of batches after the repair.
fn check_for(disk: &SimDisk, log: &[Event], batches: u64, context: &str) -> (Repair, Loss) {
    let before = files(disk);
    let done = match open(disk, small_runs()).map(|_| ()) {
        Ok(())
            if Store::verify_with(disk, &mut |_, _| ())
                .unwrap()
                .faults
                .is_empty() =>
        {
            Repair::default()
        }
        Ok(()) | Err(OpenError::Corrupt { .. }) => {
            assert_eq!(files(disk), before, "{context}: opening changed something");
            let planned = try_repair(disk, true).unwrap();
            assert_eq!(
                files(disk),
                before,
                "{context}: a dry run changed something"
            );
            let done = repair(disk);
            assert_eq!(planned, done, "{context}");
            assert!(!done.steps.is_empty(), "{context}");
            check_copies(disk, &before, &done, context);
            let found = Store::verify_with(disk, &mut |_, _| ()).unwrap();
            assert_eq!(found.faults, [], "{context}");
            assert_eq!(repair(disk), Repair::default(), "{context}: again");
            done
        }
        Err(error) => panic!("{context}: {error}"),
    };
    let (mut opened, _) = open(disk, small_runs()).unwrap_or_else(|e| panic!("{context}: {e}"));
    let loss = compare(&opened, log, context);
    // It goes on, and all is merged with what is new.
    let mut more = log.to_vec();
    fill(&mut opened, &mut more, batches);
    assert_eq!(opened.reader.run_failure(), None, "{context}");
    let later = compare(&opened, &more, context);
    assert_eq!(
        (later.events, later.references),
        (loss.events, loss.references),
        "{context}"
    );
    assert!(!later.state, "{context}");
    drop(opened);
    // All of it is in files that are still there: no run replaced another.
    let (opened, _) = open(disk, small_runs()).unwrap_or_else(|e| panic!("{context}: {e}"));
    assert_eq!(compare(&opened, &more, context), later, "{context}");
    (done, loss)
}

/// Reads everything. It is as it was, or it is missing.
fn compare(opened: &Opened, log: &[Event], context: &str) -> Loss {
    let mut loss = Loss::default();
    let found = entries(opened);
    let mut expected = log.iter();
    for event in &found {
        assert!(expected.any(|known| known == event), "{context}: {event:?}");
    }
    loss.events = (log.len() - found.len()) as u64;
    assert_eq!(read_all(opened, &found), found, "{context}");
    let mut page = Page::new();
    for event in log.iter().filter(|event| !found.contains(event)) {
        let timeline = TimelineId(event.timeline);
        assert!(!opened.reader.get(timeline, event.seq, &mut page).unwrap());
    }
    for id in (0..3).map(user) {
        let until = Position(u64::MAX);
        let mut sync = |after| opened.reader.sync(id, after, until, usize::MAX, &mut page);
        let more = match sync(Position::ZERO) {
            // Without a manifest, what is lost at the beginning may have expired.
            Err(crate::ReadError::Expired { oldest }) => sync(oldest),
            read => read,
        };
        assert!(!more.unwrap(), "{context}");
        let synced: Vec<Event> = page.records().map(|record| Event::of(&record)).collect();
        let mut expected = found.iter().filter(|event| event.fanout.contains(&id));
        loss.references += expected.clone().count() as u64 - synced.len() as u64;
        for event in &synced {
            assert!(expected.any(|known| known == event), "{context}: {event:?}");
        }
    }
    for event in log {
        match opened.reader.find(find_key(event)).unwrap() {
            Some(place) => assert_eq!(place.position.0, event.position, "{context}"),
            None => loss.keys += 1,
        }
    }
    let state = opened.reader.state(KEY).unwrap();
    loss.state = state != Some((log.len() as u64 - 3).to_le_bytes().to_vec());
    for timeline in 0..3 {
        let last = log
            .iter()
            .rfind(|event| event.timeline == timeline)
            .unwrap();
        // Each record has a key, which shows its sequence.
        let seq = opened.reader.last_seq(TimelineId(timeline));
        assert_eq!(seq, last.seq, "{context}");
    }
    loss
}

#[test]
fn a_flipped_bit_of_a_run_costs_no_more_than_the_block_that_it_is_in() {
    let (disk, log) = closed();
    let mut lossless = 0;
    let states = of_kind(&disk, "states");
    for name in disk
        .list()
        .unwrap()
        .iter()
        .filter(|name| name.ends_with(".tbl"))
    {
        let bits = disk.contents(name).unwrap().len() * 8;
        let tail = bits - 200 * 8;
        for bit in (0..tail).step_by(1511).chain((tail..bits).step_by(67)) {
            let disk = disk.fork(bit as u64);
            disk.flip(name, bit);
            let context = format!("bit {bit} of {bits} of {name}");
            let (done, loss) = check(&disk, &log, &context);
            let step = done.steps.iter().find(|step| step.file.ends_with(name));
            let step = step.unwrap_or_else(|| panic!("{context}: {done:?}"));
            let given_up = step
                .records
                .unwrap_or_else(|| panic!("{context}: {step:?}"));
            assert_eq!(given_up > 0, step.bytes > 0, "{context}: {step:?}");
            assert!(step.bytes <= 1024, "{context}: {step:?}");
            lossless += u64::from(given_up == 0);
            let lost = loss.events + loss.references + loss.keys + u64::from(loss.state);
            // A state may have a later value.
            let exact = !states.contains(name);
            assert!(
                lost == given_up || !exact && lost < given_up,
                "{context}: {loss:?}"
            );
        }
    }
    assert!(lossless > 60, "{lossless}");
}

#[test]
fn a_missing_run_costs_what_was_in_it() {
    let (disk, log) = closed();
    for kind in ["messages", "syncs", "keys", "states"] {
        let names = of_kind(&disk, kind);
        assert!(!names.is_empty(), "{kind}");
        for name in names {
            let disk = disk.fork(1);
            disk.remove(&name).unwrap();
            let (done, loss) = check(&disk, &log, &format!("without {name} of {kind}"));
            assert!(done.steps[0].file.ends_with(&name));
            match kind {
                "messages" => assert!(loss.events > 3 && loss.references == 0, "{loss:?}"),
                "syncs" => assert!(loss.events == 0 && loss.references > 3, "{loss:?}"),
                "keys" => assert!(loss.events == 0 && loss.keys > 3, "{loss:?}"),
                _ => assert!(loss.events + loss.references + loss.keys == 0, "{loss:?}"),
            }
        }
    }
}

#[test]
fn a_run_cut_short_keeps_the_blocks_before_the_cut() {
    let (disk, log) = closed();
    for name in of_kind(&disk, "messages") {
        let bytes = disk.contents(&name).unwrap();
        for len in (0..bytes.len()).step_by(1103) {
            let disk = disk.fork(1);
            replace(&disk, &name, &bytes[..len]);
            let context = format!("{name} has {len} of {} bytes", bytes.len());
            let (done, loss) = check(&disk, &log, &context);
            let step = &done.steps[0];
            assert!(
                loss.events <= (bytes.len() - len) as u64 / 60 + 8,
                "{context}"
            );
            // What is before the last whole block stays.
            assert!(step.bytes <= 1024 || len < 2000, "{context}: {step:?}");
        }
    }
}

#[test]
fn a_manifest_is_made_again_from_what_there_is() {
    let (disk, log) = closed();
    let bits = disk.contents("manifest").unwrap().len() * 8;
    for bit in (0..bits).step_by(61) {
        let disk = disk.fork(1);
        disk.flip("manifest", bit);
        let (done, loss) = check(&disk, &log, &format!("bit {bit} of the manifest"));
        assert_eq!(done.steps.len(), 1, "{done:?}");
        assert_eq!(loss.events + loss.references + loss.keys, 0, "{loss:?}");
        assert!(!loss.state);
    }
    let gone = disk.fork(1);
    gone.remove("manifest").unwrap();
    let (done, loss) = check(&gone, &log, "without a manifest");
    assert_eq!(done.steps.len(), 1, "{done:?}");
    assert_eq!(loss.events + loss.references + loss.keys, 0, "{loss:?}");
    // And together with a run.
    for kind in ["messages", "syncs", "keys"] {
        for name in of_kind(&disk, kind) {
            let disk = disk.fork(1);
            disk.remove("manifest").unwrap();
            disk.remove(&name).unwrap();
            // A repair that forgets the numbers of runs lets later runs replace runs in force.
            let context = format!("without manifest and {name}");
            let (_, loss) = check_for(&disk, &log, 40, &context);
            let lost = loss.events + loss.references + loss.keys;
            assert!(lost > 3, "{loss:?}");
        }
    }
}

/// Crashes the repair of `damaged` at every operation, and repairs it again: no more is lost than
/// if it had not been interrupted, and the bytes of every file are there.
pub(super) fn explore(damaged: &SimDisk, log: &[Event], name: &str) {
    let before = files(damaged);
    let undisturbed = damaged.fork(0);
    repair(&undisturbed);
    let operations = undisturbed.operations();
    let (opened, _) = open(&undisturbed, small_runs()).unwrap();
    let expected = compare(&opened, log, name);
    for operation in 0..operations {
        for power in [false, true] {
            let context = format!("{name}: crash at {operation} of {operations}, power {power}");
            let disk = damaged.fork(operation);
            disk.crash_at(operation);
            assert!(try_repair(&disk, false).is_err(), "{context}");
            match power {
                true => disk.power_cycle(),
                false => disk.kill(),
            }
            // Opening too early gives nothing up either.
            let _ = open(&disk, small_runs());
            repair(&disk);
            let (opened, _) =
                open(&disk, small_runs()).unwrap_or_else(|e| panic!("{context}: {e}"));
            let loss = compare(&opened, log, &context);
            assert_eq!(loss, expected, "{context}");
            drop(opened);
            for (name, bytes) in &before {
                let kept = files(&disk).iter().any(|(_, kept)| kept == bytes);
                assert!(kept || name == "manifest", "{context}: {name} is gone");
            }
        }
    }
}

#[test]
fn a_repair_of_runs_that_is_interrupted_anywhere_is_completed_by_another() {
    let (disk, log) = closed();
    for kind in ["messages", "syncs", "states"] {
        let damaged = disk.fork(1);
        for name in of_kind(&disk, kind) {
            damaged.flip(&name, 900);
        }
        explore(&damaged, &log, kind);
    }
    let messages = &of_kind(&disk, "messages")[0];
    let missing = disk.fork(1);
    missing.remove(messages).unwrap();
    missing.sync_dir().unwrap();
    explore(&missing, &log, "missing");
    let manifest = disk.fork(1);
    manifest.flip("manifest", 700);
    explore(&manifest, &log, "manifest");
    let both = disk.fork(1);
    both.flip("manifest", 700);
    both.flip(messages, 900);
    both.flip(&of_kind(&disk, "keys")[0], 900);
    explore(&both, &log, "manifest and runs");
    let gone = disk.fork(1);
    gone.remove("manifest").unwrap();
    gone.remove(messages).unwrap();
    gone.sync_dir().unwrap();
    explore(&gone, &log, "manifest and run missing");
}

#[test]
fn redactions_and_marks_are_repaired_too() {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let options = Options {
        message_life: Some(std::time::Duration::from_millis(DAY)),
        merge_width: 8,
        ..old_runs()
    };
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, options.clone()).unwrap();
    let mut log = Vec::new();
    let mut send = |opened: &mut Opened, day: u64, count: u64| {
        for _ in 0..count {
            let seq = log.len() as u64 + 1;
            let body = vec![seq as u8; 200];
            let draft = Draft {
                time: day * DAY + seq,
                timeline: TimelineId(1),
                seq,
                body: &body,
                redacts: (seq.is_multiple_of(8) && day > 0).then(|| Redaction {
                    seq: seq - 30,
                    body: b"gone",
                }),
                ..Draft::default()
            };
            opened.writer.append(&draft).unwrap();
            opened.writer.commit().unwrap();
            log.push(body);
        }
    };
    send(&mut opened, 0, 60);
    // Messages of other timelines expire, and only marks remain of them.
    let rare = Draft {
        timeline: TimelineId(2),
        seq: 1 << 40,
        ..Draft::default()
    };
    opened.writer.append(&rare).unwrap();
    send(&mut opened, 0, 40);
    opened.writer.tick(3 * DAY);
    send(&mut opened, 4, 70);
    drop(opened);
    let mut kinds = Vec::new();
    for kind in ["redactions", "marks"] {
        for name in of_kind(&disk, kind) {
            let disk = disk.fork(1);
            // In the footer, and in the first block.
            let bits = disk.contents(&name).unwrap().len() * 8;
            for (bit, lossless) in [(bits - 300, true), (9, false)] {
                let disk = disk.fork(1);
                disk.flip(&name, bit);
                let before = files(&disk);
                let done = repair(&disk);
                check_copies(&disk, &before, &done, &name);
                assert_eq!(done.steps[0].records == Some(0), lossless, "{done:?}");
                let (opened, _) = open(&disk, options.clone()).unwrap();
                if kind == "marks" {
                    let seq = if lossless { 1 << 40 } else { 0 };
                    assert!(opened.reader.last_seq(TimelineId(2)) >= seq);
                }
                assert_eq!(opened.reader.last_seq(TimelineId(1)), 170);
                kinds.push(kind);
            }
            disk.remove(&name).unwrap();
            repair(&disk);
            open(&disk, options.clone()).unwrap();
        }
    }
    assert!(
        kinds.contains(&"redactions") && kinds.contains(&"marks"),
        "{kinds:?}"
    );
}

#[test]
fn a_run_that_the_disk_does_not_return_in_full_keeps_the_rest() {
    let (disk, log) = closed();
    let name = &of_kind(&disk, "messages")[0];
    let size = disk.contents(name).unwrap().len() as u64;
    assert!(size > 4096 + 2000, "{size}");
    for lost in [0..4096, 4096..8192] {
        let disk = disk.fork(lost.start);
        let scratched = scratched::Scratched {
            disk: disk.clone(),
            name: name.clone(),
            lost: lost.clone(),
        };
        let options = crate::RepairOptions {
            dry_run: false,
            segment_bytes: 8192,
        };
        let done = Store::repair_with(Arc::new(scratched), &options, &mut |_, _| ()).unwrap();
        let (again, loss) = check(&disk, &log, &format!("{lost:?}"));
        assert_eq!(again, Repair::default());
        assert!(loss.events > 0 && loss.events < 30, "{loss:?}");
        assert_eq!(done.steps[0].records.unwrap_or(loss.events), loss.events);
    }
}

/// Adds records to which no sync timeline refers: first of timeline 1, then of timeline 2.
fn fill_alone(opened: &mut Opened, count: u64) {
    for timeline in [1, 2] {
        for seq in 1..=count {
            let draft = Draft {
                timeline: TimelineId(timeline),
                seq,
                body: &[seq as u8; 300],
                ..Draft::default()
            };
            opened.writer.append(&draft).unwrap();
            opened.writer.commit().unwrap();
        }
    }
}

#[test]
fn the_index_tells_the_last_sequence_of_a_lost_block() {
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, old_runs()).unwrap();
    fill_alone(&mut opened, 60);
    drop(opened);
    let name = of_kind(&disk, "messages")[0].clone();
    let blocks = disk.contents(&name).unwrap().len() / 400;
    let mut lost = 0;
    for block in 0..blocks {
        let disk = disk.fork(1);
        disk.flip(&name, (block * 400 + 100) * 8);
        let done = repair(&disk);
        let (opened, _) = open(&disk, small_runs()).unwrap();
        lost += done.steps[0].records.unwrap();
        for timeline in [1, 2] {
            assert_eq!(opened.reader.last_seq(TimelineId(timeline)), 60, "{block}");
        }
    }
    assert!(lost > 20, "{lost}");
}

#[test]
fn what_redacts_a_lost_record_is_done_with_it() {
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, old_runs()).unwrap();
    let mut log = Vec::new();
    fill(&mut opened, &mut log, 24);
    drop(opened);
    disk.remove(&of_kind(&disk, "messages")[0]).unwrap();
    repair(&disk);
    let (mut opened, _) = open(&disk, old_runs()).unwrap();
    let found = entries(&opened);
    let gone: Vec<Event> = log.iter().filter(|e| !found.contains(e)).cloned().collect();
    assert!(gone.len() > 3);
    for lost in &gone {
        let number = log.last().unwrap().number + 1;
        let mut redacting = Event {
            timeline: lost.timeline,
            ..event(number, 0, 0)
        };
        let of_timeline = log.iter().filter(|e| e.timeline == lost.timeline);
        redacting.seq = of_timeline.map(|e| e.seq).max().unwrap() + 1;
        let draft = Draft {
            redacts: Some(Redaction {
                seq: lost.seq,
                body: b"gone",
            }),
            ..redacting.draft()
        };
        redacting.position = opened.writer.append(&draft).unwrap().0;
        opened.writer.commit().unwrap();
        log.push(redacting);
    }
    let mut more = log.clone();
    for _ in 0..60 {
        let number = more.last().unwrap().number + 1;
        let timeline = u128::from(number % 3);
        let of_timeline = more.iter().filter(|e| e.timeline == timeline);
        let seq = of_timeline.map(|e| e.seq).max().unwrap() + 1;
        let mut event = event(number, seq, 300);
        event.position = opened.writer.append(&event.draft()).unwrap().0;
        opened.writer.commit().unwrap();
        more.push(event);
    }
    assert_eq!(opened.reader.run_failure(), None);
    assert_eq!(entries(&opened).len(), more.len() - gone.len());
    drop(opened);
    assert_eq!(of_kind(&disk, "redactions"), [""; 0], "all are done with");
}
