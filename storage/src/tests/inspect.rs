//! Tests of inspecting a store without opening it.

use super::*;
use crate::backend::Backend;

/// Returns a store with runs and a log, closed, and its last position.
fn closed() -> (SimDisk, Vec<Event>) {
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let mut log = Vec::new();
    for number in 0..20u64 {
        let key = TimelineId(50);
        opened.writer.set_state(key, &number.to_le_bytes()).unwrap();
        commit(&mut opened, &mut log, 3);
    }
    drop(opened);
    (disk, log)
}

#[test]
fn what_is_there_is_told_and_nothing_changed() {
    let (disk, log) = closed();
    let (operations, files) = (disk.operations(), disk.list().unwrap());
    let found = Store::inspect_with(&disk).unwrap();
    assert_eq!(disk.operations(), operations, "nothing is written");
    assert_eq!(found.head.0, log[log.len() - 1].position);
    assert_eq!((found.torn, &found.faults[..]), (None, &[][..]));
    let merged: Vec<_> = found.runs.iter().filter(|r| r.kind == "messages").collect();
    let in_runs: u64 = merged.iter().filter_map(|run| run.entries).sum();
    assert_eq!(in_runs + found.log_records, log.len() as u64);
    assert!(in_runs > 0 && found.log_records > 0);
    assert!(merged.iter().any(|run| run.level > 0));
    assert_eq!(merged[0].from, Position::ZERO);
    assert_eq!(merged[merged.len() - 1].to, found.low_water);
    assert_eq!(found.expired, []);
    // Events are numbered by their time, and in order.
    let in_run = |event: &&Event| event.position < merged[0].to.0;
    let last = log.iter().rfind(in_run).map(|event| event.number);
    assert_eq!(Some(merged[0].last_time), last);
    // One state a commit of three records.
    assert!(found.log_states.abs_diff(found.log_records / 3) <= 1);

    assert_eq!(found.segments[0].base, found.low_water);
    let last = &found.segments[0];
    assert_eq!(last.base.0 + last.used, found.end.0);
    assert!(found.end > found.head && last.used <= last.bytes);

    let len = |name: &String| disk.contents(name).unwrap().len() as u64;
    assert_eq!(found.files, files.len());
    assert_eq!(found.bytes, files.iter().map(len).sum::<u64>());
    assert_eq!(
        (&found.copies[..], &found.leftovers[..]),
        (&[][..], &[][..])
    );
    assert_eq!(entries(&open(&disk, small_runs()).unwrap().0), log);
}

#[test]
fn torn_ends_copies_and_leftovers_are_told() {
    let (disk, _) = closed();
    let before = Store::inspect_with(&disk).unwrap();
    for name in [
        "torn-0000000000000001.bak",
        "run-00000000000000ff.tbl",
        "manifest.tmp",
    ] {
        let file = disk.create(name).unwrap();
        file.write_all_at(b"12345", 0).unwrap();
    }
    let segment = &before.segments[0];
    let name = segment.file.file_name().unwrap().to_str().unwrap();
    let file = disk.open(name).unwrap();
    file.write_all_at(b"half a rec", segment.used).unwrap();
    let found = Store::inspect_with(&disk).unwrap();
    assert!(found.torn.is_some() && before.torn.is_none());
    assert_eq!((found.head, found.end), (before.head, before.end));
    assert_eq!(found.copies.len(), 1);
    assert!(found.copies[0].file.ends_with("torn-0000000000000001.bak"));
    assert_eq!(found.leftovers.len(), 2);
    assert!(found.leftovers.iter().all(|file| file.bytes == 5));
    assert_eq!(found.bytes, before.bytes + 15);
}

#[test]
fn damage_is_named_and_the_rest_told() {
    let (disk, _) = closed();
    let whole = Store::inspect_with(&disk).unwrap();
    let name = |file: &std::path::Path| file.file_name().unwrap().to_str().unwrap().to_owned();
    let run = name(&whole.runs[0].file);
    disk.flip(&run, disk.contents(&run).unwrap().len() * 8 - 1);
    let segment = name(&whole.segments[0].file);
    disk.flip(&segment, 4096 * 8);
    let found = Store::inspect_with(&disk).unwrap();
    let files: Vec<_> = found.faults.iter().map(|fault| name(&fault.file)).collect();
    assert_eq!(files, [segment, run]);
    assert_eq!((found.runs[0].bytes, found.runs[0].entries), (None, None));
    assert_eq!(found.runs[1..], whole.runs[1..]);
    assert_eq!(found.log_records, 0, "there is no telling from where");
    disk.flip("manifest", 100);
    let refused = Store::inspect_with(&disk);
    assert!(matches!(refused, Err(OpenError::Corrupt { file, .. }) if file.ends_with("manifest")));
}

#[test]
fn where_no_store_is_none_is_made() {
    let disk = SimDisk::new(1);
    let refused = Store::inspect_with(&disk);
    assert!(matches!(refused, Err(OpenError::NoStore { .. })));
    assert!(disk.list().unwrap().is_empty());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("letter.txt"), "dear").unwrap();
    let refused = Store::inspect(dir.path());
    assert!(matches!(refused, Err(OpenError::NoStore { .. })));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let (disk, _) = closed();
    disk.remove("identity").unwrap();
    let refused = Store::inspect_with(&disk);
    assert!(matches!(refused, Err(OpenError::Corrupt { file, .. }) if file.ends_with("identity")));
}

#[test]
fn a_look_changes_nothing_and_keeps_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options {
        background: true,
        ..small_runs()
    };
    let mut log = Vec::new();
    let mut opened = Store::open(dir.path(), options(), &mut |_| ()).unwrap();
    for _ in 0..30 {
        commit(&mut opened, &mut log, 10);
        let found = Store::inspect(dir.path()).unwrap();
        assert!(found.live && found.torn.is_none(), "{found:?}");
        assert_eq!(found.faults, []);
        let found = Store::verify(dir.path(), &mut |_, _| ()).unwrap();
        assert_eq!(
            (found.faults, found.records),
            (Vec::new(), log.len() as u64)
        );
        let mut dump = Store::dump(dir.path()).unwrap();
        assert!(dump.is_live());
        let mut count = 0;
        dump.records(Position::ZERO, &mut |_| {
            count += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!((count, dump.faults().len()), (log.len(), 0));
    }
    // A look that is still there does not keep the store from being opened.
    let dump = Store::dump(dir.path()).unwrap();
    drop(opened);
    assert!(!Store::inspect(dir.path()).unwrap().live);
    let opened = Store::open(dir.path(), options(), &mut |_| ()).unwrap();
    drop((dump, opened));
}
