//! Tests of expiry, against a plain model of the events that may be gone and the events that must
//! be there.

use std::time::Duration;

use super::*;
use crate::backend::Backend;
use crate::{AppendError, ReadError, Redaction};

/// The life of messages in milliseconds. An event's time is its number.
pub(super) const MESSAGES: u64 = 600;
pub(super) const SYNCS: u64 = 300;
const KEYS: u64 = 150;

fn millis(life: u64) -> Option<Duration> {
    Some(Duration::from_millis(life))
}

pub(super) fn options() -> Options {
    Options {
        message_life: millis(MESSAGES),
        sync_life: millis(SYNCS),
        key_life: millis(KEYS),
        ..small_runs()
    }
}

/// Returns the key of an event.
fn key(number: u64) -> TimelineId {
    TimelineId(1 << 64 | u128::from(number))
}

/// Appends and commits one event with this number, which is its time, and with a key. Adds it to
/// `log`.
pub(super) fn append(opened: &mut Opened, log: &mut Vec<Event>, number: u64, max: u64) {
    let mut event = event(number, next_seq(log, number), max);
    let draft = Draft {
        key: Some(key(number)),
        ..event.draft()
    };
    event.position = opened.writer.append(&draft).unwrap().0;
    opened.writer.commit().unwrap();
    log.push(event);
}

/// Whether an event must be there. It may be gone after its life, and must be gone a window and a
/// segment later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    There,
    Either,
    Gone,
}

fn fate(event: &Event, life: u64, now: u64) -> Fate {
    // A window of its kind, that of segments, and the gap to the event that ends it.
    let windows = if life == KEYS { 4 } else { 30 };
    let late = life / windows + SYNCS / 30 + 20;
    match now.saturating_sub(event.number) {
        age if age <= life => Fate::There,
        age if age <= life + late => Fate::Either,
        _ => Fate::Gone,
    }
}

/// Checks that `found` has the events of `all` that must be there, and no event that must be gone.
fn check_left(found: &[Event], all: &[Event], fate: impl Fn(&Event) -> Fate, context: &str) {
    let mut found = found.iter().peekable();
    for event in all {
        match (found.next_if(|found| *found == event), fate(event)) {
            (Some(_), Fate::Gone) => panic!("{context}: {event:?} should be gone"),
            (None, Fate::There) => panic!("{context}: {event:?} is missing"),
            _ => {}
        }
    }
    assert_eq!(found.next(), None, "{context}: never written");
}

fn sync(opened: &Opened, id: TimelineId, after: Position) -> Result<Vec<Event>, ReadError> {
    let mut page = Page::new();
    let until = Position(u64::MAX);
    let read = opened.reader.sync(id, after, until, usize::MAX, &mut page);
    assert!(!read?);
    Ok(page.records().map(|record| Event::of(&record)).collect())
}

/// Checks every read of the store at `now`, the time of the last event.
fn check(opened: &Opened, log: &[Event], now: u64, context: &str) {
    check_left(
        &entries(opened),
        log,
        |event| fate(event, MESSAGES, now),
        context,
    );
    for timeline in 0..3 {
        let last = log.iter().rfind(|event| event.timeline == timeline);
        let last_seq = opened.reader.try_last_seq(TimelineId(timeline)).unwrap();
        assert_eq!(last_seq, last.map_or(0, |event| event.seq), "{context}");
        let left = entries(opened);
        let first = left.iter().find(|event| event.timeline == timeline);
        let first_seq = opened.reader.first_seq(TimelineId(timeline)).unwrap();
        assert_eq!(first_seq, first.map_or(0, |event| event.seq), "{context}");
    }
    for id in (0..3).map(user) {
        let (oldest, found) = match sync(opened, id, Position::ZERO) {
            Ok(found) => (Position::ZERO, found),
            Err(ReadError::Expired { oldest }) => {
                let before = sync(opened, id, Position(oldest.0 - 1));
                assert!(
                    matches!(before, Err(ReadError::Expired { oldest: again }) if again == oldest)
                );
                (oldest, sync(opened, id, oldest).unwrap())
            }
            Err(error) => panic!("{context}: {error}"),
        };
        let all: Vec<Event> = log
            .iter()
            .filter(|event| event.fanout.contains(&id))
            .cloned()
            .collect();
        check_left(&found, &all, |event| fate(event, SYNCS, now), context);
        let kept = all.iter().filter(|event| event.position > oldest.0);
        assert!(found.iter().eq(kept), "{context}: all from {oldest:?} on");
    }
    for event in log {
        let found = opened.reader.find(key(event.number)).unwrap();
        let found = found.map(|place| place.position.0);
        match fate(event, KEYS, now) {
            Fate::There => assert_eq!(found, Some(event.position), "{context}"),
            Fate::Either => {}
            Fate::Gone => assert_eq!(found, None, "{context}: {event:?}"),
        }
    }
}

#[test]
fn what_is_over_goes_and_nothing_else() {
    for seed in 0..4 {
        let mut random = Random(seed);
        let disk = SimDisk::new(seed);
        let mut opened = open(&disk, options()).unwrap().0;
        let (mut log, mut number) = (Vec::new(), 0);
        let mut most_runs = 0;
        while number < 3 * MESSAGES {
            // Now dense, now sparse.
            number += match number / 200 % 2 {
                0 => 1,
                _ => 1 + random.below(12),
            };
            append(&mut opened, &mut log, number, 300);
            if random.below(3) == 0 {
                opened.writer.tick(number);
            }
            if random.below(40) == 0 {
                drop(opened);
                match random.below(3) {
                    0 => disk.kill(),
                    1 => disk.power_cycle(),
                    _ => {}
                }
                opened = open(&disk, options()).unwrap().0;
            }
            if random.below(20) == 0 {
                opened.writer.tick(number);
                let context = format!("seed {seed} at {number}");
                check(&opened, &log, number, &context);
                most_runs = most_runs.max(opened.reader.stats().runs);
            }
        }
        assert_eq!(opened.reader.run_failure(), None);
        // At most a file for each window of each life and some of the newest, and of kinds without.
        assert!(most_runs < 3 * 31 + 20, "{most_runs}");
        let runs = disk.list().unwrap();
        let runs = runs.iter().filter(|name| name.ends_with(".tbl")).count();
        assert_eq!(runs, opened.reader.stats().runs);
        assert!(
            Store::verify_with(&disk_of(opened, &disk), &mut |_, _| ())
                .unwrap()
                .faults
                .is_empty()
        );
    }
}

/// Returns the disk of a store that is closed with this.
fn disk_of(opened: Opened, disk: &SimDisk) -> SimDisk {
    drop(opened);
    disk.clone()
}

#[test]
fn files_and_bytes_stay_flat_however_long_it_goes_on() {
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, options()).unwrap();
    let mut log = Vec::new();
    let mut peaks = Vec::new();
    for life in 0..6 {
        let mut peak = (0, 0, 0);
        for step in 0..MESSAGES / 3 {
            let number = life * MESSAGES + step * 3 + 1;
            append(&mut opened, &mut log, number, 200);
            opened.writer.tick(number);
            let stats = opened.reader.stats();
            let files = disk.list().unwrap().len();
            peak = (
                peak.0.max(stats.runs),
                peak.1.max(stats.run_bytes),
                peak.2.max(files),
            );
        }
        peaks.push(peak);
    }
    let (second, last) = (peaks[2], peaks[5]);
    assert!(
        last.0 <= second.0 + 3 && last.2 <= second.2 + 3,
        "{peaks:?}"
    );
    assert!(last.1 <= second.1 + second.1 / 10, "{peaks:?}");
}

#[test]
fn a_store_with_little_to_do_expires_too() {
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, options()).unwrap();
    let mut log = Vec::new();
    // Each is alone in its window, and far too small to fill a segment.
    for i in 0..40 {
        // The time of the segment's first record is known after an opening, too.
        if i % 7 == 0 || i > 20 {
            drop(opened);
            opened = open(&disk, options()).unwrap().0;
        }
        append(&mut opened, &mut log, 50 * i + 1, 0);
        opened.writer.tick(50 * i + 1);
    }
    let now = log[log.len() - 1].number;
    check(&opened, &log, now, "at the end");
    assert!(opened.reader.stats().segments <= 2);
}

#[test]
fn sequences_never_go_back() {
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, options()).unwrap();
    let mut event = event(1, 41, 0);
    event.timeline = 7;
    opened.writer.append(&event.draft()).unwrap();
    let mut log = Vec::new();
    for round in 1..6 {
        for i in 0..20 {
            append(&mut opened, &mut log, round * 2000 + i * 100, 100);
            opened.writer.tick(round * 2000 + i * 100);
        }
        drop(opened);
        disk.power_cycle();
        opened = open(&disk, options()).unwrap().0;
        let mut page = Page::new();
        assert!(!opened.reader.get(TimelineId(7), 41, &mut page).unwrap());
        assert_eq!(opened.reader.last_seq(TimelineId(7)), 41, "{round}");
        let again = opened.writer.append(&event.draft());
        assert!(
            matches!(again, Err(AppendError::Sequence { last: 41, .. })),
            "{again:?}"
        );
    }
    let inspected = {
        drop(opened);
        Store::inspect_with(&disk).unwrap()
    };
    let marks = inspected.runs.iter().filter(|run| run.kind == "marks");
    let merged = marks.clone().any(|run| run.level > 2);
    assert!(merged && marks.count() < 8, "marks are merged");
}

#[test]
fn a_time_that_goes_back_takes_no_sequence_with_it() {
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, options()).unwrap();
    let mut event = event(1, 1, 0);
    event.timeline = 7;
    event.body = vec![1; 900];
    // The clock was far ahead for a while, so these records stay longer than later ones.
    for seq in 1..=18 {
        event.seq = seq;
        event.number = if (7..=12).contains(&seq) { 5000 } else { 100 };
        opened.writer.append(&event.draft()).unwrap();
        opened.writer.commit().unwrap();
    }
    let mut log = Vec::new();
    append(&mut opened, &mut log, 1000, 0);
    append(&mut opened, &mut log, 1100, 0);
    opened.writer.tick(1100);
    let mut page = Page::new();
    let mut has = |opened: &Opened, seq| opened.reader.get(TimelineId(7), seq, &mut page).unwrap();
    assert!(!has(&opened, 2) && has(&opened, 9) && !has(&opened, 17));
    assert_eq!(opened.reader.last_seq(TimelineId(7)), 18);
    // The marks of what is younger are there, and merged, when theirs are made.
    for now in [6000, 9000, 12_000] {
        append(&mut opened, &mut log, now, 0);
        opened.writer.tick(now);
        drop(opened);
        opened = open(&disk, options()).unwrap().0;
        assert!(!has(&opened, 9));
        assert_eq!(opened.reader.last_seq(TimelineId(7)), 18, "{now}");
    }
}

#[test]
fn entries_whose_message_expired_are_left_out() {
    let options = Options {
        sync_life: None,
        key_life: None,
        ..options()
    };
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, options).unwrap();
    let mut log = Vec::new();
    for i in 0..60 {
        append(&mut opened, &mut log, 30 * i, 200);
    }
    let now = log[log.len() - 1].number;
    opened.writer.tick(now);
    for id in (0..3).map(user) {
        let found = sync(&opened, id, Position::ZERO).unwrap();
        let all: Vec<Event> = log
            .iter()
            .filter(|event| event.fanout.contains(&id))
            .cloned()
            .collect();
        let fate = |event: &Event| match now - event.number {
            age if age <= MESSAGES => Fate::There,
            age if age <= MESSAGES + 100 => Fate::Either,
            _ => Fate::Gone,
        };
        check_left(&found, &all, fate, "syncs");
        assert!(found.len() < all.len());
    }
}

#[test]
fn a_reader_is_told_what_it_missed_and_where_to_go_on() {
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, options()).unwrap();
    let mut log = Vec::new();
    append(&mut opened, &mut log, 1, 0);
    let first = opened.reader.head();
    append(&mut opened, &mut log, 400, 0);
    append(&mut opened, &mut log, 401, 0);
    let unread = opened.reader.head();
    assert!(
        sync(&opened, user(0), first).is_ok(),
        "nobody told the time"
    );
    opened.writer.tick(400);
    let Err(ReadError::Expired { oldest }) = sync(&opened, user(0), Position::ZERO) else {
        panic!("not expired");
    };
    assert!(first < oldest && oldest < unread);
    assert!(sync(&opened, user(0), oldest).is_ok());
    drop(opened);
    let (mut opened, _) = open(&disk, options()).unwrap();
    let again = sync(&opened, user(0), first);
    assert!(
        matches!(again, Err(ReadError::Expired { oldest: again }) if again == oldest),
        "also after an opening: {again:?}"
    );
    // All is gone but the segment that is being written.
    opened.writer.tick(10_000);
    assert!(sync(&opened, user(0), opened.reader.head()).is_ok());
}

#[test]
fn a_reader_at_the_head_misses_nothing_though_all_expired() {
    let mut seen = 0;
    let first = (1..).find(|&number| !event(number, 1, 0).fanout.is_empty());
    for (seed, operation) in (0..8).flat_map(|seed| [(seed, 0), (seed, 1)]) {
        let disk = SimDisk::new(seed);
        let (mut opened, _) = open(&disk, options()).unwrap();
        let mut log = Vec::new();
        append(&mut opened, &mut log, first.unwrap(), 0);
        // The process dies when it has ended the segment, and not yet begun the next one.
        let draft = Draft {
            time: 100,
            timeline: TimelineId(9),
            seq: 1,
            ..Draft::default()
        };
        opened.writer.append(&draft).unwrap();
        disk.crash_at(disk.operations() + operation);
        opened.writer.commit().unwrap_err();
        disk.kill();
        drop(opened);
        let (mut opened, _) = open(&disk, options()).unwrap();
        opened.writer.tick(5000);
        let head = opened.reader.head();
        assert!(sync(&opened, user(0), head).unwrap().is_empty());
        if let Err(error) = sync(&opened, user(0), Position::ZERO) {
            let ReadError::Expired { oldest } = error else {
                panic!("{error}");
            };
            let alone = head.0 == log[0].position;
            assert_eq!(oldest == head, alone);
            seen += u64::from(alone);
        }
    }
    assert!(seen > 0);
}

#[test]
fn a_redaction_of_what_expired_in_an_old_run_is_forgotten() {
    let disk = SimDisk::new(5);
    let old = Options {
        old_runs: true,
        ..options()
    };
    let (mut opened, _) = open(&disk, old).unwrap();
    let mut log = Vec::new();
    for i in 1..6 {
        append(&mut opened, &mut log, 10 * i, 900);
    }
    let draft = Draft {
        time: 100,
        timeline: TimelineId(log[0].timeline),
        redacts: Some(Redaction {
            seq: log[0].seq,
            body: b"gone",
        }),
        ..Draft::default()
    };
    opened.writer.append(&draft).unwrap();
    for i in 11..20 {
        append(&mut opened, &mut log, 10 * i, 900);
    }
    assert_eq!(opened.reader.stats().pending_redactions, 1);
    append(&mut opened, &mut log, 900, 0);
    opened.writer.tick(900);
    opened.writer.tick(900);
    append(&mut opened, &mut log, 1000, 0);
    opened.writer.tick(1000);
    assert_eq!(opened.reader.stats().pending_redactions, 0);
    drop(opened);
    let (opened, _) = open(&disk, options()).unwrap();
    assert_eq!(opened.reader.stats().pending_redactions, 0);
}

/// Returns the bytes on the disk; there is room for no more from now on.
fn fill_up(disk: &SimDisk) -> u64 {
    disk.set_capacity(1 << 40);
    let used = (1 << 40) - disk.free_bytes().unwrap();
    disk.set_capacity(used);
    used
}

#[test]
fn expiry_and_opening_work_with_no_byte_free() {
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, options()).unwrap();
    let mut log = Vec::new();
    for i in 1..60 {
        append(&mut opened, &mut log, 5 * i, 300);
        opened.writer.tick(5 * i);
    }
    let has_ballast = |disk: &SimDisk| disk.contents("ballast").is_some();
    assert!(has_ballast(&disk));
    let ballast = disk.contents("ballast").unwrap();
    assert!(ballast.iter().filter(|&&byte| byte != 0).count() > ballast.len() / 2);
    for (round, now) in [(0, 500), (1, 2000)] {
        let used = fill_up(&disk);
        assert_eq!(disk.free_bytes().unwrap(), 0);
        drop(opened);
        opened = open(&disk, options()).unwrap().0;
        assert_eq!(disk.free_bytes().unwrap(), 0, "nothing was given up");
        let runs = opened.reader.stats().runs;
        opened.writer.tick(now);
        assert!(opened.reader.stats().runs < runs, "{round}");
        assert!(matches!(
            sync(&opened, user(0), Position::ZERO),
            Err(ReadError::Expired { .. })
        ));
        if round == 1 {
            // All messages that are not in the log.
            let left = entries(&opened).len();
            assert!(left < 20, "{left}");
        }
        for timeline in 0..3 {
            let last = log.iter().rfind(|event| event.timeline == timeline);
            let last_seq = opened.reader.try_last_seq(TimelineId(timeline)).unwrap();
            assert_eq!(last_seq, last.map_or(0, |event| event.seq));
        }
        // What was given up is there again, made of what expired.
        opened.writer.tick(now + 1);
        assert!(has_ballast(&disk), "{round}");
        assert!(disk.free_bytes().unwrap() > 0 && used > 0);
    }
    assert_eq!(opened.reader.run_failure(), None);
}

#[test]
fn an_opening_tells_the_time_of_the_last_record() {
    let disk = SimDisk::new(5);
    let mut log = Vec::new();
    let mut last = 0;
    // The records are in the log; in the log and in runs; and in runs of which some have expired.
    for (from, to) in [(0, 0), (1, 3), (4, 60), (61, 400)] {
        let (mut opened, _) = open(&disk, options()).unwrap();
        assert_eq!(opened.reader.opened_at(), last);
        for number in from..=to {
            if number > 0 {
                append(&mut opened, &mut log, number, 200);
            }
        }
        opened.writer.tick(to.max(1));
        last = to;
    }
    let (mut opened, _) = open(&disk, options()).unwrap();
    assert_eq!(opened.reader.opened_at(), 400);
    // One record of a wrong clock does not count for ever.
    for number in [9_000, 401] {
        append(&mut opened, &mut log, number, 200);
    }
    drop(opened);
    let (mut opened, _) = open(&disk, options()).unwrap();
    assert_eq!(opened.reader.opened_at(), 401);
    // Nor does it once it is in a run.
    let before = opened.reader.stats().runs;
    for number in 402..=600 {
        append(&mut opened, &mut log, number, 200);
        opened.writer.tick(number);
    }
    assert_ne!(opened.reader.stats().runs, before);
    drop(opened);
    let (opened, _) = open(&disk, options()).unwrap();
    assert_eq!(opened.reader.opened_at(), 600);
}

#[test]
fn without_a_life_there_is_no_ballast() {
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    opened.writer.tick(1);
    assert!(disk.contents("ballast").is_none());
}

#[test]
fn a_merge_that_has_no_room_is_not_tried() {
    let disk = SimDisk::new(5);
    let options = Options {
        merge_width: 64,
        ..small_runs()
    };
    let (mut opened, _) = open(&disk, options).unwrap();
    let mut log = Vec::new();
    for i in 1..20 {
        append(&mut opened, &mut log, i, 900);
    }
    drop(opened);
    let used = fill_up(&disk);
    disk.set_capacity(used + 300);
    // There is something to merge, with another width.
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let (before, runs) = (disk.operations(), opened.reader.stats().runs);
    opened.writer.tick(1);
    assert_eq!(disk.operations(), before, "nothing is written");
    let failure = opened.reader.run_failure().unwrap();
    assert!(failure.contains("space"), "{failure}");
    disk.set_capacity(1 << 40);
    opened.writer.tick(1);
    assert!(opened.reader.stats().runs < runs);
    assert_eq!(entries(&opened), log);
}
