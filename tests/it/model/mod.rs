//! Random histories, played on a real gateway with several shards, with disconnects, restarts and
//! `kill -9`, failing disks and messages that expire. The events and the answers of every device must equal those of the model.
//!
//! Disks fail by strace. Where it is missing or may not attach, the test says that no disk has failed, and many
//! histories then fail.
//!
//! The test prints the seed of a failing history. `TRUNKLINE_MODEL_SEED=N` plays that history
//! again, and `TRUNKLINE_MODEL_SEEDS=200` plays 200 histories.

#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "what a failed history said is what finds the fault"
)]

mod asks;
mod driver;
mod world;

use driver::{DISK_FAULTS, Driver, Faults};

/// The default number of histories.
const SEEDS: u64 = 6;

/// The number of histories from which on each kind of disk fault must have come.
const MANY: u64 = 20;

/// The number of steps of a history.
const STEPS: usize = 150;

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={value} is no number")),
    )
}

#[test]
fn histories() {
    let seeds = match number("TRUNKLINE_MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + number("TRUNKLINE_MODEL_SEEDS").unwrap_or(SEEDS),
    };
    let count = seeds.end - seeds.start;
    let mut faults = Faults::new();
    for seed in seeds {
        match std::panic::catch_unwind(|| Driver::new(seed).play(STEPS)) {
            Ok(these) => these
                .into_iter()
                .for_each(|(kind, times)| *faults.entry(kind).or_default() += times),
            Err(panic) => {
                eprintln!("play it again: TRUNKLINE_MODEL_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
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
