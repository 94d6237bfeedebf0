//! Crashes at every disk operation, and again while recovering from them.
//!
//! The oracle:
//!
//! - Every acknowledged record is recovered.
//! - Every recovered record was acknowledged, or is of the batch that got no answer.
//! - Records are whole.
//! - Records that one recovery returned stay.

use std::time::Duration;

use super::states::{check_states, lend, states_of};
use super::*;
use crate::backend::Backend;
use crate::log::segment::segment_name;

/// The key under which each batch ends with the number of its last event, and every second event
/// puts its own.
const LAST: TimelineId = TimelineId(50);

/// The events of a run of the workload that ended or crashed.
#[derive(Default)]
struct Outcome {
    /// The committed events, in order.
    committed: Vec<Event>,
    /// The number of committed events that a loss of power cannot remove.
    durable: usize,
    /// The events of the batch whose commit failed.
    unknown: Vec<Event>,
}

/// Commits batches on top of `known` until the disk fails or `batches` are done. With `sync`,
/// commits alone are not durable, and some are followed by a sync.
fn run(opened: &mut Opened, seed: u64, batches: u64, known: Vec<Event>, sync: bool) -> Outcome {
    let mut random = Random(seed ^ 0xBA7C);
    let durable = known.len();
    let mut outcome = Outcome {
        committed: known,
        durable,
        unknown: Vec::new(),
    };
    let mut number = outcome.committed.last().map_or(0, |event| event.number);
    let mut seqs = [0u64; 3];
    for event in &outcome.committed {
        seqs[event.timeline as usize] = event.seq;
    }
    for (timeline, seq) in (0..).zip(&mut seqs) {
        *seq = next_unskipped(opened, timeline).saturating_sub(1).max(*seq);
    }
    for _ in 0..batches {
        let mut batch = Vec::new();
        for _ in 0..=random.below(5) {
            number += 1;
            let seq = &mut seqs[(number % 3) as usize];
            *seq += 1;
            let mut event = event(number, *seq, 600);
            let mut states = states_of(number);
            // The key of the batch, too.
            if number.is_multiple_of(2) {
                states.push((LAST, number.to_le_bytes().to_vec()));
            }
            let draft = Draft {
                states: &lend(&states),
                ..event.draft()
            };
            match opened.writer.append(&draft) {
                Ok(position) => event.position = position.0,
                Err(_) => return outcome,
            }
            batch.push(event);
        }
        let last = number.to_le_bytes();
        if opened.writer.set_state(LAST, &last).is_err() {
            return outcome;
        }
        match opened.writer.commit() {
            Ok(_) => outcome.committed.append(&mut batch),
            Err(_) => {
                outcome.unknown = batch;
                return outcome;
            }
        }
        if !sync || (random.below(3) == 0 && opened.writer.sync().is_ok()) {
            outcome.durable = outcome.committed.len();
        }
    }
    outcome
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    /// The process dies; the kernel keeps what was written.
    Kill,
    /// The machine dies.
    PowerCycle,
}

impl Fate {
    fn strike(self, disk: &SimDisk) {
        match self {
            Fate::Kill => disk.kill(),
            Fate::PowerCycle => disk.power_cycle(),
        }
    }
}

/// Checks that `recovered` is the beginning of the log, with at least its first `certain` events.
fn check(outcome: &Outcome, recovered: &[Event], certain: usize, context: &str) {
    let possible: Vec<&Event> = outcome.committed.iter().chain(&outcome.unknown).collect();
    let count = recovered.len();
    assert!(
        count >= certain,
        "{context}: {count} recovered, {certain} were certain"
    );
    assert!(
        count <= possible.len(),
        "{context}: more recovered than was written"
    );
    for (found, written) in recovered.iter().zip(possible) {
        assert_eq!(found, written, "{context}");
    }
}

/// What records put under keys is there if the record is, and not without it. The state beside
/// that is of the last batch recovered whole, the one that ended the `certain` events, or of a
/// later one or a later record.
fn check_state(opened: &Opened, recovered: &[Event], certain: usize, context: &str) {
    check_states(opened, recovered, context);
    let state = opened.reader.state(LAST).unwrap();
    let state = state.map_or(0, |value| u64::from_le_bytes(value.try_into().unwrap()));
    let number = |count: usize| match count {
        0 => 0,
        count => recovered[count - 1].number,
    };
    let even = recovered.iter().rfind(|event| event.number % 2 == 0);
    let least = number(certain).max(even.map_or(0, |event| event.number));
    let possible = least..=number(recovered.len());
    assert!(
        possible.contains(&state),
        "{context}: {state} is not in {possible:?}"
    );
}

/// Returns how many of the events up to the end of a batch are among the first `certain` ones.
fn whole_batches(outcome: &Outcome, certain: usize) -> usize {
    if certain >= outcome.committed.len() {
        outcome.committed.len()
    } else {
        outcome.durable
    }
}

/// Opens, telling a crash of the simulation (`None`) from a verdict of the store.
fn try_open(disk: &SimDisk, options: &Options, context: &str) -> Option<(Opened, Vec<Event>)> {
    match open(disk, options.clone()) {
        // What is in runs is not replayed.
        Ok((opened, _)) if options.runs => {
            let events = entries(&opened);
            Some((opened, events))
        }
        Ok(found) => Some(found),
        Err(OpenError::Io { .. }) => None,
        Err(error) => panic!("{context}: {error}"),
    }
}

/// Crashes the workload at every operation, and each recovery from that at every operation.
fn explore(seed: u64, durability: Durability, fate: Fate) {
    let options = Options {
        durability,
        ..small()
    };
    explore_with(seed, &options, 8, fate);
}

fn explore_with(seed: u64, options: &Options, batches: u64, fate: Fate) {
    let durability = options.durability;
    let sync = durability != Durability::Sync;
    let workload = |disk: &SimDisk, context: &str| match try_open(disk, options, context) {
        Some((mut opened, _)) => run(&mut opened, seed, batches, Vec::new(), sync),
        None => Outcome::default(),
    };
    let undisturbed = SimDisk::new(seed);
    let written = workload(&undisturbed, "undisturbed");
    assert!(written.committed.len() > 8 && written.unknown.is_empty());
    let names = undisturbed.list().unwrap();
    let last = names.iter().rfind(|name| name.ends_with(".seg")).unwrap();
    assert_ne!(last, &segment_name(0), "the workload crosses segments");
    if options.runs {
        // Two segments make up to four files each, and merging them makes more.
        let last = names.iter().rfind(|name| name.ends_with(".tbl")).unwrap();
        assert!(
            last.as_str() > "run-0000000000000008.tbl",
            "runs are merged: {last}"
        );
    }

    for operation in 0..undisturbed.operations() {
        let context = format!("seed {seed}, {durability:?}, {fate:?} at operation {operation}");
        let disk = SimDisk::new(seed);
        disk.crash_at(operation);
        let outcome = workload(&disk, &context);
        fate.strike(&disk);
        let certain = match fate {
            Fate::Kill => outcome.committed.len(),
            Fate::PowerCycle => outcome.durable,
        };
        for second in 0.. {
            let context = format!("{context}, then at operation {second} of the recovery");
            let disk = disk.fork(seed ^ second);
            disk.crash_at(second);
            let first = try_open(&disk, options, &context).map(|(opened, events)| {
                check_state(&opened, &events, whole_batches(&outcome, certain), &context);
                events
            });
            // Records that the first recovery returned were durable by then. A batch may have lost
            // only its state, which comes last: its events do not show that it had one.
            let certain = match &first {
                Some(events) => {
                    check(&outcome, events, certain, &context);
                    (events.len(), whole_batches(&outcome, certain))
                }
                // Unsynced data that survived the first crash can still be lost in the second.
                None => {
                    let durable = outcome.durable;
                    (durable, whole_batches(&outcome, durable))
                }
            };
            Fate::PowerCycle.strike(&disk);
            go_on(&disk, options, &outcome, certain, seed, &context);
            if first.is_some() {
                break;
            }
        }
    }
}

/// Recovers without a crash, uses the store, and recovers it again. At least `certain` events must
/// be there, and the state of at least `whole` events.
fn go_on(
    disk: &SimDisk,
    options: &Options,
    outcome: &Outcome,
    (certain, whole): (usize, usize),
    seed: u64,
    context: &str,
) {
    let recovered = try_open(disk, options, context);
    let (mut opened, events) = recovered.unwrap_or_else(|| panic!("{context}: does not open"));
    check(outcome, &events, certain, context);
    check_state(&opened, &events, whole, context);
    assert_eq!(read_all(&opened, &events), events, "{context}");
    check_syncs(&opened, &events);
    let known = events.len();
    let more = run(&mut opened, seed ^ 1, 3, events, true);
    assert!(
        more.committed.len() > known,
        "{context}: the store does not work"
    );
    disk.power_cycle();
    let recovered = try_open(disk, options, context);
    let (opened, events) = recovered.unwrap_or_else(|| panic!("{context}: does not open again"));
    check(&more, &events, more.durable, context);
    // What was recovered first may end within a batch.
    let whole = if more.durable > known {
        more.durable
    } else {
        0
    };
    check_state(&opened, &events, whole, context);
}

/// Returns `count` fixed seeds and a fresh one, or only the seed in `STORAGE_SEED`, to replay a
/// failure.
fn seeds(count: u64) -> Vec<u64> {
    use std::hash::{BuildHasher, RandomState};
    if let Ok(seed) = std::env::var("STORAGE_SEED") {
        return vec![seed.parse().unwrap()];
    }
    (0..count).chain([RandomState::new().hash_one(0)]).collect()
}

#[test]
fn power_lost_at_any_operation_loses_nothing_acknowledged() {
    for seed in seeds(3) {
        explore(seed, Durability::Sync, Fate::PowerCycle);
    }
}

#[test]
fn a_killed_process_loses_nothing_committed() {
    for seed in seeds(1) {
        for durability in [
            Durability::Sync,
            Durability::Interval(Duration::MAX),
            Durability::Os,
        ] {
            explore(seed, durability, Fate::Kill);
        }
    }
}

#[test]
fn weaker_durability_loses_only_the_unsynced_end() {
    for seed in seeds(2) {
        explore(seed, Durability::Interval(Duration::MAX), Fate::PowerCycle);
        explore(seed, Durability::Os, Fate::PowerCycle);
    }
}

#[test]
fn power_lost_while_runs_are_made_and_merged_loses_nothing() {
    for seed in seeds(0) {
        explore_with(seed, &small_runs(), 12, Fate::PowerCycle);
    }
}

#[test]
fn a_process_killed_while_runs_are_made_and_merged_loses_nothing() {
    for seed in seeds(0) {
        explore_with(seed, &small_runs(), 12, Fate::Kill);
    }
}

#[test]
fn weaker_durability_loses_only_the_unsynced_end_with_runs_too() {
    let options = Options {
        durability: Durability::Os,
        ..small_runs()
    };
    for seed in seeds(0) {
        explore_with(seed, &options, 12, Fate::PowerCycle);
    }
}
