//! Tests of runs, into which full segments are sorted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::ReadError;
use crate::backend::Backend;
use crate::backend::sim::Operation;

const KEY: TimelineId = TimelineId(50);
const GONE: TimelineId = TimelineId(51);

fn names(disk: &SimDisk, suffix: &str) -> Vec<String> {
    let names = disk.list().unwrap().into_iter();
    names.filter(|name| name.ends_with(suffix)).collect()
}

/// Commits batches of three events, each with a value.
fn fill(opened: &mut Opened, log: &mut Vec<Event>, batches: u64) {
    for _ in 0..batches {
        let number = log.len() as u64;
        opened.writer.set_state(KEY, &number.to_le_bytes()).unwrap();
        commit(opened, log, 3);
    }
}

/// Checks that all reads agree with the log.
fn check(opened: &Opened, log: &[Event], context: &str) {
    assert_eq!(entries(opened), log, "{context}");
    assert_eq!(read_all(opened, log), log, "{context}");
    check_syncs(opened, log);
    let number = log.len() as u64 - 3;
    let state = opened.reader.state(KEY).unwrap();
    assert_eq!(state, Some(number.to_le_bytes().to_vec()), "{context}");
    assert_eq!(opened.reader.state(GONE).unwrap(), None, "{context}");
    let mut page = Page::new();
    for timeline in 0..3 {
        let id = TimelineId(timeline);
        let last = log.iter().rfind(|event| event.timeline == timeline);
        assert_eq!(
            opened.reader.last_seq(id),
            last.map_or(0, |event| event.seq)
        );
        let range = opened
            .reader
            .range(id, 0..=u64::MAX, 40, Order::Descending, &mut page);
        range.unwrap();
        let newest = log.iter().filter(|event| event.timeline == timeline).rev();
        let newest: Vec<Event> = newest.take(40).cloned().collect();
        let found: Vec<Event> = page.records().rev().map(|r| Event::of(&r)).collect();
        assert_eq!(found, newest, "{context}");
        assert!(page.more());
        for seq in [1, 40, 1 << 40] {
            let expected = log.iter().any(|e| e.timeline == timeline && e.seq == seq);
            assert_eq!(opened.reader.get(id, seq, &mut page).unwrap(), expected);
        }
    }
}

#[test]
fn a_long_history_takes_few_files_and_little_memory_and_is_not_replayed() {
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let mut log = Vec::new();
    opened.writer.set_state(GONE, b"soon gone").unwrap();
    fill(&mut opened, &mut log, 20);
    opened.writer.set_state(GONE, b"").unwrap();
    fill(&mut opened, &mut log, 180);
    for round in 0..2 {
        check(&opened, &log, "open");
        let stats = opened.reader.stats();
        assert_eq!((stats.segments, stats.waiting_segments), (1, 0));
        assert_eq!(stats.run_failures, 0);
        // A file of each kind and level, at most, where there were dozens of segments.
        assert!(stats.runs <= 4 * 6, "{stats:?}");
        assert_eq!(names(&disk, ".tbl").len(), stats.runs);
        let kept = Store::inspect_with(&disk).unwrap().kept_segments;
        assert!(kept > 5 && names(&disk, ".seg").len() as u64 <= kept + 2);
        disk.power_cycle();
        drop(opened);
        let (again, replayed) = open(&disk, small_runs()).unwrap();
        assert!(replayed.len() < 60 && log.ends_with(&replayed), "{round}");
        assert_eq!(again.report.records, replayed.len() as u64);
        opened = again;
    }
    // Without runs what is in them is still read, and the log goes on.
    drop(opened);
    let (mut opened, _) = open(&disk, small()).unwrap();
    fill(&mut opened, &mut log, 30);
    check(&opened, &log, "without");
    assert!(opened.reader.stats().segments > 2);
    drop(opened);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    fill(&mut opened, &mut log, 1);
    check(&opened, &log, "with runs again");
    assert_eq!(opened.reader.stats().waiting_segments, 0);
}

#[test]
fn sequences_go_up_from_what_is_in_runs() {
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let mut event = event(0, 7, 0);
    opened.writer.append(&event.draft()).unwrap();
    event.timeline = 1;
    event.body = vec![1; 700];
    for seq in 1..60 {
        event.seq = seq;
        opened.writer.append(&event.draft()).unwrap();
        opened.writer.commit().unwrap();
    }
    assert!(names(&disk, ".tbl").len() > 2);
    event.timeline = 0;
    event.seq = 7;
    let stale = opened.writer.append(&event.draft());
    assert!(matches!(
        stale,
        Err(crate::AppendError::Sequence { last: 7, .. })
    ));
    event.seq = 1 << 63;
    let large = opened.writer.append(&event.draft());
    assert!(matches!(large, Err(crate::AppendError::Sequence { .. })));
    event.seq = 8;
    opened.writer.append(&event.draft()).unwrap();
}

#[test]
fn a_failure_while_making_runs_fails_no_commit_and_is_made_up_for() {
    let (mut failed, mut stopped, mut healed) = (0, 0, 0);
    for operation in [
        Operation::Sync,
        Operation::Write,
        Operation::SyncDir,
        Operation::Create,
    ] {
        for nth in 0..60 {
            let disk = SimDisk::new(nth);
            let (mut opened, _) = open(&disk, small_runs()).unwrap();
            let mut log = Vec::new();
            disk.fail(operation, nth);
            let mut ok = true;
            while ok && log.len() < 120 {
                let event = event(
                    log.len() as u64 + 1,
                    next_seq(&log, log.len() as u64 + 1),
                    600,
                );
                // What is refused can be tried again, unless the log's sync failed.
                if let Ok(position) = opened.writer.append(&event.draft()) {
                    match opened.writer.commit() {
                        Ok(_) => log.push(Event {
                            position: position.0,
                            ..event
                        }),
                        Err(error) => ok = !error.is_final(),
                    }
                }
            }
            let context = format!("{operation:?} {nth}");
            let stats = opened.reader.stats();
            if !ok {
                // It was the log itself.
                assert_eq!(operation, Operation::Sync, "{context}");
                stopped += 1;
                assert!(matches!(
                    opened.reader.health(),
                    crate::Health::Poisoned { .. }
                ));
                continue;
            }
            failed += stats.run_failures;
            // A merge may be left to do when the next segment is full.
            let pending = opened.reader.run_failure().is_some();
            assert!(!pending || stats.run_failures > 0, "{context}");
            healed += u64::from(!pending && stats.run_failures > 0);
            assert_eq!(stats.waiting_segments, 0, "{context}");
            assert_eq!(entries(&opened), log, "{context}");
            disk.power_cycle();
            drop(opened);
            let (opened, _) = open(&disk, small_runs()).unwrap();
            assert_eq!(entries(&opened), log, "{context}");
            assert_eq!(read_all(&opened, &log), log, "{context}");
            assert_eq!(names(&disk, ".tbl").len(), opened.reader.stats().runs);
        }
    }
    assert!(failed > 40 && stopped > 5, "{failed} {stopped}");
    assert!(healed > 20, "{healed} of {failed}");
}

#[test]
fn any_flipped_bit_of_runs_and_manifest_is_noticed_or_harmless() {
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let mut log = Vec::new();
    fill(&mut opened, &mut log, 30);
    drop(opened);
    let files: Vec<String> = disk
        .list()
        .unwrap()
        .into_iter()
        .filter(|name| name.ends_with(".tbl") || name == "manifest")
        .collect();
    assert!(files.len() > 4);
    for name in files {
        let bits = disk.contents(&name).unwrap().len() * 8;
        for bit in (0..bits).step_by(if bits > 8192 { 131 } else { 13 }) {
            let disk = disk.fork(bit as u64);
            disk.flip(&name, bit);
            let context = format!("bit {bit} of {name}");
            match open(&disk, small_runs()) {
                Ok((opened, _)) => check_damaged(&opened, &log, &name, &context),
                Err(OpenError::Corrupt { file, .. }) => assert!(file.ends_with(&name), "{context}"),
                Err(error) => panic!("{context}: {error}"),
            }
        }
    }
}

/// Checks that every read returns the right events, or the error that `name` is damaged.
fn check_damaged(opened: &Opened, log: &[Event], name: &str, context: &str) {
    let mut page = Page::new();
    let check = |page: &Page, result: Result<(), ReadError>, expected: Vec<&Event>| match result {
        Ok(()) => {
            let found: Vec<Event> = page.records().map(|record| Event::of(&record)).collect();
            assert!(found.iter().eq(expected), "{context}");
        }
        Err(ReadError::Corrupt { file, .. }) => assert!(file.ends_with(name), "{context}"),
        Err(error) => panic!("{context}: {error}"),
    };
    for timeline in 0..3 {
        let id = TimelineId(timeline);
        let all = 0..=u64::MAX;
        let read = opened
            .reader
            .range(id, all, usize::MAX, Order::Ascending, &mut page);
        let expected = log.iter().filter(|event| event.timeline == timeline);
        check(&page, read, expected.collect());
        let until = Position(u64::MAX);
        let read = opened
            .reader
            .sync(user(timeline), Position::ZERO, until, usize::MAX, &mut page);
        let expected = log.iter().filter(|e| e.fanout.contains(&user(timeline)));
        check(&page, read.map(|_| ()), expected.collect());
    }
    for event in log {
        let timeline = TimelineId(event.timeline);
        let read = opened.reader.get(timeline, event.seq, &mut page);
        check(&page, read.map(|found| assert!(found)), vec![event]);
    }
    match opened.reader.state(KEY) {
        Ok(value) => assert_eq!(value, Some((log.len() as u64 - 3).to_le_bytes().to_vec())),
        Err(error) => assert!(matches!(error, ReadError::Corrupt { .. }), "{context}"),
    }
}

#[test]
fn a_missing_run_is_named() {
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    fill(&mut opened, &mut Vec::new(), 30);
    drop(opened);
    for name in names(&disk, ".tbl").into_iter().chain(["manifest".into()]) {
        let disk = disk.fork(1);
        disk.remove(&name).unwrap();
        let files = disk.list().unwrap();
        let opened = open(&disk, small_runs()).map(|_| ());
        assert_eq!(disk.list().unwrap(), files, "without {name}");
        match opened {
            Err(OpenError::Corrupt { file, .. }) => assert!(file.ends_with(&name), "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn readers_see_every_record_while_runs_are_made_behind_them() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        durability: Durability::Os,
        background: true,
        ..small_runs()
    };
    let mut opened = Store::open(dir.path(), options.clone(), &mut |_| {}).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (reader, done) = (opened.reader.clone(), done.clone());
            std::thread::spawn(move || {
                let mut page = Page::with_bytes(4 << 20);
                let mut last = false;
                while !last {
                    // The store's own threads have the lowest priority: readers that never rest
                    // would leave them no processor.
                    std::thread::sleep(std::time::Duration::from_millis(1));
                    last = done.load(Ordering::Acquire);
                    let known = reader.last_seq(TimelineId(1));
                    let all = 1..=known;
                    reader
                        .range(
                            TimelineId(1),
                            all.clone(),
                            9999,
                            Order::Ascending,
                            &mut page,
                        )
                        .unwrap();
                    assert!(page.records().map(|record| record.seq).eq(all.clone()));
                    reader
                        .range(
                            TimelineId(1),
                            all.clone(),
                            9999,
                            Order::Descending,
                            &mut page,
                        )
                        .unwrap();
                    assert!(page.records().map(|record| record.seq).eq(all));
                    let (zero, until) = (Position::ZERO, Position(u64::MAX));
                    reader.sync(user(0), zero, until, 9999, &mut page).unwrap();
                    assert!(page.len() as u64 >= known);
                }
            })
        })
        .collect();
    for seq in 1..=2000 {
        let event = Event {
            timeline: 1,
            seq,
            fanout: vec![user(0)],
            ..event(seq, seq, 300)
        };
        opened.writer.append(&event.draft()).unwrap();
        if seq % 5 == 0 {
            opened.writer.commit().unwrap();
        }
    }
    done.store(true, Ordering::Release);
    for reader in readers {
        reader.join().unwrap();
    }
    assert_eq!(opened.reader.run_failure(), None);
    drop(opened);
    let opened = Store::open(dir.path(), options, &mut |_| {}).unwrap();
    assert_eq!(opened.reader.last_seq(TimelineId(1)), 2000);
}
