//! Tests of reading every record of a store that no process has open.

use std::ops::ControlFlow;
use std::time::Duration;

use super::*;
use crate::{Dump, EachRecord, Redaction};

const KEY: TimelineId = TimelineId(50);

/// Returns a store with runs and a log, closed. Every third event comes with a value.
fn closed() -> (SimDisk, Vec<Event>) {
    closed_with(small_runs())
}

/// Returns such a store with runs of an earlier version.
fn closed_before() -> (SimDisk, Vec<Event>) {
    closed_with(Options {
        old_runs: true,
        ..small_runs()
    })
}

fn closed_with(options: Options) -> (SimDisk, Vec<Event>) {
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, options).unwrap();
    let mut log = Vec::new();
    for _ in 0..30 {
        commit(&mut opened, &mut log, 3);
        let number = log.len() as u64;
        opened.writer.set_state(KEY, &number.to_le_bytes()).unwrap();
        opened.writer.commit().unwrap();
    }
    (disk, log)
}

fn dump(disk: &SimDisk) -> Dump {
    Store::dump_with(Arc::new(disk.clone())).unwrap()
}

/// Returns what `read` gives.
fn take(read: impl FnOnce(&mut EachRecord<'_>) -> Result<(), OpenError>) -> Vec<Event> {
    let mut events = Vec::new();
    read(&mut |record| {
        events.push(Event::of(record));
        ControlFlow::Continue(())
    })
    .unwrap();
    events
}

fn by_position(mut events: Vec<Event>) -> Vec<Event> {
    events.sort_by_key(|event| event.position);
    events
}

#[test]
fn all_records_come_once_and_nothing_is_changed() {
    let all = check_all(closed());
    assert_eq!(all.0, all.1, "in the order of the log");
    let all = check_all(closed_before());
    assert_ne!(all.0, all.1, "records of old runs come by timeline");
}

/// Returns what a dump of a store shows, and the log of the store.
fn check_all((disk, log): (SimDisk, Vec<Event>)) -> (Vec<Event>, Vec<Event>) {
    let operations = disk.operations();
    let mut dump = dump(&disk);
    let all = take(|each| dump.records(Position::ZERO, each));
    let low_water = Store::inspect_with(&disk).map(|found| found.low_water);
    assert!(low_water.is_ok(), "a dump keeps nobody out");
    assert_eq!(by_position(all.clone()), log);
    for timeline in 0..3 {
        let of = take(|each| dump.timeline(TimelineId(timeline), Position::ZERO, each));
        let expected: Vec<Event> = log
            .iter()
            .filter(|e| e.timeline == timeline)
            .cloned()
            .collect();
        assert_eq!(of, expected, "in its order");
    }
    for id in (0..4).map(user) {
        for after in [0, log[40].position, log[89].position] {
            let of = take(|each| dump.sync(id, Position(after), each));
            let expected = log
                .iter()
                .filter(|e| e.fanout.contains(&id) && e.position > after);
            assert_eq!(of, expected.cloned().collect::<Vec<_>>(), "{id:?} {after}");
        }
    }
    for at in [5, 40, 80, 89] {
        let later = take(|each| dump.records(Position(log[at].position), each));
        assert_eq!(by_position(later), log[at + 1..]);
    }
    assert_eq!(dump.faults(), []);
    drop(dump);
    assert_eq!(disk.operations(), operations, "nothing is written");
    // Records of the log come in the order of writing.
    let low_water = Store::inspect_with(&disk).unwrap().low_water.0;
    let in_log = all.iter().filter(|event| event.position > low_water);
    let in_log: Vec<u64> = in_log.map(|event| event.number).collect();
    assert!(in_log.is_sorted() && in_log.len() > 2);
    assert!(all.ends_with(&log[log.len() - in_log.len()..]));
    (all, log)
}

#[test]
fn who_has_enough_gets_no_more() {
    let (disk, log) = closed();
    let mut dump = dump(&disk);
    for enough in [1, 10, 60, 89, 90] {
        let mut taken = 0;
        let mut each = |_: &Record<'_>| {
            assert!(taken < enough, "it broke off");
            taken += 1;
            if taken == enough {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        dump.records(Position::ZERO, &mut each).unwrap();
        assert_eq!(taken, enough);
        let (mut taken, after) = (0, Position(log[3].position));
        let mut each = |_: &Record<'_>| {
            taken += 1;
            ControlFlow::Break(())
        };
        dump.sync(user(0), after, &mut each).unwrap();
        assert_eq!(taken, 1);
    }
}

#[test]
fn states_are_the_latest() {
    let (disk, mut log) = closed();
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let states = |disk: &SimDisk| {
        let mut found = Vec::new();
        let mut dump = dump(disk);
        let read = dump.states(&mut |key, value| {
            found.push((key, value.to_vec()));
            ControlFlow::Continue(())
        });
        read.unwrap();
        found.sort();
        found
    };
    let number = |number: u64| number.to_le_bytes().to_vec();
    // In a record; and one that is gone again.
    let key = TimelineId(51);
    let [early, late] = [&b"early"[..], b"late"].map(|value| crate::StateEntry { key, value });
    let draft = Draft {
        timeline: TimelineId(1),
        states: &[early],
        ..Draft::default()
    };
    opened.writer.append(&draft).unwrap();
    opened.writer.set_state(TimelineId(52), b"gone").unwrap();
    opened.writer.set_state(TimelineId(53), b"stays").unwrap();
    opened.writer.commit().unwrap();
    for _ in 0..30 {
        commit(&mut opened, &mut log, 3);
    }
    assert!(opened.reader.stats().runs > 4);
    opened.writer.set_state(TimelineId(52), b"").unwrap();
    let draft = Draft {
        states: &[late],
        ..draft
    };
    opened.writer.append(&draft).unwrap();
    opened.writer.commit().unwrap();
    drop(opened);
    let expected = [
        (KEY, number(90)),
        (TimelineId(51), b"late".to_vec()),
        (TimelineId(53), b"stays".to_vec()),
    ];
    assert_eq!(states(&disk), expected);
}

#[test]
fn what_was_recalled_is_not_shown() {
    let (disk, mut log) = closed();
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    assert!(opened.reader.stats().runs > 0);
    // One in a run, one in the log.
    for at in [3, 88] {
        let (timeline, seq) = (TimelineId(log[at].timeline), log[at].seq);
        let draft = Draft {
            timeline,
            redacts: Some(Redaction {
                seq,
                body: b"recalled",
            }),
            ..Draft::default()
        };
        opened.writer.append(&draft).unwrap();
        opened.writer.commit().unwrap();
        log[at].body = b"recalled".to_vec();
    }
    drop(opened);
    let mut dump = dump(&disk);
    let all = by_position(take(|each| dump.records(Position::ZERO, each)));
    assert_eq!(all[..log.len()], log);
    assert_eq!(all.len(), log.len() + 2, "and who recalled them");
    for id in (0..3).map(user) {
        let of = take(|each| dump.sync(id, Position::ZERO, each));
        let expected = log.iter().filter(|event| event.fanout.contains(&id));
        assert_eq!(of, expected.cloned().collect::<Vec<_>>(), "{id:?}");
    }
}

#[test]
fn what_expired_is_passed_over() {
    let (disk, log) = closed();
    let oldest = Store::inspect_with(&disk).unwrap().runs[0].last_time;
    let options = Options {
        message_life: Some(Duration::from_millis(50)),
        ..small_runs()
    };
    let (mut opened, _) = open(&disk, options).unwrap();
    opened.writer.tick(oldest + 51);
    drop(opened);
    let found = Store::inspect_with(&disk).unwrap();
    let [("messages", floor)] = found.expired[..] else {
        panic!("{:?}", found.expired);
    };
    let kept: Vec<Event> = log
        .iter()
        .filter(|e| e.position >= floor.0)
        .cloned()
        .collect();
    assert!((1..80).contains(&kept.len()), "{}", kept.len());
    let mut dump = dump(&disk);
    let all = by_position(take(|each| dump.records(Position::ZERO, each)));
    assert_eq!(all, kept);
    let of = take(|each| dump.sync(user(0), Position::ZERO, each));
    let expected = kept.iter().filter(|event| event.fanout.contains(&user(0)));
    assert_eq!(of, expected.cloned().collect::<Vec<_>>());
    assert_eq!(dump.faults(), []);
}

#[test]
fn what_is_not_damaged_in_old_runs_is_read() {
    let (disk, log) = closed_before();
    let whole = Store::inspect_with(&disk).unwrap();
    let name = |file: &std::path::Path| file.file_name().unwrap().to_str().unwrap().to_owned();
    let runs: Vec<_> = whole.runs.iter().filter(|r| r.kind == "messages").collect();
    // The first byte of its data, and the last of its footer.
    for (nth, bit) in [(0, 100), (runs.len() - 1, usize::MAX)] {
        let disk = disk.fork(1);
        let (file, run) = (name(&runs[nth].file), runs[nth]);
        let len = disk.contents(&file).unwrap().len() * 8;
        disk.flip(&file, bit.min(len - 1));
        let mut dump = dump(&disk);
        let all = by_position(take(|each| dump.records(Position::ZERO, each)));
        let [fault] = dump.faults() else {
            panic!("{:?}", dump.faults());
        };
        assert_eq!(name(&fault.file), file);
        let lost = |event: &&Event| (run.from.0..run.to.0).contains(&event.position);
        let rest: Vec<Event> = log.iter().filter(|event| !lost(event)).cloned().collect();
        let read: Vec<Event> = all.iter().filter(|event| !lost(event)).cloned().collect();
        assert_eq!(read, rest);
    }
    let segment = &whole.segments[0];
    disk.flip(&name(&segment.file), 4096 * 8);
    let mut dump = dump(&disk);
    let all = by_position(take(|each| dump.records(Position::ZERO, each)));
    assert_eq!(dump.faults().len(), 1);
    assert_eq!(all, log[..all.len()]);
    assert_eq!(all.len() as u64, log.len() as u64 - whole.log_records);
}

#[test]
fn what_is_not_damaged_in_kept_segments_is_read() {
    let (disk, log) = closed();
    let damaged = &log[20];
    let base = damaged.position / 8192 * 8192;
    let name = crate::log::segment::segment_name(base);
    disk.flip(&name, (damaged.position - base) as usize * 8);
    let mut dump = dump(&disk);
    let all = take(|each| dump.records(Position::ZERO, each));
    assert_eq!(dump.faults().len(), 1, "{:?}", dump.faults());
    let lost = |event: &&Event| (damaged.position..base + 8192).contains(&event.position);
    let rest: Vec<Event> = log.iter().filter(|event| !lost(event)).cloned().collect();
    assert_eq!(all, rest);
}

#[test]
fn only_a_store_that_is_there_is_read() {
    let refused = Store::dump_with(Arc::new(SimDisk::new(1))).map(|_| ());
    assert!(matches!(refused, Err(OpenError::NoStore { .. })));
    let (disk, _) = closed();
    let opened = open(&disk, small_runs()).unwrap();
    assert!(dump(&disk).is_live());
    drop(opened);
    let read = dump(&disk);
    assert!(!read.is_live());
    open(&disk, small_runs()).unwrap();
}
