//! Random histories, played on a real gateway with several shards, with disconnects, restarts and
//! `kill -9`, failing disks and messages that expire. The events and the answers of every device must equal those of the model.
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

use driver::Driver;

/// The default number of histories.
const SEEDS: u64 = 6;

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
    for seed in seeds {
        let played = std::panic::catch_unwind(|| Driver::new(seed).play(STEPS));
        if let Err(panic) = played {
            eprintln!("play it again: TRUNKLINE_MODEL_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
    println!("{count} histories of {STEPS} steps");
}
