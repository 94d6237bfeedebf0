//! Tests of disks that fail or are full.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::Duration;

use super::spy::Spy;
use super::threads::open_watched;
use super::watch::Act;
use super::*;
use crate::backend::sim::Operation;
use crate::{AppendError, CommitError, Health};

/// Checks that the store refuses every change from now on, and that visible events can be read.
fn assert_poisoned(opened: &mut Opened, disk: &SimDisk, log: &[Event]) {
    let before = disk.operations();
    let append = opened.writer.append(&event(1000, 1000, 9).draft());
    assert!(
        matches!(append, Err(AppendError::Poisoned { .. })),
        "{append:?}"
    );
    let commit = opened.writer.commit();
    assert!(
        matches!(commit, Err(CommitError::Poisoned { .. })),
        "{commit:?}"
    );
    assert!(matches!(
        opened.writer.sync(),
        Err(CommitError::Poisoned { .. })
    ));
    assert_eq!(
        disk.operations(),
        before,
        "a failed sync is never tried again"
    );
    match opened.reader.health() {
        Health::Poisoned { reason } => assert!(reason.contains("simulated"), "{reason}"),
        health => panic!("{health:?}"),
    }
    assert_eq!(
        opened.reader.head().0,
        log.last().map_or(0, |event| event.position)
    );
    assert_eq!(read_all(opened, log), log);
}

#[test]
fn a_failed_sync_stops_the_store_and_loses_nothing() {
    for nth in 0..12 {
        let seed = nth * 31;
        let disk = SimDisk::new(seed);
        let (mut opened, _) = open(&disk, small()).unwrap();
        let mut log = Vec::new();
        commit(&mut opened, &mut log, 4);
        // Large batches: some failures hit the second of two segments.
        disk.fail(Operation::Sync, nth);
        let mut written = log.clone();
        loop {
            let before = written.len();
            let result = try_commit(&mut opened, &disk, &mut written, 9);
            match result {
                Ok(()) => log = written.clone(),
                Err(unknown) => {
                    written.truncate(before + unknown);
                    break;
                }
            }
        }
        assert_poisoned(&mut opened, &disk, &log);
        drop(opened);

        // The next process finds the failed batch in the page cache. What it takes from there
        // must get to the disk, although the pages look clean.
        disk.kill();
        let (opened, first) = open(&disk, small()).unwrap();
        assert!(
            first.len() >= log.len() && first == written[..first.len()],
            "seed {seed}"
        );
        drop(opened);
        disk.power_cycle();
        assert_eq!(open(&disk, small()).unwrap().1, first, "seed {seed}");
    }
}

/// Appends and commits a batch of events. A segment that cannot be prepared is tried again, so that
/// the log itself fails. The error has the number of events in the batch.
fn try_commit(
    opened: &mut Opened,
    disk: &SimDisk,
    log: &mut Vec<Event>,
    count: u64,
) -> Result<(), usize> {
    for _ in 0..count {
        let number = log.last().map_or(1, |event| event.number + 1);
        let seq = next_seq(log, number);
        let mut event = event(number, seq, 300);
        let appended = opened.writer.append(&event.draft()).or_else(|error| {
            assert!(matches!(error, AppendError::Short { .. }), "{error}");
            disk.fail(Operation::Sync, 1);
            opened.writer.append(&event.draft())
        });
        event.position = appended.unwrap().0;
        log.push(event);
    }
    opened.writer.commit().map(drop).map_err(|_| count as usize)
}

#[test]
fn a_failed_sync_at_an_interval_stops_the_store() {
    let (tell, told) = mpsc::channel();
    let disk = SimDisk::new(5);
    let on_sync = Arc::new(move || tell.send(()).unwrap_or_default());
    let spy = Spy {
        disk: disk.clone(),
        on_sync,
    };
    let options = Options {
        durability: Durability::Interval(Duration::from_millis(1)),
        background: true,
        ..small()
    };
    let mut opened = Store::open_with(Arc::new(spy), options, &mut |_| {}).unwrap();
    // Wait until the next segment is prepared, so that the failure hits the log's sync.
    while disk.contents("log-0000000000002000.seg").is_none() {
        std::thread::yield_now();
    }
    while told.try_recv().is_ok() {}
    disk.fail(Operation::Sync, 0);
    let mut log = Vec::new();
    commit(&mut opened, &mut log, 1);
    told.recv().unwrap();
    while opened.reader.health() == Health::Ok {
        std::thread::yield_now();
    }
    assert_poisoned(&mut opened, &disk, &log);
}

#[test]
fn an_interval_makes_commits_durable_without_further_calls() {
    let disk = SimDisk::new(5);
    let options = Options {
        durability: Durability::Interval(Duration::from_millis(1)),
        background: true,
        ..small()
    };
    let (mut opened, _) = open(&disk, options).unwrap();
    let mut log = Vec::new();
    commit(&mut opened, &mut log, 60);
    let end = opened.writer.commit().unwrap().end();
    while opened.reader.stats().durable < end {
        std::thread::yield_now();
    }
    disk.power_cycle();
    drop(opened);
    assert_eq!(open(&disk, small()).unwrap().1, log);
}

/// Appends batches until the disk is full.
fn fill(opened: &mut Opened, log: &mut Vec<Event>) {
    loop {
        let number = log.last().map_or(1, |event| event.number + 1);
        let mut event = Event {
            body: vec![1; 300],
            ..event(number, number, 0)
        };
        match opened.writer.append(&event.draft()) {
            Ok(position) => event.position = position.0,
            Err(AppendError::Full) => return,
            Err(error) => panic!("{error}"),
        }
        opened.writer.commit().unwrap();
        log.push(event);
    }
}

#[test]
fn the_first_append_after_there_is_space_is_taken() {
    let disk = SimDisk::new(5);
    let options = Options {
        background: true,
        ..small()
    };
    let (mut opened, _) = open(&disk, options).unwrap();
    let mut log = Vec::new();
    for segments in [3, 4, 6, 7, 8] {
        disk.set_capacity(64 + segments * 8192);
        fill(&mut opened, &mut log);
        assert!(matches!(opened.reader.health(), Health::Full { .. }));
        disk.set_capacity(64 + (segments + 1) * 8192);
        commit(&mut opened, &mut log, 1);
        assert_eq!(opened.reader.health(), Health::Ok);
    }
    assert_eq!(read_all(&opened, &log), log);
}

#[test]
fn a_full_disk_refuses_appends_until_there_is_space() {
    for reserve_bytes in [0, 5000] {
        let options = Options {
            reserve_bytes,
            ..small()
        };
        let disk = SimDisk::new(5);
        let (mut opened, _) = open(&disk, options.clone()).unwrap();
        disk.set_capacity(64 + 3 * 8192 + 4999);
        let mut log = Vec::new();
        fill(&mut opened, &mut log);
        let segments = if reserve_bytes == 0 { 3 } else { 2 };
        assert_eq!(
            opened.reader.stats().segments,
            segments,
            "the reserve is kept"
        );
        assert!(matches!(opened.reader.health(), Health::Full { .. }));
        assert_eq!(read_all(&opened, &log), log);
        let small_one = opened.writer.append(&event(1000, 1000, 0).draft());
        assert!(
            matches!(small_one, Err(AppendError::Full)),
            "one answer for all sizes"
        );
        opened.writer.commit().unwrap();

        // Opening works with no byte free.
        drop(opened);
        disk.set_capacity(0);
        let (mut opened, replayed) = open(&disk, options).unwrap();
        assert_eq!(replayed, log);
        assert_eq!(opened.reader.health(), Health::Ok);
        fill(&mut opened, &mut log);
        assert!(matches!(opened.reader.health(), Health::Full { .. }));

        disk.set_capacity(1 << 20);
        commit(&mut opened, &mut log, 10);
        assert_eq!(opened.reader.health(), Health::Ok);
        drop(opened);
        assert_eq!(open(&disk, small()).unwrap().1, log);
    }
}

/// A quota, or somebody else who was faster: the disk had said that it has room.
#[test]
fn a_disk_that_is_full_only_when_it_is_used_is_no_failed_disk() {
    let full = Arc::new(AtomicBool::new(false));
    let guard = {
        let full = full.clone();
        Arc::new(move |act, name: &str| match full.load(SeqCst) {
            true if act == Act::Create && name.starts_with("log-") => {
                Err(io::ErrorKind::QuotaExceeded.into())
            }
            _ => Ok(()),
        })
    };
    let disk = SimDisk::new(5);
    let mut log = Vec::new();
    let mut opened = open_watched(&disk, small(), guard);
    full.store(true, SeqCst);
    fill(&mut opened, &mut log);
    assert!(matches!(opened.reader.health(), Health::Full { .. }));
    full.store(false, SeqCst);
    commit(&mut opened, &mut log, 10);
    assert_eq!(opened.reader.health(), Health::Ok);
    drop(opened);
    assert_eq!(open(&disk, small()).unwrap().1, log);
}

#[test]
fn a_torn_tail_on_a_full_disk_is_cut_without_a_copy() {
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, small()).unwrap();
    let mut log = Vec::new();
    commit(&mut opened, &mut log, 2);
    disk.kill();
    drop(opened);
    disk.set_capacity(0);
    disk.flip("log-0000000000000000.seg", log[1].position as usize * 8);
    let (opened, events) = open(&disk, small()).unwrap();
    assert_eq!(events, log[..1]);
    let torn = opened.report.torn.clone().unwrap();
    assert!(torn.copies.is_empty() && torn.copies_incomplete);
}

#[test]
fn a_full_disk_in_the_background_is_noticed_and_recovered_from() {
    let disk = SimDisk::new(5);
    let options = Options {
        background: true,
        ..small()
    };
    let (mut opened, _) = open(&disk, options).unwrap();
    disk.set_capacity(64 + 3 * 8192);
    let mut log = Vec::new();
    fill(&mut opened, &mut log);
    assert!(matches!(opened.reader.health(), Health::Full { .. }));
    disk.set_capacity(1 << 20);
    // Each refused append makes the preparer look again.
    let number = log[log.len() - 1].number + 1;
    let mut event = Event {
        body: vec![1; 300],
        ..event(number, number, 0)
    };
    event.position = loop {
        match opened.writer.append(&event.draft()) {
            Ok(position) => break position.0,
            Err(AppendError::Full) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    log.push(event);
    opened.writer.commit().unwrap();
    assert_eq!(opened.reader.health(), Health::Ok);
    assert_eq!(read_all(&opened, &log), log);
}
