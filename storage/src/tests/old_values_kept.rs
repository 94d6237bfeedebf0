//! Tests of erasing old values beside repairs, backups, threads, and stores of version 1.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::old_values::{Values, all_keys, erase, grow, key, seeds, whole};
use super::repair::repair;
use super::threads::wait_until;
use super::*;
use crate::backend::Backend;
use crate::log::segment::segment_base;
use crate::run;

/// Returns a store with old values that are erased, and what it has.
fn erased(seed: u64, steps: u64) -> (SimDisk, Vec<Event>, Values) {
    let disk = SimDisk::new(seed);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let (mut log, mut values) = (Vec::new(), Values::default());
    grow(&mut opened, (&mut log, &mut values), (steps, seed));
    erase(&mut opened, &mut log, &all_keys());
    grow(&mut opened, (&mut log, &mut values), (seed % 40, seed));
    drop(opened);
    (disk, log, values)
}

/// The runs of values are one after that, and those of the last segment may be of level 0 otherwise.
#[test]
fn a_repair_of_a_lost_manifest_loses_no_value() {
    for seed in seeds(120) {
        let (disk, log, values) = erased(seed, 60 + seed % 120 * 2);
        match seed % 2 {
            0 => disk.remove("manifest").unwrap(),
            _ => disk.flip("manifest", 700),
        }
        // Without a sign of a manifest, the opening reads all segments as the log.
        repair(&disk);
        let context = format!("seed {seed}");
        whole(&disk, &context);
        let (opened, _) = open(&disk, small_runs()).unwrap();
        values.check(&opened, &context);
        assert_eq!(entries(&opened), log, "{context}");
    }
}

/// Such a segment has no run of positions.
#[test]
fn a_repair_knows_that_the_last_segments_have_values_alone() {
    for seed in seeds(60) {
        let disk = SimDisk::new(seed);
        let (mut opened, _) = open(&disk, small_runs()).unwrap();
        let (mut log, mut values) = (Vec::new(), Values::default());
        grow(&mut opened, (&mut log, &mut values), (60 + seed % 60, seed));
        let mut random = Random(seed);
        for _ in 0..20 + seed % 60 * 4 {
            assert!(values.append(&mut opened, &mut random));
        }
        if seed % 3 == 0 {
            let asked = opened
                .reader
                .erase_old_values(all_keys(), opened.reader.head(), true);
            for now in 1..20 {
                opened.writer.tick(now);
                assert!(values.append(&mut opened, &mut random));
            }
            assert_eq!(opened.reader.old_values_erased().calls, asked.unwrap());
        }
        drop(opened);
        disk.flip("manifest", 700);
        repair(&disk);
        let context = format!("seed {seed}");
        whole(&disk, &context);
        let (opened, _) = open(&disk, small_runs()).unwrap();
        values.check(&opened, &context);
        assert_eq!(entries(&opened), log, "{context}");
    }
}

#[test]
fn a_damaged_segment_is_left_as_it_is() {
    let disk = SimDisk::new(3);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let (mut log, mut values) = (Vec::new(), Values::default());
    grow(&mut opened, (&mut log, &mut values), (300, 3));
    // In its header, and behind some frames.
    let (first, second) = ("log-0000000000000000.seg", "log-0000000000002000.seg");
    disk.flip(first, 99);
    disk.flip(second, 8 * 4096 + 8 * 40);
    let before = [first, second].map(|name| disk.contents(name).unwrap());
    erase(&mut opened, &mut log, &all_keys());
    assert_eq!(opened.reader.old_values_erased().damaged, 2);
    assert!(opened.reader.old_values_erased().values > 0);
    assert_eq!(opened.reader.take_notices().len(), 2);
    assert_eq!(
        [first, second].map(|name| disk.contents(name).unwrap()),
        before
    );
    values.check(&opened, "damaged");
    drop(opened);
    repair(&disk);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    values.check(&opened, "repaired");
    let mut log = entries(&opened);
    erase(&mut opened, &mut log, &all_keys());
    values.check(&opened, "again");
    drop(opened);
    whole(&disk, "again");
}

/// All segments are the log again, so values are read from them.
#[test]
fn without_manifest_and_runs_the_segments_have_the_latest_values() {
    for seed in seeds(60) {
        let (disk, log, values) = erased(seed, 60 + seed % 120 * 2);
        let names = disk.list().unwrap().into_iter();
        for name in names.filter(|name| name == "manifest" || run::is_run_name(name)) {
            disk.remove(&name).unwrap();
        }
        disk.sync_dir().unwrap();
        let (opened, _) = open(&disk, small_runs()).unwrap();
        let context = format!("seed {seed}");
        values.check_but_zeros(&opened, &context);
        assert_eq!(entries(&opened), log, "{context}");
        let mut dump = Store::dump_with(Arc::new(disk.clone())).unwrap();
        let mut dumped = 0;
        let each = &mut |key, value: &[u8]| {
            dumped += 1;
            assert_eq!(opened.reader.state(key).unwrap().as_deref(), Some(value));
            std::ops::ControlFlow::Continue(())
        };
        dump.states(each).unwrap();
        let there = opened.reader.states(&all_keys()).unwrap();
        assert_eq!(dumped, there.iter().flatten().count(), "{context}");
    }
}

#[test]
fn a_value_of_zeros_is_none_only_where_values_were_erased() {
    for is_erased in [false, true] {
        let disk = SimDisk::new(1);
        let (mut opened, _) = open(&disk, small_runs()).unwrap();
        opened.writer.set_state(key(1), &[0; 4]).unwrap();
        opened.writer.set_state(key(2), b"two").unwrap();
        opened.writer.commit().unwrap();
        drop(opened);
        let name = "log-0000000000000000.seg";
        if is_erased {
            let bytes = disk.contents(name).unwrap();
            let header = bytes.first_chunk().unwrap();
            let header = crate::log::segment::SegmentHeader::decode(header).unwrap();
            let header = crate::log::segment::SegmentHeader {
                flags: crate::log::segment::VALUES_ERASED,
                ..header
            };
            disk.overwrite(name, 0, &header.encode());
        }
        let zeros = (!is_erased).then(|| vec![0; 4]);
        let (mut opened, _) = open(&disk, small_runs()).unwrap();
        assert_eq!(opened.reader.state(key(1)).unwrap(), zeros);
        let dump = |disk: &SimDisk| {
            let mut dumped = Vec::new();
            let mut dump = Store::dump_with(Arc::new(disk.clone())).unwrap();
            let each = &mut |id, _: &[u8]| {
                dumped.push(id);
                std::ops::ControlFlow::Continue(())
            };
            dump.states(each).unwrap();
            dumped.len()
        };
        assert_eq!(dump(&disk), if is_erased { 1 } else { 2 });
        commit(&mut opened, &mut Vec::new(), 80);
        assert!(opened.reader.stats().runs > 0);
        assert_eq!(opened.reader.state(key(1)).unwrap(), zeros);
        assert_eq!(opened.reader.state(key(2)).unwrap().unwrap(), b"two");
    }
}

#[test]
fn a_store_of_version_1_keeps_its_values() {
    for seed in seeds(30) {
        let disk = SimDisk::new(seed);
        let old = Options {
            old_runs: true,
            ..small_runs()
        };
        let (mut opened, _) = open(&disk, old).unwrap();
        let (mut log, mut values) = (Vec::new(), Values::default());
        grow(&mut opened, (&mut log, &mut values), (90, seed));
        drop(opened);
        let (mut opened, _) = open(&disk, small_runs()).unwrap();
        grow(&mut opened, (&mut log, &mut values), (60, seed + 1));
        erase(&mut opened, &mut log, &all_keys());
        assert_eq!(values.on_disk(&disk, &all_keys()), [] as [String; 0]);
        values.check(&opened, "version 1");
        drop(opened);
        whole(&disk, "version 1");
        let (opened, _) = open(&disk, small_runs()).unwrap();
        values.check(&opened, "version 1");
        assert_eq!(entries(&opened), log);
    }
}

fn bytes_of(dir: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let names = std::fs::read_dir(dir).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<_> = names
        .map(|name| (name.clone(), std::fs::read(dir.join(name)).unwrap()))
        .collect();
    files.sort();
    files
}

/// Files that a backup has linked do not change, and the backup has the values of its moment.
#[test]
fn a_backup_before_keeps_its_files() {
    for seed in 0..6 {
        let place = tempfile::tempdir().unwrap();
        let (dir, target) = (place.path().join("store"), place.path().join("backup"));
        let mut opened = Store::open(&dir, small_runs(), &mut |_| ()).unwrap();
        let (mut log, mut values) = (Vec::new(), Values::default());
        grow(
            &mut opened,
            (&mut log, &mut values),
            (100 + seed * 17, seed),
        );
        let each = &mut |_| std::ops::ControlFlow::Continue(());
        opened.reader.backup(&target, each).unwrap();
        let (at_backup, before) = (values.clone(), bytes_of(&target));
        let log_before = log.clone();
        grow(&mut opened, (&mut log, &mut values), (50, seed));
        erase(&mut opened, &mut log, &all_keys());
        assert!(opened.reader.old_values_erased().values > 0);
        assert!(bytes_of(&target) == before, "seed {seed}");
        let copy = Store::open(&target, small_runs(), &mut |_| ()).unwrap();
        at_backup.check(&copy, "in the backup");
        assert_eq!(entries(&copy), log_before);
        values.check(&opened, "in the store");
        drop((opened, copy));
        let opened = Store::open(&dir, small_runs(), &mut |_| ()).unwrap();
        values.check(&opened, "again");
        assert_eq!(entries(&opened), log);
    }
}

/// A copy on another file system may read a segment late.
#[test]
fn while_a_backup_is_made_no_segment_gets_a_new_file() {
    let place = tempfile::tempdir().unwrap();
    // The simulated disk cannot link.
    let disk = SimDisk::new(4);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let (mut log, mut values) = (Vec::new(), Values::default());
    grow(&mut opened, (&mut log, &mut values), (200, 4));
    let (at_backup, log_before) = (values.clone(), log.clone());
    let reader = opened.reader.clone();
    let until = opened.reader.head();
    assert!(reader.erase_old_values(all_keys(), until, true).is_some());
    let mut pieces = 0;
    let each = &mut |_| {
        pieces += 1;
        if pieces % 3 == 0 {
            commit(&mut opened, &mut log, 4);
        }
        opened.writer.tick(pieces);
        assert_eq!(reader.old_values_erased().values, 0);
        std::ops::ControlFlow::Continue(())
    };
    let target = place.path().join("backup");
    reader.backup(&target, each).unwrap();
    assert!(pieces > 10);
    while reader.old_values_erased().calls == 0 {
        pieces += 1;
        opened.writer.tick(pieces);
    }
    assert!(reader.old_values_erased().values > 0);
    assert_eq!(values.on_disk(&disk, &all_keys()), [] as [String; 0]);
    values.check(&opened, "in the store");
    let copy = Store::open(&target, small_runs(), &mut |_| ()).unwrap();
    at_backup.check(&copy, "in the backup");
    assert_eq!(entries(&copy), log_before);
}

/// Recalls, reads and appends go on meanwhile.
#[test]
fn readers_and_recalls_go_on_beside_it() {
    let disk = SimDisk::new(8);
    let options = Options {
        background: true,
        ..small_runs()
    };
    let (mut opened, _) = open(&disk, options).unwrap();
    let (mut log, mut values) = (Vec::new(), Values::default());
    grow(&mut opened, (&mut log, &mut values), (250, 8));
    let over = AtomicBool::new(false);
    let stay: Vec<Event> = log[..60].to_vec();
    let mut redacted = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let reader = opened.reader.clone();
            let (over, stay) = (&over, &stay);
            scope.spawn(move || {
                let mut page = Page::new();
                while !over.load(SeqCst) {
                    for event in stay {
                        let id = TimelineId(event.timeline);
                        assert!(reader.get(id, event.seq, &mut page).unwrap());
                        assert_eq!(Event::of(&page.records().next().unwrap()), *event);
                    }
                    for value in reader.states(&all_keys()).unwrap().into_iter().flatten() {
                        assert!(value.starts_with(b"value") || value == [0; 3]);
                    }
                }
            });
        }
        let mut random = Random(8);
        for round in 0..6 {
            let until = opened.reader.head();
            let asked = opened
                .reader
                .erase_old_values(all_keys(), until, round % 2 == 0);
            let asked = asked.unwrap();
            wait_until("old values are erased", || {
                opened.writer.tick(round);
                assert!(values.append(&mut opened, &mut random));
                let at = 60 + redacted.len() * 2;
                if at < 240.min(log.len()) {
                    redacted.push(at);
                    let draft = Draft {
                        timeline: TimelineId(log[at].timeline),
                        redacts: Some(crate::Redaction {
                            seq: log[at].seq,
                            body: b"recalled",
                        }),
                        ..Draft::default()
                    };
                    opened.writer.append(&draft).unwrap();
                    opened.writer.commit().unwrap();
                    log[at].body = b"recalled".to_vec();
                }
                opened.reader.old_values_erased().calls >= asked
            });
        }
        over.store(true, SeqCst);
    });
    assert_eq!(entries(&opened), log);
    values.check(&opened, "beside threads");
    drop(opened);
    whole(&disk, "beside threads");
    let (opened, _) = open(&disk, small_runs()).unwrap();
    assert_eq!(entries(&opened), log);
    values.check(&opened, "again");
    assert!(
        disk.list()
            .unwrap()
            .iter()
            .any(|name| segment_base(name).is_some())
    );
}
