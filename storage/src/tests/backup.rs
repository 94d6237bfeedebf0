//! Tests of backups: what is in one, what it shares with its store, and what failed ones leave.

use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::watch::{Act, Watched};
use super::*;
use crate::{BackupError, BackupProgress, BadToken, Redaction, Verified};

/// Ends no backup.
fn on(_: BackupProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A temporary folder for stores and backups.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        names(self.0.path())
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn open_at(dir: &Path, options: Options) -> (Opened, Vec<Event>) {
    let mut events = Vec::new();
    let opened = Store::open(dir, options, &mut |record| events.push(Event::of(record)));
    (opened.unwrap(), events)
}

fn verify(dir: &Path) -> Verified {
    Store::verify(dir, &mut |_, _| ()).unwrap()
}

fn token(opened: &Opened) -> String {
    let epochs = opened.reader.epochs();
    epochs.token(opened.reader.head()).to_string()
}

fn check(opened: &Opened, text: &str) -> Result<Position, BadToken> {
    opened.reader.epochs().check(text)
}

#[test]
fn a_backup_has_everything_up_to_its_moment() {
    let place = Place::new();
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let (mut log, mut tokens) = (Vec::new(), Vec::new());
    // Ends of segments, marks of idle stores, and a store without a record.
    for number in 0..90_u64 {
        let target = place.path(&format!("backup-{number}"));
        let report = opened.reader.backup(&target, &mut on).unwrap();
        assert_eq!(report.head, opened.reader.head(), "{number}");
        let found = verify(&target);
        assert_eq!((found.faults, found.torn), (vec![], None), "{number}");
        let (mut copy, _) = open_at(&target, small_runs());
        assert_eq!(copy.report.torn, None);
        assert_eq!(entries(&copy), log, "{number}");
        check_syncs(&copy, &log);
        // The copy goes on alone.
        commit(&mut copy, &mut log.clone(), 9);
        tokens.push(token(&copy));
        for text in &tokens {
            assert_eq!(check(&opened, text), Err(BadToken::Foreign));
        }
        drop(copy);
        std::fs::remove_dir_all(&target).unwrap();
        commit(&mut opened, &mut log, 1 + number % 4);
        if number % 3 == 0 {
            opened.writer.sync().unwrap();
        }
    }
    assert!(opened.reader.stats().runs > 4, "runs are backed up too");
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn what_came_after_a_backup_is_refused_in_it() {
    let place = Place::new();
    let (mut opened, mut log) = open_at(&place.path("store"), small_runs());
    let mut grow = |opened: &mut Opened, count: u64| -> Vec<String> {
        let one = |_| {
            commit(opened, &mut log, 1);
            token(opened)
        };
        (0..count).map(one).collect()
    };
    let before = grow(&mut opened, 60);
    let kept = opened.reader.epochs().tag(opened.reader.head());
    let at = opened.reader.head();
    opened
        .reader
        .backup(&place.path("backup"), &mut on)
        .unwrap();
    let after = grow(&mut opened, 60);
    drop(opened);
    let (mut restored, _) = open_at(&place.path("backup"), small_runs());
    assert_eq!(restored.report.positions, crate::PositionsFound::Kept);
    let mut same = entries(&restored);
    // Grows over every address that the store gave out after the backup.
    for _ in 0..2 {
        for text in &before {
            assert!(check(&restored, text).is_ok(), "{text}");
        }
        for text in &after {
            assert_eq!(check(&restored, text), Err(BadToken::Foreign), "{text}");
        }
        commit(&mut restored, &mut same, 100);
    }
    assert!(!restored.reader.epochs().holds(at, kept));
    let now = restored.reader.epochs().tag(at);
    drop(restored);
    let (restored, _) = open_at(&place.path("backup"), small_runs());
    assert!(restored.reader.epochs().holds(at, now), "a restart");
}

/// Returns the files of a folder with their content.
fn contents(dir: &Path, names: &[String]) -> Vec<Vec<u8>> {
    let read = |name: &String| std::fs::read(dir.join(name)).unwrap();
    names.iter().map(read).collect()
}

#[test]
fn a_backup_shares_files_and_changes_none_of_them() {
    let place = Place::new();
    let (store, target) = (place.path("store"), place.path("backup"));
    let (mut opened, mut log) = open_at(&store, small());
    commit(&mut opened, &mut log, 200);
    let report = opened.reader.backup(&target, &mut on).unwrap();
    let is_shared = |name: &String| target.join(name).metadata().unwrap().nlink() == 2;
    let shared: Vec<String> = names(&target).into_iter().filter(is_shared).collect();
    assert!(shared.len() > 3 && shared.iter().all(|name| name.ends_with(".seg")));
    assert_eq!(report.linked_bytes, 8192 * shared.len() as u64);
    assert_eq!(report.files, names(&target).len() as u64);
    let before = contents(&store, &shared);
    // Both go on, and neither sees the other.
    let (mut copy, events) = open_at(&target, small());
    assert_eq!(events, log);
    commit(&mut copy, &mut log.clone(), 50);
    commit(&mut opened, &mut log, 50);
    drop((copy, opened));
    assert_eq!(contents(&store, &shared), before);
    // A repair of the backup writes to files of its own.
    flip(&target.join(&shared[1]), 5000);
    let damaged = contents(&store, &shared);
    let repaired = Store::repair(&target, &crate::RepairOptions::default(), &mut |_, _| ());
    assert!(repaired.unwrap().lossy);
    assert_eq!(contents(&store, &shared), damaged);
    flip(&store.join(&shared[1]), 5000);
    assert_eq!(verify(&store).faults, []);
    let (_, events) = open_at(&store, small());
    assert_eq!(events, log);
}

/// Inverts a bit of a file.
fn flip(path: &Path, at: usize) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().read(true).write(true).open(path);
    let file = file.unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at as u64).unwrap();
}

#[test]
fn damage_to_the_end_of_a_backup_is_noticed() {
    let place = Place::new();
    let target = place.path("backup");
    let disk = SimDisk::new(3);
    let (mut opened, mut log) = (open(&disk, small()).unwrap().0, Vec::new());
    commit(&mut opened, &mut log, 40);
    let report = opened.reader.backup(&target, &mut on).unwrap();
    let last = log.last().unwrap().position;
    assert_eq!(report.head.0, last);
    let segment = target.join(format!("log-{:016x}.seg", last & !8191));
    flip(&segment, (last & 8191) as usize + 30);
    let refused = Store::open(&target, small(), &mut |_| ()).err().unwrap();
    assert!(matches!(refused, OpenError::Corrupt { .. }), "{refused}");
}

#[test]
fn text_that_is_recalled_later_does_not_damage_a_backup() {
    let place = Place::new();
    let (store, target) = (place.path("store"), place.path("backup"));
    let options = Options {
        redact_within: std::time::Duration::ZERO,
        ..small_runs()
    };
    let (mut opened, mut log) = open_at(&store, options.clone());
    commit(&mut opened, &mut log, 120);
    opened.reader.backup(&target, &mut on).unwrap();
    let draft = Draft {
        time: 9999,
        timeline: TimelineId(log[2].timeline),
        redacts: Some(Redaction {
            seq: log[2].seq,
            body: b"",
        }),
        ..Draft::default()
    };
    opened.writer.append(&draft).unwrap();
    opened.writer.commit().unwrap();
    opened.writer.tick(1 << 40);
    for _ in 0..40 {
        let number = opened.reader.head().0;
        let draft = Draft {
            time: number,
            body: &[7; 1000],
            ..Draft::default()
        };
        opened.writer.append(&draft).unwrap();
        opened.writer.commit().unwrap();
    }
    assert_eq!(opened.reader.stats().pending_redactions, 0);
    drop(opened);
    assert_eq!(verify(&store).faults, []);
    assert_eq!(verify(&target).faults, []);
    // The segment is one file, so the text is gone from the backup too.
    let (copy, _) = open_at(&target, options);
    log[2].body.clear();
    assert_eq!(entries(&copy), log);
}

/// Sets a flag when it is dropped, also by a test that fails: the thread that commits ends then.
struct SetAtTheEnd<'a>(&'a AtomicBool);

impl Drop for SetAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn backups_of_a_busy_store_have_all_that_was_acknowledged() {
    let place = Place::new();
    let options = Options {
        background: true,
        segment_bytes: 64 << 10,
        ..small_runs()
    };
    let Opened {
        mut writer, reader, ..
    } = open_at(&place.path("store"), options.clone()).0;
    let (acknowledged, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut runs = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1.. {
                if is_over.load(Ordering::Acquire) {
                    break;
                }
                let draft = Draft {
                    timeline: TimelineId(7),
                    seq: number,
                    time: number,
                    body: &[number as u8; 700],
                    ..Draft::default()
                };
                writer.append(&draft).unwrap();
                writer.commit().unwrap();
                acknowledged.store(number, Ordering::Release);
            }
        });
        let _ends = SetAtTheEnd(&is_over);
        for number in 0..12 {
            let target = place.path(&format!("backup-{number}"));
            let before = acknowledged.load(Ordering::Acquire);
            reader.backup(&target, &mut on).unwrap();
            runs = runs.max(names(&target).iter().filter(|n| n.ends_with("tbl")).count());
            assert_eq!(verify(&target).faults, []);
            let (copy, _) = open_at(&target, options.clone());
            let last = copy.reader.last_seq(TimelineId(7));
            assert!(last >= before, "{last} of {before}");
            let (mut page, mut read) = (Page::new(), 0);
            while read < last {
                let rest = read + 1..=u64::MAX;
                let timeline = TimelineId(7);
                let done = (copy.reader).range(timeline, rest, 500, Order::Ascending, &mut page);
                done.unwrap();
                for record in page.records() {
                    assert_eq!(record.seq, read + 1);
                    assert_eq!(record.body, [record.seq as u8; 700]);
                    read = record.seq;
                }
            }
        }
    });
    assert!(runs > 0, "no backup had a run");
}

#[test]
fn a_closed_store_is_backed_up_too() {
    let place = Place::new();
    let (store, target) = (place.path("store"), place.path("backup"));
    let missing = Store::backup(&store, &target, &mut on).unwrap_err();
    assert!(matches!(missing, BackupError::Open(_)), "{missing}");
    assert_eq!(place.names(), Vec::<String>::new(), "no store is made");
    let (mut opened, mut log) = open_at(&store, small_runs());
    commit(&mut opened, &mut log, 100);
    let locked = Store::backup(&store, &target, &mut on).unwrap_err();
    assert!(matches!(
        locked,
        BackupError::Open(OpenError::Locked { .. })
    ));
    assert_eq!(Store::key_of(&store).unwrap(), opened.reader.key());
    drop(opened);
    let report = Store::backup(&store, &target, &mut on).unwrap();
    assert_eq!(report.head.0, log.last().unwrap().position);
    for dir in [&store, &target] {
        assert_eq!(entries(&open_at(dir, small_runs()).0), log);
    }
}

#[test]
fn a_backup_that_ends_early_leaves_nothing() {
    let place = Place::new();
    let (mut opened, mut log) = open_at(&place.path("store"), small());
    commit(&mut opened, &mut log, 150);
    let target = place.path("backup");
    let mut steps = 0;
    loop {
        let mut left = steps;
        let mut end_there = |progress: BackupProgress| {
            assert!(progress.done <= progress.total, "{progress:?}");
            if left == 0 {
                return ControlFlow::Break(());
            }
            left -= 1;
            ControlFlow::Continue(())
        };
        match opened.reader.backup(&target, &mut end_there) {
            Ok(_) => break,
            Err(BackupError::Ended) => assert_eq!(place.names(), ["store"], "step {steps}"),
            Err(error) => panic!("{error}"),
        }
        steps += 1;
    }
    assert!(steps > 4, "{steps}");
    assert_eq!(place.names(), ["backup", "store"]);
}

#[test]
fn a_target_that_cannot_be_used_is_refused_and_named() {
    let place = Place::new();
    let (mut opened, mut log) = open_at(&place.path("store"), small());
    commit(&mut opened, &mut log, 30);
    std::fs::create_dir(place.path("full")).unwrap();
    std::fs::write(place.path("full/letter"), "dear").unwrap();
    std::fs::create_dir(place.path("foreign.partial")).unwrap();
    std::fs::write(place.path("foreign.partial/letter"), "dear").unwrap();
    std::os::unix::fs::symlink(place.path("nowhere"), place.path("link")).unwrap();
    let held = place.path("held.partial");
    std::fs::create_dir(&held).unwrap();
    let held = std::fs::File::open(held).unwrap();
    held.lock().unwrap();
    let before = place.names();
    for (target, words) in [
        ("full", "is no empty folder"),
        ("full/letter", "is no empty folder"),
        ("link", "is no empty folder"),
        ("store", "is no empty folder"),
        ("store/backup", "inside the folder of the store"),
        ("missing/backup", "make it first"),
        ("full/letter/backup", "cannot look at"),
        ("foreign", "is in the way"),
        ("held", "another backup is being made"),
    ] {
        let refused = opened.reader.backup(&place.path(target), &mut on);
        let text = refused.unwrap_err().to_string();
        assert!(text.contains(words), "{target}: {text}");
        assert!(text.contains(&*place.0.path().to_string_lossy()), "{text}");
        assert_eq!(place.names(), before, "{target}");
    }
    let mount = opened.reader.backup(Path::new("/proc"), &mut on);
    assert!(mount.is_err());
    assert_eq!(names(&place.path("full")), ["letter"]);
}

#[test]
fn an_empty_folder_and_what_a_killed_backup_left_are_used() {
    let place = Place::new();
    let (mut opened, mut log) = open_at(&place.path("store"), small());
    commit(&mut opened, &mut log, 60);
    std::fs::create_dir(place.path("backup")).unwrap();
    std::fs::create_dir(place.path("backup.partial")).unwrap();
    for left in ["log-0000000000000000.seg", "epochs", "identity.copy"] {
        std::fs::write(place.path("backup.partial").join(left), "half").unwrap();
    }
    opened
        .reader
        .backup(&place.path("backup"), &mut on)
        .unwrap();
    assert_eq!(place.names(), ["backup", "store"]);
    let (_, events) = open_at(&place.path("backup"), small());
    assert_eq!(events, log);
    // The folder is as private as that of the store.
    let mode = place.path("backup").metadata().unwrap().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_segment_that_is_full_to_the_brim_is_backed_up() {
    // The frames of two records fill the segment up to the room for a mark and a seal.
    let bytes = (8192 - 4096 - 48) / 2 - 24 - 40;
    let record = |opened: &mut Opened, number: u64| {
        let draft = Draft {
            timeline: TimelineId(7),
            seq: number,
            body: &vec![7; bytes],
            ..Draft::default()
        };
        opened.writer.append(&draft).unwrap();
        opened.writer.commit().unwrap();
    };
    let place = Place::new();
    let disk = SimDisk::new(1);
    let mut opened = open(&disk, small()).unwrap().0;
    record(&mut opened, 1);
    record(&mut opened, 2);
    // Closing writes a mark: only the seal has room behind it.
    drop(opened);
    let (opened, _) = open(&disk, small()).unwrap();
    let target = place.path("backup");
    opened.reader.backup(&target, &mut on).unwrap();
    assert_eq!(verify(&target).faults, []);
    for number in 3..6 {
        let (mut copy, events) = open_at(&target, small());
        assert_eq!(events.len() as u64, number - 1);
        record(&mut copy, number);
    }
    assert_eq!(verify(&target).faults, []);
}

/// A backup chooses its files under a lock. All changes of the manifest, and all removals, take it.
#[test]
fn files_change_only_under_the_lock_that_a_backup_holds() {
    let reader: Arc<std::sync::OnceLock<crate::Reader>> = Arc::default();
    let (known, changes) = (reader.clone(), Arc::new(AtomicU64::new(0)));
    let counted = changes.clone();
    let guard = move |act: Act, name: &str| {
        let is_change = match act {
            Act::Rename => name == "manifest",
            Act::Remove => name.ends_with(".seg") || name.ends_with(".tbl"),
            _ => false,
        };
        if is_change && let Some(reader) = known.get() {
            assert!(reader.shared().files.is_locked(), "{act:?} {name}");
            counted.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let disk = Watched {
        disk: SimDisk::new(2),
        guard: Arc::new(guard),
    };
    let options = Options {
        sync_life: Some(std::time::Duration::from_secs(1)),
        message_life: Some(std::time::Duration::from_secs(2)),
        ..small_runs()
    };
    let opened = Store::open_with(Arc::new(disk), options, &mut |_| ());
    let (mut opened, mut log) = (opened.unwrap(), Vec::new());
    assert!(reader.set(opened.reader.clone()).is_ok());
    commit(&mut opened, &mut log, 60);
    for _ in 0..6 {
        commit(&mut opened, &mut log, 20);
    }
    let before = changes.load(Ordering::Relaxed);
    opened.writer.tick(1 << 30);
    let after = changes.load(Ordering::Relaxed);
    assert!(before > 20 && after > before, "{before} {after}");
    let place = Place::new();
    let mut held = 0;
    let mut count = |_| {
        held += u32::from(opened.reader.shared().files.is_locked());
        ControlFlow::Continue(())
    };
    opened
        .reader
        .backup(&place.path("backup"), &mut count)
        .unwrap();
    assert_eq!(held, 0, "copies take long, and hold nothing");
}

#[test]
fn links_are_made_under_the_lock_of_the_files() {
    let place = Place::new();
    let (mut opened, mut log) = open_at(&place.path("store"), small());
    commit(&mut opened, &mut log, 100);
    let (mut held, mut all) = (0, 0);
    let mut count = |_| {
        held += u32::from(opened.reader.shared().files.is_locked());
        all += 1;
        ControlFlow::Continue(())
    };
    opened
        .reader
        .backup(&place.path("backup"), &mut count)
        .unwrap();
    assert!(held > 2 && all > held, "{held} of {all}");
}

#[test]
fn text_that_is_recalled_during_a_backup_leaves_whole_records() {
    let place = Place::new();
    let target = place.path("backup");
    // The simulated disk has no links, so segments are copied.
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let mut log = Vec::new();
    commit(&mut opened, &mut log, 150);
    let Opened { writer, reader, .. } = &mut opened;
    let mut recalled = Vec::new();
    let mut recall = || {
        let at = recalled.len() * 11 % log.len();
        let draft = Draft {
            timeline: TimelineId(log[at].timeline),
            redacts: Some(Redaction {
                seq: log[at].seq,
                body: b"",
            }),
            ..Draft::default()
        };
        writer.append(&draft).unwrap();
        writer.commit().unwrap();
        writer.tick(1);
        recalled.push(at);
    };
    let mut each = |_| {
        (0..4).for_each(|_| recall());
        ControlFlow::Continue(())
    };
    reader.backup(&target, &mut each).unwrap();
    assert!(recalled.len() > 20, "{}", recalled.len());
    assert_eq!(verify(&target).faults, []);
    let (copy, _) = open_at(&target, small_runs());
    let found = entries(&copy);
    let mut gone = 0;
    for (at, (found, event)) in found.iter().zip(&log).enumerate() {
        if found != event {
            assert!(found.body.is_empty() && recalled.contains(&at), "{found:?}");
            gone += 1;
        }
    }
    assert_eq!(found.len(), log.len());
    assert!(gone > 3, "{gone}");
}

#[test]
fn small_files_of_the_program_that_a_killed_backup_left_are_not_in_the_way() {
    let place = Place::new();
    let target = place.path("backup");
    let (mut opened, mut log) = open_at(&place.path("store"), small_runs());
    commit(&mut opened, &mut log, 20);
    let revocations = place.path("store").join("revocations");
    std::fs::write(revocations, b"some").unwrap();
    let partial = place.path("backup.partial");
    std::fs::create_dir(&partial).unwrap();
    std::fs::write(partial.join("revocations"), b"half").unwrap();
    opened.reader.backup(&target, &mut on).unwrap();
    assert_eq!(std::fs::read(target.join("revocations")).unwrap(), b"some");
    assert_eq!(place.names(), ["backup", "store"]);
}
