//! Tests of reading the log in its order, against the events that were written.

use std::ops::ControlFlow;

use super::expiry::{MESSAGES, append, options};
use super::repair::repair;
use super::*;
use crate::log::segment::segment_name;
use crate::{ReadError, Redaction};

/// Follows the log from `after` on, at most `count` events at a time. Returns the events and the
/// position that was reached.
fn follow(opened: &Opened, after: u64, count: usize) -> (Vec<Event>, u64) {
    let mut found = Vec::new();
    let reached = opened.reader.follow(Position(after), &mut |record| {
        found.push(Event::of(record));
        match found.len() == count {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    let reached = reached.unwrap().0;
    let last = found.last().map_or(after, |event| event.position);
    assert_eq!(reached, last);
    (found, reached)
}

/// Follows the log in steps of `count` events, until it gives no more.
fn all(opened: &Opened, count: usize) -> Vec<Event> {
    let (mut found, mut at) = (Vec::new(), 0);
    loop {
        let (some, reached) = follow(opened, at, count);
        if some.is_empty() {
            return found;
        }
        found.extend(some);
        at = reached;
    }
}

#[test]
fn every_record_comes_once_in_order_from_segments_and_kept_ones_and_after_openings() {
    for options in [small(), small_runs()] {
        let disk = SimDisk::new(3);
        let (mut opened, _) = open(&disk, options.clone()).unwrap();
        assert_eq!(follow(&opened, 0, 1), (Vec::new(), 0));
        let mut log = Vec::new();
        for round in 0..40 {
            opened.writer.set_state(user(9), &[round]).unwrap();
            commit(&mut opened, &mut log, 5);
            assert_eq!(all(&opened, 1000), log, "{round}");
        }
        assert!(all(&opened, 1) == log && all(&opened, 7) == log);
        // From each record on come the later ones.
        for (number, event) in log.iter().enumerate() {
            let (found, _) = follow(&opened, event.position, usize::MAX);
            assert_eq!(found, log[number + 1..]);
        }
        disk.power_cycle();
        drop(opened);
        let (mut opened, _) = open(&disk, options).unwrap();
        commit(&mut opened, &mut log, 1);
        assert_eq!(all(&opened, 3), log);
        let head = opened.reader.head();
        let future = opened
            .reader
            .follow(Position(head.0 + 8), &mut |_| unreachable!());
        assert!(matches!(future, Err(ReadError::Future)));
    }
}

#[test]
fn from_near_any_place_the_later_records_come() {
    let disk = SimDisk::new(8);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let mut log = Vec::new();
    for round in 0..40 {
        opened.writer.set_state(user(9), &[round]).unwrap();
        commit(&mut opened, &mut log, 5);
    }
    let head = opened.reader.head();
    let places: Vec<u64> = (0..head.0 + 100).step_by(101).chain([u64::MAX]).collect();
    let mut all: Vec<_> = places.iter().map(|place| Position(*place)).collect();
    opened.reader.near(&mut all).unwrap();
    for (place, near) in places.into_iter().zip(all) {
        let mut alone = [Position(place)];
        opened.reader.near(&mut alone).unwrap();
        assert_eq!(alone, [near], "{place}");
        assert!(near <= Position(place) && near <= head, "{place}");
        let (found, _) = follow(&opened, near.0, usize::MAX);
        let later = log.partition_point(|event| event.position <= place);
        assert!(found.ends_with(&log[later..]), "{place}");
        // Not much comes again.
        assert!(found.len() <= log.len() - later + 2, "{place}");
    }
    let exact: Vec<_> = log.iter().map(|event| Position(event.position)).collect();
    let mut near = exact.clone();
    opened.reader.near(&mut near).unwrap();
    assert_eq!(near, exact);
}

#[test]
fn the_growing_end_is_read_and_nothing_that_is_not_committed() {
    let disk = SimDisk::new(4);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let (mut log, mut at) = (Vec::new(), 0);
    for _ in 0..200 {
        let number = log.len() as u64 + 1;
        let mut event = event(number, next_seq(&log, number), 300);
        event.position = opened.writer.append(&event.draft()).unwrap().0;
        assert_eq!(follow(&opened, at, usize::MAX), (Vec::new(), at));
        opened.writer.commit().unwrap();
        log.push(event.clone());
        let (found, reached) = follow(&opened, at, usize::MAX);
        assert_eq!(found, [event]);
        at = reached;
        // A value alone moves no head, and is passed over later.
        opened.writer.set_state(user(9), b"value").unwrap();
        opened.writer.commit().unwrap();
        assert_eq!(follow(&opened, at, usize::MAX), (Vec::new(), at));
    }
}

#[test]
fn a_body_that_was_overwritten_is_empty_and_its_record_is_there() {
    let disk = SimDisk::new(5);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let mut log = Vec::new();
    commit(&mut opened, &mut log, 120);
    for number in [3, 60, 119] {
        let Event { timeline, seq, .. } = log[number];
        let draft = Draft {
            time: 9_999,
            timeline: TimelineId(timeline),
            redacts: Some(Redaction { seq, body: b"gone" }),
            fanout: &[user(7)],
            ..Draft::default()
        };
        opened.writer.append(&draft).unwrap();
        opened.writer.commit().unwrap();
        log[number].body = Vec::new();
    }
    opened.writer.tick(1);
    let found = all(&opened, 10);
    // The redactions themselves are records behind the others.
    assert_eq!(found[..120], log);
    assert_eq!(found.len(), 123);
}

#[test]
fn what_has_expired_is_left_out() {
    let disk = SimDisk::new(6);
    let (mut opened, _) = open(&disk, options()).unwrap();
    let mut log = Vec::new();
    for number in 1..3 * MESSAGES {
        append(&mut opened, &mut log, number, 300);
        opened.writer.tick(number);
        if number % 50 == 0 {
            // From the beginning, which has long expired, and from a record that is gone.
            let found = all(&opened, 100);
            assert!(log.ends_with(&found), "{number}");
            let live = log.iter().filter(|event| event.number + MESSAGES > number);
            assert!(found.len() >= live.count(), "{number}");
            let (later, _) = follow(&opened, log[10].position, usize::MAX);
            assert!(log.ends_with(&later), "{number}");
        }
    }
    assert!(all(&opened, 100).len() < log.len() / 2);
}

#[test]
fn damage_is_reported_and_after_a_repair_the_rest_is_read() {
    let disk = SimDisk::new(7);
    let (mut opened, _) = open(&disk, small_runs()).unwrap();
    let mut log = Vec::new();
    commit(&mut opened, &mut log, 200);
    drop(opened);
    for number in [2, 40, 90] {
        let disk = disk.fork(number);
        let position = log[number as usize].position;
        let base = position / 8192 * 8192;
        disk.flip(&segment_name(base), ((position - base) * 8 + 205) as usize);
        let (opened, _) = open(&disk, small_runs()).unwrap();
        let mut found = Vec::new();
        let read = opened.reader.follow(Position::ZERO, &mut |record| {
            found.push(Event::of(record));
            ControlFlow::Continue(())
        });
        assert!(matches!(read, Err(ReadError::Corrupt { .. })), "{number}");
        assert_eq!(found, log[..number as usize]);
        drop(opened);
        repair(&disk);
        let (opened, _) = open(&disk, small_runs()).unwrap();
        let mut left = log.clone();
        left.remove(number as usize);
        assert_eq!(all(&opened, 10), left, "{number}");
    }
}
