//! The compactor's two threads.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::watch::{Act, Guard, Release, Watched, thread};
use super::*;
use crate::backend::Backend;
use crate::{Health, ReadError};

/// Returns the options of [`small_runs`] with background threads.
fn options() -> Options {
    Options {
        background: true,
        ..small_runs()
    }
}

pub(super) fn open_watched(disk: &SimDisk, options: Options, guard: Arc<Guard>) -> Opened {
    let disk = disk.clone();
    Store::open_with(Arc::new(Watched { disk, guard }), options, &mut |_| {}).unwrap()
}

/// Waits until `holds` returns true. Fails if that takes long.
pub(super) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(300), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_merge_that_takes_long_holds_up_no_segment_until_there_are_too_many_runs() {
    let held = Arc::new(AtomicBool::new(true));
    let guard = {
        let held = held.clone();
        Arc::new(move |act, _: &str| {
            while act == Act::Create && thread() == "storage-merge" && held.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        })
    };
    let disk = SimDisk::new(3);
    let options = options();
    let mut opened = open_watched(&disk, options, guard);
    let _release = Release(held.clone());
    let mut log = Vec::new();
    // With a merge width of 2 the first merge begins with the second segment, and there may be
    // up to 4 runs of each of the two kinds.
    while opened.reader.stats().runs < 8 {
        commit(&mut opened, &mut log, 3);
        wait_until("sorted", || opened.reader.stats().waiting_segments == 0);
    }
    let waiting = |opened: &Opened| opened.reader.stats().waiting_segments;
    while waiting(&opened) < 2 {
        commit(&mut opened, &mut log, 3);
    }
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(waiting(&opened), 2, "too many runs: they wait");
    assert_eq!(entries(&opened), log);
    held.store(false, SeqCst);
    wait_until("all is made up for", || waiting(&opened) == 0);
    assert_eq!(opened.reader.run_failure(), None);
    assert_eq!(entries(&opened), log);
}

#[test]
fn small_merges_go_on_while_a_large_one_is_made() {
    let acts = Arc::new(Mutex::new(Vec::new()));
    let guard = {
        let acts = acts.clone();
        Arc::new(move |act, name: &str| {
            if thread() == "storage-merge" {
                match act {
                    Act::Read => std::thread::sleep(Duration::from_micros(200)),
                    Act::Create | Act::Rename if name.starts_with("run-") => {
                        let name = name.trim_end_matches(".tmp").to_owned();
                        acts.lock().unwrap().push((act, name));
                    }
                    _ => {}
                }
            }
            Ok(())
        })
    };
    let mut opened = open_watched(&SimDisk::new(3), options(), guard);
    let mut log = Vec::new();
    let nested = || {
        let acts = acts.lock().unwrap();
        acts.windows(2)
            .any(|two| two[0].0 == Act::Create && two[1].0 == Act::Create)
    };
    wait_until("one merge within another", || {
        commit(&mut opened, &mut log, 3);
        nested()
    });
    assert_eq!(entries(&opened), log);
    assert_eq!(opened.reader.run_failure(), None);
}

#[test]
fn the_threads_yield_to_others() {
    let nice = Arc::new(Mutex::new(Vec::new()));
    let guard = {
        let nice = nice.clone();
        Arc::new(move |act, _: &str| {
            if act == Act::Create && thread().starts_with("storage-") {
                let id = Some(rustix::thread::gettid());
                let own = rustix::process::getpriority_process(id).unwrap();
                nice.lock().unwrap().push((thread(), own));
            }
            Ok(())
        })
    };
    let mut opened = open_watched(&SimDisk::new(3), options(), guard);
    let mut log = Vec::new();
    let of = |name: &str| {
        let seen = nice.lock().unwrap();
        seen.iter().find(|seen| seen.0 == name).map(|seen| seen.1)
    };
    wait_until("both threads work", || {
        commit(&mut opened, &mut log, 3);
        of("storage-sort").is_some() && of("storage-merge").is_some()
    });
    let own = rustix::process::getpriority_process(None).unwrap();
    assert_eq!(of("storage-prepare"), Some(own));
    // There is nothing beyond 19, which a niced test may be close to.
    assert_eq!(of("storage-sort"), Some((own + 10).min(19)));
    assert_eq!(of("storage-merge"), Some(19));
}

/// A commit that syncs while the next segment is prepared waits for a piece of it at most.
#[test]
fn the_next_segment_is_synced_in_pieces() {
    let writes = Arc::new(Mutex::new(vec![0]));
    let guard = {
        let writes = writes.clone();
        Arc::new(move |act, name: &str| {
            if thread() == "storage-prepare" && name.ends_with(".seg.tmp") {
                let mut writes = writes.lock().unwrap();
                match act {
                    Act::Write => *writes.last_mut().unwrap() += 1,
                    Act::Sync => writes.push(0),
                    _ => {}
                }
            }
            Ok(())
        })
    };
    let options = Options {
        segment_bytes: 1 << 20,
        ..options()
    };
    let opened = open_watched(&SimDisk::new(3), options, guard);
    let prepared = || writes.lock().unwrap().len() > 5;
    wait_until("a segment is prepared", prepared);
    drop(opened);
    // One write of 256 KiB between two syncs, then the header.
    assert_eq!(*writes.lock().unwrap(), [1, 1, 1, 1, 1, 0]);
}

/// The first runs and the manifest come while the guard has a list of files that lacks them.
#[test]
fn files_that_are_made_while_the_guard_looks_are_not_missing() {
    let looks = Arc::new(AtomicUsize::new(0));
    let waits = Arc::new(AtomicBool::new(true));
    let _release = Release(waits.clone());
    let guard = {
        let (looks, waits) = (looks.clone(), waits.clone());
        Arc::new(move |act, _: &str| {
            if thread() == "storage-guard" && act == Act::Listed && looks.fetch_add(1, SeqCst) == 0
            {
                wait_until("runs are made", || !waits.load(SeqCst));
            }
            Ok(())
        })
    };
    let mut opened = open_watched(&SimDisk::new(3), options(), guard);
    let mut log = Vec::new();
    wait_until("the guard looks", || looks.load(SeqCst) == 1);
    wait_until("there are runs", || {
        commit(&mut opened, &mut log, 3);
        opened.reader.stats().runs > 0
    });
    waits.store(false, SeqCst);
    // The guard looks again after a second. Until then it tells what it found.
    wait_until("the guard looks again", || {
        assert_eq!(opened.reader.health(), Health::Ok);
        looks.load(SeqCst) == 2
    });
    commit(&mut opened, &mut log, 3);
    assert_eq!(entries(&opened), log);
}

/// A check of the folder and the end of a step both lock the index and the list of segments.
#[test]
fn checks_of_the_folder_wait_for_no_step_that_waits_for_them() {
    let (opened, _) = open(&SimDisk::new(3), small_runs()).unwrap();
    let left = Arc::new(AtomicUsize::new(2));
    for checks in [true, false] {
        let (reader, left) = (opened.reader.clone(), left.clone());
        std::thread::spawn(move || {
            let shared = reader.shared();
            for _ in 0..20_000 {
                if checks {
                    shared.check_folder().unwrap();
                } else {
                    let _index = shared.index.write();
                    let _segments = shared.segments.write();
                }
            }
            left.fetch_sub(1, SeqCst);
        });
    }
    wait_until("both threads are done", || left.load(SeqCst) == 0);
}

#[test]
fn failing_threads_lose_nothing_and_leave_no_files_behind() {
    for (i, act) in [Act::Create, Act::Write, Act::Sync, Act::Rename]
        .into_iter()
        .enumerate()
    {
        let seed = i as u64;
        let disk = SimDisk::new(seed);
        let random = Mutex::new(Random(seed));
        let failing = Arc::new(AtomicBool::new(true));
        let guard = {
            let failing = failing.clone();
            Arc::new(move |done, _: &str| {
                let name = thread();
                let ours = name == "storage-sort" || name == "storage-merge";
                if ours && done == act && failing.load(SeqCst) {
                    // More often than not.
                    if random.lock().unwrap().below(8) < 5 {
                        return Err(io::Error::other("simulated I/O error"));
                    }
                }
                Ok(())
            })
        };
        let options = Options {
            max_waiting_segments: 1000,
            ..options()
        };
        let mut opened = open_watched(&disk, options, guard);
        let mut log = Vec::new();
        for _ in 0..60 {
            commit(&mut opened, &mut log, 3);
            std::thread::sleep(Duration::from_micros(300));
        }
        wait_until("two steps fail", || opened.reader.stats().run_failures > 1);
        assert_eq!(entries(&opened), log, "{act:?}");
        failing.store(false, SeqCst);
        let waiting = |opened: &Opened| opened.reader.stats().waiting_segments;
        wait_until("what failed is tried again by time", || {
            waiting(&opened) == 0
        });
        assert_eq!(entries(&opened), log, "{act:?}");
        check_syncs(&opened, &log);
        let files = || -> usize {
            let names = Backend::list(&disk).unwrap().into_iter();
            names.filter(|name| name.starts_with("run-")).count()
        };
        wait_until("no file is left that is not in force", || {
            files() == opened.reader.stats().runs
        });
        disk.power_cycle();
        drop(opened);
        let (opened, _) = open(&disk, small_runs()).unwrap();
        assert_eq!(entries(&opened), log, "{act:?}");
    }
}

#[test]
fn readers_are_told_nothing_wrong_while_things_expire_behind_them() {
    const LAST: u64 = 1200;
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        durability: Durability::Os,
        message_life: Some(Duration::from_millis(600)),
        sync_life: Some(Duration::from_millis(300)),
        ..options()
    };
    let mut opened = Store::open(dir.path(), options.clone(), &mut |_| {}).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (reader, done) = (opened.reader.clone(), done.clone());
            std::thread::spawn(move || {
                let mut page = Page::with_bytes(4 << 20);
                let (mut last, mut expired) = (0, 0);
                while !done.load(SeqCst) {
                    // The store's own threads have the lowest priority: readers that never rest
                    // would leave them no processor.
                    std::thread::sleep(Duration::from_millis(1));
                    let known = reader.try_last_seq(TimelineId(1)).unwrap();
                    assert!(known >= last);
                    last = known;
                    let all = 1..=known;
                    let read = reader.range(TimelineId(1), all, 9999, Order::Ascending, &mut page);
                    read.unwrap();
                    // The remaining records have no gap, and end with the last record.
                    let first = page.records().next().map_or(known + 1, |record| record.seq);
                    assert!(page.records().map(|record| record.seq).eq(first..=known));
                    let (mut after, until) = (Position::ZERO, reader.head());
                    while let Err(error) = reader.sync(user(0), after, until, 9999, &mut page) {
                        let ReadError::Expired { oldest } = error else {
                            panic!("{error}");
                        };
                        assert!(after < oldest);
                        after = oldest;
                        expired += 1;
                    }
                    let mut seqs = page.records().map(|record| record.seq);
                    let first = seqs.next().unwrap_or(1);
                    assert!(seqs.eq(first + 1..first.max(1) + page.len() as u64));
                }
                expired
            })
        })
        .collect();
    for seq in 1..=LAST {
        let event = Event {
            timeline: 1,
            seq,
            fanout: vec![user(0)],
            ..event(seq, seq, 100)
        };
        opened.writer.append(&event.draft()).unwrap();
        if seq % 5 == 0 {
            opened.writer.commit().unwrap();
            opened.writer.tick(seq);
        }
    }
    wait_until("all is sorted and what is over is gone", || {
        opened.writer.tick(LAST);
        let stats = opened.reader.stats();
        stats.waiting_segments == 0 && stats.runs < 3 * 31 + 20
    });
    done.store(true, SeqCst);
    let expired: u64 = readers.into_iter().map(|r| r.join().unwrap()).sum();
    assert!(expired > 0);
    assert_eq!(opened.reader.run_failure(), None);
    drop(opened);
    let opened = Store::open(dir.path(), options, &mut |_| {}).unwrap();
    assert_eq!(opened.reader.last_seq(TimelineId(1)), LAST);
    let mut page = Page::new();
    let first = opened.reader.get(TimelineId(1), 1, &mut page).unwrap();
    assert!(!first, "it is over");
}
