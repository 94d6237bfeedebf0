//! Judges whether files, disk, memory and opening time stayed flat.

use std::fmt;

use serde::Serialize;
use trunkline_benches::figures::{median, short};
use trunkline_benches::metering::SEGMENTS;

use crate::ingest::Hour;

/// The figures that must stay flat from the middle third of the hours to the last third.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    checks: Vec<Check>,
    /// The bytes written per byte of message bodies, in the last two thirds of the hours.
    counted: f64,
    written: Option<f64>,
    /// The messages per second of the slowest of these hours, divided by their mean.
    worst_of_mean: f64,
    /// The share of the CPU time that the store's threads took in these hours, from 0 to 1.
    background: f64,
    /// The bytes written to the log in these hours, in segments.
    segments: f64,
    /// The bytes of work that the store had put off when these hours began, and when they ended.
    debt: [u64; 2],
}

#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    middle: f64,
    last: f64,
    /// The most that still counts as flat.
    limit: f64,
}

impl Check {
    fn flat(&self) -> bool {
        self.last <= self.limit
    }
}

/// The change of a figure that counts as noise: merging comes in waves, and the machine has other
/// work.
const SHARE: f64 = 1.2;

/// Judges all hours.
pub(crate) fn of(hours: &[Hour]) -> Verdict {
    let third = hours.len() / 3;
    let (middle, last) = (&hours[third..2 * third], &hours[2 * third..]);
    let check = |what, more: f64, of: fn(&Hour) -> Option<f64>| {
        let at = |hours: &[Hour]| median(hours.iter().filter_map(of).collect());
        Check {
            what,
            middle: at(middle),
            last: at(last),
            limit: at(middle) * SHARE + more,
        }
    };
    let mean = |of: fn(&Hour) -> Option<f64>| {
        let all: Option<Vec<f64>> = hours[third..].iter().map(of).collect();
        all.map(|all| all.iter().sum::<f64>() / all.len() as f64)
    };
    const MIB: f64 = (1 << 20) as f64;
    Verdict {
        checks: vec![
            check("files", 4.0, |hour| Some(hour.files as f64)),
            check("disk MiB", 128.0, |hour| Some(hour.disk_bytes as f64 / MIB)),
            check("RSS MiB", 16.0, |hour| Some(hour.memory_bytes as f64 / MIB)),
            check("index MiB", 4.0, |hour| Some(hour.index_bytes as f64 / MIB)),
            check("open ms", 50.0, |hour| hour.opening),
        ],
        counted: mean(|hour| Some(hour.counted)).unwrap_or(f64::NAN),
        written: mean(|hour| hour.written),
        worst_of_mean: hours[third..]
            .iter()
            .map(|hour| hour.rate)
            .fold(f64::NAN, f64::min)
            / mean(|hour| Some(hour.rate)).unwrap_or(f64::NAN),
        background: mean(|hour| Some(hour.background)).unwrap_or(f64::NAN),
        segments: hours[third..].iter().map(|hour| hour.segments).sum(),
        debt: [
            hours[..third].last().map_or(0, |hour| hour.debt),
            last.last().map_or(0, |hour| hour.debt),
        ],
    }
}

impl Verdict {
    /// Returns whether all checks are flat.
    pub(crate) fn flat(&self) -> bool {
        self.checks.iter().all(Check::flat)
    }

    /// Returns whether the last two thirds of the hours wrote enough segments, and left no more work
    /// behind than they found.
    pub(crate) fn steady(&self) -> bool {
        self.segments >= SEGMENTS && self.debt[1] <= self.debt[0]
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            writeln!(
                f,
                "{:10} {:>9} in the middle third, {:>9} in the last (limit {}){}",
                check.what,
                short(check.middle),
                short(check.last),
                short(check.limit),
                if check.flat() { "" } else { ": GROWS" }
            )?;
        }
        writeln!(
            f,
            "written    {} bytes per byte of messages in these thirds by the store's count, {} by \
             the device's",
            short(self.counted),
            self.written.map_or_else(|| "unknown".into(), short)
        )?;
        let [before, after] = self.debt;
        writeln!(
            f,
            "rate       slowest of these hours {} of the mean, background {} of the CPU",
            short(self.worst_of_mean),
            short(self.background)
        )?;
        writeln!(
            f,
            "{}steady: {:.1} segments written, put off {} → {} MiB",
            if self.steady() { "" } else { "not " },
            self.segments,
            before >> 20,
            after >> 20
        )?;
        match self.flat() {
            true => writeln!(f, "flat: files, disk, memory and openings"),
            false => writeln!(f, "not flat"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(files: impl Fn(u64) -> u64) -> Vec<Hour> {
        (1..=72)
            .map(|hour| Hour {
                hour,
                messages: 0,
                rate: 1.0,
                files: files(hour),
                disk_bytes: 1 << 30,
                memory_bytes: 100 << 20,
                index_bytes: 1 << 20,
                written: Some(2.0),
                counted: 2.0,
                segments: 1.0,
                debt: 0,
                background: 0.5,
                opening: hour.is_multiple_of(6).then_some(100.0),
            })
            .collect()
    }

    #[test]
    fn waves_are_flat_and_growth_is_not() {
        assert!(of(&hours(|hour| hour.min(24) + hour % 3)).flat());
        assert!(!of(&hours(|hour| hour)).flat());
    }

    #[test]
    fn short_or_owing_hours_are_not_steady() {
        assert!(of(&hours(|_| 1)).steady());
        let mut short = hours(|_| 1);
        for hour in &mut short {
            hour.segments = 0.2;
        }
        assert!(!of(&short).steady());
        let mut owing = hours(|_| 1);
        owing[71].debt = 1;
        assert!(!of(&owing).steady());
    }
}
