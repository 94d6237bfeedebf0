//! Tests of verifying a whole store.

use super::*;
use crate::Verified;
use crate::backend::Backend;

fn verify(disk: &SimDisk) -> Verified {
    let mut last = 0;
    let found = Store::verify_with(disk, &mut |done, total| {
        assert!(last <= done && done <= total, "{last} {done} {total}");
        last = done;
    });
    found.unwrap()
}

/// Returns a store with runs and a log, closed.
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
fn a_whole_store_has_no_faults_and_is_not_changed() {
    let (disk, log) = closed();
    let operations = disk.operations();
    let found = verify(&disk);
    assert_eq!((found.faults.as_slice(), found.torn), (&[][..], None));
    assert_eq!(found.records, log.len() as u64);
    let files = disk.list().unwrap();
    let segments = files.iter().filter(|name| name.ends_with(".seg")).count();
    let kept = Store::inspect_with(&disk).unwrap().kept_segments as usize;
    assert!(kept > 1);
    assert_eq!(found.files, files.len() - (segments - kept - 1));
    assert_eq!(disk.operations(), operations, "nothing is written");
    assert_eq!(entries(&open(&disk, small_runs()).unwrap().0), log);
}

#[test]
fn an_open_store_is_checked_and_damage_is_told() {
    let (disk, log) = closed();
    let mut log = log;
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    // A batch that is written and not yet in the index is no damage.
    for _ in 0..40 {
        commit(&mut opened, &mut log, 1);
        let found = verify(&disk);
        assert!(found.live && found.faults.is_empty() && found.torn.is_none());
        assert_eq!(found.records, log.len() as u64);
    }
    let (name, end) = {
        let found = Store::inspect_with(&disk).unwrap();
        assert!(found.live && found.faults.is_empty());
        let used = found
            .segments
            .iter()
            .rev()
            .find(|one| one.used > 0)
            .unwrap();
        let name = used.file.file_name().unwrap().to_str().unwrap().to_owned();
        (name, used.used as usize)
    };
    // Damage before the end stays damage, however often one looks.
    commit(&mut opened, &mut log, 1);
    commit(&mut opened, &mut log, 1);
    let damaged = disk.fork(7);
    let _lock = damaged.lock().unwrap();
    damaged.flip(&name, end * 8 + 100);
    let found = verify(&damaged);
    assert!(found.live);
    assert_eq!(found.faults.len(), 1, "{found:?}");
    assert_eq!(found.faults[0].offset, end as u64);
}

#[test]
fn every_damage_is_found_in_its_file_or_harmless() {
    let (disk, log) = closed();
    for name in disk.list().unwrap() {
        let bytes = disk.contents(&name).unwrap();
        for bit in (0..bytes.len() * 8).step_by(if bytes.len() > 2048 { 331 } else { 17 }) {
            let disk = disk.fork(bit as u64);
            disk.flip(&name, bit);
            let found = verify(&disk);
            let context = format!("bit {bit} of {name}: {found:?}");
            for fault in &found.faults {
                assert!(fault.file.ends_with(&name), "{context}");
            }
            if found.faults.is_empty() {
                assert!(name.ends_with(".seg"), "{context}");
                let (opened, _) = open(&disk, small_runs()).unwrap();
                assert_eq!(entries(&opened), log, "{context}");
                assert_eq!(
                    opened.report.torn.is_some(),
                    found.torn.is_some(),
                    "{context}"
                );
            }
        }
    }
}

#[test]
fn all_damaged_runs_are_named_and_a_missing_segment_too() {
    let (disk, _) = closed();
    let names = disk.list().unwrap();
    let runs: Vec<&String> = names.iter().filter(|name| name.ends_with(".tbl")).collect();
    for name in &runs {
        disk.flip(name, 100);
    }
    let segment = names.iter().find(|name| name.ends_with(".seg")).unwrap();
    disk.remove(segment).unwrap();
    let found = verify(&disk);
    assert_eq!(found.faults.len(), runs.len() + 1, "{found:?}");
    assert!(found.faults[runs.len()].file.ends_with(segment));
}

#[test]
fn a_folder_that_is_missing_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("typo");
    let refused = Store::verify(&missing, &mut |_, _| ());
    assert!(matches!(refused, Err(OpenError::Io { file, .. }) if file == missing));
    assert!(!missing.exists());
}
