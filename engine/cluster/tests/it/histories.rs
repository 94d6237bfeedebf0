//! Random histories of three nodes, whose faults follow from a seed.
//!
//! `TRUNKLINE_SEED=7 cargo test -p trunkline-cluster --test it -- histories` plays one again.

use crate::world::{Tally, World};

/// Plays the histories of some seeds. Returns what came of them.
fn play(seeds: std::ops::Range<u64>) -> Tally {
    let only: Option<u64> = std::env::var("TRUNKLINE_SEED")
        .ok()
        .map(|seed| seed.parse().expect("TRUNKLINE_SEED is a number"));
    let mut sum = Tally::default();
    for seed in only.map_or(seeds, |seed| seed..seed + 1) {
        let played = std::panic::catch_unwind(|| World::new(seed).play());
        let tally = played.unwrap_or_else(|_| panic!("the history of TRUNKLINE_SEED={seed}"));
        sum.groups += tally.groups;
        sum.parted += tally.parted;
        sum.epochs += tally.epochs;
        sum.skipped += tally.skipped;
        sum.late += tally.late;
        sum.answered += tally.answered;
        sum.refused += tally.refused;
        sum.restarts += tally.restarts;
        sum.rode += tally.rode;
        sum.crowded += tally.crowded;
        sum.given_up += tally.given_up;
        sum.again += tally.again;
        sum.proved += tally.proved;
        sum.stops += tally.stops;
    }
    println!("{sum:?}");
    if only.is_none() {
        // The faults that are meant to happen do happen.
        let least = [
            sum.groups,
            sum.parted,
            sum.epochs,
            sum.answered,
            sum.refused,
            sum.again,
        ];
        assert!(least.into_iter().min() > Some(1000), "{sum:?}");
        let rare = [
            sum.skipped,
            sum.restarts,
            sum.given_up,
            sum.proved,
            sum.stops,
        ];
        assert!(
            rare.into_iter().min() > Some(150) && sum.late > 20 && sum.rode > 40,
            "{sum:?}"
        );
    }
    sum
}

#[test]
fn nodes_agree_and_answer_all_first_thousands() {
    play(0..1600);
}

#[test]
fn nodes_agree_and_answer_all_second_thousands() {
    play(1_000_000..1_001_600);
}
