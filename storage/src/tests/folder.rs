//! A folder on the real disk whose lock or files are taken away.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::threads::wait_until;
use super::*;
use crate::{AppendError, CommitError, Health};

fn options() -> Options {
    Options {
        background: true,
        runs: true,
        ..small()
    }
}

fn open_at(dir: &Path) -> Result<Opened, OpenError> {
    Store::open(dir, options(), &mut |_| {})
}

/// Waits until the store has noticed that its folder is missing. Returns the reason that it gives.
fn lost(opened: &mut Opened) -> String {
    let mut found = None;
    wait_until("the guard notices", || {
        if let Health::Lost { reason } = opened.reader.health() {
            found = Some(reason);
        }
        found.is_some()
    });
    let refused = opened.writer.append(&event(1000, 1000, 0).draft());
    assert!(
        matches!(refused, Err(AppendError::Lost { .. })),
        "{refused:?}"
    );
    found.unwrap()
}

/// Commits one record as soon as the store accepts appends again. The store retries a little later
/// to prepare a segment that failed while the folder was away.
fn commit_when_taken(opened: &mut Opened, log: &mut Vec<Event>) {
    let number = log.last().map_or(1, |event| event.number + 1);
    let mut next = event(number, next_seq(log, number), 300);
    wait_until("appends are taken again", || {
        match opened.writer.append(&next.draft()) {
            Ok(appended) => next.position = appended.0,
            Err(AppendError::Short { .. } | AppendError::Lost { .. }) => return false,
            Err(other) => panic!("{other}"),
        }
        true
    });
    log.push(next);
    opened.writer.commit().unwrap();
}

#[test]
fn a_lock_file_that_is_removed_lets_nobody_in() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_at(dir.path()).unwrap();
    let mut log = Vec::new();
    for round in 0..3 {
        commit(&mut opened, &mut log, 3);
        fs::remove_file(dir.path().join("LOCK")).unwrap();
        if round == 1 {
            // As an older version, which locks only this.
            fs::write(dir.path().join("LOCK"), b"").unwrap();
        }
        let second = open_at(dir.path()).map(|_| ()).unwrap_err();
        assert!(matches!(second, OpenError::Locked { .. }), "{second}");
        let mut notices = Vec::new();
        wait_until("the file is locked again", || {
            notices = opened.reader.take_notices();
            !notices.is_empty()
        });
        assert!(notices[0].contains("LOCK"), "{notices:?}");
        let file = fs::File::open(dir.path().join("LOCK")).unwrap();
        assert!(file.try_lock().is_err(), "an older version must not get it");
        assert_eq!(opened.reader.health(), Health::Ok);
    }
    assert_eq!(entries(&opened), log);
    drop(opened);
    open_at(dir.path()).unwrap();
}

#[test]
fn a_lock_file_that_somebody_else_has_stops_appends() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_at(dir.path()).unwrap();
    let mut log = Vec::new();
    commit(&mut opened, &mut log, 3);
    // As an older version does that came in between.
    let other = fs::File::create(dir.path().join("NEW")).unwrap();
    other.try_lock().unwrap();
    fs::rename(dir.path().join("NEW"), dir.path().join("LOCK")).unwrap();
    let reason = lost(&mut opened);
    assert!(reason.contains("another process"), "{reason}");
    drop(other);
    wait_until("it is over", || opened.reader.health() == Health::Ok);
    commit(&mut opened, &mut log, 3);
    assert_eq!(entries(&opened), log);
}

#[test]
fn a_folder_that_is_moved_stops_appends_until_it_is_back() {
    let top = tempfile::tempdir().unwrap();
    let (dir, away) = (top.path().join("data"), top.path().join("away"));
    let mut opened = open_at(&dir).unwrap();
    let mut log = Vec::new();
    commit(&mut opened, &mut log, 3);
    fs::rename(&dir, &away).unwrap();
    let reason = lost(&mut opened);
    assert!(reason.contains("moved or removed"), "{reason}");
    assert_eq!(entries(&opened), log, "reads go on");
    // Another folder in its place is neither taken for it nor written to.
    fs::create_dir(&dir).unwrap();
    wait_until(
        "the guard looks again",
        || matches!(opened.reader.health(), Health::Lost { reason } if reason.contains("another")),
    );
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    let second = open_at(&away).map(|_| ()).unwrap_err();
    assert!(matches!(second, OpenError::Locked { .. }), "{second}");
    fs::remove_dir(&dir).unwrap();
    fs::rename(&away, &dir).unwrap();
    wait_until("it is back", || opened.reader.health() == Health::Ok);
    // A look that began before the folder was back may end later and refuse appends once more.
    for _ in 0..31 {
        commit_when_taken(&mut opened, &mut log);
    }
    assert_eq!(entries(&opened), log);
    drop(opened);
    assert_eq!(entries(&open_at(&dir).unwrap()), log);
}

#[test]
fn a_batch_under_construction_is_given_up_when_the_folder_goes() {
    let top = tempfile::tempdir().unwrap();
    let (dir, away) = (top.path().join("data"), top.path().join("away"));
    let mut opened = open_at(&dir).unwrap();
    let mut log = Vec::new();
    commit(&mut opened, &mut log, 3);
    opened
        .writer
        .append(&event(4, next_seq(&log, 4), 9).draft())
        .unwrap();
    fs::rename(&dir, &away).unwrap();
    lost(&mut opened);
    let refused = opened.writer.commit().map(|_| ()).unwrap_err();
    assert!(
        matches!(refused, CommitError::Refused { full: false, .. }),
        "{refused}"
    );
    fs::rename(&away, &dir).unwrap();
    wait_until("it is back", || opened.reader.health() == Health::Ok);
    // The sequence was not used.
    commit_when_taken(&mut opened, &mut log);
    commit(&mut opened, &mut log, 3);
    assert_eq!(entries(&opened), log);
}

#[test]
fn files_that_are_removed_stop_appends() {
    for name in ["log-0000000000000000.seg", "identity", ""] {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("data");
        let mut opened = open_at(&dir).unwrap();
        let mut log = Vec::new();
        commit(&mut opened, &mut log, 3);
        if name.is_empty() {
            wait_until("all is removed", || {
                let _ = fs::remove_dir_all(&dir);
                !dir.exists()
            });
        } else {
            fs::remove_file(dir.join(name)).unwrap();
        }
        let reason = lost(&mut opened);
        assert!(
            reason.contains(dir.to_str().unwrap()) && reason.contains(name),
            "{reason}"
        );
        assert_eq!(entries(&opened), log, "reads go on");
    }
}

#[test]
fn a_run_that_is_removed_stops_appends() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open_at(dir.path()).unwrap();
    let mut log = Vec::new();
    wait_until("there are runs", || {
        commit(&mut opened, &mut log, 10);
        opened.reader.stats().runs > 0
    });
    wait_until("all is sorted", || {
        opened.reader.stats().waiting_segments == 0
    });
    // A merge may have given up the run that is removed first: then its successor is, too.
    let mut removed = Vec::new();
    wait_until("the guard notices a run that is gone", || {
        for entry in fs::read_dir(dir.path()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".tbl") && fs::remove_file(dir.path().join(&name)).is_ok() {
                removed.push(name);
            }
        }
        matches!(opened.reader.health(), Health::Lost { .. })
    });
    let reason = lost(&mut opened);
    assert!(removed.iter().any(|run| reason.contains(run)), "{reason}");
}

#[test]
fn files_that_are_removed_stop_appends_though_a_backup_has_them() {
    for end in [".seg", ".tbl"] {
        let top = tempfile::tempdir().unwrap();
        let (dir, backup) = (top.path().join("data"), top.path().join("backup"));
        let runs = end == ".tbl";
        let options = Options {
            background: true,
            runs,
            ..small_runs()
        };
        let mut opened = Store::open(&dir, options, &mut |_| ()).unwrap();
        let mut log = Vec::new();
        commit(&mut opened, &mut log, 100);
        wait_until("all is sorted", || {
            !runs || opened.reader.stats().waiting_segments == 0
        });
        let mut on = |_| std::ops::ControlFlow::Continue(());
        opened.reader.backup(&backup, &mut on).unwrap();
        let mut removed = Vec::new();
        wait_until("the guard notices a file that is gone", || {
            for entry in fs::read_dir(&backup).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let is_shared = fs::metadata(backup.join(&name)).unwrap().nlink() > 1;
                let is_one = is_shared && name.ends_with(end);
                if is_one && fs::remove_file(dir.join(&name)).is_ok() {
                    removed.push(name);
                }
            }
            matches!(opened.reader.health(), Health::Lost { .. })
        });
        let reason = lost(&mut opened);
        assert!(removed.iter().any(|file| reason.contains(file)), "{reason}");
    }
}

#[test]
fn what_the_store_makes_is_for_its_user_alone() {
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().join("made/data");
    let mut opened = open_at(&dir).unwrap();
    let mut log = Vec::new();
    wait_until("there are runs", || {
        commit(&mut opened, &mut log, 10);
        opened.reader.stats().runs > 0
    });
    drop(opened);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    // What an operator chose stays.
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o750)).unwrap();
    drop(open_at(&dir).unwrap());
    assert_eq!(mode(&dir), 0o750);
}
