//! What the judge finds in rounds whose truth is known: recorded beside an attacker who does nothing, drawn again and
//! again, with and without something planted.

use std::path::Path;

use anyhow::{Context, bail};
use trunkline_benches::figures::columns;
use trunkline_benches::pooled::Draw;
use trunkline_benches::rounds::Verdict;

use crate::attacks::NOTHING;
use crate::judge::{Judged, Round, Rules, judge};
use crate::record;

/// How many measurements are drawn for each plant.
const RUNS: u64 = 200;

/// What is added to each latency beside the attack, in microseconds. The bound lies at 300, or more if the control is slow.
const PLANTS: [u32; 4] = [0, 150, 450, 600];

/// The verdicts of measurements with the same plant.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) within: usize,
    pub(crate) undecided: usize,
    pub(crate) beyond: usize,
    /// Of all measurements together.
    pub(crate) rounds: usize,
}

/// Returns a table of what the judge finds in the recorded rounds of a file.
///
/// # Errors
/// The file cannot be read, or has too few rounds beside an attacker who does nothing.
pub(crate) fn table(file: &Path, rules: Rules) -> anyhow::Result<String> {
    let recorded = record::read(file, NOTHING.name)
        .with_context(|| format!("cannot read latencies from {}", file.display()))?;
    if recorded.len() < 2 {
        bail!(
            "{} has {} rounds of the attack {}: record some with --only {} --record FILE",
            file.display(),
            recorded.len(),
            NOTHING.name,
            NOTHING.name
        );
    }
    let row = |plant| {
        let found = find(&recorded, rules, plant, RUNS);
        vec![
            format!("{:.2}", f64::from(plant) / 1e3),
            found.within.to_string(),
            found.undecided.to_string(),
            found.beyond.to_string(),
            format!("{:.1}", found.rounds as f64 / RUNS as f64),
        ]
    };
    let rows: Vec<_> = PLANTS.into_iter().map(row).collect();
    let head = ["planted ms", "within", "undecided", "beyond", "rounds"];
    Ok(columns(&head, &rows, 1))
}

/// Draws measurements from recorded rounds and judges them as the bench does, until a look decides. In each round the
/// sides are swapped by chance, so that nothing but the plant tells them apart.
pub(crate) fn find(recorded: &[Round], rules: Rules, plant: u32, runs: u64) -> Found {
    let mut found = Found::default();
    for run in 0..runs {
        let mut draw = Draw::new(run);
        let rounds: Vec<_> = (0..rules.rounds)
            .map(|_| planted(&recorded[draw.below(recorded.len())], &mut draw, plant))
            .collect();
        let judged = first_decided(&rounds, rules);
        found.rounds += judged.rounds;
        match judged.verdict {
            Verdict::Within => found.within += 1,
            Verdict::Undecided => found.undecided += 1,
            Verdict::Beyond => found.beyond += 1,
        }
    }
    found
}

fn planted(round: &Round, draw: &mut Draw, plant: u32) -> Round {
    let (control, beside) = match draw.below(2) {
        0 => (&round.control, &round.beside),
        _ => (&round.beside, &round.control),
    };
    Round {
        control: control.clone(),
        beside: beside
            .iter()
            .map(|micros| micros.saturating_add(plant))
            .collect(),
        sink: None,
    }
}

fn first_decided(rounds: &[Round], rules: Rules) -> Judged {
    let mut looks = rules.looks().into_iter();
    loop {
        let look = looks.next().unwrap_or(rounds.len());
        let judged = judge(&rounds[..look], rules);
        if judged.verdict != Verdict::Undecided || look == rounds.len() {
            return judged;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::tests::{RULES, rounds};

    #[test]
    fn alike_sides_do_not_alarm_and_a_plant_is_found() {
        let recorded = rounds(11, 0, None);
        let none = find(&recorded, RULES, 0, 20);
        assert_eq!((none.beyond, none.within + none.undecided), (0, 20));
        let much = find(&recorded, RULES, 3_000, 20);
        assert_eq!(much.beyond, 20, "{much:?}");
        assert!(much.rounds < 20 * RULES.rounds, "it looks early: {much:?}");
    }
}
