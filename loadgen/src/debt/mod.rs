//! The work that a server owes: messages that it has taken and not sorted, merged or synced yet.
//!
//! A server that puts work off takes more for a while than it can keep up. The run asks its metrics for
//! that work while it sends, and waits after the last send until the work is done, for a tenth of the
//! sending time at most. Where that is not enough, the rate of the run is not the server's.

mod watch;

use serde::Serialize;

use crate::client::SendWindow;
use crate::clock::{Nanos, SECOND, seconds};
use crate::units::{grouped, memory};

pub(crate) use watch::DebtWatch;

/// The metrics of the gateway whose sum is the work that it owes: full segments that are not sorted,
/// and runs that are to be merged.
pub(crate) const OURS: [&str; 2] = [
    "trunkline_store_waiting_bytes",
    "trunkline_store_merge_due_bytes",
];

/// The part of the sending time in which the work that was put off meanwhile must be done.
const PART: u64 = 10;

/// The least time for that: samples are a quarter of a second apart.
const LEAST: Nanos = SECOND;

/// The work that a server owed at one time since the start of the run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub(crate) at: Nanos,
    pub(crate) owed: f64,
}

/// The work that a server put off while messages were sent.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub(crate) struct Debt {
    /// The metrics, whose sum it is.
    pub(crate) metrics: Vec<String>,
    /// The work owed when sending began, in the unit of the metrics.
    pub(crate) before: f64,
    /// The work owed when sending ended.
    pub(crate) after: f64,
    /// The most work owed at one time while messages were sent.
    pub(crate) most: f64,
    /// How long the server takes to do what was put off, in seconds; `None` if it did nothing of it.
    pub(crate) seconds: Option<f64>,
    /// Whether that is a tenth of the sending time at most, or a second.
    pub(crate) steady: bool,
}

/// Returns the samples around a time: the last one up to it, and the first one from it on.
fn around(samples: &[Sample], at: Nanos) -> [Option<Sample>; 2] {
    let after = samples.partition_point(|it| it.at < at);
    let up_to = samples.partition_point(|it| it.at <= at);
    let before = up_to.checked_sub(1).map(|it| samples[it]);
    [before, samples.get(after).copied()]
}

/// Returns when the work was down to what it was before, after the end of sending.
fn paid(samples: &[Sample], before: f64, until: Nanos) -> Option<Nanos> {
    let mut after = samples.iter().filter(|it| it.at >= until);
    after.find(|it| it.owed <= before).map(|it| it.at)
}

/// Returns the time after the end of sending in which the work must be done.
fn patience(sending: SendWindow) -> Nanos {
    (sending.length() / PART).max(LEAST)
}

/// Judges the work that was put off; `None` if too little of it is known.
pub(crate) fn judge(metrics: &[String], samples: &[Sample], sending: SendWindow) -> Option<Debt> {
    if sending.length() == 0 {
        return None;
    }
    let [before, later] = around(samples, sending.from);
    let before = before.or(later)?.owed;
    // What was done between the end and the sample behind it was put off too.
    let [at_end, behind] = around(samples, sending.until);
    let after = [at_end, behind].into_iter().flatten();
    let after = after.map(|it| it.owed).reduce(f64::max)?;
    let during = { samples.iter() }.filter(|it| it.at >= sending.from && it.at <= sending.until);
    let most = during.map(|it| it.owed).fold(after.max(before), f64::max);
    let grown = after - before;
    let seconds = match paid(samples, before, sending.until) {
        _ if grown <= 0.0 => Some(0.0),
        Some(at) => Some(seconds(at - sending.until)),
        None => {
            let last = samples.last().filter(|it| it.at > sending.until);
            let rate = last.map(|it| (after - it.owed) / seconds(it.at - sending.until));
            rate.filter(|it| *it > 0.0).map(|rate| grown / rate)
        }
    };
    let limit = crate::clock::seconds(patience(sending));
    Some(Debt {
        metrics: metrics.to_vec(),
        before,
        after,
        most,
        seconds,
        steady: seconds.is_some_and(|it| it <= limit),
    })
}

/// Returns whether the server keeps up so far: the work that it put off since `from` is less than it
/// does in a tenth of that time, by what it did meanwhile.
pub(crate) fn keeps_up(samples: &[Sample], from: Nanos) -> bool {
    let [before, later] = around(samples, from);
    let (Some(before), Some(last)) = (before.or(later), samples.last()) else {
        return false;
    };
    let since = samples.partition_point(|it| it.at < from);
    let pairs = samples[since.min(samples.len())..].windows(2);
    let done: f64 = pairs.map(|it| (it[0].owed - it[1].owed).max(0.0)).sum();
    let grown = last.owed - before.owed;
    grown <= 0.0 || grown <= done / PART as f64
}

/// Formats work in the unit of its metrics.
pub(crate) fn amount<'a>(mut metrics: impl Iterator<Item = &'a str>, owed: f64) -> String {
    match metrics.all(|it| it.ends_with("_bytes")) {
        true => memory(owed as u64),
        false => grouped(owed as u64),
    }
}

impl Debt {
    fn amount(&self, owed: f64) -> String {
        amount(self.metrics.iter().map(String::as_str), owed)
    }

    /// Returns the metrics as a sum.
    fn names(&self) -> String {
        self.metrics.join(" + ")
    }

    /// Returns what the server put off, as the summary has it.
    pub(crate) fn line(&self) -> String {
        let owed = format!(
            "{} put off at the start of sending, {} at the end, {} at the most",
            self.amount(self.before),
            self.amount(self.after),
            self.amount(self.most)
        );
        match self.seconds {
            Some(seconds) => format!("{owed}; done in {seconds:.1} s"),
            None => format!("{owed}; nothing of it was done"),
        }
    }

    /// Returns why the run is not steady, in a sentence; `None` if it is.
    pub(crate) fn complaint(&self) -> Option<String> {
        let how_much = match self.seconds {
            _ if self.steady => return None,
            Some(seconds) => format!("{seconds:.1} s of work"),
            None => "work of which it did nothing afterwards".to_owned(),
        };
        Some(format!(
            "not steady: the gateway put off {how_much} ({} to {} of {}), more than it does in a tenth of the sending time: send for longer, with --steady, or more slowly",
            self.amount(self.before),
            self.amount(self.after),
            self.names()
        ))
    }
}

#[cfg(test)]
mod tests;
