//! Rows of rates, each with its worst second and what it cost the store.

use trunkline_benches::figures::{median, short};
use trunkline_benches::metering::{HEAD, Measured, cells};

use crate::Args;

/// The measurements of a server under one load, one of each round.
#[derive(Debug, Default)]
pub(crate) struct Row(Vec<Measured>);

impl Row {
    /// Adds the measurement of a round.
    pub(crate) fn add(&mut self, measured: Measured) {
        self.0.push(measured);
    }

    /// Returns the measurement of the last round.
    pub(crate) fn last(&self) -> Option<&Measured> {
        self.0.last()
    }

    /// Returns the median of a figure.
    pub(crate) fn median(&self, of: impl Fn(&Measured) -> f64) -> f64 {
        median(self.0.iter().map(of).collect())
    }

    /// Returns the median messages per second.
    pub(crate) fn rate(&self) -> f64 {
        self.median(|measured| measured.series.mean())
    }

    /// Returns the median CPU time per message, in microseconds.
    pub(crate) fn micros(&self) -> f64 {
        self.median(Measured::micros)
    }

    /// Returns the median of the rates of the rounds, each divided by that of the other in the same
    /// round.
    pub(crate) fn ratio(&self, other: &Row) -> f64 {
        let rate = |measured: &Measured| measured.series.mean();
        let rounds = self.0.iter().zip(&other.0);
        median(rounds.map(|(a, b)| rate(a) / rate(b)).collect())
    }

    /// Returns the headings of [`cells`](Self::cells), after those of the row's name.
    pub(crate) fn head<'h>(first: &'h str, last: &'h str) -> Vec<&'h str> {
        let mut head = vec![first, "messages/s", last, "µs CPU each"];
        head.extend(HEAD);
        head
    }

    /// Returns the cells of a row: name, rate, ratio, CPU time, and how even and how dear it was.
    pub(crate) fn cells(&self, args: &Args, name: &str, ratio: f64) -> Vec<String> {
        let mut line = vec![
            name.to_owned(),
            short(self.rate()),
            format!("{ratio:.2}"),
            format!("{:.2}", self.micros()),
        ];
        let all: Vec<_> = self.0.iter().map(|of| cells(of, args.bytes)).collect();
        line.extend((0..HEAD.len()).map(|at| {
            let round = all.iter().map(|cells| cells[at]);
            short(median(round.collect()))
        }));
        line
    }
}
