//! Crashes at every disk operation of a store in which things expire, and again during the
//! recovery.
//!
//! The oracle:
//!
//! - Every acknowledged record that has not expired is recovered.
//! - Sequences never go back.
//! - Records that the store reported as present from a position on are present.

use std::time::Duration;

use super::*;
use crate::ReadError;

const MESSAGES: u64 = 60;
const SYNCS: u64 = 40;
const BATCHES: u64 = 9;
/// The time between two batches, in milliseconds.
const PACE: u64 = 12;

fn options() -> Options {
    Options {
        message_life: Some(Duration::from_millis(MESSAGES)),
        sync_life: Some(Duration::from_millis(SYNCS)),
        key_life: Some(Duration::from_millis(SYNCS)),
        ..small_runs()
    }
}

/// The events of a workload until it ended or crashed.
#[derive(Default)]
struct Outcome {
    committed: Vec<Event>,
    /// The events of the batch whose commit failed.
    unknown: Vec<Event>,
    /// The last time that was passed to the store, in milliseconds.
    now: u64,
}

impl Outcome {
    fn possible(&self) -> Vec<Event> {
        let mut events = self.committed.clone();
        events.extend(self.unknown.iter().cloned());
        events
    }
}

/// Continues the workload from `outcome` until the disk fails or all batches are done.
fn run(opened: &mut Opened, outcome: &mut Outcome, batches: u64) {
    let first = outcome.now / PACE + 1;
    for batch in first..first + batches {
        let mut events = Vec::new();
        // The last timeline gets something in the beginning only: its sequence must be kept.
        for i in 0..2 + u64::from(batch < 3) {
            let number = batch * PACE + i;
            let id = TimelineId(u128::from(number % 3));
            let before = events
                .iter()
                .filter(|e: &&Event| e.timeline == id.0)
                .count();
            let Ok(last) = opened.reader.try_last_seq(id) else {
                return;
            };
            let mut event = event(number, last + 1 + before as u64, 300);
            match opened.writer.append(&event.draft()) {
                Ok(position) => event.position = position.0,
                Err(_) => return,
            }
            events.push(event);
        }
        match opened.writer.commit() {
            Ok(_) => outcome.committed.append(&mut events),
            Err(_) => {
                outcome.unknown = events;
                return;
            }
        }
        outcome.now = batch * PACE;
        opened.writer.tick(outcome.now);
    }
}

fn check(opened: &Opened, outcome: &Outcome, certain: usize, context: &str) {
    let possible = outcome.possible();
    let found = entries(opened);
    let mut left = found.iter().peekable();
    for (i, event) in possible.iter().enumerate() {
        let is_there = left.next_if(|found| *found == event).is_some();
        let must = i < certain && event.number + MESSAGES >= outcome.now;
        assert!(is_there || !must, "{context}: {event:?} is missing");
    }
    assert_eq!(left.next(), None, "{context}: never written, or twice");
    for timeline in 0..3 {
        let seq = |events: &[Event]| {
            let mut of = events.iter().rev();
            of.find(|e| e.timeline == timeline).map_or(0, |e| e.seq)
        };
        let last = opened.reader.try_last_seq(TimelineId(timeline)).unwrap();
        assert!(
            (seq(&possible[..certain])..=seq(&possible)).contains(&last),
            "{context}: sequence {last}"
        );
    }
    let mut page = Page::new();
    let until = Position(u64::MAX);
    for id in (0..3).map(user) {
        let mut after = Position::ZERO;
        let read = opened.reader.sync(id, after, until, 9999, &mut page);
        match read {
            Err(ReadError::Expired { oldest }) => {
                after = oldest;
                opened
                    .reader
                    .sync(id, after, until, 9999, &mut page)
                    .unwrap();
            }
            read => assert!(!read.unwrap(), "{context}"),
        }
        let has = |event: &Event| page.records().any(|r| r.position.0 == event.position);
        for event in possible[..certain]
            .iter()
            .filter(|e| e.fanout.contains(&id))
        {
            let must = event.position > after.0 || event.number + SYNCS >= outcome.now;
            assert!(has(event) || !must, "{context}: {event:?} from {after:?}");
        }
    }
}

fn try_open(disk: &SimDisk, context: &str) -> Option<Opened> {
    match open(disk, options()) {
        Ok((opened, _)) => Some(opened),
        Err(OpenError::Io { .. }) => None,
        Err(error) => panic!("{context}: {error}"),
    }
}

fn explore(seed: u64, strike: fn(&SimDisk)) {
    let workload = |disk: &SimDisk| {
        let mut outcome = Outcome::default();
        if let Some(mut opened) = try_open(disk, "workload") {
            run(&mut opened, &mut outcome, BATCHES);
        }
        outcome
    };
    let undisturbed = SimDisk::new(seed);
    let outcome = workload(&undisturbed);
    let opened = try_open(&undisturbed, "undisturbed").unwrap();
    check(&opened, &outcome, outcome.committed.len(), "undisturbed");
    assert!(
        entries(&opened).len() < outcome.committed.len() - 2,
        "some expired"
    );
    drop(opened);

    for operation in 0..undisturbed.operations() {
        let disk = SimDisk::new(seed);
        disk.crash_at(operation);
        let outcome = workload(&disk);
        strike(&disk);
        let certain = outcome.committed.len();
        // All of them, in turn: each of the first crashes is followed by every fifth.
        for second in (operation % 5..).step_by(5) {
            let context = format!("seed {seed}, operation {operation}, then {second}");
            let disk = disk.fork(seed ^ second);
            disk.crash_at(second);
            // Both the opening and the expiry after it.
            let survived = try_open(&disk, &context).is_some_and(|mut opened| {
                check(&opened, &outcome, certain, &context);
                opened.writer.tick(outcome.now);
                opened.writer.sync().is_ok() && opened.reader.run_failure().is_none()
            });
            disk.power_cycle();
            go_on(&disk, &outcome, certain, &context);
            if survived {
                break;
            }
        }
    }
}

/// Recovers without a crash, uses the store, and recovers it again.
fn go_on(disk: &SimDisk, outcome: &Outcome, certain: usize, context: &str) {
    let mut opened = try_open(disk, context).unwrap_or_else(|| panic!("{context}: does not open"));
    check(&opened, outcome, certain, context);
    let mut more = Outcome {
        committed: outcome.possible(),
        unknown: Vec::new(),
        now: outcome.now.max(PACE * BATCHES),
    };
    // Records of the unanswered batch are there now, or never.
    let there = entries(&opened);
    let keep = |event: &Event| there.contains(event) || outcome.committed.contains(event);
    more.committed.retain(keep);
    let known = more.committed.len();
    run(&mut opened, &mut more, 2);
    assert!(more.committed.len() > known, "{context}: does not work");
    check(&opened, &more, more.committed.len(), context);
    disk.power_cycle();
    drop(opened);
    let opened =
        try_open(disk, context).unwrap_or_else(|| panic!("{context}: does not open again"));
    check(&opened, &more, more.committed.len(), context);
    let names = crate::backend::Backend::list(disk).unwrap();
    let files = names.iter().filter(|name| name.ends_with(".tbl")).count();
    assert_eq!(files, opened.reader.stats().runs, "{context}");
}

#[test]
fn power_lost_while_things_expire_loses_nothing_that_is_not_over() {
    explore(1, SimDisk::power_cycle);
}

#[test]
fn a_process_killed_while_things_expire_loses_nothing_that_is_not_over() {
    explore(2, SimDisk::kill);
}
