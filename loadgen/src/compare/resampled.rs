//! Gates drawn from recorded runs: how often a build is slower than itself, and whether a slower one is seen.
//!
//! `recorded.json` has the figures of runs of one build, one after another, on a machine with two cores that
//! others used too.

use std::path::PathBuf;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use super::Sides;
use super::runs::Run;
use super::verdict::{Strictness, judge};
use crate::exit::Exit;

/// The pairs of a gate, as many as it makes by itself.
const PAIRS: usize = 20;

/// The pairs that show a difference of a tenth on this machine each time: other programs kept it busy, and its
/// latencies differ by 8 % from run to run.
const MORE_PAIRS: usize = 60;

/// Fewer resamples than a gate takes: it is drawn 100 times here. Intervals get narrower by that.
const STRICTNESS: Strictness = Strictness {
    resamples: 400,
    ..Strictness::GATE
};

fn recorded() -> Vec<Value> {
    serde_json::from_str(include_str!("recorded.json")).expect("recorded runs")
}

/// Draws the pairs of a gate: two recorded runs that followed each other, of which chance says which one is the
/// old build's. The latencies of the new build are `slower` times those that were recorded.
fn draw(recorded: &[Value], random: &mut Xoshiro256PlusPlus, pairs: usize, slower: f64) -> Sides {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        let first = random.random_range(0..recorded.len() - 1);
        let mut both = [&recorded[first], &recorded[first + 1]];
        if random.random_range(0..2) == 1 {
            both.reverse();
        }
        a.push(run(both[0], 1.0, 40 * pair));
        b.push(run(both[1], slower, 40 * pair + 20));
    }
    Sides { a, b }
}

fn run(recorded: &Value, slower: f64, ended: usize) -> Run {
    let mut summary = recorded.clone();
    let latencies = summary["latency_us"].as_object_mut().expect("latencies");
    for latency in latencies.values_mut().filter_map(Value::as_object_mut) {
        for figure in latency.values_mut() {
            *figure = json!(figure.as_f64().expect("a number") * slower);
        }
    }
    Run {
        folder: PathBuf::new(),
        summary,
        env: json!({ "ended_unix_s": ended }),
        lock: toml::Table::new(),
    }
}

/// Draws gates, and returns their verdicts.
fn gates(number: usize, pairs: usize, slower: f64) -> Vec<Exit> {
    let recorded = recorded();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
    let gates =
        (0..number).map(|_| judge(&draw(&recorded, &mut random, pairs, slower), STRICTNESS).exit);
    gates.collect()
}

#[test]
fn a_hundred_gates_of_a_build_with_itself_raise_no_alarm() {
    let gates = gates(100, PAIRS, 1.0);
    let ok = gates.iter().filter(|exit| **exit == Exit::Ok).count();
    assert!(!gates.contains(&Exit::Regression), "{gates:?}");
    assert!(ok >= 98, "{gates:?}");
}

#[test]
fn latencies_that_are_ten_percent_longer_are_caught() {
    let gates = gates(10, MORE_PAIRS, 1.1);
    let caught = gates
        .iter()
        .filter(|exit| **exit == Exit::Regression)
        .count();
    assert_eq!(caught, gates.len(), "{gates:?}");
}
