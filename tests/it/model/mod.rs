//! Random histories, played on real gateways. The events and the answers of every device must equal those of the model.
//!
//! - One gateway with several shards, with disconnects, restarts and `kill -9`, failing disks and messages that expire.
//!   Disks fail by strace. Where it is missing or may not attach, the test says that no disk has failed, and many
//!   histories then fail.
//! - Three gateways with one log, whose devices come to another gateway each time. Gateways and NATS servers are killed,
//!   stopped and paused, and gateways are cut off, while commands are under way.
//!
//! A test prints the seed of a failing history. `TRUNKLINE_MODEL_SEED=N` plays that history
//! again, `TRUNKLINE_MODEL_SEEDS=200` plays 200 histories, and both together 200 from N on.

#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "what a failed history said is what finds the fault"
)]

mod asks;
mod driver;
mod world;

use std::panic::AssertUnwindSafe;

use driver::{DISK_FAULTS, Driver, Faults, Three};

/// The default number of histories of one gateway.
const SEEDS: u64 = 6;

/// The default number of histories of three gateways.
const SEEDS_OF_THREE: u64 = 10;

/// The number of histories from which on each kind of disk fault must have come.
const MANY: u64 = 20;

/// The number of steps of a history of one gateway.
const STEPS: usize = 150;

/// The number of steps of a history of three gateways.
const STEPS_OF_THREE: usize = 80;

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={value} is no number")),
    )
}

/// Plays histories. Returns their number, and the faults that came.
fn play(test: &str, default: u64, mut one: impl FnMut(u64) -> Faults) -> (u64, Faults) {
    let first = number("TRUNKLINE_MODEL_SEED");
    let few = if first.is_some() { 1 } else { default };
    let first = first.unwrap_or(1);
    let seeds = first..first + number("TRUNKLINE_MODEL_SEEDS").unwrap_or(few);
    let count = seeds.end - seeds.start;
    let mut faults = Faults::new();
    for seed in seeds {
        println!("history {seed}");
        match std::panic::catch_unwind(AssertUnwindSafe(|| one(seed))) {
            Ok(these) => these
                .into_iter()
                .for_each(|(kind, times)| *faults.entry(kind).or_default() += times),
            Err(panic) => {
                eprintln!(
                    "play it again: TRUNKLINE_MODEL_SEED={seed} tests/run -p trunkline-tests --test it -- model::{test} --exact"
                );
                std::panic::resume_unwind(panic);
            }
        }
    }
    (count, faults)
}

#[test]
fn histories() {
    let (count, faults) = play("histories", SEEDS, |seed| Driver::new(seed).play(STEPS));
    println!("{count} histories of {STEPS} steps, with {faults:?}");
    let missing: Vec<_> = DISK_FAULTS
        .into_iter()
        .filter(|kind| !faults.contains_key(kind))
        .collect();
    if !missing.is_empty() {
        println!("none of these faults came, for which strace must attach: {missing:?}");
    }
    assert!(
        count < MANY || missing.is_empty(),
        "{count} histories without {missing:?}: install strace, and let it attach"
    );
}

#[test]
fn histories_of_three_gateways() {
    let Some(mut three) = Three::start() else {
        return;
    };
    let (count, faults) = play("histories_of_three_gateways", SEEDS_OF_THREE, |seed| {
        Driver::over(&mut three, seed).play_over(seed, STEPS_OF_THREE)
    });
    println!("{count} histories of three gateways, of {STEPS_OF_THREE} steps, with {faults:?}");
}
