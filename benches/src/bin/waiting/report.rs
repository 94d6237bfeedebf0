//! What the rounds say: the medians of the figures, their factors, and whether these are within the bound.

use trunkline_benches::figures::{grouped, short, table};
use trunkline_benches::rounds::{Verdict, interval, middle};

use crate::beside::Memory;
use crate::measure::Turn;

/// The most memory of a waiting poll in bytes.
const POLL_BYTES: f64 = 2_048.0;

/// The number of polls from which on their memory is judged. Of fewer, what else the gateway does decides it.
const JUDGED: usize = 5_000;

/// The turns of one round, which follow each other.
pub(crate) struct Round {
    /// Beside nothing.
    pub(crate) alone: Turn,
    /// While the same clients wait at a server that does nothing. `None`: that was not measured.
    pub(crate) sink: Option<Turn>,
    /// While they wait at the gateway.
    pub(crate) beside: Turn,
}

/// A figure of turns.
struct Figure {
    name: &'static str,
    of: fn(&Turn) -> f64,
    /// Whether more is better.
    is_rate: bool,
    /// Whether it is judged.
    counts: bool,
}

const FIGURES: [Figure; 4] = [
    Figure {
        name: "p50 ms",
        of: |turn| turn.p50,
        is_rate: false,
        counts: false,
    },
    Figure {
        name: "p99 ms, second",
        of: |turn| turn.p99_of_seconds,
        is_rate: false,
        counts: true,
    },
    Figure {
        name: "p99 ms, turn",
        of: |turn| turn.p99,
        is_rate: false,
        counts: false,
    },
    Figure {
        name: "messages/s",
        of: |turn| turn.rate,
        is_rate: true,
        counts: true,
    },
];

impl Figure {
    /// Returns how many times worse a turn is than another.
    fn factor(&self, turn: &Turn, other: &Turn) -> f64 {
        let (value, other) = ((self.of)(turn), (self.of)(other));
        match self.is_rate {
            true => other / value,
            false => value / other,
        }
    }

    fn median<'a>(&self, turns: impl Iterator<Item = &'a Turn>) -> String {
        let mut values: Vec<f64> = turns.map(self.of).collect();
        match values.is_empty() {
            true => "-".to_owned(),
            false => short(middle(&mut values)),
        }
    }
}

/// Prints the medians and the factors, and returns the worst verdict of those that count.
///
/// What counts is the factor to the turn with the sink, if there is one: what the same clients cost at a server that
/// does nothing is no fault of the gateway.
pub(crate) fn report(rounds: &[Round], bound: f64) -> Verdict {
    let mut rows = Vec::new();
    let mut worst = Verdict::Within;
    for figure in &FIGURES {
        let mut raw: Vec<f64> = { rounds.iter() }
            .map(|round| figure.factor(&round.beside, &round.alone))
            .collect();
        let mut judged: Vec<f64> = { rounds.iter() }
            .map(|round| figure.factor(&round.beside, round.sink.as_ref().unwrap_or(&round.alone)))
            .collect();
        let [low, high] = interval(&judged);
        let verdict = figure.counts.then(|| Verdict::of(&judged, bound));
        worst = match (worst, verdict) {
            (Verdict::Beyond, _) | (_, Some(Verdict::Beyond)) => Verdict::Beyond,
            (_, Some(Verdict::Undecided)) => Verdict::Undecided,
            _ => worst,
        };
        rows.push(vec![
            figure.name.to_owned(),
            figure.median(rounds.iter().map(|round| &round.alone)),
            figure.median(rounds.iter().filter_map(|round| round.sink.as_ref())),
            figure.median(rounds.iter().map(|round| &round.beside)),
            format!("{:.3}", middle(&mut raw)),
            format!("{:.3}", middle(&mut judged)),
            format!("{low:.3} to {high:.3}"),
            verdict.map_or("", Verdict::word).to_owned(),
        ]);
    }
    rows.extend(loads(rounds));
    let head = [
        "median", "alone", "sink", "beside", "raw", "factor", "interval", "",
    ];
    println!("\n{}", table(&head, &rows));
    worst
}

/// Returns the rows of what the waiting clients took and got: the part of a processor, and what they got each second.
fn loads(rounds: &[Round]) -> [Vec<String>; 3] {
    let row = |name: &str, of: fn(&Turn) -> f64| {
        let median = |turns: Vec<&Turn>| match turns.is_empty() {
            true => "-".to_owned(),
            false => short(middle(&mut turns.into_iter().map(of).collect::<Vec<_>>())),
        };
        vec![
            name.to_owned(),
            median(rounds.iter().map(|round| &round.alone).collect()),
            median(
                rounds
                    .iter()
                    .filter_map(|round| round.sink.as_ref())
                    .collect(),
            ),
            median(rounds.iter().map(|round| &round.beside).collect()),
        ]
    };
    [
        row("theirs, %", |turn| 100.0 * turn.theirs),
        row("ends/s", |turn| turn.got.ends),
        row("answers/s", |turn| turn.got.answers),
    ]
}

/// Prints the memory of waiting clients, and returns whether it is within its bound. Of few polls it is not judged.
pub(crate) fn report_memory(memory: Memory, polls: usize, streams: usize) -> bool {
    let verdict = match (polls < JUDGED, memory.poll <= POLL_BYTES) {
        (true, _) => "not judged: too few",
        (false, true) => "within 2,048",
        (false, false) => "MISSED: 2,048",
    };
    println!(
        "memory: {:.0} B for each of {} polls ({verdict}), {:.0} B for each of {} streams",
        memory.poll,
        grouped(polls as u64),
        memory.stream,
        grouped(streams as u64),
    );
    polls < JUDGED || memory.poll <= POLL_BYTES
}
