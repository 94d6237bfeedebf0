//! The store on a real file system, with its threads.

use super::*;
use crate::Health;

fn options() -> Options {
    Options {
        background: true,
        ..small()
    }
}

fn open_dir(dir: &std::path::Path, options: Options) -> Result<(Opened, Vec<Event>), OpenError> {
    let mut events = Vec::new();
    let opened = Store::open(dir, options, &mut |record| events.push(Event::of(record)))?;
    Ok((opened, events))
}

#[test]
fn a_folder_keeps_its_records_at_every_level() {
    let interval = std::time::Duration::from_millis(1);
    for durability in [
        Durability::Sync,
        Durability::Interval(interval),
        Durability::Os,
    ] {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("made/when/missing");
        let options = Options {
            durability,
            ..options()
        };
        let mut log = Vec::new();
        for round in 0..3 {
            let (mut opened, replayed) = open_dir(&dir, options.clone()).unwrap();
            assert_eq!(replayed, log, "{durability:?}");
            assert_eq!(opened.report.created, round == 0);
            for count in [1, 30, 7] {
                commit(&mut opened, &mut log, count);
            }
            assert_eq!(read_all(&opened, &log), log);
            opened.writer.sync().unwrap();
            assert!(opened.reader.stats().durable > opened.reader.head());
            assert_eq!(opened.reader.health(), Health::Ok);
        }
    }
}

#[test]
fn a_second_opening_is_told_the_folder_and_the_fix() {
    let dir = tempfile::tempdir().unwrap();
    let first = open_dir(dir.path(), options()).unwrap();
    let error = open_dir(dir.path(), options()).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }));
    let text = error.to_string();
    assert!(text.contains(dir.path().to_str().unwrap()), "{text}");
    assert!(text.contains("stop it"), "{text}");
    drop(first);
    open_dir(dir.path(), options()).unwrap();
}

#[test]
fn readers_on_other_threads_see_whole_batches_only() {
    const BATCH: u64 = 20;
    let dir = tempfile::tempdir().unwrap();
    let (mut opened, _) = open_dir(dir.path(), options()).unwrap();
    let reader = opened.reader.clone();
    let follower = std::thread::spawn(move || {
        let (mut page, mut after, mut seen) = (Page::new(), Position::ZERO, 0);
        while seen < 50 * BATCH {
            let head = reader.head();
            assert_eq!(reader.last_seq(TimelineId(1)) % BATCH, 0);
            reader
                .sync(user(0), after, head, usize::MAX, &mut page)
                .unwrap();
            for record in page.records() {
                seen += 1;
                assert_eq!(record.seq, seen);
                after = record.position;
            }
            assert_eq!(seen % BATCH, 0);
            assert!(after == head || page.is_empty());
        }
    });
    for batch in 0..50 {
        for n in 1..=BATCH {
            let seq = batch * BATCH + n;
            let event = Event {
                timeline: 1,
                fanout: vec![user(0)],
                ..event(seq, seq, 100)
            };
            opened.writer.append(&event.draft()).unwrap();
        }
        opened.writer.commit().unwrap();
    }
    follower.join().unwrap();
}

#[test]
fn what_cannot_be_opened_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, b"x").unwrap();
    let error = open_dir(&path, options()).map(|_| ()).unwrap_err();
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    let bad = Options {
        segment_bytes: 1,
        ..options()
    };
    assert!(matches!(
        open_dir(dir.path(), bad),
        Err(OpenError::Options(_))
    ));
}

#[cfg(target_os = "linux")]
#[test]
fn a_segment_that_was_sealed_early_takes_little_space() {
    use std::os::unix::fs::MetadataExt;

    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes: 1 << 20,
        sync_life: Some(std::time::Duration::from_millis(300)),
        ..small_runs()
    };
    let mut opened = Store::open(dir.path(), options.clone(), &mut |_| ()).unwrap();
    let mut log = Vec::new();
    // Each event comes in a window of its own.
    for number in 1..12 {
        let mut event = event(100 * number, next_seq(&log, 100 * number), 300);
        event.position = opened.writer.append(&event.draft()).unwrap().0;
        opened.writer.commit().unwrap();
        log.push(event);
    }
    assert!(opened.reader.stats().kept_segments > 8);
    let first = dir.path().join("log-0000000000000000.seg");
    let first = first.metadata().unwrap();
    assert_eq!(first.len(), 1 << 20);
    assert!(first.blocks() * 512 < 64 << 10, "{} blocks", first.blocks());
    assert_eq!(entries(&opened), log);
    drop(opened);
    let found = Store::verify(dir.path(), &mut |_, _| ()).unwrap();
    assert_eq!(found.faults, []);
    let opened = Store::open(dir.path(), options, &mut |_| ()).unwrap();
    assert_eq!(entries(&opened), log);
}
