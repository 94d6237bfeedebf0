//! Tests of temporary shortages: each call of the file system fails once, and the store goes on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use super::threads::open_watched;
use super::watch::{Act, Guard};
use super::*;
use crate::backend::sim::Operation;
use crate::{AppendError, CommitError, Health};

/// The errors of things that may be there again later.
const ERRORS: [rustix::io::Errno; 6] = [
    rustix::io::Errno::MFILE,
    rustix::io::Errno::NFILE,
    rustix::io::Errno::NOMEM,
    rustix::io::Errno::NOSPC,
    rustix::io::Errno::DQUOT,
    rustix::io::Errno::FBIG,
];

/// The most attempts to append one event.
const TRIES: usize = 8;

/// Lets one call of the file system fail, and notes which one.
struct Once {
    left: AtomicU64,
    failed: parking_lot::Mutex<Option<(Act, String)>>,
}

impl Once {
    fn guard(self: &Arc<Self>, error: rustix::io::Errno) -> Arc<Guard> {
        let once = self.clone();
        Arc::new(move |act, name: &str| {
            if once.left.fetch_sub(1, SeqCst) != 0 {
                return Ok(());
            }
            *once.failed.lock() = Some((act, name.to_owned()));
            Err(io::Error::from_raw_os_error(error.raw_os_error()))
        })
    }
}

/// Appends and commits an event, and repeats that until the store accepts it. Returns `false` if
/// the store accepts nothing any more.
fn insist(opened: &mut Opened, log: &mut Vec<Event>) -> bool {
    let number = log.last().map_or(1, |event| event.number + 1);
    let event = event(number, next_seq(log, number), 600);
    for _ in 0..TRIES {
        let position = match opened.writer.append(&event.draft()) {
            Ok(position) => position.0,
            Err(
                AppendError::Full
                | AppendError::Short { .. }
                | AppendError::Behind { .. }
                | AppendError::Unreadable(_),
            ) => continue,
            Err(AppendError::Poisoned { .. }) => return false,
            Err(error) => panic!("{error}"),
        };
        match opened.writer.commit() {
            Ok(_) => {
                log.push(Event { position, ..event });
                return true;
            }
            Err(error) if error.is_final() => return false,
            Err(_) => {}
        }
    }
    panic!("refused {TRIES} times: {:?}", opened.reader.health());
}

#[test]
fn any_call_that_fails_once_stops_nothing_but_a_sync_of_the_log() {
    let (mut calls, mut stopped) = (0, 0);
    loop {
        let error = ERRORS[calls as usize % ERRORS.len()];
        let disk = SimDisk::new(calls);
        let once = Arc::new(Once {
            left: AtomicU64::new(u64::MAX),
            failed: parking_lot::Mutex::new(None),
        });
        let mut opened = open_watched(&disk, small_runs(), once.guard(error));
        once.left.store(calls, SeqCst);
        let mut log = Vec::new();
        let mut goes = true;
        while goes && log.len() < 50 {
            goes = insist(&mut opened, &mut log);
        }
        let Some((act, name)) = once.failed.lock().clone() else {
            break;
        };
        calls += 1;
        let context = format!("call {calls}: {act:?} of {name:?}: {error}");
        if !goes {
            assert_eq!(act, Act::Sync, "{context}");
            match opened.reader.health() {
                Health::Poisoned { reason } => assert!(reason.contains("cannot sync"), "{reason}"),
                other => panic!("{context}: {other:?}"),
            }
            stopped += 1;
            continue;
        }
        // What could not be merged then is merged now.
        opened.writer.tick(1);
        assert_eq!(opened.reader.health(), Health::Ok, "{context}");
        assert_eq!(opened.reader.run_failure(), None, "{context}");
        assert_eq!(entries(&opened), log, "{context}");
        drop(opened);
        disk.power_cycle();
        let (opened, _) = open(&disk, small_runs()).unwrap();
        assert_eq!(entries(&opened), log, "{context}");
    }
    assert!(calls > 200 && stopped >= 50, "{calls}, {stopped}");
}

/// Returns an event whose frame has always the same length, so that a frame of a batch that was
/// given up could follow any other frame.
fn uniform(number: u64, seq: u64) -> Event {
    Event {
        body: vec![number as u8; 100],
        fanout: Vec::new(),
        ..event(number, seq, 0)
    }
}

#[test]
fn a_failed_write_is_taken_back_before_anything_follows_it() {
    let (mut refused, mut unclear) = (0, 0);
    for (nth, times) in (0..16).flat_map(|nth| (1..5).map(move |times| (nth, times))) {
        let disk = SimDisk::new(nth * 7 + times);
        let (mut opened, _) = open(&disk, small()).unwrap();
        let (mut log, mut number) = (Vec::new(), 0);
        disk.fail_times(Operation::Write, nth, times);
        // Batches of fewer and fewer records, so that some would be left behind a later one.
        for count in [30, 30, 30, 20, 20, 10, 10, 5, 3, 1, 1, 1] {
            let before = log.len();
            let mut taken = true;
            for _ in 0..count {
                number += 1;
                let seq = next_seq(&log, number);
                let event = uniform(number, seq);
                match opened.writer.append(&event.draft()) {
                    Ok(position) => log.push(Event {
                        position: position.0,
                        ..event
                    }),
                    Err(AppendError::Short { .. }) => {
                        taken = false;
                        break;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            match opened.writer.commit() {
                Ok(_) if taken || log.len() > before => {}
                Ok(_) => log.truncate(before),
                Err(error) => {
                    match error {
                        CommitError::Refused { full: false, .. } => refused += 1,
                        CommitError::Unclear { .. } => unclear += 1,
                        error => panic!("{error}"),
                    }
                    log.truncate(before);
                    assert!(matches!(opened.reader.health(), Health::Short { .. }));
                }
            }
            assert_eq!(entries(&opened), log, "{nth} {times}");
            // Whatever the power leaves: what was acknowledged, and nothing between it.
            let cut = disk.fork(nth + times * 100 + count);
            cut.power_cycle();
            let (after, found) = open(&cut, small()).unwrap();
            assert_eq!(found[..log.len()], log, "{nth} {times}");
            drop(after);
        }
        assert_eq!(opened.reader.health(), Health::Ok, "{nth} {times}");
        drop(opened);
        disk.power_cycle();
        assert_eq!(open(&disk, small()).unwrap().1, log, "{nth} {times}");
    }
    assert!(refused > 10 && unclear > 10, "{refused} {unclear}");
}
