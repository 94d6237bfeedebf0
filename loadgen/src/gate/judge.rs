//! The verdict on counts, without I/O.

use super::counts::Counts;
use super::history::History;
use super::limits::{Limits, Toolchain};
use super::pairs::Compared;
use crate::exit::Exit;

/// How far a count of instructions may be above its limit, as a part. Threads that
/// wait for each other, and timers, move counts by up to three thousandths.
pub(super) const TOLERANCE: f64 = 0.01;

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Instructions,
    Bytes,
}

impl Unit {
    /// Returns its name for people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::Bytes => "bytes",
        }
    }

    /// Returns the part by which a count may be above its limit.
    const fn tolerance(self) -> f64 {
        match self {
            Self::Instructions => TOLERANCE,
            Self::Bytes => 0.0,
        }
    }
}

/// What is said of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    Good,
    /// It is above its limit by more than the tolerance.
    Above,
    /// It is below its limit by more than the tolerance: the limit may be lowered.
    Below,
    /// There is no limit that it can be compared with.
    Undecided,
}

/// A count beside its limit.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) unit: Unit,
    pub(super) count: f64,
    pub(super) limit: Option<f64>,
    /// What the base takes.
    pub(super) base: Option<f64>,
    /// Whose limit it is.
    pub(super) limit_of: String,
    pub(super) says: Says,
}

impl Row {
    /// Returns how much more than the limit the count is, as a part.
    pub(super) fn more(&self) -> Option<f64> {
        self.limit.map(|limit| self.count / limit - 1.0)
    }
}

/// The counts of a base. They are shown, and take the place of limits that were counted with another compiler.
#[derive(Debug)]
pub(super) struct Base {
    /// What people call it.
    pub(super) commit: String,
    /// Its limits, if it has a file of them.
    pub(super) limits: Option<Limits>,
    pub(super) counts: Counts,
}

/// The result of a gate.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) exit: Exit,
    pub(super) rows: Vec<Row>,
    /// Limits that must not have been raised.
    pub(super) wrong: Vec<String>,
    pub(super) notes: Vec<String>,
    /// The pairs of runs, if there were any.
    pub(super) compared: Option<Compared>,
}

/// Judges the counts of a checkout. `is_whole` says that everything was counted.
pub(super) fn judge(
    measured: &Counts,
    limits: &Limits,
    history: &History,
    base: Option<&Base>,
    is_whole: bool,
) -> Judged {
    let mut notes: Vec<String> = history.unknown.iter().cloned().collect();
    let others = unlike(&measured.toolchain, &limits.toolchain);
    if let Some(others) = &others {
        notes.push(match base {
            Some(base) => format!(
                "the limits are those of another toolchain ({others}): the instructions of {} with this one take their place",
                base.commit
            ),
            None => format!(
                "the limits of instructions are those of another toolchain ({others}), so they decide nothing: name a commit that was good with --base REV, or count anew with --write-limits"
            ),
        });
    }
    let instructions = measured.instructions.iter().map(|(name, count)| {
        let own = limits.instructions.get(name).copied();
        let (limit, of) = match (&others, base) {
            (None, _) => (own, set_by(history, name)),
            (Some(_), Some(base)) => (base.limit(name, own), base.commit.clone()),
            (Some(_), None) => (None, String::new()),
        };
        let before = base.and_then(|it| it.counts.instructions.get(name));
        Row {
            base: before.copied(),
            ..row(name, Unit::Instructions, *count, limit, of)
        }
    });
    let bytes = measured.bytes.iter().map(|(name, count)| {
        let limit = limits.bytes.get(name).map(|limit| *limit as f64);
        let before = base.and_then(|it| it.counts.bytes.get(name));
        let of = set_by(history, name);
        Row {
            base: before.map(|bytes| *bytes as f64),
            ..row(name, Unit::Bytes, *count as f64, limit, of)
        }
    });
    let rows: Vec<Row> = instructions.chain(bytes).collect();
    let mut exit = Exit::Ok;
    for row in &rows {
        let of_row = match row.says {
            Says::Good | Says::Below => Exit::Ok,
            Says::Above => Exit::Regression,
            Says::Undecided => Exit::Inconclusive,
        };
        exit = worse(exit, of_row);
        if row.says == Says::Undecided && (others.is_none() || row.unit == Unit::Bytes) {
            notes.push(format!("{} has no limit: --write-limits adds it", row.name));
        }
    }
    let counted = |name: &str| rows.iter().any(|row| row.name == name);
    for name in limits.all().into_keys() {
        if is_whole && !counted(name) {
            notes.push(format!(
                "the limit of {name} limits nothing that is counted: remove it, or count it again"
            ));
            exit = worse(exit, Exit::Inconclusive);
        }
    }
    if !history.wrong.is_empty() {
        exit = worse(exit, Exit::Regression);
    }
    Judged {
        exit,
        rows,
        wrong: history.wrong.clone(),
        notes,
        compared: None,
    }
}

/// Returns the names of the counts of instructions that are above their limits; none if the limits are those of another
/// toolchain.
pub(super) fn above(measured: &Counts, limits: &Limits) -> Vec<String> {
    if unlike(&measured.toolchain, &limits.toolchain).is_some() {
        return Vec::new();
    }
    let is_above = |(name, count): &(&String, &f64)| {
        let limit = limits.instructions.get(*name).copied();
        let row = row(name, Unit::Instructions, **count, limit, String::new());
        row.says == Says::Above
    };
    let above = measured.instructions.iter().filter(is_above);
    above.map(|(name, _)| name.clone()).collect()
}

impl Base {
    /// Returns the limit of instructions by what the base takes. A limit that was raised since then, for a
    /// reason, raises this one by as much.
    fn limit(&self, name: &str, own: Option<f64>) -> Option<f64> {
        let count = self.counts.instructions.get(name)?;
        let before = self
            .limits
            .as_ref()
            .and_then(|it| it.instructions.get(name));
        let raised = match (own, before) {
            (Some(own), Some(before)) => (own / before).max(1.0),
            _ => 1.0,
        };
        Some(count * raised)
    }
}

fn row(name: &str, unit: Unit, count: f64, limit: Option<f64>, limit_of: String) -> Row {
    let says = match limit {
        None => Says::Undecided,
        Some(limit) if count > limit * (1.0 + unit.tolerance()) => Says::Above,
        Some(limit) if count < limit * (1.0 - unit.tolerance()) => Says::Below,
        Some(_) => Says::Good,
    };
    Row {
        name: name.to_owned(),
        unit,
        count,
        limit,
        base: None,
        limit_of,
        says,
    }
}

fn set_by(history: &History, name: &str) -> String {
    let known = history.set_by.get(name).cloned();
    known.unwrap_or_else(|| "the file of limits".into())
}

/// Returns how a toolchain differs from that of the limits; `None` if it does not.
fn unlike(now: &Toolchain, limits: &Toolchain) -> Option<String> {
    let pairs = now.parts().into_iter().zip(limits.parts());
    let other: Vec<_> = pairs
        .filter(|((_, now), (_, then))| now != then)
        .map(|((name, now), (_, then))| format!("{name} {then}, here {now}"))
        .collect();
    (!other.is_empty()).then(|| other.join("; "))
}

/// Returns the verdict that wins: a broken promise, then worse, then undecided.
pub(super) fn worse(a: Exit, b: Exit) -> Exit {
    let order = [Exit::Violation, Exit::Regression, Exit::Inconclusive];
    let found = order.into_iter().find(|exit| [a, b].contains(exit));
    found.unwrap_or(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn toolchain(rustc: &str) -> Toolchain {
        Toolchain {
            rustc: rustc.into(),
            ..Toolchain::default()
        }
    }

    fn counts(rustc: &str, push: f64, disk: u64) -> Counts {
        Counts {
            toolchain: toolchain(rustc),
            instructions: BTreeMap::from([("push".into(), push)]),
            bytes: BTreeMap::from([("message-disk".into(), disk)]),
            left_out: BTreeMap::new(),
        }
    }

    fn limits(rustc: &str, push: f64) -> Limits {
        Limits {
            toolchain: toolchain(rustc),
            instructions: BTreeMap::from([("push".into(), push)]),
            bytes: BTreeMap::from([("message-disk".into(), 200)]),
        }
    }

    fn of(measured: &Counts, base: Option<&Base>) -> Judged {
        judge(
            measured,
            &limits("1", 1000.0),
            &History::default(),
            base,
            true,
        )
    }

    #[test]
    fn a_count_is_judged_by_its_limit_and_the_tolerance() {
        for (push, disk, exit) in [
            (1000.0, 200, Exit::Ok),
            (1009.9, 200, Exit::Ok),
            (1010.1, 200, Exit::Regression),
            (1030.0, 200, Exit::Regression),
            (500.0, 100, Exit::Ok),
            // Bytes have no tolerance.
            (1000.0, 201, Exit::Regression),
        ] {
            let judged = of(&counts("1", push, disk), None);
            assert_eq!(judged.exit, exit, "{push} {disk}");
        }
    }

    #[test]
    fn another_compiler_decides_nothing_without_a_base() {
        let judged = of(&counts("2", 2000.0, 200), None);
        assert_eq!(judged.exit, Exit::Inconclusive);
        assert!(
            judged.notes[0].contains("rustc 1, here 2"),
            "{:?}",
            judged.notes
        );
        // Bytes are those of any compiler.
        assert_eq!(of(&counts("2", 2000.0, 201), None).exit, Exit::Regression);
    }

    #[test]
    fn the_base_takes_the_place_of_limits_of_another_compiler() {
        let base = |before| Base {
            commit: "abc".into(),
            limits: Some(limits("1", before)),
            counts: counts("2", 800.0, 200),
        };
        let exit = |push, base: &Base| of(&counts("2", push, 200), Some(base)).exit;
        assert_eq!(exit(807.0, &base(1000.0)), Exit::Ok);
        assert_eq!(exit(824.0, &base(1000.0)), Exit::Regression);
        // The limit was raised from 950 to 1,000 since.
        assert_eq!(exit(824.0, &base(950.0)), Exit::Ok);
        assert_eq!(exit(860.0, &base(950.0)), Exit::Regression);
    }

    #[test]
    fn what_has_no_limit_or_no_count_is_undecided() {
        let mut measured = counts("1", 1000.0, 200);
        measured.instructions.insert("new".into(), 1.0);
        let judged = of(&measured, None);
        assert_eq!(judged.exit, Exit::Inconclusive);
        assert!(
            judged.notes[0].contains("new has no limit"),
            "{:?}",
            judged.notes
        );
        measured.instructions.clear();
        assert_eq!(of(&measured, None).exit, Exit::Inconclusive);
    }

    #[test]
    fn a_raise_without_a_reason_is_a_regression() {
        let history = History {
            wrong: vec!["push".into()],
            ..History::default()
        };
        let measured = counts("1", 1000.0, 200);
        let judged = judge(&measured, &limits("1", 1000.0), &history, None, true);
        assert_eq!(judged.exit, Exit::Regression);
    }
}
