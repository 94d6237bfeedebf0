//! Tests of appends that are faster than the making of runs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use super::threads::{open_watched, wait_until};
use super::watch::{Act, Guard, Release};
use super::*;
use crate::AppendError;
use crate::backend::Backend;

const MAX: usize = 3;

fn options(background: bool) -> Options {
    Options {
        background,
        max_waiting_segments: MAX,
        ..small_runs()
    }
}

/// Returns a guard that lets no run file be created while the flag is set: the creation hangs, or
/// fails with `fail`.
fn hold(held: &Arc<AtomicBool>, fail: bool) -> Arc<Guard> {
    let held = held.clone();
    Arc::new(move |act, name: &str| {
        while act == Act::Create && name.starts_with("run-") && held.load(SeqCst) {
            if fail {
                return Err(io::Error::other("simulated I/O error"));
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Ok(())
    })
}

/// Appends and commits one event that follows `log`. Adds it to `log` unless the store refuses it.
fn append(opened: &mut Opened, log: &mut Vec<Event>) -> Result<(), AppendError> {
    let number = log.last().map_or(1, |event| event.number + 1);
    let mut event = event(number, next_seq(log, number), 600);
    event.position = opened.writer.append(&event.draft())?.0;
    opened.writer.commit().unwrap();
    log.push(event);
    Ok(())
}

#[test]
fn an_append_waits_until_a_segment_is_turned_into_runs() {
    let held = Arc::new(AtomicBool::new(true));
    let mut opened = open_watched(&SimDisk::new(3), options(true), hold(&held, false));
    let reader = opened.reader.clone();
    let _release = Release(held.clone());
    let done = Arc::new(AtomicU64::new(0));
    let writer = {
        let done = done.clone();
        std::thread::spawn(move || {
            let mut log = Vec::new();
            while log.len() < 200 {
                append(&mut opened, &mut log).unwrap();
                done.store(log.len() as u64, SeqCst);
            }
            (opened, log)
        })
    };
    wait_until("an append waits", || reader.stats().waits == 1);
    let stopped = done.load(SeqCst);
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(done.load(SeqCst), stopped);
    let stats = reader.stats();
    assert_eq!(stats.waiting_segments, MAX);
    assert_eq!(stats.waiting_bytes, MAX as u64 * 8192);
    assert_eq!((stats.waits, stats.merge_bytes), (1, 0));
    held.store(false, SeqCst);
    let (opened, log) = writer.join().unwrap();
    assert_eq!(entries(&opened), log);
    wait_until("all is sorted", || reader.stats().waiting_segments == 0);
    let stats = reader.stats();
    assert_eq!((stats.waiting_bytes, stats.run_failures), (0, 0));
    // Runs were made of all of the log but its last segment, and most of them merged. They are
    // small.
    assert!(stats.merge_bytes > stats.run_bytes, "{stats:?}");
    assert!(stats.merge_bytes < stats.bytes / 2, "{stats:?}");
}

#[test]
fn an_append_is_refused_while_runs_cannot_be_made() {
    for background in [false, true] {
        let held = Arc::new(AtomicBool::new(true));
        let disk = SimDisk::new(3);
        let mut opened = open_watched(&disk, options(background), hold(&held, true));
        let mut log = Vec::new();
        let refused = loop {
            if let Err(error) = append(&mut opened, &mut log) {
                break error;
            }
        };
        let AppendError::Behind { reason } = &refused else {
            panic!("{refused}");
        };
        assert!(reason.contains("simulated"), "{reason}");
        let stats = opened.reader.stats();
        assert_eq!(stats.waiting_segments, MAX);
        // A thread may be late to find out that it fails.
        assert!(background || stats.waits == 0);
        assert_eq!(opened.writer.batch_records(), 0);
        opened.writer.commit().unwrap();
        assert_eq!(entries(&opened), log);
        match opened.reader.health() {
            crate::Health::Short { reason } => assert!(reason.contains("simulated"), "{reason}"),
            other => panic!("{other:?}"),
        }
        held.store(false, SeqCst);
        if background {
            // Nothing is filled meanwhile: only time makes it try again.
            wait_until("what failed is tried again", || {
                opened.reader.stats().waiting_segments == 0
            });
            assert_eq!(opened.reader.health(), crate::Health::Ok);
        }
        for _ in 0..100 {
            append(&mut opened, &mut log).unwrap();
        }
        assert_eq!(opened.reader.health(), crate::Health::Ok);
        assert_eq!(entries(&opened), log);
        disk.power_cycle();
        drop(opened);
        let (opened, _) = open(&disk, small_runs()).unwrap();
        assert_eq!(entries(&opened), log);
    }
}

#[test]
fn an_append_is_refused_while_runs_cannot_be_merged() {
    // The first four runs of each kind are made, and not merged.
    let failing = Arc::new(AtomicBool::new(true));
    let guard = {
        let failing = failing.clone();
        Arc::new(move |act, _: &str| {
            let merging = watch::thread() == "storage-merge";
            match act == Act::Create && merging && failing.load(SeqCst) {
                true => Err(io::Error::other("simulated I/O error")),
                false => Ok(()),
            }
        })
    };
    let mut opened = open_watched(&SimDisk::new(3), options(true), guard);
    let mut log = Vec::new();
    let refused = loop {
        if let Err(error) = append(&mut opened, &mut log) {
            break error;
        }
        assert!(log.len() < 1000, "never refused");
    };
    assert!(matches!(refused, AppendError::Behind { .. }), "{refused}");
    assert_eq!(opened.reader.stats().waiting_segments, MAX);
    // The figure follows the last runs.
    wait_until("all runs wait to be merged", || {
        let stats = opened.reader.stats();
        stats.run_bytes > 0 && stats.merge_due_bytes == stats.run_bytes
    });
    failing.store(false, SeqCst);
    wait_until("what failed is tried again", || {
        let stats = opened.reader.stats();
        (stats.waiting_segments, stats.merge_due_bytes) == (0, 0)
    });
    append(&mut opened, &mut log).unwrap();
    assert_eq!(entries(&opened), log);
}

/// On a disk without room for runs, segments wait. The append that comes once there is room is taken.
#[test]
fn the_first_append_after_there_is_room_for_runs_is_taken() {
    let full = Arc::new(AtomicBool::new(true));
    let guard: Arc<Guard> = {
        let full = full.clone();
        Arc::new(move |act, name: &str| {
            if act == Act::Create && name.starts_with("run-") && full.load(SeqCst) {
                let error = rustix::io::Errno::NOSPC.raw_os_error();
                return Err(io::Error::from_raw_os_error(error));
            }
            Ok(())
        })
    };
    let disk = SimDisk::new(3);
    let mut opened = open_watched(&disk, options(true), guard);
    let mut log = Vec::new();
    while opened.reader.stats().waiting_segments < MAX {
        append(&mut opened, &mut log).unwrap();
    }
    disk.set_capacity(u64::MAX - disk.free_bytes().unwrap());
    let refused = loop {
        if let Err(error) = append(&mut opened, &mut log) {
            break error;
        }
    };
    assert!(matches!(refused, AppendError::Full), "{refused}");
    // Each commit made the thread try again. It rests for a second then.
    let (mut failures, mut same) = (0, 0);
    wait_until("the last attempt", || {
        let now = opened.reader.stats().run_failures;
        same = if now == failures { same + 1 } else { 0 };
        failures = now;
        same == 100
    });
    disk.set_capacity(u64::MAX);
    full.store(false, SeqCst);
    append(&mut opened, &mut log).unwrap();
    assert_eq!(entries(&opened), log);
}
